"""Users' own tasks: the examples of docs/own_task.md, and mistakes in a task."""

import dataclasses
import functools
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from gpt1_jax import errors
from gpt1_jax.data.tasks import (
    Columns,
    Example,
    File,
    Labels,
    Task,
    loading,
    readers,
    registry,
    validation,
)
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.inference import classifier
from gpt1_jax.jobs import finetune
from gpt1_jax.workdirs import model_store
from tests import command_lines, docs_pages


def blocks(language: str) -> list[str]:
    found = docs_pages.blocks(docs_pages.ROOT / "docs/own_task.md")
    return [block.text for block in found if block.language == language]


def row(**fields) -> Task:
    files = {split: (File(f"{split}.txt", None),) for split in ("train", "dev")}
    defaults = {"name": "tone", "kind": "single", "classes": ("a", "b"), "test": {}}
    return Task(**defaults | {"metrics": ("accuracy",), "files": files} | fields)


def labelled(index_of: dict[str, int]) -> dict[str, tuple[File, ...]]:
    """Returns files whose reader maps the labels' names to these indices."""
    columns = Columns(("text",), Labels("label", index_of))
    read = functools.partial(readers.read_csv, columns=columns)
    return {split: (File(f"{split}.csv", read),) for split in ("train", "dev")}


@pytest.fixture
def no_own_tasks(monkeypatch):
    """Removes the tasks that a test registers after the test."""
    for name in ("tone", "reviews"):
        monkeypatch.setitem(TASKS, name, row())
        del TASKS[name]


@pytest.fixture
def user_directory(pretrained_workdir, tmp_path, monkeypatch, no_own_tasks) -> None:
    """Changes to a directory that has runs/pretrain."""
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/pretrain").symlink_to(pretrained_workdir)


def run(line: str) -> None:
    """Runs `python -m MODULE FLAGS` in this process."""
    python, m, *argv = shlex.split(line)
    assert (python, m) == ("python", "-m")
    command_lines.parse(argv).main()


def run_bash(script: str) -> None:
    subprocess.run(["bash", "-euc", script], check=True)


def test_the_example_without_python_works(user_directory, capsys):
    data, commands, *_ = blocks("bash")
    run_bash(data)
    tune, predict = commands.splitlines()
    run(tune)
    page = (docs_pages.ROOT / "docs/own_task.md").read_text()
    (described,) = re.findall(r"`(emotions.csv: .*)`", page)
    assert described in " ".join(capsys.readouterr().out.split())
    run(predict)
    rows = Path("labels.csv").read_text().splitlines()
    assert rows[0] == (
        "id,text,emotion,label,probability_anger,probability_joy,probability_sadness"
    )
    assert len(rows) == 13


def test_the_first_example_of_a_reader_works(user_directory, capsys):
    _, _, data, commands, *_ = blocks("bash")
    source, _ = blocks("python")
    Path("tone.py").write_text(source)
    run_bash(data)
    tune, texts, predict, evaluate = commands.splitlines()
    run(tune)
    said = capsys.readouterr().out
    assert "skipped unsure requests: 1" in said
    assert "tone train: 8 examples" in said
    result = json.loads(Path("runs/tone/result.json").read_text())
    assert result["metrics"]["eval/accuracy"] in (0.0, 0.5, 1.0)

    # A new process does not import tone.py, and the data may have been moved.
    del TASKS["tone"]
    Path("my_data").rename("away")
    run_bash(texts)
    run(predict)
    rows = [json.loads(line) for line in Path("labels.jsonl").read_text().splitlines()]
    assert [len(row["probabilities"]) for row in rows] == [2, 2]
    for found in rows:
        likeliest = max((0, 1), key=found["probabilities"].__getitem__)
        assert found["label"] == ("polite", "rude")[likeliest]
    assert "probabilities of polite, rude" in capsys.readouterr().out

    Path("away").rename("my_data")
    run(evaluate)
    evaluated = json.loads(Path("runs/evaluate-tone/result.json").read_text())
    of_best = result["metrics"]["eval/accuracy"]
    assert evaluated["metrics"] == {"eval/accuracy": of_best}

    # With the classes in another order each label would get the other's name.
    registry.register(row(classes=("rude", "polite"), columns=("text",)))
    with pytest.raises(
        errors.UserError, match=r"tone'.*: classes: \['polite', 'rude'\]"
    ):
        classifier.load("runs/tone")
    config = model_store.read_config("runs/tone")
    with pytest.raises(errors.UserError, match=r"fine-tuned on another task 'tone'"):
        finetune.run(config, "runs/tone")


