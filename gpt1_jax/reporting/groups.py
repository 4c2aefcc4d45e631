"""Groups of fine-tuned scores that may share a table, and their names.

The scores of one cell differ in nothing but the seed.
"""

import dataclasses
import functools
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from gpt1_jax import config as config_lib
from gpt1_jax.reporting import paper, words
from gpt1_jax.reporting.runs import Run
from gpt1_jax.reporting.scores import Facts, Scored, subject


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
        seed, own = member.trained.seed, member.scores
        if not own:
            unfinished.add(seed)
        elif all(metric in own for metric in metrics):
            by_seed.setdefault(seed, statistics.fmean(own[m] for m in metrics))
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


def group(members: Iterable[Scored]) -> list[Group]:
    """Groups the scores that are comparable; large groups of Transformers are first.

    Runs with other settings may share a group's tables unless a cell, a row or a column
    would compare them.
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
        if (axis not in config_lib.FIELDS or subject(axis))
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
