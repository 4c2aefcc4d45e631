"""Times a training command from its start to the end of its first step.

    python -m benchmarks.startup --config experiments/pretrain.py

`warm` and `cold` run gpt1_jax.main on a prepared corpus, with and without programs that
an earlier run compiled. `import` only imports what the command imports.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import side_by_side
from gpt1_jax import errors, terminal
from gpt1_jax.cli import app, experiment
from gpt1_jax.workdirs import workdir as workdir_lib

_FLAGS = experiment.ExperimentFlags()
_COMPARISON = side_by_side.define("startup", _FLAGS, ("warm", "cold", "import"))
# The variable that names the directory that all sides' processes share.
_SHARED = "GPT1_JAX_BENCHMARK_DIR"
_POLL_SECONDS = 0.005


def main() -> None:
    """Runs the command."""
    experiment.resolve(_FLAGS)  # reports mistakes in it before anything runs
    if side := _COMPARISON.side.value:
        seconds = _measure(side, Path(os.environ[_SHARED]))
        print(json.dumps({"seconds": seconds}))
        return
    with tempfile.TemporaryDirectory() as name:
        terminal.say("a first run prepares the corpus and compiles")
        _first_step(Path(name))
        measures = side_by_side.in_processes(
            _COMPARISON, side_by_side.CPU_ONLY | {_SHARED: name}
        )
        rounds = side_by_side.run_rounds(
            _COMPARISON, measures, lambda run: f"{run['seconds']:.2f} s"
        )
    side_by_side.publish(
        _COMPARISON,
        side_by_side.summary(rounds),
        {
            "s": lambda row: f"{row['median_seconds']:.2f}",
            "over warm": side_by_side.ratio,
        },
    )


def _measure(side: str, shared: Path) -> float:
    """Returns the seconds that a side takes in a new process."""
    if side == "import":
        began = time.perf_counter()
        script = "import gpt1_jax.main, gpt1_jax.jobs.pretrain"
        subprocess.run([sys.executable, "-c", script], check=True)
        return time.perf_counter() - began
    compiled, aside = shared / "cache" / "compiled", shared / "kept"
    if side == "cold":
        compiled.rename(aside)
    seconds = _first_step(shared)
    if side == "cold":
        shutil.rmtree(compiled)
        aside.rename(compiled)
    return seconds


def _config_flags() -> list[str]:
    """Returns --config and its overrides as given."""
    overrides = [f"--config.{path}={text}" for path, text in _FLAGS.overrides.items()]
    return [f"--config={_FLAGS.config}", *overrides]


def _first_step(shared: Path) -> float:
    """Returns the seconds from the start of gpt1_jax.main to its first logged step."""
    workdir = shared / "run"
    shutil.rmtree(workdir, ignore_errors=True)
    rows = workdir / workdir_lib.METRICS_FILE
    command_line = [sys.executable, "-m", "gpt1_jax.main", *_config_flags()]
    command_line += [
        f"--workdir={workdir}",
        f"--config.data.cache_dir={shared / 'cache'}",
        "--config.train.log_every_steps=1",
    ]
    environment = dict(os.environ)
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    began = time.perf_counter()
    process = subprocess.Popen(command_line, env=environment, stdout=subprocess.DEVNULL)
    try:
        while not (rows.is_file() and rows.stat().st_size):
            if process.poll() is not None:
                raise errors.RunFailed(
                    f"{' '.join(command_line)} ended with exit code "
                    f"{process.returncode}; it must reach its first step; its message "
                    "is above"
                )
            time.sleep(_POLL_SECONDS)
        return time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    app.run(main, _FLAGS)
