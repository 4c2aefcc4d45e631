"""Rounds, medians and ratios, tables and the JSON file, shared by all benchmarks.

A side is one of the things that a benchmark compares. A measurement of it returns a
mapping with at least `seconds`. Each benchmark defines its sides, and the columns of
the table that it prints.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from gpt1_jax import errors, files, terminal

RESULTS_DIR = Path(__file__).parent / "results"
# The instructions that decide how fast a CPU multiplies matrices.
_CPU_FLAGS = ("avx", "avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
_LIBRARIES = (
    *("jax", "jaxlib", "flax", "numpy"),
    *("torch", "transformers", "tokenizers", "sentencepiece"),
)
# The environment of a process that must not use an accelerator.
CPU_ONLY = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}

Run = dict[str, Any]
Rounds = dict[str, list[Run]]
Columns = Mapping[str, Callable[[Run], str]]  # heading: a side's row -> its cell


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A benchmark's name, as in python -m benchmarks.NAME, and its flags."""

    name: str
    known: tuple[str, ...]
    rounds: flags.FlagHolder[int]
    output: flags.FlagHolder[str]
    sides: flags.FlagHolder[list[str]] | None = None
    side: flags.FlagHolder[str] | None = None


def define(
    name: str,
    flag_values: flags.FlagValues,
    known: Sequence[str] = (),
    *,
    default: Sequence[str] = (),
    rounds: int = 5,
) -> Comparison:
    """Defines --rounds and --output, and with `known` also --sides and --side.

    Args: known: all sides, which are compared with the first of them; empty if one
          process measures all sides.
          default: the sides to measure by default; empty: all.
    """
    found = Comparison(
        name,
        tuple(known),
        flags.DEFINE_integer(
            "rounds", rounds, "Measurements of each side.", 1, flag_values=flag_values
        ),
        flags.DEFINE_string(
            "output",
            str(RESULTS_DIR / f"{name}.json"),
            "JSON file for all numbers; empty: none.",
            flag_values=flag_values,
        ),
    )
    if not known:
        return found
    sides = flags.DEFINE_list(
        "sides",
        list(default or known),
        f"{known[0]}, and any of {', '.join(known[1:])}.",
        flag_values=flag_values,
    )
    side = flags.DEFINE_enum(
        "side",
        None,
        list(known),
        "Measure this side only, in this process, and print a JSON line.",
        flag_values=flag_values,
    )
    return dataclasses.replace(found, sides=sides, side=side)


def check_sides(comparison: Comparison) -> None:
    """Raises UserError unless --sides names known sides, beginning with the first."""
    known, given = comparison.known, comparison.sides.value
    if given[:1] != [known[0]] or not set(given) <= set(known):
        raise errors.UserError(
            f"--sides={','.join(given)}; {known[0]}, and any of "
            f"{', '.join(known[1:])}; name these, {known[0]} first"
        )


def run_rounds(
    comparison: Comparison,
    measures: Mapping[str, Callable[[], Run]],
    shown: Callable[[Run], str],
) -> Rounds:
    """Returns the measurements of each side, which take turns: A B A B.

    Args: measures: side -> a function that measures it once.
          shown: a measurement -> what the terminal shows of it.
    """
    rounds: Rounds = {side: [] for side in measures}
    for number in range(1, comparison.rounds.value + 1):
        for side, measure in measures.items():
            run = measure()
            rounds[side].append(run)
            terminal.say(
                f"round {number}/{comparison.rounds.value}, {side}: {shown(run)}"
            )
    return rounds


