"""Table 5, and the gain by the auxiliary objective for each size of training set."""

import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.reporting import figures, paper, results, tables
from gpt1_jax.reporting.figures import Picture
from gpt1_jax.reporting.groups import Cell, Group, Half
from gpt1_jax.reporting.page import Block
from gpt1_jax.reporting.tables import NONE, NOT_RUN, Table

_TASKS = paper.COLUMNS["Table 5"]


@dataclasses.dataclass(frozen=True)
class Gain:
    """The gain by the auxiliary objective on a task, in points; `ours` by label."""

    task: str
    num_train: int
    paper: float
    ours: Mapping[str, float]


def blocks(half: Half) -> list[Block]:
    """Returns Table 5, and the figure and table of gains."""
    groups, mark = half.groups, half.is_synthetic
    found: list[Block] = list(ablations_tables(groups, is_synthetic=mark))
    own_gains = gains(groups)
    if not mark and _labels(own_gains):
        picture = Picture(
            "auxiliary-gain",
            "Gain by the auxiliary objective, by size of the training set",
            "Full model minus the one without the auxiliary LM (Table 5). The paper "
            "concludes that larger sets benefit.",
            functools.partial(draw_gains, found=own_gains),
        )
        found.append(picture)
    return [*found, gains_table(own_gains, is_synthetic=mark)]


def cell(group: Group, variant: str, task: str) -> Cell:
    """Returns the score that Table 5 shows: the first metric on dev.

    MNLI's is the mean of its two sets.
    """
    metric = TASKS[task].metrics[0]
    sets = [f"{infix}/{metric}".lstrip("/") for infix in TASKS[task].dev]
    return group.cell(variant, task, *sets)


def ablations_tables(groups: Sequence[Group], *, is_synthetic: bool) -> list[Table]:
    """Returns Table 5 for each group with several of its rows; one if none has."""
    several = [group for group in groups if len(_variants(group)) > 1]
    return [
        _table(number, group, is_synthetic)
        for number, group in enumerate(several or groups[:1] or [Group(())], start=1)
    ]


def _variants(group: Group) -> list[str]:
    return [variant for variant in paper.ABLATIONS if group.has(variant)]


def _table(number: int, group: Group, is_synthetic: bool) -> Table:
    """Returns the paper's four rows, with ours below each that was run."""
    cells = {v: [cell(group, v, task) for task in _TASKS] for v in _variants(group)}
    common = [
        place
        for place in range(len(_TASKS))
        if cells and all(own[place].values for own in cells.values())
    ]
    rows, missing = [], []
    for variant, ablation in paper.ABLATIONS.items():
        percents = list(ablation.percent.values())
        theirs = [ablation.title, "paper", f"{ablation.average:.1f}"]
        theirs += [_mean(percents, common), *(f"{x:.1f}" for x in percents)]
        if variant in cells:
            rows += [theirs, _ours(cells[variant], common)]
        else:
            missing.append(theirs)
    over = f"average of {len(common)}"
    table = Table(
        f"table-5-{number}" if number > 1 else "table-5",
        f"Table 5: {tables.joined('ablations', group.label)}",
        ("model", "", "average", over, *map(paper.title, _TASKS)),
        rows,
        missing=missing,
        notes=(*_notes(common, is_synthetic), *results.details([group])),
        num_heads=2,
        emphasised=range(1, len(rows), 2),
    )
    is_partial = 0 < len(common) < len(_TASKS)
    return table if is_partial else table.without(over)


def _ours(cells: Sequence[Cell], common: Sequence[int]) -> list[str]:
    """Returns a row of ours; its average needs all eight tasks."""
    medians = [100 * cell.median if cell.values else 0.0 for cell in cells]
    is_whole = all(cell.values for cell in cells)
    average = _mean(medians, range(len(cells))) if is_whole else NONE
    return ["", "ours", average, _mean(medians, common), *map(tables.score, cells)]


def _mean(values: Sequence[float], places: Sequence[int]) -> str:
    if not places:
        return NONE
    return tables.number(statistics.fmean(values[place] for place in places))


