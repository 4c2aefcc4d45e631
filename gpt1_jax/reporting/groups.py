"""Fine-tuned scores, and the groups of scores that may share a table.

The scores of one cell differ in nothing but the seed.
"""

import dataclasses
import functools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpt1_jax import config as config_lib
from gpt1_jax.config import FREE_ROLES, Role, RunConfig
from gpt1_jax.data.tasks import task_data
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.reporting import paper, words
from gpt1_jax.reporting import runs as runs_lib
from gpt1_jax.reporting.runs import Run
from gpt1_jax.workdirs import model_store

Facts = Mapping[str, Any]
# Task data is where these say, whatever the fields of the text corpus are.
_TASK_DATA = tuple(
    f"data.{name}" for name in (*task_data.LOCATION_FIELDS, "storyworld_seed")
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
        facts = {path: x for path, x in flat.items() if _subject(path) not in left_out}
        checkpoint = f"checkpoint {self.checkpoint}" if self.checkpoint else ""
        return facts | {"task.checkpoint": checkpoint or "best checkpoint"}

    def facts_about(self, *subjects: str) -> Facts:
        """Returns the facts about the model, its training or its task."""
        return {path: x for path, x in self.facts.items() if _subject(path) in subjects}


@functools.cache
def _subject(path: str) -> str:
    """Returns what a field is about: model, corpus, training or task.

    "" stands for fields that no score depends on, and for those that are rows, columns
    or seeds of the tables.
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


@dataclasses.dataclass(frozen=True)
class Cell:
    """The scores of a metric by seed, and the number of seeds that have none yet."""

    values: tuple[float, ...] = ()
    num_unfinished: int = 0

    @property
    def median(self) -> float:
        """The median over seeds, a fraction."""
        return statistics.median(self.values)


def cell_of(members: Iterable[Scored], metrics: Sequence[str]) -> Cell:
    """Returns the mean of `metrics` for each seed; runs with one seed count once."""
    by_seed: dict[int, float] = {}
    unfinished = set()
    for member in members:
        seed, scores = member.trained.seed, member.scores
        if not scores:
            unfinished.add(seed)
        elif all(metric in scores for metric in metrics):
            by_seed.setdefault(seed, statistics.fmean(scores[m] for m in metrics))
    return Cell(tuple(by_seed.values()), len(unfinished - by_seed.keys()))


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Scores that are comparable: they differ by task, split, variant and seed.

    label: the difference from the other groups, in words; "": there is no other.
    details: the settings that differ from task to task.
    """

    members: tuple[Scored, ...]
    label: str = ""
    details: str = ""

    def cell(self, variant: str, task: str, *metrics: str, split: str = "dev") -> Cell:
        """Returns the scores of a variant on a task, the mean of `metrics`."""
        place = variant, task, split
        mine = [m for m in self.members if (m.variant, m.task, m.split) == place]
        return cell_of(mine, metrics)

    def has(self, variant: str) -> bool:
        """Returns whether a run of the variant is in it, finished or not."""
        return any(member.variant == variant for member in self.members)


@dataclasses.dataclass(frozen=True, eq=False)
class Half:
    """All that is on official data, or all that is on synthetic data.

    A table or figure shows one half only.
    """

    runs: Sequence[Run]
    scored: Sequence[Scored]
    is_synthetic: bool

    def of_job(self, job: str) -> list[Run]:
        """Returns the runs of a job."""
        return [run for run in self.runs if run.job == job]

    @functools.cached_property
    def groups(self) -> list[Group]:
        """The groups of the paper's tasks and variants."""
        return group(
            one
            for one in self.scored
            if one.task in paper.TITLES and one.variant in paper.ABLATIONS
        )

    @functools.cached_property
    def own_groups(self) -> list[Group]:
        """The groups of the user's own tasks."""
        return group(one for one in self.scored if one.task not in paper.TITLES)

    @functools.cached_property
    def full_groups(self) -> list[Group]:
        """The groups that have the paper's full model."""
        return [group for group in self.groups if group.has(paper.FULL)]


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


def group(members: Iterable[Scored]) -> list[Group]:
    """Groups the scores that are comparable; large groups of Transformers are first.

    Runs with other settings join a group if no cell, row or column would mix them.
    """
    by_facts: dict[Any, list[Scored]] = {}
    for member in members:
        by_facts.setdefault(tuple(member.facts.items()), []).append(member)
    merged: list[list[Scored]] = []
    for mine in sorted(by_facts.values(), key=lambda own: (own[0].kind, -len(own))):
        tasks = {member.task for member in mine}
        places = [
            there
            for there in merged
            if not any(_conflict(one, other) for one in mine for other in there)
        ]
        if places:
            max(places, key=lambda p: sum(m.task in tasks for m in p)).extend(mine)
        else:
            merged.append(list(mine))
    return [
        Group(tuple(mine), label, _details(mine))
        for mine, label in zip(merged, labels(merged), strict=True)
    ]


def _conflict(one: Scored, other: Scored) -> bool:
    """Returns whether two scores with different settings must not share a table."""
    subjects = []
    if one.task == other.task:
        subjects.append("training")
        subjects += ["task"] if one.variant == other.variant else []
    if one.kind == other.kind or one.variant == other.variant:
        subjects.append("model")
    return one.facts_about(*subjects) != other.facts_about(*subjects)


def labels(parts: Sequence[Sequence[Scored]]) -> list[str]:
    """Names each part by its difference from the others.

    The labels of a sweep are used if they tell the parts apart, else the config fields.
    """
    by_label = words.differences([_shared_labels(part) for part in parts])
    by_field = words.differences([_typical(part).facts for part in parts])
    is_enough = all(by_label) and len(set(by_label)) >= len(set(by_field))
    return by_label if is_enough else by_field


def _typical(part: Sequence[Scored]) -> Scored:
    """Returns a run of the full model if there is one."""
    return next((one for one in part if one.variant == paper.FULL), part[0])


def _shared_labels(part: Sequence[Scored]) -> Facts:
    """Returns the labels of a sweep that all runs of the part share."""
    first, *others = [one.run.labels for one in part if one.run.labels] or [{}]
    return {
        axis: label
        for axis, label in first.items()
        if (axis not in config_lib.FIELDS or _subject(axis))
        and all(own.get(axis) == label for own in others)
    }


def _details(members: Sequence[Scored]) -> str:
    """Returns the settings that differ by task: `100 steps (CoLA), 9 steps (RTE)`."""
    values: dict[str, dict[Any, dict[str, None]]] = {}
    for member in members:
        for name, value in member.facts_about("training").items():
            titles = values.setdefault(name, {}).setdefault(value, {})
            titles[paper.title(member.task)] = None
    return "; ".join(
        ", ".join(
            f"{words.in_words(name, value)} ({', '.join(titles)})"
            for value, titles in by_value.items()
        )
        for name, by_value in values.items()
        if len(by_value) > 1
    )
