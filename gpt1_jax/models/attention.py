"""Causal multi-head attention as a function without parameters.

ModelConfig.attention names the implementation. `xla` is the reference, in this file.
`blocked` computes a block of queries at a time, see models.blocked_attention. `fused`
is one GPU kernel: cuDNN's without dropout, models.flash_attention with dropout.
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
    """Returns att_NLHK, the causal attention of each text to itself.

    Args: qkv_NL3HK: queries, keys and values. They stay one array here, because the
          kernel with dropout reads it without copying.
    """
    K, dtype = qkv_NL3HK.shape[-1], qkv_NL3HK.dtype
    if drop is not None and is_fused(implementation) and _has_kernel(K, dtype):
        return flash_attention.flash_attention(qkv_NL3HK, drop.seed_N2, drop.rate)
    q_NLHK, k_NLHK, v_NLHK = split_qkv(qkv_NL3HK)
    return causal_attention(q_NLHK, k_NLHK, v_NLHK, drop, implementation=implementation)


def split_qkv(qkv_NL3HK: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the queries, keys and values of a joint projection."""
    return qkv_NL3HK[:, :, 0], qkv_NL3HK[:, :, 1], qkv_NL3HK[:, :, 2]


def causal_attention(
    q_NLHK: jax.Array,
    k_NMHK: jax.Array,
    v_NMHK: jax.Array,
    drop: dropout.Dropout | None = None,
    position_NL: jax.Array | None = None,
    *,
    implementation: str = "xla",
) -> jax.Array:
    """Returns att_NLHK = softmax(q k^T / sqrt(K)) v; position L attends to M <= L.

    The softmax is in float32 or wider. A masked logit is -1e9, as in the released code,
    so padding on the right never affects a real position.
    Source: Vaswani et al. 2017, eq. (1); finetune-transformer-lm train.py, `_attn`.
    Args: drop: dropout on the attention weights (N, H, L, M).
          position_NL: the queries' positions among the keys; 0, 1, ... if None.
          implementation: see config.ModelConfig.attention. The reference replaces
          `fused` in float64 and with dropout (only self_attention has that kernel),
          and every implementation when position_NL is given, as in decoding.
    """
    if position_NL is not None:
        return _reference(q_NLHK, k_NMHK, v_NMHK, drop, position_NL)
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
            implementation="cudnn" if _cudnn_supports(q_NLHK) else "xla",
        )
    return _reference(q_NLHK, k_NMHK, v_NMHK, drop, None)


def is_fused(implementation: str) -> bool:
    """Returns whether the implementation is `fused`, which `auto` selects on GPUs."""
    is_auto = implementation == "auto" and jax.default_backend() == "gpu"
    return is_auto or implementation == "fused"


def _is_blocked(implementation: str, q_NLHK: jax.Array, k_NMHK: jax.Array) -> bool:
    """Returns whether to use `blocked`, which `auto` selects for long texts on CPUs.

    It needs as many keys as queries, and sizes that are known: an export may leave
    them symbolic.
    """
    N, L, _, _ = q_NLHK.shape
    if q_NLHK.shape != k_NMHK.shape or not (isinstance(N, int) and isinstance(L, int)):
        return False
    is_long = L >= blocked_attention.MIN_AUTO_LENGTH
    is_auto = implementation == "auto" and jax.default_backend() == "cpu"
    return (is_auto and is_long) or implementation == "blocked"


def missing_kernel(cfg: ModelConfig) -> str:
    """Returns why training cannot use the fused kernel that `cfg` selects, else "".

    Args: cfg: its compute_dtype is resolved, that is, not `auto`.
    """
    if not cfg.attention_dropout or not is_fused(cfg.attention):
        return ""
    K = cfg.width // cfg.num_heads
    if _has_kernel(K, cfg.compute_dtype):
        return ""
    return (
        "this machine has no fused attention kernel with dropout for heads of width "
        f"{K} in {cfg.compute_dtype}; NVIDIA GPUs have one for widths 16, 32 and 64 "
        "in bfloat16; the unfused attention used here needs more time and memory"
    )


def _has_kernel(width: int, dtype: jax.typing.DTypeLike) -> bool:
    """Returns whether this machine has a kernel with dropout for such heads."""
    return _runs_kernels() and flash_attention.supports(width, dtype)


def _cudnn_supports(q_NLHK: jax.Array) -> bool:
    """Returns whether cuDNN's kernels run here and support this width and dtype.

    Source: the checks in jax.nn.dot_product_attention.
    """
    K = q_NLHK.shape[-1]
    is_half = q_NLHK.dtype in (jnp.bfloat16, "float16")
    return _runs_kernels() and is_half and K % 8 == 0 and K <= 128


def _runs_kernels() -> bool:
    """Returns whether the GPU is NVIDIA's, of compute capability 8.0 or higher."""
    if jax.default_backend() != "gpu":
        return False
    major = getattr(jax.devices()[0], "compute_capability", "").partition(".")[0]
    return major.isdigit() and int(major) >= 8


def _reference(
    q_NLHK: jax.Array,
    k_NMHK: jax.Array,
    v_NMHK: jax.Array,
    drop: dropout.Dropout | None,
    position_NL: jax.Array | None,
) -> jax.Array:
    """Computes attention as the implementation `xla`."""
    # Heads come before positions, so that the matrices of the products are contiguous.
    v_NHMK = v_NMHK.swapaxes(1, 2)
    att_NHLM = causal_weights(q_NLHK, k_NMHK, position_NL)
    if drop is not None:
        att_NHLM = drop(att_NHLM)
    att_NHLM = att_NHLM.astype(v_NHMK.dtype)
    return jnp.einsum("NHLM,NHMK->NHLK", att_NHLM, v_NHMK).swapaxes(1, 2)


def causal_weights(
    q_NLHK: jax.Array, k_NMHK: jax.Array, position_NL: jax.Array | None = None
) -> jax.Array:
    """Returns att_NHLM = softmax(q k^T / sqrt(K)), 0 where M > L, in float32 or wider.

    Args: position_NL: the queries' positions among the keys; 0, 1, ... if None.
    """
    K = q_NLHK.shape[-1]
    q_NHLK, k_NHMK = q_NLHK.swapaxes(1, 2), k_NMHK.swapaxes(1, 2)
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
    return jax.nn.softmax(logits_NHLM, axis=-1)
