"""Scores against the number of layers transferred: Figure 2, left."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.reporting import figures, paper, tables
from gpt1_jax.reporting import groups as groups_lib
from gpt1_jax.reporting.figures import Picture
from gpt1_jax.reporting.groups import Cell, Half
from gpt1_jax.reporting.page import Block
from gpt1_jax.reporting.scores import Scored
from gpt1_jax.reporting.tables import NONE, Table

NOTHING = -2


@dataclasses.dataclass(frozen=True, eq=False)
class Transfer:
    """A curve of Figure 2, left: cells by number of layers; -2: nothing at all.

    train: {} if the runs scored no training examples.
    """

    task: str
    metric: str
    depth: int
    dev: Mapping[int, Cell]
    train: Mapping[int, Cell]
    label: str = ""

    @property
    def name(self) -> str:
        """The task and metric, and the label if there is one."""
        return tables.joined(paper.metric_title(self.task, self.metric), self.label)


def blocks(half: Half) -> list[Block]:
    """Returns the figure of the curves, and their table."""
    found = transfers(half.scored)
    drawn = [one for one in found if any(cell.values for cell in one.dev.values())]
    picture = Picture(
        "layer-transfer",
        "Score against layers transferred",
        "Medians over seeds, bars from lowest to highest. None: the model's tokenizer "
        "and sizes only; 0: its embeddings too. The paper's: MNLI-m dev from 72 to 82, "
        "RACE dev from 40 to 60, read off its figure.",
        functools.partial(draw, studies=drawn),
    )
    return [picture, table(found)] if drawn else [table(found)]


def transfers(members: Iterable[Scored]) -> list[Transfer]:
    """Returns the studies of layer transfer: runs that differ by layers and seed."""
    studies: dict[Any, list[Scored]] = {}
    for member in members:
        is_tuned = member.run.job == "finetune" and member.split == "dev"
        if is_tuned and member.task in TASKS and not any(member.kind):
            key = member.task, *member.facts.items()
            studies.setdefault(key, []).append(member)
    found = [study for study in studies.values() if _has_part(study)]
    labels = groups_lib.labels(found)
    return [_transfer(study, label) for study, label in zip(found, labels, strict=True)]


def _num_layers(member: Scored) -> int:
    """Returns how many layers a run takes; -2: nothing at all."""
    num_layers = member.trained.init.num_layers
    return member.trained.model.depth if num_layers == -1 else num_layers


def _has_part(study: Sequence[Scored]) -> bool:
    """Returns whether a run takes some layers, neither nothing nor all."""
    layers = {_num_layers(member) for member in study}
    return len(layers) > 1 and bool(layers - {NOTHING, study[0].trained.model.depth})


def _transfer(study: Sequence[Scored], label: str) -> Transfer:
    task, depth = study[0].task, study[0].trained.model.depth
    reading = paper.LAYER_TRANSFER.get(task)
    metric = reading.metric if reading else TASKS[task].metrics[0]
    # The sample of training examples is of all kinds: its metric has no infix.
    train_name = f"train_eval/{metric.rpartition('/')[2]}"
    # Of two runs with one seed, the one that is on both curves counts.
    study = sorted(study, key=lambda member: train_name not in member.run.metrics)
    dev, train = {}, {}
    for num_layers in sorted({_num_layers(member) for member in study}):
        mine = [member for member in study if _num_layers(member) == num_layers]
        dev[num_layers] = groups_lib.cell_of(mine, [metric])
        on_train = [dataclasses.replace(m, scores=m.run.metrics) for m in mine]
        cell = groups_lib.cell_of(on_train, [train_name])
        if cell.values:
            train[num_layers] = cell
    return Transfer(task, metric, depth, dev, train, label)


def table(studies: Sequence[Transfer]) -> Table:
    """Returns Figure 2, left, in numbers, and what can be read off the paper's."""
    rows = [
        [
            study.name,
            "none" if num_layers == NOTHING else f"{num_layers} of {study.depth}",
            tables.score(cell),
            tables.score(study.train[num_layers])
            if num_layers in study.train
            else NONE,
            tables.seeds(cell),
        ]
        for study in studies
        for num_layers, cell in study.dev.items()
    ]
    readings = [
        [f"the paper, {reading.title}", layers, f"{dev:.0f}", train, NONE]
        for reading in paper.LAYER_TRANSFER.values()
        for layers, dev, train in (
            ("0 of 12", reading.first, NONE),
            ("12 of 12", reading.last, f"{reading.train_last:.0f}"),
        )
    ]
    return Table(
        "layer-transfer",
        "Figure 2, left: score against layers transferred",
        ("task", "layers transferred", "dev", "train", "seeds"),
        rows + readings if rows else [],
        missing=[] if rows else readings,
        notes=(
            "In percent. 0: the embeddings only; none: not even these. The paper's "
            "numbers are read off its figure, to about a point.",
        ),
        num_heads=2,
        emphasised=range(len(rows)),
    )


def draw(figure: Figure, studies: Sequence[Transfer]) -> None:
    """Draws dev scores solid and training scores dashed, by layers transferred."""
    axes = figure.subplots()
    depth = max(study.depth for study in studies)
    for number, study in enumerate(studies):
        for cells, kind, line in (
            (study.dev, "dev", "-"),
            (study.train, "train", "--"),
        ):
            label = f"{study.name}, {kind}"
            _draw_cells(axes, cells, label, color=f"C{number % 6}", line=line)
    for task in dict.fromkeys(study.task for study in studies):
        if reading := paper.LAYER_TRANSFER.get(task):
            ends = [reading.first, reading.last]
            label = f"the paper, {reading.title}, of 12 layers"
            axes.plot([0, depth], ends, ":D", label=label, **figures.HOLLOW)
    has_nothing = any(NOTHING in study.dev for study in studies)
    ticks = [*([-1] if has_nothing else []), *range(depth + 1)]
    axes.set_xticks(ticks, ["none" if tick < 0 else str(tick) for tick in ticks])
    axes.set_xlabel("layers transferred")
    axes.set_ylabel("score (percent)")
    figures.legend_below(figure)


def _draw_cells(
    axes: Axes, cells: Mapping[int, Cell], label: str, *, color: str, line: str
) -> None:
    """Draws a curve with bars over seeds; `none` is a point of its own at the left."""
    finished = {n: cell for n, cell in cells.items() if cell.values}
    curve = {n: cell for n, cell in finished.items() if n >= 0}
    fill = "full" if line == "-" else "none"
    style: Any = {"color": color, "fillstyle": fill, "label": label}
    if curve:
        figures.errorbar(axes, list(curve), curve.values(), fmt=f"o{line}", **style)
        style.pop("label")
    if NOTHING in finished:
        figures.errorbar(axes, [-1], [finished[NOTHING]], fmt="s", **style)
