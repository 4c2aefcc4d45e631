"""Tokenizers: text to token ids and back.

A tokenizer is a directory of files, which `load` opens. It does not have the special
tokens of fine-tuning: their ids follow its vocabulary.
"""

import hashlib
import importlib.metadata
import io
import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import sentencepiece

from gpt1_jax import files
from gpt1_jax.data.text import clean as text_rules
from gpt1_jax.data.text import openai_bpe
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import write_bytes_atomically

_MODEL_FILE = "sentencepiece.model"
_NEWLINE_PIECE = "<0x0A>"
_INDENT_PIECES = {" ": "<0x20>", "\t": "<0x09>"}
# An entry that marks a vocabulary of cased text; no text has its id.
_CASED_PIECE = "<cased>"
# Longer words are cut: they are not words of any language.
_MAX_WORD_CHARS = 1000
_MAX_CACHED_WORDS = 500_000
# SentencePiece drops longer sentences from its training data.
_MAX_SENTENCE_BYTES = 4000


class Tokenizer(Protocol):
    """Interface of all tokenizers.

    libraries: the packages whose versions affect its ids.
    is_cased: it keeps case, blank lines and indentation.
    """

    libraries: tuple[str, ...]
    is_cased: bool

    @property
    def vocab_size(self) -> int:
        """The number of ids, without the special tokens of fine-tuning."""

    @property
    def fingerprint(self) -> str:
        """A sha256 of the content of its files."""

    @property
    def newline_id(self) -> int:
        """The id of a line break."""

    def encode(self, text: str) -> np.ndarray:
        """Returns the ids (uint32, one axis) of `text`, which it cleans first."""

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`."""

    def save(self, directory: Path) -> None:
        """Writes the files that `load` opens."""


class SentencePieceTokenizer:
    """Byte-pair encoding trained by SentencePiece on lower-cased text, as in the paper.

    One that was trained on cased text also keeps blank lines, and indentation as bytes.
    Text is cleaned by the released rules. A line break is the token of the byte 0x0A.
    Other characters outside the vocabulary become their UTF-8 bytes.
    """

    libraries: tuple[str, ...] = ("ftfy", "sentencepiece")

    def __init__(self, model: bytes, origin: str = "these bytes"):
        self._model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except (RuntimeError, ValueError):  # ValueError: its message is not UTF-8
            raise UserError(
                f"{origin} is not a SentencePiece model; one that this project "
                "trained is expected; restore it or train the tokenizer again"
            ) from None
        self.vocab_size: int = self._processor.get_piece_size()
        self.newline_id: int = self._processor.piece_to_id(_NEWLINE_PIECE)
        if self._processor.id_to_piece(self.newline_id) != _NEWLINE_PIECE:
            raise UserError(
                f"{origin} has no byte pieces; a SentencePiece model trained with "
                "byte_fallback is expected; train the tokenizer again"
            )
        cased_id = self._processor.piece_to_id(_CASED_PIECE)
        self.is_cased: bool = self._processor.id_to_piece(cased_id) == _CASED_PIECE
        self._indent_ids = {
            character: self._processor.piece_to_id(piece)
            for character, piece in _INDENT_PIECES.items()
        }
        self.fingerprint = hashlib.sha256(model).hexdigest()
        self._ids_of_word = _WordCache(self._processor)

    def encode(self, text: str) -> np.ndarray:
        """Returns the ids of `text`, with `newline_id` between lines.

        Pieces never cross a space, so words are encoded one by one, and cached.
        """
        lines = _cleaned(text, is_cased=self.is_cased).split("\n")
        ids = itertools.chain.from_iterable(
            itertools.chain(
                self._indent_of(line) if self.is_cased else (),
                itertools.chain.from_iterable(
                    map(self._ids_of_word.__getitem__, line.split())
                ),
                (self.newline_id,),
            )
            for line in lines
        )
        return np.fromiter(ids, np.uint32)[:-1]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`, with a line break for each `newline_id`."""
        groups: list[list[int]] = [[]]
        for token in ids:
            if token == self.newline_id:
                groups.append([])
            else:
                groups[-1].append(int(token))
        return "\n".join(map(self._decode_line, groups))

    def _indent_of(self, line: str) -> list[int]:
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        return [self._indent_ids[character] for character in indent]

    def _decode_line(self, ids: list[int]) -> str:
        if not self.is_cased:
            return self._processor.decode(ids)
        # SentencePiece drops the space that begins the first word of what it decodes.
        character_of = {token: c for c, token in self._indent_ids.items()}
        indent = "".join(
            character_of[token] for token in itertools.takewhile(character_of.get, ids)
        )
        return indent + self._processor.decode(ids[len(indent) :])

    def save(self, directory: Path) -> None:
        """Writes the model file, atomically."""
        write_bytes_atomically(directory / _MODEL_FILE, self._model)


class _WordCache(dict[str, list[int]]):
    """Cache from words to ids; it is emptied when full, to bound its memory."""

    def __init__(self, processor: sentencepiece.SentencePieceProcessor):
        self._processor = processor

    def __missing__(self, word: str) -> list[int]:
        if len(self) >= _MAX_CACHED_WORDS:
            self.clear()
        ids: list[int] = []
        for start in range(0, len(word), _MAX_WORD_CHARS):
            ids += self._processor.encode(word[start : start + _MAX_WORD_CHARS])
        self[word] = ids
        return ids


def _cleaned(text: str, *, is_cased: bool) -> str:
    """Returns the text that is encoded, without SentencePiece's space mark."""
    if is_cased:
        text = text_rules.standardize_lines(text)
    else:
        text = text_rules.standardize(text).lower()
    return text.replace("\u2581", "_")


