"""Tokenizers: text to token ids and back.

A tokenizer is a directory of files, which `load` opens. It does not have the special
tokens of fine-tuning: their ids follow its vocabulary.
"""

import hashlib
import importlib.metadata
import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import sentencepiece

from gpt1_jax import files
from gpt1_jax.data.text import bpe, normalizer, openai_bpe, tokenizer_file
from gpt1_jax.data.text import clean as text_rules
from gpt1_jax.data.text.tokenizer_file import TokenizerFile
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import write_bytes_atomically

_MODEL_FILE = "sentencepiece.model"
_NEWLINE_PIECE = "<0x0A>"
_INDENT_PIECES = {" ": "<0x20>", "\t": "<0x09>"}
# Longer words are cut: they are not words of any language.
MAX_WORD_CHARS = 1000


class Tokenizer(Protocol):
    """Interface of all tokenizers.

    kind: its name as a value of config.data.tokenizer.
    libraries: the packages whose versions affect its ids.
    is_cased: it keeps case, blank lines and indentation.
    """

    kind: str
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
        lines = cleaned(text, is_cased=self.is_cased).split("\n")
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

    kind = "sentencepiece"
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
        for start in range(0, len(word), MAX_WORD_CHARS):
            ids += self._processor.encode(word[start : start + MAX_WORD_CHARS])
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

    kind = "bpe"
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
        if len(self) >= bpe.MAX_CACHED_WORDS:
            self.clear()
        self[word] = ids = self._encode_word(word)
        return ids


def cleaned(text: str, *, is_cased: bool) -> str:
    """Returns the text that is encoded, without SentencePiece's space mark."""
    if is_cased:
        text = text_rules.standardize_lines(text)
    else:
        text = text_rules.standardize(text).lower()
    return text.replace(normalizer.SPACE_MARK, "_")


def is_tokenizer(directory: Path) -> bool:
    """Returns whether `directory` holds a tokenizer."""
    names = (_MODEL_FILE, bpe.FILE_NAME)
    has_file = any((directory / name).is_file() for name in names)
    return has_file or bool(openai_bpe.find(directory))


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
    one_file = directory / bpe.FILE_NAME
    if one_file.is_file():
        return _from_file(tokenizer_file.read(one_file))
    pairs = " or ".join(" and ".join(names) for names in openai_bpe.FILE_NAMES)
    raise NotFound(
        f"no tokenizer in {directory}; {_MODEL_FILE}, {bpe.FILE_NAME}, or the released "
        f"{pairs}, is expected there; add the files, or name the tokenizer/ of a "
        "workdir or an exported folder"
    )


def _from_file(found: TokenizerFile) -> Tokenizer:
    """Returns the tokenizer in a tokenizer.json.

    Raises: UserError: its cleaning is another one, or it is damaged.
    """
    if not found.has_bytes:
        return openai_bpe.from_file(found)
    # BytePairTokenizer.save writes no normalizer.
    is_saved = found.marks_ends and found.normalizer is None
    if not is_saved and found.normalizer != normalizer.cleaning_json():
        raise UserError(
            f"{found.path}: its normalizer is not this project's, so that texts would "
            "get other ids; a tokenizer that gpt1_jax.convert --to huggingface wrote "
            "is expected; restore it"
        )
    origin = str(found.path)
    if found.marks_ends:
        return BytePairTokenizer(
            bpe.BytePairEncoding(found.id_of, found.merges, origin)
        )
    model = tokenizer_file.sentencepiece_model(found.pieces)
    return SentencePieceTokenizer(model, origin)


# The kinds that are trained, by the value of config.data.tokenizer.
TRAINED = {kind.kind: kind for kind in (SentencePieceTokenizer, BytePairTokenizer)}


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
