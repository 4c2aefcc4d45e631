"""The released tokenizer: spaCy's English words, then byte-pair encoding.

The user supplies its two files (MIT license, in finetune-transformer-lm/model), under
their released names or those of Hugging Face.
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
# Newer versions of transformers write one file with both.
_ONE_FILE = "tokenizer.json"
_END_OF_WORD = "</w>"
_NEWLINE = f"\n{_END_OF_WORD}"
_UNKNOWN_ID = 0
_MAX_CACHED_WORDS = 500_000


class OpenAITokenizer:
    r"""The released tokenizer; its ids are those of the released code.

    ftfy and the released rules clean the text, and spaCy's blank English tokenizer
    splits it into words. A word is lower-cased, and its characters are merged pair by
    pair. A piece outside the vocabulary has the id 0; a line break has the id of
    "\n</w>".
    Source: finetune-transformer-lm text_utils.py, `TextEncoder`.
    """

    # The versions of these packages affect the ids: spaCy splits some URLs differently.
    libraries: tuple[str, ...] = ("ftfy", "spacy", "tokenizers")
    is_cased = False

    def __init__(self, vocabulary: bytes, merges: bytes, origin: str = "these bytes"):
        self._files = (vocabulary, merges)
        id_of = _parse_vocabulary(vocabulary, origin)
        pairs = _parse_merges(merges, origin)
        self._piece_of = {number: piece for piece, number in id_of.items()}
        try:
            self.model = tokenizers_lib.models.BPE(
                id_of,
                pairs,
                unk_token=self._piece_of[_UNKNOWN_ID],
                end_of_word_suffix=_END_OF_WORD,
            )
        except Exception as error:  # the library has no exception class of its own
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
        """Returns the ids (uint32, one axis) of `text`.

        Raises: UserError: `text` is not empty, and spaCy is not installed.
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
            # spaCy joins a line break and the space after it.
            return [self.newline_id if word.startswith("\n") else _UNKNOWN_ID]
        return [token.id for token in self.model.tokenize(word.lower())]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`, with a space between words."""
        pieces = "".join(self._piece_of.get(int(number), "") for number in ids)
        unknown = self._piece_of[_UNKNOWN_ID]
        pieces = pieces.replace(unknown, f"{unknown} ")
        lines = pieces.replace(_END_OF_WORD, " ").split("\n")
        return "\n".join(line.strip(" ") for line in lines)

    def save(self, directory: Path) -> None:
        """Writes both files, each atomically, under their released names."""
        for name, content in zip(FILE_NAMES[0], self._files, strict=True):
            write_bytes_atomically(directory / name, content)


class _Words(dict):
    """Cache from spaCy's hash of a word to its ids.

    It owns a spaCy tokenizer, whose table of words grows with the cache, so that both
    are freed together.
    """

    def __init__(self, ids_of_word: Any):
        self._ids_of_word = ids_of_word
        self._nlp = _blank_english()

    def cut(self, text: str) -> list[int]:
        """Returns the hashes of the words of `text`, in order."""
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
            "the released tokenizer splits words with spaCy, which is not installed; "
            f"no other splitting gives its ids; {INSTALL}"
        ) from None
    return spacy.blank("en")


def _parse_vocabulary(content: bytes, origin: str) -> dict[str, int]:
    """Returns the id of each piece; the ids must be 0, 1, ... in any order."""
    try:
        id_of = parse_json(content.decode("utf-8"))
        is_whole = sorted(id_of.values()) == list(range(len(id_of))) and all(
            type(number) is int for number in id_of.values()
        )
    except (ValueError, AttributeError, TypeError):
        is_whole, id_of = False, {}
    if not is_whole or not id_of:
        raise UserError(
            f"{origin}: the vocabulary is not a JSON object from pieces to the ids 0, "
            f"1, ...; {FILE_NAMES[0][0]} is expected; download it again"
        )
    return id_of


def _parse_merges(content: bytes, origin: str) -> list[tuple[str, str]]:
    """Returns the pairs in order of their ranks; the first line names a version."""
    try:
        lines = content.decode("utf-8").split("\n")
    except ValueError:
        lines = []
    rows = [line.split() for line in lines[1:] if line]
    if not rows or any(len(row) != 2 for row in rows):
        raise UserError(
            f"{origin}: the merges are not lines of two pieces after a first line; "
            f"{FILE_NAMES[0][1]} is expected; download it again"
        )
    return [(first, second) for first, second in rows]


def find(directory: Path) -> tuple[Path, ...]:
    """Returns the paths of vocabulary and merges, or of the file of both; (): none.

    Raises: NotFound: one of the pair is missing.
    """
    for names in FILE_NAMES:
        paths = tuple(directory / name for name in names)
        existing = [path for path in paths if path.is_file()]
        if len(existing) == 2:
            return paths
        if existing:
            (missing,) = set(paths) - set(existing)
            raise NotFound(
                f"{existing[0]} exists, but {missing.name} does not; the tokenizer "
                "needs both; add it"
            )
    one = directory / _ONE_FILE
    return (one,) if one.is_file() else ()


def load(paths: tuple[Path, ...]) -> OpenAITokenizer:
    """Loads the tokenizer from the paths that `find` returned."""
    contents = [path.read_bytes() for path in paths]
    if len(contents) == 1:
        contents = _split(contents[0], str(paths[0]))
    vocabulary, merges = contents
    return OpenAITokenizer(vocabulary, merges, str(paths[0].parent))


def _split(content: bytes, origin: str) -> list[bytes]:
    """Returns the contents of the pair of files that equal a tokenizer.json."""
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
        f"{_END_OF_WORD} are expected; use {' and '.join(FILE_NAMES[0])}"
    )
