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


def supports(width: int, dtype: Any) -> bool:
    """Returns whether there are kernels for heads of this width and dtype.

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

    The same masks as dropout.drop of weights (N, H, L, L); sums in float32.
    Args: qkv_NL3HK: queries, keys and values as one projection gives them, so that they
          are not copied apart, nor their gradients together.
          seed_N2: of the rows at this site.
          interpret: runs what the kernels say without a GPU, slowly.
    """
    return _forward(qkv_NL3HK, seed_N2, rate, interpret)[0]


def _forward(
    qkv_NL3HK: jax.Array, seed_N2: jax.Array, rate: float, interpret: bool
) -> tuple[jax.Array, Any]:
    """The result, and what the gradient needs."""
    run = functools.partial(_run_forward, rate=rate, interpret=interpret)
    run = gpu.shard_over_batch(run, "nlchk,ns->nlhk,nhl")
    att_NLHK, log_sum_NHL = run(qkv_NL3HK, seed_N2)
    return att_NLHK, (qkv_NL3HK, seed_N2, att_NLHK, log_sum_NHL)


def _backward(
    rate: float, interpret: bool, saved: Any, d_att_NLHK: jax.Array
) -> tuple[jax.Array, None]:
    """The gradients of qkv_NL3HK and, there being none, of the seeds."""
    qkv_NL3HK, seed_N2, att_NLHK, log_sum_NHL = saved
    delta_NHL = jnp.einsum(
        "NLHK,NLHK->NHL", att_NLHK, d_att_NLHK, preferred_element_type=jnp.float32
    )
    run = functools.partial(_run_backward, rate=rate, interpret=interpret)
    run = gpu.shard_over_batch(run, "nlchk,ns,nlhk,nhl,nhl->nlchk")
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
    call = blocks.make_call(
        _forward_kernel,
        grid=(blocks.count, H, N),
        in_specs=[
            blocks.own_spec(K, 0),
            blocks.whole_spec(K, 1),
            blocks.whole_spec(K, 2),
            _seeds_spec(),
        ],
        out_specs=[blocks.own_spec(K), blocks.own_sums_spec()],
        out_shape=[
            jax.ShapeDtypeStruct((N, blocks.padded, H, K), qkv.dtype),
            jax.ShapeDtypeStruct((N, H, blocks.padded), jnp.float32),
        ],
        interpret=interpret,
    )
    att, log_sum = call(qkv, qkv, qkv, seed_N2)
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
    own_parts = (None, blocks.size, 3, None, K)
    call = blocks.make_call(
        _backward_kernel,
        grid=(blocks.count, H, N),
        in_specs=[
            *(blocks.whole_spec(K, part) for part in range(3)),
            _seeds_spec(),
            blocks.whole_spec(K),
            blocks.whole_sums_spec(),
            blocks.whole_sums_spec(),
        ],
        out_specs=pl.BlockSpec(own_parts, lambda i, h, n: (n, i, 0, h, 0)),
        out_shape=jax.ShapeDtypeStruct(qkv.shape, qkv.dtype),
        interpret=interpret,
    )
    d_qkv = call(qkv, qkv, qkv, seed_N2, d_att, log_sum, delta)
    return (d_qkv[:, :L],)


def _seeds_spec() -> pl.BlockSpec:
    """Both of a row."""
    return pl.BlockSpec((None, 2), lambda i, h, n: (n, 0))


