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

from gpt1_jax.models import dropout, gpu

# Positions of a program, and those that it goes over at once, forward and backward.
_SIZE, _STEP, _BACKWARD_STEP = 64, 64, 32
_WARPS, _STAGES = 4, 3
Ref = Any  # Pallas's, of a block in memory
_LOG2_E = math.log2(math.e)


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def flash_attention(
    qkv_NL3HK: jax.Array, seed_N2: jax.Array, rate: float, interpret: bool = False
) -> jax.Array:
    """attention.causal_attention with dropout of `rate` on the weights: att_NLHK.

    The same masks as dropout.drop_rows of weights (N, H, L, L); sums in float32.
    Args: qkv_NL3HK: queries, keys and values as one projection gives them, so that
          neither they nor their gradients are copied.
          seed_N2: of the rows at this site.
          interpret: runs what the kernels say without a GPU, slowly.
    """
    return _forward(qkv_NL3HK, seed_N2, rate, interpret)[0]


def _forward(
    qkv_NL3HK: jax.Array, seed_N2: jax.Array, rate: float, interpret: bool
) -> tuple[jax.Array, Any]:
    run = functools.partial(_run_forward, rate=rate, interpret=interpret)
    run = gpu.on_rows(run, "nlchk,ns->nlhk,nhl")
    att_NLHK, log_sum_NHL = run(qkv_NL3HK, seed_N2)
    return att_NLHK, (qkv_NL3HK, seed_N2, att_NLHK, log_sum_NHL)


def _backward(
    rate: float, interpret: bool, saved: Any, d_att_NLHK: jax.Array
) -> tuple[jax.Array, None]:
    qkv_NL3HK, seed_N2, att_NLHK, log_sum_NHL = saved
    delta_NHL = jnp.einsum(
        "NLHK,NLHK->NHL", att_NLHK, d_att_NLHK, preferred_element_type=jnp.float32
    )
    run = functools.partial(_run_backward, rate=rate, interpret=interpret)
    run = gpu.on_rows(run, "nlchk,ns,nlhk,nhl,nhl->nlchk")
    (d_qkv_NL3HK,) = run(qkv_NL3HK, seed_N2, d_att_NLHK, log_sum_NHL, delta_NHL)
    return d_qkv_NL3HK, None


flash_attention.defvjp(_forward, _backward)


def _run_forward(
    qkv_NL3HK: jax.Array, seed_N2: jax.Array, *, rate: float, interpret: bool
) -> tuple[jax.Array, jax.Array]:
    """att_NLHK and, for the backward pass, each query's log2 of its sum, NHL."""
    N, L, _, H, K = qkv_NL3HK.shape
    assert H * L * L < 2**32, qkv_NL3HK.shape  # places of a row's mask
    blocks = _Blocks(L, rate, _STEP)
    qkv = blocks.pad(qkv_NL3HK, 1)
    att, log_sum = blocks.call(
        _forward_kernel,
        (blocks.count, H, N),
        [blocks.own(K, 0), blocks.whole(K, 1), blocks.whole(K, 2), _seeds()],
        [blocks.own(K), blocks.own_sum()],
        [
            jax.ShapeDtypeStruct((N, blocks.padded, H, K), qkv.dtype),
            jax.ShapeDtypeStruct((N, H, blocks.padded), jnp.float32),
        ],
        interpret,
    )(qkv, qkv, qkv, seed_N2)
    return att[:, :L], log_sum[:, :, :L]


def _run_backward(
    qkv_NL3HK: jax.Array,
    seed_N2: jax.Array,
    d_att_NLHK: jax.Array,
    log_sum_NHL: jax.Array,
    delta_NHL: jax.Array,
    *,
    rate: float,
    interpret: bool,
) -> tuple[jax.Array]:
    """The gradient of qkv_NL3HK."""
    N, L, _, H, K = qkv_NL3HK.shape
    blocks = _Blocks(L, rate, _BACKWARD_STEP)
    qkv, d_att = blocks.pad(qkv_NL3HK, 1), blocks.pad(d_att_NLHK, 1)
    log_sum, delta = blocks.pad(log_sum_NHL, 2), blocks.pad(delta_NHL, 2)
    d_qkv = blocks.call(
        _backward_kernel,
        (blocks.count, H, N),
        [
            *(blocks.whole(K, part) for part in range(3)),
            _seeds(),
            blocks.whole(K),
            blocks.whole_sum(),
            blocks.whole_sum(),
        ],
        pl.BlockSpec((None, blocks.size, 3, None, K), lambda i, h, n: (n, i, 0, h, 0)),
        jax.ShapeDtypeStruct(qkv.shape, qkv.dtype),
        interpret,
    )(qkv, qkv, qkv, seed_N2, d_att, log_sum, delta)
    return (d_qkv[:, :L],)