def in_processes(
    comparison: Comparison, environment: Mapping[str, str]
) -> dict[str, Callable[[], Run]]:
    """Returns for each of --sides a function that measures it in a new process.

    Args:   environment: variables to set in these processes.
    Raises: UserError: unknown sides. RunFailed, from the functions: a process failed.
    """
    check_sides(comparison)

    def measure(side: str) -> Run:
        module = f"benchmarks.{comparison.name}"
        done = subprocess.run(
            [sys.executable, "-m", module, *sys.argv[1:], f"--side={side}"],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise errors.RunFailed(
                f"the side {side} ended with exit code {done.returncode}; 0 is "
                "success; its message is above, or there was too little memory (-9); "
                "leave it out of --sides to measure the others"
            )
        return json.loads(done.stdout.splitlines()[-1])

    return {side: lambda side=side: measure(side) for side in comparison.sides.value}


def summary(rounds: Rounds) -> dict[str, Run]:
    """Returns each side's median, minimum, and ratio of its median to the first's.

    `over_first_rounds` has the ratio in each round, which shows how much it varies.
    """
    first = next(iter(rounds.values()))
    base = statistics.median(run["seconds"] for run in first)
    sides = {}
    for side, runs in rounds.items():
        seconds = [run["seconds"] for run in runs]
        pairs = zip(runs, first, strict=True)
        sides[side] = {
            "median_seconds": statistics.median(seconds),
            "min_seconds": min(seconds),
            "over_first": statistics.median(seconds) / base,
            "over_first_rounds": [a["seconds"] / b["seconds"] for a, b in pairs],
            "rounds": runs,
        }
    return sides


def ratio(row: Run) -> str:
    """Returns a cell with a side's ratio to the first: `1.50 (0.50 to 3.50)`."""
    ratios = row["over_first_rounds"]
    return f"{row['over_first']:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def publish(
    comparison: Comparison, sides: dict[str, Run], columns: Columns, **facts: Any
) -> None:
    """Prints the table of the sides and writes everything to --output.

    Args: facts: further entries of the JSON file, such as the config.
    """
    found = origin(comparison.name) | {"rounds": comparison.rounds.value}
    found |= facts | {"sides": sides}
    terminal.say(table(sides, columns))
    terminal.say(_describe(found))
    write(comparison.output.value, found)


def origin(name: str) -> dict[str, Any]:
    """Returns the command, date, commit, machine and versions of a measurement."""
    return {
        "benchmark": name,
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "machine": _machine(),
        "versions": _versions(),
    }


def write(output: str, found: dict[str, Any]) -> None:
    """Writes a JSON file and prints its path; does nothing if `output` is empty."""
    if output:
        files.write_atomically(Path(output), json.dumps(found, indent=1) + "\n")
        terminal.say(f"written: {output}")


def table(sides: Mapping[str, Run], columns: Columns) -> str:
    """Returns a Markdown table with a row for each side, its columns aligned.

    Example: | side   | s   |
             |--------|----:|
             | ours   | 1.0 |
             | theirs | 9.5 |
    """
    rows = [["side", *columns]]
    rows += [
        [side, *(cell(row) for cell in columns.values())] for side, row in sides.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        padded = [text.rjust(n) for text, n in zip(cells, widths[1:], strict=True)]
        lines.append(f"| {' | '.join([name.ljust(widths[0]), *padded])} |")
    rule = "".join(f"{'-' * (n + 1)}:|" for n in widths[1:])
    lines.insert(1, f"|{'-' * (widths[0] + 2)}|{rule}")
    return "\n".join(lines)


def _describe(found: dict[str, Any]) -> str:
    """Returns a line about the machine and the versions of the libraries."""
    where = found["machine"]
    names = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return (
        f"machine: {where['cpu']} ({', '.join(where['flags'])}), {where['cores']} "
        f"cores, load {where['load']:.1f} at the end; {names}"
    )


def _commit() -> str:
    """Returns the commit that was measured, with `+` where files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--exclude=*", "--dirty=+"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def _machine() -> dict[str, Any]:
    """Returns the processor, its instructions, cores, memory, load, system and Python.

    A load above what the benchmark itself makes means that other programs ran too.
    """
    facts = _cpu_facts()
    named = set(facts.get("flags", facts.get("Features", "")).split())
    num_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "flags": [name for name in _CPU_FLAGS if name in named],
        "cores": os.cpu_count(),
        "memory_gb": round(num_bytes / 1e9, 1),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _cpu_facts() -> dict[str, str]:
    """Returns what /proc/cpuinfo says of the first processor; {} without that file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _versions() -> dict[str, str]:
    """Returns the versions of the libraries that are installed."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
