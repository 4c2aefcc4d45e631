"""Causal attention with dropout in one kernel, for NVIDIA's GPUs.

Neither the logits nor the weights, N H L L numbers each, are ever in memory: a block of
them is computed, used and forgotten, in the backward pass again, with the masks of
models.dropout, which are functions of a place.

Source: Dao, "FlashAttention-2" (2023), algorithms 1 and 2, in Pallas for Triton.
"""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from gpt1_jax.models import dropout

# Queries and keys of one program, as far as the text is that long.
_BLOCK_Q, _BLOCK_K = 64, 64
_WARPS, _STAGES = 4, 3
Ref = Any  # Pallas's, of a block in memory
_LOG2_E = math.log2(math.e)
_MASKED = -1e9


def takes(width: int, dtype: Any) -> bool:
    """Whether there are kernels for heads of this width and dtype.

    Wider heads need more memory in a multiprocessor than many GPUs have.
    """
    is_half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    return is_half and width in (16, 32, 64) and _triton() is not None


@functools.cache
def _triton() -> Any:
    """Pallas's parameters for Triton, 0.2 s to import; None where JAX has them not.

    JAX 0.11 announces that a later version will not, each time a kernel is lowered.
    """
    try:
        from jax.experimental.pallas.triton import CompilerParams
    except ImportError:
        return None
    warnings.filterwarnings(
        "ignore", "The Pallas Triton backend is deprecated", DeprecationWarning
    )
    return CompilerParams


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def flash_attention(
    q_NLHK: jax.Array,
    k_NLHK: jax.Array,
    v_NLHK: jax.Array,
    seed_N2: jax.Array,
    rate: float,
    interpret: bool = False,
) -> jax.Array:
    """attention.causal_attention with dropout of `rate` on the weights: att_NLHK.

    The same masks as dropout.drop_rows of weights (N, H, L, L); sums in float32.
    Args: seed_N2: of the rows at this site.
          interpret: runs what the kernels say without a GPU, slowly.
    """
    return _forward(q_NLHK, k_NLHK, v_NLHK, seed_N2, rate, interpret)[0]


def _forward(
    q_NLHK: jax.Array,
    k_NLHK: jax.Array,
    v_NLHK: jax.Array,
    seed_N2: jax.Array,
    rate: float,
    interpret: bool,
) -> tuple[jax.Array, Any]:
    run = _on_rows(_run_forward, "nlhk,nlhk,nlhk,ns->nlhk,nhl", rate, interpret)
    att_NLHK, log_sum_NHL = run(q_NLHK, k_NLHK, v_NLHK, seed_N2)
    return att_NLHK, (q_NLHK, k_NLHK, v_NLHK, seed_N2, att_NLHK, log_sum_NHL)


def _backward(
    rate: float, interpret: bool, saved: Any, d_att_NLHK: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, None]:
    q_NLHK, k_NLHK, v_NLHK, seed_N2, att_NLHK, log_sum_NHL = saved
    delta_NHL = jnp.einsum(
        "NLHK,NLHK->NHL", att_NLHK, d_att_NLHK, preferred_element_type=jnp.float32
    )
    run = _on_rows(
        _run_backward,
        "nlhk,nlhk,nlhk,ns,nlhk,nhl,nhl->nlhk,nlhk,nlhk",
        rate,
        interpret,
    )
    gradients = run(q_NLHK, k_NLHK, v_NLHK, seed_N2, d_att_NLHK, log_sum_NHL, delta_NHL)
    return *gradients, None


flash_attention.defvjp(_forward, _backward)


def _on_rows(run: Any, axes: str, rate: float, interpret: bool) -> Any:
    """`run`, that each device does on its own rows n and on all else.

    XLA can't look into a kernel: untold, it would gather all rows on each device.
    """
    run = functools.partial(run, rate=rate, interpret=interpret)
    on_rows = custom_partitioning(lambda *arrays: run(*arrays))
    operands, results = (side.split(",") for side in axes.split("->"))

    def by_rows(mesh: Any, arguments: Any) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec(*arguments[0].sharding.spec[:1]))

    def partition(mesh: Any, arguments: Any, _: Any) -> Any:
        rows = by_rows(mesh, arguments)
        return mesh, run, (rows,) * len(results), (rows,) * len(operands)

    def infer(mesh: Any, arguments: Any, _: Any) -> Any:
        return (by_rows(mesh, arguments),) * len(results)

    on_rows.def_partition(
        partition=partition,
        infer_sharding_from_operands=infer,
        sharding_rule=" -> ".join(
            ", ".join(" ".join(one) for one in side) for side in (operands, results)
        ),
        need_replication_factors=tuple(axis for axis in "lhks" if axis in axes),
    )
    return on_rows


