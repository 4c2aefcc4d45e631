"""The source of a run's task data: official files, TFDS, storyworld or own labels."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from gpt1_jax import files
from gpt1_jax.config import STORYWORLD, DataConfig
from gpt1_jax.data import cached
from gpt1_jax.data.tasks import loading, own_files
from gpt1_jax.data.tasks.examples import Split
from gpt1_jax.data.tasks.own_files import OwnFiles
from gpt1_jax.data.tasks.records import Records
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.data.tasks.task import Task
from gpt1_jax.errors import NotFound, UserError


class TaskData(Protocol):
    """Task data of one source; it loads the splits of tasks."""

    @property
    def directory(self) -> Path | str:
        """The place of the data, for messages."""

    def load(self, task: Task, split: str) -> Split:
        """Returns the examples of a split of `task`.

        Raises: UserError, NotFound: see the sources.
        """

    def has(self, task: Task, split: str) -> bool:
        """Returns whether files, or prepared data, of a split exist."""


@dataclasses.dataclass(frozen=True)
class OfficialData:
    """The files below a directory, or TFDS's data, of any task."""

    config: DataConfig
    directory: Path

    def load(self, task: Task, split: str) -> Split:
        """Returns the examples of a split of `task`.

        Raises: UserError, NotFound: as loading.load.
        """
        return loading.load(
            task,
            split,
            task_dir=self.directory,
            source=self.config.source,
            tfds_dir=self.config.tfds_dir,
            check_counts=not is_storyworld(self.config),
        )

    def has(self, task: Task, split: str) -> bool:
        """Returns whether files, or prepared data, of a split exist."""
        return loading.exists(
            task,
            split,
            task_dir=self.directory,
            source=self.config.source,
            tfds_dir=self.config.tfds_dir,
        )


def is_storyworld(config: DataConfig) -> bool:
    """Returns whether `config` names the built-in, synthetic task data."""
    return config.source == "files" and config.task_dir == STORYWORLD


# The fields that name task data.
LOCATION_FIELDS = ("task_dir", "source", "tfds_dir", "train_file", "dev_file")


def select_data(own: DataConfig, given: DataConfig) -> DataConfig:
    """Returns the data config of an evaluation.

    That is `given` if it names task data, else the model's `own`. A model that was
    pre-trained on storyworld is evaluated on the tasks of storyworld.
    """
    default = DataConfig()
    if any(getattr(given, f) != getattr(default, f) for f in LOCATION_FIELDS):
        return given
    if own.corpus == STORYWORLD and not own.task_dir:
        own = dataclasses.replace(own, task_dir=STORYWORLD)
    return dataclasses.replace(own, cache_dir=given.cache_dir)


def open_data(config: DataConfig) -> TaskData:
    """Opens the task data that `config` names; storyworld's is written first.

    Raises: UserError, NotFound: no data is named, or it does not exist.
    """
    if own_files.is_named(config):
        return OwnFiles(config)
    if is_storyworld(config):
        return OfficialData(config, cached.storyworld_tasks(config))
    if config.source == "tfds":
        return OfficialData(config, files.expand(config.tfds_dir))
    if not config.task_dir:
        raise UserError(
            "config.data.task_dir is empty; the root of the official folders (CoLA, "
            "RTE, snli_1.0, ...) or storyworld is expected; set it, as in "
            "--config.data.task_dir=/data/glue_data"
        )
    directory = files.expand(config.task_dir)
    if not directory.is_dir():
        raise NotFound(
            f"config.data.task_dir={config.task_dir!r} is not a directory; the root of "
            "the official folders (CoLA, snli_1.0, ...) is expected; check the path"
        )
    return OfficialData(config, directory)


def test_splits(task: Task) -> Iterator[tuple[Task, str, str]]:
    """Yields (task, split, name of its predictions) for all that a model predicts.

    These are the test splits of the task and of the tasks that its model predicts too:
    MNLI's model predicts AX.
    """
    for split in task.test.values():
        yield task, split, split
    for other in TASKS.values():
        if other.predicted_by == task.name:
            for split in other.test.values():
                yield other, split, other.name


def fingerprint(records: Records) -> str:
    """Returns a sha256 of the sequences and labels."""
    digest = hashlib.sha256(records.tokens.tobytes())
    digest.update(records.bounds_RA1.tobytes())
    digest.update(records.labels_R.tobytes())
    return digest.hexdigest()
