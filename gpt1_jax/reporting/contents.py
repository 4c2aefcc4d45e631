"""What the report says: runs -> summary, headlines, sections.

Official and synthetic data never share a table or a figure.
"""

import dataclasses
import functools
from collections.abc import Sequence

from gpt1_jax import terminal
from gpt1_jax.data.task_rows import TASKS
from gpt1_jax.reporting import figures, paper, results, run_facts, studies, tables
from gpt1_jax.reporting import groups as groups_lib
from gpt1_jax.reporting.figures import Picture
from gpt1_jax.reporting.groups import Group, Scored
from gpt1_jax.reporting.page import Headline, Page, Section
from gpt1_jax.reporting.runs import Damaged, Run
from gpt1_jax.reporting.tables import Table

_TITLES = {
    2: "natural language inference",
    3: "question answering and commonsense reasoning",
    4: "classification, similarity, and GLUE",
}


@dataclasses.dataclass(frozen=True, eq=False)
class _Half:
    """All that is on official data, or all that is on synthetic data."""

    runs: Sequence[Run]
    scored: Sequence[Scored]
    is_synthetic: bool

    def of_job(self, job: str) -> list[Run]:
        """The runs of a job."""
        return [run for run in self.runs if run.job == job]

    @functools.cached_property
    def groups(self) -> list[Group]:
        """The fine-tuned scores that may share cells."""
        return groups_lib.group(m for m in self.scored if m.variant)

    @functools.cached_property
    def of_paper(self) -> list[Group]:
        """The groups that have the paper's own model, for Tables 2 to 4."""
        return [group for group in self.groups if group.has(paper.FULL)]


def build(
    runs: Sequence[Run], damaged: Sequence[Damaged], warnings: Sequence[str]
) -> Page:
    """The report of all runs."""
    scored, more = groups_lib.scored(runs)
    halves = [
        _Half(
            [run for run in runs if run.is_synthetic == is_synthetic],
            [one for one in scored if one.run.is_synthetic == is_synthetic],
            is_synthetic,
        )
        for is_synthetic in (False, True)
    ]
    sections = [
        _tasks(),
        _section("pretraining", "Pre-training", halves, _pretraining),
        _section("results", "Results: Tables 2 to 4", halves, _results),
        _section("ablations", "Ablations: Table 5", halves, _ablations),
        _section("transfer", "Layers transferred: Figure 2, left", halves, _transfer),
        _section("zero-shot", "Zero-shot: Figure 2, right", halves, _zero_shot),
        _section("curves", "Learning curves of fine-tuning", halves, _curves),
        _run_facts(runs, damaged),
    ]
    return Page(
        "GPT-1, reproduced",
        _summary(runs, damaged, halves),
        [headline for half in halves for headline in _headlines(half)],
        [*warnings, *more],
        sections,
    )


def _section(name, title, halves, make) -> Section:
    """What `make` gives of each half that has something; of the official if neither."""
    made = [make(half) for half in halves if half.runs]
    blocks = [block for blocks in made for block in blocks]
    return Section(name, title, blocks or make(_Half([], [], False), is_empty=True))


