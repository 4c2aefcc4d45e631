"""Zero-shot scores against steps of pre-training: Figure 2, right."""

import dataclasses
from collections.abc import Iterable, Sequence

from gpt1_jax.evaluation import zeroshot
from gpt1_jax.reporting import groups as groups_lib
from gpt1_jax.reporting import tables
from gpt1_jax.reporting.runs import Run
from gpt1_jax.reporting.tables import NONE, NOT_RUN, Table

BACKBONES = {"transformer": "Transformer", "lstm": "LSTM"}


@dataclasses.dataclass(frozen=True, eq=False)
class ZeroShot:
    """The curves of Figure 2, right, of one model."""

    run: Run
    label: str
    differs: str

    @property
    def backbone(self) -> str:
        """transformer or lstm."""
        return self.run.config.model.backbone

    def tasks(self) -> list[str]:
        """The tasks that were scored."""
        names = [heuristic.task for heuristic in zeroshot.HEURISTICS]
        return [name for name in names if self.curve(name)[0]]

    def curve(self, task: str) -> tuple[list[int], list[float]]:
        """Steps of pre-training, and scores between chance, 0, and the reference, 1."""
        return self.run.series(f"eval/{task}/normalised")


def zero_shots(runs: Iterable[Run]) -> list[ZeroShot]:
    """Of each model that was scored, with labels where two have one backbone."""
    found = [run for run in runs if run.job == "zeroshot"]
    backbones = [run.config.model.backbone for run in found]
    if len(set(backbones)) == len(found):
        return [ZeroShot(run, "", "") for run in found]
    differs = groups_lib.differences(
        [{"run": run.name, "init.path": run.config.init.path} for run in found]
    )
    return [
        ZeroShot(run, label, text)
        for run, label, text in zip(found, groups_lib.labels(), differs, strict=False)
    ]


def _paper_last(heuristic: zeroshot.Heuristic) -> str:
    """Returns the value of the paper's last step, if the paper has the task."""
    last = heuristic.paper_last
    return NONE if last is None else f"{last:.2f}"


def table(found: Sequence[ZeroShot], *, is_synthetic: bool) -> Table:
    """The raw scores at each model's last checkpoint."""
    rows = []
    for one in found:
        for task in one.tasks():
            heuristic = zeroshot.named(task)
            steps, values = one.run.series(f"eval/{task}/{heuristic.metric}")
            _, scaled = one.curve(task)
            rows.append(
                [
                    heuristic.title,
                    f"{BACKBONES[one.backbone]} {one.label}".strip(),
                    f"{steps[-1]:,}",
                    tables.percent(values[-1]),
                    tables.percent(heuristic.chance),
                    tables.percent(heuristic.reference),
                    f"{scaled[-1]:.2f}".replace("-", "−"),
                    _paper_last(heuristic),
                ]
            )
    if not rows:
        rows = [
            [heuristic.title, *[NOT_RUN] * 6, _paper_last(heuristic)]
            for heuristic in zeroshot.HEURISTICS
        ]
    return Table(
        "zero-shot",
        "Figure 2, right: zero-shot scores at the last checkpoint",
        (
            *("task", "model", "step", "score", "guessing", "reference"),
            *("on the scale", "paper"),
        ),
        rows,
        notes=(
            "Scores in percent, accuracy or (CoLA) Matthews correlation; the scale is "
            "0 for guessing and 1 for the reference, the best earlier model (the "
            "paper's own references are not stated). The paper's is where its "
            "Transformer ends, read off its figure.",
            *(f"{one.label}: {one.differs}" for one in found if one.label),
        ),
        is_synthetic=is_synthetic,
        num_heads=2,
        emphasised=frozenset(range(len(rows))) if found else frozenset(),
        was_run=bool(found),
    )
