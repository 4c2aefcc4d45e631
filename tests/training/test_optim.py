"""The optimizer and the schedules against the released arithmetic, in plain numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gpt1_jax.config import OptimConfig
from gpt1_jax.training import optim

# The warm-up ends within 50 steps; decay and learning rate have a visible effect.
CONFIG = OptimConfig(
    peak_learning_rate=1e-2,
    warmup_steps=10,
    weight_decay=0.1,
    clip_norm=1.0,
)
NUM_STEPS = 50


def first_params() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "kernel": rng.standard_normal((5, 7)),
        "bias": rng.standard_normal(7),
        "stack": rng.standard_normal((2, 3, 5)),
    }


def gradients_at(step: int) -> dict[str, np.ndarray]:
    """Returns gradients, which are clipped at some steps only."""
    rng = np.random.default_rng([1, step])
    scale = 10.0 ** rng.uniform(-3, 1)
    return {
        name: scale * rng.standard_normal(p.shape) for name, p in first_params().items()
    }


def released_schedule(name: str, x: float, warmup: float) -> float:
    """Returns the factor of the peak rate at the fraction x of the run."""
    if name == "linear":
        return (x / warmup if warmup and x <= warmup else 1.0) * (1 - x)
    if warmup and x <= warmup:
        return x / warmup
    return 0.5 * (1 + np.cos(np.pi * x)) if name == "cosine" else 1.0


def released_trace(cfg: OptimConfig) -> list[dict[str, np.ndarray]]:
    """Returns the parameters after 0, 1, ... updates, computed as in the released code.

    If cfg.name is "adamw", the moments are corrected, as in optax.
    """
    params, is_adamw = first_params(), cfg.name == "adamw"
    m = {name: np.zeros_like(p) for name, p in params.items()}
    v = {name: np.zeros_like(p) for name, p in params.items()}
    trace = [params]
    for step in range(NUM_STEPS):
        grads = gradients_at(step)
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        m_bias, v_bias = 1 - cfg.b1 ** (step + 1), 1 - cfg.b2 ** (step + 1)
        warmup = cfg.warmup_steps / NUM_STEPS
        rate = cfg.peak_learning_rate
        rate *= released_schedule(cfg.schedule, step / NUM_STEPS, warmup)
        if not is_adamw:
            rate *= np.sqrt(v_bias) / m_bias
        params = dict(params)
        for name, g in grads.items():
            g = g * cfg.clip_norm * min(1 / norm, 1 / cfg.clip_norm)
            m[name] = cfg.b1 * m[name] + (1 - cfg.b1) * g
            v[name] = cfg.b2 * v[name] + (1 - cfg.b2) * g * g
            change = m[name] / (np.sqrt(v[name]) + cfg.eps)
            if is_adamw:
                change = m[name] / m_bias / (np.sqrt(v[name] / v_bias) + cfg.eps)
            if params[name].ndim > 1:
                change = change + cfg.weight_decay * params[name]
            params[name] = params[name] - rate * change
        trace.append(params)
    return trace


def our_trace(cfg: OptimConfig) -> list[dict[str, np.ndarray]]:
    with jax.enable_x64(True):
        tx = optim.make_optimizer(cfg, NUM_STEPS)
        params = jax.tree.map(jnp.asarray, first_params())
        state = tx.init(params)
        update = jax.jit(tx.update)
        trace = [params]
        for step in range(NUM_STEPS):
            updates, state = update(gradients_at(step), state, params)
            params = optax.apply_updates(params, updates)
            trace.append(params)
        return jax.tree.map(np.asarray, trace)


def largest_relative_error(ours, theirs) -> float:
    """Returns the largest error, relative to each parameter's change so far."""
    return max(
        np.abs(our[name] - their[name]).max() / np.abs(their[name] - start).max()
        for our, their in zip(ours[2:], theirs[2:], strict=True)
        for name, start in theirs[0].items()
    )


def test_gradients_of_the_traces_are_clipped_at_some_steps_only():
    squares = [
        sum((g**2).sum() for g in gradients_at(step).values())
        for step in range(NUM_STEPS)
    ]
    assert 10 < sum(square > CONFIG.clip_norm**2 for square in squares) < 40


