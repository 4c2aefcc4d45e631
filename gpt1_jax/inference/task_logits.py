"""The logits of a fine-tuned model for the records of a split, and their answers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from gpt1_jax.data.tasks import batches
from gpt1_jax.data.tasks.batches import TaskBatch
from gpt1_jax.data.tasks.records import Records
from gpt1_jax.distributed import mesh as mesh_lib
from gpt1_jax.distributed import preemption
from gpt1_jax.distributed.pipeline import pipelined
from gpt1_jax.models import backbone, heads
from gpt1_jax.models.backbone import Backbone

# Rows that a device computes at once; see mesh.jit_over_rows.
ROWS_AT_ONCE = 16


def make_logits_fn(
    model: Backbone, *, is_choice: bool
) -> Callable[[Any, TaskBatch], jax.Array]:
    """Returns a function (params, batch) -> logits_BC, without dropout."""

    def logits_fn(params: dict, batch: TaskBatch) -> jax.Array:
        B, A, L = batch.tokens_BAL.shape
        tokens_NL = batch.tokens_BAL.reshape(B * A, L)
        backbone_params = heads.backbone_of(params)
        h_NLD = backbone.apply(model, backbone_params, "encode", tokens_NL)
        h_BAD = heads.gather_last_token(h_NLD, batch.lengths_BA)
        return heads.task_logits(params["head"], h_BAD, is_choice=is_choice)

    return logits_fn


class TaskLogits:
    """The compiled logits function of a model, bit-equal for any batch size."""

    def __init__(
        self,
        model: Backbone,
        *,
        is_choice: bool,
        batch_size: int,
        mesh: jax.sharding.Mesh,
    ):
        unit = ROWS_AT_ONCE * jax.device_count()
        self._batch_size = -(-batch_size // unit) * unit
        self._mesh = mesh
        self._logits = mesh_lib.jit_over_rows(
            make_logits_fn(model, is_choice=is_choice), mesh, ROWS_AT_ONCE
        )

    def logits(
        self,
        params: Any,
        records: Records,
        buckets: tuple[int, ...],
        advance: Callable[[int], None] = lambda num_records: None,
    ) -> np.ndarray:
        """Returns logits_RC, in the order of `records`.

        Args: buckets: the lengths to pad to.
              advance: called with the number of records after each batch.
        """
        lengths_R = records.lengths_RA.max(axis=1)
        rows = mesh_lib.local_rows(self._batch_size)

        def dispatch(index_B: np.ndarray) -> tuple[np.ndarray, jax.Array]:
            batch = batches.make_batch(
                records, index_B, buckets, batch_size=self._batch_size, rows=rows
            )
            sharded = mesh_lib.shard_rows(batch, self._mesh)
            return index_B, self._logits(params, sharded)

        found: list[np.ndarray] = [np.zeros(0)] * len(records)
        all_indices = batches.eval_indices(lengths_R, buckets, self._batch_size)
        for index_B, logits_BC in pipelined(
            map(dispatch, preemption.interruptible(all_indices))
        ):
            # The last batch of a length has rows of padding after its records.
            for index, logits_C in zip(index_B, np.asarray(logits_BC), strict=False):
                found[index] = logits_C
            advance(len(index_B))
        return np.stack(found).astype(np.float64)


class Answers(NamedTuple):
    """The answer to each record, and its probabilities.

    values_R: the index of a class or a choice, or a grade.
    probabilities_RC: without columns (C = 0) for the target mse.
    """

    values_R: np.ndarray
    probabilities_RC: np.ndarray


def answers(target: str, logits_RC: np.ndarray) -> Answers:
    """Returns the likeliest class of each record, or its expected grade for soft6.

    Args: target: see training.losses.target_loss.
    """
    if target == "mse":
        return Answers(logits_RC[:, 0], np.zeros((len(logits_RC), 0)))
    exp_RC = np.exp(logits_RC - logits_RC.max(axis=1, keepdims=True))
    probabilities_RC = exp_RC / exp_RC.sum(axis=1, keepdims=True)
    if target == "soft6":
        grades_C = np.arange(logits_RC.shape[1])
        return Answers(probabilities_RC @ grades_C, probabilities_RC)
    return Answers(logits_RC.argmax(axis=1), probabilities_RC)
