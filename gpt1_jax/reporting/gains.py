"""What the auxiliary objective gains, against the size of the training set (Sec. 5)."""

import dataclasses
from collections.abc import Sequence

from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.reporting import paper, results, tables
from gpt1_jax.reporting.groups import Group
from gpt1_jax.reporting.tables import NOT_RUN, Table


@dataclasses.dataclass(frozen=True)
class Gain:
    """The auxiliary objective's on a task, in points; `ours` by group."""

    task: str
    num_train: int
    paper: float
    ours: tuple[float | None, ...]


def gains(groups: Sequence[Group]) -> list[Gain]:
    """What the full model has over the one without, by size of the training set."""
    found = []
    for task in paper.COLUMNS["Table 5"]:
        full, without = (
            paper.ABLATIONS[name].percent[task]
            for name in (paper.FULL, paper.NO_AUXILIARY)
        )
        ours = tuple(_gain(group, task) for group in groups)
        size = TASKS[task].num_examples["train"]
        found.append(Gain(task, size, full - without, ours))
    return sorted(found, key=lambda gain: gain.num_train)


def _gain(group: Group, task: str) -> float | None:
    full, without = (
        results.ablation_cell(group, name, task)
        for name in (paper.FULL, paper.NO_AUXILIARY)
    )
    if not full.values or not without.values:
        return None
    return 100 * (full.median - without.median)


def table(groups: Sequence[Group], *, is_synthetic: bool) -> Table:
    """The gains in numbers."""
    found = gains(groups)
    shown = [
        n for n, g in enumerate(groups) if any(one.ours[n] is not None for one in found)
    ]
    columns = [", ".join(filter(None, ("ours", groups[n].label))) for n in shown] or [
        "ours"
    ]
    rows = []
    for gain in found:
        ours = [gain.ours[n] for n in shown] or [None]
        rows.append(
            [
                paper.TITLES[gain.task],
                *([] if is_synthetic else [f"{gain.num_train:,}"]),
                tables.signed(gain.paper),
                *(NOT_RUN if x is None else tables.signed(x) for x in ours),
            ]
        )
    size = (
        "storyworld's tasks are all of one size: there is nothing to see of a trend."
        if is_synthetic
        else "Sizes are of the official training sets, however many of the examples "
        "a run has seen."
    )
    return Table(
        "auxiliary-gain",
        "What the auxiliary objective gains, in points",
        ("task", *([] if is_synthetic else ["training examples"]), "paper", *columns),
        rows,
        notes=(
            "The full model's score of Table 5 less that without the auxiliary LM. The "
            f"paper: larger data sets benefit, smaller do not (Sec. 5). {size}",
            *results.legend([groups[n] for n in shown]),
        ),
        is_synthetic=is_synthetic,
        was_run=bool(shown),
    )
