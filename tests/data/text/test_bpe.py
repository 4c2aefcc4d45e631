"""Byte-pair encoding with `</w>`, against a slow encoder and in other processes."""

import itertools
import os
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from gpt1_jax.data.text import bpe, tokenizer_training, tokenizers
from tests.data.text.test_tokenizers import normal

WORDS = ["the", "boat", "and", "the", "river", ",", "the", "old", "naïve"] * 3


@pytest.fixture(scope="module")
def texts(story_books):
    return [path.read_text() for path in sorted(story_books.iterdir())]


@pytest.fixture(scope="module")
def trained(texts):
    return tokenizer_training.train(texts, 500, "bpe")


def slow_pieces(encoding: bpe.BytePairEncoding, word: str) -> list[str]:
    """Returns the pieces of a word: the merge of lowest rank, again and again."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    ranks = {pair: rank for rank, pair in enumerate(encoding.merges)}
    while len(pieces) > 1:
        pairs = list(itertools.pairwise(pieces))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        at = pairs.index(best)
        pieces[at : at + 2] = ["".join(best)]
    return pieces


def test_merges_apply_in_the_order_of_their_ranks(trained, texts):
    entry = {number: piece for piece, number in trained.encoding.id_of.items()}
    words = {word for word in normal(texts[0]).split() if word.isalpha()}
    assert len(words) > 100
    for word in words:
        found = [entry[int(i)] for i in trained.encode(word)]
        assert found == slow_pieces(trained.encoding, word)


def test_first_merge_joins_the_most_frequent_pair():
    # "h" and "e</w>" stand together in "the", nine times; no pair is more frequent.
    encoding = bpe.train(["he"] * 9 + ["at"] * 2, 256 + 8 + 1 + 1)
    assert encoding.merges == [("h", "e</w>")]


def test_vocabulary_is_bytes_characters_merges_and_the_line_break(trained):
    entries = sorted(trained.encoding.id_of, key=trained.encoding.id_of.get)
    assert trained.vocab_size == len(entries) == 500
    assert entries[:256] == [f"<0x{value:02X}>" for value in range(256)]
    characters = [entry for entry in entries[256:] if len(entry) == 1]
    ending = entries[256 + len(characters) : 256 + 2 * len(characters)]
    assert characters == sorted(characters)
    assert ending == [f"{character}</w>" for character in characters]
    joined = [a + b for a, b in trained.encoding.merges]
    assert entries[256 + 2 * len(characters) :] == [*joined, "\n</w>"]
    assert trained.newline_id == 499


@hypothesis.given(st.text(st.characters(exclude_categories=["Cs"])))
def test_decode_undoes_encode_for_any_text(trained, string):
    ids = trained.encode(string)
    assert trained.decode(ids) == normal(string).replace("▁", "_")
    assert ids.dtype == np.uint32


def test_a_word_ends_in_its_mark_also_where_it_ends_in_unknown_characters(trained):
    entry = {number: piece for piece, number in trained.encoding.id_of.items()}
    assert [entry[int(i)] for i in trained.encode("the boat")][-1].endswith("</w>")
    mark = [f"<0x{byte:02X}>" for byte in "é</w>".encode()]
    assert [entry[int(i)] for i in trained.encode("é")] == mark


def test_line_breaks_are_one_token(trained):
    a, b = (trained.encode(line).tolist() for line in ("the boat", "the river"))
    joined = trained.encode("\nthe boat \n\r\n the river\n").tolist()
    assert joined == [*a, trained.newline_id, *b]
    assert trained.decode([trained.newline_id] * 2) == "\n\n"


PROGRAM = """
import sys
from gpt1_jax.data.text import bpe
print(bpe.train(sys.stdin.read().split(), 500).fingerprint)
"""


@pytest.mark.parametrize("num_threads", ["1", "3"])
def test_other_processes_and_thread_counts_learn_the_same(trained, texts, num_threads):
    words = " ".join(normal(text).replace("▁", "_") for text in texts)
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=words,
        env=os.environ | {"RAYON_NUM_THREADS": num_threads, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == trained.fingerprint


def test_rare_characters_get_no_entries_and_their_words_are_not_learnt():
    encoding = bpe.train(["boat"] * 30_000 + ["bo漢"], 256 + 8 + 1 + 3)
    assert "漢" not in encoding.id_of
    assert not any(piece.startswith("bo漢") for piece in encoding.id_of)
    assert encoding.decode(encoding.encode_word("bo漢")) == "bo漢"


def test_saved_tokenizer_is_loaded_again(trained, tmp_path):
    trained.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    loaded = tokenizers.load(tmp_path)
    assert loaded.fingerprint == trained.fingerprint
    np.testing.assert_array_equal(loaded.encode("The\nsea"), trained.encode("The\nsea"))


def test_fingerprint_depends_on_entries_and_merges(trained, texts):
    other = tokenizer_training.train(texts, 501, "bpe")
    assert other.fingerprint != trained.fingerprint
    encoding = trained.encoding
    fewer = bpe.BytePairEncoding(encoding.id_of, encoding.merges[:-1])
    assert fewer.fingerprint != trained.fingerprint


@pytest.mark.parametrize(
    ("words", "vocab_size", "message"),
    [
        (WORDS, 5000, r"vocab_size=5000; these books hold pieces for at most \d+; low"),
        (WORDS, 270, r"vocab_size=270 is less than the characters and bytes of .*28\d"),
        ([], 300, "no tokenizer can be trained on these books .*; add more text"),
    ],
)
def test_impossible_training_is_refused(words, vocab_size, message):
    with pytest.raises(ValueError, match=message):
        bpe.train(words, vocab_size)


def test_largest_vocabulary_that_the_message_names_can_be_trained():
    with pytest.raises(ValueError, match="at most") as error:
        bpe.train(WORDS, 5000)
    most = int(str(error.value).split("at most ")[1].split(";")[0])
    assert len(bpe.train(WORDS, most).id_of) == most


def test_damaged_merges_are_refused(trained, tmp_path):
    trained.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"merges": [', '"merges": [["q", "漢"],'))
    with pytest.raises(ValueError, match=r"tokenizer.json: its merges and vocabulary"):
        tokenizers.load(tmp_path)
