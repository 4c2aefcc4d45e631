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
from typing import Any

from absl import flags

from benchmarks import flop, side_by_side, steps
from experiments import pretrain
from gpt1_jax import config as config_lib
from gpt1_jax import errors, terminal
from gpt1_jax.cli import app, experiment
from gpt1_jax.config import RunConfig

_FLAGS = flags.FlagValues()
_CONFIG = experiment.define_config(_FLAGS)
# jax is this project; the others are names of benchmarks.torch_sides.
_COMPARISON = side_by_side.define(
    "train_step",
    _FLAGS,
    (
        "jax",
        "jax_bf16",
        "torch",
        "torch_bf16",
        "torch_compile",
        "transformers",
        "transformers_bf16",
    ),
    default=("jax", "torch", "torch_compile", "transformers"),
)

_NOTES = (
    "all sides: the same sizes, dropout, clipping and tokens; float32 but for _bf16, "
    "which is bfloat16 in products, autocast in torch",
    "the update rule differs slightly, torch.optim.AdamW there (its defaults), and is "
    "a small share of a step: elementwise over the parameters",
)


def main() -> None:
    """Runs the command."""
    given = _FLAGS["config"].present
    config = steps.checked(_CONFIG.value if given else pretrain.get_config())
    if side := _COMPARISON.side.value:
        print(json.dumps(steps.measure(_make_side(side, config), config)))
        return
    if not importlib.util.find_spec("torch"):
        raise errors.RunFailed(
            "torch is not installed; the comparison needs it; run pip install -e "
            "'.[benchmarks]'"
        )
    rounds = side_by_side.in_turn(
        _COMPARISON,
        lambda run: f"{run['seconds'] * 1e3:,.1f} ms a step",
        side_by_side.CPU_ONLY,
    )
    found = make_report(config, rounds)
    terminal.say(render(found))
    side_by_side.write(_COMPARISON, found)


def _make_side(name: str, config: RunConfig) -> steps.Side:
    if name in ("jax", "jax_bf16"):
        from benchmarks import jax_side

        dtype = "float32" if name == "jax" else "bfloat16"
        model = dataclasses.replace(config.model, compute_dtype=dtype)
        return jax_side.make(dataclasses.replace(config, model=model))
    import torch

    from benchmarks import torch_sides

    num_parameters, train_step = torch_sides.make(name, config)
    return steps.Side(
        num_parameters, lambda tokens_BL: train_step(torch.from_numpy(tokens_BL)).item()
    )


def make_report(config: RunConfig, rounds: side_by_side.Rounds) -> dict[str, Any]:
    """All that is shown and written, from each side's measurements in order."""
    counts = {side: runs[0]["num_parameters"] for side, runs in rounds.items()}
    assert len(set(counts.values())) == 1, counts
    tokens = config.train.batch_size * config.model.context_length
    operations = tokens * flop.per_token(config.model, config.data.vocab_size)
    sides = side_by_side.summary(rounds)
    for row in sides.values():
        row["tokens_per_second"] = tokens / row["median_seconds"]
        row["gflop_per_second"] = operations / row["median_seconds"] / 1e9
    return side_by_side.report(
        _COMPARISON,
        sides,
        num_parameters=next(iter(counts.values())),
        tokens_per_step=tokens,
        gflop_per_step=operations / 1e9,
        flop_convention=flop.CONVENTION,
        notes=_NOTES,
        config=config_lib.flatten(config),
    )


def render(found: dict[str, Any]) -> str:
    """The report as lines for the terminal."""
    config = found["config"]
    lines = [
        f"{'side':<17} {'median ms':>10} {'min ms':>9} {'tokens/s':>10} {'GFLOP/s':>8}"
    ]
    for side, row in found["sides"].items():
        lines.append(
            f"{side:<17} {row['median_seconds'] * 1e3:>10,.1f} "
            f"{row['min_seconds'] * 1e3:>9,.1f} "
            f"{row['tokens_per_second']:>10,.0f} {row['gflop_per_second']:>8,.1f}"
        )
    lines += [
        *side_by_side.ratio_lines(found["sides"]),
        f"model: {config['model.num_layers']} layers, width {config['model.width']}, "
        f"vocabulary {config['data.vocab_size']:,}; {found['num_parameters']:,} "
        "parameters on all sides",
        f"step: {config['train.batch_size']} x {config['model.context_length']} "
        f"tokens, {found['gflop_per_step']:,.2f} GFLOP",
        side_by_side.machine_line(found),
        f"FLOP {found['flop_convention']}",
        *found["notes"],
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main, _FLAGS)
