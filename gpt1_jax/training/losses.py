"""Objectives: (params, batch, key) -> (loss, {name: (sum, count)})."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gpt1_jax.data.corpus import LMBatch
from gpt1_jax.models import dropout, heads
from gpt1_jax.models.transformer import Transformer

Sums = dict[str, tuple[jax.Array, jax.Array]]
LossFn = Callable[[Any, Any, jax.Array], tuple[jax.Array, Sums]]


def make_lm_loss(
    model: Transformer, *, is_train: bool, chunk_elements: int = 1 << 22
) -> LossFn:
    """The language-modelling objective as the mean over tokens, in nats.

    -1/T sum_t log p(u_t | u_1 ... u_{t-1}), over the T targets that an LMBatch counts.
    Source: Radford et al. 2018, Sec. 3.1, eq. (1).
    Args:    chunk_elements: logits to hold at once, see models.heads.
    Returns: a LossFn; its sums have `loss`. Without is_train the key is not used.
    """

    def loss_fn(params: dict, batch: LMBatch, key: jax.Array) -> tuple[jax.Array, Sums]:
        rngs = {}
        if is_train:
            table_key, row_key = jax.random.split(key)
            rate = model.cfg.embedding_dropout
            params = dropout.drop_embeddings(params, rate, table_key)
            rngs = {"dropout": row_key}
        h_NLD = model.apply(
            {"params": params},
            batch.tokens_BL[:, :-1],
            is_train,
            batch.row_B,
            rngs=rngs,
            method="encode",
        )
        L = h_NLD.shape[1]
        counts_NL = jnp.arange(L)[None, :] < batch.num_targets_B[:, None]
        total = heads.nll_sum(
            h_NLD,
            params["embed"]["token"],
            batch.tokens_BL[:, 1:],
            counts_NL.astype(jnp.promote_types(h_NLD.dtype, jnp.float32)),
            chunk_elements,
        )
        count = counts_NL.sum()
        return total / jnp.maximum(count, 1), {"loss": (total, count)}

    return loss_fn
