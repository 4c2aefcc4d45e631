"""The top of the report: what was run, on what, and the numbers to know first."""

import collections
import dataclasses
import functools
from collections.abc import Sequence

from gpt1_jax import terminal
from gpt1_jax.config import FIELDS
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
    order = dict.fromkeys((*FIELDS["job"].metadata["choices"], *counts))
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
    perplexities = [
        run.metrics["eval/perplexity"]
        for run in half.of_job("pretrain")
        if "eval/perplexity" in run.metrics
    ]
    if perplexities:
        best = ", the best run" if len(perplexities) > 1 else ""
        beside = f"paper {paper.PERPLEXITY}, on BooksCorpus"
        what = f"held-out perplexity{best}"
        found.append(Headline(f"{min(perplexities):.1f}", what, beside, mark))
    of_groups = []
    for group in half.of_paper:
        cells = results.glue_cells(group).values()
        if all(cell.values for cell in cells):
            score = results.glue_score([cell.median] for cell in cells)
            what = f"GLUE score, dev{_of(group)}"
            beside = f"paper {paper.GLUE.percent}, test"
            of_groups.append(Headline(tables.percent(score), what, beside, mark))
    for group in half.groups:
        of_groups += _gain_of_pretraining(group, mark)
    return found + of_groups[:_MOST_HEADLINES]


def _of(group: Group) -> str:
    return f", group {group.label}" if group.label else ""


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
    what = f"points by pre-training, mean of {len(pairs)} tasks{_of(group)}"
    beside = f"paper {tables.signed(sum(theirs) / len(theirs))} on the same tasks"
    return [Headline(tables.signed(gain), what, beside, mark)]
