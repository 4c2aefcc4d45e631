"""Output layers as functions: the language-modelling loss without its logits; tasks.

The logits of a batch are by far its largest array (64 x 512 x 40,478 in the paper's
run, 5 GB). Here they exist a chunk of positions at a time, and their gradient is taken
while the chunk is at hand.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from gpt1_jax.models.dropout import Array

# Entries that a vocabulary is padded to a multiple of, where it is.
_UNIT = 128


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def nll_sum(
    h_NLD: jax.Array,
    table_VD: jax.Array,
    targets_NL: jax.Array,
    weight_NL: jax.Array,
    chunk_elements: int,
) -> jax.Array:
    """sum over N, L of weight * -log softmax(h table^T)[target], in nats.

    Differentiable in h and table. The softmax is in float32 at least; so are logits,
    but where gradients are taken in bfloat16: half of what a step moves to and fro for
    its largest array.
    Args: chunk_elements: how many logits to hold at once, about.
    """

    def add(total: jax.Array, chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        h, targets, weight = chunk
        nll = token_nll(lm_logits(h, table_VD), targets)
        return total + (nll * weight).sum(), None

    zero = jnp.zeros((), _float_type(h_NLD))
    chunks = _chunks(h_NLD, targets_NL, weight_NL, len(table_VD), chunk_elements)
    return jax.lax.scan(add, zero, chunks)[0]


def nll(
    h_NLD: jax.Array, table_VD: jax.Array, targets_NL: jax.Array, chunk_elements: int
) -> jax.Array:
    """-log softmax(h table^T)[target], in nats, a chunk of logits at a time: nll_NL."""
    chunks = _chunks(h_NLD, targets_NL, targets_NL, len(table_VD), chunk_elements)
    found = jax.lax.map(
        lambda chunk: token_nll(lm_logits(chunk[0], table_VD), chunk[1]), chunks
    )
    return found.swapaxes(0, 1).reshape(targets_NL.shape)


def token_nll(logits_NLV: jax.Array, targets_NL: jax.Array) -> jax.Array:
    """-log softmax(logits)[target], in nats: nll_NL."""
    return _nll_and_log_sum_exp(logits_NLV, targets_NL)[0]


def _nll_and_log_sum_exp(
    logits_NLV: jax.Array, targets_NL: jax.Array
) -> tuple[jax.Array, jax.Array]:
    log_sum_exp_NL = jax.nn.logsumexp(logits_NLV, axis=-1)
    # A masked sum, as a gather is slow on accelerators and its gradient everywhere.
    at_target_NLV = jnp.where(_is_target(logits_NLV, targets_NL), logits_NLV, 0.0)
    return log_sum_exp_NL - at_target_NLV.sum(-1), log_sum_exp_NL


def _nll_sum_fwd(
    h_NLD: jax.Array,
    table_VD: jax.Array,
    targets_NL: jax.Array,
    weight_NL: jax.Array,
    chunk_elements: int,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The sum, and its gradients: d nll / d logits = softmax - onehot(target)."""

    V = len(table_VD)
    table_PD = _padded(table_VD, h_NLD.dtype)

    def add(carry: Any, chunk: tuple[jax.Array, ...]) -> tuple[Any, jax.Array]:
        total, d_table_DP = carry
        h, targets, weight = chunk
        kept = jnp.einsum("nld,pd->nlp", h, table_PD)

        def logits() -> jax.Array:
            """Widened anew for the sums and for the gradient, so that XLA may fuse each
            with what uses it and need not keep a wider copy."""
            wide = kept.astype(total.dtype)
            if len(table_PD) == V:
                return wide
            is_entry_P = jnp.arange(len(table_PD)) < V
            return jnp.where(is_entry_P[None, None], wide, -jnp.inf)

        nll, log_sum_exp = _nll_and_log_sum_exp(logits(), targets)
        weight = weight[..., None]
        softmax = jnp.exp(logits() - log_sum_exp[..., None])
        d_logits = (softmax - _is_target(kept, targets)) * weight
        d_logits = d_logits.astype(h.dtype)
        d_h = jnp.einsum("nlp,pd->nld", d_logits, table_PD)
        # The product that has h, not the far larger d_logits, transposed; positions
        # folded, as XLA on CPUs without bfloat16 fails on some unfolded ones.
        d_table_DP += jnp.einsum(
            "td,tp->dp",
            h.reshape(-1, h.shape[-1]),
            d_logits.reshape(-1, d_logits.shape[-1]),
            preferred_element_type=d_table_DP.dtype,
        )
        return (total + (nll * weight[..., 0]).sum(), d_table_DP), d_h

    zeros = (
        jnp.zeros((), _float_type(h_NLD)),
        jnp.zeros(table_PD.T.shape, table_VD.dtype),
    )
    chunks = _chunks(h_NLD, targets_NL, weight_NL, V, chunk_elements)
    (total, d_table_DP), d_h = jax.lax.scan(add, zeros, chunks)
    return total, (_join(d_h), d_table_DP[:, :V].T, targets_NL, weight_NL)


