"""Pre-training in processes of their own: tiny runs that several tests start."""

import json
import time
from pathlib import Path

import numpy as np

from tests.processes import Command

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


def arguments(
    workdir: Path, cache_dir: Path, experiment: str = "pretrain.py", **overrides
) -> list[str]:
    """The arguments of main for TINY; `a__b=c` stands for --config.a.b=c."""
    fields = TINY | {"data.cache_dir": cache_dir}
    if "init__path" in overrides:  # the tokenizer comes from there
        del fields["data.vocab_size"]
    fields |= {name.replace("__", "."): value for name, value in overrides.items()}
    return [
        f"--config={ROOT / 'experiments' / experiment}",
        f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in fields.items()),
    ]


def start(workdir: Path, cache_dir: Path, devices: int = 1, **more) -> Command:
    """A run with `arguments`, all that it prints in one stream."""
    return Command(
        ["main", *arguments(workdir, cache_dir, **more)],
        ROOT,
        {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"},
        is_one_stream=True,
    )


def finish(process: Command) -> str:
    output, _ = process.communicate()
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
