"""Measures where a training step's time goes: its kernels, by part of the model.

    python -m benchmarks.step_kernels --config experiments/pretrain.py:paper

--rounds steps are traced by JAX's profiler, on the GPU where there is one. XLA fuses
operations into kernels; a kernel counts to the part that its last operation comes from.
On a GPU kernels are launched one by one here, as a trace can't tell apart those of a
CUDA graph. On a CPU a product may go on after its kernel has returned: the kernels add
up to less than the step.
"""

import collections
import dataclasses
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import side_by_side, steps
from experiments import pretrain
from gpt1_jax import config as config_lib
from gpt1_jax import errors, terminal
from gpt1_jax.cli import app, experiment
from gpt1_jax.config import RunConfig

_FLAGS = experiment.ExperimentFlags()
_COMPARISON = side_by_side.define("step_kernels", _FLAGS)
_WARM_UP_STEPS, _NUM_LONGEST = 3, 40
Event = tuple[str, str, float]  # an instruction, its kernel, seconds
# Parts of the model with patterns of the names that JAX gives their operations. The
# first pattern that matches decides.
_PARTS = (
    ("attention's projections", r"/attention/(qkv|out)/"),
    ("attention itself", r"/attention/|(forward|backward)_kernel|delta"),
    ("MLP layers", r"/mlp/(in|out)/"),
    ("GELU", r"/mlp/"),
    ("layer norms and residual sums", r"/norm_[12]/"),
    ("residual dropout", r"Block/"),
    ("embeddings", r"embed"),
    ("output layer and loss", r"jvp\(\)\)?/"),
    ("gradient norm and Adam", r"train_step"),
)


@dataclasses.dataclass(frozen=True)
class Operation:
    """An instruction of a compiled program: the name of its source, and its text."""

    source: str
    text: str

    @property
    def is_product(self) -> bool:
        """True for a matrix product, by cuBLAS, by XLA or on a CPU."""
        text = self.text.partition(", metadata=")[0]
        if re.search(r"__cublas|%gemm_fusion|\bdot\(", text):
            return True
        return "ynn_fusion" in text and self.source.endswith("dot_general")


def main() -> None:
    """Runs the command."""
    # Must be set before JAX is imported.
    graphs_off = "--xla_gpu_enable_command_buffer="
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {graphs_off}"
    from benchmarks import jax_side

    given = experiment.resolve(_FLAGS) if _FLAGS.config else pretrain.get_config()
    config = steps.check(given)
    step = jax_side.make(config)
    seconds, traced_seconds, events = _trace(step, config)
    known, num_steps = operations(step.program()), _COMPARISON.rounds.value
    parts = by_part(events, known, num_steps)
    total = sum(row["seconds"] for row in parts.values())
    side_by_side.publish(
        _COMPARISON,
        parts,
        {
            "ms": lambda row: f"{row['seconds'] * 1e3:.2f}",
            "share": lambda row: f"{row['seconds'] / total:.1%}",
            "products, ms": lambda row: f"{row['seconds_of_products'] * 1e3:.2f}",
            "kernels": lambda row: f"{row['kernels']:.0f}",
        },
        device=step.device,
        seconds=seconds,
        traced_seconds=traced_seconds,
        kernel_seconds=total,
        longest=_longest(events, known, num_steps),
        config=config_lib.flatten(config),
    )
    terminal.say(
        f"kernels: {total * 1e3:.2f} ms a step; by the clock {seconds * 1e3:.2f} ms, "
        f"{traced_seconds * 1e3:.2f} ms while it is traced"
    )


def _trace(step: steps.Step, config: RunConfig) -> tuple[float, float, list[Event]]:
    """Returns a step's seconds, untraced and traced, and the events of all steps."""
    import jax

    tokens_BL, count = steps.random_tokens(config), _COMPARISON.rounds.value
    steps.run(step, tokens_BL, _WARM_UP_STEPS)
    untraced, _ = steps.run(step, tokens_BL, count)
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            traced, _ = steps.run(step, tokens_BL, count)
        file = min(Path(directory).rglob("*.xplane.pb"))
        events = list(_events(jax.profiler.ProfileData.from_file(str(file))))
    if not events:
        raise errors.RunFailed(
            "the trace has no kernels; JAX's profiler must support the device; update "
            "jax and its plugin for this device"
        )
    return untraced, traced, events


def _events(profile: Any) -> Iterator[Event]:
    """Yields the kernels of the training step in a trace."""
    for plane in profile.planes:
        for line in plane.lines:
            if line.name.startswith("XLA"):  # sums over the streams
                continue
            for event in line.events:
                facts = dict(event.stats)
                if "hlo_op" in facts and "train_step" in str(facts.get("hlo_module")):
                    yield str(facts["hlo_op"]), event.name, event.duration_ns / 1e9


def operations(program: str) -> dict[str, Operation]:
    """Returns the instructions in a compiled program's text, by name."""
    found = {}
    for line in program.splitlines():
        if named := re.match(r"\s+(?:ROOT )?%?([\w.-]+) = ", line):
            source = re.search(r'op_name="([^"]*)"', line)
            found[named[1]] = Operation(source[1] if source else "", line)
    return found


def part_of(operation: Operation) -> str:
    """Returns the part of the model that an instruction comes from."""
    where = operation.source + "/"
    return next((part for part, mark in _PARTS if re.search(mark, where)), "the rest")


def by_part(
    events: Iterable[tuple[str, str, float]],
    known: dict[str, Operation],
    num_steps: int,
) -> dict[str, dict[str, float]]:
    """Returns each part's seconds a step, those in products, and its kernels a step."""
    rows: dict[str, dict[str, float]] = collections.defaultdict(
        lambda: {"seconds": 0.0, "seconds_of_products": 0.0, "kernels": 0.0}
    )
    for instruction, _, seconds in events:
        operation = known.get(instruction, Operation("", ""))
        row = rows[part_of(operation)]
        row["seconds"] += seconds / num_steps
        row["kernels"] += 1 / num_steps
        if operation.is_product:
            row["seconds_of_products"] += seconds / num_steps
    return dict(sorted(rows.items(), key=lambda row: -row[1]["seconds"]))


def _longest(
    events: list[Event], known: dict[str, Operation], num_steps: int
) -> list[dict[str, Any]]:
    """Returns the longest kernels; those of one name and source are added up."""
    rows: dict[Any, list[float]] = collections.defaultdict(list)
    for instruction, kernel, seconds in events:
        operation = known.get(instruction, Operation("", ""))
        kind = re.sub(r"[._]\d+", "", instruction)
        rows[kind, kernel, operation.source].append(seconds)
    longest = sorted(rows.items(), key=lambda row: -sum(row[1]))[:_NUM_LONGEST]
    return [
        {
            "instruction": kind,
            "kernel": kernel,
            "source": source,
            "seconds": sum(seconds) / num_steps,
            "calls": len(seconds) / num_steps,
        }
        for (kind, kernel, source), seconds in longest
    ]


if __name__ == "__main__":
    app.run(main, _FLAGS)