def test_openai_adam_follows_the_released_code():
    expected = released_trace(CONFIG)
    assert largest_relative_error(our_trace(CONFIG), expected) < 1e-6
    for name, value in {"weight_decay": 0.0, "clip_norm": 2.0, "b2": 0.99}.items():
        other = released_trace(dataclasses.replace(CONFIG, **{name: value}))
        assert largest_relative_error(other, expected) > 1e-3, name


def test_eps_is_outside_the_bias_correction():
    cfg = dataclasses.replace(CONFIG, eps=1e-2)
    assert largest_relative_error(our_trace(cfg), released_trace(cfg)) < 1e-6


def test_adamw_decays_more_than_the_released_code():
    adamw = our_trace(dataclasses.replace(CONFIG, name="adamw"))
    expected = released_trace(CONFIG)
    assert largest_relative_error(adamw, expected) > 1e-2
    # As eps is small, they differ by the decay only, which vectors do not have.
    error = {x: np.abs(adamw[-1][x] - expected[-1][x]).max() for x in expected[-1]}
    assert error["bias"] < 1e-5 < error["kernel"]


def test_adamw_corrects_the_moments_and_has_our_schedule_and_mask():
    cfg = dataclasses.replace(CONFIG, name="adamw")
    assert largest_relative_error(our_trace(cfg), released_trace(cfg)) < 1e-5


def test_first_update_of_a_warm_up_changes_nothing():
    trace = our_trace(CONFIG)
    for name, start in trace[0].items():
        np.testing.assert_array_equal(trace[1][name], start)
        assert np.all(trace[2][name] != start)


def test_decay_acts_on_matrices_and_embeddings_only():
    cfg = dataclasses.replace(CONFIG, schedule="constant", warmup_steps=0)
    params = {
        "embed": jnp.ones((3, 5)),
        "kernel": jnp.ones((5, 7)),
        "bias": jnp.ones(7),
        "scale": jnp.ones(5),
    }
    tx = optim.make_optimizer(cfg, NUM_STEPS)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(tx.update)(zeros, tx.init(params), params)
    correction = np.sqrt(1 - 0.999) / (1 - 0.9)
    for name, update in updates.items():
        decay = -1e-2 * correction * 0.1 if name in ("embed", "kernel") else 0.0
        np.testing.assert_allclose(update, decay, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("warmup", "share"),
    [
        ({"warmup_steps": 250, "warmup_fraction": 0.0}, 0.25),
        ({"warmup_steps": 0, "warmup_fraction": 0.25}, 0.25),
        ({"warmup_steps": 0, "warmup_fraction": 0.0}, 0.0),
        ({"warmup_steps": 7, "warmup_fraction": 0.0}, 0.007),
    ],
)
@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
def test_schedules_have_the_released_values(name, warmup, share):
    cfg = OptimConfig(peak_learning_rate=0.5, schedule=name, **warmup)
    schedule = optim.make_schedule(cfg, 1000)
    for step in (0, 1, 6, 7, 8, 100, 249, 250, 251, 500, 999, 1000):
        expected = 0.5 * released_schedule(name, step / 1000, share)
        for found in (schedule(step), jax.jit(schedule)(step)):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_the_peak_is_reached_exactly_at_the_end_of_the_warm_up():
    schedule = optim.make_schedule(OptimConfig(), 1_000_000)
    np.testing.assert_allclose(schedule(2000), 2.5e-4, rtol=1e-7)
    assert schedule(2001) < 2.49999e-4


def test_cosine_runs_over_the_whole_run_as_released():
    schedule = optim.make_schedule(OptimConfig(), 1_000_000)
    np.testing.assert_allclose(schedule(10_000), 2.49938e-4, rtol=3e-6)
    np.testing.assert_allclose(schedule(500_000), 1.25e-4, rtol=1e-6)
    # In optax the cosine starts after the warm-up.
    theirs = optax.warmup_cosine_decay_schedule(0.0, 2.5e-4, 2000, 1_000_000)
    np.testing.assert_allclose(theirs(10_000), 2.49960e-4, rtol=3e-6)
    np.testing.assert_allclose(theirs(500_000), 1.25394e-4, rtol=5e-6)