def _seeds() -> pl.BlockSpec:
    return pl.BlockSpec((None, 2), lambda i, h, n: (n, 0))


class _Blocks:
    """How a text of `length` is cut, and what is kept of its weights.

    A program has `size` positions of its own and goes over others `step` at a time.
    What pads the text is seen by no real query, and has no gradient to pass on.
    """

    def __init__(self, length: int, rate: float, step: int):
        self.length, self.rate = length, rate
        room = max(16, pl.next_power_of_2(length))
        self.size, self.step = min(_SIZE, room), min(step, room)
        assert self.size % self.step == 0
        self.count = -(-length // self.size)
        self.padded = self.count * self.size

    def pad(self, x: jax.Array, axis: int) -> jax.Array:
        """`x` with zeros to the end of the last block."""
        missing = self.padded - self.length
        if not missing:
            return x
        return jnp.pad(x, [(0, missing if i == axis else 0) for i in range(x.ndim)])

    def own(self, K: int, part: int | None = None) -> pl.BlockSpec:
        """A program's own positions, of a part of qkv or of an array (N, L, H, K)."""
        return self._spec(self.size, K, part, lambda i: i)

    def whole(self, K: int, part: int | None = None) -> pl.BlockSpec:
        """As `own`, all positions."""
        return self._spec(self.padded, K, part, lambda i: 0)

    def _spec(self, length: int, K: int, part: int | None, at: Any) -> pl.BlockSpec:
        if part is None:
            return pl.BlockSpec(
                (None, length, None, K), lambda i, h, n: (n, at(i), h, 0)
            )
        return pl.BlockSpec(
            (None, length, None, None, K), lambda i, h, n: (n, at(i), part, h, 0)
        )

    def own_sum(self) -> pl.BlockSpec:
        """A program's own positions of an array (N, H, L)."""
        return pl.BlockSpec((None, None, self.size), lambda i, h, n: (n, h, i))

    def whole_sum(self) -> pl.BlockSpec:
        """As `own_sum`, all positions."""
        return pl.BlockSpec((None, None, self.padded), lambda i, h, n: (n, h, 0))

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

    def make_drop(self, seed_ref: Ref) -> Callable[..., Callable[..., jax.Array]]:
        """From queries and keys to what zeroes the weights that drop_rows drops."""
        if not self.rate:
            return lambda query, key: lambda weights: weights
        first, second = seed_ref[0], seed_ref[1]
        head = jnp.uint32(pl.program_id(1) * self.length)

        def at(query: jax.Array, key: jax.Array) -> Callable[..., jax.Array]:
            row, column = head + query.astype(jnp.uint32), key.astype(jnp.uint32)
            keep = dropout.keeps(first, second, row, column, self.length, self.rate)
            return lambda weights: jnp.where(keep, weights, 0.0)

        return at

    def before(self, own: jax.Array, add: Any, carry: Any) -> Any:
        """`add` over the steps up to and with the program's own block `own`.

        add(step, carry, is_masked): is_masked where a step reaches beyond a query.
        """
        steps = self.size // self.step
        carry = jax.lax.fori_loop(
            0, own * steps, lambda step, carry: add(step, carry, False), carry
        )
        for step in range(steps):
            carry = add(own * steps + step, carry, True)
        return carry

    def after(self, own: jax.Array, add: Any, carry: Any) -> Any:
        """As `before`, from the own block on to the end."""
        steps = self.size // self.step
        for step in range(steps):
            carry = add(own * steps + step, carry, True)
        return jax.lax.fori_loop(
            (own + 1) * steps,
            self.count * steps,
            lambda step, carry: add(step, carry, False),
            carry,
        )


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


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
    Q, M, own = blocks.size, blocks.step, pl.program_id(0)
    drop_at = blocks.make_drop(seed_ref)
    query_Q1 = (own * Q + jnp.arange(Q))[:, None]
    q_QK = q_ref[...]
    to_log2 = _to_log2(q_QK)

    def add(step: jax.Array, carry: Any, is_masked: bool) -> Any:
        att_QK, most_Q, sum_Q = carry
        here = pl.ds(step * M, M)
        key_1M = (step * M + jnp.arange(M))[None]
        logits_QM = _dot(q_QK, k_ref[here, :].T)
        if is_masked:
            logits_QM = jnp.where(query_Q1 >= key_1M, logits_QM, -jnp.inf)
        new_most_Q = jnp.maximum(most_Q, logits_QM.max(1))
        shrink_Q = jnp.exp2((most_Q - new_most_Q) * to_log2)
        weights_QM = jnp.exp2(logits_QM * to_log2 - (new_most_Q * to_log2)[:, None])
        dropped_QM = drop_at(query_Q1, key_1M)(weights_QM)
        att_QK *= shrink_Q[:, None]
        att_QK += _dot(dropped_QM.astype(q_QK.dtype), v_ref[here, :])
        return att_QK, new_most_Q, sum_Q * shrink_Q + weights_QM.sum(1)

    start = (
        jnp.zeros(q_QK.shape, jnp.float32),
        jnp.full(Q, -jnp.inf, jnp.float32),
        jnp.zeros(Q, jnp.float32),
    )
    att_QK, most_Q, sum_Q = blocks.before(own, add, start)
    att_QK /= (sum_Q * (1.0 - blocks.rate))[:, None]
    att_ref[...] = att_QK.astype(att_ref.dtype)
    sum_ref[...] = most_Q * to_log2 + jnp.log2(sum_Q)


def _to_log2(x: jax.Array) -> float:
    """By what a product of queries and keys becomes the logarithm of a weight."""
    return _LOG2_E * x.shape[-1] ** -0.5


def _backward_kernel(
    q_ref: Ref,
    k_ref: Ref,
    v_ref: Ref,
    seed_ref: Ref,
    d_att_ref: Ref,
    sum_ref: Ref,
    delta_ref: Ref,
    d_qkv_ref: Ref,
    *,
    blocks: _Blocks,
) -> None:
    """A block of positions: the gradient of its queries, keys and values.

    Programs take equally long: those with few keys before them have many queries after.
    """
    S, T, own = blocks.size, blocks.step, pl.program_id(0)
    drop_at = blocks.make_drop(seed_ref)
    kept = 1.0 - blocks.rate
    mine = pl.ds(own * S, S)
    position_S = own * S + jnp.arange(S)
    to_log2 = _to_log2(q_ref)
    scale = q_ref.shape[-1] ** -0.5 / kept
    zeros_SK = jnp.zeros((S, q_ref.shape[-1]), jnp.float32)

    q_SK, d_att_SK = q_ref[mine, :], d_att_ref[mine, :]
    sum_S1, delta_S1 = sum_ref[mine][:, None], (delta_ref[mine] * kept)[:, None]

    def add_keys(step: jax.Array, d_q_SK: jax.Array, is_masked: bool) -> jax.Array:
        here = pl.ds(step * T, T)
        query_S1, key_1T = position_S[:, None], (step * T + jnp.arange(T))[None]
        k_TK, v_TK = k_ref[here, :], v_ref[here, :]
        weights_ST = jnp.exp2(_dot(q_SK, k_TK.T) * to_log2 - sum_S1)
        if is_masked:
            weights_ST = jnp.where(query_S1 >= key_1T, weights_ST, 0.0)
        d_weights_ST = drop_at(query_S1, key_1T)(_dot(d_att_SK, v_TK.T))
        d_logits_ST = weights_ST * (d_weights_ST - delta_S1)
        return d_q_SK + _dot(d_logits_ST.astype(k_TK.dtype), k_TK)

    d_q_SK = blocks.before(own, add_keys, zeros_SK)
    d_qkv_ref[:, 0, :] = (d_q_SK * scale).astype(d_qkv_ref.dtype)

    k_SK, v_SK = k_ref[mine, :], v_ref[mine, :]

    def add_queries(step: jax.Array, carry: Any, is_masked: bool) -> Any:
        d_k_SK, d_v_SK = carry
        here = pl.ds(step * T, T)
        query_1T, key_S1 = (step * T + jnp.arange(T))[None], position_S[:, None]
        q_TK, d_att_TK = q_ref[here, :], d_att_ref[here, :]
        weights_ST = jnp.exp2(_dot(k_SK, q_TK.T) * to_log2 - sum_ref[here][None])
        if is_masked:
            weights_ST = jnp.where(query_1T >= key_S1, weights_ST, 0.0)
        drop = drop_at(query_1T, key_S1)
        d_v_SK += _dot(drop(weights_ST).astype(v_SK.dtype), d_att_TK)
        d_weights_ST = drop(_dot(v_SK, d_att_TK.T))
        d_logits_ST = weights_ST * (d_weights_ST - (delta_ref[here] * kept)[None])
        return d_k_SK + _dot(d_logits_ST.astype(q_TK.dtype), q_TK), d_v_SK

    d_k_SK, d_v_SK = blocks.after(own, add_queries, (zeros_SK, zeros_SK))
    d_qkv_ref[:, 1, :] = (d_k_SK * scale).astype(d_qkv_ref.dtype)
    d_qkv_ref[:, 2, :] = (d_v_SK / kept).astype(d_qkv_ref.dtype)
