"""The cells of a sweep, which are all combinations of its axes, and their results.

An axis is a name and its values. A value is a label and the fields that it sets, as in
{"seed": {"0": {"seed": 0}, "1": {"seed": 1}}}. Nothing here runs a cell.
"""

import csv
import dataclasses
import io
import itertools
import re
import statistics
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from gpt1_jax import config as config_lib
from gpt1_jax import terminal
from gpt1_jax.config import RunConfig
from gpt1_jax.errors import UserError

Axes = Mapping[str, Mapping[str, Mapping[str, Any]]]
# Results are medians over this axis.
_SEED = "seed"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A combination of values: each axis's label, and the fields that it sets."""

    labels: dict[str, str]
    fields: dict[str, Any]

    @property
    def directory(self) -> str:
        """The name of its workdir, in characters that every file system allows."""
        name = ",".join(f"{axis}={label}" for axis, label in self.labels.items())
        return urllib.parse.quote(name, safe=",=+").replace("%", "_")


def parse_axis(text: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """Parses the axis `GROUP.FIELD=VALUE,VALUE` of a command line.

    Raises: UserError: an unknown field, no value, or a value of another type.
    """
    path, equals, values = text.partition("=")
    path = path.strip().removeprefix("config.")
    labels = [value.strip() for value in values.split(",") if value.strip()]
    if not equals or not labels:
        raise UserError(
            f"--axis={text}; a field and its values are expected, as --axis "
            "seed=0,1,2; write it like this"
        )
    if len(set(labels)) < len(labels):
        raise UserError(f"--axis={text}; a value is given twice; remove one")
    return path, {label: {path: config_lib.parse(path, label)} for label in labels}


def parse_axes(texts: Sequence[str]) -> Axes:
    """Parses several axes, each `GROUP.FIELD=VALUE,VALUE`.

    Raises: UserError: as parse_axis; a field that has two axes.
    """
    axes = {}
    for text in texts:
        path, values = parse_axis(text)
        if path in axes:
            raise UserError(
                f"--axis={text}, but {path} has an axis already; a field has one axis; "
                "put all its values into one --axis"
            )
        axes[path] = values
    return axes


def of_experiment(given: Mapping[str, Any]) -> Axes:
    """Returns an experiment's axes, given as lists of values or labels with fields.

    Example: {"init.num_layers": [0, 1]} -> {"init.num_layers": {"0":
             {"init.num_layers": 0}, "1": {"init.num_layers": 1}}}
    """
    return {
        name: values
        if isinstance(values, Mapping)
        else {str(value): {name: value} for value in values}
        for name, values in given.items()
    }


def cells(axes: Axes) -> list[Cell]:
    """Returns every combination; the last axis varies fastest."""
    found = []
    for labels in itertools.product(*axes.values()):
        named = dict(zip(axes, labels, strict=True))
        fields: dict[str, Any] = {}
        for axis, label in named.items():
            fields |= axes[axis][label]
        found.append(Cell(named, fields))
    return found


def share(count: int, only: str) -> range:
    """Returns the indices of the cells in the share `only`, as 2/8; empty: all.

    Raises: UserError: not I/N with I from 1 to N.
    """
    if not only:
        return range(count)
    match = re.fullmatch(r"(\d+)/(\d+)", only)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(
            f"--only={only}; I/N, with I from 1 to N, is expected; write 1/8 for the "
            "first of eight shares"
        )
    return range(int(match[1]) - 1, count, int(match[2]))


def config_of(base: RunConfig, cell: Cell) -> RunConfig:
    """Returns `base` with the fields that `cell` sets.

    Raises: UserError: no such field, or a value of another type.
    """
    return config_lib.replace(base, cell.fields)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The end of a cell: its status and metrics."""

    status: str
    metrics: Mapping[str, float]
    seconds: float = 0.0


def to_csv(grid: Sequence[Cell], outcomes: Sequence[Outcome]) -> str:
    """Returns a row for each cell: labels, status, seconds, and all metrics."""
    metrics = sorted({name for outcome in outcomes for name in outcome.metrics})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*(grid[0].labels if grid else ()), "status", "seconds", *metrics])
    for cell, outcome in zip(grid, outcomes, strict=True):
        values = [outcome.metrics.get(name, "") for name in metrics]
        labels = cell.labels.values()
        writer.writerow([*labels, outcome.status, outcome.seconds, *values])
    return out.getvalue()


def to_table(
    grid: Sequence[Cell], outcomes: Sequence[Outcome], metrics: Sequence[str]
) -> str:
    """Returns a table for the terminal: median, lowest and highest over seeds.

    Args: metrics: the metrics to show, a column for each.
    """
    groups: dict[tuple[str, ...], list[Outcome]] = {}
    for cell, outcome in zip(grid, outcomes, strict=True):
        key = tuple(label for axis, label in cell.labels.items() if axis != _SEED)
        groups.setdefault(key, []).append(outcome)
    axes = [axis for axis in grid[0].labels if axis != _SEED]
    rows = [[*axes, "runs", *(name.removeprefix("eval/") for name in metrics)]]
    for key, members in groups.items():
        done = [outcome for outcome in members if outcome.metrics]
        row = [*key, f"{len(done)} of {len(members)}"]
        for name in metrics:
            values = [o.metrics[name] for o in done if name in o.metrics]
            # A task without this metric, or a cell that has not run.
            row.append(_spread(values) if values else "-" if done else "not run")
        rows.append(row)
    return terminal.aligned(rows)


def _spread(values: Sequence[float]) -> str:
    """Writes the median, as `0.8123`, with the range as `0.8123 (0.7910 to 0.8300)`."""
    median = f"{statistics.median(values):.4f}"
    if len(values) == 1:
        return median
    return f"{median} ({min(values):.4f} to {max(values):.4f})"
