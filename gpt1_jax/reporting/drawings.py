"""What each figure shows, drawn on an empty one; the colours are the style's."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gpt1_jax.data.tasks.task import PaperScore
from gpt1_jax.evaluation import zeroshot
from gpt1_jax.reporting import paper
from gpt1_jax.reporting.gains import Gain
from gpt1_jax.reporting.groups import Cell
from gpt1_jax.reporting.runs import Run
from gpt1_jax.reporting.transfer import NOTHING, Transfer
from gpt1_jax.reporting.zero_shot import BACKBONES, ZeroShot

# Training losses are smoothed over this share of a run's rows.
_SMOOTHED_SHARE = 0.05
_MOST_PANELS = 3  # beside each other
# Labels of a logarithmic axis are at least so far apart.
_LEAST_RATIO = 1.3

# The colour of each row of Table 5, the same in every figure. Curves of one variant
# differ by their line style and marker.
COLORS = {variant: f"C{place}" for place, variant in enumerate(paper.ABLATIONS)}
_STYLES = ("-", "--", ":", "-.")
_MARKERS = "os^vDP"


def _paper_color() -> str:
    return matplotlib.rcParams["patch.edgecolor"]


def _smoothed(
    steps: Sequence[float] | np.ndarray, values: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of as many values around each as a twentieth of them, an odd number."""
    width = 1 + 2 * round(len(values) * _SMOOTHED_SHARE / 2)
    middle = np.asarray(steps)[width // 2 : len(steps) - width // 2]
    return middle, np.convolve(values, np.full(width, 1 / width), mode="valid")


def pretraining(figure: Figure, runs: Sequence[Run]) -> None:
    """Loss against tokens seen: training's as a line, held-out as points."""
    axes = figure.subplots()
    held_out_label: str | None = "held-out"
    num_drawn = dict.fromkeys(COLORS, 0)
    for run in runs:
        is_lstm = run.config.model.backbone == "lstm"
        variant = paper.LSTM if is_lstm else paper.FULL
        color, number = COLORS[variant], num_drawn[variant]
        num_drawn[variant] += 1
        style, point = _STYLES[number % len(_STYLES)], _MARKERS[number % len(_MARKERS)]
        per_step = run.config.train.batch_size * run.config.model.context_length / 1e6
        steps, losses = run.series("train/loss")
        if steps:
            tokens = np.array(steps) * per_step
            axes.plot(tokens, losses, color=color, alpha=0.25, linewidth=0.8)
            marker = "" if len(steps) > 1 else "."
            smoothed = _smoothed(tokens, losses)
            line: dict[str, Any] = {
                "color": color,
                "linestyle": style,
                "marker": marker,
            }
            axes.plot(*smoothed, label=run.name, **line)
        steps, losses = run.series("eval/loss")
        if steps:
            axes.plot(
                np.array(steps) * per_step,
                losses,
                color=color,
                marker=point,
                markeredgecolor=matplotlib.rcParams["axes.facecolor"],
                markersize=7,
                linewidth=0,
                label=held_out_label,
                zorder=4,
            )
            held_out_label = None
    axes.set_xlabel("training tokens seen (millions)")
    axes.set_ylabel("loss (nats per token)")
    axes.set_xlim(left=0)
    if any(run.series("train/loss")[0] or run.series("eval/loss")[0] for run in runs):
        axes.legend()


# Steps and values of each run, by variant and group label.
Curves = Mapping[tuple[str, str], Sequence[tuple[Sequence[int], Sequence[float]]]]


def panels(
    figure: Figure, curves: Mapping[str, Curves], ylabel: str, *, is_smooth: bool
) -> None:
    """A panel for each task, a colour for each variant, a line for each run."""
    columns = min(_MOST_PANELS, len(curves))
    grid = figure.subplots(-(-len(curves) // columns), columns, squeeze=False)
    names = list(dict.fromkeys(name for own in curves.values() for name in own))
    labels = list(dict.fromkeys(label for _, label in names))
    handles = {}
    for axes, (title, own) in zip(grid.flat, curves.items(), strict=False):
        for name, runs in own.items():
            variant, label = name
            for steps, values in runs:
                shown = _smoothed(steps, values) if is_smooth else (steps, values)
                (handles[name],) = axes.plot(
                    *shown,
                    color=COLORS[variant],
                    linestyle=_STYLES[labels.index(label) % len(_STYLES)],
                    linewidth=1.0 if len(runs) > 1 else 1.4,
                    marker="" if is_smooth and len(steps) > 1 else ".",
                )
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in grid.flat[len(curves) :]:
        axes.set_axis_off()
    for axes in grid.flat[max(0, len(curves) - columns) : len(curves)]:
        axes.set_xlabel("fine-tuning step")
    figure.supylabel(ylabel, fontsize=10)
    figure.legend(
        [handles[name] for name in names],
        [" ".join(filter(None, name)) for name in names],
        loc="outside lower center",
        ncols=min(3, len(names)),
    )


def panels_size(number: int) -> tuple[float, float]:
    """The size of a figure of so many panels."""
    return 7.6, 1.3 + 1.9 * -(-number // _MOST_PANELS)


def transfer(figure: Figure, studies: Sequence[Transfer]) -> None:
    """Figure 2, left: dev solid, train dashed; nothing transferred as `none`."""
    axes = figure.subplots()
    depth = max(study.depth for study in studies)
    has_none = any(NOTHING in study.dev for study in studies)
    for number, study in enumerate(studies):
        name = f"{paper.metric_title(study.task, study.metric)} {study.label}".strip()
        for cells, kind, style in (
            (study.dev, "dev", "-"),
            (study.train, "train", "--"),
        ):
            _draw_layers(axes, cells, f"{name}, {kind}", f"C{number % 6}", style)
        reading = paper.LAYER_TRANSFER.get(study.task)
        if reading:
            axes.plot(
                [0, depth],
                [reading.first, reading.last],
                color=_paper_color(),
                linestyle=":",
                marker="D",
                fillstyle="none",
                label=f"the paper, {reading.title}, of 12 layers",
            )
    ticks = [*([-1] if has_none else []), *range(depth + 1)]
    axes.set_xticks(ticks, ["none" if tick < 0 else str(tick) for tick in ticks])
    axes.set_xlabel("layers transferred")
    axes.set_ylabel("score (percent)")
    figure.legend(loc="outside lower center", ncols=2)


def _draw_layers(
    axes: Axes, cells: Mapping[int, Cell], label: str, color: str, style: str
) -> None:
    """A curve over layers with a bar over seeds, and `none` apart at its left."""
    finished = {n: cell for n, cell in cells.items() if cell.values}
    shown = {n: cell for n, cell in finished.items() if n >= 0}
    nothing = {-1: finished[NOTHING]} if NOTHING in finished else {}
    for part, marker, line in ((shown, "o", style), (nothing, "s", "")):
        if not part:
            continue
        axes.errorbar(
            list(part),
            [100 * cell.median for cell in part.values()],
            yerr=_spread(part.values()),
            color=color,
            marker=marker,
            linestyle=line,
            capsize=3,
            elinewidth=1,
            fillstyle="full" if style == "-" else "none",
            label=label if marker == "o" or not shown else None,
        )


def zero_shot(figure: Figure, found: Sequence[ZeroShot]) -> None:
    """Figure 2, right: a colour a task; Transformer solid, LSTM dashed."""
    axes = figure.subplots()
    colors = {h.task: f"C{place}" for place, h in enumerate(zeroshot.HEURISTICS)}
    all_steps: set[int] = set()
    for one, marker in zip(found, itertools.cycle(_MARKERS)):
        for task in one.tasks():
            steps, values = one.curve(task)
            all_steps.update(steps)
            model = f"{BACKBONES[one.backbone]} {one.label}".strip()
            axes.plot(
                steps,
                values,
                color=colors[task],
                linestyle="--" if one.backbone == "lstm" else "-",
                marker=marker,
                label=f"{zeroshot.named(task).title}, {model}",
            )
    axes.axhline(0, color=_paper_color(), linewidth=0.8)
    ends: dict[str, Any] = {"marker": "<", "markersize": 9, "linestyle": ""}
    at_edge: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "clip_on": False,
    }
    for task in sorted({task for one in found for task in one.tasks()}):
        if (last := zeroshot.named(task).paper_last) is not None:
            axes.plot([1.0], [last], color=colors[task], **ends, **at_edge)
    end = f"the paper's end, after {paper.ZERO_SHOT_LAST_STEP:,} steps"
    axes.plot([], [], color=_paper_color(), label=end, **ends)
    axes.set_xscale("log")
    ticks = _apart(all_steps)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("pre-training steps")
    axes.set_ylabel("0: guessing, 1: the reference")
    figure.legend(loc="outside lower center", ncols=2)


def _apart(steps: Iterable[int]) -> list[int]:
    """Of the steps, from the last, those whose labels do not touch on a log axis."""
    found: list[int] = []
    for step in sorted(steps, reverse=True):
        if step > 0 and (not found or found[-1] >= _LEAST_RATIO * step):
            found.append(step)
    return found[::-1]


def gains(figure: Figure, found: Sequence[Gain], labels: Sequence[str]) -> None:
    """The auxiliary objective's gain against the size of the training set."""
    axes = figure.subplots()
    axes.axhline(0, color=_paper_color(), linewidth=0.8)
    axes.plot(
        [gain.num_train for gain in found],
        [gain.paper for gain in found],
        color=_paper_color(),
        marker="D",
        fillstyle="none",
        linestyle="",
        label="the paper, test",
    )
    for number, label in enumerate(labels):
        mine = [
            (gain.num_train, ours)
            for gain in found
            if (ours := gain.ours[number]) is not None
        ]
        if not mine:
            continue
        axes.plot(
            [num_train for num_train, _ in mine],
            [ours for _, ours in mine],
            color=COLORS[paper.FULL],
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle="",
            label=f"ours {label}".strip() + ", dev",
        )
    axes.set_xscale("log")
    for gain, before in zip(found, [None, *found], strict=False):
        is_near = before and gain.num_train < _LEAST_RATIO * before.num_train
        axes.text(
            gain.num_train,
            1.09 if is_near else 1.0,
            f" {paper.TITLES[gain.task]}",
            transform=axes.get_xaxis_transform(),
            rotation=60,
            fontsize=8,
            ha="left",
            va="bottom",
        )
    axes.set_xlabel("training examples (official)")
    axes.set_ylabel("gain by the auxiliary LM (points)")
    axes.legend()


def overview(figure: Figure, rows: Sequence[tuple[str, PaperScore, Cell]]) -> None:
    """Each result: the best earlier system, the paper's, ours with its spread."""
    axes = figure.subplots()
    places = list(range(len(rows)))[::-1]
    earlier = [score.earlier_percent for _, score, _ in rows]
    theirs = [score.percent for _, score, _ in rows]
    gray: dict[str, Any] = {"color": _paper_color()}
    axes.hlines(places, earlier, theirs, linewidth=1, **gray)
    label = "best earlier system"
    axes.plot(earlier, places, "o", fillstyle="none", label=label, **gray)
    axes.plot(theirs, places, "o", label="the paper", **gray)
    ours = {p: row[-1] for p, row in zip(places, rows, strict=True) if row[-1].values}
    middles = [100 * cell.median for cell in ours.values()]
    axes.errorbar(
        middles,
        list(ours),
        xerr=_spread(ours.values()),
        color=COLORS[paper.FULL],
        marker="D",
        linestyle="",
        capsize=3,
        elinewidth=1,
        label="ours",
    )
    axes.set_yticks(places, [title for title, *_ in rows])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("score (percent)")
    figure.legend(loc="outside lower center", ncols=3)


def _spread(cells: Iterable[Cell]) -> list[list[float]]:
    """How far the least and the greatest are from the median, in percent."""
    return [
        [100 * (cell.median - min(cell.values)) for cell in cells],
        [100 * (max(cell.values) - cell.median) for cell in cells],
    ]
