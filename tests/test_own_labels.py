"""Own labels without Python: fine-tuned, predicted, evaluated and reported."""

import csv
import json

import pyarrow
import pyarrow.parquet
import pytest

from gpt1_jax import report
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.errors import UserError
from gpt1_jax.inference import classifier
from gpt1_jax.jobs import finetune
from tests import command_lines

FEELINGS = {"joy": "glad", "sadness": "sad", "anger": "cross"}
NAMES = ("anna", "tom", "mary", "the king")
EMOTIONS = [
    {"id": f"r{n}", "text": f"{name} was {word} {n}", "emotion": feeling}
    for n in range(4)
    for name in NAMES
    for feeling, word in FEELINGS.items()
]


@pytest.fixture
def run(pretrained_workdir, tmp_path, monkeypatch):
    """(command line) -> None: runs it in a directory that has runs/pretrain."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/pretrain").symlink_to(pretrained_workdir)
    return lambda line: command_lines.parse(line.split()).main()


TUNE = (
    "gpt1_jax.main --config experiments/finetune.py:own "
    "--config.init.path=runs/pretrain --config.train.max_steps=1 "
    "--config.model.compute_dtype=float32"
)


def write_emotions(path):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(EMOTIONS[0]))
        table.writeheader()
        table.writerows(EMOTIONS)


def test_a_csv_is_fine_tuned_predicted_evaluated_and_reported(run, tmp_path, capsys):
    write_emotions(tmp_path / "train.csv")
    tune = f"{TUNE} --config.data.train_file=train.csv"
    run(tune)
    said = " ".join(capsys.readouterr().out.split())
    assert "train.csv: texts in text; label in emotion: anger 16, joy 16, sad" in said
    result = json.loads((tmp_path / "runs/finetune-own/result.json").read_text())

    evaluation = "gpt1_jax.main --config experiments/evaluate.py"
    run(f"{evaluation} --config.init.path=runs/finetune-own --workdir runs/evaluated")
    found = json.loads((tmp_path / "runs/evaluated/result.json").read_text())
    scores = {"eval/accuracy": result["metrics"]["eval/accuracy"]}
    assert found["metrics"] == scores

    # The workdir alone predicts and is reported; the finished run stays finished.
    (tmp_path / "train.csv").rename(tmp_path / "new.csv")
    predict = "gpt1_jax.predict --checkpoint runs/finetune-own"
    run(f"{predict} --input new.csv --output labels.csv")
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [row["id"] for row in EMOTIONS]
    assert [row["text"] for row in rows] == [row["text"] for row in EMOTIONS]
    for row in rows:
        likeliest = max(FEELINGS, key=lambda name: float(row[f"probability_{name}"]))
        assert row["label"] == likeliest
    run(tune)
    assert "runs/finetune-own is finished: dev acc" in capsys.readouterr().out
    command_lines.run(report, "runs/finetune-own", output="report")
    page = (tmp_path / "report/report.md").read_text()
    assert "Your own tasks" in page

    evaluated = f"{evaluation} --config.init.path=runs/finetune-own"
    with pytest.raises(UserError, match=r"own has no test set; its .* train, dev; nam"):
        run(f"{evaluated} --config.task.split=test --workdir runs/test")
    run(f"{evaluated} --config.data.dev_file=new.csv --workdir runs/again")
    accuracy = sum(row["label"] == row["emotion"] for row in rows) / len(rows)
    found = json.loads((tmp_path / "runs/again/result.json").read_text())
    assert found["metrics"] == {"eval/accuracy": pytest.approx(accuracy)}


def test_pairs_with_numbers_keep_their_scale(run, tmp_path):
    rows = [
        {"text1": f"{name} sat {n}", "text2": f"{name} ran", "score": 10 + n}
        for n in range(6)
        for name in NAMES
    ]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / "pairs.jsonl").write_text(text)
    run(f"{TUNE} --config.data.train_file=pairs.jsonl --config.task.name=pairs")
    workdir = tmp_path / "runs/finetune-own"
    metrics = json.loads((workdir / "result.json").read_text())["metrics"]
    assert {"eval/pearson", "eval/spearman"} <= set(metrics)
    dev = (workdir / "predictions/dev.jsonl").read_text().splitlines()
    for row in map(json.loads, dev):
        assert row["label"] in range(10, 16)
        mean = sum((10 + n) * p for n, p in enumerate(row["probabilities"]))
        assert row["prediction"] == pytest.approx(mean)
    assert classifier.load(workdir).task_model.task.scores == (10, 15)


def test_a_parquet_of_choices_names_the_answers(run, tmp_path):
    rows = [
        {
            "story": f"{name} was {word} .",
            "choices": ["a smile", "a tear", "a shout"],
            "answer": "ABC"[n],
        }
        for name in (*NAMES, "ben", "eve")
        for n, word in enumerate(FEELINGS.values())
    ]
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows), tmp_path / "train.parquet"
    )
    run(f"{TUNE} --config.data.train_file=train.parquet")
    run(
        "gpt1_jax.predict --checkpoint runs/finetune-own --input train.parquet "
        "--output labels.jsonl"
    )
    lines = (tmp_path / "labels.jsonl").read_text().splitlines()
    for row, given in zip(map(json.loads, lines), rows, strict=True):
        assert row["story"] == given["story"]
        likeliest = max(range(3), key=row["probabilities"].__getitem__)
        assert row["label"] == "ABC"[likeliest]


def test_a_resumed_run_on_other_columns_is_refused(run, tmp_path):
    write_emotions(tmp_path / "train.csv")
    tune = f"{TUNE} --config.data.train_file=train.csv"
    run(tune)
    (tmp_path / "runs/finetune-own/result.json").unlink()
    text = (tmp_path / "train.csv").read_text()
    (tmp_path / "train.csv").write_text(text.replace("anger", "wrath"))
    message = r"fine-tuned on another task 'own': classes: \['anger', .*'wrath'\]"
    with pytest.raises(UserError, match=message):
        run(tune)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"task__name": "own"}, r"train_file is empty; a table of texts and labels"),
        (
            {"task__name": "rte", "data__dev_file": "a.csv"},
            r"dev_file='a.csv', but rte has files of its own; they are for .*:own; use",
        ),
        (
            {"task__name": "rte", "data__train_file": "a.csv"},
            r"train_file='a.csv', dev_file='', but rte has files of its own",
        ),
    ],
)
def test_tables_belong_to_own_labels_only(fields, message, make_config, tmp_path):
    with pytest.raises(UserError, match=message):
        finetune.run(make_config(job="finetune", **fields), tmp_path)
    assert "own" not in TASKS
