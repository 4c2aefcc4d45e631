"""What the report says: runs -> summary, headlines, sections.

Official and synthetic data never share a table or a figure.
"""

import functools
from collections.abc import Callable, Sequence

from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.reporting import (
    drawings,
    figures,
    gains,
    paper,
    pretraining,
    results,
    run_facts,
    summary,
    transfer,
    zero_shot,
)
from gpt1_jax.reporting import groups as groups_lib
from gpt1_jax.reporting.figures import Picture
from gpt1_jax.reporting.page import Page, Section
from gpt1_jax.reporting.runs import Damaged, Run
from gpt1_jax.reporting.summary import Half
from gpt1_jax.reporting.tables import NOT_RUN, Table

_TITLES = {
    2: "natural language inference",
    3: "question answering and commonsense reasoning",
    4: "classification, similarity, and GLUE",
}


def build(
    runs: Sequence[Run], damaged: Sequence[Damaged], warnings: Sequence[str]
) -> Page:
    """The report of all runs."""
    scored, more = groups_lib.scored(runs)
    halves = [
        Half(
            [run for run in runs if run.is_synthetic == is_synthetic],
            [one for one in scored if one.run.is_synthetic == is_synthetic],
            is_synthetic,
        )
        for is_synthetic in (False, True)
    ]
    sections = [
        _section("pretraining", "Pre-training", halves, _pretraining),
        _section("results", "Results: Tables 2 to 4", halves, _results),
        _section("ablations", "Ablations: Table 5", halves, _ablations),
        _section("transfer", "Layers transferred: Figure 2, left", halves, _transfer),
        _section("zero-shot", "Zero-shot: Figure 2, right", halves, _zero_shot),
        _section("curves", "Learning curves of fine-tuning", halves, _curves),
        _run_facts(runs, damaged),
        Section("tasks", "Tasks: Table 1", [results.tasks_table()]),
    ]
    return Page(
        "GPT-1, reproduced",
        summary.lines(runs, damaged, halves),
        [headline for half in halves for headline in summary.headlines(half)],
        [*warnings, *more],
        sections,
    )


def _section(
    name: str,
    title: str,
    halves: Sequence[Half],
    make: Callable[..., list[Table | Picture]],
) -> Section:
    """Returns what `make` has of both halves, or a section that was not run."""
    blocks = [block for half in halves for block in make(half)]
    if blocks:
        return Section(name, title, blocks)
    blocks = make(Half([], [], False), is_empty=True)
    return Section(name, title, blocks, "" if blocks else f"{NOT_RUN.capitalize()}.")


def _pretraining(half: Half, *, is_empty: bool = False) -> list[Table | Picture]:
    runs = half.of_job("pretrain")
    if not runs and not is_empty:
        return []
    blocks: list[Table | Picture] = [
        pretraining.table(runs, is_synthetic=half.is_synthetic)
    ]
    shown = [
        run
        for run in runs
        if any(run.series(name)[0] for name in ("train/loss", "eval/loss"))
    ]
    if shown:
        blocks.append(
            figures.picture(
                "pretraining",
                "Loss over pre-training",
                "Lines: training loss, faint as logged, strong as a moving mean; "
                "points: held-out loss.",
                functools.partial(drawings.pretraining, runs=shown),
                is_synthetic=half.is_synthetic,
            )
        )
    return blocks


def _results(half: Half, *, is_empty: bool = False) -> list[Table | Picture]:
    if not half.of_paper and not is_empty:
        return []
    blocks: list[Table | Picture] = []
    if half.of_paper and not half.is_synthetic:
        blocks.append(_overview(half))
    for number, title in _TITLES.items():
        blocks.append(
            results.scores_table(
                number, title, half.of_paper, is_synthetic=half.is_synthetic
            )
        )
    return blocks


def _overview(half: Half) -> Picture:
    """Tables 2 to 4 at a glance, of the first group."""
    group = half.of_paper[0]
    rows = [
        (
            paper.metric_title(task, score.metric),
            score,
            group.cell(paper.FULL, task, score.metric),
        )
        for number in _TITLES
        for task, score in paper.scores_of(f"Table {number}")
    ]
    of = f", {group.label}" if group.label else ""
    return figures.picture(
        "overview",
        "All results at a glance",
        f"Ours{of}: median and range over seeds, on dev; the others on test sets.",
        functools.partial(drawings.overview, rows=rows),
        size=(7.6, 5.6),
    )


