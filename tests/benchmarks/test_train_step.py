"""The comparison of training steps on a CPU, with the sides that need no torch."""

import json
import subprocess
import types

import jax
import jax.numpy as jnp
import pytest

from benchmarks import jax_side, steps, techniques
from gpt1_jax import config as config_lib
from gpt1_jax.config import RunConfig
from gpt1_jax.distributed import mesh
from gpt1_jax.errors import RunFailed
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


def run(benchmark: str, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a benchmark for two rounds of a tiny model."""
    return run_module(
        f"benchmarks.{benchmark}",
        [
            "--rounds=2",
            *("--config", str(ROOT / "experiments/pretrain.py")),
            *(f"--config.{name}={value}" for name, value in TINY.items()),
            *arguments,
        ],
    )


def test_sides_are_measured_in_turn_and_written(tmp_path):
    sides = ["jax", "jax_naive", "jax_no_dropout"]
    flags = f"--sides={','.join(sides)}", f"--output={tmp_path}/a.json"
    done = run("train_step", *flags)
    assert done.returncode == 0, done.stderr
    lines = [line.split(":")[0] for line in done.stdout.splitlines()]
    in_turn = [f"round {number}/2, {side}" for number in (1, 2) for side in sides]
    assert [line for line in lines if line.startswith("round")] == in_turn
    found = json.loads((tmp_path / "a.json").read_text())
    assert list(found["sides"]) == sides
    rounds = [row["rounds"] for row in found["sides"].values()]
    losses = [runs[0]["first_loss"] for runs in rounds]
    # Other masks, or none, give other losses, all near that of guessing among 300.
    assert len(set(losses)) == 3
    assert all(5.5 < loss < 5.9 for loss in losses)
    assert losses == [runs[1]["first_loss"] for runs in rounds]
    assert all(run["bytes"] > 0 for runs in rounds for run in runs)
    assert "| jax_naive " in done.stdout


def test_the_name_of_a_side_says_how_its_config_differs():
    config = RunConfig()
    assert techniques.variant("jax", config) == config
    assert techniques.variant("jax_plain_attention", config).model.attention == "xla"
    without = techniques.variant("torch_compile_no_dropout", config).model
    assert without.embedding_dropout == without.attention_dropout == 0.0
    padded = techniques.variant("torch_compile_padded", config)
    assert (padded.data.vocab_size, config.data.vocab_size) == (40_576, 40_478)


def test_steps_start_without_waiting_and_the_loss_must_be_finite():
    done = []
    step = steps.Step(5, lambda tokens_BL: done.append("started") or 2.0, float, "cpu")
    seconds, loss = steps.run(step, None, 7)
    assert (done, loss) == (["started"] * 7, 2.0)
    assert seconds < 0.1
    broken = steps.Step(5, lambda tokens_BL: "nan", float, "cpu")
    given = config_lib.to_config_dict(RunConfig(job="pretrain"))
    given.update_from_flattened_dict(TINY)
    with pytest.raises(RunFailed, match="the loss is nan after 1000 steps"):
        steps.measure(broken, steps.check(given))


class Lowered(Exception):
    """Stops a benchmark after lowering its step, before compiling it."""


def program(monkeypatch, side: str) -> tuple[str, object]:
    """Returns the program of a side's tiny step on a GPU, and XLA's options.

    A sine replaces the kernel, which can be lowered for GPUs only.
    """
    given = config_lib.to_config_dict(RunConfig(job="pretrain"))
    given.update_from_flattened_dict(TINY | {"model.compute_dtype": "bfloat16"})
    jit_step = mesh.jit_step

    def stop(*arguments):
        def lower(*inputs):
            raise Lowered(jit_step(*arguments).lower(*inputs).as_text())

        return types.SimpleNamespace(lower=lower)

    with monkeypatch.context() as patches:
        patches.setattr(jax, "default_backend", lambda: "gpu")
        patches.setattr(mesh, "jit_step", stop)
        patches.setattr(mesh, "_compiler_options", lambda: mesh._GPU_OPTIONS)
        patches.setattr(attention, "_has_kernel", lambda *_: True)
        patches.setattr(
            flash_attention, "flash_attention", lambda qkv, *_: jnp.sin(qkv[:, :, 2])
        )
        with techniques.patched(side):
            jax.clear_caches()
            config = techniques.variant(side, steps.check(given))
            with pytest.raises(Lowered) as lowered:
                jax_side.make(config, techniques.chunk_elements(side))
            options = mesh._compiler_options()
    jax.clear_caches()
    return str(lowered.value), options


def test_each_side_of_jax_has_a_different_program(monkeypatch):
    sides = ["jax", *techniques.SIDES]
    programs = [program(monkeypatch, side) for side in sides]
    assert len(sides) == len(set(map(str, programs))) == 11
