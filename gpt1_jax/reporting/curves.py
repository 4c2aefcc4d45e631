"""Learning curves of fine-tuning, a panel for each task."""

import functools
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.reporting import figures, paper, tables
from gpt1_jax.reporting.figures import Picture
from gpt1_jax.reporting.groups import Group, Half
from gpt1_jax.reporting.page import Block
from gpt1_jax.reporting.scores import Scored

# The steps and values of each run, by variant and group label.
Curves = Mapping[tuple[str, str], Sequence[tuple[Sequence[int], Sequence[float]]]]

_MOST_PANELS = 3  # in a row
_FIGURES = (
    ("task-loss", "Training loss of the task", "nats per example"),
    ("dev-scores", "Dev score of the task's first metric", "score"),
)


def blocks(half: Half) -> list[Block]:
    """Returns the figures of the training losses and of the dev scores."""
    found: list[Block] = []
    for name, title, unit in _FIGURES:
        is_loss = name == "task-loss"
        panels = _panels(half, is_loss)
        caption = "A line for each run, a point for a run with one value."
        caption += " Moving means." if is_loss else ""
        draws = functools.partial(draw, curves=panels, ylabel=unit, is_smooth=is_loss)
        size = 7.6, 1.3 + 1.9 * -(-len(panels) // _MOST_PANELS)
        if panels:
            found.append(Picture(name, title, caption, draws, size))
    return found


def _panels(half: Half, is_loss: bool) -> dict[str, Curves]:
    """Returns the series of each task's runs, by variant and group."""
    panels: dict[str, dict[tuple[str, str], list]] = {}
    for group, member in _members(half):
        metric = "train/task_loss" if is_loss else _first_metric(member)
        series = member.run.series(metric)
        if series[0]:
            panel = panels.setdefault(member.task, {})
            panel.setdefault((member.variant, group.label), []).append(series)
    order = [*(task for task in paper.TITLES if task in panels), *panels]
    return {paper.title(task): panels[task] for task in order}


def _members(half: Half) -> list[tuple[Group, Scored]]:
    """Returns the fine-tuning runs of the paper's variants, in Table 5's order."""
    order = list(paper.ABLATIONS)
    found = [
        (group, member)
        for group in (*half.groups, *half.own_groups)
        for member in group.members
        if member.variant in order and member.run.job == "finetune"
    ]
    return sorted(found, key=lambda pair: order.index(pair[1].variant))


def _first_metric(member: Scored) -> str:
    """Returns the name of the task's first metric in the log."""
    if member.task in TASKS:
        return f"eval/{TASKS[member.task].metrics[0]}"
    names = [n for row in member.run.rows for n in row if n.startswith("eval/")]
    return names[0] if names else ""


def draw(
    figure: Figure, curves: Mapping[str, Curves], ylabel: str, *, is_smooth: bool
) -> None:
    """Draws a panel for each task, a colour for each variant, a line for each run."""
    columns = min(_MOST_PANELS, len(curves))
    grid = figure.subplots(-(-len(curves) // columns), columns, squeeze=False)
    names = list(dict.fromkeys(name for own in curves.values() for name in own))
    labels = list(dict.fromkeys(label for _, label in names))
    handles = {}
    for axes, (title, own) in zip(grid.flat, curves.items(), strict=False):
        series = [(name, *one) for name, runs in own.items() for one in runs]
        for (variant, label), steps, values in series:
            place = labels.index(label) % len(figures.LINE_STYLES)
            (handles[variant, label],) = axes.plot(
                *(figures.smoothed(steps, values) if is_smooth else (steps, values)),
                color=figures.COLORS[variant],
                linestyle=figures.LINE_STYLES[place],
                linewidth=1.2,
                marker=figures.MARKERS[place] if len(steps) == 1 else "",
            )
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in grid.flat[len(curves) :]:
        axes.set_axis_off()
    for axes in grid.flat[max(0, len(curves) - columns) : len(curves)]:
        axes.set_xlabel("fine-tuning step")
    figure.supylabel(ylabel, fontsize=10)
    texts = [tables.joined(*name) for name in names]
    figures.legend_below(
        figure, [handles[name] for name in names], texts, columns=min(3, len(names))
    )
