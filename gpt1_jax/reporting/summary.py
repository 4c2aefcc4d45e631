"""The top of the report: what was run, on what, and the numbers to know first."""

import collections
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

from gpt1_jax import terminal
from gpt1_jax.config import choices
from gpt1_jax.reporting import groups as groups_lib
from gpt1_jax.reporting import paper, results, run_facts, tables
from gpt1_jax.reporting.groups import Group, Scored
from gpt1_jax.reporting.page import Headline
from gpt1_jax.reporting.runs import Damaged, Run

# Of the groups of one half.
_MOST_HEADLINES = 4


@dataclasses.dataclass(frozen=True, eq=False)
class Half:
    """All that is on official data, or all that is on synthetic data.

    Nothing of one half stands in a table or a figure of the other.
    """

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


def lines(
    runs: Sequence[Run], damaged: Sequence[Damaged], halves: Sequence[Half]
) -> list[str]:
    """What was run, on what, for how long."""
    counts = collections.Counter(run.job for run in runs)
    order = dict.fromkeys((*choices("job"), *counts))
    jobs = ", ".join(f"{counts[job]} x {job}" for job in order if counts[job])
    finished = [run for run in runs if run.is_finished]
    used = [run_facts.devices(run) for run in finished if run.result.get("devices")]
    seconds = sum(run.result.get("seconds", 0) for run in finished)
    found = [
        f"{len(runs)} runs: {jobs or 'none can be read'}. {len(finished)} have "
        f"finished, {terminal.duration(seconds)} of wall time together, on "
        f"{' and on '.join(dict.fromkeys(used)) or 'no device'}."
    ]
    official, synthetic = (len(half.runs) for half in halves)
    if synthetic:
        found.append(
            f"{synthetic} of the runs are on storyworld, the built-in data, which is "
            "synthetic: their numbers show that the machinery works and what transfers "
            "there, nothing about English. They stand in tables of their own, marked."
        )
    if not official:
        found.append("Nothing was run on official data.")
    unfinished = len(runs) - len(finished)
    if unfinished or damaged:
        found.append(f"Not finished: {unfinished}; damaged: {len(damaged)}.")
    return found


def headlines(half: Half) -> list[Headline]:
    """The numbers that a reader looks for first, those that there are."""
    found = []
    mark = half.is_synthetic
    pretrained = [r for r in half.of_job("pretrain") if "eval/perplexity" in r.metrics]
    if pretrained:
        best = min(pretrained, key=lambda run: run.metrics["eval/perplexity"])
        what = f"held-out perplexity of {best.name}"
        what += f", the best of {len(pretrained)} runs" if len(pretrained) > 1 else ""
        unigram = best.metrics.get("eval/unigram_perplexity")
        beside = f"unigram {unigram:.1f}; " if unigram else ""
        beside += f"paper {paper.PERPLEXITY}, on BooksCorpus"
        value = f"{best.metrics['eval/perplexity']:.1f}"
        found.append(Headline(value, what, beside, mark))
    of_groups = []
    for group in half.of_paper:
        cells = results.glue_cells(group).values()
        if all(cell.values for cell in cells):
            score = results.glue_score([cell.median] for cell in cells)
            what = f"GLUE score, dev{_of(group, paper.GLUE_TASKS)}"
            beside = f"paper {paper.GLUE.percent}, test"
            of_groups.append(Headline(tables.percent(score), what, beside, mark))
    for group in half.groups:
        of_groups += _gain_of_pretraining(group, mark)
    return found + of_groups[:_MOST_HEADLINES]


def _of(group: Group, tasks: Sequence[str]) -> str:
    """Names the runs of a group's full model on `tasks`, for a tile."""
    full = [m for m in group.members if m.variant == paper.FULL and m.task in tasks]
    names = list(dict.fromkeys(one.run.name for one in full))
    models = dict.fromkeys(Path(one.trained.init.path).name for one in full)
    runs = (
        f" of {names[0]}"
        if len(names) == 1
        else f" of {len(names)} runs from {', '.join(models)}"
    )
    return f"{runs}, group {group.label}" if group.label else runs


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
    tasks = [task for *_, task in pairs]
    over = f"mean of {len(tasks)} tasks" if len(tasks) > 1 else "1 task"
    what = f"points by pre-training, {over}{_of(group, tasks)}"
    beside = f"paper {tables.signed(sum(theirs) / len(theirs))} on the same tasks"
    return [Headline(tables.signed(gain), what, beside, mark)]
