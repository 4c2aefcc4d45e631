"""The zip file that gluebenchmark.com scores: a table of labels per test set.

All rules of GLUE are here. gpt1_jax.submit finds the predictions in workdirs.
"""

import dataclasses
import io
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gpt1_jax.data.tasks.examples import HIGHEST_SCORE, LOWEST_SCORE
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.evaluation.predictions import Prediction
from gpt1_jax.files import write_bytes_atomically
from gpt1_jax.terminal import counted


@dataclasses.dataclass(frozen=True)
class GlueFile:
    """A file of the zip: the source of its rows, and their allowed labels.

    task, split: the task in data.tasks and the split that the file answers.
    labels: () for scores, as in STS-B.
    """

    name: str
    task: str
    split: str
    labels: tuple[str, ...]

    @property
    def predicted_by(self) -> str:
        """The task whose model predicts the file: MNLI for AX, else its own."""
        return TASKS[self.task].predicted_by or self.task

    @property
    def predictions_split(self) -> str:
        """The name of the predictions in a workdir of that model."""
        return self.split if self.predicted_by == self.task else self.task

    @property
    def num_rows(self) -> int:
        """The size of the official test set."""
        return TASKS[self.task].num_examples[self.split]


_BINARY = ("0", "1")
_RTE = ("entailment", "not_entailment")
_MNLI = ("entailment", "neutral", "contradiction")

# Source of names and labels: gluebenchmark.com/faq.
FILES = {
    file.name: file
    for file in (
        GlueFile("CoLA.tsv", "cola", "test", _BINARY),
        GlueFile("SST-2.tsv", "sst2", "test", _BINARY),
        GlueFile("MRPC.tsv", "mrpc", "test", _BINARY),
        GlueFile("STS-B.tsv", "stsb", "test", ()),
        GlueFile("MNLI-m.tsv", "mnli", "test_matched", _MNLI),
        GlueFile("MNLI-mm.tsv", "mnli", "test_mismatched", _MNLI),
        GlueFile("QNLI.tsv", "qnli", "test", _RTE),
        GlueFile("QQP.tsv", "qqp", "test", _BINARY),
        GlueFile("RTE.tsv", "rte", "test", _RTE),
        GlueFile("WNLI.tsv", "wnli", "test", _BINARY),
        GlueFile("AX.tsv", "ax", "test", _MNLI),
    )
}
# The tasks whose models make a submission.
MODELS = tuple(dict.fromkeys(file.predicted_by for file in FILES.values()))

_HEADER = "index\tprediction"
_SCORE = re.compile(r"[0-9]+(\.[0-9]+)?")
# What zipfile raises for an encrypted or damaged entry.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    RuntimeError,
    UnicodeDecodeError,
)


def answers(
    file: GlueFile, predictions: Iterable[Prediction], source: str
) -> list[str | float]:
    """Returns the entry of each prediction in `file`: a label of GLUE, or a score.

    A label is the index of the class if GLUE expects 0 and 1, else its name.
    Args:    source: the file of the predictions, for messages.
    Raises:  UserError: indices are not 0, 1, 2, ..., a class is unknown, or a score is
             not a number.
    """
    classes = TASKS[file.task].classes
    labels = {label: label for label in file.labels}
    if file.labels == _BINARY:
        labels |= dict(zip(classes, _BINARY, strict=True))
    found: list[str | float] = []
    for expected, row in enumerate(predictions):
        where = f"{source} line {expected + 1}"
        if row.index != expected:
            raise UserError(
                f"{where} has index {row.index}; {expected} is expected, each example "
                "of the test set once, from 0; predict the split again"
            )
        if file.labels and row.prediction in labels:
            found.append(labels[row.prediction])
        elif file.labels or isinstance(row.prediction, str):
            allowed = " or ".join(classes) if file.labels else "a number"
            raise UserError(
                f"{where} predicts {row.prediction!r}; {allowed} is expected; predict "
                "the split again"
            )
        else:
            found.append(row.prediction)
    return found


def write(
    predictions: Mapping[str, Sequence[str | float]],
    expected_rows: Mapping[str, int],
    output: Path,
    *,
    allow_partial: bool = False,
) -> None:
    """Checks a submission as `validate` does and writes it atomically.

    Equal predictions give equal bytes. Scores are clipped to [0, 5] and rounded to 3
    decimals.
    Args:    predictions: by file name ("CoLA.tsv"), row i for index i.
             expected_rows: by file name, the size of the test set.
             allow_partial: allow missing files, which the server refuses.
    Raises:  UserError: see `validate`.
    """
    texts = {name: _text(name, values) for name, values in predictions.items()}
    _check(texts, expected_rows, str(output), allow_partial=allow_partial)
    if output.is_dir():
        raise UserError(
            f"{output} is a directory; a file to write is expected; name one"
        )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in FILES:
            if name in texts:
                _add(archive, name, texts[name])
    write_bytes_atomically(output, content.getvalue())


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    """Adds a file without a date, so that equal texts give equal bytes."""
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o644 << 16
    archive.writestr(info, text, zipfile.ZIP_DEFLATED)