def test_the_table_example_of_the_page_works(user_directory):
    *_, data, commands = blocks("bash")
    _, source = blocks("python")
    Path("reviews.py").write_text(source)
    run_bash(data)
    tune, texts, predict = commands.splitlines()
    run(tune)  # registers the task
    examples = loading.load(TASKS["reviews"], "train", task_dir=Path("my_reviews"))
    assert examples.examples[:2] == (
        Example(("warm, and kind",), 1),
        Example(("cold, and grim",), 0),
    )
    assert len(examples.examples) == 8
    run_bash(texts)
    run(predict)
    (found,) = map(json.loads, Path("new.jsonl").read_text().splitlines())
    likeliest = max((0, 1), key=found["probabilities"].__getitem__)
    assert found["label"] == ("bad", "good")[likeliest]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "rte"}, r"own task 'rte'; a name other than ax, cola, .*; rename it"),
        (
            {"metrics": ("acuracy",)},
            r"metrics=\('acuracy',\); a tuple of name",
        ),
        (
            {"metrics": "accuracy"},
            r"metrics='accuracy'; a tuple of names",
        ),
        ({"kind": "triple"}, r"kind='triple'; single\|pair\|similarity\|choice; use"),
        ({"test": {"": "test"}}, r"no files of test; .* as with test=\{\}"),
        ({"train": "training"}, r"no files of training; each split"),
        ({"columns": ("a", "b")}, r"columns=.*; kind single has 1, one for each part"),
        ({"classes": ("a", "a")}, r"classes=.*; two or more names, each once; correct"),
        ({"kind": "choice"}, r"classes=\('a', 'b'\); none for a choice"),
        (
            {"files": labelled({"b": 0, "a": 1})},
            r"Labels gives 'b' the index 0; the classes are a: 0, b: 1; give both the",
        ),
        ({"files": labelled({"x": 0, "y": 2})}, r"Labels gives 'y' the index 2; the"),
        ({"files": labelled({})}, r"labels of its files are scores; its classes are a"),
    ],
)
def test_unusable_task_is_refused(fields, message, no_own_tasks):
    with pytest.raises(errors.UserError, match=message):
        registry.register(row(**fields))
    assert "tone" not in TASKS
    assert TASKS["rte"].kind == "pair"


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_official_tasks_pass_the_checks_of_own_tasks(task):
    validation.check_task(task)


CHOICE = {"kind": "choice", "classes": ()}
GRADES = {"kind": "similarity", "classes": ()}


@pytest.mark.parametrize(
    ("fields", "bad", "message"),
    [
        (CHOICE, Example(("a", "b", "c"), 0), r"3 choices; 2 are expected, the same"),
        ({}, Example(("a",), 2), r"label 2; an integer from 0 to 1 is expected; corr"),
        ({}, Example(("a",), -1), r"label -1; an integer from 0 to 1 is expected"),
        ({}, Example(("a",), 0.5), r"label 0.5; an integer from 0 to 1 is expected"),
        ({}, Example(("a", "b"), 0), r"2 parts; 1 are expected"),
        (CHOICE, Example(("a", "b"), 2), r"label 2; an integer from 0 to 1 is"),
        (GRADES, Example(("a", "b"), 5.5), r"label 5.5; a number from 0 to 5 is exp"),
        (GRADES, Example(("a", "b"), float("nan")), r"label nan; a number from 0 to 5"),
    ],
)
def test_invalid_example_is_refused_when_its_split_is_loaded(
    fields, bad, message, tmp_path
):
    good = Example(("a",) if not fields else ("a", "b"), 1)
    (tmp_path / "train.txt").write_text("")

    def read(path, skipped):
        yield from (good, bad)

    task = row(files={"train": (File("train.txt", read),)}, dev={}, **fields)
    expected = rf"task 'tone', split train, example 1: {message}"
    with pytest.raises(errors.UserError, match=expected):
        loading.load(task, "train", task_dir=tmp_path)


def test_examples_from_python_are_checked_too():
    # 2 + 4 sequences: a number that can be regrouped as three examples of 2.
    examples = [Example(("a", "b"), 0), Example(("a", "b", "c", "d"), 0)]
    message = r"rows of tone, example 1: 4 choices; 2 are expected"
    with pytest.raises(errors.UserError, match=message):
        classifier.make_examples(row(**CHOICE), examples)
    message = r"rows of tone, example 0: label 2; an integer from 0 to 1 is expected"
    with pytest.raises(errors.UserError, match=message):
        classifier.make_examples(row(), [Example(("a",), 2)])


def test_the_facts_of_an_earlier_version_are_read(tmp_path):
    registry.save(row(columns=("text",)), tmp_path)
    facts = json.loads((tmp_path / "task.json").read_text())
    for later in ("label_column", "answer_names", "scores"):
        del facts[later]
    (tmp_path / "task.json").write_text(json.dumps(facts))
    task = registry.load("tone", tmp_path)
    assert (task.columns, task.scores) == (("text",), (0.0, 5.0))


def test_official_tasks_are_not_saved(tmp_path):
    registry.save(TASKS["rte"], tmp_path)
    assert not list(tmp_path.iterdir())
    assert registry.load("rte", tmp_path) is TASKS["rte"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "Expecting value"),
        ("[1]", "not the facts name, kind, classes"),
        ('{"name": "mine"}', "not the facts name, kind, classes"),
        ({"name": "other"}, "the facts of the task 'other'"),
        ({"kind": "table"}, "kind='table'; single"),
        ({"classes": 3}, "values of other types"),
        ({"columns": [1, 2]}, "values of other types"),
        ({"scores": ["0", "5"]}, "values of other types"),
        ({"scores": [1]}, "values of other types"),
    ],
    ids=[
        *("empty", "list", "incomplete", "foreign", "kind", "number", "columns"),
        *("scores of text", "one score"),
    ],
)
def test_damaged_facts_of_a_task_are_not_believed(tmp_path, content, problem):
    mine = dataclasses.replace(TASKS["rte"], name="mine")
    registry.save(mine, tmp_path)
    assert registry.load("mine", tmp_path).classes == mine.classes
    path = tmp_path / "task.json"
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text()) | content)
    path.write_text(content)
    message = rf"task.json is damaged: .*{re.escape(problem)}.*; restore it, or fine-"
    with pytest.raises(errors.UserError, match=message):
        registry.load("mine", tmp_path)
