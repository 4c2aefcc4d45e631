"""From the start of a command to the end of its first training step, and imports.

    python -m benchmarks.startup --config experiments/pretrain.py

`cold` and `warm` are `gpt1_jax.main` with the config given, on a corpus that is
prepared, without and with the programs that an earlier run compiled. `transformers`
is a script with torch and its OpenAIGPT, of the same sizes on the same tokens, eager
(benchmarks/startup_peer.py). The other two sides only import what these import.
Needs the extra: pip install -e '.[benchmarks]'
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from benchmarks import side_by_side
from gpt1_jax import errors, terminal
from gpt1_jax.cli import app, experiment
from gpt1_jax.data.text import corpus
from gpt1_jax.workdirs import workdir as workdir_lib

_FLAGS = flags.FlagValues()
_CONFIG = experiment.define_config(_FLAGS)
_COMPARISON = side_by_side.define(
    "startup", _FLAGS, ("warm", "cold", "transformers", "import", "import transformers")
)
_IMPORTS = {
    "import": "import gpt1_jax.main, gpt1_jax.jobs.pretrain",
    "import transformers": "from transformers import OpenAIGPTLMHeadModel",
}
# Where the processes of the sides find what they share.
_SHARED = "GPT1_JAX_BENCHMARK_DIR"
_POLL_SECONDS = 0.005


def main() -> None:
    """Runs the command."""
    experiment.resolve(_FLAGS)  # mistakes in it are told now
    if side := _COMPARISON.side.value:
        seconds = _measure(side, Path(os.environ[_SHARED]))
        print(json.dumps({"seconds": seconds}))
        return
    with tempfile.TemporaryDirectory() as name:
        terminal.say("a first run prepares the corpus and compiles")
        _first_step(Path(name))
        rounds = side_by_side.in_turn(
            _COMPARISON,
            lambda run: f"{run['seconds']:.2f} s",
            side_by_side.CPU_ONLY | {_SHARED: name},
        )
    sides = side_by_side.summary(rounds)
    found = side_by_side.report(_COMPARISON, sides)
    lines = [f"{of:<20} {row['median_seconds']:6.2f} s" for of, row in sides.items()]
    lines += side_by_side.ratio_lines(sides)
    terminal.say("\n".join([*lines, side_by_side.machine_line(found)]))
    side_by_side.write(_COMPARISON, found)


def _measure(side: str, shared: Path) -> float:
    """The seconds of one side, in new processes."""
    if side in _IMPORTS:
        return _seconds([sys.executable, "-c", _IMPORTS[side]])
    if side == "transformers":
        peer = [sys.executable, "-m", "benchmarks.startup_peer"]
        return _seconds([*peer, f"--store={_store(shared)}", *_config_flags()])
    compiled = shared / "cache" / "compiled"
    if side == "cold":
        kept = compiled.rename(shared / "kept")
    seconds = _first_step(shared)
    if side == "cold":
        shutil.rmtree(compiled)
        kept.rename(compiled)
    return seconds


def _store(shared: Path) -> Path:
    """The prepared tokens that the runs train on."""
    given = Path(_CONFIG.value.data.corpus).expanduser()
    if corpus.is_store(given):
        return given
    (prepared,) = (shared / "cache" / "stores").glob("[0-9a-f]*")
    return prepared


def _config_flags() -> list[str]:
    """--config and what of it was overridden."""
    given = sys.argv[1:]
    starts = [n for n, flag in enumerate(given) if flag.startswith("--config")]
    taken = [given[n : n + 1 + ("=" not in given[n])] for n in starts]
    return [word for words in taken for word in words]


def _seconds(command_line: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command_line, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _first_step(shared: Path) -> float:
    """From the start of gpt1_jax.main until it has logged its first step."""
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
                    f"{process.returncode} before its first step; its message is above"
                )
            time.sleep(_POLL_SECONDS)
        return time.perf_counter() - began
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    app.run(main, _FLAGS)
