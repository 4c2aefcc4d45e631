"""Dropout by a counter-based hash beside flax's, which draws threefry bits.

    python -m benchmarks.dropout --shape 4,12,128,128

Each side scales an array of attention's size by a mask and weights, sums it, and takes
the gradient, in one compiled program; `none` does the same without a mask. Medians of
many calls in a process of its own, the sides in turn.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from absl import flags

from benchmarks import side_by_side
from gpt1_jax import terminal
from gpt1_jax.cli import app
from gpt1_jax.distributed import runtime
from gpt1_jax.models import dropout

_FLAGS = flags.FlagValues()
_COMPARISON = side_by_side.define("dropout", _FLAGS, ("counter", "flax", "none"))
_SHAPE = flags.DEFINE_list(
    "shape", ["4", "12", "128", "128"], "Rows first.", flag_values=_FLAGS
)
_RATE = flags.DEFINE_float(
    "rate", 0.1, "Share that is dropped.", 0.01, 0.99, flag_values=_FLAGS
)

_LEAST_CALLS, _LEAST_SECONDS = 10, 3.0


def main() -> None:
    """Runs the command."""
    shape = tuple(map(int, _SHAPE.value))
    if side := _COMPARISON.side.value:
        print(json.dumps(_measure(side, shape)))
        return
    rounds = side_by_side.in_turn(
        _COMPARISON,
        lambda run: f"{run['seconds'] * 1e3:.2f} ms",
        side_by_side.CPU_ONLY,
    )
    sides = side_by_side.summary(rounds)
    found = side_by_side.report(
        _COMPARISON, sides, shape=shape, rate=_RATE.value, **_cost_of_masks(sides)
    )
    terminal.say(_render(found))
    side_by_side.write(_COMPARISON, found)


def _measure(side: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """The median seconds of a call, and how much is kept."""
    runtime.keep_freed_memory()
    apply = {"counter": _counter, "flax": _flax, "none": lambda x, key: x}[side]
    x = jnp.ones(shape)
    weight = jax.random.normal(jax.random.key(1), shape)
    call = jax.jit(jax.value_and_grad(lambda x, key: (apply(x, key) * weight).sum()))
    kept = jax.jit(lambda x, key: (apply(x, key) != 0).mean())
    seconds: list[float] = []
    while len(seconds) < _LEAST_CALLS or sum(seconds) < _LEAST_SECONDS:
        key = jax.block_until_ready(jax.random.key(len(seconds)))
        began = time.perf_counter()
        jax.block_until_ready(call(x, key))
        seconds.append(time.perf_counter() - began)
    # The first compiles.
    return {
        "seconds": statistics.median(seconds[1:]),
        "calls": len(seconds) - 1,
        "kept": float(kept(x, jax.random.key(0))),
    }


def _counter(x: jax.Array, key: jax.Array) -> jax.Array:
    """As models.transformer does it."""
    row_N = jnp.arange(len(x), dtype=jnp.uint32)
    seed_N2 = dropout.row_seeds(key, row_N)
    own_N2 = dropout.site_seeds(seed_N2, 0, dropout.ATTENTION)
    return dropout.drop(x, _RATE.value, own_N2)


def _flax(x: jax.Array, key: jax.Array) -> jax.Array:
    layer: Callable[..., Any] = nn.Dropout(_RATE.value, deterministic=False)
    return layer.apply({}, x, rngs={"dropout": key})


def _cost_of_masks(sides: dict[str, Any]) -> dict[str, float]:
    """How often the cost of our mask flax's has, what both do without one apart."""
    if not {"flax", "none"} <= sides.keys():
        return {}
    without = sides["none"]["median_seconds"]
    ours, theirs = (
        sides[side]["median_seconds"] - without for side in ("counter", "flax")
    )
    return {"flax_over_counter_without_the_rest": theirs / ours}


def _render(found: dict[str, Any]) -> str:
    """The report as lines for the terminal."""
    sides = found["sides"]
    lines = [
        f"{side:<8} {row['median_seconds'] * 1e3:8.2f} ms, keeps "
        f"{row['rounds'][0]['kept']:.4f}"
        for side, row in sides.items()
    ]
    lines += side_by_side.ratio_lines(sides)
    if "flax_over_counter_without_the_rest" in found:
        ratio = found["flax_over_counter_without_the_rest"]
        lines.append(f"flax / counter, without what `none` takes: {ratio:.1f}")
    lines.append(f"shape {found['shape']}, float32, forward and backward")
    return "\n".join([*lines, side_by_side.machine_line(found)])


if __name__ == "__main__":
    app.run(main, _FLAGS)
