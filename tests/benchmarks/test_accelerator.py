"""The comparison on an accelerator, run on a CPU, where its numbers say little."""

import json
import subprocess

import pytest

from benchmarks import accelerator
from gpt1_jax.config import RunConfig
from tests.processes import ROOT, run_module

TINY = {
    "model.num_layers": 1,
    "model.width": 16,
    "model.num_heads": 1,
    "model.mlp_width": 16,
    "model.context_length": 8,
    "data.vocab_size": 300,
    "train.batch_size": 2,
    "train.max_steps": 100,
}


def run(*arguments: str) -> subprocess.CompletedProcess:
    return run_module(
        "benchmarks.accelerator",
        [
            "--rounds=2",
            *("--config", str(ROOT / "experiments/pretrain.py")),
            *(f"--config.{name}={value}" for name, value in TINY.items()),
            *arguments,
        ],
    )


def test_sides_are_compiled_at_once_and_measured_in_turn(tmp_path):
    done = run("--sides=jax,jax_naive,jax_no_dropout", f"--output={tmp_path}/a.json")
    assert done.returncode == 0, done.stderr
    lines = [line.split(":")[0] for line in done.stdout.splitlines()]
    sides = ["jax", "jax_naive", "jax_no_dropout"]
    in_turn = [f"round {number}, {side}" for number in (1, 2) for side in sides]
    assert [line for line in lines if line.startswith("round")] == in_turn
    found = json.loads((tmp_path / "a.json").read_text())
    assert (list(found["sides"]), found["left_out"]) == (sides, {})
    losses = [row["rounds"][0]["loss"] for row in found["sides"].values()]
    # Other masks, or none: other losses, near those of guessing among 300.
    assert len(set(losses)) == 3
    assert all(5.5 < loss < 5.9 for loss in losses)


@pytest.mark.parametrize("sides", ["jax_naive,jax", "jax,jax_typo"])
def test_sides_must_be_known_and_jax_the_first(sides):
    done = run(f"--sides={sides}")
    assert done.returncode == 2
    assert f"error: --sides={sides}; jax, and any of jax_plain" in done.stderr


def test_each_side_differs_from_jax_in_what_its_name_says():
    config = RunConfig()
    plain = accelerator.variant("jax", config)
    assert plain.model.compute_dtype == "bfloat16"
    assert accelerator.variant("jax_plain_attention", config).model.attention == "xla"
    without = accelerator.variant("torch_compile_no_dropout_bf16", config).model
    assert without.embedding_dropout == without.attention_dropout == 0.0
    padded = accelerator.variant("torch_compile_padded_bf16", config)
    assert padded.data.vocab_size == 40_576
    assert plain.data.vocab_size == 40_478
