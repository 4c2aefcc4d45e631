"""Causal attention with dropout on CPUs, a few heads and a block of queries at a time.

A block of queries is multiplied only with the keys up to its last position. That skips
most masked products, and in small batches a block fits in the processor's caches. The
N H L L attention weights are never all in memory: those of a block are discarded after
use and recomputed in the backward pass.

Axes beside those of models.transformer: P groups of G heads; S queries of a block, M
keys that the block's last query attends to.
Source: Dao, "FlashAttention-2" (2023), algorithms 1 and 2.
Differs: a block sees all its keys at once, so that an ordinary softmax suffices.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from gpt1_jax.models import dropout

# The value of a masked logit in the released code.
MASKED = -1e9
# The length from which this is faster, on two cores: see docs/performance.md.
MIN_AUTO_LENGTH = 384
# Queries per block. Every block is compiled, so long texts have longer blocks instead
# of more of them.
_BLOCK_SIZE, _MAX_BLOCKS = 128, 8
# A group has as many heads as keep a block within this many weights: 1 MB in float32.
_MAX_WEIGHTS = 2**18


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def blocked_attention(
    q_NLHK: jax.Array,
    k_NLHK: jax.Array,
    v_NLHK: jax.Array,
    seed_N2: jax.Array | None,
    rate: float,
) -> jax.Array:
    """Returns att_NLHK as attention.causal_attention does, for as many keys as queries.

    Dropout has the masks of dropout.drop on weights (N, H, L, L). Only reverse-mode
    differentiation works.
    Args: seed_N2: the rows' seeds at this site; None when `rate` is 0.
    """
    return _forward(q_NLHK, k_NLHK, v_NLHK, seed_N2, rate)[0]


def _forward(
    q_NLHK: jax.Array,
    k_NLHK: jax.Array,
    v_NLHK: jax.Array,
    seed_N2: jax.Array | None,
    rate: float,
) -> tuple[jax.Array, Any]:
    """Returns the result and the residuals for the gradient."""

    def attend(arrays: Any) -> tuple[jax.Array, jax.Array]:
        """Returns a group's att_NGLK and the logs of its softmax sums, log_sum_NGL1."""
        head_G, q_NGLK, k_NGLK, v_NGLK = arrays
        att, log_sum = [], []
        for block in _blocks(q_NGLK.shape[2]):
            logits_NGSM = block.logits(q_NGLK, k_NGLK)
            max_NGS1 = logits_NGSM.max(-1, keepdims=True)
            weights_NGSM = jnp.exp(logits_NGSM - max_NGS1)
            sum_NGS1 = weights_NGSM.sum(-1, keepdims=True)
            drop = block.make_drop(head_G, seed_N2, rate)
            dropped_NGSM = drop(weights_NGSM).astype(v_NGLK.dtype)
            att_NGSK = _dot("NGSM,NGMK->NGSK", dropped_NGSM, block.keys(v_NGLK))
            att.append((att_NGSK / sum_NGS1).astype(v_NGLK.dtype))
            log_sum.append(max_NGS1 + jnp.log(sum_NGS1))
        return jnp.concatenate(att, 2), jnp.concatenate(log_sum, 2)

    groups = (_head_numbers(q_NLHK), *map(_grouped, (q_NLHK, k_NLHK, v_NLHK)))
    att_PNGLK, log_sum_PNGL1 = jax.lax.map(attend, groups)
    att_NLHK = _ungrouped(att_PNGLK)
    return att_NLHK, (*groups, seed_N2, att_NLHK, log_sum_PNGL1)


