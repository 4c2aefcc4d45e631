"""Tables 1 to 4 of the paper with our scores beside them, and a table of own tasks."""

import functools
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.data.tasks.task import PaperScore
from gpt1_jax.reporting import figures, paper, tables
from gpt1_jax.reporting.figures import Picture
from gpt1_jax.reporting.groups import Cell, Group, Half
from gpt1_jax.reporting.page import Block
from gpt1_jax.reporting.tables import NONE, NOT_RUN, Table

_SPLITS = ("dev", "test")
_TITLES = {
    2: "natural language inference",
    3: "question answering and commonsense reasoning",
    4: "classification, similarity, and GLUE",
}
_IN_PERCENT = (
    "In percent; ours is the median over seeds (lowest to highest if there are "
    "several)."
)


def blocks(half: Half) -> list[Block]:
    """Returns Tables 2 to 4 and, for official data, a figure of all their results."""
    groups, mark = half.full_groups, half.is_synthetic
    found: list[Block] = [_overview(groups[0])] if groups and not mark else []
    for number, title in _TITLES.items():
        found.append(scores_table(number, title, groups, is_synthetic=mark))
    return found


def tasks_table() -> Table:
    """Returns Table 1: the tasks by kind, with the sizes of the official sets."""
    rows = []
    for kind, names in paper.KINDS:
        for name in names:
            task = TASKS[name]
            splits = [task.train], task.dev.values(), task.test.values()
            counts = (_counts(name, own) for own in splits)
            is_first = name == names[0]
            rows.append([kind if is_first else "", paper.title(name), *counts])
    return Table(
        "table-1",
        "Table 1: the tasks",
        ("kind", "task", "train", "dev", "test"),
        rows,
        notes=(
            "Examples of the official files that have a gold label. MNLI's sets are "
            "matched + mismatched, RACE's are middle + high. Story Cloze's train and "
            "dev sets are the released code's halves of the 2016 validation set. QNLI "
            "is version 2; the paper used version 1.",
        ),
        num_heads=2,
    )


def _counts(task: str, splits: Iterable[str]) -> str:
    return " + ".join(f"{TASKS[task].num_examples[split]:,}" for split in splits)


def _overview(group: Group) -> Picture:
    rows = [
        (
            paper.metric_title(task, score.metric),
            score,
            group.cell(paper.FULL, task, score.metric),
        )
        for number in _TITLES
        for task, score in paper.scores_of(f"Table {number}")
    ]
    return Picture(
        "overview",
        "All results at a glance",
        f"{tables.joined('Ours', group.label)}: median and range over seeds, on dev "
        "sets. The others: on test sets.",
        functools.partial(draw_overview, rows=rows),
        size=(7.6, 5.6),
    )


def draw_overview(figure: Figure, rows: Sequence[tuple[str, PaperScore, Cell]]) -> None:
    """Draws for each result the best earlier system's, the paper's and our score."""
    axes = figure.subplots()
    places = list(range(len(rows)))[::-1]
    earlier = [score.earlier_percent for _, score, _ in rows]
    theirs = [score.percent for _, score, _ in rows]
    axes.hlines(places, earlier, theirs, linewidth=1, **figures.PAPER)
    label = "best earlier system"
    axes.plot(earlier, places, "o", label=label, **figures.HOLLOW)
    axes.plot(theirs, places, "o", label="the paper", **figures.PAPER)
    ours = {p: row[-1] for p, row in zip(places, rows, strict=True) if row[-1].values}
    style: Any = {"color": figures.COLORS[paper.FULL], "is_horizontal": True}
    figures.errorbar(axes, list(ours), ours.values(), fmt="D", label="ours", **style)
    axes.set_yticks(places, [title for title, *_ in rows])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("score (percent)")
    figures.legend_below(figure, columns=3)


def scores_table(
    number: int, title: str, groups: Sequence[Group], *, is_synthetic: bool
) -> Table:
    """Returns Table 2, 3 or 4, with a row for each result of each group and split."""
    found = []
    for task, score in paper.scores_of(f"Table {number}"):
        cell = functools.partial(_cell, task=task, metric=score.metric)
        name = paper.metric_title(task, score.metric)
        found.append(_rows(name, score, groups, cell))
    if number == 4:
        found.append(_rows("GLUE score", paper.GLUE, groups, glue_cell))
    table = Table(
        f"table-{number}",
        f"Table {number}: {title}",
        [
            *("result", "best earlier system", "paper", "ours", "difference"),
            *("split", "seeds", "group"),
        ],
        [row for rows in found for row in rows if rows[0][3] != NOT_RUN],
        missing=[rows[0] for rows in found if rows[0][3] == NOT_RUN],
        notes=(
            f"{_IN_PERCENT} {_comparison(is_synthetic)}",
            *details(groups),
            *(_glue_notes(groups) if number == 4 else ()),
        ),
        num_heads=2,
    )
    return table.without(
        *(["difference"] if is_synthetic else []), *_unlabelled(groups)
    )


