"""Optimizers and learning-rate schedules, as optax transformations and schedules."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gpt1_jax.config import OptimConfig


def make_schedule(cfg: OptimConfig, total_steps: int) -> optax.Schedule:
    """Returns the learning rate as a function of the step t, which starts at 0.

    With x = t / total_steps and the warm-up's share w of all steps: for x <= w the rate
    rises linearly from 0. After that it is the peak times 0.5 (1 + cos(pi x)) for
    `cosine`, 1 - x for `linear`, 1 for `constant`. As in the released code, `linear`
    has the factor 1 - x during the warm-up too.
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
        elif cfg.schedule == "constant":
            factor = jnp.minimum(rise, 1.0)
        else:
            raise NotImplementedError(f"schedule {cfg.schedule}")
        return cfg.peak_learning_rate * factor

    return schedule


class OpenAIAdamState(NamedTuple):
    """The number of steps made and the moments of the gradients."""

    count: jax.Array  # type: ignore[assignment]  # hides a method of tuples
    m: Any
    v: Any


def openai_adam(
    cfg: OptimConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Returns Adam with weight decay, with exactly the updates of the released code.

    After t steps, with u = t + 1 and the moments m and v of the gradient:
        lr_u = schedule(t) sqrt(1 - b2^u) / (1 - b1^u)
        p   -= lr_u (m / (sqrt(v) + eps) + weight_decay p)      decay if p.ndim > 1
    The bias correction thus scales the decay but not eps, and the first update of a
    schedule with warm-up changes nothing.
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
    """Returns 1 - base^exponent without float32's cancellation near 1."""
    if base == 0.0:
        return jnp.ones(())
    return -jnp.expm1(exponent.astype(jnp.float32) * math.log(base))


def is_decayed(parameter: jax.Array) -> bool:
    """Returns whether weight decay applies: not to biases or norm scales."""
    return parameter.ndim > 1


def clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """Returns a scaling of gradients by limit / norm if their norm exceeds `limit`.

    The norm is over all arrays together.

    Source: finetune-transformer-lm opt.py, tf.clip_by_global_norm.
    Differs: optax divides each number by the norm. XLA on CPUs stores the result of the
    expensive division in a new array; it fuses a product with one factor into its use.
    """

    def update(
        grads: Any, state: optax.EmptyState, params: Any = None
    ) -> tuple[Any, optax.EmptyState]:
        del params
        factor = limit / jnp.maximum(optax.tree.norm(grads), limit)
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), grads), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def make_optimizer(cfg: OptimConfig, total_steps: int) -> optax.GradientTransformation:
    """Returns clipping by the global norm followed by the optimizer `cfg.name`."""
    schedule = make_schedule(cfg, total_steps)
    if cfg.name == "openai_adam":
        optimizer = openai_adam(cfg, schedule)
    elif cfg.name == "adamw":
        optimizer = optax.adamw(
            schedule,
            b1=cfg.b1,
            b2=cfg.b2,
            eps=cfg.eps,
            weight_decay=cfg.weight_decay,
            mask=lambda params: jax.tree.map(is_decayed, params),
        )
    else:
        raise NotImplementedError(f"optimizer {cfg.name}")
    return optax.chain(clip_by_global_norm(cfg.clip_norm), optimizer)


def count_of(opt_state: Any) -> jax.Array:
    """Returns the count that the next update's learning rate is a function of."""
    return optax.tree.get_all_with_path(opt_state, "count", _is_count)[0][1]


def with_count(opt_state: Any, count: jax.Array) -> Any:
    """Returns `opt_state` with every count in it set to `count`."""
    return optax.tree.set(opt_state, _is_count, count=count)


def _is_count(path: Any, value: Any) -> bool:
    """Returns whether a leaf named `count` is a counter and not a parameter."""
    del path
    return jnp.issubdtype(jnp.asarray(value).dtype, jnp.integer)
