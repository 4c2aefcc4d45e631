"""The command submit, and the runs that it refuses."""

import dataclasses
import json
import zipfile
from pathlib import Path

import pytest

from gpt1_jax import submit
from gpt1_jax.config import DataConfig, RunConfig, TaskConfig
from gpt1_jax.data.tasks.rows import TASKS as ROWS
from gpt1_jax.evaluation import predictions
from gpt1_jax.evaluation.predictions import Prediction
from gpt1_jax.workdirs import workdir as workdir_lib
from tests import command_lines

TASKS = ("cola", "sst2", "mrpc", "stsb", "mnli", "qnli", "qqp", "rte", "wnli")
NUM_ROWS = 5


@pytest.fixture(autouse=True)
def test_rows(monkeypatch) -> dict[str, int]:
    """File -> the number of rows of storyworld's test set; NUM_ROWS by default."""
    rows: dict[str, int] = {}
    counted = submit._num_test_rows

    def count(file, config):
        if config.data.task_dir == "storyworld":
            return rows.get(file.name, NUM_ROWS)
        return counted(file, config)

    monkeypatch.setattr(submit, "_num_test_rows", count)
    return rows


def make_run(
    root: Path, task: str, *, task_dir: str = "storyworld", job: str = "finetune"
) -> Path:
    """Returns the workdir of a finished run that predicts the classes in turn."""
    config = dataclasses.replace(
        RunConfig(),
        job=job,
        data=DataConfig(task_dir=task_dir),
        task=TaskConfig(name=task),
    )
    workdir = root / f"{job}-{task}"
    write_config(workdir, config)
    splits = ("test",)
    if task == "mnli":
        splits = ("test_matched", "test_mismatched", "ax")
    for split in splits:
        predictions.write(workdir, split, make_rows(task))
    workdir_lib.write_result(workdir, {"job": job})
    return workdir


def write_config(workdir: Path, config: RunConfig) -> None:
    workdir.mkdir(parents=True)
    (workdir / "config.json").write_text(json.dumps(dataclasses.asdict(config)))


def make_rows(task: str, num_rows: int = NUM_ROWS) -> list[Prediction]:
    if task == "stsb":
        return [Prediction(i, None, 1.25 * i, ()) for i in range(num_rows)]
    classes = ROWS[task].classes
    return [
        Prediction(i, None, classes[i % len(classes)], (0.5,)) for i in range(num_rows)
    ]


def run(output: Path, *workdirs: Path, allow_partial: bool = False) -> None:
    """Runs the command in this process."""
    command_lines.run(submit, *workdirs, output=output, allow_partial=allow_partial)


