"""What each run was and what it cost: a table for each job."""

import collections
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gpt1_jax import config as config_lib
from gpt1_jax import terminal
from gpt1_jax.config import RunConfig
from gpt1_jax.reporting.runs import Damaged, Run
from gpt1_jax.reporting.tables import NONE, NOT_FINISHED, Table

# Where results do not depend on them.
_UNTOLD = ("job", "data.cache_dir")


def facts_tables(runs: Sequence[Run], damaged: Sequence[Damaged]) -> list[Table]:
    """The runs of each job; at the end those that can't be read."""
    found = []
    for job in dict.fromkeys((*config_lib.choices("job"), *(run.job for run in runs))):
        own = [run for run in runs if run.job == job]
        if own:
            found.append(_of_job(job, own))
    if damaged:
        rows = [[one.name, NOT_FINISHED, one.why] for one in damaged]
        columns = ("workdir", "state", "why it can't be read")
        found.append(Table("damaged", "Damaged", columns, rows, num_heads=3))
    return found


def _of_job(job: str, runs: Sequence[Run]) -> Table:
    """What most have in common once, below; where a run is another in its row."""
    told = [_told(run.config) for run in runs]
    common = {
        name: collections.Counter(own[name] for own in told).most_common(1)[0][0]
        for name in told[0]
    }
    rows = [
        [
            run.name,
            _text({n: x for n, x in own.items() if _is_own(n, x, common)}),
            devices(run),
            seconds(run),
            _rate(run),
            f"{run.result['steps']:,}" if run.is_finished else NOT_FINISHED,
        ]
        for run, own in zip(runs, told, strict=True)
    ]
    defaults = _told(RunConfig())
    differing = {n: x for n, x in common.items() if x != defaults[n] and n != "seed"}
    finished = [run for run in runs if run.is_finished]
    wall = sum(run.result.get("seconds", 0) for run in finished)
    title = f"{job}: {len(finished)} of {len(runs)} finished"
    return Table(
        f"runs-{job}",
        f"{title}, {terminal.duration(wall)} in all",
        ("workdir", "config", "devices", "wall time", "tokens/s", "steps"),
        rows,
        notes=(
            f"Where a row says nothing else: {_text(differing) or 'the defaults'}; all "
            "other fields have their defaults.",
        ),
        num_heads=2,
    )


def _told(config: RunConfig) -> dict[str, Any]:
    flat = config_lib.flatten(config)
    return {name: value for name, value in flat.items() if name not in _UNTOLD}


def _is_own(name: str, value: Any, common: Mapping[str, Any]) -> bool:
    """Returns whether a run's row tells a field; the seed it always does."""
    return value != common[name] or name == "seed"


def _text(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in facts.items())


def devices(run: Run) -> str:
    """`2 x cpu`."""
    kinds: dict[str, int] = {}
    for kind in run.result.get("devices", ()):
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items()) or NONE


def seconds(run: Run) -> str:
    """The wall time of the process that finished it."""
    spent = run.result.get("seconds")
    return NONE if spent is None else terminal.duration(spent)


def _rate(run: Run) -> str:
    """The median over the logged steps."""
    _, rates = run.series("train/tokens_per_second")
    return f"{statistics.median(rates):,.0f}" if rates else NONE
