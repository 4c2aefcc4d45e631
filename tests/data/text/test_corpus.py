import hashlib
import json
import math
from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from gpt1_jax.data.text import corpus

NUM_TOKENS, LENGTH = 1009, 7


def starts(step, *, num_tokens=NUM_TOKENS, length=LENGTH, batch_size=5, seed=0):
    return corpus.window_starts(
        num_tokens, context_length=length, batch_size=batch_size, seed=seed, step=step
    )


def order(count, **kwargs):
    """Returns the first `count` windows of a run."""
    batch_size = kwargs.get("batch_size", 5)
    steps = -(-count // batch_size)
    return np.concatenate([starts(step, **kwargs) for step in range(steps)])[:count]


def epoch(number, per_epoch, **kwargs):
    whole = order((number + 1) * per_epoch, **kwargs)
    return whole[number * per_epoch :]


def test_windows_depend_on_seed_and_step_only():
    expected = [starts(step) for step in range(60)]
    corpus._epoch_order.cache_clear()
    for step in reversed(range(60)):
        np.testing.assert_array_equal(starts(step), expected[step])
    assert not np.array_equal(expected[0], starts(0, seed=1))
    assert not np.array_equal(expected[0], expected[1])


def test_batch_size_does_not_change_the_order_of_windows():
    expected = order(600, batch_size=3)
    for batch_size in (6, 7, 1000):
        np.testing.assert_array_equal(order(600, batch_size=batch_size), expected)


def test_each_epoch_visits_each_window_once():
    per_epoch = corpus.windows_per_epoch(NUM_TOKENS, LENGTH)
    phases, orders = [], []
    for number in range(6):
        visited = epoch(number, per_epoch)
        phase = visited.min()
        np.testing.assert_array_equal(
            np.sort(visited), phase + LENGTH * np.arange(per_epoch)
        )
        assert 0 <= phase < LENGTH
        phases.append(phase)
        orders.append(tuple((visited - phase) // LENGTH))
    # Epochs differ in their phase and in the order of their windows.
    assert len(set(phases)) > 2
    assert len(set(orders)) == 6
    assert tuple(range(per_epoch)) not in orders


def test_each_seed_has_another_order():
    per_epoch = corpus.windows_per_epoch(NUM_TOKENS, LENGTH)
    orders = {tuple(epoch(0, per_epoch, seed=seed)) for seed in range(5)}
    assert len(orders) == 5


def test_every_phase_occurs():
    per_epoch = corpus.windows_per_epoch(NUM_TOKENS, LENGTH)
    phases = {int(epoch(0, per_epoch, seed=seed).min()) for seed in range(100)}
    assert phases == set(range(LENGTH))


def test_an_epoch_leaves_out_less_than_two_windows():
    for num_tokens in range(2 * LENGTH, 6 * LENGTH):
        per_epoch = corpus.windows_per_epoch(num_tokens, LENGTH)
        assert num_tokens - 2 * LENGTH < per_epoch * LENGTH < num_tokens


@hypothesis.given(
    length=st.integers(2, 40),
    extra=st.integers(0, 500),
    batch_size=st.integers(1, 70),
    step=st.integers(0, 10**6),
    seed=st.integers(0, 2**32 - 1),
)
def test_windows_stay_inside_the_corpus(length, extra, batch_size, step, seed):
    num_tokens = 2 * length + extra
    starts_B = starts(
        step, num_tokens=num_tokens, length=length, batch_size=batch_size, seed=seed
    )
    assert starts_B.shape == (batch_size,)
    assert starts_B.min() >= 0
    assert starts_B.max() + length + 1 <= num_tokens


@pytest.mark.parametrize("num_tokens", [0, 1, LENGTH, 2 * LENGTH - 1])
def test_corpus_shorter_than_two_windows_is_refused(num_tokens):
    assert corpus.windows_per_epoch(2 * LENGTH, LENGTH) == 1
    message = rf"^{num_tokens} training tokens; at least 14 are needed .*; add more"
    with pytest.raises(ValueError, match=message):
        corpus.windows_per_epoch(num_tokens, LENGTH)


def test_train_batch_rows_are_the_windows():
    tokens = (np.arange(100) + 500).astype(np.uint16)
    starts_B = np.array([3, 50, 92, 0, 11])
    full_B = np.full(5, LENGTH)
    batch = corpus.train_batch(
        tokens, starts_B, LENGTH, slice(1, 4), num_targets_B=full_B
    )
    np.testing.assert_array_equal(
        batch.tokens_BL,
        [np.arange(550, 558), np.arange(592, 600), np.arange(500, 508)],
    )
    assert batch.tokens_BL.dtype == np.int32
    np.testing.assert_array_equal(batch.num_targets_B, [7, 7, 7])
    np.testing.assert_array_equal(batch.row_B, [1, 2, 3])


def test_train_batch_keeps_large_ids():
    tokens = np.array([70_000, 2**31 - 1, 5], np.uint32)
    batch = corpus.train_batch(
        tokens, np.array([0]), 2, slice(None), num_targets_B=np.array([2])
    )
    np.testing.assert_array_equal(batch.tokens_BL, [[70_000, 2**31 - 1, 5]])


def test_document_windows_cover_each_document_alone():
    lengths = [6, 1, 3, 9, 2, 5]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    before = corpus.count_document_windows(offsets, 4)
    assert before.tolist() == [0, 2, 2, 3, 5, 6, 7]
    tokens = np.concatenate(
        [100 * (d + 1) + np.arange(n) for d, n in enumerate(lengths)]
    )
    for epoch in range(2):
        predicted = []
        for step in range(7 * epoch, 7 * epoch + 7):
            starts_B, num_targets_B = corpus.document_windows(
                offsets, before, context_length=4, batch_size=1, seed=3, step=step
            )
            batch = corpus.train_batch(
                tokens, starts_B, 4, slice(None), num_targets_B=num_targets_B
            )
            (row,), (count,) = batch.tokens_BL, batch.num_targets_B
            # consecutive tokens of one document, then padding
            np.testing.assert_array_equal(np.diff(row[: count + 1]), 1)
            assert (row[0] % 100) % 4 == 0
            assert not row[count + 1 :].any()
            predicted += row[1 : count + 1].tolist()
        expected = [
            100 * (d + 1) + i for d, n in enumerate(lengths) for i in range(1, n)
        ]
        assert sorted(predicted) == expected


def test_document_windows_depend_on_seed_and_step_only():
    offsets = np.arange(0, 3000, 30)
    before = corpus.count_document_windows(offsets, 8)

    def draw(batch_size, steps, seed=1):
        return np.concatenate(
            [
                corpus.document_windows(
                    offsets,
                    before,
                    context_length=8,
                    batch_size=batch_size,
                    seed=seed,
                    step=step,
                )[0]
                for step in steps
            ]
        )

    np.testing.assert_array_equal(draw(6, range(100)), draw(12, range(50)))
    assert not np.array_equal(draw(6, range(9)), draw(6, range(9), seed=2))


def test_document_windows_need_a_document_of_two_tokens():
    message = r"no training document has 2 tokens; .*; add text, or use"
    with pytest.raises(ValueError, match=message):
        corpus.count_document_windows(np.array([0, 1, 2]), 4)


def books_of(*lengths):
    """Returns books whose tokens encode their book and their place in it."""
    books = [
        (1000 * (number + 1) + np.arange(length)).astype(np.uint16)
        for number, length in enumerate(lengths)
    ]
    return corpus.Documents(np.concatenate(books), np.cumsum([0, *lengths]))


@pytest.mark.parametrize("lengths", [(1, 2, 3), (29,), (8, 7, 15, 1, 0, 16), (14, 14)])
@pytest.mark.parametrize("length", [2, 7, 31])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_evaluation_predicts_each_token_but_the_first_once(lengths, length, batch_size):
    books = books_of(*lengths)
    predicted = Counter()
    batches = list(corpus.eval_batches(books, length, batch_size))
    for tokens_BL, num_targets_B, row_B in batches:
        assert tokens_BL.shape == (batch_size, length + 1)
        np.testing.assert_array_equal(row_B, np.arange(batch_size))
        for row, num_targets in zip(tokens_BL, num_targets_B, strict=True):
            real, padding = row[: num_targets + 1], row[num_targets + 1 :]
            if num_targets:
                # consecutive tokens of one book: no window crosses into another
                np.testing.assert_array_equal(np.diff(real), 1)
                assert not padding.any()
            else:
                assert not row.any()
            predicted.update(real[1:].tolist())
    expected = [token for book in books for token in book[1:].tolist()]
    assert predicted == Counter(expected)
    assert max(predicted.values()) == 1
    assert len(batches) == corpus.num_eval_batches(books, length, batch_size)
    # Only the end of the last batch is filled up.
    full = np.concatenate([batch.num_targets_B for batch in batches]) > 0
    assert full[: full.sum()].all()
    assert len(full) - full.sum() < batch_size


def test_evaluation_windows_of_an_example():
    books = books_of(6, 2)
    (batch,) = corpus.eval_batches(books, 3, 4)
    np.testing.assert_array_equal(
        batch.tokens_BL,
        [
            [1000, 1001, 1002, 1003],
            [1003, 1004, 1005, 0],
            [2000, 2001, 0, 0],
            [0, 0, 0, 0],
        ],
    )
    np.testing.assert_array_equal(batch.num_targets_B, [3, 2, 1, 0])


def write_store(directory, *, train, held_out, vocab_size, dtype="uint16"):
    """Writes a store as `preparation` does, without a tokenizer."""
    books, offsets = [], [0]
    for split, several in (("train", train), ("valid", held_out)):
        for tokens in several:
            books.append({"split": split, "tokens": len(tokens)})
            if tokens:
                offsets.append(offsets[-1] + len(tokens))
    offsets = np.array(offsets, np.uint64).tobytes()
    everything = np.concatenate([*train, *held_out]).astype(dtype).tobytes()
    directory.mkdir(exist_ok=True)
    (directory / "tokens.bin").write_bytes(everything)
    (directory / "documents.bin").write_bytes(offsets)
    meta = {
        "dtype": dtype,
        "vocab_size": vocab_size,
        "key": "0" * 64,
        "tokens_sha256": hashlib.sha256(everything).hexdigest(),
        "offsets_sha256": hashlib.sha256(offsets).hexdigest(),
        "tokenizer_sha256": "0" * 64,
        "tokens": {"train": sum(map(len, train)), "valid": sum(map(len, held_out))},
        "words": {"train": 0, "valid": 0},
        "documents": {
            "train": sum(map(bool, train)),
            "valid": sum(map(bool, held_out)),
        },
        "books": books,
    }
    (directory / "meta.json").write_text(json.dumps(meta))
    return directory


TRAIN = ([0, 1, 2, 2, 2], [3, 1])
HELD_OUT = ([4, 2, 2, 0], [], [3], [1, 3])


@pytest.fixture
def store_dir(tmp_path):
    return write_store(tmp_path / "store", train=TRAIN, held_out=HELD_OUT, vocab_size=6)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_store_is_split_as_written(tmp_path, dtype):
    directory = write_store(
        tmp_path, train=TRAIN, held_out=HELD_OUT, vocab_size=6, dtype=dtype
    )
    store = corpus.open_store(directory)
    assert store.train_tokens.tolist() == [0, 1, 2, 2, 2, 3, 1]
    # An empty book has nothing to evaluate.
    assert [book.tolist() for book in store.eval_books] == [[4, 2, 2, 0], [3], [1, 3]]
    assert store.train_tokens.dtype == dtype
    assert isinstance(store.train_tokens, np.memmap)
    # Slices of a memmap take ten times the time and memory.
    assert type(store.eval_books[2]) is np.ndarray
    assert store.eval_books[-1].tolist() == [1, 3]
    with pytest.raises(IndexError):
        store.eval_books[3]


def test_unigram_perplexity_counts_train_and_scores_held_out(store_dir):
    counts = [1 + sum(book.count(token) for book in TRAIN) for token in range(6)]
    logps = [
        math.log(counts[token] / sum(counts)) for book in HELD_OUT for token in book[1:]
    ]
    expected = math.exp(-sum(logps) / len(logps))
    found = corpus.unigram_perplexity(corpus.open_store(store_dir))
    assert found == pytest.approx(expected, rel=1e-12)


def test_unigram_perplexity_of_equal_counts_is_the_vocabulary(tmp_path):
    directory = write_store(
        tmp_path, train=([0, 1, 2, 3, 4],), held_out=([0, 3, 1],), vocab_size=5
    )
    found = corpus.unigram_perplexity(corpus.open_store(directory))
    assert found == pytest.approx(5.0)


def test_fingerprint_depends_on_tokens_split_and_tokenizer(tmp_path):
    def fingerprint(name, train=TRAIN, held_out=HELD_OUT, **meta):
        directory = write_store(
            tmp_path / name, train=train, held_out=held_out, vocab_size=6
        )
        path = directory / "meta.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | meta))
        return corpus.open_store(directory).fingerprint

    same = [fingerprint("a"), fingerprint("b", key="another")]
    other = [
        fingerprint("c", train=([0, 1, 2, 2, 3], [3, 1])),
        # the same tokens, split differently
        fingerprint("d", train=([0, 1, 2, 2, 2], [3]), held_out=([1], *HELD_OUT)),
        fingerprint("e", train=([0, 1, 2, 2], [2, 3, 1])),
        fingerprint("f", tokenizer_sha256="1" * 64),
    ]
    assert len({*same, *other}) == 5


def test_directory_without_a_store_is_refused(tmp_path):
    message = r"no token store in .*; a directory with meta.json .*gpt1_jax.prepare"
    with pytest.raises(FileNotFoundError, match=message):
        corpus.open_store(tmp_path)
    assert not corpus.is_store(tmp_path)


@pytest.mark.parametrize("size", [0, 13, 27])
def test_tokens_of_another_size_are_refused(store_dir, size):
    path = store_dir / "tokens.bin"
    assert path.stat().st_size == 28
    path.write_bytes(path.read_bytes()[:size])
    message = rf"tokens.bin has {size} bytes; meta.json says 28; delete .* again"
    with pytest.raises(ValueError, match=message):
        corpus.open_store(store_dir)


def test_missing_tokens_are_refused(store_dir):
    (store_dir / "tokens.bin").unlink()
    with pytest.raises(ValueError, match=r"tokens.bin has 0 bytes; meta.json says 28"):
        corpus.open_store(store_dir)


@pytest.mark.parametrize(
    "damage",
    [
        lambda meta: "",
        lambda meta: json.dumps(meta)[:-1],
        lambda meta: "[1, 2]",
        lambda meta: json.dumps(meta | {"books": 3}),
        lambda meta: json.dumps(meta | {"dtype": "no_type"}),
        lambda meta: json.dumps({k: v for k, v in meta.items() if k != "dtype"}),
        lambda meta: json.dumps(meta | {"books": [{"tokens": 14}]}),
        lambda meta: json.dumps(meta | {"books": [{"tokens": 14, "split": "valid"}]}),
    ],
)
def test_damaged_meta_is_refused(store_dir, damage):
    path = store_dir / "meta.json"
    path.write_text(damage(json.loads(path.read_text())))
    message = r"meta.json is damaged or of .*; delete .* and prepare the books again"
    with pytest.raises(ValueError, match=message):
        corpus.open_store(store_dir)


def test_changed_tokens_of_the_same_size_are_found_and_intact_ones_read_once(
    store_dir, monkeypatch
):
    corpus.open_store(store_dir)
    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", None)
        corpus.open_store(store_dir)
    path = store_dir / "tokens.bin"
    raw = bytearray(path.read_bytes())
    raw[0] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"tokens.bin has other bytes than meta.json"):
        corpus.open_store(store_dir)
    raw[0] ^= 1
    path.write_bytes(raw)
    corpus.open_store(store_dir)
