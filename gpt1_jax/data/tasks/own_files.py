"""The user's own labels: the tables in config.data.train_file and dev_file.

`own_columns` infers the task; this module reads the tables and holds examples out.
"""

import dataclasses
import hashlib
import math
import os
from pathlib import Path

from gpt1_jax.config import DataConfig
from gpt1_jax.data import formats, tables
from gpt1_jax.data.tasks import own_columns, readers, validation
from gpt1_jax.data.tasks.examples import Example, Split
from gpt1_jax.data.tasks.own_sheet import Sheet, label_text, parse_number
from gpt1_jax.data.tasks.task import Task
from gpt1_jax.data.text import documents
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import expand
from gpt1_jax.terminal import counted

# The name of the task where the user gives no other in config.task.name.
NAME = "own"
_UNLABELLED = "rows without a label"

# The texts of an example; equal ones are on one side.
_Texts = tuple[str, ...]


def is_named(config: DataConfig) -> bool:
    """Returns whether a config names tables of the user's own labels."""
    return bool(config.train_file or config.dev_file)


def infer_task(config: DataConfig, name: str) -> tuple[Task, str]:
    """Returns the task of config.data.train_file, and a line that describes it.

    Raises: UserError, NotFound: an unusable file, or no task can be inferred.
    """
    if not config.train_file:
        raise UserError(
            "config.data.train_file is empty; a table of texts and labels (csv, tsv, "
            "JSON Lines or parquet) is expected; set it, as in "
            "--config.data.train_file=train.csv"
        )
    path = _checked(config.train_file, "train_file")
    if config.dev_file and os.path.samefile(
        path, _checked(config.dev_file, "dev_file")
    ):
        raise UserError(
            f"config.data.dev_file={config.dev_file} is config.data.train_file; other "
            "examples are expected; leave it empty to hold some of train_file out"
        )
    table = _open(path)
    rows = tuple(table.rows)
    if not rows:
        raise UserError(f"{path} has no rows; texts with labels are expected; add some")
    sheet = Sheet(str(path), tuple(map(str, table.columns)), rows)
    return own_columns.infer(name, sheet, config)


@dataclasses.dataclass(frozen=True)
class OwnFiles:
    """The splits train and dev of the user's own labels."""

    config: DataConfig

    @property
    def directory(self) -> str:
        """The files, for messages."""
        return ", ".join(filter(None, (self.config.train_file, self.config.dev_file)))

    def has(self, task: Task, split: str) -> bool:
        """Returns whether the split is in one of the files."""
        return bool(task.label_column) and (
            (split == "train" and bool(self.config.train_file)) or split == "dev"
        )

    def load(self, task: Task, split: str) -> Split:
        """Returns the examples of a split, in the order of its file.

        Raises: UserError, NotFound: an unusable file, row or label; no such split.
        """
        if not task.label_column:
            raise UserError(
                f"{self.directory}: task {task.name!r} reads other files; "
                "config.data.train_file and dev_file are for a model that was "
                "fine-tuned on them; use config.data.task_dir"
            )
        if not self.has(task, split):
            raise UserError(
                f"split {split!r} of {self.directory}; train or dev is expected, with "
                "config.data.train_file for train; name one of these"
            )
        if split == "dev" and self.config.dev_file:
            dev = _read(task, self.config.dev_file, "dev_file")
            return dataclasses.replace(
                dev, notes=(*dev.notes, *self._overlap(task, dev))
            )
        found = _read(task, self.config.train_file, "train_file")
        if self.config.dev_file:
            return found
        held_out = _held_out(task, found.examples, self.config.holdout_fraction)
        if not held_out:
            raise UserError(
                f"{self.config.train_file}: {len(found.examples):,} examples are too "
                "few to hold some out: a class with two different texts is needed; "
                "add some, or set --config.data.dev_file"
            )
        examples = tuple(
            example
            for example in found.examples
            if (_texts(example) in held_out) == (split == "dev")
        )
        notes = found.notes if split == "train" else ()
        return Split(examples, notes)

    def _overlap(self, task: Task, dev: Split) -> tuple[str, ...]:
        """Returns a note if texts of the dev file are in the training file too."""
        if not self.config.train_file:
            return ()
        train = _read(task, self.config.train_file, "train_file")
        trained = {_texts(example) for example in train.examples}
        both = sum(_texts(example) in trained for example in dev.examples)
        if not both:
            return ()
        return (
            f"{self.config.dev_file}: {both:,} of {len(dev.examples):,} examples have "
            f"the texts of one in {self.config.train_file}",
        )


