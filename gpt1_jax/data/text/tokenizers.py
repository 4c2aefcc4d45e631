"""Tokenizers: text to token ids and back.

A tokenizer is a directory of files, which `load` opens. It does not have the special
tokens of fine-tuning: their ids follow its vocabulary.
"""

import dataclasses
import hashlib
import importlib.metadata
import io
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import sentencepiece

from gpt1_jax import files
from gpt1_jax.data.text import bpe, openai_bpe
from gpt1_jax.data.text import clean as text_rules
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import write_bytes_atomically

_MODEL_FILE = "sentencepiece.model"
_NEWLINE_PIECE = "<0x0A>"
_INDENT_PIECES = {" ": "<0x20>", "\t": "<0x09>"}
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


class _WordTokenizer:
    """Base of tokenizers whose tokens never cross a space.

    Text is cleaned by the released rules. It is lower-cased, unless the tokenizer was
    trained on cased text: then case, blank lines and indentation are kept, indentation
    as bytes. Words are encoded one by one, and cached.
    """

    newline_id: int

    def __init__(
        self, encode_word: Callable[[str], list[int]], id_of: Mapping[str, int]
    ):
        self.is_cased = bpe.CASED_MARK in id_of
        self._indent_ids = {c: id_of[piece] for c, piece in _INDENT_PIECES.items()}
        self._ids_of_word = _WordCache(encode_word)

    def encode(self, text: str) -> np.ndarray:
        """Returns the ids of `text`, with `newline_id` between lines."""
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

    def _indent_of(self, line: str) -> list[int]:
        indent = line[: len(line) - len(line.lstrip(" \t"))]
        return [self._indent_ids[character] for character in indent]


class SentencePieceTokenizer(_WordTokenizer):
    """Byte-pair encoding trained by SentencePiece; a token may begin a word.

    A line break is the token of the byte 0x0A. Other characters outside the vocabulary
    become their UTF-8 bytes.
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
        self.fingerprint = hashlib.sha256(model).hexdigest()
        id_of = {piece: number for number, piece in enumerate(self.pieces)}
        super().__init__(self._encode_word, id_of)

    @property
    def pieces(self) -> list[str]:
        """The pieces in the order of their ids."""
        return self._processor.id_to_piece(list(range(self.vocab_size)))

    def _encode_word(self, word: str) -> list[int]:
        ids: list[int] = []
        for start in range(0, len(word), _MAX_WORD_CHARS):
            ids += self._processor.encode(word[start : start + _MAX_WORD_CHARS])
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of `ids`, with a line break for each `newline_id`."""
        groups: list[list[int]] = [[]]
        for token in ids:
            if token == self.newline_id:
                groups.append([])
            else:
                groups[-1].append(int(token))
        return "\n".join(map(self._decode_line, groups))

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


class BytePairTokenizer(_WordTokenizer):
    """Byte-pair encoding as in the paper: a token may end a word, by `</w>`."""

    libraries: tuple[str, ...] = ("ftfy", "tokenizers")

    def __init__(self, encoding: bpe.BytePairEncoding):
        self.encoding = encoding
        self.vocab_size = len(encoding.id_of)
        self.newline_id = encoding.id_of[bpe.NEWLINE]
        self.fingerprint = encoding.fingerprint
        self.decode, self.save = encoding.decode, encoding.save
        super().__init__(encoding.encode_word, encoding.id_of)


class _WordCache(dict[str, list[int]]):
    """Cache from words to ids; it is emptied when full, to bound its memory."""

    def __init__(self, encode_word: Callable[[str], list[int]]):
        self._encode_word = encode_word

    def __missing__(self, word: str) -> list[int]:
        if len(self) >= _MAX_CACHED_WORDS:
            self.clear()
        self[word] = ids = self._encode_word(word)
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
    one_file = directory / bpe.FILE_NAME
    if one_file.is_file() and (encoding := bpe.read(one_file)):
        return BytePairTokenizer(encoding)
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
    texts: Iterable[str],
    vocab_size: int,
    kind: str = "sentencepiece",
    *,
    lowercase: bool = True,
) -> Tokenizer:
    """Trains a byte-pair encoding of `vocab_size` entries on raw `texts`.

    Args:   kind: one of TRAINED. lowercase: if False, the tokenizer is_cased.
    Raises: UserError: `vocab_size` is too large or too small for the texts.
    """
    lines = (
        line.strip()
        for text in texts
        for line in _cleaned(text, is_cased=not lowercase).split("\n")
    )
    return TRAINED[kind].train(lines, vocab_size, [] if lowercase else [bpe.CASED_MARK])


def _train_bpe(
    lines: Iterable[str], vocab_size: int, marks: list[str]
) -> BytePairTokenizer:
    words = itertools.chain.from_iterable(map(str.split, lines))
    return BytePairTokenizer(bpe.train(words, vocab_size, marks))


def _train_sentencepiece(
    lines: Iterable[str], vocab_size: int, marks: list[str]
) -> SentencePieceTokenizer:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=itertools.chain.from_iterable(map(_cut, lines)),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            character_coverage=bpe.CHARACTER_COVERAGE,
            normalization_rule_name="identity",
            bos_id=-1,
            eos_id=-1,
            control_symbols=marks,
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


@dataclasses.dataclass(frozen=True)
class _Trained:
    """A kind of tokenizer that is trained: its packages, and the training."""

    libraries: tuple[str, ...]
    train: Callable[[Iterable[str], int, list[str]], Tokenizer]


# The values of config.data.tokenizer that train one.
TRAINED = {
    "sentencepiece": _Trained(SentencePieceTokenizer.libraries, _train_sentencepiece),
    "bpe": _Trained(BytePairTokenizer.libraries, _train_bpe),
}
