"""Dropout whose masks are pure functions of (key, layer, site, row, position).

Each row (a sequence of the whole step's batch) has its own random bits, so that a mask
is the same on any number of devices and with any accumulation. A mask over parameters
is the same for all rows of a step.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

# A batch holds numpy arrays when it is made and JAX arrays inside a jitted function.
Array = jax.Array | np.ndarray

# The sites of a block; each has a mask of its own.
ATTENTION, ATTENTION_OUTPUT, MLP_OUTPUT = range(3)
_SITES_PER_LAYER = 3


def row_seeds(key: jax.Array, row_N: Array) -> jax.Array:
    """Returns 64 random bits for each row, as two words of 32 bits: seed_N2.

    Args: key: the step's key. row_N: each row's index in the whole step's batch.
    """
    keys_N = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, row_N)
    return jax.random.key_data(keys_N)


def site_seeds(seed_N2: jax.Array, layer: jax.Array | int, site: int) -> jax.Array:
    """Returns the rows' seeds for one site of one layer.

    They are hashed: a threefry call for each site would dominate compile time.
    """
    number = jnp.uint32(layer) * _SITES_PER_LAYER + (1 + site)
    odd_2 = jnp.array([0x9E3779B9, 0x85EBCA6B], jnp.uint32)
    return _mix(seed_N2 + (odd_2 * number)[None])


def drop(x: jax.Array, rate: float, seed_N2: jax.Array) -> jax.Array:
    """Sets a share `rate` of `x` to 0 and scales the rest by 1 / (1 - rate).

    Args: x: of any shape with rows first. seed_N2: the rows' seeds at this site.
    """
    return x if rate == 0.0 else _drop(x, rate, seed_N2)


@dataclasses.dataclass(frozen=True)
class Dropout:
    """`drop` at one site, as a value that can be passed to a kernel."""

    rate: float
    seed_N2: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return drop(x, self.rate, self.seed_N2)


def drop_embeddings(params: dict, rate: float, key: jax.Array) -> dict:
    """Returns `params` with dropout applied to the embedding tables themselves.

    A dropped feature of a token is dropped in all its occurrences in the step, and in
    the softmax, whose matrix is the token table. Positions are treated alike.
    Source: finetune-transformer-lm train.py, `we = dropout(we, embd_pdrop, train)`.
    Differs: transformers' OpenAIGPT drops each occurrence separately, after the sum.
    """
    if rate == 0.0:
        return params
    dropped = {}
    for number, (name, table) in enumerate(sorted(params["embed"].items())):
        seed_N2 = jax.random.key_data(jax.random.fold_in(key, number))[None]
        dropped[name] = _drop(table[None], rate, seed_N2)[0]
    return params | {"embed": dropped}


def keep_mask(
    first_seed: jax.Array,
    second_seed: jax.Array,
    row: jax.Array,
    column: jax.Array,
    width: int,
    rate: float,
) -> jax.Array:
    """Returns where `drop` keeps (row, column) of a table that is `width` wide.

    Attention computes its mask a block at a time with it; apply_mask does the rest.
    Integers are uint32, and broadcast. Rows and columns are multiplied separately, so
    that each element costs one addition and one hash32.
    """
    stride = _odd_stride(second_seed)
    start = row * (jnp.uint32(width) * stride) + first_seed
    return hash32(start + column * stride) >= _threshold(rate)


def apply_mask(keep: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    """Returns x / (1 - rate) where `keep` is true, else 0.

    The scale is a selected value: XLA's GemmRewriter turned the product of a constant
    with A B + bias into constant * A B + bias (openxla/xla#46110). The outer selection
    keeps CPUs from fusing the product with a later sum, which would round differently.
    """
    zero = jnp.zeros((), x.dtype)
    scale = jnp.asarray(1.0 / (1.0 - rate), x.dtype)
    return jnp.where(keep, x * jnp.where(keep, scale, zero), zero)


def _drop(x: jax.Array, rate: float, seed_N2: jax.Array) -> jax.Array:
    keep = _random_bits(seed_N2, x.shape[1:]) >= _threshold(rate)
    return apply_mask(keep, x, rate)


def _threshold(rate: float) -> jax.Array:
    return jnp.uint32(round(rate * 2**32))


def _random_bits(seed_N2: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Returns 32 uniform bits for each element of (N, *shape)."""
    assert math.prod(shape) < 2**32, shape
    index = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = jnp.uint32(math.prod(shape[axis + 1 :]))
        index += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * stride
    expand = (slice(None),) + (None,) * len(shape)
    first, second = seed_N2[:, 0][expand], seed_N2[:, 1][expand]
    return hash32(index[None] * _odd_stride(second) + first)


def _odd_stride(seed: jax.Array) -> jax.Array:
    """Returns a row's stride; being odd, index * stride + start never repeats."""
    return seed | jnp.uint32(1)


def hash32(x: jax.Array) -> jax.Array:
    """Hashes 32-bit numbers; only the upper half of the result is random.

    Counter-based and far cheaper than threefry. The lower half decides about one
    element in 65,536.
    Source: multipliers and shifts of Wellons' hash-prospector, lowbias32.
    Differs: without the last shift, which mixes the upper half into the lower.
    """
    x ^= x >> 16
    x *= jnp.uint32(0x21F0AAAD)
    x ^= x >> 15
    return x * jnp.uint32(0x735A2D97)


def _mix(x: jax.Array) -> jax.Array:
    """Maps 32 bits one to one; an input bit flips each output bit half of the time."""
    x = hash32(x)
    return x ^ (x >> 15)
