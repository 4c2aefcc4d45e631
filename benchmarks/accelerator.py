"""A training step on this GPU: with all techniques, without one, and PyTorch's.

    python -m benchmarks.accelerator
    python -m benchmarks.accelerator --sides=jax,jax_naive,torch_compile_bf16

The paper's model at 64 x 512 tokens unless --config says otherwise, bfloat16, dropout
0.1, clipping and Adam on every side. One process a library, which compiles its sides
while the other does; then the sides in turn, 20 steps each, handed over without waiting
between. Needs a GPU and the extras: pip install -e '.[cuda,benchmarks]'
"""

import concurrent.futures
import gc
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import flags

from benchmarks import flop, side_by_side, steps, techniques
from experiments import pretrain
from gpt1_jax import config as config_lib
from gpt1_jax import errors, terminal
from gpt1_jax.cli import app, experiment
from gpt1_jax.config import RunConfig

_FLAGS = flags.FlagValues()
_CONFIG = experiment.define_config(_FLAGS)
_COMPARISON = side_by_side.define(
    "accelerator",
    _FLAGS,
    (
        "jax",
        *techniques.SIDES,
        "torch_bf16",
        "torch_compile_bf16",
        "torch_compile_padded_bf16",  # a vocabulary of whole tiles
        "torch_compile_no_dropout_bf16",
        "transformers_bf16",
    ),
    rounds=3,
)
_COMPILE_SECONDS = flags.DEFINE_integer(
    "compile_seconds",
    900,
    "Sides that take longer to compile are left out.",
    flag_values=_FLAGS,
)
_WARM_UP_STEPS, _STEPS = 3, 20
# Dense bfloat16 products, TFLOP/s, by the vendor's datasheet.
_PEAKS = {"H100": 989, "H200": 989, "A100": 312}
# The share of the memory that JAX takes: half of it beside the other library.
_SHARE = "XLA_PYTHON_CLIENT_MEM_FRACTION"


def main() -> None:
    """Runs the command."""
    given = _FLAGS["config"].present
    config = steps.checked(_CONFIG.value if given else pretrain.get_config("paper"))
    if side := _COMPARISON.side.value:
        _serve(_library_of(side), config)
        return
    side_by_side.check_sides(_COMPARISON)
    named = {_library_of(side) for side in _COMPARISON.sides.value}
    if "torch" in named and not importlib.util.find_spec("torch"):
        raise errors.RunFailed(
            "torch is not installed; some of --sides need it; name only those of jax "
            "or run pip install -e '.[cuda,benchmarks]'"
        )
    os.environ.setdefault(_SHARE, "0.5" if len(named) > 1 else "0.9")
    started = {library: _Library(library) for library in sorted(named)}
    made: dict[str, dict[str, Any]] = {}
    for library in started.values():
        for found in library.until_ready():
            terminal.say(json.dumps(found))
            made[found["side"]] = found
    left_out = {side: row["error"] for side, row in made.items() if "error" in row}
    if "jax" in left_out:
        raise _no_baseline(left_out["jax"])
    device = made["jax"]["device"]
    ready = [side for side in _COMPARISON.sides.value if side not in left_out]
    rounds, failed = _in_turn(started, ready, _COMPARISON.rounds.value)
    for library in started.values():
        library.stop()
    left_out |= failed
    found = _make_report(config, device, rounds) | {"left_out": left_out}
    terminal.say(_render(found))
    side_by_side.write(_COMPARISON, found)


def _in_turn(
    started: dict[str, "_Library"], sides: list[str], num_rounds: int
) -> tuple[side_by_side.Rounds, dict[str, str]]:
    """The measurements of each side, A B A B, and the errors of those that failed.

    Raises: RunFailed: jax is one of them.
    """
    rounds: side_by_side.Rounds = {side: [] for side in sides}
    failed: dict[str, str] = {}
    for number in range(1, num_rounds + 1):
        for side in list(rounds):
            run = started[_library_of(side)].measure(side)
            if "error" not in run:
                rounds[side].append(run)
                shown = f"{run['seconds'] * 1e3:.2f} ms a step"
            elif side == "jax":
                raise _no_baseline(run["error"])
            else:
                shown = failed[side] = run["error"]
                del rounds[side]
            terminal.say(f"round {number}, {side}: {shown}")
    return rounds, failed