class _Blocks:
    """How a text of `length` is cut, and what is kept of its weights.

    A program has `size` positions of its own, S in the kernels' names, and goes over
    others `step` at a time, T. What pads the text is seen by no real query, and has no
    gradient to pass on.
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

    def own_spec(self, K: int, part: int | None = None) -> pl.BlockSpec:
        """A program's own positions, of a part of qkv or of an array (N, L, H, K)."""
        return self._spec(self.size, K, part, lambda i: i)

    def whole_spec(self, K: int, part: int | None = None) -> pl.BlockSpec:
        """As own_spec, of all positions."""
        return self._spec(self.padded, K, part, lambda i: 0)

    def _spec(self, length: int, K: int, part: int | None, at: Any) -> pl.BlockSpec:
        """`length` positions, the block at(i) of them for program i."""
        if part is None:
            return pl.BlockSpec(
                (None, length, None, K), lambda i, h, n: (n, at(i), h, 0)
            )
        return pl.BlockSpec(
            (None, length, None, None, K), lambda i, h, n: (n, at(i), part, h, 0)
        )

    def own_sums_spec(self) -> pl.BlockSpec:
        """A program's own positions of an array (N, H, L)."""
        return pl.BlockSpec((None, None, self.size), lambda i, h, n: (n, h, i))

    def whole_sums_spec(self) -> pl.BlockSpec:
        """As own_sums_spec, of all positions."""
        return pl.BlockSpec((None, None, self.padded), lambda i, h, n: (n, h, 0))

    def make_call(self, kernel: Any, *, interpret: bool, **specs: Any) -> Any:
        """`kernel` over a grid of (block, head, row). Args: specs: as pallas_call's."""
        params = None
        if not interpret:
            params = _triton()(num_warps=_WARPS, num_stages=_STAGES)
        return pl.pallas_call(
            functools.partial(kernel, blocks=self),
            interpret=interpret,
            name=kernel.__name__.strip("_"),
            compiler_params=params,
            **specs,
        )

    def make_drop(self, seed_ref: Ref) -> Callable[..., Callable[..., jax.Array]]:
        """From queries and keys to what zeroes the weights that drop_rows drops."""
        if not self.rate:
            return lambda query, key: lambda weights: weights
        first, second = seed_ref[0], seed_ref[1]
        head = jnp.uint32(pl.program_id(1) * self.length)

        def at(query: jax.Array, key: jax.Array) -> Callable[..., jax.Array]:
            row, column = head + query.astype(jnp.uint32), key.astype(jnp.uint32)
            keep = dropout.keep_mask(first, second, row, column, self.length, self.rate)
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
    """The product of matrices, summed in float32."""
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
    S, T, own = blocks.size, blocks.step, pl.program_id(0)
    drop_at = blocks.make_drop(seed_ref)
    query_S1 = (own * S + jnp.arange(S))[:, None]
    q_SK = q_ref[...]
    to_log2 = _to_log2(q_SK)

    def add(step: jax.Array, carry: Any, is_masked: bool) -> Any:
        att_SK, most_S, sum_S = carry
        here = pl.ds(step * T, T)
        key_1T = (step * T + jnp.arange(T))[None]
        logits_ST = _dot(q_SK, k_ref[here, :].T)
        if is_masked:
            logits_ST = jnp.where(query_S1 >= key_1T, logits_ST, -jnp.inf)
        new_most_S = jnp.maximum(most_S, logits_ST.max(1))
        shrink_S = jnp.exp2((most_S - new_most_S) * to_log2)
        weights_ST = jnp.exp2(logits_ST * to_log2 - (new_most_S * to_log2)[:, None])
        dropped_ST = drop_at(query_S1, key_1T)(weights_ST)
        att_SK *= shrink_S[:, None]
        att_SK += _dot(dropped_ST.astype(q_SK.dtype), v_ref[here, :])
        return att_SK, new_most_S, sum_S * shrink_S + weights_ST.sum(1)

    start = (
        jnp.zeros(q_SK.shape, jnp.float32),
        jnp.full(S, -jnp.inf, jnp.float32),
        jnp.zeros(S, jnp.float32),
    )
    att_SK, most_S, sum_S = blocks.before(own, add, start)
    att_SK /= (sum_S * (1.0 - blocks.rate))[:, None]
    att_ref[...] = att_SK.astype(att_ref.dtype)
    sum_ref[...] = most_S * to_log2 + jnp.log2(sum_S)


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
    """A block of positions: the gradients of its queries, keys and values.

    So programs take about as long: those with few keys before them have many queries
    after.
    """
    drop_at = blocks.make_drop(seed_ref)
    kept = 1.0 - blocks.rate
    scale = q_ref.shape[-1] ** -0.5 / kept
    refs = (q_ref, k_ref, v_ref, d_att_ref, sum_ref, delta_ref)

    def write(part: int, gradient_SK: jax.Array) -> None:
        d_qkv_ref[:, part, :] = gradient_SK.astype(d_qkv_ref.dtype)

    # Before the others, which need all registers.
    write(0, _query_gradient(refs, drop_at, blocks) * scale)
    d_k_SK, d_v_SK = _key_value_gradients(refs, drop_at, blocks)
    write(1, d_k_SK * scale)
    write(2, d_v_SK / kept)