def texts_of(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_nine_runs_make_eleven_files(tmp_path, capsys):
    output = tmp_path / "submission.zip"
    run(output, *(make_run(tmp_path, task) for task in TASKS))
    texts = texts_of(output)
    assert len(texts) == 11
    assert texts["SST-2.tsv"] == "index\tprediction\n0\t0\n1\t1\n2\t0\n3\t1\n4\t0\n"
    assert texts["STS-B.tsv"].split()[3:6:2] == ["0.000", "1.250"]
    assert texts["STS-B.tsv"].split()[-1] == "5.000"
    said = capsys.readouterr().out
    assert "CoLA.tsv: 5 rows" in said
    assert "rte, wnli: predictions on storyworld, synthetic data; GLUE scores" in said
    assert "submission.zip: 11 files" in said


@pytest.mark.parametrize(
    ("task", "file", "zero", "one"),
    [
        # The meaning of 0 and 1 in the official files.
        ("cola", "CoLA.tsv", "unacceptable", "acceptable"),
        ("sst2", "SST-2.tsv", "negative", "positive"),
        ("mrpc", "MRPC.tsv", "not_equivalent", "equivalent"),
        ("qqp", "QQP.tsv", "not_duplicate", "duplicate"),
        ("wnli", "WNLI.tsv", "not_entailment", "entailment"),
    ],
)
def test_class_names_become_numbers(tmp_path, test_rows, task, file, zero, one):
    test_rows[file] = 2
    workdir = make_run(tmp_path, task)
    rows = [Prediction(0, None, one, ()), Prediction(1, None, zero, ())]
    predictions.write(workdir, "test", rows)
    run(tmp_path / "a.zip", workdir, allow_partial=True)
    assert texts_of(tmp_path / "a.zip")[file].split()[2:] == ["0", "1", "1", "0"]


def test_each_file_of_mnli_comes_from_its_own_split(tmp_path, test_rows):
    test_rows |= {"MNLI-m.tsv": 2, "MNLI-mm.tsv": 3, "AX.tsv": 7}
    workdir = make_run(tmp_path, "mnli")
    splits = {"test_matched": 2, "test_mismatched": 3, "ax": 7}
    for split, num_rows in splits.items():
        predictions.write(workdir, split, make_rows("mnli", num_rows))
    run(tmp_path / "a.zip", workdir, allow_partial=True)
    texts = texts_of(tmp_path / "a.zip")
    assert {name: text.count("\n") - 1 for name, text in texts.items()} == {
        "MNLI-m.tsv": 2,
        "MNLI-mm.tsv": 3,
        "AX.tsv": 7,
    }
    assert texts["AX.tsv"].split()[3:8:2] == ["entailment", "neutral", "contradiction"]


def test_official_data_must_have_the_official_number_of_rows(tmp_path):
    workdir = make_run(tmp_path, "wnli", task_dir="/data/glue_data")
    output = tmp_path / "a.zip"
    with pytest.raises(ValueError, match=r"WNLI.tsv has 5 rows; 146 are expected"):
        run(output, workdir, allow_partial=True)
    predictions.write(workdir, "test", make_rows("wnli", 146))
    run(output, workdir, allow_partial=True)
    assert texts_of(output)["WNLI.tsv"].count("\n") == 147


def test_a_missing_row_of_storyworld_is_refused_too(tmp_path, test_rows):
    workdir = make_run(tmp_path, "wnli")
    test_rows["WNLI.tsv"] = NUM_ROWS + 1
    with pytest.raises(ValueError, match=r"WNLI.tsv has 5 rows; 6 are expected"):
        run(tmp_path / "a.zip", workdir, allow_partial=True)


def test_a_partial_submission_gives_a_warning(tmp_path, capsys):
    workdir = make_run(tmp_path, "wnli", task_dir="/data/glue_data")
    predictions.write(workdir, "test", make_rows("wnli", 146))
    run(tmp_path / "a.zip", workdir, allow_partial=True)
    said = capsys.readouterr().out
    assert "synthetic data" not in said
    assert "a partial submission, without CoLA.tsv, SST-2.tsv, MRPC.tsv" in said


def test_missing_tasks_are_named(tmp_path):
    workdirs = [make_run(tmp_path, task) for task in TASKS if task != "mnli"]
    with pytest.raises(ValueError, match=r"lacks MNLI-m.tsv, .*AX.tsv; .* of mnli, or"):
        run(tmp_path / "a.zip", *workdirs)
    assert not (tmp_path / "a.zip").exists()


def test_two_runs_of_a_task_are_refused(tmp_path):
    first, second = (make_run(tmp_path / name, "cola") for name in "ab")
    with pytest.raises(
        ValueError,
        match=f"{first} and {second} are both runs of cola; one run for each",
    ):
        run(tmp_path / "a.zip", first, second)


def test_an_unfinished_run_is_refused(tmp_path):
    workdir = make_run(tmp_path, "cola")
    (workdir / "result.json").unlink()
    with pytest.raises(
        ValueError, match=r"cola holds an unfinished run; .* its command"
    ):
        run(tmp_path / "a.zip", workdir)


def test_a_run_without_predictions_is_refused(tmp_path):
    workdir = make_run(tmp_path, "mnli")
    (workdir / "predictions/ax.jsonl").unlink()
    with pytest.raises(
        ValueError,
        match=r"ax.jsonl; .*: test_matched, test_mismatched; .* run its command again",
    ):
        run(tmp_path / "a.zip", workdir)


def test_a_partial_submission_may_lack_one_file_of_a_run(tmp_path):
    workdir = make_run(tmp_path, "mnli")
    (workdir / "predictions/ax.jsonl").unlink()
    run(tmp_path / "a.zip", workdir, allow_partial=True)
    assert set(texts_of(tmp_path / "a.zip")) == {"MNLI-m.tsv", "MNLI-mm.tsv"}


@pytest.mark.parametrize(
    ("job", "task", "what"),
    [
        ("finetune", "snli", "job 'finetune' on task 'snli'"),
        ("pretrain", "", "job 'pretrain' on task ''"),
        ("evaluate", "cola", "job 'evaluate' on task 'cola'"),
    ],
)
def test_a_run_outside_of_glue_is_refused(tmp_path, job, task, what):
    workdir = tmp_path / "run"
    config = dataclasses.replace(RunConfig(), job=job, task=TaskConfig(name=task))
    write_config(workdir, config)
    with pytest.raises(
        ValueError, match=f"{what}; finetune on one of cola, sst2, mrpc"
    ):
        run(tmp_path / "a.zip", workdir)


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run in .*nowhere: config.json is"):
        run(tmp_path / "a.zip", tmp_path / "nowhere")


def test_indices_must_count_from_0(tmp_path):
    workdir = make_run(tmp_path, "cola")
    rows = [dataclasses.replace(row, index=row.index + 1) for row in make_rows("cola")]
    predictions.write(workdir, "test", rows)
    with pytest.raises(
        ValueError, match=r"test.jsonl line 1 has index 1; 0 is expected"
    ):
        run(tmp_path / "a.zip", workdir, allow_partial=True)


def test_runs_without_any_predictions_make_no_zip(tmp_path):
    workdir = make_run(tmp_path, "rte")
    predictions.path_of(workdir, "test").unlink()
    with pytest.raises(ValueError, match=r"no predictions/ for a test set of GLUE; at"):
        run(tmp_path / "a.zip", workdir, allow_partial=True)
    assert not (tmp_path / "a.zip").exists()
