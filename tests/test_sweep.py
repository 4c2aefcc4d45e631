"""A sweep as its user runs it: a whole process on tiny runs."""

import csv
import dataclasses
import json
from pathlib import Path

import pytest

from experiments import ablations, layer_transfer
from gpt1_jax import config as config_lib
from gpt1_jax.cli import experiment, grid
from gpt1_jax.config import InitConfig, RunConfig
from tests.jobs.runs import ROOT, TINY
from tests.processes import Command


def sweep(directory: Path, *flags: str, code: int = 0) -> tuple[str, str]:
    """What a sweep of tiny pre-training runs prints, and its errors."""
    fields = TINY | {"train.max_steps": 2, "data.cache_dir": directory / "cache"}
    process = Command(
        [
            *("sweep", "--config", ROOT / "experiments/pretrain.py"),
            *(f"--config.{name}={value}" for name, value in fields.items()),
            *("--workdir", directory / "sweep"),
            *flags,
        ],
        ROOT,
    )
    out, err = process.communicate()
    assert process.returncode == code, out + err
    return out, err


def rows(directory: Path) -> list[dict]:
    with (directory / "sweep/sweep.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_failing_cell_loses_no_other_and_the_same_command_goes_on(tmp_path):
    # All updates of a huge rate but the first overflow, ten in a row.
    axes = (
        "--axis=optim.peak_learning_rate=1e-3,1e30",
        "--axis=seed=0,1",
        "--config.optim.warmup_steps=1",
        "--config.optim.schedule=constant",
        "--config.train.max_steps=12",
    )
    said, _ = sweep(tmp_path, *axes, "--only=2/2", code=1)
    assert "[1/2] optim.peak_learning_rate=1e-3,seed=1" in said
    assert [row["status"].split(":")[0] for row in rows(tmp_path)] == [
        "not run",
        "done",
        "not run",
        "failed",
    ]
    finished = tmp_path / "sweep/optim.peak_learning_rate=1e-3,seed=1/result.json"
    before = finished.stat()
    said, error = sweep(tmp_path, *axes, code=1)
    assert "is finished" in said
    assert finished.stat().st_mtime_ns == before.st_mtime_ns
    labels = json.loads((finished.parent / "labels.json").read_text())
    assert labels == {"optim.peak_learning_rate": "1e-3", "seed": "1"}
    found = rows(tmp_path)
    assert [row["status"].split(":")[0] for row in found] == ["done"] * 2 + [
        "failed"
    ] * 2
    losses = [float(row["eval/loss"]) for row in found[:2]]
    assert losses[0] != losses[1]
    low, high = sorted(losses)
    middle = (low + high) / 2
    assert f"2 of 2  {middle:.4f} ({low:.4f} to {high:.4f})" in said
    assert "0 of 2" in said
    assert "error: 2 of 4 combinations failed" in error


def test_another_sweep_leaves_the_table_of_the_first(tmp_path):
    sweep(tmp_path, "--axis=seed=0")
    before = (tmp_path / "sweep/sweep.csv").read_bytes()
    _, error = sweep(tmp_path, "--axis=seed=1", code=2)
    assert "sweep holds another sweep, with seed=0; a new directory is" in error
    _, error = sweep(tmp_path, "--axis=seed=0", "--config.train.max_steps=3", code=2)
    assert "another config" in error
    assert (tmp_path / "sweep/sweep.csv").read_bytes() == before
    sweep(tmp_path, "--axis=seed=0,1")
    assert len(rows(tmp_path)) == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "error: no --axis; at least one is needed"),
        (("--axis=train.batch_size=8,0",), "error: config.train.batch_size=0; from 1"),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path, flags, message):
    _, error = sweep(tmp_path, *flags, code=2)
    assert message in error
    assert not (tmp_path / "sweep").exists()


def test_layer_transfer_has_the_layers_of_its_model(pretrained_workdir):
    config = dataclasses.replace(
        RunConfig(), init=InitConfig(path=str(pretrained_workdir))
    )
    assert layer_transfer.get_axes(config) == {"init.num_layers": [-2, 0, 1]}
    with pytest.raises(ValueError, match=r"init.path=none; a pre-trained workdir"):
        layer_transfer.get_axes(RunConfig())


def test_ablations_differ_from_the_full_run_in_one_thing_each(tmp_path, capsys):
    config = ablations.get_config("paper")
    config.init.path = f"{tmp_path}/model/"
    base = config_lib.from_mapping(config)
    without = grid.cells(grid.of_experiment(ablations.get_axes(base)))
    assert len(without) == 3 * 8
    said = "".join(capsys.readouterr().out.split())
    assert f"nofinishedrunin{tmp_path}/model-lstm" in said

    (tmp_path / "model-lstm").mkdir()
    (tmp_path / "model-lstm/result.json").write_text("{}")
    cells = grid.cells(grid.of_experiment(ablations.get_axes(base)))
    assert len(cells) == 4 * 8
    changes = {
        cell.labels["variant"]: config_lib.conflicts(base, grid.config_of(base, cell))
        for cell in cells
        if cell.labels["task.name"] == "cola"
    }
    assert changes == {
        "full": [],
        "no_pretraining": ["init.num_layers: -1 -> -2"],
        "no_auxiliary_lm": ["task.lm_coef: 0.5 -> 0.0"],
        "lstm": [f"init.path: '{tmp_path}/model/' -> '{tmp_path}/model-lstm'"],
    }


def test_ablations_of_some_tasks_keep_the_tables_order():
    base = config_lib.from_mapping(ablations.get_config("rte,cola"))
    assert base.task.name == "cola"
    assert ablations.get_axes(base, "rte,cola")["task.name"] == ["cola", "rte"]
    with pytest.raises(ValueError, match=r"unknown word 'snli' .* known words: cola"):
        ablations.get_config("snli")


def test_the_experiment_file_runs_once_for_a_command(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from pathlib import Path\n"
        "from gpt1_jax.config import RunConfig, to_config_dict\n"
        f"with Path({str(tmp_path / 'log')!r}).open('a') as log:\n"
        "    log.write('ran ')\n"
        "def get_config(words):\n"
        "    return to_config_dict(RunConfig())\n"
        "def get_axes(config, words):\n"
        "    return {'seed': [0, 1]}\n"
    )
    flags = experiment.ExperimentFlags()
    for times in (1, 2):
        flags(["sweep", f"--config={file}"])
        base = experiment.resolve(flags)
        assert experiment.axes(flags, base) == {"seed": [0, 1]}
        assert (tmp_path / "log").read_text() == "ran " * times
