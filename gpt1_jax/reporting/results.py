"""Tables 1 to 5 of the paper, with what runs reached beside them."""

import statistics
from collections.abc import Iterable, Sequence

from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.data.tasks.task import PaperScore
from gpt1_jax.reporting import paper, tables
from gpt1_jax.reporting.groups import Cell, Group
from gpt1_jax.reporting.tables import NONE, NOT_RUN, Table

_SPLITS = ("dev", "test")
_NO_CELL = Cell()


def tasks_table() -> Table:
    """Table 1: the tasks by kind, with the sizes of the official sets."""
    rows = []
    for kind, names in paper.KINDS:
        for place, name in enumerate(names):
            task = TASKS[name]
            counts = [
                _count(name, splits)
                for splits in ([task.train], task.dev.values(), task.test.values())
            ]
            rows.append(["" if place else kind, paper.TITLES[name], *counts])
    return Table(
        "table-1",
        "Table 1: the tasks",
        ("kind", "task", "train", "dev", "test"),
        rows,
        notes=(
            "Examples of the official files that have a gold label; MNLI's sets are "
            "matched + mismatched, RACE's middle + high. Story Cloze's train and dev "
            "are the released code's halves of the 2016 validation set; QNLI is "
            "version 2, the paper's was version 1.",
        ),
        num_heads=2,
    )


def _count(task: str, splits: Iterable[str]) -> str:
    return " + ".join(f"{TASKS[task].num_examples[split]:,}" for split in splits)


def scores_table(
    number: int, title: str, groups: Sequence[Group], *, is_synthetic: bool
) -> Table:
    """Table 2, 3 or 4: a row a result, or several where several groups have it."""
    rows = []
    for task, score in paper.scores_of(f"Table {number}"):
        rows += _score_rows(task, score, groups, is_synthetic)
    if number == 4:
        rows += _glue_rows(groups, is_synthetic)
    return Table(
        f"table-{number}",
        f"Table {number}: {title}",
        ("result", "best earlier system", "paper", "ours", *_difference(is_synthetic))
        + ("split", "seeds")
        + (("group",) if any(group.label for group in groups) else ()),
        rows,
        notes=(*_reading(is_synthetic), *legend(groups), *_glue_notes(number, groups)),
        is_synthetic=is_synthetic,
        num_heads=2,
        was_run=any(row[3] != NOT_RUN for row in rows),
    )


def _difference(is_synthetic: bool) -> tuple[str, ...]:
    """The column of differences; there is none from scores on other data."""
    return () if is_synthetic else ("difference",)


def _reading(is_synthetic: bool) -> tuple[str, ...]:
    text = "In percent; ours is the median over seeds (least to greatest of several)."
    if is_synthetic:
        return (
            f"{text} Ours is on storyworld's own task of that name, which is "
            "synthetic: it says nothing about English, and can't be compared with the "
            "paper's.",
        )
    return (f"{text} The paper's scores are on test sets.",)


def _score_rows(
    task: str, score: PaperScore, groups: Sequence[Group], is_synthetic: bool
) -> list[list[str]]:
    """The rows of one of the paper's results."""
    found = [
        (group, split, cell)
        for group in groups
        for split in _SPLITS
        if (cell := group.cell(paper.FULL, task, score.metric, split=split)) != _NO_CELL
    ]
    title = paper.metric_title(task, score.metric)
    if not found:
        return [_row(title, score, groups, is_synthetic)]
    rows = []
    for place, (group, split, cell) in enumerate(found):
        row = _row(title, score, groups, is_synthetic, cell, split, group.label)
        rows.append(["", "", "", *row[3:]] if place else row)
    return rows


def _row(
    title: str,
    score: PaperScore,
    groups: Sequence[Group],
    is_synthetic: bool,
    cell: Cell = _NO_CELL,
    split: str = NONE,
    label: str = NONE,
) -> list[str]:
    earlier = f"{score.earlier_percent:.1f} {score.earlier_system}"
    row = [title, earlier, f"{score.percent:.1f}", tables.score(cell)]
    if not is_synthetic:
        row.append(tables.difference(cell, score.percent))
    row += [split, tables.seeds(cell)]
    return row + [label] * any(group.label for group in groups)


def legend(groups: Sequence[Group]) -> tuple[str, ...]:
    """What tells labelled groups apart, a line each; what else a reader must know."""
    return tuple(
        f"{group.label}: {group.differs}"
        if group.label
        else f"By task: {group.differs}"
        for group in groups
        if group.label or group.differs
    )


def glue_score(scores: Iterable[Sequence[float]]) -> float:
    """The mean over tasks of the mean of each one's scores.

    Source: the GLUE leaderboard; MRPC, QQP and STS-B have two metrics, MNLI two sets.
    """
    return statistics.fmean(statistics.fmean(own) for own in scores)


def glue_metrics(task: str) -> list[str]:
    """The metrics of one of its nine tasks that the GLUE score averages."""
    return [score.metric for score in TASKS[task].paper]


def _glue_rows(groups: Sequence[Group], is_synthetic: bool) -> list[list[str]]:
    """The rows of the GLUE score, on dev, of the groups that have all nine tasks."""
    rows: list[list[str]] = []
    for group in groups:
        cells = glue_cells(group).values()
        if all(cell.values for cell in cells):
            cell = Cell((glue_score([cell.median] for cell in cells),))
            row = _row(
                "GLUE score", paper.GLUE, groups, is_synthetic, cell, "dev", group.label
            )
            row[row.index("dev") + 1] = str(min(len(cell.values) for cell in cells))
            rows.append(["", "", "", *row[3:]] if rows else row)
    return rows or [_row("GLUE score", paper.GLUE, groups, is_synthetic)]


