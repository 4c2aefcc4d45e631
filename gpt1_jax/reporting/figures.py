"""The figures, each for a bright page and a dark one: PNG files' bytes.

They draw what reporting.studies and reporting.results found, and decide nothing.
"""

import dataclasses
import io
import itertools
from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gpt1_jax.reporting import paper, tables
from gpt1_jax.reporting.groups import Cell
from gpt1_jax.reporting.runs import Run
from gpt1_jax.reporting.studies import BACKBONES, Gain, Transfer, ZeroShot

_BRIGHT = {
    "figure.facecolor": "#ffffff",
    "axes.facecolor": "#ffffff",
    "text.color": "#1c1e21",
    "axes.labelcolor": "#1c1e21",
    "xtick.color": "#55585e",
    "ytick.color": "#55585e",
    "axes.edgecolor": "#9a9da3",
    "grid.color": "#e6e7ea",
    "patch.edgecolor": "#6b6f76",  # what is the paper's
}
_DARK = {
    "figure.facecolor": "#16181c",
    "axes.facecolor": "#16181c",
    "text.color": "#e6e7ea",
    "axes.labelcolor": "#e6e7ea",
    "xtick.color": "#b3b6bc",
    "ytick.color": "#b3b6bc",
    "axes.edgecolor": "#6b6f76",
    "grid.color": "#2c2f35",
    "patch.edgecolor": "#9a9da3",
}
# Wong 2011, told apart by the colour-blind; bright enough for a dark page.
_BRIGHT_COLORS = ("#0072b2", "#d55e00", "#009e73", "#b8579a", "#a67c00", "#3aa0d8")
_DARK_COLORS = ("#56b4e9", "#f08a4b", "#2fc795", "#e08cc2", "#e3b341", "#8fb8ff")
_WARNING = {"bright": "#a14a00", "dark": "#f0a35e"}
_SHARED = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}
_SMOOTHED_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure: name without .png, caption, and the file's bytes for both pages."""

    name: str
    title: str
    caption: str
    bright: bytes
    dark: bytes
    is_synthetic: bool = False


def picture(
    name: str,
    title: str,
    caption: str,
    draw: Callable[[Figure], None],
    *,
    size: tuple[float, float] = (7.6, 4.2),
    is_synthetic: bool = False,
) -> Picture:
    """`draw` on an empty figure, twice. A synthetic one says so within the image."""

    def render(style: Mapping, colors: Sequence[str], page: str) -> bytes:
        cycle = matplotlib.cycler(color=colors)
        with matplotlib.rc_context({**_SHARED, **style, "axes.prop_cycle": cycle}):
            figure = Figure(figsize=size, layout="constrained")
            draw(figure)
            if is_synthetic:
                figure.suptitle(
                    tables.SYNTHETIC,
                    x=0.99,
                    ha="right",
                    fontsize=9,
                    weight="bold",
                    color=_WARNING[page],
                )
            FigureCanvasAgg(figure)
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
            return file.getvalue()

    suffix = "-synthetic" if is_synthetic else ""
    return Picture(
        f"{name}{suffix}",
        title,
        caption,
        render(_BRIGHT, _BRIGHT_COLORS, "bright"),
        render(_DARK, _DARK_COLORS, "dark"),
        is_synthetic,
    )


def _paper_color() -> str:
    return matplotlib.rcParams["patch.edgecolor"]


