"""Causal attention with dropout as one kernel for NVIDIA GPUs.

The N H L L logits and weights are never in memory. A block of them is computed, used
and discarded, and recomputed in the backward pass; so is its dropout mask, which
models.dropout computes from the position alone.
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

# Positions that a program owns, and positions per step of its loop over the others.
_SIZE, _STEP, _BACKWARD_STEP = 64, 64, 32
_WARPS, _STAGES = 4, 3
Ref = Any  # a Pallas reference to a block in memory
_LOG2_E = math.log2(math.e)


def supports(width: int, dtype: Any) -> bool:
    """Returns whether the kernels support heads of this width and dtype.

    Wider heads need more shared memory than many GPUs have.
    """
    is_half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    return is_half and width in (16, 32, 64) and _triton() is not None


@functools.cache
def _triton() -> Any:
    """Returns Pallas's class of Triton parameters, or None if JAX lacks it.

    Importing it takes 0.2 s. JAX 0.11 warns, on each lowering, of its removal.
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
    """Returns att_NLHK as attention.self_attention does with dropout of `rate`.

    Dropout has the masks of dropout.drop on weights (N, H, L, L); sums are in float32.
    Args: qkv_NL3HK: queries, keys and values in one array; neither they nor their
          gradients are copied.
          seed_N2: the rows' seeds at this site.
          interpret: run the kernels in Pallas's slow interpreter, without a GPU.
    """
    return _forward(qkv_NL3HK, seed_N2, rate, interpret)[0]


def _forward(
    qkv_NL3HK: jax.Array, seed_N2: jax.Array, rate: float, interpret: bool
) -> tuple[jax.Array, Any]:
    """Returns the result and the residuals for the gradient."""
    run = functools.partial(_run_forward, rate=rate, interpret=interpret)
    run = gpu.shard_over_batch(run, "nlchk,ns->nlhk,nhl")
    att_NLHK, log_sum_NHL = run(qkv_NL3HK, seed_N2)
    return att_NLHK, (qkv_NL3HK, seed_N2, att_NLHK, log_sum_NHL)


def _backward(
    rate: float, interpret: bool, saved: Any, d_att_NLHK: jax.Array
) -> tuple[jax.Array, None]:
    """Returns the gradient of qkv_NL3HK, and None for the seeds."""
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
    """Returns att_NLHK and the base-2 logs of the softmax sums, log_sum_NHL."""
    N, L, _, H, K = qkv_NL3HK.shape
    assert H * L * L < 2**32, qkv_NL3HK.shape  # a row's mask has 32-bit indices
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
    """Returns the gradient of qkv_NL3HK, as a tuple of one array."""
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
    """Returns the spec of a row's two seeds."""
    return pl.BlockSpec((None, 2), lambda i, h, n: (n, 0))


