import io

import hypothesis
import numpy as np
import pytest
import sentencepiece
from hypothesis import strategies as st

from gpt1_jax.data.text import bpe, encoding, tokenizer_training, tokenizers
from gpt1_jax.data.text import clean as text_rules

LINES = [
    "The old boat, and the river.",
    "naïve café — “quoted” 😀 ß 漢字",
    "x" * 999 + " " + "é" * 1000,
    "1,234.56 a\\b c_d (e) [f] don't",
    "\t two  spaces \u00a0 and more ",
]


def normal(string: str) -> str:
    """Returns the text that decoding must return: cleaned, lower-cased, bare `\\n`."""
    return text_rules.standardize(string).lower().replace(" \n ", "\n")


@pytest.mark.parametrize("line", LINES)
def test_decode_undoes_encode(tokenizer, line):
    ids = tokenizer.encode(line)
    assert tokenizer.decode(ids) == normal(line)
    assert tokenizer.decode(ids.tolist()) == normal(line)


# U+2581 is SentencePiece's own sign for a space.
@hypothesis.given(
    st.text(st.characters(exclude_characters="▁", exclude_categories=["Cs"]))
)
def test_decode_undoes_encode_for_any_text(tokenizer, string):
    ids = tokenizer.encode(string)
    assert tokenizer.decode(ids) == normal(string)
    assert ids.dtype == np.uint32
    assert all(ids < tokenizer.vocab_size)


def test_letters_outside_the_vocabulary_become_their_bytes(tokenizer):
    pieces = [tokenizer._processor.id_to_piece(int(i)) for i in tokenizer.encode("é")]
    assert pieces == ["▁", "<0xC3>", "<0xA9>"]


def test_each_run_of_line_breaks_is_one_token(tokenizer):
    apart = [tokenizer.encode(line) for line in ("the boat", "the river")]
    joined = tokenizer.encode("\n\nthe boat \n\n\r\n the river\n")
    newline = [tokenizer.newline_id]
    assert joined.tolist() == [*apart[0], *newline, *apart[1]]
    assert tokenizer._processor.id_to_piece(tokenizer.newline_id) == "<0x0A>"


@pytest.mark.parametrize("string", ["", " \n\t", "\x00"])
def test_blank_text_has_no_tokens(tokenizer, string):
    ids = tokenizer.encode(string)
    assert ids.tolist() == []
    assert ids.dtype == np.uint32
    assert tokenizer.decode(ids) == ""


def test_a_newline_decodes_to_a_newline(tokenizer):
    assert tokenizer.decode([tokenizer.newline_id] * 2) == "\n\n"


def test_single_words_have_the_ids_of_their_line(tokenizer, story_books):
    text = (story_books / "book_0000.txt").read_text()[:20_000]
    lines = text_rules.standardize(text).lower().split("\n")
    expected = []
    for line in lines:
        expected += [*tokenizer._processor.encode(line.strip()), tokenizer.newline_id]
    assert tokenizer.encode(text).tolist() == expected[:-1]
    assert len(lines) > 10


def test_full_word_cache_changes_no_ids(tokenizer, story_books, monkeypatch):
    text = (story_books / "book_0000.txt").read_text()[:20_000]
    expected = tokenizer.encode(text)
    fresh = tokenizers.SentencePieceTokenizer(tokenizer._model)
    monkeypatch.setattr(bpe, "MAX_CACHED_WORDS", 3)
    np.testing.assert_array_equal(fresh.encode(text), expected)
    assert 1 <= len(fresh._ids_of_word) <= 3
    assert len(tokenizer._ids_of_word) > 3


def test_very_long_word_is_cut_without_loss(tokenizer):
    word = "abcé" * 625
    ids = tokenizer.encode(f"a {word} b")
    cut = [word[:1000], word[1000:2000], word[2000:]]
    assert tokenizer.decode(ids) == " ".join(["a", *cut, "b"])


def test_training_is_deterministic(story_books, tokenizer):
    texts = [path.read_text() for path in sorted(story_books.iterdir())]
    assert tokenizer_training.train(texts, 400).fingerprint == tokenizer.fingerprint
    assert tokenizer_training.train(texts[:3], 400).fingerprint != tokenizer.fingerprint


@pytest.mark.parametrize("vocab_size", [300, 401])
def test_vocabulary_has_the_requested_size(story_books, vocab_size):
    texts = [path.read_text() for path in sorted(story_books.iterdir())]
    assert tokenizer_training.train(texts, vocab_size).vocab_size == vocab_size


def test_merges_are_trained_on_cleaned_lower_case_text():
    trained = tokenizer_training.train(["Zebra,ZEBRA “zebra” ZeBrA\n" * 50], 275)
    processor = trained._processor
    pieces = {processor.id_to_piece(i) for i in range(trained.vocab_size)}
    assert "▁zebra" in pieces
    assert not any(c.isupper() for p in pieces for c in p if not p.startswith("<"))
    assert not any("," in p and p.strip("▁") != "," for p in pieces)