def _padded(table_VD: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """The table as training's products take it, in bfloat16 with zero rows to _UNIT.

    The units that multiply bfloat16 want whole tiles: the paper's vocabulary, 40,478,
    is no multiple of 8.
    """
    table_VD = table_VD.astype(dtype)
    missing = -len(table_VD) % _UNIT if dtype == jnp.bfloat16 else 0
    return jnp.pad(table_VD, ((0, missing), (0, 0))) if missing else table_VD


def _nll_sum_bwd(
    chunk_elements: int, residuals: tuple[jax.Array, ...], d_total: jax.Array
) -> tuple[jax.Array, ...]:
    d_h_NLD, d_table_VD, targets_NL, weight_NL = residuals
    d_h_NLD = d_h_NLD * d_total.astype(d_h_NLD.dtype)
    no_gradient = jnp.zeros(targets_NL.shape, jax.dtypes.float0)
    return d_h_NLD, d_table_VD * d_total, no_gradient, jnp.zeros_like(weight_NL)


nll_sum.defvjp(_nll_sum_fwd, _nll_sum_bwd)


def _float_type(h: jax.Array) -> jnp.dtype:
    return jnp.promote_types(h.dtype, jnp.float32)


def lm_logits(h: jax.Array, table_VD: jax.Array) -> jax.Array:
    """Logits over the next token, h_NLD times the token table, in float32 at least."""
    return jnp.einsum(
        "nld,vd->nlv",
        h,
        table_VD.astype(h.dtype),
        preferred_element_type=_float_type(h),
    )


def _is_target(logits_NLV: jax.Array, targets_NL: jax.Array) -> jax.Array:
    vocabulary_V = jnp.arange(logits_NLV.shape[-1])
    return vocabulary_V[None, None, :] == targets_NL[..., None]


def _chunks(
    h_NLD: jax.Array,
    targets_NL: jax.Array,
    weight_NL: jax.Array,
    V: int,
    chunk_elements: int,
) -> tuple[jax.Array, ...]:
    """Arrays as (chunks, N, L / chunks, ...): cut along L, so that N stays sharded."""
    N, L, _ = h_NLD.shape
    wanted = N * L * V / chunk_elements
    count = next(c for c in range(1, L + 1) if L % c == 0 and (c >= wanted or c == L))

    def cut(x: jax.Array) -> jax.Array:
        return x.reshape(N, count, L // count, *x.shape[2:]).swapaxes(0, 1)

    return cut(h_NLD), cut(targets_NL), cut(weight_NL)


def _join(chunks: jax.Array) -> jax.Array:
    """(chunks, N, L / chunks, D) back to (N, L, D)."""
    count, N, length, D = chunks.shape
    return chunks.swapaxes(0, 1).reshape(N, count * length, D)


def gather_last_token(h_NLD: jax.Array, lengths_BA: Array) -> jax.Array:
    """The hidden state of each sequence's last token, unfolded: h_BAD.

    Args: lengths_BA: how many tokens each sequence has; N is B and A folded.
    """
    B, A = lengths_BA.shape
    last_N11 = lengths_BA.reshape(B * A, 1, 1) - 1
    return jnp.take_along_axis(h_NLD, last_N11, axis=1).reshape(B, A, -1)


def task_logits(head: dict, h_BAD: jax.Array, *, is_choice: bool) -> jax.Array:
    """Logits over classes, or over the A sequences of a choice: logits_BC.

    Classes: (sum over A of h) W + b. A choice: h W + b, with one output, for each.
    Source: Radford et al. 2018, Sec. 3.2 and 3.3, Figure 1.
    """
    dtype = _float_type(h_BAD)
    kernel_DC, bias_C = (head[name].astype(dtype) for name in ("kernel", "bias"))
    h_BAD = h_BAD.astype(dtype)
    if is_choice:
        return (jnp.einsum("BAD,DC->BAC", h_BAD, kernel_DC) + bias_C[None, None])[
            ..., 0
        ]
    return jnp.einsum("BD,DC->BC", h_BAD.sum(1), kernel_DC) + bias_C[None]


def backbone_of(params: dict) -> dict:
    """The parameters without a task's head."""
    return {name: value for name, value in params.items() if name != "head"}


def init_head(key: jax.Array, width: int, num_outputs: int) -> dict:
    """A fresh head: kernel N(0, 0.02), bias 0. Source: train.py, `clf`."""
    kernel_DC = 0.02 * jax.random.normal(key, (width, num_outputs))
    return {"kernel": kernel_DC, "bias": jnp.zeros(num_outputs)}
