"""Compares a training step with PyTorch's and transformers', on this CPU.

    python -m benchmarks.train_step
    python -m benchmarks.train_step --config experiments/pretrain.py:paper \
        --config.train.batch_size=4 --config.model.context_length=128

Sizes, dropout and optimizer come from the experiment; tokens are random. All sides run
on all cores, one update on the whole batch at a time, each measurement in a process of
its own, 5 seconds or 3 steps, whichever is longer, and the sides in turn.
Needs the extra: pip install -e '.[benchmarks]'
"""

import dataclasses
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

from experiments import pretrain
from gpt1_jax import command, exits, files, terminal
from gpt1_jax import config as config_lib
from gpt1_jax.config import ModelConfig, RunConfig

_FLAGS = flags.FlagValues()
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "Experiment file, with :words if any; none: experiments/pretrain.py.",
    lock_config=True,
    flag_values=_FLAGS,
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 5, "Measurements of each side.", 1, flag_values=_FLAGS
)
_OUTPUT = flags.DEFINE_string(
    "output", "", "JSON file for all numbers; empty: none.", flag_values=_FLAGS
)
# The names of benchmarks.torch_sides.
_PEERS = (
    "torch",
    "torch_bf16",
    "torch_compile",
    "transformers",
    "transformers_bf16",
)
_SIDES = flags.DEFINE_list(
    "sides",
    ["jax", "torch", "torch_compile", "transformers"],
    f"jax, and any of {', '.join(_PEERS)}.",
    flag_values=_FLAGS,
)
_SIDE = flags.DEFINE_enum(
    "side",
    None,
    ["jax", *_PEERS],
    "Measure one side here; print a JSON line.",
    flag_values=_FLAGS,
)

_WARM_UP_STEPS, _LEAST_STEPS, _LEAST_SECONDS = 2, 3, 5.0
_FLOP_CONVENTION = (
    "per token, forward and backward: 6 x weights in matrix products (tied output "
    "included, embedding look-ups not) + 12 x layers x context x width for attention, "
    "masked positions included"
)
_NOTES = (
    "all sides: the same sizes, dropout, clipping and tokens; float32 but for _bf16, "
    "which is autocast",
    "the update rule differs slightly, torch.optim.AdamW there (its defaults), and is "
    "a small share of a step: elementwise over the parameters",
)


@dataclasses.dataclass(frozen=True)
class Side:
    """A training step that is ready to run; `step` maps tokens_BL to the loss."""

    version: str
    num_parameters: int
    step: Callable[[np.ndarray], float]


def main() -> None:
    """Runs the command."""
    given = _FLAGS["config"].present
    config = _benchmark_config(_CONFIG.value if given else pretrain.get_config())
    if _SIDE.value:
        print(json.dumps(measure(_make_side(_SIDE.value, config), config)))
        return
    if "jax" not in _SIDES.value or not set(_SIDES.value) <= {"jax", *_PEERS}:
        raise exits.UserError(
            f"--sides={','.join(_SIDES.value)}; jax, and any of {', '.join(_PEERS)}; "
            "name these"
        )
    if not importlib.util.find_spec("torch"):
        raise exits.RunFailed(
            "torch is not installed; the comparison needs it; run pip install -e "
            "'.[benchmarks]'"
        )
    rounds = {side: [] for side in _SIDES.value}
    for number in range(1, _ROUNDS.value + 1):
        for side, measurements in rounds.items():
            measurements.append(_measure_in_process(side))
            shown = f"{measurements[-1]['seconds'] * 1e3:,.1f} ms a step"
            terminal.say(f"round {number}/{_ROUNDS.value}: {side} {shown}")
    report = make_report(config, rounds)
    terminal.say(render(report))
    if _OUTPUT.value:
        files.write_atomically(Path(_OUTPUT.value), json.dumps(report, indent=1) + "\n")


def _benchmark_config(experiment: ConfigDict) -> RunConfig:
    """`experiment`, checked, in float32 and without what trades speed for memory."""
    config = config_lib.checked(experiment)
    if config.model.backbone != "transformer":
        raise exits.UserError(
            f"config.model.backbone={config.model.backbone}; the other sides are "
            "Transformers; leave it out"
        )
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, compute_dtype="float32"),
        train=dataclasses.replace(config.train, accumulation_steps=1, remat=False),
    )


def _make_jax_side(config: RunConfig) -> Side:
    """The step as jobs.pretrain compiles it."""
    # Imported here, as torch below: neither side starts the other's threads.
    import functools

    import jax

    from gpt1_jax.data import corpus
    from gpt1_jax.models import backbone
    from gpt1_jax.training import losses, mesh, optim, process, state

    process.keep_freed_memory()
    model = backbone.make(config.model, config.data.vocab_size)
    total_steps = config.train.max_steps or 10**6
    schedule = optim.make_schedule(config.optim, total_steps)
    tx = optim.make_optimizer(config.optim, total_steps)
    init = state.make_init(functools.partial(backbone.init_params, model), tx)
    devices, seed = mesh.make_mesh(), np.uint32(config.seed)
    now = jax.jit(init, out_shardings=mesh.replicated(devices))(seed)
    B, L = config.train.batch_size, config.model.context_length
    num_targets_B, row_B = np.full(B, L, np.int32), np.arange(B, dtype=np.uint32)
    loss_fn = losses.make_lm_loss(
        model, is_train=True, chunk_elements=mesh.logits_chunk_elements()
    )
    train_step = mesh.jit_step(state.make_train_step(loss_fn, tx, schedule), devices)

    def step(tokens_BL: np.ndarray) -> float:
        nonlocal now
        batch = corpus.LMBatch(tokens_BL.astype(np.int32), num_targets_B, row_B)
        batch = mesh.shard_rows(batch, devices)
        now, sums = jax.block_until_ready(train_step(now, batch, seed))
        total, count = sums["loss"]
        return float(total) / float(count)

    return Side(jax.__version__, sum(x.size for x in jax.tree.leaves(now.params)), step)


