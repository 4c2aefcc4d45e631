"""The command main: refusals and warnings before a run begins."""

import json
import shlex
import shutil

import pytest

from experiments import pretrain
from gpt1_jax import config as config_lib
from gpt1_jax import errors, main
from gpt1_jax.jobs import finetune
from gpt1_jax.workdirs import workdir as workdir_lib
from tests import command_lines
from tests.jobs.runs import ROOT

EXPERIMENT = f"{ROOT}/experiments/finetune.py:rte"


@pytest.fixture
def model_of_books(pretrained_workdir, tmp_path):
    """A model whose config says that it was trained on real books."""
    model = shutil.copytree(pretrained_workdir, tmp_path / "my model")
    path = model / "config.json"
    config = json.loads(path.read_text())
    config["data"]["corpus"] = "/data/books/*.txt"
    path.write_text(json.dumps(config))
    return model


def run_main(monkeypatch, *flags):
    monkeypatch.setattr("sys.argv", ["main", *flags])
    command_lines.parse(["gpt1_jax.main", *flags]).main()


def test_workdir_of_another_model_is_refused_with_a_command_that_works(
    model_of_books, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    demo = config_lib.replace(
        config_lib.RunConfig(), {"job": "finetune", "init.path": "runs/pretrain"}
    )
    for name in ("finetune-rte", "finetune-rte-2"):
        workdir_lib.write_config(tmp_path / "runs" / name, demo)
        (tmp_path / "runs" / name / "result.json").write_text("{}")
    flags = (f"--config={EXPERIMENT}", f"--config.init.path={model_of_books}")
    for given in (
        (),
        ("--workdir", "runs/finetune-rte"),
        ("--workdir=runs/finetune-rte",),
    ):
        with pytest.raises(errors.UserError) as error:
            run_main(monkeypatch, *flags, *given)
        said = str(error.value)
        assert "runs/finetune-rte holds a run of another config: " in said
        assert f"init.path: 'runs/pretrain' -> '{model_of_books}'" in said
        assert "; it began with the model runs/pretrain; name another --workdir" in said
        command = shlex.split(said.partition("as in: ")[2])
        assert command[:3] == ["python", "-m", "gpt1_jax.main"]
        assert command[3:] == [*flags, "--workdir", "runs/finetune-rte-3"]
        module = command_lines.parse(["gpt1_jax.main", *command[3:]])
        assert module._WORKDIR.value == "runs/finetune-rte-3"
        assert main._FLAGS.overrides == {"init.path": str(model_of_books)}


@pytest.mark.parametrize("field", ["train.max_steps", "train.epochs"])
def test_a_longer_schedule_is_refused_with_the_command_that_goes_on(
    tmp_path, monkeypatch, field
):
    monkeypatch.chdir(tmp_path)
    demo = config_lib.from_mapping(pretrain.get_config())
    begun = config_lib.replace(demo, {"train.max_steps": 5, "train.epochs": 2})
    workdir_lib.write_config(tmp_path / "runs/pretrain", begun)
    (tmp_path / "runs/pretrain/result.json").write_text('{"job": "pretrain"}')
    lengths = {"train.max_steps": 5, "train.epochs": 2} | {field: 7}
    flags = [f"--config.{name}={value}" for name, value in lengths.items()]
    flags.append(f"--config={ROOT}/experiments/pretrain.py")
    with pytest.raises(errors.UserError) as error:
        run_main(monkeypatch, *flags)
    said, _, command = str(error.value).partition(", as in: ")
    assert f"holds a run of another config: {field}: " in said
    assert "its schedule spans the whole run; to train it for longer, start a" in said
    going_on = ["--config.init.path=runs/pretrain", "--workdir", "runs/pretrain-2"]
    assert shlex.split(command)[3:] == [*flags, *going_on]
    # Another difference beside it is another model.
    with pytest.raises(errors.UserError, match="name another --workdir or delete this"):
        run_main(monkeypatch, *flags, "--config.seed=3")


def test_synthetic_task_of_a_model_of_books_is_warned_of(
    model_of_books, pretrained_workdir, tmp_path, monkeypatch, capsys
):
    class Begun(Exception):
        pass

    def stop(*_):
        raise Begun

    monkeypatch.setattr(finetune.task_data, "open_data", stop)
    monkeypatch.chdir(tmp_path)
    for model, is_warned in ((model_of_books, True), (pretrained_workdir, False)):
        with pytest.raises(Begun):
            run_main(
                monkeypatch, f"--config={EXPERIMENT}", f"--config.init.path={model}"
            )
        said = " ".join(capsys.readouterr().out.split())
        warning = (
            "warning: config.data.task_dir=storyworld is synthetic data, but the model "
            "was pre-trained on /data/books/*.txt; --config.data.task_dir=DIR "
            "fine-tunes it on the files there"
        )
        assert (warning in said) == is_warned
