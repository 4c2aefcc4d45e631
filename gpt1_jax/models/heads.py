"""Output layers as functions: the language-modelling loss and the tasks' logits.

The logits of a batch are by far its largest array: 64 x 512 x 40,478 in the paper's
run, 5 GB. They are computed in chunks of positions, together with their gradient, and
never held all at once.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from gpt1_jax.models.dropout import Array

# In bfloat16 training a vocabulary is padded to a multiple of this.
_VOCAB_MULTIPLE = 128


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def nll_sum(
    h_NLD: jax.Array,
    table_VD: jax.Array,
    targets_NL: jax.Array,
    weight_NL: jax.Array,
    chunk_elements: int,
) -> jax.Array:
    """Returns the sum over N, L of weight * -log softmax(h table^T)[target], in nats.

    Differentiable in h and table. The softmax is in float32 or wider, and so are the
    logits, except in bfloat16 training: there they are bfloat16, which halves the
    memory traffic of a step's largest array.
    Args: chunk_elements: about how many logits to hold at once.
    """

    def add(total: jax.Array, chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
        h, targets, weight = chunk
        nll = token_nll(lm_logits(h, table_VD), targets)
        return total + (nll * weight).sum(), None

    zero = jnp.zeros((), _float_type(h_NLD))
    count = num_chunks(targets_NL.shape, len(table_VD), chunk_elements)
    chunks = _split(count, h_NLD, targets_NL, weight_NL)
    return jax.lax.scan(add, zero, chunks)[0]


def nll(
    h_NLD: jax.Array, table_VD: jax.Array, targets_NL: jax.Array, chunk_elements: int
) -> jax.Array:
    """Returns nll_NL, -log softmax(h table^T)[target] in nats, computed in chunks."""
    count = num_chunks(targets_NL.shape, len(table_VD), chunk_elements)
    found = jax.lax.map(
        lambda chunk: token_nll(lm_logits(chunk[0], table_VD), chunk[1]),
        _split(count, h_NLD, targets_NL),
    )
    return _join(found, targets_NL.shape[1])


def token_nll(logits_NLV: jax.Array, targets_NL: jax.Array) -> jax.Array:
    """Returns nll_NL, -log softmax(logits)[target] in nats."""
    return _nll_and_log_sum_exp(logits_NLV, targets_NL)[0]


def _nll_and_log_sum_exp(
    logits_NLV: jax.Array, targets_NL: jax.Array
) -> tuple[jax.Array, jax.Array]:
    log_sum_exp_NL = jax.nn.logsumexp(logits_NLV, axis=-1)
    # A masked sum: a gather is slow on accelerators, and its gradient on every device.
    at_target_NLV = jnp.where(_is_target(logits_NLV, targets_NL), logits_NLV, 0.0)
    return log_sum_exp_NL - at_target_NLV.sum(-1), log_sum_exp_NL


def _nll_sum_fwd(
    h_NLD: jax.Array,
    table_VD: jax.Array,
    targets_NL: jax.Array,
    weight_NL: jax.Array,
    chunk_elements: int,
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Returns the sum and its gradients.

    d nll / d logits = softmax - onehot(target).
    """
    V = len(table_VD)
    table_PD = _padded(table_VD, h_NLD.dtype)

    def add(carry: Any, chunk: tuple[jax.Array, ...]) -> tuple[Any, jax.Array]:
        total, d_table_DP = carry
        h, targets, weight = chunk
        kept = jnp.einsum("nld,pd->nlp", h, table_PD)

        def logits() -> jax.Array:
            # Called for each use: XLA then fuses the conversion to float32 with the
            # use, instead of keeping a float32 copy.
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
        # This order transposes h instead of the far larger d_logits. N and L are
        # folded because XLA fails on some unfolded products on CPUs without bfloat16.
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
    count = num_chunks(targets_NL.shape, V, chunk_elements)
    chunks = _split(count, h_NLD, targets_NL, weight_NL)
    (total, d_table_DP), d_h = jax.lax.scan(add, zeros, chunks)
    d_h_NLD = _join(d_h, h_NLD.shape[1])
    return total, (d_h_NLD, d_table_DP[:, :V].T, targets_NL, weight_NL)


def _padded(table_VD: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Returns the table in `dtype`; in bfloat16 it is padded with rows of zeros.

    Matrix units multiply bfloat16 in whole tiles, and the paper's vocabulary of 40,478
    is not a multiple of 8.
    """
    table_VD = table_VD.astype(dtype)
    missing = -len(table_VD) % _VOCAB_MULTIPLE if dtype == jnp.bfloat16 else 0
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
    """Returns logits over the next token, h table^T, in float32 or wider."""
    return jnp.einsum(
        "nld,vd->nlv",
        h,
        table_VD.astype(h.dtype),
        preferred_element_type=_float_type(h),
    )


def _is_target(logits_NLV: jax.Array, targets_NL: jax.Array) -> jax.Array:
    vocabulary_V = jnp.arange(logits_NLV.shape[-1])
    return vocabulary_V[None, None, :] == targets_NL[..., None]


def num_chunks(shape: tuple[int, ...], V: int, chunk_elements: int) -> int:
    """Returns into how many chunks along L a batch of shape (N, L) is split.

    A chunk holds at most chunk_elements logits, but at least one position. The
    chunks have equal lengths, unless that needs more than twice as many chunks (as for
    a prime L); then the last one is padded.
    """
    N, L = shape
    needed = -(-L // max(1, chunk_elements // (N * V)))
    equal = (count for count in range(needed, 2 * needed + 1) if L % count == 0)
    return next(equal, needed)


def _split(count: int, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """Splits (N, L, ...) into (count, N, length, ...), padded at the end with zeros.

    N stays whole, as it may be sharded.
    """
    N, L = arrays[0].shape[:2]
    length = -(-L // count)
    missing = count * length - L

    def split(x: jax.Array) -> jax.Array:
        if missing:
            x = jnp.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2))
        return x.reshape(N, count, length, *x.shape[2:]).swapaxes(0, 1)

    return tuple(map(split, arrays))


def _join(chunks: jax.Array, L: int) -> jax.Array:
    """Joins (count, N, length, ...) to (N, L, ...), without the padding."""
    count, N, length = chunks.shape[:3]
    return chunks.swapaxes(0, 1).reshape(N, count * length, *chunks.shape[3:])[:, :L]


def gather_last_token(h_NLD: jax.Array, lengths_BA: Array) -> jax.Array:
    """Returns the hidden state of each sequence's last token, h_BAD.

    Args: h_NLD: N is B and A folded. lengths_BA: the tokens of each sequence.
    """
    B, A = lengths_BA.shape
    last_N11 = lengths_BA.reshape(B * A, 1, 1) - 1
    return jnp.take_along_axis(h_NLD, last_N11, axis=1).reshape(B, A, -1)


def task_logits(head: dict, h_BAD: jax.Array, *, is_choice: bool) -> jax.Array:
    """Returns logits over classes, or over the A answers of a choice: logits_BC.

    Classes: (sum over A of h) W + b. Choice: h W + b of each answer, with one output.
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
    """Returns the parameters without a task's head."""
    return {name: value for name, value in params.items() if name != "head"}


def init_head(key: jax.Array, width: int, num_outputs: int) -> dict:
    """Returns a fresh head: kernel N(0, 0.02), bias 0. Source: train.py, `clf`."""
    kernel_DC = 0.02 * jax.random.normal(key, (width, num_outputs))
    return {"kernel": kernel_DC, "bias": jnp.zeros(num_outputs)}
