"""The train step: accumulation, its counter, and its keys."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpt1_jax.config import ModelConfig, OptimConfig
from gpt1_jax.data.text.corpus import LMBatch
from gpt1_jax.models.transformer import Transformer
from gpt1_jax.training import keys, losses, optim
from gpt1_jax.training import step as step_lib

CFG = ModelConfig(
    num_layers=1,
    width=15,
    num_heads=3,
    mlp_width=17,
    context_length=7,
    embedding_dropout=0.25,
    residual_dropout=0.25,
    attention_dropout=0.25,
    compute_dtype="float32",
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
    """(batch, accumulation_steps) -> the gradients of a step, and its sums."""
    tx = optax.sgd(lambda count: 1.0)
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
    """The largest relative difference, over leaves."""
    return max(
        float(np.abs(x - y).max() / np.abs(y).max())
        for x, y in zip(jax.tree.leaves(tree), jax.tree.leaves(reference), strict=True)
    )


@pytest.mark.parametrize("accumulation_steps", [2, 4])
def test_accumulation_changes_no_gradient_no_mask_and_no_sum(
    step_once, accumulation_steps
):
    gradients, sums = step_once(batch())
    # The masks matter: with other rows' masks gradients are others.
    assert distance(step_once(batch(np.arange(BATCH)[::-1]))[0], gradients) > 0.05
    accumulated, their_sums = step_once(batch(), accumulation_steps)
    assert distance(accumulated, gradients) < 1e-5
    assert sums.keys() == their_sums.keys() == NAMES
    for name in sums:
        np.testing.assert_allclose(their_sums[name], sums[name], rtol=1e-5)
    assert sums["loss"][1] == BATCH * 7
    assert sums["grad_norm"][1] == 1


def test_param_norm_is_of_the_parameters_after_the_update(step_once, make_params):
    gradients, sums = step_once(batch())
    after = jax.tree.map(np.subtract, make_params(MODEL), gradients)
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(after)]
    norm = np.sqrt(sum((leaf**2).sum() for leaf in leaves))
    np.testing.assert_allclose(sums["param_norm"][0], norm, rtol=1e-5)
    assert abs(float(optax.tree.norm(make_params(MODEL))) / norm - 1) > 1e-3


def test_grad_norm_is_the_global_norm(step_once):
    gradients, sums = step_once(batch())
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(gradients)]
    norm = np.sqrt(sum((leaf**2).sum() for leaf in leaves))
    np.testing.assert_allclose(sums["grad_norm"][0], norm, rtol=1e-4)


def test_each_step_counts_itself_and_uses_its_own_key():
    def loss_fn(params, batch, key):
        loss = params * jax.random.normal(key)
        return loss, {"loss": (loss, jnp.ones(()))}

    tx = optax.sgd(lambda count: 1.0)
    changes = {}
    train_step = jax.jit(step_lib.make_train_step(loss_fn, tx, rate))
    for seed in (0, 1):
        now = step_lib.TrainState(jnp.int32(4), jnp.zeros(()), tx.init(jnp.zeros(())))
        for step in (4, 5, 6):
            after, sums = train_step(now, None, np.uint32(seed))
            assert sums["learning_rate"] == ((step - 4) / 8, 1)
            assert after.step == step + 1
            assert after.step.dtype == jnp.int32
            changes[seed, step] = float(after.params - now.params)
            expected = -jax.random.normal(keys.step_key(seed, step))
            np.testing.assert_allclose(changes[seed, step], expected, rtol=1e-4)
            now = after
    assert len(set(changes.values())) == 6
    # Runs of all seeds share one program.
    assert train_step._cache_size() == 1


def test_keys_depend_on_seed_step_and_purpose_only():
    def bits(key):
        return tuple(jax.random.key_data(key).tolist())

    found = [keys.init_key(seed) for seed in range(3)]
    found += [keys.step_key(seed, step) for seed in range(3) for step in range(5)]
    assert len({bits(key) for key in found}) == 3 + 15
    traced_key = jax.jit(keys.step_key)
    for seed in (2, 2**31 + 5, 2**32 - 1):
        traced = traced_key(np.uint32(seed), jnp.int32(4))
        assert bits(traced) == bits(keys.step_key(seed, 4))


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


def test_each_microbatch_takes_rows_at_an_even_stride():
    rows = jnp.stack([jnp.arange(6), 10 * jnp.arange(6)], axis=1)
    np.testing.assert_array_equal(
        step_lib.split_microbatches(3)(rows),
        [[[0, 0], [3, 30]], [[1, 10], [4, 40]], [[2, 20], [5, 50]]],
    )


@pytest.mark.parametrize("accumulation_steps", [1, 3])
@pytest.mark.parametrize("what", ["loss", "gradient", "nothing"])
def test_a_step_that_is_not_finite_changes_nothing_but_the_counts(
    what, accumulation_steps
):
    """One example of six is bad; only the loss or the gradient shows it."""

    def loss_fn(params, batch, key):
        # The square root has no gradient at 0; the loss has none that is finite at inf.
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
    changing = (after.params, after.opt_state.mu, after.opt_state.nu)
    unchanged = (params, opt_state.mu, opt_state.nu)
    for now, then in zip(
        jax.tree.leaves(changing), jax.tree.leaves(unchanged), strict=True
    ):
        assert (np.asarray(now).tobytes() == np.asarray(then).tobytes()) == is_skipped


@pytest.mark.parametrize("name", ["openai_adam", "adamw"])
def test_after_a_skipped_step_the_schedule_goes_on(name):
    """And the rate that is logged is the one that the update used."""

    def loss_fn(params, batch, key):
        loss = (params * batch).sum()
        return loss, {"loss": (loss, jnp.ones(()))}

    cfg = OptimConfig(
        name=name,
        schedule="linear",
        warmup_steps=0,
        warmup_fraction=0.25,
        b1=0.0,
        b2=0.0,
        weight_decay=0.0,
    )
    schedule = optim.make_schedule(cfg, 8)
    tx = optim.make_optimizer(cfg, 8)
    params = jnp.zeros(())
    now = step_lib.TrainState(jnp.int32(0), params, tx.init(params))
    train_step = jax.jit(step_lib.make_train_step(loss_fn, tx, schedule))
    for step, gradient in enumerate([1.0, jnp.nan, 1.0, jnp.inf, 1.0]):
        after, sums = train_step(now, jnp.float32(gradient))
        rate = schedule(step)
        assert sums["learning_rate"][0] == rate
        # Without memory Adam's update is the rate times the gradient's sign.
        expected = rate if np.isfinite(gradient) else 0.0
        np.testing.assert_allclose(now.params - after.params, expected, rtol=1e-5)
        now = after


def test_each_shape_of_batch_is_compiled_once_and_timed(monkeypatch):
    clock = {"now": 0.0}
    traced = []

    def add(state, batch, seed):
        traced.append(batch.shape)
        clock["now"] += 10.0
        return state + batch.sum(), {"seed": seed}

    monkeypatch.setattr(step_lib.time, "monotonic", lambda: clock["now"])
    step = step_lib.CompiledStep(jax.jit(add), 3)
    state = jnp.zeros(())
    for length in (5, 7, 5, 7):
        state, sums = step(state, np.ones(length, np.float32))
    assert (float(state), int(sums["seed"])) == (24.0, 3)
    assert traced == [(5,), (7,)]
    assert step.compile_seconds == 20.0


def test_keys_do_not_depend_on_jaxs_default_implementation():
    expected = [jax.random.bits(make(5)) for make in (keys.make_key, keys.init_key)]
    expected.append(jax.random.bits(keys.step_key(5, 2)))
    with jax.default_prng_impl("rbg"):
        found = [jax.random.bits(make(5)) for make in (keys.make_key, keys.init_key)]
        found.append(jax.random.bits(keys.step_key(5, 2)))
    assert found == expected
