"""The command `gpt1`, overrides of config fields, and --show_config."""

import sys

import pytest

import gpt1_jax
from gpt1_jax import __main__ as gpt1
from gpt1_jax import errors, main
from gpt1_jax.cli import experiment
from tests import command_lines
from tests.processes import Command, run_module

PRETRAIN = ["main", "--config", "experiments/pretrain.py"]


def test_gpt1_lists_every_command_with_what_it_does(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpt1"])
    gpt1.main()
    lines = capsys.readouterr().out.splitlines()
    for name in gpt1.COMMANDS:
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.endswith(".")
        assert len(line) <= 88


def test_gpt1_knows_every_command_of_the_package():
    commands = {
        path.stem
        for path in gpt1.PACKAGE.glob("*.py")
        if "\n    app.run(" in path.read_text()
    }
    assert set(gpt1.COMMANDS) == commands


def test_gpt1_refuses_an_unknown_command_and_suggests_one(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpt1", "mian"])
    with pytest.raises(SystemExit) as ended:
        gpt1.main()
    assert ended.value.code == errors.MISTAKE
    assert "unknown command mian; main, sweep" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["gpt1_jax", "gpt1_jax.main"])
def test_version_is_printed(module):
    done = run_module(module, ["--version"])
    assert (done.returncode, done.stdout) == (0, f"gpt1_jax {gpt1_jax.__version__}\n")


def test_gpt1_runs_a_command_as_its_module_does():
    done = run_module("gpt1_jax", ["prepare", "--help"])
    assert done.returncode == 0
    assert done.stdout == run_module("gpt1_jax.prepare", ["--help"]).stdout


@pytest.mark.parametrize(
    ("given", "rest", "overrides"),
    [
        (["--config=a.py", "--config.seed=1"], ["--config=a.py"], {"seed": "1"}),
        (["--config.seed", "1", "--x=2"], ["--x=2"], {"seed": "1"}),
        (["-config.data.corpus=a=b"], [], {"data.corpus": "a=b"}),
        (["--config.train.remat", "--x"], ["--x"], {"train.remat": "true"}),
        (["--noconfig.train.remat"], [], {"train.remat": "false"}),
        (["--config.seed=1", "--config.seed=2"], [], {"seed": "2"}),
        (["--", "--config.seed=1"], ["--", "--config.seed=1"], {}),
    ],
)
def test_overrides_are_separated_from_the_other_arguments(given, rest, overrides):
    assert experiment.split_overrides(given) == (rest, overrides)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--config.seed"], r"--config.seed has no value; write --config.seed=VALUE"),
        (["--noconfig.seed"], "--no goes with a boolean field only"),
        (["--config.sed=1"], r"unknown config field sed; did you mean seed\?"),
        (["--config.=1"], "unknown config field ;"),
    ],
)
def test_overrides_that_name_no_field_or_value_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        experiment.split_overrides(given)


def test_show_config_lists_each_field_with_value_setter_meaning_and_source(tmp_path):
    command = [*PRETRAIN, "--config.seed=3", "--show_config"]
    out, err = (process := Command(command, tmp_path)).communicate()
    assert (process.returncode, err) == (0, "")
    assert "seed = 3  (set by the command line; default 0)\n    Seed of param" in out
    assert "model.width = 128  (set by the experiment; default 768)\n" in out
    assert "optim.b1 = 0.9  (default)\n" in out
    assert "Source of the default: Sec. 4.1." in out
    assert not list(tmp_path.iterdir())  # nothing was run


def test_show_config_runs_the_experiment_once(tmp_path, capsys):
    file = tmp_path / "noisy.py"
    file.write_text(
        """print("the experiment runs")
from experiments.pretrain import get_config
"""
    )
    command_lines.run(main, config=file, show_config=True)
    assert capsys.readouterr().out.count("the experiment runs") == 1


def test_show_config_shows_what_a_run_inherits(pretrained_workdir, tmp_path):
    flags = [f"--config.init.path={pretrained_workdir}", "--show_config"]
    command = ["main", "--config", "experiments/finetune.py:rte", *flags]
    out, _ = Command(command, tmp_path).communicate()
    assert (
        "model.width = 16  (set by the model in config.init.path; default 768)" in out
    )