def _summary(
    runs: Sequence[Run], damaged: Sequence[Damaged], halves: Sequence[_Half]
) -> list[str]:
    """What was run, on what, for how long."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.job] = counts.get(run.job, 0) + 1
    jobs = ", ".join(f"{count} x {job}" for job, count in counts.items())
    finished = [run for run in runs if run.is_finished]
    kinds = dict.fromkeys(filter("–".__ne__, map(run_facts.devices, finished)))
    seconds = sum(run.result.get("seconds", 0) for run in finished)
    lines = [
        f"{len(runs)} runs: {jobs or 'none can be read'}. {len(finished)} have "
        f"finished, {terminal.duration(seconds)} of wall time together, on "
        f"{' and on '.join(kinds) or 'no device'}."
    ]
    official, synthetic = (len(half.runs) for half in halves)
    if synthetic:
        lines.append(
            f"{synthetic} of the runs are on storyworld, the built-in data, which is "
            "synthetic: their numbers show that the machinery works and what transfers "
            "there, nothing about English. They stand in tables of their own, marked."
        )
    if not official:
        lines.append("Nothing was run on official data.")
    unfinished = len(runs) - len(finished)
    if unfinished or damaged:
        lines.append(f"Not finished: {unfinished}; damaged: {len(damaged)}.")
    return lines


def _headlines(half: _Half) -> list[Headline]:
    """The numbers that a reader looks for first, those that there are."""
    found = []
    mark = half.is_synthetic
    perplexities = [
        run.metrics["eval/perplexity"]
        for run in half.of_job("pretrain")
        if "eval/perplexity" in run.metrics
    ]
    if perplexities:
        beside = "another corpus" if not mark else "on books"
        found.append(
            Headline(
                f"{min(perplexities):.1f}",
                "held-out perplexity" + (", the best run" * (len(perplexities) > 1)),
                f"paper {paper.PERPLEXITY}, {beside}",
                mark,
            )
        )
    for group in half.of_paper:
        cells = results.glue_cells(group).values()
        if all(cell.values for cell in cells):
            score = results.glue_score([cell.median] for cell in cells)
            what = f"GLUE score, dev {group.label}".strip()
            beside = f"paper {paper.GLUE.percent}, test"
            found.append(Headline(tables.percent(score), what, beside, mark))
    for group in half.groups:
        found += _gain_of_pretraining(group, mark)
    return found


def _gain_of_pretraining(group: Group, mark: bool) -> list[Headline]:
    """Full against no pre-training, on the tasks that have both."""
    pairs = []
    for task in paper.COLUMNS["Table 5"]:
        full, without = (
            results.ablation_cell(group, name, task)
            for name in (paper.FULL, paper.NO_PRETRAINING)
        )
        if full.values and without.values:
            pairs.append((full.median, without.median, task))
    if not pairs:
        return []
    gain = 100 * sum(full - without for full, without, _ in pairs) / len(pairs)
    theirs = [
        paper.ABLATIONS[paper.FULL].percent[task]
        - paper.ABLATIONS[paper.NO_PRETRAINING].percent[task]
        for *_, task in pairs
    ]
    what = f"points by pre-training, mean of {len(pairs)} tasks {group.label}".strip()
    beside = f"paper {tables.signed(sum(theirs) / len(theirs))} on the same tasks"
    return [Headline(tables.signed(gain), what, beside, mark)]


def _tasks() -> Section:
    return Section("tasks", "Tasks: Table 1", [results.tasks_table()])


def _pretraining(half: _Half, *, is_empty: bool = False) -> list[Table | Picture]:
    runs = half.of_job("pretrain")
    if not runs and not is_empty:
        return []
    blocks: list[Table | Picture] = [
        studies.pretraining_table(runs, is_synthetic=half.is_synthetic)
    ]
    shown = [run for run in runs if run.series("train/loss")[0]]
    if shown:
        blocks.append(
            figures.picture(
                "pretraining",
                "Loss over pre-training",
                "Lines: training loss, faint as logged, strong as a moving mean; points: "
                "held-out loss.",
                functools.partial(figures.draw_pretraining, runs=shown),
                is_synthetic=half.is_synthetic,
            )
        )
    return blocks


def _results(half: _Half, *, is_empty: bool = False) -> list[Table | Picture]:
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


def _overview(half: _Half) -> Picture:
    """Tables 2 to 4 at a glance, of the first group."""
    group = half.of_paper[0]
    rows = [
        (
            paper.metric_title(task, score.metric),
            score.earlier_percent,
            score.percent,
            group.cell(paper.FULL, task, score.metric),
        )
        for number in _TITLES
        for task, score in paper.scores_of(f"Table {number}")
    ]
    of = f", group {group.label}" if group.label else ""
    return figures.picture(
        "overview",
        "All results at a glance",
        f"Ours{of}: median and range over seeds, on dev; the others on test sets.",
        functools.partial(figures.draw_overview, rows=rows),
        size=(7.6, 5.6),
    )


def _ablations(half: _Half, *, is_empty: bool = False) -> list[Table | Picture]:
    if not half.groups and not is_empty:
        return []
    mark = half.is_synthetic
    blocks: list[Table | Picture] = [
        results.ablations_table(half.groups, is_synthetic=mark)
    ]
    gains = studies.gains(half.groups)
    has_gain = any(ours is not None for gain in gains for ours in gain.ours)
    if has_gain and not mark:
        labels = [group.label for group in half.groups]
        blocks.append(
            figures.picture(
                "auxiliary-gain",
                "What the auxiliary objective gains, by size of the training set",
                "Full less without the auxiliary LM (Table 5); the paper reads it as "
                "larger sets benefiting.",
                functools.partial(figures.draw_gains, gains=gains, labels=labels),
            )
        )
    if has_gain or is_empty or not mark:
        blocks.append(studies.gains_table(half.groups, is_synthetic=mark))
    return blocks


def _transfer(half: _Half, *, is_empty: bool = False) -> list[Table | Picture]:
    found = studies.transfers(half.scored)
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
                functools.partial(figures.draw_transfer, studies=drawn),
                is_synthetic=half.is_synthetic,
            )
        )
    return [*blocks, studies.transfer_table(found, is_synthetic=half.is_synthetic)]


def _zero_shot(half: _Half, *, is_empty: bool = False) -> list[Table | Picture]:
    found = [one for one in studies.zero_shots(half.runs) if one.tasks()]
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
                functools.partial(figures.draw_zero_shot, found=found),
                size=(7.6, 5.0),
                is_synthetic=half.is_synthetic,
            )
        )
    return [*blocks, studies.zero_shot_table(found, is_synthetic=half.is_synthetic)]


def _curves(half: _Half, *, is_empty: bool = False) -> list[Table | Picture]:
    """The task's loss, and dev scores where there are several of a run."""
    blocks: list[Table | Picture] = []
    losses = _panels(half, lambda task: "train/task_loss", at_least=3)
    scores = _panels(half, lambda task: f"eval/{TASKS[task].metrics[0]}", at_least=2)
    for name, title, panels, ylabel, smooth in (
        ("task-loss", "Training loss of the task", losses, "nats per example", True),
        ("dev-scores", "Dev score of the task's first metric", scores, "score", False),
    ):
        if panels:
            draw = functools.partial(
                figures.draw_panels, panels=panels, ylabel=ylabel, smooth=smooth
            )
            blocks.append(
                figures.picture(
                    name,
                    title,
                    "A line for each run." + (" Moving means." if smooth else ""),
                    draw,
                    size=figures.panels_size(len(panels)),
                    is_synthetic=half.is_synthetic,
                )
            )
    return blocks


def _panels(half: _Half, metric, *, at_least: int) -> dict[str, figures.Curves]:
    """Of each task its runs' series by variant, of groups that have one."""
    panels: dict[str, dict[str, list]] = {}
    for group in half.groups:
        for member in group.members:
            if member.run.job != "finetune":
                continue
            series = member.run.series(metric(member.task))
            if len(series[0]) >= at_least:
                name = f"{member.variant} {group.label}".strip()
                panel = panels.setdefault(paper.TITLES[member.task], {})
                panel.setdefault(name, []).append(series)
    order = [paper.TITLES[task] for task in TASKS]
    return {title: panels[title] for title in order if title in panels}


def _run_facts(runs: Sequence[Run], damaged: Sequence[Damaged]) -> Section:
    found = run_facts.facts_tables(runs, damaged)
    text = (
        "Each run's config as far as it is neither the default nor common to all of its "
        "job; wall time of the process that finished it; tokens per second, the median "
        "of the logged steps."
    )
    return Section("runs", "Runs", found, text, is_folded=True)
