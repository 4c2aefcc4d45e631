"""Pre-training in processes of their own: tiny runs that several tests start."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
TINY = {
    "data.storyworld_megabytes": 0.1,
    "data.vocab_size": 500,
    "model.num_layers": 2,
    "model.width": 32,
    "model.num_heads": 2,
    "model.mlp_width": 64,
    "model.context_length": 16,
    "train.batch_size": 32,
    "train.max_steps": 10,
    "train.log_every_steps": 1,
    "train.eval_every_steps": 5,
    "train.checkpoint_every_steps": 3,
    "optim.warmup_steps": 2,
}


def start(
    workdir: Path,
    cache_dir: Path,
    devices: int = 1,
    experiment: str = "pretrain.py",
    stderr: int = subprocess.STDOUT,
    **overrides,
) -> subprocess.Popen:
    """A run of TINY; `a__b=c` stands for --config.a.b=c."""
    fields = TINY | {"data.cache_dir": cache_dir}
    if "init__path" in overrides:  # the tokenizer comes from there
        del fields["data.vocab_size"]
    fields |= {name.replace("__", "."): value for name, value in overrides.items()}
    env = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": str(cache_dir / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "gpt1_jax.main"),
            *("--config", ROOT / "experiments" / experiment),
            *("--workdir", workdir),
            *(f"--config.{name}={value}" for name, value in fields.items()),
        ],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if path.exists():
            return
        time.sleep(0.002)
    raise AssertionError(f"{path} never came")


def wait_for_rows(metrics: Path, count: int) -> None:
    wait_for(metrics)
    while metrics.read_text().count("\n") < count:
        time.sleep(0.002)


def rows_without_clock(workdir: Path) -> list[dict]:
    rows = []
    for line in (workdir / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        rows.append({k: v for k, v in row.items() if "per_second" not in k})
    return rows


def losses(workdir: Path) -> np.ndarray:
    return np.array([row["train/loss"] for row in rows_without_clock(workdir)])
