"""Weights & Biases beside metrics.jsonl, with a module that stands for its library."""

import json
import sys

import pytest

from gpt1_jax.distributed import multihost
from gpt1_jax.workdirs import session, tracker
from gpt1_jax.workdirs.metrics_log import MetricsLog
from tests.configs import changed

CONFIG = changed({"train.tracker": "wandb"})
LIBRARY = """
CALLS = []
FAILS_AT = ""

def note(name, /, **given):
    CALLS.append((name, given))
    if name == FAILS_AT:
        raise OSError(f"{name}: no space left")

def Settings(**given):
    return given

class Run:
    def log(self, values, step):
        note("log", values=values, step=step)
    def finish(self):
        note("finish")

def init(**given):
    note("init", **given)
    return Run()
"""


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """The module that stands for the library."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library/wandb.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path / "library")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    import wandb

    yield wandb
    del sys.modules["wandb"]


def write(workdir, first: int, steps, config=CONFIG) -> None:
    workdir.mkdir(exist_ok=True)
    with MetricsLog(workdir, first, config) as log:
        for step in steps:
            log.write(step, {"train/loss": float(step)})


def test_the_tracker_gets_the_config_and_each_row_offline(wandb, tmp_path):
    write(tmp_path / "run", 0, [1, 2])
    (name, given), *logged, last = wandb.CALLS
    assert name == "init"
    assert (given["mode"], given["name"]) == ("offline", "run")
    assert given["dir"] == str(tmp_path / "run")
    assert given["config"]["model.width"] == 768
    assert logged == [
        ("log", {"values": {"train/loss": float(step)}, "step": step})
        for step in (1, 2)
    ]
    assert last == ("finish", {})


def test_a_resumed_run_is_the_same_run_there(wandb, tmp_path, monkeypatch):
    write(tmp_path / "run", 0, [1, 2])
    monkeypatch.setenv("WANDB_MODE", "online")
    write(tmp_path / "run", 2, [3])
    write(tmp_path / "other", 0, [1])
    first, second, other = (given for name, given in wandb.CALLS if name == "init")
    assert first["id"] == second["id"] != other["id"]
    assert (first["resume"], second["mode"]) == ("allow", "online")


def test_a_repeated_evaluation_is_tracked(wandb, tmp_path):
    write(tmp_path / "run", 0, [1, 2])
    with MetricsLog(tmp_path / "run", 2, CONFIG) as log:
        log.replace_last(log.last_row | {"eval/loss": 3.0})
    assert wandb.CALLS[-2][1]["values"] == {"train/loss": 2.0, "eval/loss": 3.0}


@pytest.mark.parametrize("call", ["init", "log", "finish"])
def test_a_failing_tracker_is_warned_of_once_and_the_run_goes_on(
    wandb, tmp_path, capsys, call
):
    wandb.FAILS_AT = call
    write(tmp_path / "run", 0, [1, 2, 3])
    text = capsys.readouterr().out
    assert text.count(f"warning: wandb: {call}: no space left; the run goes on") == 1
    rows = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2, 3]


def test_no_tracker_is_used_by_default(wandb, tmp_path):
    write(tmp_path / "run", 0, [1], config=changed({}))
    assert wandb.CALLS == []
    assert not (tmp_path / "run/wandb_id").exists()


def test_a_missing_library_is_named_before_the_run_begins(monkeypatch, tmp_path):
    monkeypatch.setattr(tracker.importlib.util, "find_spec", lambda name: None)
    message = r"tracker=wandb, but the library wandb is not installed; .*\[wandb\]"
    with pytest.raises(ValueError, match=message):
        session.prepare_training(CONFIG, tmp_path)
    monkeypatch.setattr(multihost, "is_first", lambda: False)
    session.prepare_training(CONFIG, tmp_path)  # only the first process needs it