def _smoothed(
    steps: Sequence[float], values: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of as many values around each as a twentieth of them, an odd number."""
    width = 1 + 2 * round(len(values) * _SMOOTHED_SHARE / 2)
    middle = np.asarray(steps)[width // 2 : len(steps) - width // 2]
    return middle, np.convolve(values, np.full(width, 1 / width), mode="valid")


def draw_pretraining(figure: Figure, runs: Sequence[Run]) -> None:
    """Loss against tokens seen: training's as a line, held-out as points."""
    axes = figure.subplots()
    for number, run in enumerate(runs):
        color = f"C{number % 6}"
        per_step = run.config.train.batch_size * run.config.model.context_length / 1e6
        steps, losses = run.series("train/loss")
        if steps:
            tokens = np.array(steps) * per_step
            axes.plot(tokens, losses, color=color, alpha=0.25, linewidth=0.8)
            axes.plot(*_smoothed(tokens, losses), color=color, label=run.name)
        steps, losses = run.series("eval/loss")
        if steps:
            axes.plot(
                np.array(steps) * per_step,
                losses,
                color=color,
                marker="o",
                markeredgecolor=matplotlib.rcParams["axes.facecolor"],
                markersize=7,
                linewidth=0,
                label="held-out" if number == len(runs) - 1 else None,
                zorder=4,
            )
    axes.set_xlabel("training tokens seen (millions)")
    axes.set_ylabel("loss (nats per token)")
    axes.set_xlim(left=0)
    if any(run.series("train/loss")[0] or run.series("eval/loss")[0] for run in runs):
        axes.legend()


# Of each curve: its name, and by run the steps and the values.
Curves = Mapping[str, Sequence[tuple[Sequence[int], Sequence[float]]]]


def draw_panels(
    figure: Figure, panels: Mapping[str, Curves], ylabel: str, *, smooth: bool
) -> None:
    """A panel a task, a colour a curve, a thin line a run."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    grid = figure.subplots(rows, columns, squeeze=False)
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    handles = {}
    for axes, (title, curves) in zip(grid.flat, panels.items(), strict=False):
        for name, runs in curves.items():
            color = f"C{names.index(name) % 6}"
            for steps, values in runs:
                shown = _smoothed(steps, values) if smooth else (steps, values)
                (handles[name],) = axes.plot(
                    *shown,
                    color=color,
                    linewidth=1.4 if len(runs) == 1 else 1.0,
                    alpha=1.0 if len(runs) == 1 else 0.75,
                    marker="" if smooth else ".",
                )
        axes.set_title(title)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figure.supxlabel("fine-tuning step", fontsize=10)
    figure.supylabel(ylabel, fontsize=10)
    figure.legend(
        [handles[name] for name in names],
        names,
        loc="outside lower center",
        ncols=min(3, len(names)),
    )


def panels_size(number: int) -> tuple[float, float]:
    """The size of a figure of so many panels."""
    return 7.6, 1.1 + 1.9 * -(-number // 3)


def draw_transfer(figure: Figure, studies: Sequence[Transfer]) -> None:
    """Figure 2, left: dev solid, train dashed; nothing transferred as `none`."""
    axes = figure.subplots()
    depth = max(study.depth for study in studies)
    has_none = any(-2 in study.dev for study in studies)
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
    axes.legend()


def _draw_layers(
    axes: Axes, cells: Mapping[int, Cell], label: str, color: str, style: str
) -> None:
    """A curve over layers with a bar over seeds, and `none` apart at its left."""
    finished = {n: cell for n, cell in cells.items() if cell.values}
    shown = {n: cell for n, cell in finished.items() if n >= 0}
    for part, marker, line in ((shown, "o", style), ({-1: finished.get(-2)}, "s", "")):
        part = {x: cell for x, cell in part.items() if cell}
        if not part:
            continue
        middles = [100 * cell.median for cell in part.values()]
        below = [100 * (cell.median - min(cell.values)) for cell in part.values()]
        above = [100 * (max(cell.values) - cell.median) for cell in part.values()]
        axes.errorbar(
            list(part),
            middles,
            yerr=[below, above],
            color=color,
            marker=marker,
            linestyle=line,
            capsize=3,
            elinewidth=1,
            fillstyle="full" if style == "-" else "none",
            label=label if marker == "o" or not shown else None,
        )


def draw_zero_shot(figure: Figure, found: Sequence[ZeroShot]) -> None:
    """Figure 2, right: a colour a task; Transformer solid, LSTM dashed."""
    axes = figure.subplots()
    tasks = list(dict.fromkeys(task for one in found for task in one.tasks()))
    markers = itertools.cycle("os^vDP")
    last = 1
    for one in found:
        style = "--" if one.backbone == "lstm" else "-"
        marker = next(markers)
        for task in one.tasks():
            steps, values = one.curve(task)
            last = max(last, *steps)
            axes.plot(
                steps,
                values,
                color=f"C{tasks.index(task)}",
                linestyle=style,
                marker=marker,
                label=f"{paper.ZERO_SHOT_TITLES[task]}, "
                f"{BACKBONES[one.backbone]} {one.label}".strip(),
            )
    axes.set_xscale("log")
    axes.axhline(0, color=_paper_color(), linewidth=0.8)
    edge = axes.get_yaxis_transform()
    for task in tasks:
        axes.plot(
            [1.0],
            [paper.ZERO_SHOT_LAST[task]],
            color=f"C{tasks.index(task)}",
            marker="<",
            markersize=9,
            transform=edge,
            clip_on=False,
            linestyle="",
        )
    axes.plot(
        [],
        [],
        color=_paper_color(),
        marker="<",
        markersize=9,
        linestyle="",
        label=f"the paper's end, after {paper.ZERO_SHOT_LAST_STEP:,} steps",
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.set_xlabel("pre-training steps")
    axes.set_ylabel("0: guessing, 1: the reference")
    figure.legend(loc="outside lower center", ncols=2)


def draw_gains(figure: Figure, gains: Sequence[Gain], labels: Sequence[str]) -> None:
    """The auxiliary objective's gain against the size of the training set."""
    axes = figure.subplots()
    sizes = [gain.num_train for gain in gains]
    axes.axhline(0, color=_paper_color(), linewidth=0.8)
    axes.plot(
        sizes,
        [gain.paper for gain in gains],
        color=_paper_color(),
        marker="D",
        fillstyle="none",
        linestyle=":",
        label="the paper, test",
    )
    for number, label in enumerate(labels):
        mine = [
            (g.num_train, g.ours[number]) for g in gains if g.ours[number] is not None
        ]
        if mine:
            name = f"ours {label}".strip()
            axes.plot(
                *zip(*mine, strict=True),
                color=f"C{number % 6}",
                marker="o",
                linestyle="",
                label=f"{name}, dev",
            )
    axes.set_xscale("log")
    top = axes.get_xaxis_transform()
    for gain in gains:
        axes.text(
            gain.num_train,
            1.0,
            f" {paper.TITLES[gain.task]}",
            transform=top,
            rotation=60,
            fontsize=8,
            ha="left",
            va="bottom",
        )
    axes.set_xlabel("training examples (official)")
    axes.set_ylabel("gain by the auxiliary LM (points)")
    axes.legend()


def draw_overview(
    figure: Figure, rows: Sequence[tuple[str, float, float, Cell]]
) -> None:
    """Each result: the best earlier system, the paper's, ours with its spread."""
    axes = figure.subplots()
    places = range(len(rows))[::-1]
    earlier, theirs = [row[1] for row in rows], [row[2] for row in rows]
    axes.hlines(places, earlier, theirs, color=_paper_color(), linewidth=1)
    axes.plot(
        earlier,
        places,
        "o",
        color=_paper_color(),
        fillstyle="none",
        label="best earlier system",
    )
    axes.plot(theirs, places, "o", color=_paper_color(), label="the paper")
    ours = [
        (place, row[3])
        for place, row in zip(places, rows, strict=True)
        if row[3].values
    ]
    if ours:
        middles = [100 * cell.median for _, cell in ours]
        axes.errorbar(
            middles,
            [place for place, _ in ours],
            xerr=[
                [100 * (cell.median - min(cell.values)) for _, cell in ours],
                [100 * (max(cell.values) - cell.median) for _, cell in ours],
            ],
            color="C0",
            marker="D",
            linestyle="",
            capsize=3,
            label="ours",
        )
    axes.set_yticks(list(places), [row[0] for row in rows])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("score (percent)")
    figure.legend(loc="outside lower center", ncols=3)