def _unlabelled(groups: Sequence[Group]) -> list[str]:
    """Returns the column to leave out where there is one group only."""
    return [] if any(group.label for group in groups) else ["group"]


def _comparison(is_synthetic: bool) -> str:
    if is_synthetic:
        return (
            "Ours is on storyworld's own task of that name, which is synthetic: it "
            "says nothing about English and can't be compared with the paper's."
        )
    return "The paper's scores are on test sets."


def _cell(group: Group, split: str, *, task: str, metric: str) -> Cell:
    return group.cell(paper.FULL, task, metric, split=split)


def _rows(
    title: str,
    score: PaperScore,
    groups: Sequence[Group],
    cell_of: Callable[[Group, str], Cell],
) -> list[list[str]]:
    """Returns the rows of one result of the paper; one row if it was not run."""
    heads = [title, f"{score.earlier_percent:.1f} {score.earlier_system}"]
    heads.append(f"{score.percent:.1f}")
    rows = []
    for group in groups:
        for split in _SPLITS:
            if (cell := cell_of(group, split)) != Cell():
                ours = [tables.score(cell), tables.difference(cell, score.percent)]
                rows.append([*heads, *ours, split, tables.seeds(cell), group.label])
                heads = ["", "", ""]
    return rows or [[*heads, NOT_RUN, *[NONE] * 4]]


def details(groups: Sequence[Group]) -> list[str]:
    """Returns a note for each group whose settings differ from task to task."""
    return [f"{g.label or 'By task'}: {g.details}" for g in groups if g.details]


def glue_cell(group: Group, split: str = "dev") -> Cell:
    """Returns the GLUE score of the full model on dev, once all nine tasks have one.

    Each task counts once, with the mean of its scores.  Source: the GLUE leaderboard;
    MRPC, QQP and STS-B have two metrics, MNLI has two sets.
    """
    cells = _glue_cells(group).values()
    if split != "dev" or not all(cell.values for cell in cells):
        return Cell()
    score = statistics.fmean(cell.median for cell in cells)
    return Cell((score,) * min(len(cell.values) for cell in cells))


def _glue_cells(group: Group) -> dict[str, Cell]:
    metrics = {task: [x.metric for x in TASKS[task].paper] for task in paper.GLUE_TASKS}
    return {task: group.cell(paper.FULL, task, *own) for task, own in metrics.items()}


def _glue_notes(groups: Sequence[Group]) -> list[str]:
    """Returns the formula of the GLUE score, and the tasks that it lacks."""
    notes = [
        "GLUE score: the mean over nine tasks (WNLI is the ninth) of the mean of both "
        "metrics for MRPC, QQP and STS-B and of both sets for MNLI. Ours is on dev "
        "sets, from medians over seeds."
    ]
    for group in groups or [Group(())]:
        cells = _glue_cells(group)
        missing = [paper.title(task) for task, cell in cells.items() if not cell.values]
        if missing:
            which = "all nine" if len(missing) == len(cells) else ", ".join(missing)
            name = f"{group.label}: the" if group.label else "The"
            notes.append(f"{name} GLUE score is {NOT_RUN}: it lacks {which}.")
    return notes


def own_blocks(half: Half) -> list[Block]:
    """Returns the table of the user's own tasks, if there are any."""
    rows = []
    for group in half.own_groups:
        places: dict[tuple[str, str, str], dict[str, None]] = {}
        for member in group.members:
            place = member.task, member.variant, member.split
            places.setdefault(place, {}).update(dict.fromkeys(member.scores))
        for (task, variant, split), metrics in sorted(
            places.items(), key=lambda item: item[0]
        ):
            for metric in [[name] for name in metrics] or [[]]:
                cell = group.cell(variant, task, *metric, split=split)
                name = paper.metric_title(task, metric[0]) if metric else task
                ours = [tables.score(cell), split, tables.seeds(cell), group.label]
                rows.append([name, variant, *ours])
    table = Table(
        "own-tasks",
        "Your own tasks",
        ("result", "model", "ours", "split", "seeds", "group"),
        rows,
        notes=(_IN_PERCENT, *details(half.own_groups)),
        num_heads=2,
    )
    return [table.without(*_unlabelled(half.own_groups))] if rows else []
