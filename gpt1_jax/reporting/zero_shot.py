"""Zero-shot scores against steps of pre-training: Figure 2, right."""

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.figure import Figure

from gpt1_jax.evaluation import zeroshot
from gpt1_jax.evaluation.zeroshot import Heuristic
from gpt1_jax.reporting import figures, paper, tables
from gpt1_jax.reporting.figures import Picture
from gpt1_jax.reporting.groups import Half
from gpt1_jax.reporting.page import Block
from gpt1_jax.reporting.runs import Run
from gpt1_jax.reporting.tables import NONE, NOT_RUN, Table

_BACKBONES = {"transformer": "Transformer", "lstm": "LSTM"}


@dataclasses.dataclass(frozen=True, eq=False)
class ZeroShot:
    """The curves of Figure 2, right, of one model; `label` names its run if needed."""

    run: Run
    label: str = ""

    @property
    def is_lstm(self) -> bool:
        """Returns whether the model is an LSTM."""
        return self.run.config.model.backbone == "lstm"

    @property
    def model(self) -> str:
        """The model's name, as `Transformer`."""
        return tables.joined(_BACKBONES[self.run.config.model.backbone], self.label)

    def tasks(self) -> list[str]:
        """Returns the tasks that were scored."""
        names = [heuristic.task for heuristic in zeroshot.HEURISTICS]
        return [name for name in names if self.curve(name)[0]]

    def curve(self, task: str) -> tuple[list[int], list[float]]:
        """Returns steps of pre-training, and scores from 0, chance, to 1, reference."""
        return self.run.series(f"eval/{task}/normalised")


def blocks(half: Half) -> list[Block]:
    """Returns the figure of the curves, and the table of their ends."""
    found = zero_shots(half.runs)
    picture = Picture(
        "zero-shot",
        "Zero-shot scores over pre-training",
        "0 is guessing, 1 the best earlier model. Solid: Transformer; dashed: LSTM. At "
        "the right edge: where the paper's Transformer ends.",
        functools.partial(draw, found=found),
        size=(7.6, 5.0),
    )
    return [picture, table(found)] if found else [table(found)]


def zero_shots(runs: Iterable[Run]) -> list[ZeroShot]:
    """Returns the scored models, with their runs' names if two have one backbone."""
    found = [ZeroShot(run) for run in runs if run.job == "zeroshot"]
    if len({one.is_lstm for one in found}) < len(found):
        found = [ZeroShot(one.run, one.run.name) for one in found]
    return [one for one in found if one.tasks()]


def table(found: Sequence[ZeroShot]) -> Table:
    """Returns the scores at each model's last checkpoint."""
    scored = {task for one in found for task in one.tasks()}
    return Table(
        "zero-shot",
        "Figure 2, right: zero-shot scores at the last checkpoint",
        [
            *("task", "model", "step", "score", "guessing", "reference"),
            *("on the scale", "paper"),
        ],
        [_row(one, zeroshot.named(task)) for one in found for task in one.tasks()],
        missing=[
            [heuristic.title, *[NOT_RUN] * 6, _paper_last(heuristic)]
            for heuristic in zeroshot.HEURISTICS
            if heuristic.task not in scored
        ],
        notes=(
            "Scores in percent: accuracy, or Matthews correlation for CoLA. On the "
            "scale 0 is guessing and 1 the reference, the best earlier model (the "
            "paper does not state its own references). The paper's number is where its "
            "Transformer ends, read off its figure.",
        ),
        num_heads=2,
        emphasised=range(sum(len(one.tasks()) for one in found)),
    )


def _row(one: ZeroShot, heuristic: Heuristic) -> list[str]:
    steps, values = one.run.series(f"eval/{heuristic.task}/{heuristic.metric}")
    _, scaled = one.curve(heuristic.task)
    return [
        *(heuristic.title, one.model, f"{steps[-1]:,}"),
        tables.percent(values[-1]),
        tables.percent(heuristic.chance),
        tables.percent(heuristic.reference),
        f"{scaled[-1]:.2f}".replace("-", "−"),
        _paper_last(heuristic),
    ]


def _paper_last(heuristic: Heuristic) -> str:
    """Returns the value of the paper's last step, if the paper has the task."""
    last = heuristic.paper_last
    return NONE if last is None else f"{last:.2f}"


def draw(figure: Figure, found: Sequence[ZeroShot]) -> None:
    """Draws a colour for each task; Transformers are solid, LSTMs dashed."""
    axes = figure.subplots()
    colors = {h.task: f"C{place}" for place, h in enumerate(zeroshot.HEURISTICS)}
    all_steps: set[int] = set()
    for one, marker in zip(found, itertools.cycle(figures.MARKERS)):
        line = f"{marker}--" if one.is_lstm else f"{marker}-"
        for task in one.tasks():
            steps, values = one.curve(task)
            all_steps.update(steps)
            label = f"{zeroshot.named(task).title}, {one.model}"
            axes.plot(steps, values, line, color=colors[task], label=label)
    axes.axhline(0, linewidth=0.8, **figures.PAPER)
    at_edge: Any = {"transform": axes.get_yaxis_transform(), "clip_on": False}
    for task in sorted({task for one in found for task in one.tasks()}):
        if (last := zeroshot.named(task).paper_last) is not None:
            axes.plot([1], [last], "<", color=colors[task], markersize=9, **at_edge)
    label = f"the paper's end, after {paper.ZERO_SHOT_LAST_STEP:,} steps"
    axes.plot([], [], "<", label=label, markersize=9, **figures.PAPER)
    axes.set_xscale("log")
    ticks = _separate(all_steps)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("pre-training steps")
    axes.set_ylabel("0: guessing, 1: the reference")
    figures.legend_below(figure)


def _separate(steps: Iterable[int]) -> list[int]:
    """Returns steps, from the last one, whose labels do not touch on a log axis."""
    found: list[int] = []
    for step in sorted(steps, reverse=True):
        if step > 0 and (not found or found[-1] >= figures.LEAST_RATIO * step):
            found.append(step)
    return found[::-1]