def _query_gradient(refs: tuple[Ref, ...], drop_at: Any, blocks: _Blocks) -> jax.Array:
    """The gradient of a block's queries but for a factor, d_q_SK."""
    q_ref, k_ref, v_ref, d_att_ref, sum_ref, delta_ref = refs
    S, T, own = blocks.size, blocks.step, pl.program_id(0)
    mine, kept = pl.ds(own * S, S), 1.0 - blocks.rate
    to_log2 = _to_log2(q_ref)
    query_S1 = (own * S + jnp.arange(S))[:, None]
    q_SK, d_att_SK = q_ref[mine, :], d_att_ref[mine, :]
    sum_S1, delta_S1 = sum_ref[mine][:, None], (delta_ref[mine] * kept)[:, None]

    def add(step: jax.Array, d_q_SK: jax.Array, is_masked: bool) -> jax.Array:
        here = pl.ds(step * T, T)
        key_1T = (step * T + jnp.arange(T))[None]
        k_TK, v_TK = k_ref[here, :], v_ref[here, :]
        weights_ST = jnp.exp2(_dot(q_SK, k_TK.T) * to_log2 - sum_S1)
        if is_masked:
            weights_ST = jnp.where(query_S1 >= key_1T, weights_ST, 0.0)
        d_weights_ST = drop_at(query_S1, key_1T)(_dot(d_att_SK, v_TK.T))
        d_logits_ST = weights_ST * (d_weights_ST - delta_S1)
        return d_q_SK + _dot(d_logits_ST.astype(k_TK.dtype), k_TK)

    return blocks.before(own, add, jnp.zeros(q_SK.shape, jnp.float32))


def _key_value_gradients(
    refs: tuple[Ref, ...], drop_at: Any, blocks: _Blocks
) -> tuple[jax.Array, jax.Array]:
    """Those of a block's keys and values but for factors, d_k_SK and d_v_SK."""
    q_ref, k_ref, v_ref, d_att_ref, sum_ref, delta_ref = refs
    S, T, own = blocks.size, blocks.step, pl.program_id(0)
    mine, kept = pl.ds(own * S, S), 1.0 - blocks.rate
    to_log2 = _to_log2(q_ref)
    key_S1 = (own * S + jnp.arange(S))[:, None]
    k_SK, v_SK = k_ref[mine, :], v_ref[mine, :]

    def add(step: jax.Array, carry: Any, is_masked: bool) -> Any:
        d_k_SK, d_v_SK = carry
        here = pl.ds(step * T, T)
        query_1T = (step * T + jnp.arange(T))[None]
        q_TK, d_att_TK = q_ref[here, :], d_att_ref[here, :]
        weights_ST = jnp.exp2(_dot(k_SK, q_TK.T) * to_log2 - sum_ref[here][None])
        if is_masked:
            weights_ST = jnp.where(query_1T >= key_S1, weights_ST, 0.0)
        drop = drop_at(query_1T, key_S1)
        d_v_SK += _dot(drop(weights_ST).astype(v_SK.dtype), d_att_TK)
        d_weights_ST = drop(_dot(v_SK, d_att_TK.T))
        d_logits_ST = weights_ST * (d_weights_ST - (delta_ref[here] * kept)[None])
        return d_k_SK + _dot(d_logits_ST.astype(q_TK.dtype), q_TK), d_v_SK

    zeros_SK = jnp.zeros(k_SK.shape, jnp.float32)
    return blocks.after(own, add, (zeros_SK, zeros_SK))