def _no_baseline(error: str) -> errors.RunFailed:
    return errors.RunFailed(
        f"the side jax failed: {error}; the others are compared with it; with too "
        "little memory name fewer --sides"
    )


def _library_of(side: str) -> str:
    return "jax" if side.startswith("jax") else "torch"


class _Library:
    """A process that has the sides of one library, and measures them when told."""

    def __init__(self, name: str):
        side = next(s for s in _COMPARISON.known if _library_of(s) == name)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, *sys.argv[1:], f"--side={side}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def until_ready(self) -> Iterator[dict[str, Any]]:
        """What it says while it compiles."""
        while (line := self._line()) != "ready\n":
            yield json.loads(line)

    def measure(self, side: str) -> dict[str, Any]:
        """Seconds of a step of `side`, or the error that it ends with."""
        self._process.stdin.write(side + "\n")
        self._process.stdin.flush()
        return json.loads(self._line())

    def _line(self) -> str:
        """The next line that it prints. Raises: RunFailed: there is none."""
        if line := self._process.stdout.readline():
            return line
        raise errors.RunFailed(
            f"a library's process ended with exit code {self._process.wait()}; its "
            "message is above; with too little memory name fewer --sides"
        )

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def _serve(library: str, config: RunConfig) -> None:
    """Compiles the sides of `library`; measures those that standard input names."""
    sides: dict[str, steps.Side] = {}
    named = [s for s in _COMPARISON.sides.value if _library_of(s) == library]
    make_all = _make_jax if library == "jax" else _make_torch
    for side, made, seconds in make_all(named, config):
        if isinstance(made, str):
            _tell({"side": side, "error": made})
            continue
        sides[side] = made
        _tell(
            {
                "side": side,
                "compile_seconds": seconds,
                "device": _device_name(library),
                "megabytes": made.memory / 1e6,
            }
        )
    print("ready", flush=True)
    for line in sys.stdin:
        side = line.strip()
        try:
            found = _measure(sides[side], library, config)
        except Exception as error:  # too little memory, for one; others may have enough
            found = {"error": _told(error)}
            del sides[side]
        _release(library)
        _tell(found)


def _told(error: Exception) -> str:
    """As text, since an error holds on to all that its frames have, a model too."""
    return repr(error)[:500]


def _release(library: str) -> None:
    """Gives memory that is not used back, for the other library and other sides."""
    if library == "torch":
        import torch

        gc.collect()
        torch.cuda.empty_cache()


