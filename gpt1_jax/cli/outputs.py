"""The files that commands write: --output and --overwrite.

An output never replaces an input, nor an existing file without --overwrite. Links are
resolved first; devices and pipes are written to as they are.
"""

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from absl import flags

from gpt1_jax import files, terminal
from gpt1_jax.cli import app
from gpt1_jax.data import formats
from gpt1_jax.errors import UserError

_ROW_FORMATS = {".csv": formats.CSV, ".tsv": formats.TSV, ".jsonl": formats.JSONL}
_STANDARD_OUTPUTS = ("-", "/dev/stdout")


class Output:
    """The flags --output and --overwrite of a command, and the file that they name."""

    def __init__(
        self, flag_values: flags.FlagValues, what: str, *, is_required: bool = True
    ):
        """Defines the flags; `what` says for --help what is written."""
        self._output = (
            app.define_required("output", f"{what}.", flag_values)
            if is_required
            else flags.DEFINE_string("output", "", f"{what}.", flag_values=flag_values)
        )
        self._overwrite = flags.DEFINE_bool(
            "overwrite",
            False,
            "Replace --output where it exists.",
            flag_values=flag_values,
        )

    def check(self, inputs: Iterable[str] = ()) -> None:
        """Checks that --output may be written, before any work is done for it.

        Messages go to standard error from here on if the output is standard output.
        Args:   inputs: the paths that the command reads, or `-`.
        Raises: UserError: it is an input, a directory, or an existing file.
        """
        terminal.use_stderr(self._is_standard)
        if self._is_standard:
            return
        named = [given for given in inputs if given != formats.STANDARD_INPUT]
        paths = [files.expand(given) for given in named]
        check_output(self.path, paths, overwrite=self._overwrite.value)

    @property
    def is_given(self) -> bool:
        """Returns whether the user has named an output."""
        return bool(self._output.value)

    @property
    def path(self) -> Path:
        """The path of --output: a device, a pipe, or a file with links resolved."""
        path = files.expand(self._output.value)
        return path if files.is_special(path) else path.resolve()

    @property
    def _is_standard(self) -> bool:
        return self._output.value in _STANDARD_OUTPUTS

    def __str__(self) -> str:
        """Returns the path as the user gave it."""
        return "standard output" if self._is_standard else self._output.value

    def row_format(self) -> str:
        """Returns the format of rows by the suffix: csv, tsv or, also without, JSONL.

        Raises: UserError for the suffix of another format.
        """
        if self._is_standard or files.is_special(self.path) or not self.path.suffix:
            return formats.JSONL
        kind = _ROW_FORMATS.get(self.path.suffix.lower(), "")
        if not kind:
            raise UserError(
                f"--output={self._output.value} ends in {self.path.suffix}; "
                f"{', '.join(_ROW_FORMATS)} or no suffix, which is JSON Lines, is "
                "expected; name another"
            )
        return kind

    def write_rows(self, rows: Sequence[Mapping[str, Any]], kind: str) -> None:
        """Writes rows of the same columns as csv, tsv or JSON Lines."""
        with self.open() as file:
            if kind == formats.JSONL:
                for row in rows:
                    file.write(f"{json.dumps(row, default=str)}\n")
                return
            separator = "\t" if kind == formats.TSV else ","
            table = csv.writer(file, delimiter=separator, lineterminator="\n")
            table.writerow(rows[0] if rows else ())
            table.writerows(row.values() for row in rows)

    @contextlib.contextmanager
    def open(self) -> Iterator[TextIO]:
        """Opens the output over a block; a file appears when it is complete."""
        if self._is_standard:
            yield cast(TextIO, _StandardOutput())
        else:
            with files.atomic_file(self.path) as file:
                yield file


class _StandardOutput(io.TextIOBase):
    """Standard output as the file of a result."""

    def write(self, text: str) -> int:
        terminal.write_result(text)
        return len(text)


def check_output(path: Path, inputs: Iterable[Path], *, overwrite: bool) -> None:
    """Checks that a command may write to `path`, whose links are resolved.

    Raises: UserError: it is an input, a directory, cannot be made, or exists without
            --overwrite.
    """
    files.check_name(path, "name another --output")
    if files.is_special(path):
        return
    if path.is_dir():
        raise UserError(
            f"--output={path} is a directory; a file is expected; name one in it"
        )
    files.check_writable(path.parent, "name another --output")
    if not path.exists():
        return
    for given in inputs:
        if given.exists() and os.path.samefile(given, path):
            raise UserError(
                f"--output={path} is the input {given}; another file is expected, as "
                "an input is never replaced; name another"
            )
    if not overwrite:
        raise UserError(
            f"--output={path} exists; a new file is expected; name another, or add "
            "--overwrite to replace it"
        )
