"""The token store and the windows that training and evaluation read from it.

A store is a directory. tokens.bin is a flat array of the tokens of all documents,
training documents first; documents.bin has the offset of each document and the end, as
uint64; meta.json has the facts about input files; tokenizer/ has the tokenizer.
`preparation` writes stores; this module only reads them. The windows of a step are a
pure function of (seed, step).
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpt1_jax.data import shuffle
from gpt1_jax.data.text import tokenizers
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import parse_json, write_atomically

_PHASE, _ORDER = range(2)  # streams of random bits

TOKENS_FILE, OFFSETS_FILE = "tokens.bin", "documents.bin"
META_FILE, TOKENIZER_DIR = "meta.json", "tokenizer"
_VERIFIED_FILE = ".verified"


class LMBatch(NamedTuple):
    """Rows of consecutive tokens; every token of a row but the first is a target.

    tokens_BL has context_length + 1 columns, padded on the right by 0. Only the first
    num_targets_B targets of a row count. row_B is the row's index in the whole batch of
    the step, the same on every host and for any accumulation.
    """

    tokens_BL: np.ndarray
    num_targets_B: np.ndarray
    row_B: np.ndarray


@dataclasses.dataclass(frozen=True)
class Documents:
    """The tokens of documents, of which there may be millions."""

    tokens: np.ndarray
    offsets: np.ndarray  # the place of each document in `tokens`, and the end

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> np.ndarray:
        place = range(len(self))[number]
        return self.tokens[self.offsets[place] : self.offsets[place + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.__getitem__, range(len(self)))


@dataclasses.dataclass(frozen=True)
class TokenStore:
    """An open token store; its arrays are memory-mapped."""

    directory: Path
    meta: dict
    train_tokens: np.ndarray
    eval_books: Documents  # the held-out documents
    train_offsets: np.ndarray  # the place of each training document, and the end

    @property
    def fingerprint(self) -> str:
        """A sha256 of tokens, split and tokenizer, equal only for the same data."""
        facts = [self.meta[key] for key in ("tokens_sha256", "tokenizer_sha256")]
        books = [pair for book in self.meta["books"] for pair in _splits_of(book)]
        if len(books) != sum(self.meta["documents"].values()):
            facts.append(self.meta["offsets_sha256"])
        return hashlib.sha256(json.dumps([facts, books]).encode()).hexdigest()

    @functools.cached_property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """The tokenizer that made the tokens.

        Raises: UserError, NotFound: its files are damaged, or those of another.
        """
        found = tokenizers.load(self.directory / TOKENIZER_DIR)
        if found.fingerprint != self.meta["tokenizer_sha256"]:
            raise UserError(
                f"{self.directory / TOKENIZER_DIR} is not the tokenizer that made the "
                f"tokens; that is expected; restore it, or delete {self.directory} and "
                "prepare the books again"
            )
        return found


def is_store(directory: Path) -> bool:
    """Returns whether `directory` is a prepared token store."""
    return (directory / META_FILE).is_file()


def open_store(directory: Path) -> TokenStore:
    """Opens the store in `directory`.

    Raises: UserError, NotFound: there is no store, or it is damaged.
    """
    if not is_store(directory):
        raise NotFound(
            f"no token store in {directory}; a directory with {META_FILE} is expected; "
            "write one with `python -m gpt1_jax.prepare`"
        )
    try:
        meta = parse_json((directory / META_FILE).read_text(encoding="utf-8"))
        dtype = np.dtype(meta["dtype"])
        _check_meta(meta)
        total, num_train = sum(meta["tokens"].values()), meta["documents"]["train"]
        num_documents = sum(meta["documents"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{directory / META_FILE} is damaged or of another version ({error!r}); "
            f"delete {directory} and prepare the books again"
        ) from None
    path, offsets_path = directory / TOKENS_FILE, directory / OFFSETS_FILE
    _check_file(path, total * dtype.itemsize, meta["tokens_sha256"])
    _check_file(offsets_path, 8 * (num_documents + 1), meta["offsets_sha256"])
    tokens = np.memmap(path, dtype, mode="r")
    offsets = np.fromfile(offsets_path, "<u8").astype(np.int64)
    train_offsets = offsets[: num_train + 1]
    end = train_offsets[-1]
    # A slice of an array takes a tenth of the time that one of a memmap takes.
    held_out = Documents(np.asarray(tokens[end:]), offsets[num_train:] - end)
    return TokenStore(directory, meta, tokens[:end], held_out, train_offsets)


def _splits_of(book: dict[str, Any]) -> list[tuple[str, int]]:
    """Returns the split and the tokens of an input file, for each split it is in."""
    if "split" in book:
        return [(book["split"], book["tokens"])]
    return [(split, counts["tokens"]) for split, counts in book["splits"].items()]


def _check_meta(meta: dict[str, Any]) -> None:
    """Raises ValueError or KeyError for facts that contradict each other."""
    found = {"train": 0, "valid": 0}
    for book in meta["books"]:
        for split, tokens in _splits_of(book):
            found[split] += tokens
    if found != meta["tokens"]:
        raise ValueError(f"its files have {found} tokens, not {meta['tokens']}")
    for key in ("key", "tokens_sha256", "offsets_sha256", "tokenizer_sha256"):
        meta[key]
    meta["vocab_size"], meta["documents"]["valid"], meta["words"]["train"]


def _check_file(path: Path, size: int, sha256: str) -> None:
    """Raises a UserError if a file has another size or sha256 than meta.json says."""
    found = path.stat().st_size if path.is_file() else 0
    if found != size:
        raise UserError(
            f"{path} has {found} bytes; {META_FILE} says {size}; delete {path.parent} "
            "and prepare the books again"
        )
    _check_content(path, sha256)


def _check_content(path: Path, sha256: str) -> None:
    """Raises a UserError if a file has another sha256 than meta.json says.

    A file is read once for each state that it has (size, time, inode), which a small
    file beside it remembers.
    """
    status = path.stat()
    state = [sha256, status.st_size, status.st_mtime_ns, status.st_ino]
    remembered = path.with_name(f"{_VERIFIED_FILE}.{path.stem}")
    with contextlib.suppress(OSError, ValueError):
        if parse_json(remembered.read_text(encoding="utf-8")) == state:
            return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise UserError(
            f"{path} has other bytes than {META_FILE} says; a store that nothing "
            f"changed is expected; delete {path.parent} and prepare the books again"
        )
    with contextlib.suppress(OSError):  # a store may be read-only
        write_atomically(remembered, json.dumps(state))


def windows_per_epoch(num_tokens: int, context_length: int) -> int:
    """Returns the number of training windows in an epoch, whatever its phase.

    Raises: UserError: the corpus is too short for a window.
    """
    count = num_tokens // context_length - 1
    if count < 1:
        raise UserError(
            f"{num_tokens} training tokens; at least {2 * context_length} are needed "
            f"for context_length={context_length}; add more text or lower it"
        )
    return count


def window_starts(
    num_tokens: int, *, context_length: int, batch_size: int, seed: int, step: int
) -> np.ndarray:
    """Returns starts_B: the place of the first token of each window of a training step.

    An epoch skips a random number of tokens, its phase, and cuts the others into
    windows. Windows overlap by one token, as the last token of a window is only a
    target. An epoch visits its windows in random order, so each token is predicted
    about once. A batch may span the end of an epoch.
    Args:    num_tokens: tokens of the training books; step: counted from 0.
    Example: context_length 4, phase 1: windows 1..5, 5..9, 9..13, ...
    """
    per_epoch = windows_per_epoch(num_tokens, context_length)
    window_B, phase_B = _visited(per_epoch, context_length, batch_size, seed, step)
    return phase_B + window_B * context_length


def _visited(
    per_epoch: int, context_length: int, batch_size: int, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns each window of a step, numbered in its epoch, and that epoch's phase."""
    place_B = step * batch_size + np.arange(batch_size, dtype=np.int64)
    window_B, phase_B = np.empty((2, batch_size), np.int64)
    for epoch in np.unique(place_B // per_epoch):
        phase, order = _epoch_order(per_epoch, context_length, seed, int(epoch))
        here_B = place_B // per_epoch == epoch
        window_B[here_B] = order[place_B[here_B] % per_epoch]
        phase_B[here_B] = phase
    return window_B, phase_B


@functools.lru_cache(maxsize=2)
def _epoch_order(
    per_epoch: int, context_length: int, seed: int, epoch: int
) -> tuple[int, np.ndarray]:
    """Returns the phase of an epoch, in tokens, and the order of its windows."""
    phase = int(shuffle.draw(1, seed, epoch, _PHASE)[0] % context_length)
    return phase, shuffle.permutation(per_epoch, seed, epoch, _ORDER)


def count_document_windows(offsets: np.ndarray, context_length: int) -> np.ndarray:
    """Returns the number of windows in the first 0, 1, ... documents.

    Raises: UserError: no document has two tokens.
    """
    before = _windows_before(offsets, context_length)
    if not before[-1]:
        raise UserError(
            "no training document has 2 tokens; one that has is needed for "
            "data.windows=document; add text, or use data.windows=contiguous"
        )
    return before


def _windows_before(offsets: np.ndarray, context_length: int) -> np.ndarray:
    """Returns the number of windows in the first 0, 1, ... documents.

    The windows of a document start every `context_length` tokens, overlap by one token
    and predict each of its tokens but the first once.
    """
    windows = np.maximum(-(-(np.diff(offsets) - 1) // context_length), 0)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(windows)])


def _place_windows(
    offsets: np.ndarray, before: np.ndarray, window_B: np.ndarray, context_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns starts_B and num_targets_B of the documents' windows with these numbers.

    The last window of a document may be shorter than others.
    Args: before: of _windows_before.
    """
    document_B = np.searchsorted(before, window_B, side="right") - 1
    starts_B = offsets[document_B] + (window_B - before[document_B]) * context_length
    left_B = offsets[document_B + 1] - 1 - starts_B
    return starts_B, np.minimum(left_B, context_length)


def document_windows(
    offsets: np.ndarray,
    before: np.ndarray,
    *,
    context_length: int,
    batch_size: int,
    seed: int,
    step: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns starts_B and num_targets_B of a step's windows, none across documents.

    An epoch visits all windows in random order. The last window of a document may be
    shorter than others.
    Args:    offsets: TokenStore.train_offsets. before: of count_document_windows.
    Example: context_length 4, documents of 6 and 3 tokens: windows 0..4, 4..5, 6..8
    """
    window_B, _ = _visited(int(before[-1]), context_length, batch_size, seed, step)
    return _place_windows(offsets, before, window_B, context_length)


def train_batch(
    tokens: np.ndarray,
    starts_B: np.ndarray,
    length: int,
    rows: slice,
    *,
    num_targets_B: np.ndarray,
) -> LMBatch:
    """Returns `rows` of a batch of windows of num_targets_B + 1 tokens at starts_B."""
    row_B = np.arange(len(starts_B), dtype=np.uint32)[rows]
    place_BL = starts_B[rows, None] + np.arange(length + 1)
    num_targets_B = num_targets_B[rows].astype(np.int32)
    is_real_BL = np.arange(length + 1) <= num_targets_B[:, None]
    tokens_BL = tokens[np.where(is_real_BL, place_BL, 0)].astype(np.int32)
    return LMBatch(np.where(is_real_BL, tokens_BL, 0), num_targets_B, row_B)


def eval_batches(books: Documents, length: int, batch_size: int) -> Iterator[LMBatch]:
    """Yields LMBatches that predict every token but each book's first exactly once.

    Windows start every `length` tokens of a book, overlap by one token and never cross
    into another book; the last window of a book may be shorter. Rows whose num_targets
    is 0 fill up the last batch.
    """
    before = _windows_before(books.offsets, length)
    for first in range(0, int(before[-1]), batch_size):
        window_B = np.arange(first, min(first + batch_size, before[-1]))
        places = _place_windows(books.offsets, before, window_B, length)
        fill = (0, batch_size - len(window_B))
        starts_B, num_targets_B = (np.pad(of_window, fill) for of_window in places)
        batch = train_batch(
            books.tokens, starts_B, length, slice(None), num_targets_B=num_targets_B
        )
        batch.tokens_BL[len(window_B) :] = 0
        yield batch


def num_eval_batches(books: Documents, length: int, batch_size: int) -> int:
    """Returns the number of batches that `eval_batches` yields."""
    return -(-int(_windows_before(books.offsets, length)[-1]) // batch_size)


def unigram_perplexity(store: TokenStore) -> float:
    """Returns the held-out perplexity of a unigram model with add-one smoothing.

    The model counts the tokens of the training books. Its targets are those of
    `eval_batches`: all tokens but each book's first.
    """
    vocab_size = store.meta["vocab_size"]
    counts_V = 1 + _count_tokens(store.train_tokens, vocab_size)
    logp_V = np.log(counts_V / counts_V.sum())
    books = store.eval_books
    first_tokens = books.tokens[books.offsets[:-1]]
    seen_V = _count_tokens(books.tokens, vocab_size)
    seen_V -= _count_tokens(first_tokens, vocab_size)
    return float(np.exp(-(seen_V @ logp_V) / max(seen_V.sum(), 1)))


def _count_tokens(tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """Returns how often each entry of the vocabulary is in `tokens`."""
    counts_V = np.zeros(vocab_size)
    for start in range(0, len(tokens), 1 << 24):
        block = tokens[start : start + (1 << 24)]
        counts_V += np.bincount(block, minlength=vocab_size)
    return counts_V
