"""Zero-shot scores against steps of pre-training: Figure 2, right."""

import dataclasses
from collections.abc import Iterable, Sequence

from gpt1_jax.evaluation import zeroshot
from gpt1_jax.reporting import paper, tables
from gpt1_jax.reporting.runs import Run
from gpt1_jax.reporting.tables import NONE, NOT_RUN, Table

BACKBONES = {"transformer": "Transformer", "lstm": "LSTM"}


@dataclasses.dataclass(frozen=True, eq=False)
class ZeroShot:
    """The curves of Figure 2, right, of one model."""

    run: Run
    label: str = ""

    @property
    def backbone(self) -> str:
        """transformer or lstm."""
        return self.run.config.model.backbone

    @property
    def model(self) -> str:
        """`Transformer`, with the run's name where several have this backbone."""
        return ", ".join(filter(None, (BACKBONES[self.backbone], self.label)))

    def tasks(self) -> list[str]:
        """The tasks that were scored."""
        names = [heuristic.task for heuristic in zeroshot.HEURISTICS]
        return [name for name in names if self.curve(name)[0]]

    def curve(self, task: str) -> tuple[list[int], list[float]]:
        """Steps of pre-training, and scores between chance, 0, and the reference, 1."""
        return self.run.series(f"eval/{task}/normalised")


def title(task: str) -> str:
    """The name of a heuristic's task; the task's own name where the paper has none."""
    return paper.ZERO_SHOT_TITLES.get(task) or paper.TITLES.get(task, task)


def _paper_end(task: str) -> str:
    end = paper.ZERO_SHOT_LAST.get(task)
    return NONE if end is None else f"{end:.2f}"


def zero_shots(runs: Iterable[Run]) -> list[ZeroShot]:
    """The models that were scored, with their runs' names if two share a backbone."""
    found = [run for run in runs if run.job == "zeroshot"]
    backbones = [run.config.model.backbone for run in found]
    is_clear = len(set(backbones)) == len(found)
    return [ZeroShot(run, "" if is_clear else run.name) for run in found]


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
                    title(task),
                    one.model,
                    f"{steps[-1]:,}",
                    tables.percent(values[-1]),
                    tables.percent(heuristic.chance),
                    tables.percent(heuristic.reference),
                    f"{scaled[-1]:.2f}".replace("-", "−"),
                    _paper_end(task),
                ]
            )
    if not rows:
        rows = [
            [title(one.task), *[NOT_RUN] * 6, _paper_end(one.task)]
            for one in zeroshot.HEURISTICS
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
        ),
        is_synthetic=is_synthetic,
        num_heads=2,
        emphasised=frozenset(range(len(rows))) if found else frozenset(),
        was_run=bool(found),
    )