def _backward(rate: float, saved: Any, d_att_NLHK: jax.Array) -> tuple:
    """Returns the gradients of q, k and v, and None for the seeds."""
    *groups, seed_N2, att_NLHK, log_sum_PNGL1 = saved
    accumulate = log_sum_PNGL1.dtype
    delta_NLHK = att_NLHK.astype(accumulate) * d_att_NLHK.astype(accumulate)
    delta_PNGL1 = _grouped(delta_NLHK.sum(-1, keepdims=True))

    def differentiate(arrays: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns a group's d_q_NGLK, d_k_NGLK and d_v_NGLK."""
        head_G, q_NGLK, k_NGLK, v_NGLK, d_att_NGLK, log_sum_NGL1, delta_NGL1 = arrays
        dtype, blocks = q_NGLK.dtype, _blocks(q_NGLK.shape[2])
        d_q, d_k, d_v = [], [], []
        for block in blocks:
            queries, keys = block.queries, block.keys
            drop = block.make_drop(head_G, seed_N2, rate)
            weights_NGSM = jnp.exp(block.logits(q_NGLK, k_NGLK) - queries(log_sum_NGL1))
            d_dropped_NGSM = _dot("NGSK,NGMK->NGSM", queries(d_att_NGLK), keys(v_NGLK))
            d_logits_NGSM = weights_NGSM * (drop(d_dropped_NGSM) - queries(delta_NGL1))
            d_logits_NGSM *= q_NGLK.shape[-1] ** -0.5
            d_logits_NGSM = d_logits_NGSM.astype(dtype)
            dropped_NGSM = drop(weights_NGSM).astype(dtype)
            d_q.append(_dot("NGSM,NGMK->NGSK", d_logits_NGSM, keys(k_NGLK)))
            d_k.append(_dot("NGSM,NGSK->NGMK", d_logits_NGSM, queries(q_NGLK)))
            d_v.append(_dot("NGSM,NGSK->NGMK", dropped_NGSM, queries(d_att_NGLK)))
        d_q_NGLK = jnp.concatenate(d_q, 2).astype(dtype)
        d_k_NGLK = _sum_over_blocks(blocks, d_k).astype(dtype)
        return d_q_NGLK, d_k_NGLK, _sum_over_blocks(blocks, d_v).astype(dtype)

    groups = (*groups, _grouped(d_att_NLHK), log_sum_PNGL1, delta_PNGL1)
    return *map(_ungrouped, jax.lax.map(differentiate, groups)), None


blocked_attention.defvjp(_forward, _backward)


@dataclasses.dataclass(frozen=True)
class _Block:
    """Queries `start` .. `stop` of a text of `length`, and the keys before `stop`."""

    start: int
    stop: int
    length: int

    def queries(self, x_NGLK: jax.Array) -> jax.Array:
        """Returns x_NGSK, the part of `x` at the block's queries."""
        return x_NGLK[:, :, self.start : self.stop]

    def keys(self, x_NGLK: jax.Array) -> jax.Array:
        """Returns x_NGMK, the part of `x` at the block's keys."""
        return x_NGLK[:, :, : self.stop]

    def logits(self, q_NGLK: jax.Array, k_NGLK: jax.Array) -> jax.Array:
        """Returns logits_NGSM, masked, in float32 or wider."""
        logits_NGSM = _dot("NGSK,NGMK->NGSM", self.queries(q_NGLK), self.keys(k_NGLK))
        logits_NGSM *= q_NGLK.shape[-1] ** -0.5
        query_11S1, key_111M = self._positions()
        return jnp.where(query_11S1 >= key_111M, logits_NGSM, MASKED)

    def make_drop(
        self, head_G: jax.Array, seed_N2: jax.Array | None, rate: float
    ) -> Any:
        """Returns a function on arrays NGSM with the masks of dropout.drop."""
        if seed_N2 is None:
            return lambda x_NGSM: x_NGSM
        first_N111, second_N111 = (seed_N2[:, i, None, None, None] for i in range(2))
        query_11S1, key_111M = self._positions()
        row_1GS1 = head_G[None, :, None, None] * jnp.uint32(self.length) + query_11S1
        keep_NGSM = dropout.keep_mask(
            first_N111, second_N111, row_1GS1, key_111M, self.length, rate
        )
        return functools.partial(dropout.apply_mask, keep_NGSM, rate=rate)

    def _positions(self) -> tuple[jax.Array, jax.Array]:
        """Returns the positions of the queries and of the keys."""
        key_111M = jnp.arange(self.stop, dtype=jnp.uint32)[None, None, None]
        return key_111M.swapaxes(2, 3)[:, :, self.start :], key_111M


def _blocks(L: int) -> list[_Block]:
    size = _BLOCK_SIZE * -(-L // (_BLOCK_SIZE * _MAX_BLOCKS))
    return [_Block(start, min(start + size, L), L) for start in range(0, L, size)]


def _sum_over_blocks(blocks: list[_Block], parts: list[jax.Array]) -> jax.Array:
    """Returns x_NGLK, the sum of each block's contribution x_NGMK to its keys.

    Each stretch of positions is summed over the later blocks, in one pass over memory;
    padding the contributions to one length would take several.
    """
    sums = []
    for number, block in enumerate(blocks):
        added = [block.queries(part_NGMK) for part_NGMK in parts[number:]]
        sums.append(functools.reduce(jnp.add, added))
    return jnp.concatenate(sums, 2)


def _head_numbers(q_NLHK: jax.Array) -> jax.Array:
    """Returns head_PG, the index of each head, by group."""
    heads = jnp.arange(q_NLHK.shape[2], dtype=jnp.uint32)
    return heads.reshape(-1, _group_size(q_NLHK))


def _group_size(x_NLHK: jax.Array) -> int:
    """Returns G, the largest divisor of H within _MAX_WEIGHTS."""
    N, L, H, _ = x_NLHK.shape
    weights = N * L * max(block.stop - block.start for block in _blocks(L))
    limit = max(1, _MAX_WEIGHTS // max(1, weights))
    return max(size for size in range(1, H + 1) if H % size == 0 and size <= limit)


def _grouped(x_NLHK: jax.Array) -> jax.Array:
    """Returns x_PNGLK, the heads split into groups."""
    N, L, _, K = x_NLHK.shape
    x_NLPGK = x_NLHK.reshape(N, L, -1, _group_size(x_NLHK), K)
    return x_NLPGK.transpose(2, 0, 3, 1, 4)


def _ungrouped(x_PNGLK: jax.Array) -> jax.Array:
    """Returns x_NLHK; undoes _grouped."""
    P, N, G, L, K = x_PNGLK.shape
    return x_PNGLK.transpose(1, 3, 0, 2, 4).reshape(N, L, P * G, K)


def _dot(axes: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the einsum of a and b, accumulated in float32 or wider."""
    accumulate = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.einsum(axes, a, b, preferred_element_type=accumulate)