def _make_side(name: str, config: RunConfig) -> Side:
    if name == "jax":
        return _make_jax_side(config)
    import torch

    from benchmarks import torch_sides

    num_parameters, train_step = torch_sides.make(name, config)
    return Side(
        torch.__version__,
        num_parameters,
        lambda tokens_BL: train_step(torch.from_numpy(tokens_BL)),
    )


def measure(side: Side, config: RunConfig) -> dict[str, Any]:
    """The median seconds of a step after warm-up, with the facts of `side`."""
    rng = np.random.default_rng(config.seed)
    shape = (config.train.batch_size, config.model.context_length + 1)

    def timed_step() -> tuple[float, float]:
        tokens_BL = rng.integers(config.data.vocab_size, size=shape)
        began = time.perf_counter()
        loss = side.step(tokens_BL)
        return time.perf_counter() - began, loss

    warm_up_losses = [timed_step()[1] for _ in range(_WARM_UP_STEPS)]
    seconds = []
    while len(seconds) < _LEAST_STEPS or sum(seconds) < _LEAST_SECONDS:
        elapsed, loss = timed_step()
        seconds.append(elapsed)
    if not math.isfinite(loss):
        raise exits.RunFailed(
            f"the loss is {loss} after {len(seconds)} steps; a step on such numbers "
            "says nothing; lower config.optim.peak_learning_rate"
        )
    return {
        "seconds": statistics.median(seconds),
        "steps": len(seconds),
        "first_loss": warm_up_losses[0],
        "last_loss": loss,
        "num_parameters": side.num_parameters,
        "version": side.version,
    }


def _measure_in_process(side: str) -> dict[str, Any]:
    """What this command prints with --side, in a process that sees only the CPU."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.train_step",
            *sys.argv[1:],
            f"--side={side}",
        ],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise exits.RunFailed(
            f"the {side} side ended with exit code {done.returncode}; 0 is success; "
            "its message is above; -9 without one means too little memory"
        )
    return json.loads(done.stdout.splitlines()[-1])


def flop_per_token(model: ModelConfig, vocab_size: int) -> int:
    """Floating-point operations, forward and backward, by _FLOP_CONVENTION."""
    D, F = model.width, model.mlp_width
    weights = model.num_layers * (4 * D * D + 2 * D * F) + vocab_size * D
    return 6 * weights + 12 * model.num_layers * model.context_length * D


def make_report(config: RunConfig, rounds: dict[str, list[dict]]) -> dict[str, Any]:
    """All that is shown and written, from each side's measurements in order."""
    counts = {side: runs[0]["num_parameters"] for side, runs in rounds.items()}
    assert len(set(counts.values())) == 1, counts
    tokens = config.train.batch_size * config.model.context_length
    flop = tokens * flop_per_token(config.model, config.data.vocab_size)
    sides = {}
    for side, runs in rounds.items():
        seconds = [run["seconds"] for run in runs]
        median = statistics.median(seconds)
        sides[side] = {
            "version": runs[0]["version"],
            "median_ms": median * 1e3,
            "min_ms": min(seconds) * 1e3,
            "tokens_per_second": tokens / median,
            "gflop_per_second": flop / median / 1e9,
            "rounds": runs,
        }
    over_jax = {
        side: [
            theirs["seconds"] / ours["seconds"]
            for ours, theirs in zip(rounds["jax"], runs, strict=True)
        ]
        for side, runs in rounds.items()
        if side != "jax"
    }
    return {
        "over_jax": {
            side: sides[side]["median_ms"] / sides["jax"]["median_ms"]
            for side in over_jax
        },
        "over_jax_rounds": over_jax,
        "sides": sides,
        "num_parameters": counts["jax"],
        "tokens_per_step": tokens,
        "gflop_per_step": flop / 1e9,
        "flop_convention": _FLOP_CONVENTION,
        "notes": _NOTES,
        "machine": {
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "config": config_lib.flatten(config),
    }


def _cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor() or platform.machine()


def render(report: dict[str, Any]) -> str:
    """The report as lines for the terminal."""
    config, machine, sides = report["config"], report["machine"], report["sides"]
    lines = [
        f"{'side':<17} {'median ms':>10} {'min ms':>9} {'tokens/s':>10} {'GFLOP/s':>8}"
    ]
    for side, row in sides.items():
        lines.append(
            f"{side:<17} {row['median_ms']:>10,.1f} {row['min_ms']:>9,.1f} "
            f"{row['tokens_per_second']:>10,.0f} {row['gflop_per_second']:>8,.1f}"
        )
    versions = ", ".join(f"{side} {row['version']}" for side, row in sides.items())
    for side, ratios in report["over_jax_rounds"].items():
        lines.append(
            f"{side} / jax: {report['over_jax'][side]:.2f} ({min(ratios):.2f} to "
            f"{max(ratios):.2f} over {len(ratios)} rounds)"
        )
    lines += [
        f"model: {config['model.num_layers']} layers, width {config['model.width']}, "
        f"vocabulary {config['data.vocab_size']:,}; {report['num_parameters']:,} "
        "parameters on all sides",
        f"step: {config['train.batch_size']} x {config['model.context_length']} "
        f"tokens, {report['gflop_per_step']:,.2f} GFLOP",
        f"machine: {machine['cpu']}, {machine['cores']} cores; Python "
        f"{machine['python']}, {versions}",
        f"FLOP {report['flop_convention']}",
        *report["notes"],
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    command.run(main, _FLAGS)
