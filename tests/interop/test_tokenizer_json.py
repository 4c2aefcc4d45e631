"""tokenizer.json, read by the library `tokenizers`, beside our own tokenizers."""

import importlib.util
import json
from pathlib import Path

import pytest
import tokenizers as tokenizers_lib

from gpt1_jax import storyworld
from gpt1_jax.config import DataConfig
from gpt1_jax.data.text import openai_bpe, preparation, tokenizer_training, tokenizers
from gpt1_jax.interop import tokenizer_json

needs_spacy = pytest.mark.skipif(
    importlib.util.find_spec("spacy") is None, reason="needs the extra `openai`"
)
GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden/openai_bpe.json").read_text(encoding="utf-8")
)
# Each line needs a rule of its own: quotes, dashes, dots, control characters, width of
# spaces, line breaks, ligatures, composed letters, the Greek sigma, bytes.
TEXTS = [
    "",
    " \n\t",
    "“Well,” he said—‘no’…",
    'A--b  (c))\n\n \r\n"d"\u2028e\u0085f',
    "a\x00b\x1b[31mc\ufeff\xa0d\u3000e",
    "ﬁne ﬂower oﬃce",
    "cafe\u0301 naïve ÉTÉ",
    "ΟΔΥΣΣΕΥΣ Σ",
    "漢字 😀 ▁ a",
    "Tom &amp; Jerry",
    "aaaa aaaaa aaaaaaaaa",
]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    directory = tmp_path_factory.mktemp("books")
    storyworld.write_books(directory, seed=0, megabytes=0.1)
    return [path.read_text() for path in sorted(directory.iterdir())]


@pytest.fixture(scope="module", params=["sentencepiece", "bpe"])
def ours(request, texts):
    return tokenizer_training.train([*texts, "aaaa aaaaa " * 30], 500, request.param)


def fast(tokenizer, directory, **options) -> tokenizers_lib.Tokenizer:
    tokenizer_json.write(tokenizer, directory, context_length=64, **options)
    return tokenizers_lib.Tokenizer.from_file(str(directory / "tokenizer.json"))


def test_ids_and_decoded_text_are_ours(ours, texts, tmp_path):
    theirs = fast(ours, tmp_path)
    for text in [*TEXTS, *texts]:
        ids = ours.encode(text).tolist()
        assert theirs.encode(text).ids == ids
        assert theirs.decode(ids) == ours.decode(ids)


@pytest.mark.parametrize(
    "text",
    [
        "donâ€™t",
        "caf&eacute;",
        "a &amp;amp; b",
        "a <b> &amp; c",
        "\x93quoted\x94",
        "ｗｉｄｅ",
        "ǆ",
        "\u01c5",
        "\u0149",
        "a▁b",
        "x" * 1500,
    ],
)
def test_texts_that_need_more_than_rules_are_those_that_the_card_names(text, tmp_path):
    """They have other ids; a rule that is added makes this test fail."""
    tokenizer = tokenizer_training.train(["the boat x é j " * 9], 280)
    assert fast(tokenizer, tmp_path).encode(text).ids != tokenizer.encode(text).tolist()
    assert len(tokenizer_json.NOT_EXPRESSED) == 6


