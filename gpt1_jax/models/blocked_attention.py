"""Causal attention with dropout, a few heads and queries at a time, for CPUs.

A block of queries is multiplied with the keys up to its own last one, so that little of
what is masked is computed, and in small batches a block stays in a processor's caches.
The weights, N H L L numbers, are never in memory together: those of a block are used
and forgotten, and computed again in the backward pass.

Axes beside those of models.transformer: P groups of G heads; S queries of a block, M
keys that its last one sees.
Source: Dao, "FlashAttention-2" (2023), algorithms 1 and 2.
Differs: a block of queries sees all its keys at once, so that its softmax is ordinary.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from gpt1_jax.models import dropout

# What a masked logit becomes, as released.
MASKED = -1e9
# Texts from this length on are faster so. Measured on two cores: docs/performance.md.
MIN_AUTO_LENGTH = 384
# Queries of a block. Each block is compiled, so that long texts have longer ones.
_BLOCK_SIZE, _MAX_BLOCKS = 128, 8
# Heads are taken together while a block has no more weights, 1 MB in float32.
_MAX_WEIGHTS = 2**18


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def blocked_attention(
    q_NLHK: jax.Array,
    k_NLHK: jax.Array,
    v_NLHK: jax.Array,
    seed_N2: jax.Array | None,
    rate: float,
) -> jax.Array:
    """attention.causal_attention of a text on itself: att_NLHK.

    With the masks of dropout.drop of weights (N, H, L, L). It has a gradient, but
    no forward-mode derivative.
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
        """att_NGLK, and the logarithm of each query's sum, log_sum_NGL1."""
        head_G, q_NGLK, k_NGLK, v_NGLK = arrays
        att, log_sum = [], []
        for block in _blocks(q_NGLK.shape[2]):
            logits_NGSM = block.logits(q_NGLK, k_NGLK)
            most_NGS1 = logits_NGSM.max(-1, keepdims=True)
            weights_NGSM = jnp.exp(logits_NGSM - most_NGS1)
            sum_NGS1 = weights_NGSM.sum(-1, keepdims=True)
            drop = block.make_drop(head_G, seed_N2, rate)
            dropped_NGSM = drop(weights_NGSM).astype(v_NGLK.dtype)
            att_NGSK = _dot("NGSM,NGMK->NGSK", dropped_NGSM, block.seen(v_NGLK))
            att.append((att_NGSK / sum_NGS1).astype(v_NGLK.dtype))
            log_sum.append(most_NGS1 + jnp.log(sum_NGS1))
        return jnp.concatenate(att, 2), jnp.concatenate(log_sum, 2)

    groups = (_head_numbers(q_NLHK), *map(_grouped, (q_NLHK, k_NLHK, v_NLHK)))
    att_PNGLK, log_sum_PNGL1 = jax.lax.map(of_group, groups)
    att_NLHK = _ungrouped(att_PNGLK)
    return att_NLHK, (*groups, seed_N2, att_NLHK, log_sum_PNGL1)