def _run_forward(
    q_NLHK: jax.Array,
    k_NLHK: jax.Array,
    v_NLHK: jax.Array,
    seed_N2: jax.Array,
    *,
    rate: float,
    interpret: bool,
) -> tuple[jax.Array, jax.Array]:
    """att_NLHK and, for the backward pass, each query's log2 of its sum, NHL."""
    N, L, H, K = q_NLHK.shape
    assert H * L * L < 2**32, q_NLHK.shape  # places of a row's mask
    blocks = _Blocks(L, rate)
    q, k, v = (blocks.pad(x, 1) for x in (q_NLHK, k_NLHK, v_NLHK))
    own, whole, own_sum, _, seeds = blocks.specs(K, blocks.of_queries)
    padded = q.shape[1]
    att, log_sum = blocks.call(
        _forward_kernel,
        (padded // blocks.of_queries, H, N),
        [own, whole, whole, seeds],
        [own, own_sum],
        [
            jax.ShapeDtypeStruct(q.shape, q.dtype),
            jax.ShapeDtypeStruct((N, H, padded), jnp.float32),
        ],
        interpret,
    )(q, k, v, seed_N2)
    return att[:, :L], log_sum[:, :, :L]


def _run_backward(
    q_NLHK: jax.Array,
    k_NLHK: jax.Array,
    v_NLHK: jax.Array,
    seed_N2: jax.Array,
    d_att_NLHK: jax.Array,
    log_sum_NHL: jax.Array,
    delta_NHL: jax.Array,
    *,
    rate: float,
    interpret: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of q_NLHK, k_NLHK, v_NLHK."""
    N, L, H, K = q_NLHK.shape
    blocks = _Blocks(L, rate)
    q, k, v, d_att = (blocks.pad(x, 1) for x in (q_NLHK, k_NLHK, v_NLHK, d_att_NLHK))
    log_sum, delta = (blocks.pad(x, 2) for x in (log_sum_NHL, delta_NHL))
    like = jax.ShapeDtypeStruct(q.shape, q.dtype)
    padded = q.shape[1]
    own, whole, own_sum, _, seeds = blocks.specs(K, blocks.of_queries)
    d_q = blocks.call(
        _query_kernel,
        (padded // blocks.of_queries, H, N),
        [own, whole, whole, seeds, own, own_sum, own_sum],
        own,
        like,
        interpret,
    )(q, k, v, seed_N2, d_att, log_sum, delta)
    own, whole, _, whole_sum, seeds = blocks.specs(K, blocks.of_keys)
    d_k, d_v = blocks.call(
        _key_kernel,
        (padded // blocks.of_keys, H, N),
        [whole, own, own, seeds, whole, whole_sum, whole_sum],
        [own, own],
        [like, like],
        interpret,
    )(q, k, v, seed_N2, d_att, log_sum, delta)
    return d_q[:, :L], d_k[:, :L], d_v[:, :L]


class _Blocks:
    """How a text of `length` is cut, and what is kept of its weights.

    What pads it is seen by no real query, and has no gradient to pass on.
    """

    def __init__(self, length: int, rate: float):
        self.length, self.rate = length, rate
        room = max(16, pl.next_power_of_2(length))
        self.of_queries, self.of_keys = min(_BLOCK_Q, room), min(_BLOCK_K, room)
        assert self.of_queries % self.of_keys == 0

    def pad(self, x: jax.Array, axis: int) -> jax.Array:
        """`x` with zeros to the end of the last block of queries."""
        missing = -self.length % self.of_queries
        if not missing:
            return x
        return jnp.pad(x, [(0, missing if i == axis else 0) for i in range(x.ndim)])

    def specs(self, K: int, size: int) -> tuple[pl.BlockSpec, ...]:
        """A program's own block, the whole text; their sums; the row's seeds."""
        padded = self.length + -self.length % self.of_queries
        return (
            pl.BlockSpec((None, size, None, K), lambda i, h, n: (n, i, h, 0)),
            pl.BlockSpec((None, padded, None, K), lambda i, h, n: (n, 0, h, 0)),
            pl.BlockSpec((None, None, size), lambda i, h, n: (n, h, i)),
            pl.BlockSpec((None, None, padded), lambda i, h, n: (n, h, 0)),
            pl.BlockSpec((None, 2), lambda i, h, n: (n, 0)),
        )

    def call(
        self,
        kernel: Any,
        grid: tuple[int, ...],
        in_specs: Any,
        out_specs: Any,
        out_shape: Any,
        interpret: bool,
    ) -> Any:
        """`kernel` over the grid of (block, head, row)."""
        params = None
        if not interpret:
            params = _triton()(num_warps=_WARPS, num_stages=_STAGES)
        return pl.pallas_call(
            functools.partial(kernel, blocks=self),
            grid=grid,
            in_specs=in_specs,
            out_specs=out_specs,
            out_shape=out_shape,
            interpret=interpret,
            name=kernel.__name__.strip("_"),
            compiler_params=params,
        )

    def make_drop(self, seed_ref: Ref) -> Callable[..., jax.Array]:
        """From weights at query and key to those that stay: as drop_rows, unscaled."""
        if not self.rate:
            return lambda weights, query, key: weights
        first, second = seed_ref[0], seed_ref[1]
        head = jnp.uint32(pl.program_id(1) * self.length)

        def drop(weights: jax.Array, query: jax.Array, key: jax.Array) -> jax.Array:
            row, column = head + query.astype(jnp.uint32), key.astype(jnp.uint32)
            keep = dropout.keeps(first, second, row, column, self.length, self.rate)
            return jnp.where(keep, weights, 0.0)

        return drop


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


def _logits(a: jax.Array, b: jax.Array, query: jax.Array, key: jax.Array) -> jax.Array:
    """Base-2 logits of rows of queries and of keys, whichever is `a`; masked."""
    logits = _dot(a, b.T) * (_LOG2_E * a.shape[-1] ** -0.5)
    return jnp.where(query >= key, logits, _MASKED)


def _forward_kernel(
    q_ref: Ref,
    k_ref: Ref,
    v_ref: Ref,
    seed_ref: Ref,
    att_ref: Ref,
    sum_ref: Ref,
    *,
    blocks: _Blocks,
) -> None:
    """A block of queries: its rows of the result."""
    Q, M, drop = blocks.of_queries, blocks.of_keys, blocks.make_drop(seed_ref)
    first = pl.program_id(0) * Q
    query_Q = first + jnp.arange(Q)
    q_QK = q_ref[...]

    def add(block: jax.Array, carry: Any) -> Any:
        att_QK, most_Q, sum_Q = carry
        here = pl.ds(block * M, M)
        key_M = block * M + jnp.arange(M)
        logits_QM = _logits(q_QK, k_ref[here, :], query_Q[:, None], key_M[None])
        new_most_Q = jnp.maximum(most_Q, logits_QM.max(1))
        shrink_Q = jnp.exp2(most_Q - new_most_Q)
        weights_QM = jnp.exp2(logits_QM - new_most_Q[:, None])
        dropped_QM = drop(weights_QM, query_Q[:, None], key_M[None])
        att_QK *= shrink_Q[:, None]
        att_QK += _dot(dropped_QM.astype(q_QK.dtype), v_ref[here, :])
        return att_QK, new_most_Q, sum_Q * shrink_Q + weights_QM.sum(1)

    start = (
        jnp.zeros(q_QK.shape, jnp.float32),
        jnp.full(Q, -jnp.inf, jnp.float32),
        jnp.zeros(Q, jnp.float32),
    )
    end = (first + Q) // M
    att_QK, most_Q, sum_Q = jax.lax.fori_loop(0, end, add, start)
    att_QK /= (sum_Q * (1.0 - blocks.rate))[:, None]
    att_ref[...] = att_QK.astype(att_ref.dtype)
    sum_ref[...] = most_Q + jnp.log2(sum_Q)


def _query_kernel(
    q_ref: Ref,
    k_ref: Ref,
    v_ref: Ref,
    seed_ref: Ref,
    d_att_ref: Ref,
    sum_ref: Ref,
    delta_ref: Ref,
    d_q_ref: Ref,
    *,
    blocks: _Blocks,
) -> None:
    """A block of queries: its rows of the gradient."""
    Q, M, drop = blocks.of_queries, blocks.of_keys, blocks.make_drop(seed_ref)
    first = pl.program_id(0) * Q
    query_Q = first + jnp.arange(Q)
    q_QK, d_att_QK = q_ref[...], d_att_ref[...]
    sum_Q, delta_Q = sum_ref[...], delta_ref[...]

    def add(block: jax.Array, d_q_QK: jax.Array) -> jax.Array:
        here = pl.ds(block * M, M)
        key_M = block * M + jnp.arange(M)
        k_MK, v_MK = k_ref[here, :], v_ref[here, :]
        logits_QM = _logits(q_QK, k_MK, query_Q[:, None], key_M[None])
        weights_QM = jnp.exp2(logits_QM - sum_Q[:, None])
        d_weights_QM = _dot(d_att_QK, v_MK.T) / (1.0 - blocks.rate)
        d_weights_QM = drop(d_weights_QM, query_Q[:, None], key_M[None])
        d_logits_QM = weights_QM * (d_weights_QM - delta_Q[:, None])
        return d_q_QK + _dot(d_logits_QM.astype(k_MK.dtype), k_MK)

    end = (first + Q) // M
    d_q_QK = jax.lax.fori_loop(0, end, add, jnp.zeros(q_QK.shape, jnp.float32))
    d_q_ref[...] = (d_q_QK * q_QK.shape[-1] ** -0.5).astype(d_q_ref.dtype)


def _key_kernel(
    q_ref: Ref,
    k_ref: Ref,
    v_ref: Ref,
    seed_ref: Ref,
    d_att_ref: Ref,
    sum_ref: Ref,
    delta_ref: Ref,
    d_k_ref: Ref,
    d_v_ref: Ref,
    *,
    blocks: _Blocks,
) -> None:
    """A block of keys and values: its rows of their gradients."""
    M = Q = blocks.of_keys
    drop = blocks.make_drop(seed_ref)
    first = pl.program_id(0) * M
    key_M = first + jnp.arange(M)
    k_MK, v_MK = k_ref[...], v_ref[...]

    def add(block: jax.Array, carry: Any) -> Any:
        d_k_MK, d_v_MK = carry
        here = pl.ds(block * Q, Q)
        query_Q = block * Q + jnp.arange(Q)
        q_QK, d_att_QK = q_ref[here, :], d_att_ref[here, :]
        logits_MQ = _logits(k_MK, q_QK, query_Q[None], key_M[:, None])
        weights_MQ = jnp.exp2(logits_MQ - sum_ref[here][None])
        dropped_MQ = drop(weights_MQ, query_Q[None], key_M[:, None])
        d_v_MK += _dot(dropped_MQ.astype(v_MK.dtype), d_att_QK)
        d_weights_MQ = _dot(v_MK, d_att_QK.T) / (1.0 - blocks.rate)
        d_weights_MQ = drop(d_weights_MQ, query_Q[None], key_M[:, None])
        d_logits_MQ = weights_MQ * (d_weights_MQ - delta_ref[here][None])
        return d_k_MK + _dot(d_logits_MQ.astype(q_QK.dtype), q_QK), d_v_MK

    zeros_MK = jnp.zeros(k_MK.shape, jnp.float32)
    end = q_ref.shape[0] // Q
    d_k_MK, d_v_MK = jax.lax.fori_loop(first // Q, end, add, (zeros_MK, zeros_MK))
    d_k_ref[...] = (d_k_MK * k_MK.shape[-1] ** -0.5).astype(d_k_ref.dtype)
    d_v_ref[...] = (d_v_MK / (1.0 - blocks.rate)).astype(d_v_ref.dtype)
