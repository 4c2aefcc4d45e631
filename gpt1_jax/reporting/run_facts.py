"""The settings and the cost of each run: a table for each job."""

import collections
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gpt1_jax import config as config_lib
from gpt1_jax import terminal
from gpt1_jax.config import RunConfig
from gpt1_jax.reporting.runs import Damaged, Run
from gpt1_jax.reporting.tables import NONE, NOT_FINISHED, Table

# Fields that are not shown.
_HIDDEN = ("job", "data.cache_dir")


def facts_tables(runs: Sequence[Run], damaged: Sequence[Damaged]) -> list[Table]:
    """Returns a table of the runs of each job, and one of the damaged workdirs."""
    found = []
    for job in dict.fromkeys((*config_lib.choices("job"), *(run.job for run in runs))):
        own = [run for run in runs if run.job == job]
        if own:
            found.append(_of_job(job, own))
    if damaged:
        rows = [[one.name, NOT_FINISHED, one.why] for one in damaged]
        columns = ("workdir", "state", "reason")
        found.append(Table("damaged", "Damaged", columns, rows, num_heads=3))
    return found


def _of_job(job: str, runs: Sequence[Run]) -> Table:
    """Returns a row for each run, with the fields in which it differs from most."""
    told = [_fields(run.config) for run in runs]
    common = {
        name: collections.Counter(own[name] for own in told).most_common(1)[0][0]
        for name in told[0]
    }
    rows = []
    for run, own in zip(runs, told, strict=True):
        different = {n: x for n, x in own.items() if x != common[n] or n == "seed"}
        steps = f"{run.result['steps']:,}" if run.is_finished else NOT_FINISHED
        cost = [devices(run), _duration(run), _rate(run), steps]
        rows.append([run.name, _text(different), *cost])
    defaults = _fields(RunConfig())
    changed = {n: x for n, x in common.items() if x != defaults[n] and n != "seed"}
    finished = [run for run in runs if run.is_finished]
    seconds = sum(run.result.get("seconds", 0) for run in finished)
    return Table(
        f"runs-{job}",
        f"{job}: {len(finished)} of {len(runs)} finished, "
        f"{terminal.duration(seconds)} in all",
        ("workdir", "config", "devices", "wall time", "tokens/s", "steps"),
        rows,
        notes=(
            f"Unless a row says otherwise: {_text(changed) or 'the defaults'}. All "
            "other fields have their defaults.",
        ),
        num_heads=2,
    )


def _fields(config: RunConfig) -> dict[str, Any]:
    flat = config_lib.flatten(config)
    return {name: value for name, value in flat.items() if name not in _HIDDEN}


def _text(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in facts.items())


def devices(run: Run) -> str:
    """Returns the devices of a run, as `2 x cpu`."""
    counts = collections.Counter(run.result.get("devices", ()))
    return ", ".join(f"{count} x {kind}" for kind, count in counts.items()) or NONE


def _duration(run: Run) -> str:
    spent = run.result.get("seconds")
    return NONE if spent is None else terminal.duration(spent)


def _rate(run: Run) -> str:
    """Returns the median of the logged tokens per second."""
    _, rates = run.series("train/tokens_per_second")
    return f"{statistics.median(rates):,.0f}" if rates else NONE
