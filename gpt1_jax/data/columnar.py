"""The rows and cells of parquet and Arrow files, a few of them in memory at once."""

import contextlib
import mmap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from gpt1_jax.data import formats
from gpt1_jax.errors import UserError
from gpt1_jax.files import parse_json

# Rows of a parquet or Arrow file that are read at once: at most this number, and about
# this size, since a row may be a book.
_BATCH_ROWS, _BATCH_BYTES = 256, 4 << 20


@contextlib.contextmanager
def open_file(path: Path, kind: str) -> Iterator["Columnar"]:
    """Opens a parquet or Arrow file over a block.

    Raises: UserError, here or while its batches are read: the file is damaged.
    """
    # Importing pyarrow takes a third of a second, and few files need it.
    import pyarrow

    try:
        with formats.open_seekable(path) as file:
            yield KINDS[kind](file)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(
            f"{path} is a damaged {kind} file ({error}); a whole file is expected; "
            "copy it again"
        ) from None


def read_rows(path: Path, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the rows of a parquet or Arrow file, a few of them in memory at once."""
    number = 0
    with open_file(path, kind) as file:
        names = _class_names(file.schema.metadata or {})
        for batch in file.batches(None):
            for row in batch.to_pylist():
                row |= {c: names[c].get(row[c], row[c]) for c in names if c in row}
                yield f"{path}: row {number}", row
                number += 1


def read_cells(path: Path, kind: str, column: str) -> Iterator[tuple[str, Any]]:
    """Yields the place and the value of each cell of a column, one at a time."""
    number = 0
    with open_file(path, kind) as file:
        names = _class_names(file.schema.metadata or {}).get(column, {})
        for batch in file.batches([column]):
            for cell in batch.column(0):
                value = cell.as_py()
                yield (
                    f"{path}: row {number}",
                    names.get(value, value) if names else value,
                )
                number += 1


def _mapped(file: BinaryIO) -> Any:
    """Returns pyarrow's view of a file, of which only what is read is loaded."""
    import pyarrow

    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return pyarrow.BufferReader(pyarrow.py_buffer(mapped))


class Columnar(NamedTuple):
    """An open parquet or Arrow file."""

    schema: Any
    # yields record batches of the given columns, or of all
    batches: Callable[[list[str] | None], Iterator[Any]]


def _open_parquet(file: BinaryIO) -> Columnar:
    import pyarrow.parquet

    # pyarrow unpacks a column by pages, which its writers fill with 1024 rows or 1 MB.
    source = pyarrow.parquet.ParquetFile(_mapped(file), pre_buffer=False)
    meta = source.metadata
    groups = map(meta.row_group, range(meta.num_row_groups))
    num_bytes = sum(group.total_byte_size for group in groups)
    rows_in_size = _BATCH_BYTES * meta.num_rows // max(num_bytes, 1)
    num_rows = max(1, min(_BATCH_ROWS, rows_in_size))

    def batches(columns: list[str] | None) -> Iterator[Any]:
        return source.iter_batches(num_rows, columns=columns, use_threads=False)

    return Columnar(source.schema_arrow, batches)


def _open_arrow(file: BinaryIO) -> Columnar:
    import pyarrow.ipc

    buffer = _mapped(file)
    if buffer.read_buffer(6).to_pybytes() == b"ARROW1":
        source = pyarrow.ipc.open_file(buffer)
        found = map(source.get_batch, range(source.num_record_batches))
    else:
        buffer.seek(0)
        source = pyarrow.ipc.open_stream(buffer)
        found = iter(source)

    def batches(columns: list[str] | None) -> Iterator[Any]:
        for batch in found:
            for start in range(0, batch.num_rows, _BATCH_ROWS):
                part = batch.slice(start, _BATCH_ROWS)
                yield part.select(columns) if columns else part

    return Columnar(source.schema, batches)


KINDS = {formats.PARQUET: _open_parquet, formats.ARROW: _open_arrow}


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, dict[Any, str]]:
    """Returns the name of each number of a class, by column.

    Source: Hugging Face's datasets write their features into the metadata of parquet.
    """
    try:
        features = parse_json(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            column: dict(enumerate(feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}  # other metadata: the numbers stay numbers
