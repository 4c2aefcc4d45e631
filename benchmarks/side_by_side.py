"""Sides measured in turn, each in a process of its own; medians, ratios, JSON.

What all benchmarks have in common. A benchmark measures one side in `measure_side`,
which gives at least `seconds`; it knows what its sides are and what is shown of them.
"""

import dataclasses
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from gpt1_jax import errors, files, terminal

RESULTS_DIR = Path(__file__).parent / "results"
# What decides how fast matrix products are on a CPU.
_CPU_FLAGS = ("avx", "avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
_LIBRARIES = (
    "jax",
    "jaxlib",
    "flax",
    "numpy",
    "torch",
    "transformers",
    "tokenizers",
    "sentencepiece",
)
# Of processes that are measured: without an accelerator, should there be one.
CPU_ONLY = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}

Rounds = dict[str, list[dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A benchmark's name, as python -m benchmarks.NAME, and its flags."""

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
    """The flags --rounds and --output of the benchmark `name`; --sides and --side.

    Args: known: sides, the first being what the others are compared with; none where
          all are measured in one process.
          default: those that are measured unless others are named; (): all.
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
        "Measure one side here; print a JSON line.",
        flag_values=flag_values,
    )
    return dataclasses.replace(found, sides=sides, side=side)


def check_sides(comparison: Comparison) -> None:
    """Raises UserError unless --sides names known ones, the first of them first."""
    known, given = comparison.known, comparison.sides.value
    if given[:1] != [known[0]] or not set(given) <= set(known):
        raise errors.UserError(
            f"--sides={','.join(given)}; {known[0]}, and any of "
            f"{', '.join(known[1:])}; name these, {known[0]} first"
        )


def in_turn(
    comparison: Comparison,
    shown: Callable[[dict[str, Any]], str],
    environment: dict[str, str] | None = None,
) -> Rounds:
    """Each side's measurements in order: A B A B, each in a new process.

    Args:   shown: of a measurement, what the terminal is told. environment: of the
            processes, beside this one's.
    Raises: UserError: sides that aren't known. RunFailed: one that ended badly.
    """
    check_sides(comparison)
    rounds: Rounds = {side: [] for side in comparison.sides.value}
    for number in range(1, comparison.rounds.value + 1):
        for side, runs in rounds.items():
            runs.append(_measure_in_process(comparison, side, environment or {}))
            terminal.say(
                f"round {number}/{comparison.rounds.value}, {side}: {shown(runs[-1])}"
            )
    return rounds


def _measure_in_process(
    comparison: Comparison, side: str, environment: dict[str, str]
) -> dict[str, Any]:
    """What the command prints with --side."""
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
            f"the {side} side ended with exit code {done.returncode}; 0 is success; "
            "its message is above; -9 without one means too little memory"
        )
    return json.loads(done.stdout.splitlines()[-1])


def summary(rounds: Rounds, measure: str = "seconds") -> dict[str, Any]:
    """Of each side: median, least, and the ratio to the first side.

    Ratios are of medians; `over_first_rounds` has them round by round, for their range.
    """
    first = next(iter(rounds.values()))
    sides = {}
    for side, runs in rounds.items():
        numbers = [run[measure] for run in runs]
        sides[side] = {
            f"median_{measure}": statistics.median(numbers),
            f"min_{measure}": min(numbers),
            "over_first": statistics.median(numbers)
            / statistics.median(run[measure] for run in first),
            "over_first_rounds": [
                run[measure] / base[measure]
                for run, base in zip(runs, first, strict=True)
            ],
            "rounds": runs,
        }
    return sides


def report(comparison: Comparison, sides: dict[str, Any], **facts: Any) -> dict:
    """All that is written: how it was measured, where, and what came out."""
    return {
        "benchmark": comparison.name,
        "arguments": sys.argv[1:],
        "rounds": comparison.rounds.value,
        "machine": machine(),
        "versions": versions(),
        **facts,
        "sides": sides,
    }


def write(comparison: Comparison, found: dict[str, Any]) -> None:
    """Writes the report to --output, and says so."""
    if comparison.output.value:
        path = Path(comparison.output.value)
        files.write_atomically(path, json.dumps(found, indent=1) + "\n")
        terminal.say(f"written: {path}")


def ratio_lines(sides: dict[str, Any]) -> list[str]:
    """A line for each side but the first: how often the first's time it takes."""
    first, *others = sides
    lines = []
    for side in others:
        ratios = sides[side]["over_first_rounds"]
        lines.append(
            f"{side} / {first}: {sides[side]['over_first']:.2f} ({min(ratios):.2f} to "
            f"{max(ratios):.2f} over {len(ratios)} rounds)"
        )
    return lines


def machine_line(found: dict[str, Any]) -> str:
    """Where it was measured, with which libraries."""
    where = found["machine"]
    names = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return (
        f"machine: {where['cpu']} ({', '.join(where['flags'])}), {where['cores']} "
        f"cores, load {where['load']:.1f} at the end; {names}"
    )


def machine() -> dict[str, Any]:
    """The processor, its instructions that matter, cores, memory, load and Python.

    A load above what the benchmark itself makes says that others ran beside it.
    """
    facts = _cpuinfo()
    named = set(facts.get("flags", facts.get("Features", "")).split())
    return {
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "flags": [name for name in _CPU_FLAGS if name in named],
        "cores": os.cpu_count(),
        "memory_gb": round(
            os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1
        ),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _cpuinfo() -> dict[str, str]:
    """What the system says of its first processor; {} where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def versions() -> dict[str, str]:
    """Those of the libraries that are measured, as far as they are installed."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
