"""The sections of the report, in order.

Official and synthetic data never share a table or a figure.
"""

import dataclasses
from collections.abc import Callable, Sequence

from gpt1_jax.reporting import (
    ablations,
    curves,
    pretraining,
    results,
    run_facts,
    scores,
    summary,
    transfer,
    zero_shot,
)
from gpt1_jax.reporting.groups import Half
from gpt1_jax.reporting.page import Block, Page, Section
from gpt1_jax.reporting.runs import Damaged, Run
from gpt1_jax.reporting.tables import NOT_RUN

_SECTIONS: tuple[tuple[str, str, Callable[[Half], list[Block]]], ...] = (
    ("pretraining", "Pre-training", pretraining.blocks),
    ("results", "Results: Tables 2 to 4", results.blocks),
    ("own-results", "Results: your own tasks", results.own_blocks),
    ("ablations", "Ablations: Table 5", ablations.blocks),
    ("transfer", "Layers transferred: Figure 2, left", transfer.blocks),
    ("zero-shot", "Zero-shot: Figure 2, right", zero_shot.blocks),
    ("curves", "Learning curves of fine-tuning", curves.blocks),
)


def build(
    runs: Sequence[Run], damaged: Sequence[Damaged], warnings: Sequence[str]
) -> Page:
    """Returns the report of all runs."""
    scored, more = scores.scored(runs)
    halves = [
        Half(
            [run for run in runs if run.is_synthetic == is_synthetic],
            [one for one in scored if one.run.is_synthetic == is_synthetic],
            is_synthetic,
        )
        for is_synthetic in (False, True)
    ]
    sections = [_section(name, title, halves, make) for name, title, make in _SECTIONS]
    has_own = any(half.own_groups for half in halves)
    return Page(
        "GPT-1, reproduced",
        summary.lines(runs, damaged, halves),
        [headline for half in halves for headline in summary.headlines(half)],
        [*warnings, *more],
        [
            *(one for one in sections if has_own or one.name != "own-results"),
            _run_facts(runs, damaged),
            Section("tasks", "Tasks: Table 1", [results.tasks_table()]),
        ],
    )


def _section(
    name: str,
    title: str,
    halves: Sequence[Half],
    make: Callable[[Half], list[Block]],
) -> Section:
    """Returns a study's blocks for each half that ran it; for one if neither did."""
    made = [
        [_marked(block) if half.is_synthetic else block for block in make(half)]
        for half in halves
    ]
    run = [blocks for blocks in made if any(block.was_run for block in blocks)]
    blocks = [block for blocks in run or made[:1] for block in blocks]
    return Section(name, title, blocks, "" if blocks else f"{NOT_RUN.capitalize()}.")


def _marked(block: Block) -> Block:
    """Returns a block of the synthetic half under a name of its own."""
    name = f"{block.name}-synthetic"
    return dataclasses.replace(block, name=name, is_synthetic=True)


def _run_facts(runs: Sequence[Run], damaged: Sequence[Damaged]) -> Section:
    text = (
        "Each run's config where it differs from most runs of its job. Wall time is "
        "that of the process that finished the run; tokens per second are the median "
        "of the logged steps."
    )
    found = run_facts.facts_tables(runs, damaged)
    return Section("runs", "Runs", found, text, is_folded=True)
