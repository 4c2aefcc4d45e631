"""Causal multi-head attention as a function without parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def causal_attention(
    q_NLHK: jax.Array,
    k_NMHK: jax.Array,
    v_NMHK: jax.Array,
    drop: Callable[[jax.Array], jax.Array] = lambda att_NHLM: att_NHLM,
    position_NL: jax.Array | None = None,
) -> jax.Array:
    """Weighted means of values: att_NLHK, position L seeing positions M <= L.

    softmax(q k^T / sqrt(K)) v, the softmax in float32 at least. A masked logit becomes
    -1e9, as released; so padding on the right never reaches a real position.
    Source: Vaswani et al. 2017, eq. (1); finetune-transformer-lm train.py, `_attn`.
    Args: drop: dropout on the attention weights, (N, H, L, M) to the same.
          position_NL: of the queries among the keys; 0, 1, ... if None.
    """
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
        visible_NLM[:, None], logits_NHLM * K**-0.5, jnp.asarray(-1e9, accumulate)
    )
    att_NHLM = drop(jax.nn.softmax(logits_NHLM, axis=-1)).astype(v_NHMK.dtype)
    return jnp.einsum("NHLM,NHMK->NHLK", att_NHLM, v_NHMK).swapaxes(1, 2)