def test_the_token_of_a_line_break_is_named_and_never_added(ours, tmp_path):
    theirs = fast(ours, tmp_path)
    fields = json.loads((tmp_path / "tokenizer_config.json").read_text())
    named = {fields[f"{name}_token"] for name in ("bos", "eos", "pad")}
    assert {theirs.token_to_id(name) for name in named} == {ours.newline_id}
    assert fields["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert fields["model_max_length"] == 64
    assert ours.newline_id not in theirs.encode("the boat").ids


def test_special_tokens_stand_around_one_text_and_two(ours, tmp_path):
    theirs = fast(ours, tmp_path, has_specials=True)
    a, b = (ours.encode(text).tolist() for text in ("the boat", "a river"))
    start, delimiter, classify = range(ours.vocab_size, ours.vocab_size + 3)
    assert theirs.encode("the boat").ids == [start, *a, classify]
    pair = theirs.encode("the boat", "a river").ids
    assert pair == [start, *a, delimiter, *b, classify]


def test_a_written_tokenizer_comes_back(ours, tmp_path):
    fast(ours, tmp_path, has_specials=True)
    assert tokenizers.is_tokenizer(tmp_path)
    again = tokenizers.load(tmp_path)
    assert type(again) is type(ours)
    assert again.fingerprint == ours.fingerprint


def change(directory, change_content):
    """Changes the content of a tokenizer.json."""
    path = directory / "tokenizer.json"
    content = json.loads(path.read_text())
    change_content(content)
    path.write_text(json.dumps(content))


def test_another_cleaning_is_refused(ours, tmp_path):
    fast(ours, tmp_path)
    change(tmp_path, lambda content: content["normalizer"]["normalizers"].pop())
    with pytest.raises(ValueError, match=r"its normalizer is not this project's.*rest"):
        tokenizers.load(tmp_path)


def test_only_a_saved_bpe_may_lack_a_cleaning(ours, tmp_path):
    """A SentencePiece model without one is another project's, such as Llama's."""
    fast(ours, tmp_path)
    change(tmp_path, lambda content: content.update(normalizer=None))
    if ours.kind == "bpe":
        assert tokenizers.load(tmp_path).fingerprint == ours.fingerprint
    else:
        with pytest.raises(ValueError, match="its normalizer is not this project's"):
            tokenizers.load(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"byte_fallback": False, "end_of_word_suffix": None},
        {"end_of_word_suffix": None, "vocab": {"a": 0}},
        {"vocab": {"a": 1}},
        {"merges": [[1, 2]]},
        {"merges": ["a"]},
        # The token of unknown characters is the first of the released model only.
        {"byte_fallback": False, "end_of_word_suffix": "</w>", "unk_token": "t"},
    ],
)
def test_another_model_is_refused(changes, ours, tmp_path):
    fast(ours, tmp_path)
    change(tmp_path, lambda content: content["model"].update(changes))
    with pytest.raises(ValueError, match=r"is not a tokenizer of GPT-1: .*; use the"):
        tokenizers.load(tmp_path)


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a tokenizer of GPT-1"):
        tokenizers.load(tmp_path)


def test_an_exported_folder_prepares_a_corpus(ours, tmp_path):
    fast(ours, tmp_path / "exported")
    (tmp_path / "one.txt").write_text("The boat, and the river.")
    (tmp_path / "two.txt").write_text("A boat.")
    config = DataConfig(
        corpus=str(tmp_path / "one.txt"),
        eval_corpus=str(tmp_path / "two.txt"),
        tokenizer=str(tmp_path / "exported"),
        cache_dir=str(tmp_path / "cache"),
    )
    store = preparation.open_corpus(config)
    expected = ours.encode("The boat, and the river.").tolist()
    assert store.train_tokens.tolist() == expected


@needs_spacy
@pytest.mark.parametrize(
    "text",
    [
        "I don't know, he said.",
        "He said “hello” -- and left... She's Mr. Smith's aunt.",
        "We'd've gone; they're 5pm, I'm e.g. here. Cannot?!",
        "'Twas the boys' _own_ o'clock, goin' to the U.S. (A. B.)",
        "First line.\nSecond line: ## *** &c.",
        "the end.Next 1:30 a:b 'tis 20% $5",
    ],
)
def test_words_of_the_released_tokenizer_are_cut_as_spacy_cuts_them(text, tmp_path):
    pieces = [*GOLDEN["symbols"], "\n</w>"]
    id_of = {piece: number for number, piece in enumerate(pieces)}
    id_of["th"] = len(id_of)
    released = openai_bpe.OpenAITokenizer(json.dumps(id_of).encode(), b"#v\nt h\n")
    theirs = fast(released, tmp_path)
    ids = released.encode(text).tolist()
    assert theirs.encode(text).ids == ids
    assert theirs.decode(ids) == released.decode(ids)
    assert tokenizers.load(tmp_path).fingerprint == released.fingerprint


def test_a_tokenizer_that_keeps_case_is_refused(tmp_path):
    cased = tokenizer_training.train(
        ["The old Boat. " * 50], 284, "bpe", lowercase=False
    )
    with pytest.raises(ValueError, match=r"data.lowercase=False; .* lower-case; train"):
        tokenizer_json.write(cased, tmp_path, context_length=8)
    assert not list(tmp_path.iterdir())
