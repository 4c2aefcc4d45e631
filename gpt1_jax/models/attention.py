"""Causal multi-head attention as a function without parameters.

`xla` is written out below and is the reference; `blocked` computes it block by block,
models.blocked_attention; `fused` is a kernel where a GPU has one: cuDNN's flash
attention without dropout, models.flash_attention's with.
"""

import jax
import jax.numpy as jnp

from gpt1_jax.config import ModelConfig
from gpt1_jax.models import blocked_attention, dropout, flash_attention


def self_attention(
    qkv_NL3HK: jax.Array,
    drop: dropout.Dropout | None = None,
    *,
    implementation: str = "xla",
) -> jax.Array:
    """causal_attention of a text on itself, its queries, keys and values together.

    A kernel with dropout takes them as they are; others are given three copies.
    """
    K, dtype = qkv_NL3HK.shape[-1], qkv_NL3HK.dtype
    if drop is not None and is_fused(implementation) and _has_kernel(K, dtype):
        return flash_attention.flash_attention(qkv_NL3HK, drop.seed_N2, drop.rate)
    q, k, v = (qkv_NL3HK[:, :, part] for part in range(3))
    return causal_attention(q, k, v, drop, implementation=implementation)


def causal_attention(
    q_NLHK: jax.Array,
    k_NMHK: jax.Array,
    v_NMHK: jax.Array,
    drop: dropout.Dropout | None = None,
    position_NL: jax.Array | None = None,
    *,
    implementation: str = "xla",
) -> jax.Array:
    """Weighted means of values: att_NLHK, position L seeing positions M <= L.

    softmax(q k^T / sqrt(K)) v, the softmax in float32 at least. A masked logit becomes
    -1e9, as released; so padding on the right never reaches a real position.
    Source: Vaswani et al. 2017, eq. (1); finetune-transformer-lm train.py, `_attn`.
    Args: drop: dropout on the attention weights (N, H, L, M).
          position_NL: of the queries among the keys; 0, 1, ... if None.
          implementation: see config.ModelConfig.attention. `fused` is cuDNN's without
          dropout, where that has the width and the dtype; it is `xla` in float64, and
          with dropout, whose kernel only self_attention knows. All are `xla` where
          there is a position_NL, in decoding.
    """
    if position_NL is not None:
        return _written_out(q_NLHK, k_NMHK, v_NMHK, drop, position_NL)
    if _is_blocked(implementation, q_NLHK, k_NMHK):
        seed_N2, rate = (None, 0.0) if drop is None else (drop.seed_N2, drop.rate)
        return blocked_attention.blocked_attention(
            q_NLHK, k_NMHK, v_NMHK, seed_N2, rate
        )
    is_exact = q_NLHK.dtype == jnp.float64
    if drop is None and not is_exact and is_fused(implementation):
        return jax.nn.dot_product_attention(
            q_NLHK,
            k_NMHK,
            v_NMHK,
            is_causal=True,
            implementation="cudnn" if _cudnn_takes(q_NLHK) else "xla",
        )
    return _written_out(q_NLHK, k_NMHK, v_NMHK, drop, None)


def is_fused(implementation: str) -> bool:
    """Returns whether `fused` is meant: `auto` means it on GPUs."""
    is_auto = implementation == "auto" and jax.default_backend() == "gpu"
    return is_auto or implementation == "fused"


def _is_blocked(implementation: str, q_NLHK: jax.Array, k_NMHK: jax.Array) -> bool:
    """Returns whether `blocked` is meant: `auto` means it on CPUs, for longer texts.

    Not where an export leaves a size open.
    """
    N, L, _, _ = q_NLHK.shape
    if q_NLHK.shape != k_NMHK.shape or not (isinstance(N, int) and isinstance(L, int)):
        return False
    is_long = L >= blocked_attention.MIN_AUTO_LENGTH
    is_auto = implementation == "auto" and jax.default_backend() == "cpu"
    return (is_auto and is_long) or implementation == "blocked"


def missing_kernel(cfg: ModelConfig) -> str:
    """Why training writes attention out though `fused` is meant; "" where it does not.

    Args: cfg: with a compute_dtype that is not `auto`.
    """
    if not cfg.attention_dropout or not is_fused(cfg.attention):
        return ""
    K = cfg.width // cfg.num_heads
    if _has_kernel(K, cfg.compute_dtype):
        return ""
    return (
        f"no kernel here has dropout in heads of {K} in {cfg.compute_dtype}: attention "
        "is written out, which takes more time and memory; NVIDIA's GPUs have one for "
        "heads of 16, 32 and 64 in bfloat16"
    )


def _has_kernel(width: int, dtype: jax.typing.DTypeLike) -> bool:
    """Returns whether there is one here with dropout."""
    return _is_nvidia() and flash_attention.supports(width, dtype)


def _cudnn_takes(q_NLHK: jax.Array) -> bool:
    """Returns whether cuDNN's kernels have this width and dtype.

    Source: jax.nn.dot_product_attention, which refuses others.
    """
    K = q_NLHK.shape[-1]
    is_half = q_NLHK.dtype in (jnp.bfloat16, "float16")
    return _is_nvidia() and is_half and K % 8 == 0 and K <= 128


def _is_nvidia() -> bool:
    """Returns whether the kernels run here: on NVIDIA's GPUs from 8.0 on."""
    if jax.default_backend() != "gpu":
        return False
    major = getattr(jax.devices()[0], "compute_capability", "").partition(".")[0]
    return major.isdigit() and int(major) >= 8


def _written_out(
    q_NLHK: jax.Array,
    k_NMHK: jax.Array,
    v_NMHK: jax.Array,
    drop: dropout.Dropout | None,
    position_NL: jax.Array | None,
) -> jax.Array:
    """The implementation `xla`."""
    K = q_NLHK.shape[-1]
    # Heads lead, as batched matrix products run on contiguous matrices.
    q_NHLK, k_NHMK, v_NHMK = (x.swapaxes(1, 2) for x in (q_NLHK, k_NMHK, v_NMHK))
    accumulate = jnp.promote_types(q_NHLK.dtype, jnp.float32)
    logits_NHLM = jnp.einsum(
        "NHLK,NHMK->NHLM", q_NHLK, k_NHMK, preferred_element_type=accumulate
    )
    L, M = logits_NHLM.shape[-2:]
    if position_NL is None:
        position_NL = jnp.arange(L)[None]
    visible_NLM = position_NL[:, :, None] >= jnp.arange(M)[None, None]
    logits_NHLM = jnp.where(
        visible_NLM[:, None],
        logits_NHLM * K**-0.5,
        jnp.asarray(blocked_attention.MASKED, accumulate),
    )
    att_NHLM = jax.nn.softmax(logits_NHLM, axis=-1)
    if drop is not None:
        att_NHLM = drop(att_NHLM)
    att_NHLM = att_NHLM.astype(v_NHMK.dtype)
    return jnp.einsum("NHLM,NHMK->NHLK", att_NHLM, v_NHMK).swapaxes(1, 2)
