"""How a training step's time and memory grow with batch, length and depth, on this CPU.

    python -m benchmarks.scaling

From one size, each of the three is doubled in turn, all else equal. Each size is
measured in a process of its own: the bytes that its compiled step needs at once, the
state among them, and the median time of its steps.
"""

import json
from typing import Any

from absl import flags

from benchmarks import flop, side_by_side, steps
from gpt1_jax import terminal
from gpt1_jax.cli import app
from gpt1_jax.config import DataConfig, ModelConfig, RunConfig, TrainConfig

_FLAGS = flags.FlagValues()
_BASE = {"batch_size": 4, "context_length": 128, "num_layers": 4}
_TIMES = {"batch_size": (2, 4), "context_length": (2, 4), "num_layers": (2, 3)}
_GRID = {"base": _BASE} | {
    f"{name} x {times}": _BASE | {name: times * _BASE[name]}
    for name, factors in _TIMES.items()
    for times in factors
}
_COMPARISON = side_by_side.define("scaling", _FLAGS, tuple(_GRID), rounds=1)
_WIDTH = flags.DEFINE_integer(
    "width", 512, "Of the model; heads of 64.", 64, flag_values=_FLAGS
)
_VOCAB_SIZE = flags.DEFINE_integer(
    "vocab_size", 8000, "Rows of the token table.", 300, flag_values=_FLAGS
)
_REMAT = flags.DEFINE_bool("remat", False, "config.train.remat.", flag_values=_FLAGS)


def main() -> None:
    """Runs the command."""
    if side := _COMPARISON.side.value:
        print(json.dumps(_measure(_config(_GRID[side]))))
        return
    rounds = side_by_side.in_turn(
        _COMPARISON,
        lambda run: f"{run['seconds']:.3f} s, {run['bytes'] / 1e6:,.0f} MB",
        side_by_side.CPU_ONLY,
    )
    sides = side_by_side.summary(rounds)
    for side, row in sides.items():
        config = _config(_GRID[side])
        tokens = config.train.batch_size * config.model.context_length
        operations = tokens * flop.per_token(config.model, config.data.vocab_size)
        row |= _GRID[side] | {
            "tokens_per_second": tokens / row["median_seconds"],
            "gflop_per_second": operations / row["median_seconds"] / 1e9,
            "megabytes": row["rounds"][0]["bytes"] / 1e6,
            "state_megabytes": row["rounds"][0]["num_parameters"] * 12 / 1e6,
        }
    found = side_by_side.report(
        _COMPARISON,
        sides,
        width=_WIDTH.value,
        vocab_size=_VOCAB_SIZE.value,
        remat=_REMAT.value,
        flop_convention=flop.CONVENTION,
    )
    terminal.say(_render(found))
    side_by_side.write(_COMPARISON, found)


def _config(sizes: dict[str, int]) -> RunConfig:
    W = _WIDTH.value
    model = ModelConfig(
        width=W,
        num_heads=W // 64,
        mlp_width=4 * W,
        num_layers=sizes["num_layers"],
        context_length=sizes["context_length"],
        compute_dtype="float32",
    )
    train = TrainConfig(batch_size=sizes["batch_size"], remat=_REMAT.value)
    return RunConfig(
        model=model, train=train, data=DataConfig(vocab_size=_VOCAB_SIZE.value)
    )


def _measure(config: RunConfig) -> dict[str, Any]:
    from benchmarks import jax_side

    return steps.measure(jax_side.make(config), config)


def _render(found: dict[str, Any]) -> str:
    """The report as a table for the terminal and for docs/performance.md."""
    lines = [
        "| layers | batch x length | s a step | tokens/s | GFLOP/s | MB | state, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["sides"].values():
        lines.append(
            f"| {row['num_layers']} | {row['batch_size']} x {row['context_length']} | "
            f"{row['median_seconds']:.3f} | {row['tokens_per_second']:,.0f} | "
            f"{row['gflop_per_second']:.0f} | {row['megabytes']:,.0f} | "
            f"{row['state_megabytes']:,.0f} |"
        )
    lines.append(
        f"width {found['width']}, vocabulary {found['vocab_size']:,}, float32; state: "
        "parameters and two moments"
    )
    return "\n".join([*lines, side_by_side.machine_line(found)])


if __name__ == "__main__":
    app.run(main, _FLAGS)