def _notes(common: Sequence[int], is_synthetic: bool) -> list[str]:
    """Returns the meaning of the numbers, and the tasks of comparable averages."""
    text = (
        "In percent: Matthews correlation for CoLA, Pearson's for STS-B, F1 for MRPC "
        "and QQP, accuracy for the others, for MNLI the mean of its two sets. The "
        "average is unweighted, over the eight columns; the paper cut its last, 69.16, "
        "to 69.1. Ours: dev, median over seeds."
    )
    if is_synthetic:
        text += (
            " Ours is on storyworld's tasks, which are synthetic: compare our rows "
            "with each other, not with the paper's."
        )
    if not common:
        text += " No task is in all of our rows: no average is comparable."
    elif len(common) < len(_TASKS):
        titles = ", ".join(paper.title(_TASKS[place]) for place in common)
        text += f" All of our rows have these tasks: {titles}."
    return [text]


def gains(groups: Sequence[Group]) -> list[Gain]:
    """Returns the full model's gain over no auxiliary LM, small training sets first."""
    full, without = (
        paper.ABLATIONS[name].percent for name in (paper.FULL, paper.NO_AUXILIARY)
    )
    found = []
    for task in _TASKS:
        leads = {g.label: gain(g, task, paper.NO_AUXILIARY) for g in groups}
        ours = {label: lead for label, lead in leads.items() if lead is not None}
        num_train = TASKS[task].num_examples["train"]
        found.append(Gain(task, num_train, full[task] - without[task], ours))
    return sorted(found, key=lambda gain: gain.num_train)


def gain(group: Group, task: str, variant: str) -> float | None:
    """Returns the full model's lead over a variant in points; None: not run."""
    full, without = (cell(group, name, task) for name in (paper.FULL, variant))
    if not full.values or not without.values:
        return None
    return 100 * (full.median - without.median)


def _labels(found: Sequence[Gain]) -> list[str]:
    """Returns the labels of the groups that have a gain."""
    return list(dict.fromkeys(label for gain in found for label in gain.ours))


def gains_table(found: Sequence[Gain], *, is_synthetic: bool) -> Table:
    """Returns the gains in numbers."""
    labels = _labels(found)
    rows: list[list[str]] = []
    missing: list[list[str]] = []
    for one in found:
        row = [paper.title(one.task), f"{one.num_train:,}", tables.signed(one.paper)]
        for label in labels:
            has_gain = label in one.ours
            row.append(tables.signed(one.ours[label]) if has_gain else NOT_RUN)
        (rows if one.ours else missing).append(row)
    size = (
        "All tasks of storyworld have one size: no trend can be seen."
        if is_synthetic
        else "Sizes are those of the official training sets, however many of the "
        "examples a run has seen."
    )
    table = Table(
        "auxiliary-gain",
        "Gain by the auxiliary objective, in points",
        ["task", "training examples", "paper"]
        + [tables.joined("ours", label) for label in labels],
        rows,
        missing=missing,
        notes=(
            "The full model's score in Table 5 minus the score without the auxiliary "
            f"LM. The paper: larger data sets benefit, smaller do not (Sec. 5). {size}",
        ),
    )
    return table.without("training examples") if is_synthetic else table


def draw_gains(figure: Figure, found: Sequence[Gain]) -> None:
    """Draws the gains against the size of the training set."""
    axes = figure.subplots()
    axes.axhline(0, linewidth=0.8, **figures.PAPER)
    sizes, theirs = [gain.num_train for gain in found], [gain.paper for gain in found]
    axes.plot(sizes, theirs, "D", label="the paper, test", **figures.HOLLOW)
    for number, label in enumerate(_labels(found)):
        mine = [(g.num_train, g.ours[label]) for g in found if label in g.ours]
        marker = figures.MARKERS[number % len(figures.MARKERS)]
        style: Any = {"color": figures.COLORS[paper.FULL]}
        style["label"] = tables.joined("ours", label, "dev")
        axes.plot(*zip(*mine, strict=True), marker, **style)
    axes.set_xscale("log")
    for gain, before in zip(found, [None, *found], strict=False):
        is_near = before and gain.num_train < figures.LEAST_RATIO * before.num_train
        height, title = 1.09 if is_near else 1.0, f" {paper.title(gain.task)}"
        style = {"rotation": 60, "fontsize": 8, "ha": "left", "va": "bottom"}
        style["transform"] = axes.get_xaxis_transform()
        axes.text(gain.num_train, height, title, **style)
    axes.set_xlabel("training examples (official)")
    axes.set_ylabel("gain by the auxiliary LM (points)")
    figures.legend_below(figure)
