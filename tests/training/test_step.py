"""The train step: accumulation, counter, keys and skipped steps."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpt1_jax.config import OptimConfig
from gpt1_jax.data.text.corpus import LMBatch
from gpt1_jax.models.backbone import init_params as init_transformer
from gpt1_jax.models.transformer import Transformer
from gpt1_jax.training import losses, optim
from gpt1_jax.training import step as step_lib
from tests.configs import TINY_MODEL

CFG = dataclasses.replace(
    TINY_MODEL,
    embedding_dropout=0.25,
    residual_dropout=0.25,
    attention_dropout=0.25,
)
VOCAB, BATCH = 23, 8
NAMES = {"loss", "grad_norm", "param_norm", "learning_rate", "skipped"}
MODEL = Transformer(CFG, VOCAB)


def rate(step):
    return step / 8


def batch(row_B=range(BATCH)) -> LMBatch:
    tokens_BL = np.random.default_rng(0).integers(0, VOCAB, (BATCH, 8))
    return LMBatch(
        tokens_BL.astype(np.int32),
        np.full(BATCH, 7, np.int32),
        np.asarray(row_B, np.uint32),
    )


@pytest.fixture(scope="module")
def step_once(make_params):
    """(batch, accumulation_steps) -> the gradients of a step, and its metrics."""
    tx = optax.sgd(optax.constant_schedule(1.0))
    before = make_params(MODEL)
    loss_fn = losses.make_lm_loss(MODEL, is_train=True)

    @functools.cache
    def make_step(accumulation_steps: int):
        return jax.jit(
            step_lib.make_train_step(
                loss_fn, tx, rate, accumulation_steps=accumulation_steps
            )
        )

    def step_once(batch, accumulation_steps=1):
        start = step_lib.TrainState(jnp.int32(0), before, tx.init(before))
        after, sums = make_step(accumulation_steps)(start, batch, np.uint32(3))
        return jax.tree.map(np.subtract, before, after.params), sums

    return step_once


def distance(tree, reference) -> float:
    """Returns the largest relative difference over all leaves."""
    return max(
        float(np.abs(x - y).max() / np.abs(y).max())
        for x, y in zip(jax.tree.leaves(tree), jax.tree.leaves(reference), strict=True)
    )


def global_norm(tree) -> float:
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return np.sqrt(sum((leaf**2).sum() for leaf in leaves))


@pytest.mark.parametrize("accumulation_steps", [2, 4])
def test_accumulation_changes_neither_gradients_nor_masks_nor_metrics(
    step_once, accumulation_steps
):
    gradients, sums = step_once(batch())
    # The masks have an effect: those of other rows give other gradients.
    assert distance(step_once(batch(np.arange(BATCH)[::-1]))[0], gradients) > 0.05
    accumulated, their_sums = step_once(batch(), accumulation_steps)
    assert distance(accumulated, gradients) < 1e-5
    assert sums.keys() == their_sums.keys() == NAMES
    for name in sums:
        np.testing.assert_allclose(their_sums[name], sums[name], rtol=1e-5)
    assert sums["loss"][1] == BATCH * 7
    assert sums["grad_norm"][1] == 1


def test_param_norm_is_taken_after_the_update(step_once, make_params):
    gradients, sums = step_once(batch())
    norm = global_norm(jax.tree.map(np.subtract, make_params(MODEL), gradients))
    np.testing.assert_allclose(sums["param_norm"][0], norm, rtol=1e-5)
    assert abs(global_norm(make_params(MODEL)) / norm - 1) > 1e-3


def test_grad_norm_is_the_global_norm(step_once):
    gradients, sums = step_once(batch())
    np.testing.assert_allclose(sums["grad_norm"][0], global_norm(gradients), rtol=1e-4)


def test_each_step_counts_itself_and_uses_its_own_key():
    def loss_fn(params, batch, key):
        loss = params * jax.random.normal(key)
        return loss, {"loss": (loss, jnp.ones(()))}

    tx = optax.sgd(optax.constant_schedule(1.0))
    changes = {}
    train_step = jax.jit(step_lib.make_train_step(loss_fn, tx, rate))
    for seed in (0, 1):
        opt_state = optim.with_count(tx.init(jnp.zeros(())), jnp.int32(4))
        now = step_lib.TrainState(jnp.int32(4), jnp.zeros(()), opt_state)
        for step in (4, 5, 6):
            after, sums = train_step(now, None, np.uint32(seed))
            assert sums["learning_rate"] == (step / 8, 1)
            assert after.step == step + 1
            assert after.step.dtype == jnp.int32
            changes[seed, step] = float(after.params - now.params)
            expected = -jax.random.normal(step_lib.step_key(seed, step))
            np.testing.assert_allclose(changes[seed, step], expected, rtol=1e-4)
            now = after
    assert len(set(changes.values())) == 6
    # All seeds share one program.
    assert train_step._cache_size() == 1


def test_a_compiled_step_has_one_program_for_each_shape():
    def loss_fn(params, batch, key):
        loss = (params * batch["x"]).sum()
        return loss, {"loss": (loss, jnp.ones(()))}

    tx = optax.sgd(optax.constant_schedule(0.5))
    jitted = jax.jit(step_lib.make_train_step(loss_fn, tx, rate), donate_argnums=0)
    compiled = step_lib.CompiledStep(jitted, np.uint32(3))
    now = step_lib.make_init(lambda key: jnp.zeros(()), tx)()
    total = 0.0
    for length in (3, 5, 3, 5):
        batch = {"x": jnp.arange(float(length))}
        if not compiled.is_compiled(batch):
            with pytest.raises(KeyError):
                compiled(now, batch)
            compiled.compile(now, batch)
        now, _ = compiled(now, batch)
        total -= 0.5 * sum(range(length))
        assert now.params == total
    assert now.step == 4
    assert jitted._cache_size() == 0


def test_keys_depend_on_seed_step_and_purpose_only():
    def bits(key):
        return tuple(jax.random.key_data(key).tolist())

    keys = [step_lib.init_key(seed) for seed in range(3)]
    keys += [step_lib.step_key(seed, step) for seed in range(3) for step in range(5)]
    assert len({bits(key) for key in keys}) == 3 + 15
    traced_key = jax.jit(step_lib.step_key)
    for seed in (2, 2**31 + 5, 2**32 - 1):
        traced = traced_key(np.uint32(seed), jnp.int32(4))
        assert bits(traced) == bits(step_lib.step_key(seed, 4))


def test_the_default_prng_of_the_process_changes_no_number(step_once):
    def init_params(key):
        return init_transformer(MODEL, key)

    init = step_lib.make_init(init_params, optax.adam(1e-3))
    found = []
    for implementation in ("threefry2x32", "rbg"):
        with jax.default_prng_impl(implementation):
            found.append((init(np.uint32(3)).params, step_once(batch())))
    for leaves in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_array_equal(*leaves)


def test_a_fresh_state_is_a_function_of_the_seed():
    def init_params(key):
        return {"kernel": jax.random.normal(key, (3, 5))}

    init = jax.jit(step_lib.make_init(init_params, optax.adam(1e-3)))
    first, again, other = (init(np.uint32(seed)) for seed in (0, 0, 1))
    assert init._cache_size() == 1
    assert first.step == 0
    np.testing.assert_array_equal(first.params["kernel"], again.params["kernel"])
    assert np.all(first.params["kernel"] != other.params["kernel"])
    moments = first.opt_state[0]
    assert moments.mu["kernel"].shape == (3, 5)


def test_microbatches_take_rows_in_turn():
    rows = jnp.stack([jnp.arange(6), 10 * jnp.arange(6)], axis=1)
    np.testing.assert_array_equal(
        step_lib.split_microbatches(3)(rows),
        [[[0, 0], [3, 30]], [[1, 10], [4, 40]], [[2, 20], [5, 50]]],
    )


@pytest.mark.parametrize("accumulation_steps", [1, 3])
@pytest.mark.parametrize("what", ["loss", "gradient", "nothing"])
def test_a_step_that_is_not_finite_changes_the_counts_only(what, accumulation_steps):
    """One of six examples gives a loss, or a gradient, that is not finite."""

    def loss_fn(params, batch, key):
        # The square root has an infinite gradient at 0.
        loss = (params * batch["x"] + jnp.sqrt(params * batch["zero"])).mean()
        total = loss + jax.lax.stop_gradient(batch["more"].mean())
        return total, {"loss": (total, jnp.ones(()))}

    tx = optax.scale_by_adam()
    params = jnp.full((1,), 3.0)
    opt_state = tx.update(jnp.ones(1), tx.init(params), params)[1]
    batch = {
        "x": jnp.arange(1.0, 7.0),
        "zero": jnp.ones(6),
        "more": jnp.zeros(6),
    }
    if what == "gradient":
        batch["zero"] = batch["zero"].at[4].set(0.0)
    if what == "loss":
        batch["more"] = batch["more"].at[4].set(jnp.inf)
    train_step = jax.jit(
        step_lib.make_train_step(
            loss_fn, tx, rate, accumulation_steps=accumulation_steps
        )
    )
    before = step_lib.TrainState(jnp.int32(4), params, opt_state)
    after, sums = train_step(before, batch)
    assert after.step == 5
    is_skipped = what != "nothing"
    assert sums["skipped"] == (is_skipped, 1)
    finite = {name: bool(np.isfinite(sums[name][0])) for name in NAMES}
    shown = {"loss": "loss", "gradient": "grad_norm"}
    if is_skipped:
        assert not finite[shown[what]]
    assert after.opt_state.count == opt_state.count + 1
    for now, then in zip(
        jax.tree.leaves((after.params, after.opt_state.mu, after.opt_state.nu)),
        jax.tree.leaves((params, opt_state.mu, opt_state.nu)),
        strict=True,
    ):
        assert (np.asarray(now).tobytes() == np.asarray(then).tobytes()) == is_skipped


@pytest.mark.parametrize("name", ["openai_adam", "adamw"])
def test_the_schedule_advances_at_a_skipped_step(name):
    """The logged learning rate is the one that the update used."""

    def loss_fn(params, batch, key):
        loss = (params * batch).sum()
        return loss, {"loss": (loss, jnp.ones(()))}

    cfg = OptimConfig(name, 0.5, "linear", 0, 0.3, weight_decay=0.0, b1=0.0, b2=0.0)
    tx, schedule = optim.make_optimizer(cfg, 10), optim.make_schedule(cfg, 10)
    train_step = jax.jit(step_lib.make_train_step(loss_fn, tx, schedule))
    now = step_lib.make_init(lambda key: jnp.ones(1), tx)()
    for step, gradient in enumerate([1.0, 1.0, jnp.nan, 1.0, jnp.inf, 1.0]):
        after, sums = train_step(now, jnp.full(1, gradient))
        rate = cfg.peak_learning_rate * min(step / 3, 1) * (1 - step / 10)
        np.testing.assert_allclose(sums["learning_rate"][0], rate, rtol=1e-5)
        # Without momentum every update is the rate times the gradient's sign.
        change = 0.0 if sums["skipped"][0] else rate
        np.testing.assert_allclose(now.params - after.params, change, atol=1e-5)
        now = after
