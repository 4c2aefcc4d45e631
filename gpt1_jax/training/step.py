"""The train state and the step that every job jits."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from gpt1_jax.distributed import memory
from gpt1_jax.training import optim
from gpt1_jax.training.losses import LossFn, Sums


@flax.struct.dataclass
class TrainState:
    """Everything that training changes; `step` is the number of steps made."""

    step: jax.Array
    params: Any
    opt_state: Any


# A 32-bit integer; an array where a compiled program takes it as an argument.
Seed = jax.Array | np.uint32 | int


def make_key(seed: Seed) -> jax.Array:
    """Returns the threefry key of a seed, whatever implementation JAX defaults to.

    A run is a function of its seed, so no setting of the process may change its keys.
    """
    return jax.random.key(seed, impl="threefry2x32")


def init_key(seed: Seed) -> jax.Array:
    """Returns the key that initialises the parameters."""
    return jax.random.split(make_key(seed))[0]


def step_key(seed: Seed, step: jax.Array | int) -> jax.Array:
    """Returns the key for all randomness in the update that follows `step` others."""
    return jax.random.fold_in(jax.random.split(make_key(seed))[1], step)


def make_init(
    init_params: Callable[[jax.Array], Any], tx: optax.GradientTransformation
) -> Callable[..., TrainState]:
    """Returns a function, to be jitted, from the seed to the initial state."""

    def init(seed: Seed = 0) -> TrainState:
        params = init_params(init_key(seed))
        return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))

    return init


def make_train_step(
    loss_fn: LossFn,
    tx: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    accumulation_steps: int = 1,
) -> Callable[..., tuple[TrainState, Sums]]:
    """Returns (state, batch, seed) -> (state, {name: (sum, count)}), to be jitted.

    The seed is an argument, so that runs of all seeds share one compiled program.

    The sums are those of the loss function, the norm of the gradient, the norm of the
    new parameters, the learning rate of the update, and `skipped`: 1 where loss or
    gradient is not finite. Then parameters and moments stay as they were, and only
    `step` and the optimizer's count advance, so that the schedule never lags. Loss and
    gradient are tested, not the new parameters, so XLA can update the state in place.
    With accumulation, gradients are means over microbatches that run one after another;
    accumulation_steps must divide the batch size. The caller chooses jit options,
    devices and donation.
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
        key = step_key(seed, state.step)
        grads, sums = mean_gradients(state.params, batch, key)
        count = optim.count_of(state.opt_state)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        sums |= {"grad_norm": (optax.tree.norm(grads), jnp.ones(()))}
        sums |= {"learning_rate": (schedule(count), jnp.ones(()))}
        is_good = jnp.isfinite(sums["loss"][0]) & jnp.isfinite(sums["grad_norm"][0])
        sums |= {"skipped": (1.0 - is_good, jnp.ones(()))}
        params, opt_state = jax.tree.map(
            lambda new, old: jnp.where(is_good, new, old),
            (params, opt_state),
            (state.params, state.opt_state),
        )
        opt_state = optim.with_count(opt_state, count + 1)
        sums |= {"param_norm": (optax.tree.norm(params), jnp.ones(()))}
        return TrainState(state.step + 1, params, opt_state), sums

    return train_step


class CompiledStep:
    """A jitted train step with a program for each shape of batches.

    jax.jit would compile a new shape within the step's call; here the caller says when.
    """

    def __init__(self, jitted: Any, seed: Seed):
        self._jitted, self._seed = jitted, seed
        self._programs: dict[Any, Callable[..., tuple[TrainState, Sums]]] = {}

    def is_compiled(self, batch: Any) -> bool:
        """Returns whether there is a program for batches of this shape."""
        return _shapes(batch) in self._programs

    def compile(self, state: TrainState, batch: Any) -> None:
        """Compiles the program for batches of this shape.

        Raises: UserError: it needs more memory than there is.
        """
        compiled = self._jitted.lower(state, batch, self._seed).compile()
        memory.check_program(compiled)
        self._programs[_shapes(batch)] = compiled

    def __call__(self, state: TrainState, batch: Any) -> tuple[TrainState, Sums]:
        """Makes the update with the program that `compile` made."""
        return self._programs[_shapes(batch)](state, batch, self._seed)


def _shapes(batch: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(leaf.shape for leaf in jax.tree.leaves(batch))


def split_microbatches(num_microbatches: int) -> Callable[[jax.Array], jax.Array]:
    """Returns a function from (B, ...) to (num_microbatches, rows of each, ...).

    Row i goes to microbatch i % num_microbatches, so that each device keeps its own
    rows: a microbatch is sharded as the batch is.
    """

    def split(x: jax.Array) -> jax.Array:
        num_rows = len(x) // num_microbatches
        interleaved = x.reshape(num_rows, num_microbatches, *x.shape[1:])
        return interleaved.swapaxes(0, 1)

    return split
