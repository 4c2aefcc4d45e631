"""The released tokenizer against golden ids and a slow, separate implementation.

tests/golden/openai_bpe.json has all its symbols and the merges that the golden texts
use. The released files are tested too if OPENAI_BPE_DIR names their directory.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import ftfy
import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from gpt1_jax.config import DataConfig
from gpt1_jax.data.text import bpe, openai_bpe, preparation, tokenizers
from gpt1_jax.data.text import clean as text_rules
from gpt1_jax.errors import UserError

spacy = pytest.importorskip("spacy")  # the extra `openai`

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/openai_bpe.json").read_text())
FIRST_MERGE = len(GOLDEN["symbols"])
NUM_RELEASED = 40478


def small_files() -> tuple[bytes, bytes]:
    """Returns a vocabulary of all symbols and few merges, numbered without gaps."""
    merges = [(a, b) for _, a, b in GOLDEN["merges"]]
    pieces = [*GOLDEN["symbols"], *(a + b for a, b in merges), "\n</w>"]
    id_of = {piece: number for number, piece in enumerate(pieces)}
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges), ""]
    return json.dumps(id_of).encode(), "\n".join(lines).encode()


@pytest.fixture(scope="module")
def tokenizer() -> openai_bpe.OpenAITokenizer:
    return openai_bpe.OpenAITokenizer(*small_files())


def released_ids(small_ids) -> list[int]:
    """Returns the ids in the whole vocabulary of ids in the small one."""
    ranks = [rank for rank, _, _ in GOLDEN["merges"]]
    numbers = [*range(FIRST_MERGE), *(FIRST_MERGE + r for r in ranks), NUM_RELEASED - 1]
    return [numbers[number] for number in small_ids]


@pytest.mark.parametrize("text", GOLDEN["ids"])
def test_golden_texts_have_the_original_ids(text, tokenizer):
    assert released_ids(tokenizer.encode(text)) == GOLDEN["ids"][text]


class Slow:
    """The released procedure on strings, merge by merge, with its own dictionary."""

    def __init__(self, vocabulary: bytes, merges: bytes):
        self.id_of = json.loads(vocabulary)
        lines = merges.decode().split("\n")[1:-1]
        self.rank = {tuple(line.split(" ")): i for i, line in enumerate(lines)}
        self.nlp = spacy.blank("en")

    def pieces(self, word: str) -> list[str]:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pairs = set(itertools.pairwise(parts))
            known = [pair for pair in pairs if pair in self.rank]
            if not known:
                break
            best = min(known, key=self.rank.__getitem__)
            merged, i = [], 0
            while i < len(parts):
                if tuple(parts[i : i + 2]) == best:
                    merged.append("".join(best))
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            parts = merged
        # The released code joins by spaces and, later, splits at them.
        joined = " ".join(parts)
        return ["\n</w>"] if joined == "\n  </w>" else joined.split(" ")

    def encode(self, text: str) -> list[int]:
        words = self.nlp.tokenizer(text_rules.standardize(ftfy.fix_text(text)))
        return [
            self.id_of.get(piece, 0)
            for word in words
            for piece in self.pieces(word.text.lower())
        ]


@pytest.fixture(scope="module")
def slow() -> Slow:
    return Slow(*small_files())


ODD = [
    *("the", "president", "can't", "I'm", "Mr.", "U.S.", "a.m.", "3.5%", "$1,234.56"),
    *("well-known", "don't", ":)", "'ve", "'tis", "https://a.b/c?d=e", "é", "naïve"),
    *("…", "—", "“quoted”", "\\", "c:\\dir", "a\\b", "🙂", "日本", "İ", "ß", "x@y.org"),
    *("10:30", "e.g.", "[CLS]", "<unk>", "_start_", "</w>", "o'clock", "n't"),
]
BLANK = ["\n", "\n\n", "\t", "\r\n", "\x1c", "\u00ad", "\u200b", "\u3000"]
TEXTS = strategies.one_of(
    strategies.text(),
    strategies.lists(strategies.sampled_from([*ODD, *BLANK])).map(" ".join),
    strategies.lists(strategies.sampled_from([*ODD, *BLANK])).map("".join),
)


@hypothesis.settings(max_examples=400)
@hypothesis.given(text=TEXTS)
def test_any_text_has_the_ids_of_the_slow_tokenizer(text, tokenizer, slow):
    assert tokenizer.encode(text).tolist() == slow.encode(text)


@pytest.mark.skipif(
    "OPENAI_BPE_DIR" not in os.environ, reason="the released files are not shipped"
)
@hypothesis.settings(max_examples=2000)
@hypothesis.given(text=TEXTS)
def test_any_text_has_the_slow_ids_with_the_released_files(text):
    whole, slow_whole = _whole()
    assert whole.encode(text).tolist() == slow_whole.encode(text)


_loaded: list = []


def _whole():
    if not _loaded:
        directory = Path(os.environ["OPENAI_BPE_DIR"])
        paths = openai_bpe.find(directory)
        _loaded.extend(
            [openai_bpe.load(paths), Slow(*(path.read_bytes() for path in paths))]
        )
    return _loaded


@pytest.mark.parametrize("text", [r"a\b", r"c:\dir", r"\\", r"x\y z"])
def test_no_spaces_are_put_around_a_backslash(text, tokenizer, slow):
    assert text_rules.standardize(text) == text
    assert tokenizer.encode(text).tolist() == slow.encode(text)


def test_decoding_gives_words_and_lines(tokenizer):
    ids = tokenizer.encode("The president is here.\n\n\nHe said no")
    assert tokenizer.decode(ids) == "the president is here .\nhe said no"
    assert tokenizer.decode([]) == ""
    assert tokenizer.newline_id in ids
    assert ids.dtype == np.uint32


@pytest.mark.parametrize("names", openai_bpe.FILE_NAMES)
def test_files_are_found_under_both_pairs_of_names(names, tmp_path, tokenizer):
    for name, content in zip(names, small_files(), strict=True):
        (tmp_path / name).write_bytes(content)
    found = tokenizers.load(tmp_path)
    assert found.fingerprint == tokenizer.fingerprint
    found.save(tmp_path / "copy")
    assert {path.name for path in (tmp_path / "copy").iterdir()} == set(
        openai_bpe.FILE_NAMES[0]
    )
    assert tokenizers.load(tmp_path / "copy").fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("as_pairs", [True, False])
def test_the_single_file_of_newer_versions_is_read(as_pairs, tmp_path, tokenizer):
    vocabulary, merges = small_files()
    lines = merges.decode().split("\n")[1:-1]
    model = {
        "type": "BPE",
        "vocab": json.loads(vocabulary),
        "merges": [line.split() for line in lines] if as_pairs else lines,
        "end_of_word_suffix": "</w>",
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    assert tokenizers.load(tmp_path).fingerprint == tokenizer.fingerprint
    model["end_of_word_suffix"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    with pytest.raises(
        UserError, match=r"tokenizer.json is not a tokenizer of GPT-1: b"
    ):
        tokenizers.load(tmp_path)


def test_half_a_pair_is_refused(tmp_path):
    (tmp_path / "vocab.json").write_bytes(small_files()[0])
    message = r"vocab.json exists, but merges.txt does not; .* both; add it"
    with pytest.raises(FileNotFoundError, match=message):
        tokenizers.load(tmp_path)


@pytest.mark.parametrize(
    ("which", "content", "message"),
    [
        (0, b"", "the vocabulary is not a JSON object"),
        (0, b"[1, 2]", "the vocabulary is not a JSON object"),
        (0, b'{"a": 0, "b": 2}', "the vocabulary is not a JSON object"),
        (0, b'{"a": "0"}', "the vocabulary is not a JSON object"),
        (0, b"\xff", "the vocabulary is not a JSON object"),
        (0, b'{"a": 0}', "do not belong together"),
        (1, b"", "the merges are not lines of two pieces"),
        (1, b"#version: 0.2\na b c\n", "the merges are not lines of two pieces"),
        (1, b"#version: 0.2\nt \xff\n", "the merges are not lines of two pieces"),
    ],
)
def test_damaged_files_are_refused(which, content, message):
    files = list(small_files())
    files[which] = content
    with pytest.raises(ValueError, match=message):
        openai_bpe.OpenAITokenizer(*files)


def test_full_word_cache_changes_no_ids(tokenizer, slow, monkeypatch):
    monkeypatch.setattr(bpe, "MAX_CACHED_WORDS", 2)
    own = openai_bpe.OpenAITokenizer(*small_files())
    for text in ("the president is here", "don't", "the president is here again"):
        assert own.encode(text).tolist() == slow.encode(text)


def test_missing_spacy_is_reported_with_the_remedy(tmp_path):
    openai_bpe.OpenAITokenizer(*small_files()).save(tmp_path)
    code = (
        "import sys; sys.modules['spacy'] = None\n"
        "from pathlib import Path\n"
        "from gpt1_jax.data.text import tokenizers\n"
        "from gpt1_jax.errors import UserError\n"
        f"found = tokenizers.load(Path({str(tmp_path)!r}))\n"
        "assert found.decode([1]) == '.'\n"
        "try:\n"
        "    found.encode('a')\n"
        "except UserError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install spacy" in done.stdout


def test_released_tokenizer_prepares_a_corpus(tmp_path, tokenizer):
    tokenizer.save(tmp_path / "bpe")
    books = {"one": "The president is here.\n", "two": "He said no. He left."}
    for name, content in books.items():
        (tmp_path / f"{name}.txt").write_text(content)
    config = DataConfig(
        corpus=str(tmp_path / "*.txt"),
        tokenizer="openai",
        openai_bpe_dir=str(tmp_path / "bpe"),
        cache_dir=str(tmp_path / "cache"),
    )
    store = preparation.open_corpus(config)
    assert store.tokenizer.fingerprint == tokenizer.fingerprint
    tokens = [store.train_tokens.tolist(), store.eval_books[0].tolist()]
    assert sorted(tokens) == sorted(
        tokenizer.encode(x).tolist() for x in books.values()
    )
