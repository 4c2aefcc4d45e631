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

from gpt1_jax.data.text import bpe
from gpt1_jax.data.text import clean as text_rules
from gpt1_jax.data.text.tokenizer_file import TokenizerFile
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import parse_json, write_bytes_atomically

# Vocabulary and merges, as released and as Hugging Face names them.
FILE_NAMES = (
    ("encoder_bpe_40000.json", "vocab_40000.bpe"),
    ("vocab.json", "merges.txt"),
)
INSTALL = "pip install spacy"
_UNKNOWN_ID = 0


class OpenAITokenizer:
    r"""The released tokenizer; its ids are those of the released code.

    ftfy and the released rules clean the text, and spaCy's blank English tokenizer
    splits it into words. A word is lower-cased, and its characters are merged pair by
    pair. A piece outside the vocabulary has the id 0; a line break has the id of
    "\n</w>".
    Source: finetune-transformer-lm text_utils.py, `TextEncoder`.
    """

    kind = "openai"
    # The versions of these packages affect the ids: spaCy splits some URLs differently.
    libraries: tuple[str, ...] = ("ftfy", "spacy", "tokenizers")
    is_cased = False

    def __init__(self, vocabulary: bytes, merges: bytes, origin: str = "these bytes"):
        self._files = (vocabulary, merges)
        id_of = _parse_vocabulary(vocabulary, origin)
        pairs = _parse_merges(merges, origin)
        self._piece_of = {number: piece for piece, number in id_of.items()}
        self.model = bpe.make_model(
            id_of, pairs, origin, unk_token=self._piece_of[_UNKNOWN_ID]
        )
        self.vocab_size = len(id_of)
        self.newline_id: int = id_of.get(bpe.NEWLINE, _UNKNOWN_ID)
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
        if self._words is None or len(self._words) > bpe.MAX_CACHED_WORDS:
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
        lines = pieces.replace(bpe.END_OF_WORD, " ").split("\n")
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
        is_whole = bpe.is_vocabulary(id_of)
    except (ValueError, AttributeError, TypeError):
        is_whole = False
    if not is_whole:
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
    """Returns the paths of vocabulary and merges; (): there are none.

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
    return ()


def load(paths: tuple[Path, ...]) -> OpenAITokenizer:
    """Loads the tokenizer from the paths that `find` returned."""
    vocabulary, merges = (path.read_bytes() for path in paths)
    return OpenAITokenizer(vocabulary, merges, str(paths[0].parent))


def from_file(found: TokenizerFile) -> OpenAITokenizer:
    """Returns the tokenizer of a tokenizer.json; newer transformers write no pair."""
    merges = "\n".join(["#version: 0.2", *map(" ".join, found.merges), ""])
    vocabulary = json.dumps(found.id_of).encode()
    return OpenAITokenizer(vocabulary, merges.encode(), str(found.path))
