"""Times what the host does beside a training step: input, logging, checkpoints.

    python -m benchmarks.overhead --step_seconds 0.0623

It measures the paper's model: a batch of 64 x 512 tokens from a store of 47 million; a
row of metrics; a checkpoint of the whole state, for which the loop waits only until it
is copied from the devices. The loop starts a step before it prepares the next batch and
reads the last metrics, so an accelerator waits only if these take longer than a step.
"""

import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from absl import flags

from benchmarks import side_by_side
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
    "tokens", 47_000_000, "Tokens in the store.", 100_000, flag_values=_FLAGS
)
_STEP_SECONDS = flags.DEFINE_float(
    "step_seconds", 0.0623, "Seconds a step; an H100's.", 1e-6, flag_values=_FLAGS
)
_NUM_LAYERS = flags.DEFINE_integer("num_layers", 12, "Layers.", 1, flag_values=_FLAGS)

_CONFIG = RunConfig()
_NUM_STEPS = 50
# A row as a training run logs it.
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
    with tempfile.TemporaryDirectory() as name:
        rounds = side_by_side.run_rounds(
            _COMPARISON,
            _sides(Path(name), train),
            lambda run: f"{run['seconds'] * 1e3:.3f} ms",
        )
    sides = side_by_side.summary(rounds)
    for side, row in sides.items():
        row["every_steps"] = every[side]
        row["share_of_step"] = row["median_seconds"] / every[side] / _STEP_SECONDS.value
    side_by_side.publish(
        _COMPARISON,
        sides,
        {
            "ms": lambda row: f"{row['median_seconds'] * 1e3:.3f}",
            "every steps": lambda row: f"{row['every_steps']:,}",
            "of a step": lambda row: f"{row['share_of_step']:.3%}",
        },
        step_seconds=_STEP_SECONDS.value,
        tokens=_TOKENS.value,
    )


def _sides(
    directory: Path, train: TrainConfig
) -> dict[str, Callable[[], side_by_side.Run]]:
    """Returns for each kind of work a function that measures it once."""
    path = directory / "tokens.bin"
    rng = np.random.default_rng(0)
    path.write_bytes(rng.integers(40478, size=_TOKENS.value, dtype=np.uint16).tobytes())
    tokens = np.memmap(path, np.uint16, mode="r")
    model = ModelConfig(num_layers=_NUM_LAYERS.value, compute_dtype="float32")
    now = _state(model)

    numbers = itertools.count()

    def make_batches() -> side_by_side.Run:
        return _median(_batches(tokens, train.batch_size, next(numbers)))

    def write_rows() -> side_by_side.Run:
        return _median(_rows(directory / f"rows{next(numbers)}"))

    def save() -> side_by_side.Run:
        path = directory / f"checkpoints{next(numbers)}"
        with checkpoint.Checkpoints(path) as checkpoints:
            began = time.perf_counter()
            checkpoints.save(now, {"config": "benchmark"})
            return {"seconds": time.perf_counter() - began}

    return {"input": make_batches, "logging": write_rows, "checkpoint": save}


def _median(seconds: Iterator[float]) -> side_by_side.Run:
    """Returns the median seconds, without the first."""
    return {"seconds": statistics.median(list(seconds)[1:])}


def _batches(tokens: np.ndarray, batch_size: int, seed: int) -> Iterator[float]:
    """Yields the seconds to make each batch as jobs.pretrain does."""
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
        batch = corpus.train_batch(
            tokens,
            starts_B,
            length,
            slice(None),
            num_targets_B=np.full(batch_size, length),
        )
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
    """Returns parameters and moments of the paper's model."""
    made = backbone.make(model, _CONFIG.data.vocab_size)
    tx = optim.make_optimizer(OptimConfig(), 10**6)
    init = step_lib.make_init(functools.partial(backbone.init_params, made), tx)
    return jax.block_until_ready(jax.jit(init)(np.uint32(0)))


if __name__ == "__main__":
    app.run(main, _FLAGS)
