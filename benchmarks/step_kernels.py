"""Where a training step's time goes on this device: its kernels, by part of the model.

    python -m benchmarks.step_kernels

The paper's model at 64 x 512 tokens unless --config says otherwise, as the job runs it,
from a trace of some steps by JAX's profiler. XLA fuses operations into kernels; one
counts to the part that its last operation is from. Unlike `step_parts`, nothing is
measured alone, and nothing runs that a step does not. Kernels are launched one by one,
not as CUDA graphs, whose kernels a trace can't tell apart. On CPUs a product may run on
after its kernel has returned: there the kernels add up to less than the step.
"""

import collections
import dataclasses
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import flop, side_by_side, steps
from experiments import pretrain
from gpt1_jax import config as config_lib
from gpt1_jax import errors, terminal
from gpt1_jax.cli import app, experiment
from gpt1_jax.config import RunConfig

_FLAGS = flags.FlagValues()
_CONFIG = experiment.define_config(_FLAGS)
_COMPARISON = side_by_side.define("step_kernels", _FLAGS)
_WARM_UP_STEPS = 3
Event = tuple[str, str, float]  # an instruction, its kernel, seconds
# The part of the model that an operation is from, by its name in the traced function:
# the first that matches.
_PARTS = (
    ("attention's projections", r"/attention/(qkv|out)/"),
    ("attention between them", r"/attention/|(forward|backward)_kernel|delta"),
    ("MLP's two layers", r"/mlp/(in|out)/"),
    ("GELU", r"/mlp/"),
    ("layer norms, with residual sums", r"/norm_[12]/"),
    ("residual dropout and sums", r"Block/"),
    ("embeddings", r"embed"),
    ("output layer and loss", r"jvp\(\)\)?/"),
    ("gradients' norm, Adam", r"train_step"),
)


@dataclasses.dataclass(frozen=True)
class Operation:
    """An instruction of a compiled program: where it is from, and its text."""

    source: str
    text: str

    @property
    def is_product(self) -> bool:
        """Whether it is a product of matrices, with whatever is fused to it.

        Of cuBLAS, of XLA's own kernels, or on a CPU.
        """
        text = self.text.partition(", metadata=")[0]
        if re.search(r"__cublas|%gemm_fusion|\bdot\(", text):
            return True
        return "ynn_fusion" in text and self.source.endswith("dot_general")


def main() -> None:
    """Runs the command."""
    graphs_off = "--xla_gpu_enable_command_buffer="
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {graphs_off}"
    from benchmarks import jax_side
    from gpt1_jax.distributed import mesh

    given = _FLAGS["config"].present
    config = _CONFIG.value if given else pretrain.get_config("paper")
    dtype = mesh.resolve_dtype(config_lib.checked(config).model).compute_dtype
    checked = steps.checked(config)
    model = dataclasses.replace(checked.model, compute_dtype=dtype)
    checked = dataclasses.replace(checked, model=model)
    side = jax_side.make(checked)
    found = _make_report(checked, side, _trace(side, checked))
    terminal.say(render(found))
    side_by_side.write(_COMPARISON, found)


def _trace(side: steps.Side, config: RunConfig) -> dict[str, Any]:
    """Seconds of each instruction in all traced steps, and of a step by the clock."""
    import jax

    shape = (config.train.batch_size, config.model.context_length + 1)
    tokens = np.random.default_rng(0).integers(config.data.vocab_size, size=shape)

    def run(count: int) -> float:
        began = time.perf_counter()
        jax.block_until_ready([side.start(tokens) for _ in range(count)])
        return (time.perf_counter() - began) / count

    run(_WARM_UP_STEPS)
    untraced = run(_COMPARISON.rounds.value)
    with tempfile.TemporaryDirectory() as directory:
        with jax.profiler.trace(directory):
            traced = run(_COMPARISON.rounds.value)
        files = sorted(Path(directory).rglob("*.xplane.pb"))
        events = list(_events(jax.profiler.ProfileData.from_file(str(files[0]))))
    if not events:
        raise errors.RunFailed(
            "the trace has no kernel; what JAX's profiler needs on this device is "
            "missing; python -m benchmarks.step_parts times the parts alone on a CPU"
        )
    return {"seconds": untraced, "traced_seconds": traced, "events": events}


def _events(profile: Any) -> Iterator[Event]:
    """What ran on devices."""
    for plane in profile.planes:
        for line in plane.lines:
            if line.name.startswith("XLA"):  # sums of those of the streams
                continue
            for event in line.events:
                facts = dict(event.stats)
                if "hlo_op" in facts and "train_step" in str(facts.get("hlo_module")):
                    yield str(facts["hlo_op"]), event.name, event.duration_ns / 1e9


def operations(program: str) -> dict[str, Operation]:
    """The instructions of a compiled program's text by name."""
    found = {}
    for line in program.splitlines():
        if named := re.match(r"\s+(?:ROOT )?%?([\w.-]+) = ", line):
            source = re.search(r'op_name="([^"]*)"', line)
            found[named[1]] = Operation(source[1] if source else "", line)
    return found


def part_of(operation: Operation) -> str:
    """The part of the model that an instruction is from."""
    where = operation.source + "/"
    return next((part for part, mark in _PARTS if re.search(mark, where)), "the rest")


def by_part(
    events: Iterable[tuple[str, str, float]],
    known: dict[str, Operation],
    num_steps: int,
) -> dict[str, dict[str, float]]:
    """Of each part: seconds a step, those of its products, and how many kernels."""
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


def _make_report(
    config: RunConfig, side: steps.Side, traced: dict[str, Any]
) -> dict[str, Any]:
    import jax

    num_steps = _COMPARISON.rounds.value
    known = operations(side.program())
    return side_by_side.report(
        _COMPARISON,
        by_part(traced["events"], known, num_steps),
        device=jax.devices()[0].device_kind,
        seconds=traced["seconds"],
        traced_seconds=traced["traced_seconds"],
        kernels=_longest(traced["events"], known, num_steps),
        flop_convention=flop.CONVENTION,
        config=config_lib.flatten(config),
    )


def _longest(
    events: list[Event], known: dict[str, Operation], num_steps: int
) -> list[dict[str, Any]]:
    """Kernels by what they take, those of one name and one source together."""
    rows: dict[Any, list[float]] = collections.defaultdict(list)
    for instruction, kernel, seconds in events:
        operation = known.get(instruction, Operation("", ""))
        kind = re.sub(r"[._]\d+", "", instruction)
        rows[kind, kernel, operation.source].append(seconds)
    longest = sorted(rows.items(), key=lambda row: -sum(row[1]))[:200]
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


def render(found: dict[str, Any]) -> str:
    """The table, what of a step it covers, and the machine."""
    total = sum(row["seconds"] for row in found["sides"].values())
    lines = [f"{'part':<32} {'ms':>8} {'share':>7} {'products':>9} {'kernels':>8}"]
    for part, row in found["sides"].items():
        lines.append(
            f"{part:<32} {row['seconds'] * 1e3:>8.2f} {row['seconds'] / total:>7.1%} "
            f"{row['seconds_of_products'] * 1e3:>9.2f} {row['kernels']:>8.0f}"
        )
    lines += [
        f"{'all kernels':<32} {total * 1e3:>8.2f}",
        f"a step takes {found['seconds'] * 1e3:.2f} ms by the clock, "
        f"{found['traced_seconds'] * 1e3:.2f} while it is traced",
        f"{found['device']}; {side_by_side.machine_line(found)}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main, _FLAGS)
