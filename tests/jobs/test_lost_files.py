"""A resume beside lost files: what is lost is said, and nothing is done twice."""

import json
import shutil

import pytest

import gpt1_jax
from gpt1_jax.errors import NotFound, RunFailed
from gpt1_jax.jobs import pretrain
from gpt1_jax.reporting import runs as runs_lib
from gpt1_jax.workdirs import workdir as workdir_lib


@pytest.fixture(scope="module")
def ended(make_config, tmp_path_factory):
    """Returns the config and the workdir of a finished run."""
    config = make_config(
        train__max_steps=3,
        train__batch_size=2,
        train__log_every_steps=1,
        optim__warmup_steps=1,
    )
    workdir = tmp_path_factory.mktemp("ended") / "run"
    pretrain.run(config, workdir)
    return config, workdir


@pytest.mark.parametrize("content", [None, "", '{"step": 1, "train/loss": 2.0}\n{"st'])
def test_lost_rows_are_said_and_the_scores_of_the_last_step_computed_again(
    ended, tmp_path, capsys, content
):
    config, workdir = ended
    before = json.loads((workdir / "result.json").read_text())["metrics"]
    copy = shutil.copytree(workdir, tmp_path / "run")
    (copy / "result.json").unlink()
    (copy / "metrics.jsonl").unlink()
    if content is not None:
        (copy / "metrics.jsonl").write_text(content)
    result = pretrain.run(config, copy)
    left = 1 if content else 0
    assert f"has {left} rows, and had 3 when the checkpoint" in capsys.readouterr().out
    assert result["metrics"] == before
    rows = (copy / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(row)["step"] for row in rows]
    assert steps == [1, 3][1 - left :]


def test_a_run_whose_workdir_is_deleted_ends_and_writes_nothing(
    ended, tmp_path, monkeypatch
):
    config, _ = ended
    workdir = tmp_path / "run"
    begin = workdir_lib.begin

    def begin_and_delete(*args):
        begin(*args)
        shutil.rmtree(workdir)

    monkeypatch.setattr(workdir_lib, "begin", begin_and_delete)
    with pytest.raises(RuntimeError, match=r"run was deleted or moved during the run"):
        pretrain.run(config, workdir)
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("lost", "missing"),
    [("tokenizer", "no tokenizer in"), ("checkpoints", "no checkpoint in")],
)
def test_a_finished_run_without_its_model_names_what_is_missing(
    lost, missing, ended, tmp_path
):
    config, workdir = ended
    copy = shutil.copytree(workdir, tmp_path / "run")
    shutil.rmtree(copy / lost)
    with pytest.raises(RunFailed, match=rf"run is finished, but there is {missing} .*"):
        pretrain.run(config, copy)
    with pytest.raises(NotFound, match=missing):
        gpt1_jax.load(copy)
    (run,), damaged, _ = runs_lib.read([copy])
    assert run.is_finished
    assert not damaged


def test_a_workdir_that_is_moved_during_a_run_goes_on_from_its_new_place(
    ended, tmp_path, monkeypatch
):
    config, finished = ended
    workdir, moved = tmp_path / "run", tmp_path / "moved"
    begin = workdir_lib.begin

    def begin_and_move(*args):
        begin(*args)
        workdir.rename(moved)

    with monkeypatch.context() as patched:
        patched.setattr(workdir_lib, "begin", begin_and_move)
        with pytest.raises(RunFailed, match="run was deleted or moved during the run"):
            pretrain.run(config, workdir)
    assert not workdir.exists()
    result = pretrain.run(config, moved)
    expected = json.loads((finished / "result.json").read_text())["metrics"]
    assert result["metrics"] == expected
