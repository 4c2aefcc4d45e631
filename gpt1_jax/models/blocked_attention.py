"""Causal attention with dropout, a few heads and queries at a time, for CPUs.

A block of queries is multiplied with the keys up to its own last one, so that most of
what is masked is never computed, and what it needs stays in a processor's caches. The
weights, N H L L numbers, are never in memory together: a block's are used and
forgotten, and computed again in the backward pass.

Source: Dao, "FlashAttention-2" (2023), algorithms 1 and 2.
Differs: a block of queries sees all its keys at once, so that its softmax is ordinary.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from gpt1_jax.models import dropout

# Queries of a block; weights that a core has at once, 0.5 MB in float32.
_SIZE, _WEIGHTS_PER_CORE = 128, 2**17
# Texts from this length on are faster so. Measured on two cores: docs/performance.md.
SHORTEST = 256


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def blocked_attention(
    q_NLHK: jax.Array,
    k_NLHK: jax.Array,
    v_NLHK: jax.Array,
    seed_N2: jax.Array | None,
    rate: float,
) -> jax.Array:
    """attention.causal_attention of a text on itself: att_NLHK.

    With the masks of dropout.drop_rows of weights (N, H, L, L).
    Args: seed_N2: of the rows at this site; None where `rate` is 0.
    """
    return _forward(q_NLHK, k_NLHK, v_NLHK, seed_N2, rate)[0]


def _forward(
    q_NLHK: jax.Array,
    k_NLHK: jax.Array,
    v_NLHK: jax.Array,
    seed_N2: jax.Array | None,
    rate: float,
) -> tuple[jax.Array, Any]:
    """The result, and what the gradient needs."""

    def of_group(arrays: Any) -> tuple[jax.Array, jax.Array]:
        head_G, q_NGLK, k_NGLK, v_NGLK = arrays
        att, log_sum = [], []
        for block in _blocks(q_NGLK, head_G, seed_N2, rate):
            logits_NGSM = block.logits(q_NGLK, k_NGLK)
            most_NGS1 = logits_NGSM.max(-1, keepdims=True)
            weights_NGSM = jnp.exp(logits_NGSM - most_NGS1)
            sum_NGS1 = weights_NGSM.sum(-1, keepdims=True)
            dropped_NGSM = block.drop(weights_NGSM).astype(v_NGLK.dtype)
            att_NGSK = _dot("NGSM,NGMK->NGSK", dropped_NGSM, block.seen(v_NGLK))
            att.append((att_NGSK / sum_NGS1).astype(v_NGLK.dtype))
            log_sum.append(most_NGS1 + jnp.log(sum_NGS1))
        return jnp.concatenate(att, 2), jnp.concatenate(log_sum, 2)

    arrays = (_heads(q_NLHK), *map(_by_group, (q_NLHK, k_NLHK, v_NLHK)))
    att_PNGLK, log_sum_PNGL1 = jax.lax.map(of_group, arrays)
    saved = (*arrays, seed_N2, att_PNGLK, log_sum_PNGL1)
    return _by_place(att_PNGLK), saved


def _backward(rate: float, saved: Any, d_att_NLHK: jax.Array) -> tuple:
    """The gradients of q, k, v and, there being none, of the seeds."""
    *arrays, seed_N2, att_PNGLK, log_sum_PNGL1 = saved
    d_att_PNGLK = _by_group(d_att_NLHK)
    delta_PNGL1 = _dot("PNGLK,PNGLK->PNGL", att_PNGLK, d_att_PNGLK)[..., None]

    def of_group(arrays: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        head_G, q_NGLK, k_NGLK, v_NGLK, d_att_NGLK, log_sum_NGL1, delta_NGL1 = arrays
        dtype = q_NGLK.dtype
        d_q, d_k_NGLK = [], jnp.zeros(k_NGLK.shape, log_sum_NGL1.dtype)
        d_v_NGLK = d_k_NGLK
        for block in _blocks(q_NGLK, head_G, seed_N2, rate):
            own, seen = block.own, block.seen
            weights_NGSM = jnp.exp(block.logits(q_NGLK, k_NGLK) - own(log_sum_NGL1))
            d_dropped_NGSM = _dot("NGSK,NGMK->NGSM", own(d_att_NGLK), seen(v_NGLK))
            d_logits_NGSM = block.drop(d_dropped_NGSM) - own(delta_NGL1)
            d_logits_NGSM *= weights_NGSM * q_NGLK.shape[-1] ** -0.5
            d_logits_NGSM = d_logits_NGSM.astype(dtype)
            dropped_NGSM = block.drop(weights_NGSM).astype(dtype)
            d_q.append(_dot("NGSM,NGMK->NGSK", d_logits_NGSM, seen(k_NGLK)))
            d_k_NGMK = _dot("NGSM,NGSK->NGMK", d_logits_NGSM, own(q_NGLK))
            d_v_NGMK = _dot("NGSM,NGSK->NGMK", dropped_NGSM, own(d_att_NGLK))
            d_k_NGLK = d_k_NGLK.at[:, :, : block.stop].add(d_k_NGMK)
            d_v_NGLK = d_v_NGLK.at[:, :, : block.stop].add(d_v_NGMK)
        d_q_NGLK = jnp.concatenate(d_q, 2)
        return d_q_NGLK.astype(dtype), d_k_NGLK.astype(dtype), d_v_NGLK.astype(dtype)

    of_groups = (*arrays, d_att_PNGLK, log_sum_PNGL1, delta_PNGL1)
    return *map(_by_place, jax.lax.map(of_group, of_groups)), None


blocked_attention.defvjp(_forward, _backward)


@dataclasses.dataclass(frozen=True)
class _Block:
    """Queries `start` to `stop`, S of them, and the keys up to `stop`, M."""

    start: int
    stop: int
    length: int
    head_G: jax.Array
    seed_N2: jax.Array | None
    rate: float

    @property
    def query_11S1(self) -> jax.Array:
        return jnp.arange(self.start, self.stop, dtype=jnp.uint32)[None, None, :, None]

    @property
    def key_111M(self) -> jax.Array:
        return jnp.arange(self.stop, dtype=jnp.uint32)[None, None, None]

    def own(self, x_NGL: jax.Array) -> jax.Array:
        """That of the block's own positions."""
        return x_NGL[:, :, self.start : self.stop]

    def seen(self, x_NGL: jax.Array) -> jax.Array:
        """That of the positions that its last query sees."""
        return x_NGL[:, :, : self.stop]

    def logits(self, q_NGLK: jax.Array, k_NGLK: jax.Array) -> jax.Array:
        """logits_NGSM, in float32 at least."""
        logits_NGSM = _dot("NGSK,NGMK->NGSM", self.own(q_NGLK), self.seen(k_NGLK))
        logits_NGSM *= q_NGLK.shape[-1] ** -0.5
        return jnp.where(self.query_11S1 >= self.key_111M, logits_NGSM, -1e9)

    def drop(self, weights_NGSM: jax.Array) -> jax.Array:
        """As drop_rows does with these places of a row's weights."""
        if self.seed_N2 is None:
            return weights_NGSM
        first, second = (self.seed_N2[:, i, None, None, None] for i in range(2))
        row_1G11 = self.head_G[None, :, None, None] * jnp.uint32(self.length)
        keep_NGSM = dropout.keeps(
            first,
            second,
            row_1G11 + self.query_11S1,
            self.key_111M,
            self.length,
            self.rate,
        )
        return jnp.where(keep_NGSM, weights_NGSM * (1.0 / (1.0 - self.rate)), 0.0)


