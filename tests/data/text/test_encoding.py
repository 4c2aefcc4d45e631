import functools
import hashlib
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from gpt1_jax.data.text import clean, encoding
from gpt1_jax.data.text import documents as documents_lib


@pytest.mark.parametrize(
    ("vocab_size", "dtype"),
    [(300, "uint16"), (2**16, "uint16"), (2**16 + 1, "uint32")],
)
def test_tokens_are_as_wide_as_the_vocabulary_needs(vocab_size, dtype):
    assert encoding.token_dtype(vocab_size) == dtype
    assert np.array(vocab_size - 1).astype(dtype) == vocab_size - 1


WORDS = ["the ", "boat ", "é. ", "“no” ", "-- "]
GAPS = ["\n", "\n\n", " ", "\r\n", "   \n ", " " * 30]


@hypothesis.given(
    st.lists(st.sampled_from(WORDS + GAPS), max_size=40).map("".join),
    st.integers(8, 24),
)
def test_book_in_pieces_has_the_tokens_of_the_whole(
    tokenizer, tmp_path_factory, content, piece_chars
):
    path = tmp_path_factory.getbasetemp() / "in_pieces.txt"
    path.write_bytes(content.encode())
    read_pieces = functools.partial(clean.read_pieces, piece_chars=piece_chars)
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clean, "read_pieces", read_pieces)
        found = list(encoding._encode_book(path, sha256, tokenizer))
    expected = tokenizer.encode(content.replace("\r\n", "\n"))
    np.testing.assert_array_equal(np.concatenate([[], *found]), expected)


def test_groups_are_consecutive_and_bounded(monkeypatch):
    monkeypatch.setattr(encoding, "_GROUP_BYTES", 10)
    books = tuple(
        documents_lib.Book(Path(str(n)), "", size, False, "train")
        for n, size in enumerate((4, 6, 1, 50, 0, 0, 10, 10, 3))
    )
    groups = encoding._make_groups(books)
    sizes = [[book.num_bytes for book in group] for group in groups]
    assert sizes == [[4, 6], [1], [50], [0, 0, 10], [10], [3]]
    assert [book for group in groups for book in group] == list(books)


def test_an_empty_book_may_be_the_first(tmp_path):
    for number, content in enumerate(["", "the boat sank .", "the dog ran ."]):
        (tmp_path / f"{number}.txt").write_text(content)
    found = documents_lib._scan_books(str(tmp_path), "train")
    (group,) = encoding._make_groups(tuple(found))
    assert [book.num_bytes for book in group] == [0, 15, 13]


def test_part_whose_tokens_are_not_all_there_is_not_done(tmp_path):
    (tmp_path / "000000.json").write_text("[2, 1]")
    (tmp_path / "000000.bin").write_bytes(b"123456")
    assert encoding._is_complete(tmp_path, 0, "uint16")
    (tmp_path / "000000.bin").write_bytes(b"1234")
    assert not encoding._is_complete(tmp_path, 0, "uint16")
    (tmp_path / "000000.bin").unlink()
    assert not encoding._is_complete(tmp_path, 0, "uint16")
