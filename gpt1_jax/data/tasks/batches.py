"""Records to padded batches of few shapes: the order of training and of evaluation.

A bucket is a length that sequences are padded to. An epoch of training shuffles all
records, then batches records of the same bucket. Evaluation goes through the buckets in
order. The batch of a step is a pure function of the step.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from gpt1_jax.data import shuffle
from gpt1_jax.data.tasks.records import Records
from gpt1_jax.errors import UserError

MAX_BUCKETS = 6
# A bucket must save this share of all padded tokens to be worth compiling.
_WORTH_A_BUCKET = 0.05
_LENGTH_UNIT = 8
_EXAMPLES, _BATCHES = range(2)  # streams of random bits


class TaskBatch(NamedTuple):
    """Examples of A sequences each, padded on the right by 0.

    labels_B: a class, a choice or a score, as float; NaN: none. row_B: the row's index
    in the whole batch of the step, the same on every host and for any accumulation.
    """

    tokens_BAL: np.ndarray
    lengths_BA: np.ndarray
    labels_B: np.ndarray
    row_B: np.ndarray


def bucket_lengths(lengths_R: np.ndarray, max_length: int) -> tuple[int, ...]:
    """Returns at most MAX_BUCKETS ascending lengths that need the least padding.

    A bucket that would save little is left out. Each length is a multiple of 8, or
    `max_length`; the longest record fits into the last.
    Args: lengths_R: the length of the longest sequence of each record.
    """
    counts = np.bincount(-(-lengths_R // _LENGTH_UNIT))
    sizes_S = np.flatnonzero(counts)
    num_up_to = np.concatenate([[0], np.cumsum(counts[sizes_S])])
    num_sizes = len(sizes_S)
    # cost[k, j]: the padded tokens of the j smallest sizes in k buckets.
    # first[k, j]: the index of the smallest size in the last of these buckets.
    cost = np.full((MAX_BUCKETS + 1, num_sizes + 1), np.inf)
    first = np.zeros(cost.shape, int)
    cost[0, 0] = 0
    for k in range(1, MAX_BUCKETS + 1):
        for j in range(1, num_sizes + 1):
            totals = cost[k - 1, :j] + (num_up_to[j] - num_up_to[:j]) * sizes_S[j - 1]
            first[k, j] = totals.argmin()
            cost[k, j] = totals.min()
    total_K = cost[:, num_sizes]
    compiling_K = _WORTH_A_BUCKET * total_K.min() * np.arange(MAX_BUCKETS + 1)
    k, j, ends = int((total_K + compiling_K).argmin()), num_sizes, []
    while j:
        ends.append(min(int(sizes_S[j - 1]) * _LENGTH_UNIT, max_length))
        k, j = k - 1, int(first[k, j])
    return tuple(sorted(ends))


def eval_buckets(max_length: int) -> tuple[int, ...]:
    """Returns the lengths that evaluation pads to: max_length, its half and so on.

    They do not depend on the data, so that the scores of a record are bit-equal in any
    data set. There are at most MAX_BUCKETS.
    Example: 512 -> 16, 32, 64, 128, 256, 512
    """
    halves = [max_length >> n for n in range(MAX_BUCKETS)]
    return tuple(sorted(n for n in halves if n >= _LENGTH_UNIT or n == max_length))


def padding(records: Records, buckets: tuple[int, ...]) -> float:
    """Returns the share of padding in all tokens of the padded `records`."""
    lengths_RA = records.lengths_RA
    bucket_R = np.searchsorted(buckets, lengths_RA.max(axis=1))
    padded = lengths_RA.shape[1] * np.asarray(buckets)[bucket_R].sum()
    return float(1 - lengths_RA.sum() / padded)


def make_train_order(
    lengths_R: np.ndarray, buckets: tuple[int, ...], *, batch_size: int, seed: int
) -> Callable[[int], np.ndarray]:
    """Returns a function from a training step, from 0, to its records: index_B.

    As in the released code, an epoch has floor(R / batch_size) batches. It leaves out
    the remaining records; each epoch leaves out different ones.
    Raises: UserError: there are fewer records than a batch has.
    """
    per_epoch = len(lengths_R) // batch_size
    if not per_epoch:
        raise UserError(
            f"config.train.batch_size={batch_size}; the {len(lengths_R)} training "
            "examples fill no batch; lower it or add examples"
        )
    bucket_R = np.searchsorted(buckets, lengths_R)

    @functools.lru_cache(maxsize=2)
    def epoch_batches(epoch: int) -> np.ndarray:
        return _epoch_batches(bucket_R, batch_size, seed, epoch)

    def indices(step: int) -> np.ndarray:
        epoch, number = divmod(step, per_epoch)
        return epoch_batches(epoch)[number]

    return indices


def _epoch_batches(
    bucket_R: np.ndarray, batch_size: int, seed: int, epoch: int
) -> np.ndarray:
    """Returns the records of each batch of an epoch: index_SB.

    The records that do not fill a batch of their bucket fill mixed batches, in order of
    buckets.
    """
    order_R = shuffle.permutation(len(bucket_R), seed, epoch, _EXAMPLES)
    order_R = order_R[: len(order_R) // batch_size * batch_size]
    full, rest = [], []
    for bucket in range(bucket_R.max() + 1):
        mine = order_R[bucket_R[order_R] == bucket]
        whole = len(mine) // batch_size * batch_size
        full.append(mine[:whole])
        rest.append(mine[whole:])
    batches_SB = np.concatenate([*full, *rest]).reshape(-1, batch_size)
    return batches_SB[shuffle.permutation(len(batches_SB), seed, epoch, _BATCHES)]


def eval_indices(
    lengths_R: np.ndarray, buckets: tuple[int, ...], batch_size: int
) -> Iterator[np.ndarray]:
    """Yields batches of all records by bucket; the last of a bucket may be smaller."""
    bucket_R = np.searchsorted(buckets, lengths_R)
    for bucket in range(len(buckets)):
        mine = np.flatnonzero(bucket_R == bucket)
        for first in range(0, len(mine), batch_size):
            yield mine[first : first + batch_size]


def make_batch(
    records: Records,
    index_B: np.ndarray,
    buckets: tuple[int, ...],
    *,
    batch_size: int,
    rows: slice = slice(None),
) -> TaskBatch:
    """Returns `rows` of the batch of records `index_B`, padded to a bucket's length.

    The last record is repeated until the batch is full.
    """
    fill = np.full(batch_size - len(index_B), index_B[-1])
    index_B = np.concatenate([index_B, fill])
    longest = records.lengths_RA[index_B].max()
    length = buckets[np.searchsorted(buckets, longest)]
    mine = index_B[rows]
    A = records.num_sequences
    tokens_BAL = np.zeros((len(mine), A, length), np.int32)
    for row, index in enumerate(mine):
        bounds = records.bounds_RA1[index]
        for a in range(A):
            sequence = records.tokens[bounds[a] : bounds[a + 1]]
            tokens_BAL[row, a, : len(sequence)] = sequence
    return TaskBatch(
        tokens_BAL,
        records.lengths_RA[mine].astype(np.int32),
        records.labels_R[mine].astype(np.float32),
        np.arange(batch_size, dtype=np.uint32)[rows],
    )