def _backward(rate: float, saved: Any, d_att_NLHK: jax.Array) -> tuple:
    """The gradients of q, k, v and, there being none, of the seeds."""
    *groups, seed_N2, att_NLHK, log_sum_PNGL1 = saved
    accumulate = log_sum_PNGL1.dtype
    delta_NLHK = att_NLHK.astype(accumulate) * d_att_NLHK.astype(accumulate)
    delta_PNGL1 = _grouped(delta_NLHK.sum(-1, keepdims=True))

    def of_group(arrays: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        """d_q_NGLK, d_k_NGLK, d_v_NGLK."""
        head_G, q_NGLK, k_NGLK, v_NGLK, d_att_NGLK, log_sum_NGL1, delta_NGL1 = arrays
        dtype, blocks = q_NGLK.dtype, _blocks(q_NGLK.shape[2])
        d_q, d_k, d_v = [], [], []
        for block in blocks:
            own, seen = block.own, block.seen
            drop = block.make_drop(head_G, seed_N2, rate)
            weights_NGSM = jnp.exp(block.logits(q_NGLK, k_NGLK) - own(log_sum_NGL1))
            d_dropped_NGSM = _dot("NGSK,NGMK->NGSM", own(d_att_NGLK), seen(v_NGLK))
            d_logits_NGSM = weights_NGSM * (drop(d_dropped_NGSM) - own(delta_NGL1))
            d_logits_NGSM *= q_NGLK.shape[-1] ** -0.5
            d_logits_NGSM = d_logits_NGSM.astype(dtype)
            dropped_NGSM = drop(weights_NGSM).astype(dtype)
            d_q.append(_dot("NGSM,NGMK->NGSK", d_logits_NGSM, seen(k_NGLK)))
            d_k.append(_dot("NGSM,NGSK->NGMK", d_logits_NGSM, own(q_NGLK)))
            d_v.append(_dot("NGSM,NGSK->NGMK", dropped_NGSM, own(d_att_NGLK)))
        d_q_NGLK = jnp.concatenate(d_q, 2).astype(dtype)
        d_k_NGLK = _sum_over_blocks(blocks, d_k).astype(dtype)
        return d_q_NGLK, d_k_NGLK, _sum_over_blocks(blocks, d_v).astype(dtype)

    groups = (*groups, _grouped(d_att_NLHK), log_sum_PNGL1, delta_PNGL1)
    return *map(_ungrouped, jax.lax.map(of_group, groups)), None


blocked_attention.defvjp(_forward, _backward)


@dataclasses.dataclass(frozen=True)
class _Block:
    """Queries `start` to `stop` of a text of `length`, and the keys up to `stop`."""

    start: int
    stop: int
    length: int

    def own(self, x_NGLK: jax.Array) -> jax.Array:
        """That of the block's own positions, x_NGSK."""
        return x_NGLK[:, :, self.start : self.stop]

    def seen(self, x_NGLK: jax.Array) -> jax.Array:
        """That of the positions that its last query sees, x_NGMK."""
        return x_NGLK[:, :, : self.stop]

    def logits(self, q_NGLK: jax.Array, k_NGLK: jax.Array) -> jax.Array:
        """logits_NGSM, in float32 at least."""
        logits_NGSM = _dot("NGSK,NGMK->NGSM", self.own(q_NGLK), self.seen(k_NGLK))
        logits_NGSM *= q_NGLK.shape[-1] ** -0.5
        query_11S1, key_111M = self._places()
        return jnp.where(query_11S1 >= key_111M, logits_NGSM, MASKED)

    def make_drop(
        self, head_G: jax.Array, seed_N2: jax.Array | None, rate: float
    ) -> Any:
        """What does to arrays NGSM as drop_rows does to rows of weights (H, L, L)."""
        if seed_N2 is None:
            return lambda x_NGSM: x_NGSM
        first_N111, second_N111 = (seed_N2[:, i, None, None, None] for i in range(2))
        query_11S1, key_111M = self._places()
        row_1GS1 = head_G[None, :, None, None] * jnp.uint32(self.length) + query_11S1
        keep_NGSM = dropout.keep_mask(
            first_N111, second_N111, row_1GS1, key_111M, self.length, rate
        )
        return functools.partial(dropout.apply_mask, keep_NGSM, rate=rate)

    def _places(self) -> tuple[jax.Array, jax.Array]:
        """Of the queries, and of the keys that they see."""
        key_111M = jnp.arange(self.stop, dtype=jnp.uint32)[None, None, None]
        return key_111M.swapaxes(2, 3)[:, :, self.start :], key_111M


def _blocks(L: int) -> list[_Block]:
    size = _BLOCK_SIZE * -(-L // (_BLOCK_SIZE * _MAX_BLOCKS))
    return [_Block(start, min(start + size, L), L) for start in range(0, L, size)]


def _sum_over_blocks(blocks: list[_Block], parts: list[jax.Array]) -> jax.Array:
    """x_NGLK of what each block adds to the keys that it sees, x_NGMK.

    Own positions of a block by own: a pass over memory, where a sum of arrays of
    unequal lengths takes several.
    """
    own = []
    for number, block in enumerate(blocks):
        seen_by = [block.own(part_NGMK) for part_NGMK in parts[number:]]
        own.append(functools.reduce(jnp.add, seen_by))
    return jnp.concatenate(own, 2)


def _head_numbers(q_NLHK: jax.Array) -> jax.Array:
    """As dropout counts, a group in each row: head_PG."""
    heads = jnp.arange(q_NLHK.shape[2], dtype=jnp.uint32)
    return heads.reshape(-1, _group_size(q_NLHK))


def _group_size(x_NLHK: jax.Array) -> int:
    """G, a divisor of H: more heads at once are more work for each operation."""
    N, L, H, _ = x_NLHK.shape
    weights = N * L * max(block.stop - block.start for block in _blocks(L))
    room = max(1, _MAX_WEIGHTS // max(1, weights))
    return max(size for size in range(1, H + 1) if H % size == 0 and size <= room)


def _grouped(x_NLHK: jax.Array) -> jax.Array:
    """x_PNGLK: of the heads' groups."""
    N, L, _, K = x_NLHK.shape
    x_NLPGK = x_NLHK.reshape(N, L, -1, _group_size(x_NLHK), K)
    return x_NLPGK.transpose(2, 0, 3, 1, 4)


def _ungrouped(x_PNGLK: jax.Array) -> jax.Array:
    """x_NLHK again."""
    P, N, G, L, K = x_PNGLK.shape
    return x_PNGLK.transpose(1, 3, 0, 2, 4).reshape(N, L, P * G, K)


def _dot(axes: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """The sum of products, in float32 at least."""
    accumulate = jnp.promote_types(a.dtype, jnp.float32)
    return jnp.einsum(axes, a, b, preferred_element_type=accumulate)
