"""Compares our training step with torch's, transformers' and simpler ones of ours.

    python -m benchmarks.train_step --config experiments/pretrain.py:paper

Sizes, dropout and optimizer come from the experiment; tokens are random. A measurement
runs in a process of its own, on a GPU where there is one, for at least 5 seconds. To
measure the CPU of a machine with a GPU, set JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES=.
--sides=jax,jax_naive and others leave out optimisations for GPUs; see
benchmarks/techniques.py. Needs the extra: pip install -e '.[benchmarks]'
"""

import importlib.util
import json
import tempfile
from typing import Any

from benchmarks import side_by_side, steps, techniques
from experiments import pretrain
from gpt1_jax import config as config_lib
from gpt1_jax import errors
from gpt1_jax.cli import app, experiment
from gpt1_jax.config import RunConfig

_FLAGS = experiment.ExperimentFlags()
_PEERS = ("torch", "torch_compile", "transformers")
_COMPARISON = side_by_side.define(
    "train_step",
    _FLAGS,
    (
        "jax",
        *techniques.SIDES,
        *_PEERS,
        "torch_compile_padded",  # a vocabulary of a multiple of 128
        "torch_compile_no_dropout",
    ),
    default=("jax", *_PEERS),
)
# Dense bfloat16 products in TFLOP/s, by the vendor's datasheets.
_PEAKS = {"H100": 989, "H200": 989, "A100": 312}
_COLUMNS = {
    "ms": lambda row: f"{row['median_seconds'] * 1e3:,.1f}",
    "tokens/s": lambda row: f"{row['tokens_per_second']:,.0f}",
    "TFLOP/s": lambda row: f"{row['tflop_per_second']:.3f}",
    "of peak": lambda row: f"{row['utilisation']:.1%}" if row["utilisation"] else "",
    "over jax": side_by_side.ratio,
    "GB": lambda row: f"{row['gigabytes']:.1f}" if row["gigabytes"] else "",
    "loss": lambda row: f"{row['rounds'][0]['first_loss']:.3f}",
}


def main() -> None:
    """Runs the command."""
    given = experiment.resolve(_FLAGS) if _FLAGS.config else pretrain.get_config()
    config = steps.check(given)
    if side := _COMPARISON.side.value:
        own = techniques.variant(side, config)
        print(json.dumps(steps.measure(_make(side, own), own)))
        return
    side_by_side.check_sides(_COMPARISON)
    needs_torch = not all(side.startswith("jax") for side in _COMPARISON.sides.value)
    if needs_torch and not importlib.util.find_spec("torch"):
        raise errors.RunFailed(
            "torch is not installed; some of --sides need it; name only sides of jax "
            "or run pip install -e '.[benchmarks]'"
        )
    with tempfile.TemporaryDirectory() as compiled:  # later rounds compile nothing
        rounds = side_by_side.run_rounds(
            _COMPARISON,
            side_by_side.in_processes(
                _COMPARISON, {"JAX_COMPILATION_CACHE_DIR": compiled}
            ),
            lambda run: f"{run['seconds'] * 1e3:,.1f} ms a step",
        )
    _publish(config, rounds)


def _make(side: str, config: RunConfig) -> steps.Step:
    if side.startswith("jax"):
        from benchmarks import jax_side

        with techniques.patched(side):
            return jax_side.make(config, techniques.chunk_elements(side))
    from benchmarks import torch_sides

    return torch_sides.make(side, config)


def _publish(config: RunConfig, rounds: side_by_side.Rounds) -> None:
    padded = "torch_compile_padded"
    counts = {runs[0]["num_parameters"] for n, runs in rounds.items() if n != padded}
    assert len(counts) == 1, f"the sides have {counts} parameters"
    tokens = config.train.batch_size * config.model.context_length
    flop = tokens * steps.flop_per_token(config.model, config.data.vocab_size)
    device = rounds["jax"][0]["device"]
    peak = next((peak for name, peak in _PEAKS.items() if name in device), None)
    sides = side_by_side.summary(rounds)
    for row in sides.values():
        row |= _rates(row, tokens, flop, peak)
    side_by_side.publish(
        _COMPARISON,
        sides,
        _COLUMNS,
        device=device,
        num_parameters=counts.pop(),
        peak_tflop_per_second=peak,
        tokens_per_step=tokens,
        tflop_per_step=flop / 1e12,
        flop_convention=steps.FLOP_CONVENTION,
        config=config_lib.flatten(config),
    )


def _rates(row: dict[str, Any], tokens: int, flop: int, peak: int | None) -> dict:
    tflop_per_second = flop / row["median_seconds"] / 1e12
    return {
        "tokens_per_second": tokens / row["median_seconds"],
        "tflop_per_second": tflop_per_second,
        "utilisation": peak and tflop_per_second / peak,
        "gigabytes": row["rounds"][0]["bytes"] / 1e9,
    }


if __name__ == "__main__":
    app.run(main, _FLAGS)
