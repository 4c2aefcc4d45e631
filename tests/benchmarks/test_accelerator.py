"""The comparison on an accelerator, run on a CPU, where its numbers say little."""

import json
import subprocess
import types

import jax
import jax.numpy as jnp
import pytest

from benchmarks import accelerator, jax_side, steps, techniques
from gpt1_jax import config as config_lib
from gpt1_jax import errors as errors_lib
from gpt1_jax.config import RunConfig
from gpt1_jax.distributed import mesh
from gpt1_jax.models import attention, flash_attention
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
    plain = techniques.variant("jax", config)
    assert plain.model.compute_dtype == "bfloat16"
    assert techniques.variant("jax_plain_attention", config).model.attention == "xla"
    without = techniques.variant("torch_compile_no_dropout_bf16", config).model
    assert without.embedding_dropout == without.attention_dropout == 0.0
    padded = techniques.variant("torch_compile_padded_bf16", config)
    assert padded.data.vocab_size == 40_576
    assert plain.data.vocab_size == 40_478


class FakeLibrary:
    """Sides that take a second a step, but `failing`, which fails the second time."""

    def __init__(self, failing: str):
        self._failing, self._asked = failing, []

    def measure(self, side: str) -> dict:
        self._asked.append(side)
        if side == self._failing and self._asked.count(side) == 2:
            return {"error": "too little memory"}
        return {"seconds": 1.0}


def test_a_side_that_fails_is_left_out_and_costs_no_other(capsys):
    sides = ["jax", "jax_naive", "jax_unpadded"]
    rounds, errors = accelerator._in_turn({"jax": FakeLibrary("jax_naive")}, sides, 3)
    measured = {side: len(runs) for side, runs in rounds.items()}
    assert measured == {"jax": 3, "jax_unpadded": 3}
    assert errors == {"jax_naive": "too little memory"}
    assert "round 2, jax_naive: too little memory" in capsys.readouterr().out
    with pytest.raises(
        errors_lib.RunFailed, match="jax failed: too little memory; the oth"
    ):
        accelerator._in_turn({"jax": FakeLibrary("jax")}, sides, 3)


def program(monkeypatch, side: str) -> tuple[str, object]:
    """What a tiny step of `side` is lowered to, as on a GPU, and with which options.

    A kernel is lowered for GPUs alone: here a sine stands for it.
    """
    given = config_lib.to_config_dict(RunConfig(job="pretrain"))
    given.update_from_flattened_dict(TINY)
    jit_step, lowered = mesh.jit_step, []

    def spy(*arguments):
        def lower(*inputs):
            lowered.append(jit_step(*arguments).lower(*inputs).as_text())

        return types.SimpleNamespace(lower=lower)

    with monkeypatch.context() as patches:
        patches.setattr(jax, "default_backend", lambda: "gpu")
        patches.setattr(mesh, "jit_step", spy)
        patches.setattr(mesh, "_compiler_options", lambda: mesh._GPU_OPTIONS)
        patches.setattr(attention, "_has_kernel", lambda *_: True)
        patches.setattr(
            flash_attention, "flash_attention", lambda qkv, *_: jnp.sin(qkv[:, :, 2])
        )
        with techniques.patched(side):
            jax.clear_caches()
            config = techniques.variant(side, steps.checked(given))
            jax_side.traced(config, techniques.chunk_elements(side))
            options = mesh._compiler_options()
    jax.clear_caches()
    return lowered[0], options


def test_each_side_of_jax_is_another_program(monkeypatch):
    sides = ["jax", *techniques.SIDES]
    programs = [program(monkeypatch, side) for side in sides]
    assert len(sides) == len(set(map(str, programs))) == 11
