"""The released tokenizer: spaCy's English words, then byte-pair encoding.

Its two files (MIT, in finetune-transformer-lm/model) are brought by the user, under
their own names or those that Hugging Face gives them.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers as tokenizers_lib

from gpt1_jax.data.text import clean as text_rules
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import parse_json, write_bytes_atomically

# Vocabulary and merges, as released and as Hugging Face names them.
FILE_NAMES = (
    ("encoder_bpe_40000.json", "vocab_40000.bpe"),
    ("vocab.json", "merges.txt"),
)
INSTALL = "pip install spacy"
# Newer versions of transformers keep both in this file.
_ONE_FILE = "tokenizer.json"
_END_OF_WORD = "</w>"
_NEWLINE = f"\n{_END_OF_WORD}"
_UNKNOWN_ID = 0
_MAX_CACHED_WORDS = 500_000


class OpenAITokenizer:
    r"""The procedure of the release, id for id.

    ftfy and the released rules clean the text, spaCy's blank English tokenizer cuts it
    into words, which are lower-cased and merged pair by pair. What is not in the
    vocabulary has the id 0, a line break that of "\n</w>".
    Source: finetune-transformer-lm text_utils.py, `TextEncoder`.
    """

    # Packages whose versions decide the ids; spaCy's splits of some URLs change.
    libraries: tuple[str, ...] = ("ftfy", "spacy", "tokenizers")

    def __init__(self, vocabulary: bytes, merges: bytes, origin: str = "these bytes"):
        self._files = (vocabulary, merges)
        id_of = _parse_vocabulary(vocabulary, origin)
        pairs = _parse_merges(merges, origin)
        self._piece_of = {number: piece for piece, number in id_of.items()}
        try:
            self._bpe = tokenizers_lib.models.BPE(
                id_of,
                pairs,
                unk_token=self._piece_of[_UNKNOWN_ID],
                end_of_word_suffix=_END_OF_WORD,
            )
        except Exception as error:  # the library has no class of its own for it
            raise UserError(
                f"{origin}: merges and vocabulary do not belong together: {error}; use "
                "the released pair"
            ) from None
        self.vocab_size = len(id_of)
        self.newline_id: int = id_of.get(_NEWLINE, _UNKNOWN_ID)
        facts = [[self._piece_of[n] for n in range(self.vocab_size)], pairs]
        self.fingerprint = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
        self._words: _Words | None = None

    def encode(self, text: str) -> np.ndarray:
        """The ids (uint32, one axis) of `text`.

        Raises: UserError, once there is a text to cut, if spaCy is not installed.
        """
        clean = text_rules.standardize(text)
        if not clean:
            return np.zeros(0, np.uint32)
        if self._words is None or len(self._words) > _MAX_CACHED_WORDS:
            self._words = _Words(self._ids_of_word)
        ids = map(self._words.__getitem__, self._words.cut(clean))
        return np.fromiter(itertools.chain.from_iterable(ids), np.uint32)

    def _ids_of_word(self, word: str) -> list[int]:
        if word.isspace():
            # With the space after it, as spaCy has it, or at the end of a text.
            return [self.newline_id if word.startswith("\n") else _UNKNOWN_ID]
        return [token.id for token in self._bpe.tokenize(word.lower())]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`: words with a space between, a line break for its id."""
        pieces = "".join(self._piece_of.get(int(number), "") for number in ids)
        unknown = self._piece_of[_UNKNOWN_ID]
        pieces = pieces.replace(unknown, f"{unknown} ")
        lines = pieces.replace(_END_OF_WORD, " ").split("\n")
        return "\n".join(line.strip(" ") for line in lines)

    def save(self, directory: Path, *, as_huggingface: bool = False) -> None:
        """Writes both files, each atomically, under their released names.

        Args: as_huggingface: under transformers' names, with the config that makes its
              OpenAIGPTTokenizer of them.
        """
        files = dict(zip(FILE_NAMES[as_huggingface], self._files, strict=True))
        if as_huggingface:
            fields = {
                "tokenizer_class": "OpenAIGPTTokenizer",
                "unk_token": self._piece_of[_UNKNOWN_ID],
                "do_lower_case": True,
            }
            files["tokenizer_config.json"] = json.dumps(fields, indent=2).encode()
        for name, content in files.items():
            write_bytes_atomically(directory / name, content)


