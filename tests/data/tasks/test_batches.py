"""Buckets, the order of training, and batches against slow and obvious oracles."""

import itertools

import numpy as np
import pytest

from gpt1_jax.data.tasks import batches
from gpt1_jax.data.tasks.records import Records


def records(lengths_RA) -> Records:
    """Returns records whose sequence number n consists of the token n + 1."""
    lengths_RA = np.asarray(lengths_RA)
    ends = np.cumsum([0, *lengths_RA.reshape(-1)])
    A = lengths_RA.shape[1]
    bounds_RA1 = np.concatenate([ends[:-1].reshape(-1, A), ends[A::A, None]], axis=1)
    tokens = np.repeat(np.arange(1, len(ends)), lengths_RA.reshape(-1))
    labels_R = np.arange(len(lengths_RA)) / 2
    return Records(tokens.astype(np.int32), bounds_RA1, labels_R, 0)


def padded_total(lengths, buckets) -> int:
    return sum(min(b for b in buckets if b >= length) for length in lengths)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_six_lengths_need_less_padding(seed, monkeypatch):
    monkeypatch.setattr(batches, "_WORTH_A_BUCKET", 0.0)
    rng = np.random.default_rng(seed)
    lengths = np.minimum(rng.geometric(0.03, 40) + 3, 77)
    found = batches.bucket_lengths(lengths, 77)
    assert len(found) <= 6
    assert list(found) == sorted(set(found))
    assert max(lengths) <= found[-1] <= 77
    candidates = {min(-(-n // 8) * 8, 77) for n in lengths}
    last = max(candidates)
    best = min(
        padded_total(lengths, {*chosen, last})
        for k in range(6)
        for chosen in itertools.combinations(sorted(candidates), k)
    )
    assert padded_total(lengths, found) == best


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        # Two shapes pad 96 of 1,792 tokens less, which is 5.4 %; 48 of 1,696 is 2.8 %.
        ([8] * 12 + [16] * 100, (8, 16)),
        ([8] * 6 + [16] * 100, (16,)),
        ([8] * 100 + [64] * 100 + [512] * 100, (8, 64, 512)),
        ([77], (77,)),
    ],
)
def test_a_length_that_saves_little_is_not_a_bucket(lengths, expected):
    assert batches.bucket_lengths(np.array(lengths), max(lengths)) == expected


@pytest.mark.parametrize(
    ("max_length", "expected"),
    [(512, (16, 32, 64, 128, 256, 512)), (64, (8, 16, 32, 64)), (5, (5,))],
)
def test_evaluation_pads_to_max_length_and_its_halves(max_length, expected):
    assert batches.eval_buckets(max_length) == expected


def test_padding_is_a_share_of_all_tokens():
    found = batches.padding(records([[3, 5], [8, 2], [9, 16]]), (8, 16))
    assert found == pytest.approx(1 - (3 + 5 + 8 + 2 + 9 + 16) / (16 + 16 + 32))


LENGTHS = np.random.default_rng(1).integers(3, 41, 103)
BUCKETS = (8, 16, 24, 40, 48)


def order(seed=0):
    return batches.make_train_order(LENGTHS, BUCKETS, batch_size=5, seed=seed)


def test_an_epoch_sees_all_records_once_except_a_changing_remainder():
    indices = order()
    epochs = [
        np.concatenate([indices(step) for step in range(first, first + 20)])
        for first in (0, 20)
    ]
    for seen in epochs:
        assert len(seen) == len(set(seen.tolist())) == 100
    left_out = [set(range(103)) - set(seen.tolist()) for seen in epochs]
    assert left_out[0] != left_out[1]


def test_order_is_a_function_of_seed_and_step():
    again, other = order(), order(seed=1)
    indices = order()
    np.testing.assert_array_equal(indices(33), again(33))
    np.testing.assert_array_equal(indices(2), again(2))
    assert any((indices(step) != other(step)).any() for step in range(20))


def test_most_batches_hold_one_bucket_only():
    indices = order()
    spans = [
        len(set(np.searchsorted(BUCKETS, LENGTHS[indices(step)]))) for step in range(20)
    ]
    # Each bucket adds at most one batch of records from several buckets.
    assert sum(span > 1 for span in spans) <= len(BUCKETS)
    shuffled = np.random.default_rng(0).permutation(103)[:100].reshape(20, 5)
    mixed = [len(set(np.searchsorted(BUCKETS, LENGTHS[row]))) for row in shuffled]
    assert sum(span > 1 for span in mixed) > len(BUCKETS)


def test_too_few_records_for_a_batch_are_refused():
    with pytest.raises(ValueError, match="batch_size=5; the 4 training examples fill"):
        batches.make_train_order(LENGTHS[:4], BUCKETS, batch_size=5, seed=0)


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_evaluation_sees_every_record_once_and_no_batch_crosses_a_bucket(batch_size):
    found = list(batches.eval_indices(LENGTHS, BUCKETS, batch_size))
    assert sorted(np.concatenate(found).tolist()) == list(range(103))
    for index_B in found:
        assert 1 <= len(index_B) <= batch_size
        assert len(set(np.searchsorted(BUCKETS, LENGTHS[index_B]))) == 1


def test_batch_pads_on_the_right_to_its_bucket_and_repeats_the_last_record():
    some = records([[2, 3], [5, 1], [4, 4]])
    batch = batches.make_batch(some, np.array([2, 0]), (4, 6), batch_size=3)
    np.testing.assert_array_equal(
        batch.tokens_BAL,
        [
            [[5, 5, 5, 5], [6, 6, 6, 6]],
            [[1, 1, 0, 0], [2, 2, 2, 0]],
            [[1, 1, 0, 0], [2, 2, 2, 0]],
        ],
    )
    np.testing.assert_array_equal(batch.lengths_BA, [[4, 4], [2, 3], [2, 3]])
    np.testing.assert_array_equal(batch.labels_B, [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(batch.row_B, [0, 1, 2])
    longer = batches.make_batch(some, np.array([1]), (4, 6), batch_size=1)
    assert longer.tokens_BAL.shape == (1, 2, 6)


def test_rows_of_a_batch_keep_their_places_in_it():
    some = records([[2], [5], [4], [3]])
    index_B = np.array([3, 0, 1, 2])
    whole = batches.make_batch(some, index_B, (8,), batch_size=4)
    part = batches.make_batch(some, index_B, (8,), batch_size=4, rows=slice(2, 4))
    for one, all_ in zip(part, whole, strict=True):
        np.testing.assert_array_equal(one, all_[2:4])
