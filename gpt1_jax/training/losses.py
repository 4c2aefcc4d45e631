"""Objectives: (params, batch, key) -> (loss, {name: (sum, count)})."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gpt1_jax.data.tasks.batches import TaskBatch
from gpt1_jax.data.text.corpus import LMBatch
from gpt1_jax.models import backbone, dropout, heads
from gpt1_jax.models.backbone import Backbone
from gpt1_jax.models.dropout import Array

Sums = dict[str, tuple[jax.Array, jax.Array]]
LossFn = Callable[[Any, Any, jax.Array], tuple[jax.Array, Sums]]


def make_lm_loss(
    model: Backbone, *, is_train: bool, chunk_elements: int = 1 << 22
) -> LossFn:
    """Returns the language-modelling objective: the mean over tokens, in nats.

    -1/T sum_t log p(u_t | u_1 ... u_{t-1}), over the T targets that an LMBatch counts.
    Source: Radford et al. 2018, Sec. 3.1, eq. (1).
    Args:    chunk_elements: number of logits in memory at once, see models.heads.
    Returns: a LossFn whose sums have `loss`. Without is_train it ignores the key.
    """

    def loss_fn(params: dict, batch: LMBatch, key: jax.Array) -> tuple[jax.Array, Sums]:
        inputs_NL, targets_NL = batch.tokens_BL[:, :-1], batch.tokens_BL[:, 1:]
        keys = jax.random.split(key) if is_train else None
        params, h_NLD = _encode(model, params, inputs_NL, batch.row_B, keys)
        counts_NL = _up_to(batch.num_targets_B, h_NLD)
        table_VD = params["embed"]["token"]
        total = heads.nll_sum(h_NLD, table_VD, targets_NL, counts_NL, chunk_elements)
        count = batch.num_targets_B.sum()
        return total / jnp.maximum(count, 1), {"loss": (total, count)}

    return loss_fn


@dataclasses.dataclass(frozen=True)
class TaskObjective:
    """The settings of a task's objective.

    lm_coef: lambda of eq. (5).
    classifier_dropout: rate on the states that the head reads.
    target: softmax (a class or a choice), soft6 or mse (graded similarity).
    """

    target: str
    is_choice: bool
    lm_coef: float
    classifier_dropout: float


def make_task_loss(
    model: Backbone, objective: TaskObjective, *, chunk_elements: int = 1 << 22
) -> LossFn:
    """Returns L3 = L2 + lambda L1: the task's loss plus a language-modelling loss.

    L2 is the mean over examples of -log p(y | x_1 ... x_m). L1 is the mean over the
    predictions of a sequence, including special tokens, and then over sequences, as in
    the released code.
    Source: Radford et al. 2018, Sec. 3.2, eq. (3) to (5); finetune-transformer-lm
    train.py, `model`.
    Differs: the softmax of L1 is over tokens, including specials, but not positions.
    Returns: a LossFn of TaskBatches, with dropout, whose sums have `loss`, `task_loss`
             and, for lambda > 0, `lm_loss`.
    """

    def loss_fn(
        params: dict, batch: TaskBatch, key: jax.Array
    ) -> tuple[jax.Array, Sums]:
        B, A, L = batch.tokens_BAL.shape
        tokens_NL = batch.tokens_BAL.reshape(B * A, L)
        a_1A = jnp.arange(A, dtype=jnp.uint32)[None]
        row_N = (batch.row_B[:, None] * A + a_1A).reshape(-1)
        head_key, *keys = jax.random.split(key, 3)
        head = params["head"]
        params, h_NLD = _encode(model, params, tokens_NL, row_N, keys)
        h_BAD = heads.gather_last_token(h_NLD, batch.lengths_BA)
        h_BAD = _drop_alike(h_BAD, objective.classifier_dropout, head_key, batch.row_B)
        logits_BC = heads.task_logits(head, h_BAD, is_choice=objective.is_choice)
        loss_B = target_loss(objective.target, logits_BC, batch.labels_B)
        task_loss = loss_B.mean()
        sums = {"task_loss": (loss_B.sum(), jnp.float32(B))}
        loss = task_loss
        if objective.lm_coef:
            num_targets_N = batch.lengths_BA.reshape(-1) - 1
            weight_NL = _up_to(num_targets_N, h_NLD) / num_targets_N[:, None]
            # The last position predicts nothing and has weight 0. It is kept because L
            # can be split into equal chunks; L - 1 often can't.
            targets_NL = jnp.roll(tokens_NL, -1, axis=1)
            table_VD = params["embed"]["token"]
            lm_sum = heads.nll_sum(
                h_NLD, table_VD, targets_NL, weight_NL, chunk_elements
            )
            loss += objective.lm_coef * lm_sum / (B * A)
            sums["lm_loss"] = (lm_sum, jnp.float32(B * A))
        return loss, sums | {"loss": (loss * B, jnp.float32(B))}

    return loss_fn


def target_loss(target: str, logits_BC: jax.Array, labels_B: Array) -> jax.Array:
    """Returns loss_B, the loss of each example.

    softmax: the cross entropy of the class. soft6: the cross entropy of the grade,
    spread over its two neighbouring integers so that sum_i i p_i is the grade.
    mse: the squared error.
    Source: finetune-transformer-lm, `stsb_label_encoding` (Tai et al. 2015, Sec. 4.2).
    """
    if target == "mse":
        return jnp.square(logits_BC[:, 0] - labels_B)
    C = logits_BC.shape[1]
    if target == "soft6":
        distance_BC = jnp.abs(labels_B[:, None] - jnp.arange(C)[None])
        target_BC = jnp.maximum(1.0 - distance_BC, 0.0)
    else:
        target_BC = jax.nn.one_hot(labels_B.astype(jnp.int32), C)
    return -(target_BC * jax.nn.log_softmax(logits_BC)).sum(-1)


def _encode(
    model: Backbone,
    params: dict,
    tokens_NL: Array,
    row_N: Array,
    keys: Any,
) -> tuple[dict, jax.Array]:
    """Returns the parameters with dropout on the embeddings, and the hidden states.

    Args: keys: one for the embeddings and one for the rest; None: no dropout.
    """
    rngs = {}
    if keys is not None:
        table_key, row_key = keys
        rate = model.cfg.embedding_dropout
        params = dropout.drop_embeddings(params, rate, table_key)
        rngs = {"dropout": row_key}
    own, is_train = heads.backbone_of(params), keys is not None
    h_NLD = backbone.apply(model, own, "encode", tokens_NL, is_train, row_N, rngs=rngs)
    return params, h_NLD


def _up_to(count_N: Array, h_NLD: jax.Array) -> jax.Array:
    """Returns 1.0 at the first count_N positions of each row and 0.0 after them."""
    is_counted_NL = jnp.arange(h_NLD.shape[1])[None, :] < count_N[:, None]
    return is_counted_NL.astype(jnp.promote_types(h_NLD.dtype, jnp.float32))


def _drop_alike(
    h_BAD: jax.Array, rate: float, key: jax.Array, row_B: Array
) -> jax.Array:
    """Applies dropout with one mask for all sequences of an example, as released."""
    ones_B1D = jnp.ones_like(h_BAD[:, :1])
    return h_BAD * dropout.drop(ones_B1D, rate, dropout.row_seeds(key, row_B))
