"""Scores against the number of layers transferred: Figure 2, left."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.reporting import groups as groups_lib
from gpt1_jax.reporting import paper, tables
from gpt1_jax.reporting.groups import Cell, Scored
from gpt1_jax.reporting.tables import NONE, NOT_RUN, Table

NOTHING = -2


@dataclasses.dataclass(frozen=True, eq=False)
class Transfer:
    """A curve of Figure 2, left: cells by layers taken over; -2: nothing at all.

    train: {} where the runs did not score training examples.
    """

    task: str
    metric: str
    depth: int
    dev: Mapping[int, Cell]
    train: Mapping[int, Cell]
    label: str = ""
    differs: str = ""


def transfers(members: Iterable[Scored]) -> list[Transfer]:
    """The studies of layer transfer: one task, one setting, part of the layers too."""
    studies: dict[Any, dict[int, dict[int, Scored]]] = {}
    facts = {}
    for member in members:
        config = member.trained
        if member.split != "dev" or member.run.job != "finetune":
            continue
        if config.model.backbone != "transformer" or config.init.path == "none":
            continue
        own = member.facts | {"task.lm_coef": config.task.lm_coef}
        key = member.task, groups_lib.frozen(own)
        facts[key] = own
        num_layers = config.init.num_layers
        num_layers = config.model.depth if num_layers == -1 else num_layers
        by_seed = studies.setdefault(key, {}).setdefault(num_layers, {})
        # Of two that are alike, one being an ablation's, that which is on both curves.
        if config.seed not in by_seed or _scored_training(member):
            by_seed[config.seed] = member
    keys = [key for key in studies if _has_part(studies[key])]
    differs = groups_lib.differences([facts[key] for key in keys])
    labels = groups_lib.labels()
    return [
        _transfer(key[0], studies[key], next(labels) if text else "", text)
        for key, text in zip(keys, differs, strict=True)
    ]


def _scored_training(member: Scored) -> bool:
    return any(name.startswith("train_eval/") for name in member.run.metrics)


def _has_part(study: Mapping[int, Mapping[int, Scored]]) -> bool:
    """Returns whether some run takes over a part, neither nothing nor all."""
    depth = next(iter(next(iter(study.values())).values())).trained.model.depth
    return len(study) > 1 and bool(study.keys() - {NOTHING, depth})


def _transfer(
    task: str, study: Mapping[int, Mapping[int, Scored]], label: str, differs: str
) -> Transfer:
    reading = paper.LAYER_TRANSFER.get(task)
    metric = reading.metric if reading else TASKS[task].metrics[0]
    dev, train, depth = {}, {}, 0
    # The sample of training examples is of all kinds: it has no infix.
    train_name = f"train_eval/{metric.rpartition('/')[2]}"
    for num_layers in sorted(study):
        runs = list(study[num_layers].values())
        depth = runs[0].trained.model.depth
        unfinished = sum(not one.run.is_finished for one in runs)
        dev[num_layers] = Cell(
            tuple(one.scores[metric] for one in runs if metric in one.scores),
            unfinished,
        )
        of_training = [one.run.metrics.get(train_name) for one in runs]
        values = tuple(value for value in of_training if value is not None)
        if values:
            train[num_layers] = Cell(values, unfinished)
    return Transfer(task, metric, depth, dev, train, label, differs)


def table(studies: Sequence[Transfer], *, is_synthetic: bool) -> Table:
    """Figure 2, left, in numbers, and the paper's readings."""
    rows = []
    for study in studies:
        for num_layers, cell in study.dev.items():
            rows.append(
                [
                    _name(study),
                    layers_title(num_layers, study.depth),
                    tables.score(cell),
                    tables.score(study.train[num_layers])
                    if num_layers in study.train
                    else NONE,
                    tables.seeds(cell),
                ]
            )
    if not studies:
        rows.append(["ours", *[NOT_RUN] * 4])
    readings = [
        [f"the paper, {reading.title}", layers, f"{dev:.0f}", train, NONE]
        for reading in paper.LAYER_TRANSFER.values()
        for layers, dev, train in (
            ("0 of 12", reading.first, NONE),
            ("12 of 12", reading.last, f"{reading.train_last:.0f}"),
        )
    ]
    legend = [f"{s.label}: {s.differs}" for s in studies if s.label]
    return Table(
        "layer-transfer",
        "Figure 2, left: score against layers transferred",
        ("task", "layers transferred", "dev", "train", "seeds"),
        rows + readings,
        notes=(
            "In percent. 0: the embeddings only; none: not even these. The paper's "
            "numbers are read off its figure, to about a point.",
            *legend,
        ),
        is_synthetic=is_synthetic,
        num_heads=2,
        emphasised=frozenset(range(len(rows))) if studies else frozenset(),
        was_run=bool(studies),
    )


def _name(study: Transfer) -> str:
    return f"{paper.metric_title(study.task, study.metric)} {study.label}".strip()


def layers_title(num_layers: int, depth: int) -> str:
    """`none` or `2 of 4`."""
    return "none" if num_layers == NOTHING else f"{num_layers} of {depth}"
