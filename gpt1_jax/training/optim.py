"""Optimizers and learning-rate schedules, as optax transformations and schedules."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gpt1_jax.config import OptimConfig


def make_schedule(cfg: OptimConfig, total_steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of step t = 0, 1, ...

    With x = t / total_steps and the warm-up's share w, the rate is the peak times
        cosine:    x / w  for x <= w, then 0.5 (1 + cos(pi x))
        linear:    min(x / w, 1) (1 - x)
        constant:  min(x / w, 1)
    Source: Radford et al. 2018, Sec. 4.1; finetune-transformer-lm opt.py.
    Differs: optax.warmup_cosine_decay_schedule starts the cosine after the warm-up.
    """
    warmup = cfg.warmup_fraction or cfg.warmup_steps / total_steps

    def schedule(step: jax.Array) -> jax.Array:
        x = jnp.asarray(step, jnp.float32) / total_steps
        rise = x / warmup if warmup else jnp.inf
        if cfg.schedule == "cosine":
            factor = jnp.where(rise <= 1, rise, 0.5 * (1 + jnp.cos(math.pi * x)))
        elif cfg.schedule == "linear":
            factor = jnp.minimum(rise, 1.0) * (1 - x)
        else:
            factor = jnp.minimum(rise, 1.0)
        return cfg.peak_learning_rate * factor

    return schedule


class OpenAIAdamState(NamedTuple):
    """The number of steps so far, and the moments of the gradients."""

    count: jax.Array  # type: ignore[assignment]  # hides a method of tuples
    m: Any
    v: Any


def openai_adam(
    cfg: OptimConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Adam with the weight decay of the released code.

    At step t = 0, 1, ..., with u = t + 1 and the moments m and v of the gradient:
        lr_u = schedule(t) sqrt(1 - b2^u) / (1 - b1^u)
        p   -= lr_u (m / (sqrt(v) + eps) + weight_decay p)      decay if p.ndim > 1
    The bias correction scales the decay, but not eps. The first step of a schedule
    with a warm-up changes nothing.
    Source: Radford et al. 2018, Sec. 4.1 ("modified version of L2 regularization");
    finetune-transformer-lm opt.py, `adam`.
    Differs: optax.adamw corrects the moments instead, and decays by lr p.
    """

    def init(params: Any) -> OpenAIAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return OpenAIAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(
        grads: Any, state: OpenAIAdamState, params: Any
    ) -> tuple[Any, OpenAIAdamState]:
        count = state.count + 1
        m = jax.tree.map(lambda m, g: cfg.b1 * m + (1 - cfg.b1) * g, state.m, grads)
        v = jax.tree.map(lambda v, g: cfg.b2 * v + (1 - cfg.b2) * g * g, state.v, grads)
        correction = jnp.sqrt(_one_minus_power(cfg.b2, count)) / _one_minus_power(
            cfg.b1, count
        )
        rate = schedule(state.count) * correction

        def change(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
            decay = cfg.weight_decay * p if is_decayed(p) else 0.0
            return (-rate * (m / (jnp.sqrt(v) + cfg.eps) + decay)).astype(p.dtype)

        return jax.tree.map(change, params, m, v), OpenAIAdamState(count, m, v)

    return optax.GradientTransformation(init, update)


def _one_minus_power(base: float, exponent: jax.Array) -> jax.Array:
    """Returns 1 - base^exponent, without float32's cancellation near 1."""
    if base == 0.0:
        return jnp.ones(())
    return -jnp.expm1(exponent.astype(jnp.float32) * math.log(base))


def is_decayed(parameter: jax.Array) -> bool:
    """Says whether weight decay applies: not to biases or norm scales."""
    return parameter.ndim > 1


def count_of(opt_state: Any) -> jax.Array:
    """Returns the step that an optimizer's next update takes its learning rate from."""
    return optax.tree.get_all_with_path(opt_state, "count")[-1][1]


def clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """Scales gradients by limit / norm where their global norm is above `limit`.

    Source: finetune-transformer-lm opt.py, tf.clip_by_global_norm.
    Differs: optax divides each number by the norm. XLA on CPUs writes the quotients to
    an array of their own, but fuses a product with one factor into what uses it.
    """

    def update(
        grads: Any, state: optax.EmptyState, params: Any = None
    ) -> tuple[Any, optax.EmptyState]:
        del params
        factor = limit / jnp.maximum(optax.tree.norm(grads), limit)
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def make_optimizer(cfg: OptimConfig, total_steps: int) -> optax.GradientTransformation:
    """Returns clipping by the global norm, followed by the optimizer `cfg.name`."""
    schedule = make_schedule(cfg, total_steps)
    if cfg.name == "openai_adam":
        optimizer = openai_adam(cfg, schedule)
    else:
        optimizer = optax.adamw(
            schedule,
            b1=cfg.b1,
            b2=cfg.b2,
            eps=cfg.eps,
            weight_decay=cfg.weight_decay,
            mask=lambda params: jax.tree.map(is_decayed, params),
        )
    return optax.chain(clip_by_global_norm(cfg.clip_norm), optimizer)