def _blocks(
    q_NGLK: jax.Array, head_G: jax.Array, seed_N2: jax.Array | None, rate: float
) -> Iterator[_Block]:
    L = q_NGLK.shape[2]
    for start in range(0, L, _SIZE):
        yield _Block(start, min(start + _SIZE, L), L, head_G, seed_N2, rate)


def _heads(q_NLHK: jax.Array) -> jax.Array:
    """The heads' numbers as dropout counts, a group in each row: head_PG."""
    _, L, H, _ = q_NLHK.shape
    assert H * L * L < 2**32, q_NLHK.shape  # places of a row's mask
    return jnp.arange(H, dtype=jnp.uint32).reshape(-1, _group_size(q_NLHK))


def _group_size(x_NLHK: jax.Array) -> int:
    """How many heads are computed at once, a divisor of H.

    As many as give each core work, but not more than its caches hold of the weights.
    """
    N, L, H, _ = x_NLHK.shape
    room = _WEIGHTS_PER_CORE * (os.cpu_count() or 1) // (N * min(_SIZE, L) * L)
    return max(
        size for size in range(1, H + 1) if H % size == 0 and size <= max(1, room)
    )


def _by_group(x_NLHK: jax.Array) -> jax.Array:
    """x_PNGLK: P groups of G heads."""
    N, L, _, K = x_NLHK.shape
    x_NLPGK = x_NLHK.reshape(N, L, -1, _group_size(x_NLHK), K)
    return x_NLPGK.transpose(2, 0, 3, 1, 4)


def _by_place(x_PNGLK: jax.Array) -> jax.Array:
    """x_NLHK again."""
    _, N, _, L, K = x_PNGLK.shape
    return x_PNGLK.transpose(1, 3, 0, 2, 4).reshape(N, L, -1, K)


def _dot(axes: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """The sum of products, in float32 at least."""
    accumulate = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.einsum(axes, a, b, preferred_element_type=accumulate)