class _Words(dict):
    """spaCy's hash of a word -> its ids, computed when first asked for.

    It holds spaCy too, whose own memory of words grows with it: both are given up
    together.
    """

    def __init__(self, ids_of_word: Any):
        self._ids_of_word = ids_of_word
        self._nlp = _blank_english()

    def cut(self, text: str) -> list[int]:
        """The hashes of the words of `text`, in order."""
        return self._nlp.tokenizer(text).to_array("ORTH").tolist()

    def __missing__(self, word_hash: int) -> list[int]:
        ids = self._ids_of_word(self._nlp.vocab.strings[word_hash])
        self[word_hash] = ids
        return ids


def _blank_english() -> Any:
    try:
        import spacy
    except ImportError:
        raise UserError(
            "the released tokenizer cuts words by spaCy, which is not installed; no "
            f"other cut gives its ids; {INSTALL}"
        ) from None
    return spacy.blank("en")


def _parse_vocabulary(content: bytes, origin: str) -> dict[str, int]:
    """The vocabulary, whose ids must be 0, 1, ... in any order."""
    try:
        id_of = parse_json(content.decode("utf-8"))
        is_whole = sorted(id_of.values()) == list(range(len(id_of))) and all(
            type(number) is int for number in id_of.values()
        )
    except (ValueError, AttributeError, TypeError):
        is_whole, id_of = False, {}
    if not is_whole or not id_of:
        raise UserError(
            f"{origin}: the vocabulary is no JSON object of pieces and the ids 0, 1, "
            f"...; {FILE_NAMES[0][0]} is expected; fetch it again"
        )
    return id_of


def _parse_merges(content: bytes, origin: str) -> list[tuple[str, str]]:
    """The pairs in order of their ranks; the first line names a version."""
    try:
        lines = content.decode("utf-8").split("\n")
    except ValueError:
        lines = []
    rows = [line.split() for line in lines[1:] if line]
    if not rows or any(len(row) != 2 for row in rows):
        raise UserError(
            f"{origin}: the merges are no lines of two pieces after a first line; "
            f"{FILE_NAMES[0][1]} is expected; fetch it again"
        )
    return [(first, second) for first, second in rows]


def find(directory: Path) -> tuple[Path, ...]:
    """Vocabulary and merges in `directory`, or the file of both; (): neither.

    Raises: UserError where one of a pair is there without the other.
    """
    for names in FILE_NAMES:
        paths = tuple(directory / name for name in names)
        there = [path for path in paths if path.is_file()]
        if len(there) == 2:
            return paths
        if there:
            (missing,) = set(paths) - set(there)
            raise NotFound(
                f"{there[0]} is there, but no {missing.name}; the tokenizer needs "
                "both; add it"
            )
    one = directory / _ONE_FILE
    return (one,) if one.is_file() else ()


def load(paths: tuple[Path, ...]) -> OpenAITokenizer:
    """The tokenizer of the files that `find` found."""
    contents = [path.read_bytes() for path in paths]
    if len(contents) == 1:
        contents = _split(contents[0], str(paths[0]))
    vocabulary, merges = contents
    return OpenAITokenizer(vocabulary, merges, str(paths[0].parent))


def _split(content: bytes, origin: str) -> list[bytes]:
    """The vocabulary and the merges of a tokenizer.json, as files of their own."""
    try:
        model = parse_json(content.decode("utf-8"))["model"]
        merges = [
            pair if isinstance(pair, str) else " ".join(pair)
            for pair in model["merges"]
        ]
        if model["end_of_word_suffix"] == _END_OF_WORD:
            lines = "\n".join(["#version: 0.2", *merges, ""])
            return [json.dumps(model["vocab"]).encode(), lines.encode()]
    except (ValueError, KeyError, TypeError):
        pass
    raise UserError(
        f"{origin} is not a tokenizer of GPT-1: byte pairs whose words end in "
        f"{_END_OF_WORD} are expected; bring {' and '.join(FILE_NAMES[0])}"
    )
