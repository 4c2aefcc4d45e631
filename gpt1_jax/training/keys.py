"""Random keys: each is a function of the seed, the purpose and the step.

The implementation is fixed here, because numbers and dropout masks depend on it and
JAX_DEFAULT_PRNG_IMPL may name another.
"""

import jax
import numpy as np

# 32 bits, as in a config; an array where a compiled program takes it as an argument.
Seed = jax.Array | np.uint32 | int

_IMPLEMENTATION = "threefry2x32"


def make_key(seed: Seed) -> jax.Array:
    """Returns the key of `seed`; every key of the package comes from here."""
    return jax.random.key(seed, impl=_IMPLEMENTATION)


def init_key(seed: Seed) -> jax.Array:
    """Returns the key that draws the initial parameters."""
    return jax.random.split(make_key(seed))[0]


def step_key(seed: Seed, step: jax.Array | int) -> jax.Array:
    """Returns the key of all randomness in the step that follows `step` others."""
    return jax.random.fold_in(jax.random.split(make_key(seed))[1], step)
