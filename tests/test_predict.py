"""The command predict, with tiny fine-tuned models."""

import errno
import functools
import json
import os
from pathlib import Path

import pytest

import gpt1_jax
from gpt1_jax import predict
from gpt1_jax.data.tasks.examples import Example
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.jobs import finetune


@pytest.fixture(scope="module")
def tuned(make_tuning_config, pretrained_workdir, tmp_path_factory):
    """task -> the workdir of a model fine-tuned on it for one step."""
    finished: dict[str, Path] = {}

    def tuned(task: str) -> Path:
        if task not in finished:
            workdir = tmp_path_factory.mktemp(task) / "run"
            finetune.run(make_tuning_config(task, pretrained_workdir), workdir)
            finished[task] = workdir
        return finished[task]

    return tuned


@pytest.fixture
def label(run_on_text):
    """(workdir, text) -> the rows that the command writes for a file with `text`."""
    return functools.partial(run_on_text, predict)


def test_single_sentences_are_read_one_per_line(tuned, label, capsys):
    rows = label(tuned("sst2"), "a fine film\nno\na fine film\n")
    assert len(rows) == 3
    assert rows[0] == rows[2] != rows[1]
    classes = TASKS["sst2"].classes
    for row in rows:
        assert set(row) == {"label", "probabilities"}
        assert sum(row["probabilities"]) == pytest.approx(1)
        likeliest = max(range(2), key=row["probabilities"].__getitem__)
        assert row["label"] == classes[likeliest]
    said = " ".join(capsys.readouterr().out.split())
    assert f"rows.jsonl: 3 labels; probabilities of {', '.join(classes)}" in said


def test_standard_output_holds_the_labels_alone(tuned, run_command, tmp_path, capsys):
    given = tmp_path / "given.txt"
    given.write_text("a fine film\n")
    workdir = tuned("sst2")
    capsys.readouterr()
    run_command(predict, checkpoint=workdir, input=given, output="-")
    shown = capsys.readouterr()
    (line,) = shown.out.splitlines()
    assert set(json.loads(line)) == {"label", "probabilities"}
    assert "standard output: 1 label; probabilities of" in shown.err


def test_labels_that_cannot_be_written_leave_the_old_ones(
    tuned, run_command, tmp_path, monkeypatch
):
    given, output = tmp_path / "given.txt", tmp_path / "old.jsonl"
    given.write_text("a fine film\n")
    output.write_text("old")
    workdir = tuned("sst2")

    def no_space(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_space)
    flags = {"checkpoint": workdir, "input": given, "output": output}
    with pytest.raises(OSError, match="No space left") as info:
        run_command(predict, **flags, overwrite=True)
    assert info.value.__notes__ == [f"while writing {output}"]
    assert output.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "given.txt",
        output.name,
    ]


def test_empty_texts_are_counted_and_labelled(tuned, label, capsys):
    rows = label(tuned("rte"), "sentence1\tsentence2\na boat\t\n\t\nb\tc\n\n")
    assert len(rows) == 3
    assert "given: 3 empty texts" in " ".join(capsys.readouterr().out.split())


def test_a_tsv_may_have_its_columns_in_any_order(tuned, label):
    workdir = tuned("race")
    columns = ["question", *TASKS["race"].context_columns, *TASKS["race"].columns]
    cells = {name: f"the {name} is here" for name in columns}
    text, mirrored = (
        "\t".join(order) + "\n" + "\t".join(cells[name] for name in order) + "\n"
        for order in (columns, columns[::-1])
    )
    (row,) = label(workdir, text)
    assert row["label"] in range(4)
    assert len(row["probabilities"]) == 4
    assert label(workdir, mirrored) == [row]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"given is empty"),
        ("premise\tother\na\tb\n", r"line 1: the columns are premise, other; sent"),
        ("sentence1\tsentence2\nonly one\n", r"line 2: 1 column; 2 are expected"),
        ("sentence1\tsentence2\na\tb\n \n\nc\td\n", r"line 3 is blank; .* remove it"),
    ],
)
def test_unreadable_input_is_refused(text, message, tuned, label, tmp_path):
    with pytest.raises(ValueError, match=message):
        label(tuned("rte"), text)
    assert not (tmp_path / "out").exists()


def test_a_model_without_a_task_is_refused(pretrained_workdir, label):
    with pytest.raises(
        ValueError, match=r"holds no fine-tuned model; its job is pretrain"
    ):
        label(pretrained_workdir, "a text\n")


def test_python_api_labels_strings_tuples_and_examples(tuned):
    model = gpt1_jax.load_classifier(tuned("sst2"))
    assert repr(model) == "Classifier(sst2: negative, positive; step 1)"
    rows = ["a fine film", ("no",), Example(("a fine film",), None)]
    text, other, example = model.predict(rows)
    assert text.prediction in TASKS["sst2"].classes
    assert text.probabilities == example.probabilities != other.probabilities
    assert model.predict([]) == []


def test_python_api_takes_tuples_in_the_order_of_the_columns(tuned):
    model = gpt1_jax.load_classifier(tuned("race"))
    answers = ("a", "b", "c", "d")
    row, example = model.predict(
        [("the text", "what ?", *answers), Example(answers, None, "the text", "what ?")]
    )
    assert row.probabilities == example.probabilities
    assert len(set(row.probabilities)) == 4


@pytest.mark.parametrize(
    ("task", "rows", "message"),
    [
        ("sst2", "a film", "predict was given one str; a list of rows is expected"),
        (
            "sst2",
            ["a", 7],
            r"row 1 is of type int; sst2 takes 1 text, sentence, or an",
        ),
        ("sst2", [["a"]], r"row 0 is of type list; sst2 takes 1 text"),
        ("sst2", [("a", "b")], r"row 0 is 2 texts; sst2 takes 1 text"),
        ("rte", ["a"], r"row 0 is 1 text.*2 texts, sentence1, sentence2, or an E"),
    ],
)
def test_python_api_refuses_other_rows(tuned, task, rows, message):
    with pytest.raises(ValueError, match=message):
        gpt1_jax.load_classifier(tuned(task)).predict(rows)