class _Blocks:
    """The split of a text of `length` among programs, and dropout of its weights.

    A program owns a block of `size` positions (axis S) and loops over the other
    positions `step` at a time (axis T). The text is padded to whole blocks; no real
    query attends to padding, and the gradient of padding is 0.
    """

    def __init__(self, length: int, rate: float, step: int):
        self.length, self.rate = length, rate
        largest = max(16, pl.next_power_of_2(length))
        self.size, self.step = min(_SIZE, largest), min(step, largest)
        assert self.size % self.step == 0
        self.count = -(-length // self.size)
        self.padded = self.count * self.size

    def pad(self, x: jax.Array, axis: int) -> jax.Array:
        """Returns `x` padded along `axis` with zeros to whole blocks."""
        missing = self.padded - self.length
        if not missing:
            return x
        return jnp.pad(x, [(0, missing if i == axis else 0) for i in range(x.ndim)])

    def own_spec(self, K: int, part: int | None = None) -> pl.BlockSpec:
        """Returns the spec of the program's block in an array (N, L, H, K).

        Args: part: 0, 1 or 2 for the queries, keys or values in qkv_NL3HK instead.
        """
        return self._spec(self.size, K, part, lambda i: i)

    def whole_spec(self, K: int, part: int | None = None) -> pl.BlockSpec:
        """Returns the spec of all positions; arguments as for own_spec."""
        return self._spec(self.padded, K, part, lambda i: 0)

    def _spec(self, length: int, K: int, part: int | None, at: Any) -> pl.BlockSpec:
        """Returns the spec that gives program i block at(i) of `length` positions."""
        if part is None:
            return pl.BlockSpec(
                (None, length, None, K), lambda i, h, n: (n, at(i), h, 0)
            )
        return pl.BlockSpec(
            (None, length, None, None, K), lambda i, h, n: (n, at(i), part, h, 0)
        )

    def own_sums_spec(self) -> pl.BlockSpec:
        """Returns the spec of the program's block in an array (N, H, L)."""
        return pl.BlockSpec((None, None, self.size), lambda i, h, n: (n, h, i))

    def whole_sums_spec(self) -> pl.BlockSpec:
        """Returns the spec of all positions in an array (N, H, L)."""
        return pl.BlockSpec((None, None, self.padded), lambda i, h, n: (n, h, 0))

    def make_call(self, kernel: Any, *, interpret: bool, **specs: Any) -> Any:
        """Returns the call of `kernel` over a grid of (block, head, row).

        Args: specs: arguments of pallas_call.
        """
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
        """Returns (query, key) -> (weights -> weights with dropped ones at 0)."""
        if not self.rate:
            return lambda query, key: lambda weights: weights
        first, second = seed_ref[0], seed_ref[1]
        head = jnp.uint32(pl.program_id(1) * self.length)

        def drop_at(query: jax.Array, key: jax.Array) -> Callable[..., jax.Array]:
            row, column = head + query.astype(jnp.uint32), key.astype(jnp.uint32)
            keep = dropout.keep_mask(first, second, row, column, self.length, self.rate)
            return lambda weights: jnp.where(keep, weights, 0.0)

        return drop_at

    def loop_before(self, own: jax.Array, add: Any, carry: Any) -> Any:
        """Folds `add` over the steps from the first to the end of block `own`.

        Args: add: (step, carry, is_masked) -> carry. is_masked: some of the step's
              keys come after some of its queries.
        """
        steps = self.size // self.step
        carry = jax.lax.fori_loop(
            0, own * steps, lambda step, carry: add(step, carry, False), carry
        )
        for step in range(steps):
            carry = add(own * steps + step, carry, True)
        return carry

    def loop_after(self, own: jax.Array, add: Any, carry: Any) -> Any:
        """Folds `add` as loop_before does, from the start of block `own` to the end."""
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
    """Returns the matrix product, accumulated in float32."""
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
    """Computes the attention of a block of queries."""
    S, T, own = blocks.size, blocks.step, pl.program_id(0)
    drop_at = blocks.make_drop(seed_ref)
    query_S1 = (own * S + jnp.arange(S))[:, None]
    q_SK = q_ref[...]
    to_log2 = _to_log2(q_SK)

    def add(step: jax.Array, carry: Any, is_masked: bool) -> Any:
        att_SK, max_S, sum_S = carry
        here = pl.ds(step * T, T)
        key_1T = (step * T + jnp.arange(T))[None]
        logits_ST = _dot(q_SK, k_ref[here, :].T)
        if is_masked:
            logits_ST = jnp.where(query_S1 >= key_1T, logits_ST, -jnp.inf)
        new_max_S = jnp.maximum(max_S, logits_ST.max(1))
        shrink_S = jnp.exp2((max_S - new_max_S) * to_log2)
        weights_ST = jnp.exp2(logits_ST * to_log2 - (new_max_S * to_log2)[:, None])
        dropped_ST = drop_at(query_S1, key_1T)(weights_ST)
        att_SK *= shrink_S[:, None]
        att_SK += _dot(dropped_ST.astype(q_SK.dtype), v_ref[here, :])
        return att_SK, new_max_S, sum_S * shrink_S + weights_ST.sum(1)

    start = (
        jnp.zeros(q_SK.shape, jnp.float32),
        jnp.full(S, -jnp.inf, jnp.float32),
        jnp.zeros(S, jnp.float32),
    )
    att_SK, max_S, sum_S = blocks.loop_before(own, add, start)
    att_SK /= (sum_S * (1.0 - blocks.rate))[:, None]
    att_ref[...] = att_SK.astype(att_ref.dtype)
    sum_ref[...] = max_S * to_log2 + jnp.log2(sum_S)


def _to_log2(x: jax.Array) -> float:
    """Returns the factor from q k^T to the base-2 log of an unnormalised weight."""
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
    """Computes the gradients of a block's queries, keys and values.

    One program does all three, so that programs take about equally long: a block with
    few keys before it has many queries after it.
    """
    drop_at = blocks.make_drop(seed_ref)
    kept = 1.0 - blocks.rate
    scale = q_ref.shape[-1] ** -0.5 / kept
    refs = (q_ref, k_ref, v_ref, d_att_ref, sum_ref, delta_ref)

    def write(part: int, gradient_SK: jax.Array) -> None:
        d_qkv_ref[:, part, :] = gradient_SK.astype(d_qkv_ref.dtype)

    # First, because the other two gradients need all registers.
    write(0, _query_gradient(refs, drop_at, blocks) * scale)
    d_k_SK, d_v_SK = _key_value_gradients(refs, drop_at, blocks)
    write(1, d_k_SK * scale)
    write(2, d_v_SK / kept)


def _query_gradient(refs: tuple[Ref, ...], drop_at: Any, blocks: _Blocks) -> jax.Array:
    """Returns d_q_SK, the gradient of a block's queries up to a constant factor."""
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

    return blocks.loop_before(own, add, jnp.zeros(q_SK.shape, jnp.float32))


def _key_value_gradients(
    refs: tuple[Ref, ...], drop_at: Any, blocks: _Blocks
) -> tuple[jax.Array, jax.Array]:
    """Returns d_k_SK and d_v_SK, up to constant factors."""
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
    return blocks.loop_after(own, add, (zeros_SK, zeros_SK))