def _ablations(half: Half, *, is_empty: bool = False) -> list[Table | Picture]:
    if not half.groups and not is_empty:
        return []
    mark = half.is_synthetic
    blocks: list[Table | Picture] = list(
        results.ablations_tables(half.groups, is_synthetic=mark)
    )
    found = gains.gains(half.groups)
    has_gain = any(ours is not None for gain in found for ours in gain.ours)
    if has_gain and not mark:
        labels = [group.label for group in half.groups]
        blocks.append(
            figures.picture(
                "auxiliary-gain",
                "What the auxiliary objective gains, by size of the training set",
                "Full less without the auxiliary LM (Table 5); the paper reads it as "
                "larger sets benefiting.",
                functools.partial(drawings.gains, found=found, labels=labels),
            )
        )
    if has_gain or is_empty or not mark:
        blocks.append(gains.table(half.groups, is_synthetic=mark))
    return blocks


def _transfer(half: Half, *, is_empty: bool = False) -> list[Table | Picture]:
    found = transfer.transfers(half.scored)
    if not found and not is_empty:
        return []
    blocks: list[Table | Picture] = []
    drawn = [one for one in found if any(cell.values for cell in one.dev.values())]
    if drawn:
        blocks.append(
            figures.picture(
                "layer-transfer",
                "Score against layers transferred",
                "Medians over seeds, bars from least to greatest. None: the model's "
                "tokenizer and sizes only; 0: its embeddings too. The paper's: MNLI-m "
                "dev from 72 to 82, RACE dev from 40 to 60, read off its figure.",
                functools.partial(drawings.transfer, studies=drawn),
                is_synthetic=half.is_synthetic,
            )
        )
    return [*blocks, transfer.table(found, is_synthetic=half.is_synthetic)]


def _zero_shot(half: Half, *, is_empty: bool = False) -> list[Table | Picture]:
    found = [one for one in zero_shot.zero_shots(half.runs) if one.tasks()]
    if not found and not is_empty:
        return []
    blocks: list[Table | Picture] = []
    if found:
        blocks.append(
            figures.picture(
                "zero-shot",
                "Zero-shot scores over pre-training",
                "0 is guessing, 1 the best earlier model. Solid: Transformer, dashed: "
                "LSTM. At the right edge, where the paper's Transformer ends.",
                functools.partial(drawings.zero_shot, found=found),
                size=(7.6, 5.0),
                is_synthetic=half.is_synthetic,
            )
        )
    return [*blocks, zero_shot.table(found, is_synthetic=half.is_synthetic)]


def _curves(half: Half, *, is_empty: bool = False) -> list[Table | Picture]:
    """The training loss and the dev scores of each task."""
    blocks: list[Table | Picture] = []
    losses = _panels(half, lambda task: "train/task_loss")
    scores = _panels(half, lambda task: f"eval/{TASKS[task].metrics[0]}")
    for name, title, panels, ylabel, is_smooth in (
        ("task-loss", "Training loss of the task", losses, "nats per example", True),
        ("dev-scores", "Dev score of the task's first metric", scores, "score", False),
    ):
        if panels:
            draw = functools.partial(
                drawings.panels, curves=panels, ylabel=ylabel, is_smooth=is_smooth
            )
            blocks.append(
                figures.picture(
                    name,
                    title,
                    "A line for each run, a point for a run with one value."
                    + (" Moving means." if is_smooth else ""),
                    draw,
                    size=drawings.panels_size(len(panels)),
                    is_synthetic=half.is_synthetic,
                )
            )
    return blocks


def _panels(half: Half, metric: Callable[[str], str]) -> dict[str, drawings.Curves]:
    """Returns the series of each task's runs, by variant and group."""
    panels: dict[str, dict[tuple[str, str], list]] = {}
    members = [
        (member, (variant, group.label))
        for variant in paper.ABLATIONS
        for group in half.groups
        for member in group.members
        if member.variant == variant and member.run.job == "finetune"
    ]
    for member, name in members:
        series = member.run.series(metric(member.task))
        if series[0]:
            panel = panels.setdefault(paper.TITLES[member.task], {})
            panel.setdefault(name, []).append(series)
    order = [paper.TITLES[task] for task in TASKS]
    return {title: panels[title] for title in order if title in panels}


def _run_facts(runs: Sequence[Run], damaged: Sequence[Damaged]) -> Section:
    found = run_facts.facts_tables(runs, damaged)
    text = (
        "Each run's config as far as it is not that of most runs of its job; wall time "
        "of the process that finished it; tokens per second, the median of the logged "
        "steps."
    )
    return Section("runs", "Runs", found, text, is_folded=True)
