"""Parts of a store: files of tokens and of the documents' lengths, by split.

A part is NUMBER.SIDE.tokens, NUMBER.SIDE.lengths (uint64) and NUMBER.json, which is
written last. Numbers are in the order of the corpus.
"""

import array
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gpt1_jax.files import naming

SPLITS = ("train", "valid")
COUNTS = ("tokens", "words", "documents", "empty")


def token_dtype(vocab_size: int) -> str:
    """Returns the type of a stored token."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


def part_path(parts: Path, number: int) -> Path:
    """Returns the path of a part, without the endings of its files."""
    return parts / f"{number:06d}"


def tokens_path(part: Path, split: str) -> Path:
    """Returns the path of a part's tokens in one split."""
    return part.with_suffix(f".{split}.tokens")


def lengths_path(part: Path, split: str) -> Path:
    """Returns the path of the lengths of a part's documents in one split."""
    return part.with_suffix(f".{split}.lengths")


def is_complete(parts: Path, number: int, dtype: str) -> bool:
    """Returns whether a part has its counts, and files of the size they say."""
    part = part_path(parts, number)
    facts = part.with_suffix(".json")
    if not facts.is_file():
        return False
    sources = [splits for _, splits in json.loads(facts.read_text())["sources"]]
    for split in SPLITS:
        counts = [splits[split] for splits in sources]
        num_tokens = sum(of_file["tokens"] for of_file in counts)
        num_lengths = sum(of_file["documents"] - of_file["empty"] for of_file in counts)
        tokens, lengths = tokens_path(part, split), lengths_path(part, split)
        if not (tokens.is_file() and lengths.is_file()):
            return False
        if tokens.stat().st_size != num_tokens * np.dtype(dtype).itemsize:
            return False
        if lengths.stat().st_size != num_lengths * np.dtype(np.uint64).itemsize:
            return False
    return True


class Output:
    """The tokens of one split, written as they come, and the documents' lengths."""

    def __init__(self, file: BinaryIO, dtype: str):
        self._file, self._dtype = file, dtype
        self.lengths = array.array("Q")

    def write(self, document: Iterable[np.ndarray]) -> int:
        """Writes a document's pieces; returns the number of its tokens."""
        length = 0
        for ids in document:
            self._file.write(ids.astype(self._dtype).tobytes())
            length += len(ids)
        if length:
            self.lengths.append(length)
        return length


def join(parts: Path, tokens: Path) -> tuple[str, dict[str, np.ndarray]]:
    """Writes the tokens of all parts to a file, training documents first.

    Returns: their sha256; the lengths of each split's documents, in tokens.
    """
    digest = hashlib.sha256()
    names = sorted(path.with_suffix("") for path in parts.glob("*.json"))
    with naming(tokens), tokens.open("wb") as out:
        for part in [tokens_path(name, split) for split in SPLITS for name in names]:
            with part.open("rb") as file:
                while block := file.read(1 << 24):
                    digest.update(block)
                    out.write(block)
    lengths = {
        split: np.concatenate(
            [np.fromfile(lengths_path(name, split), np.uint64) for name in names]
        )
        for split in SPLITS
    }
    return digest.hexdigest(), lengths