def _tell(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


def _device_name(library: str) -> str:
    if library == "jax":
        import jax

        return jax.devices()[0].device_kind
    import torch

    return torch.cuda.get_device_name() if _torch_device() == "cuda" else "cpu"


# Of each side: its step, or the error that it ends with; seconds.
Made = Iterator[tuple[str, steps.Side | str, float]]


def _make_jax(named: list[str], config: RunConfig) -> Made:
    """Sides traced one after the other, compiled at once."""
    import jax

    from benchmarks import jax_side

    def finish(make: Callable[[], steps.Side]) -> tuple[Any, float]:
        began = time.perf_counter()
        try:
            return make(), time.perf_counter() - began
        except Exception as error:  # a side that fails must not take the others along
            return _told(error), 0.0

    end = time.monotonic() + _COMPILE_SECONDS.value
    pool, started = concurrent.futures.ThreadPoolExecutor(len(named) or 1), {}
    for side in named:
        jax.clear_caches()  # else a block that was traced before is taken
        with techniques.patched(side):
            traced = jax_side.traced(
                techniques.variant(side, config), techniques.chunk_elements(side)
            )
        started[side] = pool.submit(finish, traced)
    for side, future in started.items():
        try:
            yield side, *future.result(max(0, end - time.monotonic()))
        except TimeoutError:
            yield side, _late(), 0.0


def _late() -> str:
    return f"not compiled after {_COMPILE_SECONDS.value} s"


def _make_torch(named: list[str], config: RunConfig) -> Made:
    """Sides one after the other, each after its first two steps, which compile."""
    end = time.monotonic() + _COMPILE_SECONDS.value
    for side in named:
        began = time.perf_counter()
        made = _late() if time.monotonic() > end else _start_torch(side, config)
        _release("torch")
        yield side, made, time.perf_counter() - began


def _start_torch(side: str, config: RunConfig) -> steps.Side | str:
    """A side after its first two steps, or the error that it ends with."""
    import torch

    from benchmarks import torch_sides

    own = techniques.variant(side, config)
    tokens = _tokens(own)
    try:
        num_parameters, start = torch_sides.make(side, own, _torch_device())

        def on_device(tokens_BL: np.ndarray) -> torch.Tensor:
            tokens = torch.from_numpy(tokens_BL)
            return start(tokens.to(_torch_device(), non_blocking=True))

        for _ in range(2):
            loss = on_device(tokens).item()
        assert np.isfinite(loss), loss
    except Exception as error:  # as above
        return _told(error)
    return steps.Side(
        num_parameters, lambda tokens: on_device(tokens).item(), 0, on_device
    )


def _torch_device() -> str:
    """The GPU; without one the CPU, to try the benchmark on."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _tokens(config: RunConfig) -> np.ndarray:
    shape = (config.train.batch_size, config.model.context_length + 1)
    return np.random.default_rng(0).integers(config.data.vocab_size, size=shape)


def _measure(side: steps.Side, library: str, config: RunConfig) -> dict[str, Any]:
    tokens_BL = _tokens(config)
    for _ in range(_WARM_UP_STEPS):
        first = side.start(tokens_BL)
    _wait(first, library)
    began = time.perf_counter()
    for _ in range(_STEPS):
        last = side.start(tokens_BL)
    _wait(last, library)
    seconds = (time.perf_counter() - began) / _STEPS
    loss = float(last[0]) / float(last[1]) if library == "jax" else last.item()
    return {
        "seconds": seconds,
        "steps": _STEPS,
        "loss": loss,
        "bytes": side.memory,
    }


def _wait(found: Any, library: str) -> None:
    if library == "jax":
        import jax

        jax.block_until_ready(found)
    elif _torch_device() == "cuda":
        import torch

        torch.cuda.synchronize()


def _make_report(
    config: RunConfig, device: str, rounds: side_by_side.Rounds
) -> dict[str, Any]:
    """All that is shown and written."""
    tokens = config.train.batch_size * config.model.context_length
    operations = tokens * flop.per_token(config.model, config.data.vocab_size)
    peak = next((peak for name, peak in _PEAKS.items() if name in device), None)
    sides = side_by_side.summary(rounds)
    for row in sides.values():
        row["tokens_per_second"] = tokens / row["median_seconds"]
        row["tflop_per_second"] = operations / row["median_seconds"] / 1e12
        row["utilisation"] = peak and row["tflop_per_second"] / peak
    return side_by_side.report(
        _COMPARISON,
        sides,
        device=device,
        peak_tflop_per_second=peak,
        tokens_per_step=tokens,
        tflop_per_step=operations / 1e12,
        flop_convention=flop.CONVENTION,
        config=config_lib.flatten(techniques.variant("jax", config)),
    )


def _render(found: dict[str, Any]) -> str:
    lines = [
        f"{'side':<30} {'ms':>8} {'tokens/s':>9} {'TFLOP/s':>8} {'of peak':>8} "
        f"{'over jax':>8} {'GB':>6} {'loss':>7}"
    ]
    for side, row in found["sides"].items():
        share = f"{row['utilisation']:.1%}" if row["utilisation"] else "?"
        lines.append(
            f"{side:<30} {row['median_seconds'] * 1e3:>8.2f} "
            f"{row['tokens_per_second']:>9,.0f} {row['tflop_per_second']:>8.1f} "
            f"{share:>8} {row['over_first']:>8.2f} "
            f"{row['rounds'][0]['bytes'] / 1e9 or float('nan'):>6.1f} "
            f"{row['rounds'][0]['loss']:>7.3f}"
        )
    lines += [
        f"{found['device']}, {found['tokens_per_step']:,} tokens a step, "
        f"{found['tflop_per_step']:.2f} TFLOP; peak {found['peak_tflop_per_second']}",
        side_by_side.machine_line(found),
        f"FLOP {found['flop_convention']}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main, _FLAGS)
