"""Pre-training that keeps its best step, and ends when it no longer improves."""

import functools
import json
import shutil

import jax
import numpy as np
import pytest

import gpt1_jax
from gpt1_jax.jobs import pretrain
from gpt1_jax.training import loop
from gpt1_jax.workdirs import metrics_log


@pytest.fixture(scope="module")
def config(make_config):
    """A learning rate so high that the held-out loss soon rises."""
    return functools.partial(
        make_config,
        train__batch_size=8,
        train__max_steps=40,
        train__eval_every_steps=1,
        train__checkpoint_every_steps=0,
        optim__peak_learning_rate=0.3,
        optim__schedule="constant",
        optim__warmup_steps=0,
    )


@pytest.fixture(scope="module")
def ended(config, tmp_path_factory):
    """The workdir of a run that ended early, and its result."""
    workdir = tmp_path_factory.mktemp("ended") / "run"
    fields = {"train__early_stopping_patience": 3, "train__keeps_best": True}
    return workdir, pretrain.run(config(**fields), workdir)


def losses(workdir) -> list[float]:
    return [row["eval/loss"] for row in metrics_log.read(workdir / "metrics.jsonl")]


def test_the_run_ends_after_its_patience_and_stands_for_the_best_step(ended):
    workdir, result = ended
    found = losses(workdir)
    best = int(np.argmin(found)) + 1
    assert 1 <= best < 36
    assert result["steps"] == len(found) == best + 3
    assert result["stopped_early"]
    assert result["metrics"]["best_step"] == best
    assert result["metrics"]["eval/loss"] == min(found)
    assert result["metrics"]["last_eval/loss"] == found[-1] > min(found)
    assert result == json.loads((workdir / "result.json").read_text())
    assert gpt1_jax.load(workdir).step == best
    steps = {int(path.name) for path in (workdir / "checkpoints").iterdir()}
    assert steps == {best, best + 2, best + 3}


def test_the_same_command_again_does_not_go_on(ended, config):
    workdir, result = ended
    fields = {"train__early_stopping_patience": 3, "train__keeps_best": True}
    assert pretrain.run(config(**fields, train__max_steps=50), workdir) == result
    with pytest.raises(ValueError, match=r"train.early_stopping_patience: 3 -> 2"):
        pretrain.run(config(**fields | {"train__early_stopping_patience": 2}), workdir)


def test_a_run_that_was_killed_before_its_result_ends_at_the_same_step(
    ended, config, tmp_path
):
    workdir, result = ended
    for name, kept in (
        ("at the end", result["steps"]),
        ("before", result["steps"] - 1),
    ):
        copy = tmp_path / name
        shutil.copytree(workdir, copy)
        (copy / "result.json").unlink()
        for path in (copy / "checkpoints").iterdir():
            if int(path.name) > kept:
                shutil.rmtree(path)
        fields = {"train__early_stopping_patience": 3, "train__keeps_best": True}
        again = pretrain.run(config(**fields), copy)
        assert again["metrics"] == result["metrics"]
        assert losses(copy) == losses(workdir)
        ours, theirs = gpt1_jax.load(copy), gpt1_jax.load(workdir)
        jax.tree.map(np.testing.assert_array_equal, ours.params, theirs.params)


def test_the_best_step_stays_after_its_row_is_lost(
    ended, config, tmp_path, capsys, monkeypatch
):
    workdir, result = ended
    copy = shutil.copytree(workdir, tmp_path / "run")
    for name in ("result.json", "metrics.jsonl"):
        (copy / name).unlink()
    capsys.readouterr()
    fields = {"train__early_stopping_patience": 3, "train__keeps_best": True}
    # The patience counts the rows that are left; without this the run would go on.
    monkeypatch.setattr(loop._Reporter, "has_stopped_improving", lambda self: True)
    again = pretrain.run(config(**fields), copy)
    assert again["metrics"] == result["metrics"]
    assert losses(copy) == [result["metrics"]["last_eval/loss"]]
    said = " ".join(capsys.readouterr().out.split())
    best = result["metrics"]["best_step"]
    assert f"no scores of step {best}, the best; it is evaluated again" in said


def test_without_keeps_best_the_workdir_stands_for_the_last_step(config, tmp_path):
    result = pretrain.run(config(train__early_stopping_patience=2), tmp_path / "run")
    assert result["steps"] < 40
    assert "best_step" not in result["metrics"]
    assert gpt1_jax.load(tmp_path / "run").step == result["steps"]