def glue_cells(group: Group) -> dict[str, Cell]:
    """Of each of GLUE's nine tasks the score that the mean is over."""
    return {
        task: group.cell(paper.FULL, task, *glue_metrics(task))
        for task in paper.GLUE_TASKS
    }


def _glue_notes(number: int, groups: Sequence[Group]) -> tuple[str, ...]:
    """The formula, and what is missing for it."""
    if number != 4:
        return ()
    formula = (
        "GLUE score: the mean over nine tasks (WNLI is the ninth), of the mean of both "
        "metrics for MRPC, QQP and STS-B and of both sets for MNLI; ours on dev, of "
        "medians over seeds."
    )
    notes = [formula]
    for group in groups or [Group(())]:
        missing = [
            paper.TITLES[task]
            for task, cell in glue_cells(group).items()
            if not cell.values
        ]
        if missing:
            name = f"{group.label}: the" if group.label else "The"
            which = "all nine" if len(missing) == 9 else ", ".join(missing)
            notes.append(f"{name} GLUE score is {NOT_RUN}: it lacks {which}.")
    return tuple(notes)


def ablation_cell(group: Group, variant: str, task: str) -> Cell:
    """The score of Table 5: of the first metric, on dev; of MNLI the sets' mean."""
    metric = TASKS[task].metrics[0]
    sets = [f"{infix}/{metric}".lstrip("/") for infix in TASKS[task].dev]
    return group.cell(variant, task, *sets)


def ablations_tables(groups: Sequence[Group], *, is_synthetic: bool) -> list[Table]:
    """Table 5, once for each group that has several of its rows, or one if none has."""
    several = [group for group in groups if len(_variants(group)) > 1]
    return [
        _ablations_table(group, is_synthetic)
        for group in several or groups[:1] or [Group(())]
    ]


def _variants(group: Group) -> list[str]:
    """The rows that a group has."""
    return [variant for variant in paper.ABLATIONS if group.has(variant)]


def _ablations_table(group: Group, is_synthetic: bool) -> Table:
    """The paper's four rows, and under each ours."""
    names = paper.COLUMNS["Table 5"]
    cells = {
        variant: [ablation_cell(group, variant, task) for task in names]
        for variant in _variants(group)
    }
    common = [
        place
        for place in range(len(names))
        if cells and all(own[place].values for own in cells.values())
    ]
    has_partial = bool(common) and len(common) < len(names)
    rows, stressed = [], set()
    for variant, ablation in paper.ABLATIONS.items():
        percents = list(ablation.percent.values())
        over = [_mean(percents, common)] if has_partial else []
        values = [f"{value:.1f}" for value in percents]
        average = f"{ablation.average:.1f}"
        rows.append([ablation.title, "paper", average, *over, *values])
        if variant in cells:
            stressed.add(len(rows))
            rows.append(_ours(cells[variant], common, has_partial))
        else:
            rows.append(["", "ours", *[NOT_RUN] * (1 + has_partial + len(names))])
    over = [f"average of {len(common)}"] if has_partial else []
    titles = [paper.TITLES[name] for name in names]
    of = f", group {group.label}" if group.label else ""
    return Table(
        f"table-5{group.label}",
        f"Table 5: ablations{of}",
        ("model", "", "average", *over, *titles),
        rows,
        notes=(*_ablation_notes(common, is_synthetic), *legend([group])),
        is_synthetic=is_synthetic,
        num_heads=2,
        emphasised=frozenset(stressed),
        was_run=bool(cells),
    )


def _ours(cells: list[Cell], common: list[int], has_partial: bool) -> list[str]:
    """A row of ours: the average of all eight tasks if there are all."""
    medians = [100 * cell.median if cell.values else 0.0 for cell in cells]
    is_whole = all(cell.values for cell in cells)
    average = _mean(medians, range(len(cells))) if is_whole else NONE
    over = [_mean(medians, common)] if has_partial else []
    return ["", "ours", average, *over, *map(tables.score, cells)]


def _mean(values: Sequence[float], places: Iterable[int]) -> str:
    chosen = [values[place] for place in places]
    return tables.number(sum(chosen) / len(chosen)) if chosen else NONE


def _ablation_notes(common: list[int], is_synthetic: bool) -> tuple[str, ...]:
    """What the numbers are, and over which tasks averages are comparable."""
    names = paper.COLUMNS["Table 5"]
    text = (
        "In percent: Matthews correlation for CoLA, Pearson's for STS-B, F1 for MRPC "
        "and QQP, accuracy for the others, for MNLI the mean of its two sets. The "
        "average is unweighted, over the eight columns; the paper cut its last, 69.16, "
        "to 69.1. Ours: dev, median over seeds."
    )
    if is_synthetic:
        text += (
            " Ours is on storyworld's tasks, synthetic: compare rows of ours with each "
            "other, not with the paper's."
        )
    if not common:
        return (text, "No task was run in all rows of ours: no average is comparable.")
    if len(common) < len(names):
        titles = ", ".join(paper.TITLES[names[place]] for place in common)
        text += f" In all rows of ours were run {len(common)} of the tasks: {titles}."
    return (text,)
