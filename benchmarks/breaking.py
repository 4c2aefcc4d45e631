"""Kills runs and damages files, for benchmarks/soak.py and tests/reliability.

    python -m benchmarks.breaking PLACE COUNT MODULE [ARGUMENT ...]

runs a command of gpt1_jax that kills itself with SIGKILL at the COUNT-th call of the
function of PLACE. The package has no code for this.
"""

import functools
import json
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from gpt1_jax.data.text import encoding, preparation
from gpt1_jax.training import loop
from gpt1_jax.training import step as step_lib
from gpt1_jax.workdirs import checksums, metrics_log
from gpt1_jax.workdirs import workdir as workdir_lib
from gpt1_jax.workdirs.checkpoint import Checkpoints

ROOT = Path(__file__).parents[1]

# A module or class, the name of a function in it, and True to kill after the call.
PLACES: dict[str, tuple[Any, str, bool]] = {
    "a group of books is encoded": (encoding, "encode_group", True),
    "a store is put together": (preparation, "_assemble", False),
    "a config is written": (workdir_lib, "write_config", False),
    "a step is compiled": (step_lib.CompiledStep, "compile", False),
    "a step": (loop._Reporter, "report", False),
    "a row is written": (metrics_log.MetricsLog, "write", True),
    "a save": (checksums, "write", False),
    "between save and commit": (checksums, "write", True),
    "a result is written": (workdir_lib, "write_result", False),
}

TINY = {
    "data.corpus": "storyworld",
    "data.storyworld_megabytes": 0.1,
    "data.vocab_size": 500,
    "model.num_layers": 1,
    "model.width": 16,
    "model.num_heads": 2,
    "model.mlp_width": 32,
    "model.context_length": 16,
    "train.batch_size": 8,
    "train.eval_batch_size": 2,  # many batches, so that an evaluation can be hit
    "train.max_steps": 12,
    "train.log_every_steps": 1,
    "train.eval_every_steps": 6,
    "train.checkpoint_every_steps": 2,
    "optim.warmup_steps": 2,
}


def kill_at(place: str, count: int) -> None:
    """Makes this process kill itself at the `count`-th call of a place's function."""
    holder, name, is_after = PLACES[place]
    function, calls = getattr(holder, name), 0

    @functools.wraps(function)
    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and is_after:
            function(*args, **kwargs)
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    setattr(holder, name, deadly)


def start(
    workdir: Path,
    cache_dir: Path,
    *more: str,
    module: str = "gpt1_jax.main",
    kill: tuple[str, int] | None = None,
    directory: Path = ROOT,
    **fields: Any,
) -> subprocess.Popen:
    """Starts a run of TINY in `workdir`; `a__b=c` stands for --config.a.b=c.

    Args: directory: the current one; a package gpt1_jax in it is run in place of ours.
    """
    config = TINY | {"data.cache_dir": cache_dir}
    config |= {name.replace("__", "."): value for name, value in fields.items()}
    by = ["benchmarks.breaking", kill[0], str(kill[1]), module] if kill else [module]
    command = [
        *(sys.executable, "-m", *by),
        *("--config", str(ROOT / "experiments/pretrain.py")),
        *("--workdir", str(workdir)),
        *(f"--config.{name}={value}" for name, value in config.items()),
        *more,
    ]
    compiled = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(cache_dir / "compiled"))
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": compiled,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        # The optimised programs that users run, unlike the test suite.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",
    }
    return subprocess.Popen(
        command,
        cwd=directory,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen, code: int) -> str:
    """Waits five minutes at most for exit code `code`; returns what was printed."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, (process.returncode, output)
    return output


def rows(workdir: Path) -> list[dict[str, float]]:
    """Returns the rows of metrics.jsonl without the keys that depend on the clock."""
    clock = ("seconds", "per_second", "time")
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [
        {name: x for name, x in row.items() if not any(c in name for c in clock)}
        for row in found
    ]


def last_state(workdir: Path) -> dict[str, tuple[str, bytes]]:
    """Returns the dtype and bytes of each array in the newest checkpoint, by path."""
    directory = workdir / workdir_lib.CHECKPOINTS_DIR
    on_device = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def restore_args(metadata: Any) -> ocp.args.StandardRestore:
        return ocp.args.StandardRestore(
            jax.tree.map(
                lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=on_device),
                metadata.tree,
            )
        )

    with Checkpoints(directory, create=False) as checkpoints:
        step = checkpoints.latest_step()
        metadata = checkpoints._manager.item_metadata(step)
        args = {name: restore_args(metadata[name]) for name in ("params", "rest")}
        found = checkpoints._restore(step, **args)
    leaves, _ = jax.tree_util.tree_flatten_with_path(dict(found.items()))
    return {
        jax.tree_util.keystr(path): (str(leaf.dtype), np.asarray(leaf).tobytes())
        for path, leaf in leaves
    }


def check_bit_equal(workdir: Path, unbroken: Path) -> None:
    """Asserts that two finished runs have bit-equal states and equal metrics."""
    ours, theirs = last_state(workdir), last_state(unbroken)
    assert ours.keys() == theirs.keys()
    different = [path for path in ours if ours[path] != theirs[path]]
    assert not different, different
    assert rows(workdir) == rows(unbroken)


def _flip(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data))
    return (
        data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    )


# Functions from a file's bytes to damaged bytes; None removes the file.
DAMAGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "flipped": _flip,
    "truncated": lambda data, rng: data[: rng.randrange(len(data))],
    "emptied": lambda data, rng: b"",
    "removed": lambda data, rng: None,
}


def damage(path: Path, how: str, rng: random.Random) -> None:
    """Damages a file in a way of DAMAGES."""
    data = DAMAGES[how](path.read_bytes(), rng)
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)


def files_of(directory: Path) -> list[Path]:
    """Returns all files under a directory, sorted."""
    return sorted(path for path in directory.rglob("*") if path.is_file())


def copy(directory: Path, to: Path) -> Path:
    """Replaces `to` with a copy of a directory."""
    shutil.rmtree(to, ignore_errors=True)
    return shutil.copytree(directory, to)


if __name__ == "__main__":
    kill_at(sys.argv[1], int(sys.argv[2]))
    sys.argv = sys.argv[3:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
