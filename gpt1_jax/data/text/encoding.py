"""The encoding of documents into parts: files of tokens, one for each group of chunks.

A chunk is a part of a file, or all of it. Groups are encoded in any order, by one
thread, local processes or a Dask cluster; the parts do not depend on it. A part that is
complete is not encoded again.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from gpt1_jax import terminal
from gpt1_jax.data.text import clean, documents, executors, store_parts, tokenizers
from gpt1_jax.data.text.documents import Chunk, Document, Source
from gpt1_jax.data.text.splitting import Rule, Split
from gpt1_jax.errors import UserError
from gpt1_jax.files import naming, write_atomically, write_bytes_atomically

_GROUP_BYTES = 4 << 20
# A file is read again for each group of its chunks, so it has no more groups than this.
_MAX_GROUPS_OF_FILE = 8
# Below this, starting processes takes longer than the work.
_WORTH_PROCESSES_BYTES = 8 << 20


@dataclasses.dataclass(frozen=True)
class Work:
    """Chunks of a file's documents, to be encoded by any process that sees the file."""

    number: int  # the file's place among the sources
    source: Source  # its chunks are those to encode
    rule: Rule


Group = list[Work]


def encode(
    split: Split, parts: Path, tokenizer_dir: Path, *, workers: int, dask: str
) -> tuple[list[dict[str, dict[str, int]]], collections.Counter[str]]:
    """Writes the tokens of all documents as files in `parts`, which `join` joins.

    Args:    workers, dask: as executors.choose.
    Returns: {split: {count's name: count}} of each source; what was cut from texts.
    """
    parts.mkdir(exist_ok=True)
    dtype = store_parts.token_dtype(tokenizers.load(tokenizer_dir).vocab_size)
    groups = dict(enumerate(make_groups(split)))
    todo = {
        number: group
        for number, group in groups.items()
        if not store_parts.is_complete(parts, number, dtype)
    }
    if todo:
        total, left = _num_bytes(groups.values()), _num_bytes(todo.values())
        began = time.monotonic()
        with (
            terminal.progress(
                "encoding", total / 1e6, done=(total - left) / 1e6, unit="MB"
            ) as bar,
            executors.choose(
                workers, dask, is_worth_processes=left >= _WORTH_PROCESSES_BYTES
            ) as pool,
        ):
            _encode_groups(
                todo,
                parts,
                tokenizer_dir=tokenizer_dir,
                dtype=dtype,
                pool=pool,
                when_done=lambda group: bar.advance(_num_bytes([group]) / 1e6),
            )
        seconds = time.monotonic() - began
        terminal.say(
            f"encoded {left / 1e6:,.1f} MB in {terminal.duration(seconds)}, "
            f"{left / 1e6 / seconds:.2f} MB/s"
        )
    counts = [_zero_counts() for _ in split.sources]
    cut: collections.Counter[str] = collections.Counter()
    for source in split.sources:
        cut.update(source.cut)
    for number in groups:
        facts = json.loads(
            store_parts.part_path(parts, number).with_suffix(".json").read_text()
        )
        cut.update(facts["cut"])
        for place, found in facts["sources"]:
            for of_split, name in itertools.product(
                store_parts.SPLITS, store_parts.COUNTS
            ):
                counts[place][of_split][name] += found[of_split][name]
    return counts, cut


def _zero_counts() -> dict[str, dict[str, int]]:
    return {split: dict.fromkeys(store_parts.COUNTS, 0) for split in store_parts.SPLITS}


def _num_bytes(groups: Iterable[Group]) -> int:
    return sum(work.source.num_bytes for group in groups for work in group)


def _encode_groups(
    groups: dict[int, Group],
    parts: Path,
    *,
    tokenizer_dir: Path,
    dtype: str,
    pool: concurrent.futures.Executor,
    when_done: Callable[[Group], None],
) -> None:
    """Encodes groups in `pool`, the largest first."""
    largest_first = sorted(groups.items(), key=lambda item: -_num_bytes([item[1]]))
    futures = {
        pool.submit(
            encode_group,
            [_with_absolute_path(work) for work in group],
            tokenizer_dir.absolute(),
            dtype,
            store_parts.part_path(parts, number).absolute(),
        ): group
        for number, group in largest_first
    }
    try:
        for future in concurrent.futures.as_completed(futures):
            future.result()
            when_done(futures[future])
    except BaseException:
        for future in futures:
            future.cancel()
        raise


def _with_absolute_path(work: Work) -> Work:
    source = dataclasses.replace(work.source, path=work.source.path.absolute())
    return dataclasses.replace(work, source=source)


