"""What the host does for a training step beside it: input, logging, checkpoints.

    python -m benchmarks.overhead

Of the paper's model: windows of 64 x 512 tokens from a store of 47 million, gathered
and put on the device, once a step; a row of metrics, once in `log_every_steps`; a
checkpoint of the whole state, once in `checkpoint_every_steps`, where the loop waits
only for the copy from the devices. --step_seconds is what they are a share of. The loop
starts a step before it prepares the next batch and reads the last metrics: on an
accelerator it waits for input and logging only where they take longer than a step.
"""

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from absl import flags

from benchmarks import side_by_side
from gpt1_jax import terminal
from gpt1_jax.cli import app
from gpt1_jax.config import ModelConfig, OptimConfig, RunConfig, TrainConfig
from gpt1_jax.data.text import corpus
from gpt1_jax.distributed import mesh, runtime
from gpt1_jax.models import backbone
from gpt1_jax.training import optim
from gpt1_jax.training import step as step_lib
from gpt1_jax.workdirs import checkpoint, metrics_log

_FLAGS = flags.FlagValues()
_COMPARISON = side_by_side.define("overhead", _FLAGS)
_TOKENS = flags.DEFINE_integer(
    "tokens", 47_000_000, "Of the store.", 100_000, flag_values=_FLAGS
)
_STEP_SECONDS = flags.DEFINE_float(
    "step_seconds",
    0.07,
    "Of a step of 64 x 512; the default is an H200's.",
    1e-6,
    flag_values=_FLAGS,
)
_NUM_LAYERS = flags.DEFINE_integer("num_layers", 12, "Layers.", 1, flag_values=_FLAGS)

_CONFIG = RunConfig()
_NUM_STEPS = 50
# What a training run logs.
_ROW = dict.fromkeys(
    ("loss", "grad_norm", "param_norm", "learning_rate", "tokens_per_second"), 1.5
)


def main() -> None:
    """Runs the command."""
    runtime.keep_freed_memory()
    train = _CONFIG.train
    every = {
        "input": 1,
        "logging": train.log_every_steps,
        "checkpoint": train.checkpoint_every_steps,
    }
    rounds: side_by_side.Rounds = {name: [] for name in every}
    with tempfile.TemporaryDirectory() as name:
        sides = _sides(Path(name), train)
        for number in range(1, _COMPARISON.rounds.value + 1):
            for side, measure in sides.items():
                rounds[side].append({"seconds": measure(number)})
                shown = f"{rounds[side][-1]['seconds'] * 1e3:.3f} ms"
                terminal.say(f"round {number}, {side}: {shown}")
    found = side_by_side.summary(rounds)
    for side, row in found.items():
        row["every_steps"] = every[side]
        row["share_of_step"] = row["median_seconds"] / every[side] / _STEP_SECONDS.value
    report = side_by_side.report(
        _COMPARISON, found, step_seconds=_STEP_SECONDS.value, tokens=_TOKENS.value
    )
    lines = [
        f"{side:<11} {row['median_seconds'] * 1e3:9.3f} ms every "
        f"{row['every_steps']:,} steps: {row['share_of_step']:.3%} of a step"
        for side, row in found.items()
    ]
    terminal.say("\n".join([*lines, side_by_side.machine_line(report)]))
    side_by_side.write(_COMPARISON, report)


def _sides(directory: Path, train: TrainConfig) -> dict[str, Callable[[int], float]]:
    """Of each kind of work: round -> the seconds of one."""
    path = directory / "tokens.bin"
    rng = np.random.default_rng(0)
    path.write_bytes(rng.integers(40478, size=_TOKENS.value, dtype=np.uint16).tobytes())
    tokens = np.memmap(path, np.uint16, mode="r")
    model = ModelConfig(num_layers=_NUM_LAYERS.value, compute_dtype="float32")
    now = _state(model)

    def save(number: int) -> float:
        with checkpoint.Checkpoints(directory / f"checkpoints{number}") as checkpoints:
            began = time.perf_counter()
            checkpoints.save(now, {"config": "benchmark"})
            return time.perf_counter() - began

    return {
        "input": lambda number: _median(_inputs(tokens, train.batch_size, number)),
        "logging": lambda number: _median(_rows(directory / str(number))),
        "checkpoint": save,
    }


def _median(durations: Iterator[float]) -> float:
    """Of all but the first."""
    return statistics.median(list(durations)[1:])


def _inputs(tokens: np.ndarray, batch_size: int, seed: int) -> Iterator[float]:
    """As jobs.pretrain makes a batch."""
    devices, length = mesh.make_mesh(), _CONFIG.model.context_length
    for step in range(_NUM_STEPS):
        began = time.perf_counter()
        starts_B = corpus.window_starts(
            len(tokens),
            context_length=length,
            batch_size=batch_size,
            seed=seed,
            step=step,
        )
        batch = corpus.train_batch(tokens, starts_B, length, slice(None))
        jax.block_until_ready(mesh.shard_rows(batch, devices))
        yield time.perf_counter() - began


def _rows(workdir: Path) -> Iterator[float]:
    workdir.mkdir()
    with metrics_log.MetricsLog(workdir, 0) as log:
        for step in range(_NUM_STEPS):
            began = time.perf_counter()
            log.write(step, _ROW)
            yield time.perf_counter() - began


def _state(model: ModelConfig) -> step_lib.TrainState:
    """Parameters and moments of the paper's model."""
    made = backbone.make(model, _CONFIG.data.vocab_size)
    tx = optim.make_optimizer(OptimConfig(), 10**6)
    init = step_lib.make_init(functools.partial(backbone.init_params, made), tx)
    return jax.block_until_ready(jax.jit(init)(np.uint32(0)))


if __name__ == "__main__":
    app.run(main, _FLAGS)
