"""Records to padded batches of few shapes: which examples a step sees, how long.

Training shuffles all examples of an epoch first and deals them into buckets of like
length then; evaluation goes through all in order of length. All are pure functions.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from gpt1_jax.data import shuffle
from gpt1_jax.data.tasks.records import Records
from gpt1_jax.errors import UserError

MAX_BUCKETS = 6
# A shape must pad this share of all tokens less to be worth compiling.
_WORTH_A_BUCKET = 0.05
_LENGTH_UNIT = 8
_EXAMPLES, _BATCHES = range(2)  # streams of random bits


class TaskBatch(NamedTuple):
    """Examples of A sequences each, padded on the right by 0.

    labels_B: a class, a choice or a grade, as float; NaN: none. row_B: the row's index
    in the whole step's batch, the same on every host and for any accumulation.
    """

    tokens_BAL: np.ndarray
    lengths_BA: np.ndarray
    labels_B: np.ndarray
    row_B: np.ndarray


def bucket_lengths(lengths_R: np.ndarray, max_length: int) -> tuple[int, ...]:
    """At most MAX_BUCKETS lengths, ascending, that pad `lengths_R` least in total.

    There are fewer where another would hardly pad less. Each is a multiple of 8, or
    `max_length`; the last holds the longest record.
    Args: lengths_R: of the longest sequence of each record.
    """
    counts = np.bincount(-(-lengths_R // _LENGTH_UNIT))
    sizes_S = np.flatnonzero(counts)
    num_up_to = np.concatenate([[0], np.cumsum(counts[sizes_S])])
    num_sizes = len(sizes_S)
    # cost[k, j]: the padded total of the first j sizes in k buckets; first[k, j]: the
    # size that the last of these buckets begins with.
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
    """The lengths that evaluation pads to: max_length and its halves, at most six.

    They depend on no data, so that a score is the same to the last bit wherever it is
    computed.
    Example: 512 -> 16, 32, 64, 128, 256, 512
    """
    halves = [max_length >> n for n in range(MAX_BUCKETS)]
    return tuple(sorted(n for n in halves if n >= _LENGTH_UNIT or n == max_length))


def padding(records: Records, buckets: tuple[int, ...]) -> float:
    """The share of padding among all tokens of `records` once they are padded."""
    lengths_RA = records.lengths_RA
    bucket_R = np.searchsorted(buckets, lengths_RA.max(axis=1))
    padded = lengths_RA.shape[1] * np.asarray(buckets)[bucket_R].sum()
    return float(1 - lengths_RA.sum() / padded)


def make_train_order(
    lengths_R: np.ndarray, buckets: tuple[int, ...], *, batch_size: int, seed: int
) -> Callable[[int], np.ndarray]:
    """A function of the training step, from 0: the records it sees, index_B.

    An epoch has floor(R / batch_size) batches; the remainder, other records each time,
    is left out, as released.
    Raises: UserError if the records fill no batch.
    """
    per_epoch = len(lengths_R) // batch_size
    if not per_epoch:
        raise UserError(
            f"config.train.batch_size={batch_size}; the {len(lengths_R)} training "
            "examples fill no batch; lower it or bring more"
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
    """The records of each batch of an epoch: index_SB.

    Records that fill no batch of their bucket are joined, in order of buckets.
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
    """Batches of all records, each once, bucket by bucket; a bucket's last is short."""
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
    """The `rows` of a batch of the records `index_B`, padded to a bucket's length.

    A batch that is not full repeats its last record.
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
