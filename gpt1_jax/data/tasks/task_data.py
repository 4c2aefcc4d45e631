"""Where a run's task data comes from: official files, TFDS or storyworld."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

from gpt1_jax.config import STORYWORLD, DataConfig
from gpt1_jax.data import cached
from gpt1_jax.data.tasks import loading
from gpt1_jax.data.tasks.examples import Split
from gpt1_jax.data.tasks.loading import Task
from gpt1_jax.data.tasks.records import Records
from gpt1_jax.errors import NotFound, UserError


@dataclasses.dataclass(frozen=True)
class TaskData:
    """A root of task data, and how its splits are read."""

    config: DataConfig
    directory: Path

    def load(self, task: Task, split: str) -> Split:
        """The examples of a split of `task`.

        Raises: UserError, NotFound: as tasks.load.
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
        """Whether there is a file, or prepared data, of a split."""
        return loading.is_there(
            task,
            split,
            task_dir=self.directory,
            source=self.config.source,
            tfds_dir=self.config.tfds_dir,
        )


def is_storyworld(config: DataConfig) -> bool:
    """Whether the task data that `config` names is the built-in, synthetic one."""
    return config.source == "files" and config.task_dir == STORYWORLD


def chosen(own: DataConfig, given: DataConfig) -> DataConfig:
    """The task data that an evaluation names; if it names none, the model's own.

    A model that was pre-trained on storyworld has its tasks for its own.
    """
    default = DataConfig()
    names = ("task_dir", "source", "tfds_dir")
    if any(getattr(given, name) != getattr(default, name) for name in names):
        return given
    if own.corpus == STORYWORLD and not own.task_dir:
        own = dataclasses.replace(own, task_dir=STORYWORLD)
    return dataclasses.replace(own, cache_dir=given.cache_dir)


def open_data(config: DataConfig) -> TaskData:
    """The task data that `config` names, storyworld's written if need be.

    Raises: UserError, NotFound: none is named, or it is not there.
    """
    if is_storyworld(config):
        return TaskData(config, cached.storyworld_tasks(config))
    if config.source == "tfds":
        return TaskData(config, Path(config.tfds_dir).expanduser())
    if not config.task_dir:
        raise UserError(
            "config.data.task_dir is empty; the root of the official folders (CoLA, "
            "RTE, snli_1.0, ...) or storyworld; set it, as in "
            "--config.data.task_dir=/data/glue_data"
        )
    directory = Path(config.task_dir).expanduser()
    if not directory.is_dir():
        raise NotFound(
            f"config.data.task_dir={config.task_dir!r} is no directory; the root of "
            "the official folders (CoLA, snli_1.0, ...) is expected; check the path"
        )
    return TaskData(config, directory)


def test_splits(task: Task) -> Iterator[tuple[Task, str, str]]:
    """What a model of `task` predicts at the end: (task, split, name of the result).

    Its own test splits, and all of the tasks that it predicts: AX for MNLI's.
    """
    for split in task.test.values():
        yield task, split, split
    for other in loading.TASKS.values():
        if other.predicted_by == task.name:
            for split in other.test.values():
                yield other, split, other.name


def fingerprint(records: Records) -> str:
    """A sha256 of the sequences and labels: equal means the same training data."""
    digest = hashlib.sha256(records.tokens.tobytes())
    digest.update(records.bounds_RA1.tobytes())
    digest.update(records.labels_R.tobytes())
    return digest.hexdigest()