def _text(name: str, values: Sequence[str | float]) -> str:
    is_score = name in FILES and not FILES[name].labels
    cells = [_score_cell(value) if is_score else str(value) for value in values]
    rows = [f"{index}\t{cell}" for index, cell in enumerate(cells)]
    return "".join(f"{line}\n" for line in [_HEADER, *rows])


def _score_cell(value: str | float) -> str:
    """Returns a score in GLUE's format, or an invalid value for _check to refuse."""
    if isinstance(value, str) or not math.isfinite(value):
        return str(value)
    return f"{min(max(LOWEST_SCORE, value), HIGHEST_SCORE):.3f}"


def validate(
    path: Path, expected_rows: Mapping[str, int], *, allow_partial: bool = False
) -> None:
    """Checks a submission and its numbers of rows as the server does.

    Args:    expected_rows, allow_partial: see `write`.
    Raises:  NotFound: there is no such file.
             UserError: the first defect: it is not a zip; a file is missing, unknown,
             in a folder or there twice; a header, index, label or score is wrong; or
             rows are missing or too many.
    """
    if not path.is_file():
        raise NotFound(
            f"no file {path}; a submission's zip is expected; check the path"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            _check_names(names, str(path), allow_partial=allow_partial)
            texts = {name: archive.read(name).decode("utf-8") for name in names}
    except _UNREADABLE as error:
        raise UserError(
            f"{path} can't be read: {error}; a zip of UTF-8 tables is expected; make "
            "it again with gpt1_jax.submit"
        ) from None
    _check(texts, expected_rows, str(path), allow_partial=allow_partial)


def _check(
    texts: Mapping[str, str],
    expected_rows: Mapping[str, int],
    where: str,
    *,
    allow_partial: bool,
) -> None:
    _check_names(list(texts), where, allow_partial=allow_partial)
    for name, text in texts.items():
        if name not in expected_rows:
            raise UserError(
                f"{where} has {name}; its expected number of rows is not given; add it "
                "to expected_rows"
            )
        _check_table(FILES[name], text, expected_rows[name])


def _check_names(names: Sequence[str], where: str, *, allow_partial: bool) -> None:
    """Raises UserError unless the files are GLUE's, each once and in no folder."""
    for position, name in enumerate(names):
        if "/" in name:
            raise UserError(
                f"{where} has {name} in a folder; GLUE reads no folders; zip the "
                "tables alone, as with zip -j"
            )
        if name not in FILES:
            raise UserError(
                f"{where} has {name}; the files of a submission are "
                f"{', '.join(FILES)}; leave it out"
            )
        if name in names[:position]:
            raise UserError(f"{where} has {name} twice; once is allowed; drop one")
    missing = [file for file in FILES.values() if file.name not in names]
    if missing and not allow_partial:
        models = ", ".join(dict.fromkeys(file.predicted_by for file in missing))
        raise UserError(
            f"{where} lacks {', '.join(file.name for file in missing)}; GLUE wants all "
            f"{len(FILES)} files; run python -m gpt1_jax.main --config "
            f"experiments/finetune.py:TASK for each TASK of {models}, or pass "
            "--allow_partial for a zip without them"
        )


def _check_table(file: GlueFile, text: str, num_expected: int) -> None:
    header, *rows = text.removesuffix("\n").split("\n")
    if header != _HEADER:
        raise UserError(
            f"{file.name} line 1 is {header!r}; {_HEADER!r} is expected; correct it"
        )
    for index, row in enumerate(rows):
        _check_row(file, index, row)
    if len(rows) != num_expected:
        raise UserError(
            f"{file.name} has {counted(len(rows), 'row')}; {num_expected} are "
            "expected, one for each example of its test set; predict the official test "
            "file"
        )


def _check_row(file: GlueFile, index: int, row: str) -> None:
    where = f"{file.name} line {index + 2}"
    cells = row.split("\t")
    if len(cells) != 2:
        raise UserError(
            f"{where} is {row!r}; an index, a tab and a prediction are expected; "
            "correct it"
        )
    if cells[0] != str(index):
        raise UserError(
            f"{where} has index {cells[0]!r}; {index} is expected: each file counts "
            "its rows from 0 and leaves none out; add the missing row or number "
            "the rows again"
        )
    if file.labels:
        if cells[1] not in file.labels:
            raise UserError(
                f"{where} has label {cells[1]!r}; {' or '.join(file.labels)} is "
                "allowed; correct it"
            )
    elif not _SCORE.fullmatch(cells[1]) or float(cells[1]) > HIGHEST_SCORE:
        raise UserError(
            f"{where} has {cells[1]!r}; a number from {LOWEST_SCORE:g} to "
            f"{HIGHEST_SCORE:g} is expected; correct it"
        )