def _read(task: Task, given: str, field: str) -> Split:
    """Returns the labelled examples of a table.

    Raises: UserError, NotFound naming the place of the first unusable row.
    """
    path = _checked(given, field)
    table = _open(path)
    column = tables.find_column(task.label_column, table.columns)
    if column is None:
        raise UserError(
            f"{table.where}: no labels: column {task.label_column} is missing among "
            f"{tables.listed(table.columns)}; labelled examples are expected; correct "
            "its name, or name another file"
        )
    examples: list[Example] = []
    unlabelled = 0
    for where, row, example in readers.read_with_rows(table, task.input_columns):
        if column not in row and not table.are_objects:
            raise UserError(
                f"{where}: {counted(len(row), 'column')}; {len(table.columns)} are "
                "expected; correct or remove the row"
            )
        text = label_text(row.get(column))
        if not text:
            unlabelled += 1
            continue
        labelled = dataclasses.replace(example, label=_label(task, text, where))
        num_choices = len(examples[0].parts) if examples else 0
        validation.check_parts(task, labelled, where, num_choices)
        examples.append(labelled)
    if not examples:
        raise UserError(
            f"{path} has no labelled row; texts with labels are expected; add some"
        )
    skipped = f"{path}: skipped {_UNLABELLED}: {unlabelled:,}"
    return Split(tuple(examples), (skipped,) if unlabelled else ())


def _label(task: Task, text: str, where: str) -> int | float:
    """Returns the index of a class or answer, or the score, that a label names."""
    if task.is_graded:
        score = parse_number(text)
        if math.isnan(score):
            raise UserError(
                f"{where}: label {text!r} in column {task.label_column}; a number is "
                "expected; correct it"
            )
        return score
    names = task.classes or task.answer_names
    if text not in names:
        raise UserError(
            f"{where}: label {text!r} in column {task.label_column} is not one of the "
            f"training file's; {', '.join(names)} are expected; correct it, or add "
            "training examples of it"
        )
    return names.index(text)


def _checked(given: str, field: str) -> Path:
    """Returns the path of a table; raises for what is none."""
    path = expand(given)
    where = f"config.data.{field}={given}"
    if (path / "tokens.bin").is_file() or path.name == "tokens.bin":
        raise UserError(
            f"{where} is a corpus that was prepared for pre-training; a table of texts "
            "and labels is expected; name one, or use it as config.data.corpus"
        )
    if not path.exists():
        raise NotFound(
            f"{where} is not there; a table of texts and labels is expected; check the "
            "path"
        )
    if formats.detect(path).kind == formats.TEXT:
        raise UserError(
            f"{where} is named as plain text; csv, tsv, JSON Lines or parquet is "
            "expected; rename it to what it holds, as to "
            f"{path.with_suffix('.csv').name}"
        )
    return path


def _open(path: Path) -> tables.Table:
    return tables.open_table(path, formats.detect(path).kind)


def _texts(example: Example) -> _Texts:
    return (example.context, example.question, *example.parts)


def _held_out(
    task: Task, examples: tuple[Example, ...], fraction: float
) -> frozenset[_Texts]:
    """Returns the texts that are held out: those whose hash is below a share of all.

    The choice depends on the text alone, so that a growing file keeps its split. One
    text at least is held out; the last one of a class, by hash, never is.
    """
    class_of: dict[_Texts, int | float | None] = {}
    for example in examples:
        label = example.label if task.classes else None
        class_of.setdefault(_texts(example), label)
    hashes = {texts: _hash64(texts) for texts in class_of}
    by_hash = sorted(class_of, key=hashes.__getitem__)
    last = {class_of[texts]: texts for texts in by_hash}
    free = set(class_of) - set(last.values())
    held_out = {texts for texts in free if hashes[texts] / 2**64 < fraction}
    if not held_out:
        held_out = {*[texts for texts in by_hash if texts in free][:1]}
    return frozenset(held_out)


def _hash64(texts: _Texts) -> int:
    joined = "\0".join(texts).encode()
    return documents.hash64(hashlib.sha256(joined).digest())