def test_long_lines_are_used_for_training():
    # SentencePiece silently skips sentences of more than 4192 bytes.
    line = "zebra " * 1000 + "é" * 5000
    trained = tokenizer_training.train([line, "the giraffe"], 280)
    assert len(trained.encode("zebra")) == 1


@pytest.mark.parametrize(
    "line",
    ["", "ab cd", "ab " * 3000, "é" * 5000 + " x", "x " + "漢" * 2500 + " y" * 3000],
)
def test_cut_keeps_words_below_the_limit(line):
    sentences = tokenizer_training._cut(line.strip())
    assert all(0 < len(s.encode()) <= 4000 for s in sentences)
    assert " ".join(sentences).split() == [word[:1000] for word in line.split()]


def test_saved_tokenizer_is_loaded_again(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "deep" / "tokenizer")
    loaded = tokenizers.load(tmp_path / "deep" / "tokenizer")
    assert loaded.fingerprint == tokenizer.fingerprint
    np.testing.assert_array_equal(
        loaded.encode("The boat\nsails"), tokenizer.encode("The boat\nsails")
    )
    assert [p.name for p in (tmp_path / "deep" / "tokenizer").iterdir()] == [
        "sentencepiece.model"
    ]


def test_too_large_vocabulary_names_the_largest():
    with pytest.raises(ValueError, match=r"vocab_size=5000; .* at most (\d+); lower"):
        tokenizer_training.train(["the boat and the river"], 5000)
    with pytest.raises(ValueError, match=r"at most \d+") as error:
        tokenizer_training.train(["the boat and the river"], 5000)
    most = int(str(error.value).split("at most ")[1].split(";")[0])
    assert tokenizer_training.train(["the boat and the river"], most).vocab_size == most


def test_too_small_vocabulary_is_refused():
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 100)))
    with pytest.raises(ValueError, match=r"vocab_size=300 is less than .*; raise"):
        tokenizer_training.train([letters], 300)


@pytest.mark.parametrize("texts", [[], [""], [" \n\t\n"]])
def test_training_without_text_is_refused(texts):
    with pytest.raises(ValueError, match=r"no tokenizer can be trained .*; add more"):
        tokenizer_training.train(texts, 400)


@pytest.mark.parametrize("damage", ["empty", "half", "end", "text"])
def test_damaged_model_is_refused(tokenizer, tmp_path, damage):
    tokenizer.save(tmp_path)
    path = tmp_path / "sentencepiece.model"
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "half": whole[: len(whole) // 2],
            "end": whole[:-1],
            "text": b"a line of text",
        }[damage]
    )
    with pytest.raises(
        ValueError, match=r"sentencepiece.model is not a .*; restore it"
    ):
        tokenizers.load(tmp_path)


def test_directory_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no tokenizer in .*; add the files, or name the"
    ):
        tokenizers.load(tmp_path)


def test_model_without_bytes_is_refused(tmp_path):
    with (tmp_path / "sentencepiece.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["the boat and the river"] * 5),
            model_writer=file,
            model_type="bpe",
            vocab_size=30,
            byte_fallback=False,
            minloglevel=2,
        )
    with pytest.raises(ValueError, match=r"has no byte pieces; .*byte_fallback"):
        tokenizers.load(tmp_path)


CASED = "The Boat\n\n  if (x):\n\t\ty  = 1\n\n\nEnd\u2581 of é\n"


@pytest.fixture(scope="module", params=["sentencepiece", "bpe"])
def cased(story_books, request):
    texts = [path.read_text() for path in sorted(story_books.iterdir())]
    return tokenizer_training.train(texts, 400, request.param, lowercase=False)


def test_cased_tokenizer_keeps_case_blank_lines_and_indentation(
    cased, tokenizer, tmp_path
):
    expected = "The Boat\n\n  if ( x ) :\n\t\ty = 1\n\n\nEnd_ of é"
    cased.save(tmp_path)
    for found in (cased, tokenizers.load(tmp_path)):
        assert found.is_cased
        assert found.decode(found.encode(CASED)) == expected
    assert not tokenizer.is_cased
    assert tokenizer.decode(tokenizer.encode(CASED)).startswith("the boat\nif ( x )")
    assert cased.vocab_size == tokenizer.vocab_size


def test_cased_text_in_pieces_has_the_tokens_of_the_whole(cased):
    for size in range(12, 40):
        pieces = text_rules.read_pieces(io.StringIO(CASED), size)
        found = np.concatenate(list(encoding._encode_pieces(pieces, cased)))
        np.testing.assert_array_equal(found, cased.encode(CASED))
