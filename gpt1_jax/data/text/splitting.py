"""The split of a corpus into training and held-out documents."""

import concurrent.futures
import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gpt1_jax import terminal
from gpt1_jax.config import DataConfig
from gpt1_jax.data import formats, shuffle
from gpt1_jax.data.text import boilerplate, documents, sources
from gpt1_jax.data.text.documents import FILE, ReadOptions, Source
from gpt1_jax.errors import UserError

# If there is one document, this share of its tokens, the last ones, is held out.
TAIL_SHARE = 0.05
# The tokenizer of such a corpus is trained on its beginning only.
_TAIL_SAMPLE_SHARE = 0.9
# Files that are scanned at once: each has some books in memory.
_SCAN_THREADS = min(8, os.cpu_count() or 1)
_SAMPLE_BYTES = 50_000_000
_SAMPLE_BLOCK_BYTES = 1 << 18


@dataclasses.dataclass(frozen=True)
class Rule:
    """The rule by which the documents of a file of several are held out."""

    fraction: float = 0.0
    always: int = -1  # hash64 of a document that is held out whatever the fraction

    def is_held_out(self, hash64: int) -> bool:
        """Returns whether the document with this hash is held out."""
        return hash64 / 2**64 < self.fraction or hash64 == self.always

    def split_of(self, source: Source, hash64: int) -> str:
        """Returns the split of a document of `source`."""
        return source.split or ("valid" if self.is_held_out(hash64) else "train")


@dataclasses.dataclass(frozen=True)
class Split:
    """The files of a corpus and the split of each document."""

    sources: tuple[Source, ...]  # those of training documents only come first
    rule: Rule
    holds_out_tail: bool = False  # the end of the only document is held out


def find(config: DataConfig, pattern: str, eval_pattern: str) -> Split:
    """Returns the files of a corpus with their split.

    Without `eval_pattern`, a document is held out if the hash of its bytes, read as a
    fraction, is below `holdout_fraction`. So copies of a document stay in one split,
    and a growing corpus keeps its split. The document with text that has the lowest
    hash is always held out. If there is one document, its last 5 % is held out.
    Raises: UserError, NotFound: a split has no documents with text; a file is in both
            splits; a file cannot be read.
    """
    found, hashes = _scan(config, pattern)
    if eval_pattern:
        held_out, others = _scan(config, eval_pattern)
        _check_apart(pattern, eval_pattern, (hashes, held_out, others))
        held_out = [dataclasses.replace(source, split="valid") for source in held_out]
        return Split((*found, *held_out), Rule())
    distinct = np.unique(np.concatenate(hashes))
    if len(distinct) == 1:
        if sum(map(len, hashes)) > 1:
            raise UserError(
                f"{pattern!r} holds 1 document with text, in copies; different ones, "
                "or a single one, are expected; remove the copies or add more text"
            )
        return Split(tuple(found), Rule(), holds_out_tail=True)
    rule = Rule(config.holdout_fraction, int(distinct[0]))
    is_held_out = distinct / 2.0**64 < config.holdout_fraction
    if is_held_out.all():
        raise UserError(
            f"{pattern!r}: all {len(distinct)} documents with text are held out; at "
            "least 1 must be left to train on; lower holdout_fraction or add more text"
        )
    train, mixed, valid = [], [], []
    for source in found:
        if source.options.unit != FILE:
            mixed.append(dataclasses.replace(source, split=""))
        elif rule.is_held_out(documents.hash64(bytes.fromhex(source.sha256))):
            valid.append(dataclasses.replace(source, split="valid"))
        else:
            train.append(source)
    return Split((*train, *mixed, *valid), rule)


def _check_apart(
    pattern: str,
    eval_pattern: str,
    scans: tuple[list[np.ndarray], list[Source], list[np.ndarray]],
) -> None:
    """Refuses files that are in both splits; warns of other documents that are."""
    trained, held_out, hashes = scans
    train = np.unique(np.concatenate(trained))
    both = [int(np.isin(of_file, train).sum()) for of_file in hashes]
    if not any(both):
        return
    names = [source.path for source, count in zip(held_out, both, strict=True) if count]
    if held_out[0].options.unit == FILE:
        raise UserError(
            f"{pattern!r} also has {len(names):,} of the "
            f"{terminal.counted(len(held_out), 'book')} of {eval_pattern!r}, such as "
            f"{names[0]}; held-out books must not be trained on; narrow one of the "
            "patterns"
        )
    total = sum(map(len, hashes))
    terminal.warn(
        f"{pattern!r} also has {sum(both):,} of the "
        f"{terminal.counted(total, 'document')} of {eval_pattern!r} "
        f"({sum(both) / total:.1%}), in {names[0]} first: the held-out perplexity "
        "counts text that is trained on"
    )