def is_tokenizer(directory: Path) -> bool:
    """Returns whether `directory` holds a tokenizer."""
    return (directory / _MODEL_FILE).is_file() or bool(openai_bpe.find(directory))


def load(directory: Path) -> Tokenizer:
    """Loads the tokenizer in `directory`.

    Raises: UserError, NotFound: there is no tokenizer, or it is damaged.
    """
    directory = files.expand(directory)
    model = directory / _MODEL_FILE
    if model.is_file():
        return SentencePieceTokenizer(model.read_bytes(), str(model))
    if released := openai_bpe.find(directory):
        return openai_bpe.load(released)
    pairs = " or ".join(" and ".join(names) for names in openai_bpe.FILE_NAMES)
    raise NotFound(
        f"no tokenizer in {directory}; {_MODEL_FILE}, or the released {pairs}, is "
        "expected there; add the files, or name the tokenizer/ of a workdir"
    )


def library_version(name: str) -> str:
    """Returns the version of a package that affects ids.

    Raises: UserError: it is not installed.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"the tokenizer needs {name}, which is not installed; {openai_bpe.INSTALL}"
        ) from None


def train(
    texts: Iterable[str], vocab_size: int, *, lowercase: bool = True
) -> SentencePieceTokenizer:
    """Trains a byte-pair encoding of `vocab_size` entries on raw `texts`.

    Args:   lowercase: if False, the tokenizer is_cased.
    Raises: UserError: `vocab_size` is too large or too small for the texts.
    """
    sentences = (
        sentence
        for text in texts
        for line in _cleaned(text, is_cased=not lowercase).split("\n")
        for sentence in _cut(line.strip())
    )
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences,
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            character_coverage=0.9999,
            normalization_rule_name="identity",
            bos_id=-1,
            eos_id=-1,
            control_symbols=[] if lowercase else [_CASED_PIECE],
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(_training_failed(str(error), vocab_size)) from None
    return SentencePieceTokenizer(model.getvalue())


def _cut(line: str) -> list[str]:
    """Splits `line` at spaces into sentences that SentencePiece does not drop."""
    if len(line.encode()) <= _MAX_SENTENCE_BYTES:
        return [line] if line else []
    sentences: list[list[str]] = [[]]
    size = 0
    for word in line.split():
        word = word[:_MAX_WORD_CHARS]
        size += len(word.encode()) + 1
        if size > _MAX_SENTENCE_BYTES:
            sentences.append([])
            size = len(word.encode()) + 1
        sentences[-1].append(word)
    return [" ".join(words) for words in sentences if words]


def _training_failed(error: str, vocab_size: int) -> str:
    """Returns the message for a failed training of SentencePiece."""
    limit = re.search(r"value <= (\d+)", error)
    least = re.search(r"required_chars\.size\(\)\D+(\d+)|than required\D*(\d+)", error)
    if limit:
        return (
            f"vocab_size={vocab_size}; these books hold pieces for at most "
            f"{limit[1]}; lower vocab_size or add more text"
        )
    if least or "smaller than required" in error or "meta_pieces" in error:
        return (
            f"vocab_size={vocab_size} is less than the characters and bytes of these "
            "books; raise vocab_size"
        )
    return f"no tokenizer can be trained on these books ({error}); add more text"
