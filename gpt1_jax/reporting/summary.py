"""The top of the report: what was run, and the numbers to know first."""

import collections
import statistics
from collections.abc import Sequence
from pathlib import Path

from gpt1_jax import terminal
from gpt1_jax.config import choices
from gpt1_jax.reporting import ablations, paper, results, run_facts, tables
from gpt1_jax.reporting.groups import Group, Half
from gpt1_jax.reporting.page import Headline
from gpt1_jax.reporting.runs import Damaged, Run

# The most headlines about the groups of a half.
_MOST_HEADLINES = 4


def lines(
    runs: Sequence[Run], damaged: Sequence[Damaged], halves: Sequence[Half]
) -> list[str]:
    """Returns sentences about the runs, their devices and their time."""
    counts = collections.Counter(run.job for run in runs)
    order = dict.fromkeys((*choices("job"), *counts))
    jobs = ", ".join(f"{counts[job]} x {job}" for job in order if counts[job])
    finished = [run for run in runs if run.is_finished]
    used = [run_facts.devices(run) for run in finished if run.result.get("devices")]
    seconds = sum(run.result.get("seconds", 0) for run in finished)
    found = [
        f"{terminal.counted(len(runs), 'run')}: {jobs or 'none can be read'}. "
        f"{len(finished)} have finished, {terminal.duration(seconds)} of wall "
        f"time together, on {' and on '.join(dict.fromkeys(used)) or 'no device'}."
    ]
    official, synthetic = (len(half.runs) for half in halves)
    if synthetic:
        found.append(
            f"{synthetic} of the runs are on storyworld, the built-in synthetic data. "
            "Their numbers show that the code works and what transfers there; they say "
            "nothing about English. They have tables of their own, which are marked."
        )
    if not official:
        found.append("Nothing was run on official data.")
    unfinished = len(runs) - len(finished)
    if unfinished or damaged:
        found.append(f"Not finished: {unfinished}; damaged: {len(damaged)}.")
    return found


def headlines(half: Half) -> list[Headline]:
    """Returns the numbers that a reader looks for first, as far as they exist."""
    found = _perplexity(half)
    of_groups = []
    for group in half.full_groups:
        cell = results.glue_cell(group)
        if cell.values:
            meaning = f"GLUE score, dev{_origin(group, paper.GLUE_TASKS)}"
            comparison = f"paper {paper.GLUE.percent}, test"
            value = tables.percent(cell.median)
            of_groups.append(Headline(value, meaning, comparison, half.is_synthetic))
    for group in half.groups:
        of_groups += _gain_by_pretraining(group, half.is_synthetic)
    return found + of_groups[:_MOST_HEADLINES]


def _perplexity(half: Half) -> list[Headline]:
    """Returns the lowest held-out perplexity, beside the unigram's and the paper's."""
    runs = [run for run in half.of_job("pretrain") if "eval/perplexity" in run.metrics]
    if not runs:
        return []
    best = min(runs, key=lambda run: run.metrics["eval/perplexity"])
    meaning = f"held-out perplexity of {best.name}"
    meaning += f", the best of {len(runs)} runs" if len(runs) > 1 else ""
    unigram = best.metrics.get("eval/unigram_perplexity")
    comparison = f"unigram {unigram:.1f}; " if unigram else ""
    comparison += f"paper {paper.PERPLEXITY}, on BooksCorpus"
    value = f"{best.metrics['eval/perplexity']:.1f}"
    return [Headline(value, meaning, comparison, half.is_synthetic)]


def _origin(group: Group, tasks: Sequence[str]) -> str:
    """Names the runs of a group's full model on `tasks`."""
    full = [m for m in group.members if m.variant == paper.FULL and m.task in tasks]
    names = list(dict.fromkeys(one.run.name for one in full))
    models = dict.fromkeys(Path(one.trained.init.path).name for one in full)
    many = f"{len(names)} runs from {', '.join(models)}"
    return f" of {tables.joined(names[0] if len(names) == 1 else many, group.label)}"


def _gain_by_pretraining(group: Group, is_synthetic: bool) -> list[Headline]:
    """Returns the mean gain over the tasks of Table 5 that were run both ways."""
    names = paper.COLUMNS["Table 5"]
    gains = {task: ablations.gain(group, task, paper.NO_PRETRAINING) for task in names}
    ours = {task: gain for task, gain in gains.items() if gain is not None}
    if not ours:
        return []
    full, without = (
        paper.ABLATIONS[name].percent for name in (paper.FULL, paper.NO_PRETRAINING)
    )
    theirs = statistics.fmean(full[task] - without[task] for task in ours)
    over = f"mean of {len(ours)} tasks" if len(ours) > 1 else "1 task"
    return [
        Headline(
            tables.signed(statistics.fmean(ours.values())),
            f"points by pre-training, {over}{_origin(group, list(ours))}",
            f"paper {tables.signed(theirs)} on the same tasks",
            is_synthetic,
        )
    ]
