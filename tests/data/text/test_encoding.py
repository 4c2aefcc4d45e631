import io
import json
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from gpt1_jax.data.text import clean, encoding, splitting, store_parts
from gpt1_jax.data.text import documents as documents_lib


@pytest.mark.parametrize(
    ("vocab_size", "dtype"),
    [(300, "uint16"), (2**16, "uint16"), (2**16 + 1, "uint32")],
)
def test_tokens_are_as_wide_as_the_vocabulary_needs(vocab_size, dtype):
    assert store_parts.token_dtype(vocab_size) == dtype
    assert np.array(vocab_size - 1).astype(dtype) == vocab_size - 1


WORDS = ["the ", "boat ", "é. ", "“no” ", "-- "]
GAPS = ["\n", "\n\n", " ", "\r\n", "   \n ", " " * 30]


@hypothesis.given(
    st.lists(st.sampled_from(WORDS + GAPS), max_size=40).map("".join),
    st.integers(8, 24),
)
def test_text_in_pieces_has_the_tokens_of_the_whole(tokenizer, content, piece_chars):
    pieces = clean.read_pieces(io.StringIO(content, newline=None), piece_chars)
    found = list(encoding._encode_pieces(pieces, tokenizer))
    expected = tokenizer.encode(content.replace("\r\n", "\n"))
    np.testing.assert_array_equal(np.concatenate([[], *found]), expected)


def make_split(*sizes_of_chunks):
    options = documents_lib.ReadOptions("text", "line", "", True)
    sources = tuple(
        documents_lib.Source(
            Path(str(number)),
            options,
            tuple(documents_lib.Chunk(i, 1, size, "") for i, size in enumerate(sizes)),
        )
        for number, sizes in enumerate(sizes_of_chunks)
    )
    return splitting.Split(sources, splitting.Rule())


def sizes_of(groups):
    return [[chunk.size for work in g for chunk in work.source.chunks] for g in groups]


def test_groups_are_consecutive_and_bounded(monkeypatch):
    monkeypatch.setattr(encoding, "_GROUP_BYTES", 10)
    split = make_split(*[[size] for size in (4, 6, 1, 50, 0, 0, 10, 10, 3)])
    groups = encoding.make_groups(split)
    assert sizes_of(groups) == [[4, 6], [1], [50], [0, 0, 10], [10], [3]]
    assert [work.number for group in groups for work in group] == list(range(9))


def test_a_large_file_is_encoded_in_a_few_groups(monkeypatch):
    monkeypatch.setattr(encoding, "_GROUP_BYTES", 10)
    groups = encoding.make_groups(make_split([5], [8] * 100, [5]))
    assert len(groups) == 10
    (first, second), *_ = groups
    assert (first.number, second.number) == (0, 1)
    assert len(second.source.chunks) == 11


def test_part_whose_tokens_are_not_all_there_is_not_done(tmp_path):
    counts = {
        "train": {"tokens": 3, "documents": 2, "empty": 1},
        "valid": {"tokens": 0, "documents": 0, "empty": 0},
    }
    (tmp_path / "000000.json").write_text(json.dumps({"sources": [[0, counts]]}))
    lengths = tmp_path / "000000.train.lengths"
    lengths.write_bytes(b"12345678")
    for name in ("valid.lengths", "valid.tokens"):
        (tmp_path / f"000000.{name}").write_bytes(b"")
    tokens = tmp_path / "000000.train.tokens"
    assert not store_parts.is_complete(tmp_path, 0, "uint16")
    tokens.write_bytes(b"123456")
    assert store_parts.is_complete(tmp_path, 0, "uint16")
    lengths.write_bytes(b"")
    assert not store_parts.is_complete(tmp_path, 0, "uint16")
    lengths.write_bytes(b"12345678")
    tokens.write_bytes(b"1234")
    assert not store_parts.is_complete(tmp_path, 0, "uint16")