def make_groups(split: Split) -> list[Group]:
    """Returns groups of consecutive chunks, of at most _GROUP_BYTES or of one chunk.

    The chunks of a large file are in at most about _MAX_GROUPS_OF_FILE groups.
    """
    groups: list[Group] = []
    size = 0
    for number, source in enumerate(split.sources):
        limit = max(_GROUP_BYTES, source.num_bytes // _MAX_GROUPS_OF_FILE)
        for chunk in source.chunks:
            if not groups or size + chunk.size > limit:
                groups.append([])
                size = 0
            size += chunk.size
            group = groups[-1]
            if group and group[-1].number == number:
                chunks = (*group[-1].source.chunks, chunk)
                group.pop()
            else:
                chunks = (chunk,)
            part = dataclasses.replace(source, chunks=chunks)
            group.append(Work(number, part, split.rule))
    return groups


class SourceChanged(UserError):
    """A file has other documents than when the corpus was scanned."""

    def __init__(self, path: Path | str):
        super().__init__(
            f"{path} changed while the corpus was read; files that stay as they are "
            "are expected; wait until nothing writes there, then run the same command "
            "again"
        )
        self._path = path

    def __reduce__(self) -> tuple[type, tuple[Path | str]]:
        # Workers send it to this process by pickling it.
        return type(self), (self._path,)


def check_unchanged(sources: Iterable[Source]) -> None:
    """Raises SourceChanged if a file has other documents than when it was scanned."""
    for source in sources:
        found, _ = documents.scan(source.path, source.options)
        if found.sha256 != source.sha256:
            raise SourceChanged(source.path)


def encode_group(group: Group, tokenizer_dir: Path, dtype: str, part: Path) -> None:
    """Writes the tokens and lengths of some documents, by split, and their counts.

    It depends on its arguments alone, so any process on any machine that sees the files
    may run it. The counts (.json) are written last: they mark the part as complete.
    Args:   part: the path of what it writes, without the endings.
    Raises: SourceChanged: a file has other documents than when it was scanned.
    """
    tokenizer = tokenizers.load(tokenizer_dir)
    cut: collections.Counter[str] = collections.Counter()
    # Processes on two machines of a cluster may have the same process number.
    mark = uuid.uuid4().hex
    paths = [store_parts.tokens_path(part, split) for split in store_parts.SPLITS]
    unfinished = [path.with_name(f"{path.name}.{mark}") for path in paths]
    try:
        with naming(part), contextlib.ExitStack() as stack:
            files = [stack.enter_context(path.open("wb")) for path in unfinished]
            outputs = [store_parts.Output(file, dtype) for file in files]
            splits = dict(zip(store_parts.SPLITS, outputs, strict=True))
            counts = [
                (work.number, _encode_chunks(work, tokenizer, splits, cut))
                for work in group
            ]
        for path, written, output in zip(paths, unfinished, outputs, strict=True):
            written.replace(path)
            lengths = path.with_suffix(".lengths")
            write_bytes_atomically(lengths, output.lengths.tobytes())
    finally:
        for path in unfinished:
            path.unlink(missing_ok=True)
    facts = {"sources": counts, "cut": cut}
    write_atomically(part.with_suffix(".json"), json.dumps(facts))


def _encode_chunks(
    work: Work,
    tokenizer: tokenizers.Tokenizer,
    outputs: dict[str, store_parts.Output],
    cut: collections.Counter[str],
) -> dict[str, dict[str, int]]:
    """Writes the documents of chunks; returns the counts of each split.

    Raises: SourceChanged: the documents that were read have other hashes.
    """
    source = work.source
    splits = _zero_counts()
    # What is cut from other files was counted when they were scanned, as several groups
    # may read the same part of one.
    is_document = source.options.unit == documents.FILE
    found = documents.read(source.path, source.options, cut if is_document else None)
    found = itertools.islice(found, source.chunks[0].first, None)
    for chunk in source.chunks:
        digests: list[bytes] = []
        for document in itertools.islice(found, chunk.number):
            split = _split_of(document, work, chunk)
            counts = splits[split]
            try:
                length = outputs[split].write(
                    _encode_pieces(_counted(document.pieces, counts), tokenizer)
                )
            except UnicodeDecodeError:  # it was UTF-8 when it was scanned
                raise SourceChanged(source.path) from None
            counts["tokens"] += length
            counts["documents"] += 1
            counts["empty"] += not length
            digests.append(document.digest.digest())
        if _sha256_of(digests, source) != chunk.sha256:
            raise SourceChanged(source.path)
    return splits


def _split_of(document: Document, work: Work, chunk: Chunk) -> str:
    if work.source.options.unit == documents.FILE:
        digest = bytes.fromhex(chunk.sha256)  # known before the file has been read
    else:
        digest = document.digest.digest()
    return work.rule.split_of(work.source, documents.hash64(digest))


def _sha256_of(digests: list[bytes], source: Source) -> str:
    """Returns what Chunk.sha256 is for documents with these hashes."""
    if source.options.unit == documents.FILE:
        return b"".join(digests).hex()
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _counted(
    pieces: Iterable[tuple[str, bool]], counts: dict[str, int]
) -> Iterator[tuple[str, bool]]:
    for piece, ends_line in pieces:
        counts["words"] += clean.count_words(piece)
        yield piece, ends_line


def _encode_pieces(
    pieces: Iterable[tuple[str, bool]], tokenizer: tokenizers.Tokenizer
) -> Iterator[np.ndarray]:
    newline = np.array([tokenizer.newline_id], np.uint32)
    has_tokens, newlines = False, 0  # those since the last token
    for piece, ends_line in pieces:
        ids = tokenizer.encode(piece)
        if len(ids):
            newlines += piece[: -len(piece.lstrip())].count("\n")
            if has_tokens and newlines:
                yield newline.repeat(newlines if tokenizer.is_cased else 1)
            yield ids
            has_tokens, newlines = True, piece[len(piece.rstrip()) :].count("\n")
        else:
            newlines += piece.count("\n")
        newlines += ends_line
