"""Scores of fine-tuned models, and the config fields that they depend on."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from gpt1_jax import config as config_lib
from gpt1_jax.config import FREE_ROLES, Role, RunConfig
from gpt1_jax.data.tasks import own_columns, task_data
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.reporting import paper
from gpt1_jax.reporting import runs as runs_lib
from gpt1_jax.reporting.runs import Run
from gpt1_jax.workdirs import model_store

Facts = Mapping[str, Any]
# The data fields that a fine-tuning run depends on; the others name the text corpus.
_TASK_DATA = tuple(
    f"data.{name}"
    for name in (*task_data.LOCATION_FIELDS, *own_columns.FIELDS, "storyworld_seed")
)


@dataclasses.dataclass(frozen=True, eq=False)
class Scored:
    """A fine-tuned model on one split.

    run: the run that scored it. trained: the config of its fine-tuning. scores:
    fractions by metric, as matched/accuracy; {}: the run has not finished. checkpoint:
    the step that an evaluation names; "": the best one.
    """

    run: Run
    trained: RunConfig
    task: str
    split: str
    scores: Mapping[str, float]
    checkpoint: str = ""

    @property
    def variant(self) -> str:
        """The difference from the paper's full model, in words."""
        return variant(self.trained)

    @property
    def kind(self) -> tuple[bool, bool]:
        """The kind of model; pre-trained Transformers are first, LSTMs last."""
        return self.trained.model.backbone == "lstm", self.trained.init.path == "none"

    @functools.cached_property
    def facts(self) -> Facts:
        """The fields that the scores depend on, except variant, task and seed."""
        is_scratch = self.trained.init.path == "none"
        flat = config_lib.flatten(self.trained)
        left_out = {"", *([] if is_scratch else ["corpus"])}
        facts = {path: x for path, x in flat.items() if subject(path) not in left_out}
        checkpoint = f"checkpoint {self.checkpoint}" if self.checkpoint else ""
        return facts | {"task.checkpoint": checkpoint or "best checkpoint"}

    def facts_about(self, *subjects: str) -> Facts:
        """Returns the facts about the model, its training or its task."""
        return {path: x for path, x in self.facts.items() if subject(path) in subjects}


@functools.cache
def subject(path: str) -> str:
    """Returns what a field is about: model, corpus, training or task.

    "" means that no score depends on the field, or that the tables show it already, as
    a row, a column or a seed.
    """
    group = path.rpartition(".")[0]
    if path in ("init.path", "task.checkpoint"):
        return "model"
    if group in ("", "init") or path == "task.name":
        return ""
    role = config_lib.role(path)
    if role in FREE_ROLES:
        return ""
    if role == Role.ARCHITECTURE:
        return "model"
    if role == Role.DATA and path not in _TASK_DATA:
        return "" if group == "task" else "corpus"
    return "task" if group == "task" else "training"


def variant(config: RunConfig) -> str:
    """Returns what a fine-tuning run changes in the paper's full model, in words."""
    layers = config.init.num_layers
    parts = ["LSTM"] if config.model.backbone == "lstm" else []
    if config.init.path == "none" or layers == -2:
        parts.append("no pre-training")
    elif layers not in (-1, config.model.depth):
        parts.append(f"{layers} of {config.model.depth} layers")
    if not config.task.lm_coef:
        parts.append("no auxiliary LM")
    return ", ".join(parts) or paper.FULL


def scored(runs: Sequence[Run]) -> tuple[list[Scored], list[str]]:
    """Returns the scores of fine-tuning runs and of evaluations, and warnings."""
    found = [
        Scored(run, run.config, run.config.task.name, "dev", _scores(run))
        for run in runs
        if run.job == "finetune"
    ]
    warnings = []
    for run in runs:
        if run.job != "evaluate" or not run.is_finished:
            continue
        trained = runs_lib.source(run, runs)
        if trained is None:
            warnings.append(
                f"{run.path} is left out of the tables: its model "
                f"{run.config.init.path} does not exist any more"
            )
            continue
        found += _evaluated(run, trained)
    return found, warnings


def _evaluated(run: Run, trained: RunConfig) -> list[Scored]:
    """Returns the scores of an evaluation if it is on a dev or test set."""
    task, name = run.config.task.name or trained.task.name, run.config.task.split
    infixes = {"dev": ("dev", ""), "test": ("test", "")}
    if task in TASKS:
        for split, sets in (("dev", TASKS[task].dev), ("test", TASKS[task].test)):
            infixes |= {one: (split, infix) for infix, one in sets.items()}
    if name not in infixes:
        return []
    split, infix = infixes[name]
    scores = {f"{infix}/{n}".lstrip("/"): x for n, x in _scores(run).items()}
    _, step = model_store.workdir_and_step(run.config.init.path)
    return [Scored(run, trained, task, split, scores, str(step or ""))]


def _scores(run: Run) -> dict[str, float]:
    """Returns the evaluation metrics of a run's result."""
    return {
        name.removeprefix("eval/"): value
        for name, value in run.metrics.items()
        if name.startswith("eval/")
    }