def _scan(config: DataConfig, pattern: str) -> tuple[list[Source], list[np.ndarray]]:
    """Returns the files of a pattern and the hashes of each file's documents."""
    files = sources.find(pattern)
    options = [_read_options(config, path, kind) for path, kind in files]
    with concurrent.futures.ThreadPoolExecutor(_SCAN_THREADS) as pool:
        paths = [path for path, _ in files]
        scans = list(pool.map(documents.scan, paths, options))
    if not any(len(hashes) for _, hashes in scans):
        raise UserError(
            f"{pattern!r}: no text in {terminal.counted(len(files), 'file')}; books "
            "with text are expected; check the path"
        )
    return [source for source, _ in scans], [hashes for _, hashes in scans]


def _read_options(config: DataConfig, path: Path, kind: str) -> ReadOptions:
    unit = config.documents
    if unit == "auto":
        unit = documents.RECORD if kind in formats.TABLES else FILE
    documents.check_readable(path, kind, unit)
    return ReadOptions(kind, unit, config.text_column, config.strip_gutenberg)


def sample(split: Split) -> Iterator[str]:
    """Yields about _SAMPLE_BYTES of the training documents at most, in blocks.

    Of a document whose end is held out, only the beginning is used.
    """
    train = [source for source in split.sources if source.split != "valid"]
    share = _TAIL_SAMPLE_SHARE if split.holds_out_tail else 1.0
    if train and train[0].options.unit == FILE:
        yield from _sample_files(train, share)
        return
    usable = int(sum(source.num_bytes for source in train) * share)
    left = _SAMPLE_BYTES
    for block, hash64 in _blocks_of_documents(split.rule, train, usable):
        if block and hash64 / 2**64 < _SAMPLE_BYTES / usable:
            # A block may begin or end within a character.
            yield block[:left].decode(errors="ignore")
            left -= len(block)
            if left <= 0:
                return


def _blocks_of_documents(
    rule: Rule, train: list[Source], usable: int
) -> Iterator[tuple[bytes, int]]:
    """Yields the blocks of the training documents of tables, lines and paragraphs.

    Args:   usable: the number of bytes after which it stops.
    Yields: the block; a hash of it, which its document's hash and its place decide.
    """
    for source in train:
        for document in documents.read(source.path, source.options):
            digest = document.digest.digest()
            if rule.split_of(source, documents.hash64(digest)) != "train":
                continue
            for number, block in enumerate(_blocks_in(document)):
                place = hashlib.sha256(digest + number.to_bytes(8))
                yield block[:usable], documents.hash64(place.digest())
                usable = max(usable - len(block), 0)


def _blocks_in(document: documents.Document) -> Iterator[bytes]:
    """Yields a document's text, in UTF-8, in blocks of _SAMPLE_BLOCK_BYTES at most."""
    for piece, _ in document.pieces:
        raw = piece.encode(errors="replace")
        for start in range(0, len(raw), _SAMPLE_BLOCK_BYTES):
            yield raw[start : start + _SAMPLE_BLOCK_BYTES]


def _sample_files(files: list[Source], share: float) -> Iterator[str]:
    """Yields blocks of text files; `share` of each file, its beginning, is used."""
    sizes_of_files = [int(source.num_bytes * share) for source in files]
    blocks = [
        (number, start)
        for number, size in enumerate(sizes_of_files)
        for start in range(0, size, _SAMPLE_BLOCK_BYTES)
    ]
    sizes = np.array(
        [min(sizes_of_files[n] - start, _SAMPLE_BLOCK_BYTES) for n, start in blocks]
    )
    order = shuffle.permutation(len(blocks), 0)
    chosen = np.sort(order[np.cumsum(sizes[order]) <= _SAMPLE_BYTES])
    starts: dict[int, list[tuple[int, int]]] = {}
    for block in chosen:
        number, start = blocks[block]
        starts.setdefault(number, []).append((start, int(sizes[block])))
    for number, places in starts.items():
        yield from _blocks_of(files[number], places)


def _blocks_of(source: Source, places: list[tuple[int, int]]) -> Iterator[str]:
    """Yields the blocks of a file at `places`: starts, in order, and sizes."""
    with formats.open_binary(source.path) as file:
        place = 0
        for start, size in places:
            while place < start:  # not seek: the file may be compressed
                skipped = file.read(min(start - place, 1 << 20))
                if not skipped:
                    return  # it has changed, which encoding reports
                place += len(skipped)
            raw = file.read(size)
            place += len(raw)
            # A block may begin or end within a character. A byte-order mark is not
            # text.
            text = raw.decode("utf-8", errors="ignore").removeprefix("\ufeff")
            if source.options.strips_boilerplate:
                text = boilerplate.cut_text(
                    text,
                    is_markdown=boilerplate.is_markdown(source.path),
                    begins=start == 0,
                )
            yield text
