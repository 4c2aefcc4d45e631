"""The train state, and the one step that every job jits."""

import time
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gpt1_jax.training import keys, optim
from gpt1_jax.training.keys import Seed
from gpt1_jax.training.losses import LossFn, Sums


@flax.struct.dataclass
class TrainState:
    """All that training changes. `step` counts the steps, skipped ones included."""

    step: jax.Array
    params: Any
    opt_state: Any


def make_init(
    init_params: Callable[[jax.Array], Any], tx: optax.GradientTransformation
) -> Callable[..., TrainState]:
    """Returns a function of the seed, to be jitted, that makes the initial state."""

    def init(seed: Seed = 0) -> TrainState:
        params = init_params(keys.init_key(seed))
        return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))

    return init


def make_train_step(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    accumulation_steps: int = 1,
) -> Callable[..., tuple[TrainState, Sums]]:
    """Returns the update (state, batch, seed) -> (state, {name: (sum, count)}).

    The caller jits it and chooses devices and donation. The seed is an argument, so
    that runs of all seeds share one compiled program.

    The sums are those of the loss function, the gradient's norm before clipping, the
    parameters' norm after the update, the learning rate of this update, and `skipped`:
    1 where loss or gradient is not finite. A skipped step keeps parameters and moments
    and advances the counts, so that the schedule goes on. Loss and gradient are known
    before the update, which is therefore made in place: a check of the new parameters
    would need the old state beside them.
    Args: tx: an optimizer whose state has a `count`. schedule: the learning rate as a
          function of that count. accumulation_steps: the number of microbatches that
          run in turn, and whose gradients are averaged; it divides the batch size.
    """
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def mean_gradients(params: Any, batch: Any, key: jax.Array) -> tuple[Any, Sums]:
        if accumulation_steps == 1:
            (_, sums), grads = grad_fn(params, batch, key)
            return grads, sums

        def add(total: Any, microbatch: Any) -> tuple[Any, None]:
            (_, sums), grads = grad_fn(params, microbatch, key)
            return jax.tree.map(jnp.add, total, (grads, sums)), None

        microbatches = jax.tree.map(split_microbatches(accumulation_steps), batch)
        first = jax.tree.map(lambda x: x[0], microbatches)
        shapes = jax.eval_shape(grad_fn, params, first, key)
        zeros = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype), (shapes[1], shapes[0][1])
        )
        (grads, sums), _ = jax.lax.scan(add, zeros, microbatches)
        return jax.tree.map(lambda g: g / accumulation_steps, grads), sums

    def train_step(
        state: TrainState, batch: Any, seed: Seed = 0
    ) -> tuple[TrainState, Sums]:
        key = keys.step_key(seed, state.step)
        grads, sums = mean_gradients(state.params, batch, key)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        sums |= {"grad_norm": (optax.tree.norm(grads), jnp.ones(()))}
        rate = schedule(optim.count_of(state.opt_state))
        sums |= {"learning_rate": (rate, jnp.ones(()))}
        is_good = jnp.isfinite(sums["loss"][0]) & jnp.isfinite(sums["grad_norm"][0])
        sums |= {"skipped": (1.0 - is_good, jnp.ones(()))}

        def keep_if_skipped(new: jax.Array, old: jax.Array) -> jax.Array:
            is_count = jnp.issubdtype(new.dtype, jnp.integer)
            return new if is_count else jnp.where(is_good, new, old)

        params, opt_state = jax.tree.map(
            keep_if_skipped, (params, opt_state), (state.params, state.opt_state)
        )
        sums |= {"param_norm": (optax.tree.norm(params), jnp.ones(()))}
        return TrainState(state.step + 1, params, opt_state), sums

    return train_step


def split_microbatches(num_microbatches: int) -> Callable[[jax.Array], jax.Array]:
    """Returns (B, ...) -> (num_microbatches, B / num_microbatches, ...).

    Microbatch i has the rows i, i + num_microbatches, ..., so that each device keeps
    its own rows: a microbatch is sharded as the batch was.
    """

    def split(x: jax.Array) -> jax.Array:
        rows = x.reshape(len(x) // num_microbatches, num_microbatches, *x.shape[1:])
        return rows.swapaxes(0, 1)

    return split


class CompiledStep:
    """A jitted step that is compiled once for each shape of batch, and timed.

    compile_seconds: how long compiling has taken so far.
    """

    def __init__(self, jitted: Any, seed: int):
        self._jitted, self._seed = jitted, np.uint32(seed)
        self._programs: dict[Any, Any] = {}
        self.compile_seconds = 0.0

    def compile(self, state: TrainState, batch: Any) -> Any:
        """Returns the program for the shapes of `batch`; both may be abstract."""
        shapes = tuple((x.shape, x.dtype) for x in jax.tree.leaves(batch))
        if shapes not in self._programs:
            jax.block_until_ready(state)  # the step before is not compiling
            began = time.monotonic()
            lowered = self._jitted.lower(state, batch, self._seed)
            self._programs[shapes] = lowered.compile()
            self.compile_seconds += time.monotonic() - began
        return self._programs[shapes]

    def __call__(self, state: TrainState, batch: Any) -> tuple[TrainState, Sums]:
        return self.compile(state, batch)(state, batch, self._seed)
