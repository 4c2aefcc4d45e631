"""Dropout whose masks are pure functions of (key, layer, site, row, position).

Each row (a sequence of the whole step's batch) has bits of its own, so that a mask is
the same on any number of devices and for any accumulation. A mask over parameters has
one set of bits for the whole step.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

# Of a batch: numpy's as it is made, JAX's where it is computed with.
Array = jax.Array | np.ndarray

# The places in a block that have masks of their own.
ATTENTION, ATTENTION_OUTPUT, MLP_OUTPUT = range(3)
_SITES_PER_LAYER = 3


def row_seeds(key: jax.Array, row_N: Array) -> jax.Array:
    """64 random bits for each row, two words of 32: seed_N2.

    Args: key: of the step; row_N: each row's index in the whole step's batch.
    """
    keys_N = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, row_N)
    return jax.random.key_data(keys_N)


def site_seeds(seed_N2: jax.Array, layer: jax.Array | int, site: int) -> jax.Array:
    """The seeds of one site in one layer, of the rows' seeds.

    Hashed, as a threefry block for each site would be most of what XLA compiles.
    """
    number = jnp.uint32(layer) * _SITES_PER_LAYER + (1 + site)
    odd_2 = jnp.array([0x9E3779B9, 0x85EBCA6B], jnp.uint32)
    return _mix(seed_N2 + (odd_2 * number)[None])


def drop_rows(x: jax.Array, rate: float, seed_N2: jax.Array) -> jax.Array:
    """`x`, of any shape with rows first, with a share `rate` set to 0, the rest scaled.

    Args: seed_N2: of the rows at this site.
    """
    return x if rate == 0.0 else _drop(x, rate, seed_N2)


@dataclasses.dataclass(frozen=True)
class RowDropout:
    """drop_rows at one site, as a value that a kernel can be given."""

    rate: float
    seed_N2: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return drop_rows(x, self.rate, self.seed_N2)


def drop_embeddings(params: dict, rate: float, key: jax.Array) -> dict:
    """`params` with dropout on the embedding tables themselves.

    Once a step, a feature of a token is dropped for all its occurrences and in the
    softmax, whose matrix this table is; likewise for positions.
    Source: finetune-transformer-lm train.py, `we = dropout(we, embd_pdrop, train)`.
    Differs: transformers' OpenAIGPT drops after the sum, an occurrence at a time.
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
    """Whether drop_rows keeps (row, column) of a row that is a table, `width` wide.

    For attention that makes a mask a block at a time; apply_mask does the rest.
    Integers are uint32, and broadcast. A column of rows and a row of columns are
    multiplied apart: for each place there is an addition, and hash32.
    """
    stride = _odd(second_seed)
    start = row * (jnp.uint32(width) * stride) + first_seed
    return hash32(start + column * stride) >= _threshold(rate)


def apply_mask(keep: jax.Array, x: jax.Array, rate: float) -> jax.Array:
    """`x`, scaled, where it is kept, else 0."""
    return jnp.where(keep, x * (1.0 / (1.0 - rate)), jnp.zeros((), x.dtype))


def _drop(x: jax.Array, rate: float, seed_N2: jax.Array) -> jax.Array:
    keep = _random_bits(seed_N2, x.shape[1:]) >= _threshold(rate)
    return apply_mask(keep, x, rate)


def _threshold(rate: float) -> jax.Array:
    return jnp.uint32(round(rate * 2**32))


def _random_bits(seed_N2: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """32 uniform bits for each element of (N, *shape)."""
    assert math.prod(shape) < 2**32, shape
    place = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = jnp.uint32(math.prod(shape[axis + 1 :]))
        place += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * stride
    expand = (slice(None),) + (None,) * len(shape)
    first, second = seed_N2[:, 0][expand], seed_N2[:, 1][expand]
    return hash32(place[None] * _odd(second) + first)


def _odd(seed: jax.Array) -> jax.Array:
    """The stride of a row: place * stride + start meets each of 2^32 numbers once."""
    return seed | jnp.uint32(1)


def hash32(x: jax.Array) -> jax.Array:
    """32 bits of a number of a row's sequence, of which the upper half is random.

    Counter-based: far cheaper than threefry, which spends a block on each element. The
    lower half decides over one place in 65,536.
    Source: the multipliers and shifts are those of Wellons' hash-prospector, lowbias32.
    Differs: without its last shift, which would mix the upper half into the lower.
    """
    x ^= x >> 16
    x *= jnp.uint32(0x21F0AAAD)
    x ^= x >> 15
    return x * jnp.uint32(0x735A2D97)


def _mix(x: jax.Array) -> jax.Array:
    """A bijection of 32 bits; an input bit flips each output bit half of the time."""
    x = hash32(x)
    return x ^ (x >> 15)
