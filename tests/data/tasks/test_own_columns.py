"""The inference of a task from the columns and cells of a table."""

import pytest

from gpt1_jax.config import DataConfig
from gpt1_jax.data.tasks import own_columns
from gpt1_jax.data.tasks.own_sheet import Sheet
from gpt1_jax.errors import UserError

LONG = "a text of words"


def sheet(**columns):
    """Returns a table; a column is a list of cells, or one cell for all rows."""
    count = max(len(cells) for cells in columns.values() if isinstance(cells, list))
    filled = {
        name: cells if isinstance(cells, list) else [cells] * count
        for name, cells in columns.items()
    }
    rows = tuple(
        (f"F: row {n}", {name: cells[n] for name, cells in filled.items()})
        for n in range(count)
    )
    return Sheet("F", tuple(columns), rows)


def infer(given=None, *, config=None, **columns):
    return own_columns.infer("own", given or sheet(**columns), config or DataConfig())


def facts(task):
    return task.kind, task.columns, task.label_column, task.classes or task.scores


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"id": ["1", "2"], "text": LONG, "label": ["pos", "neg"]},
            ("single", ("text",), "label", ("neg", "pos")),
        ),
        (
            {"Review": ["good and long", "bad and long"], "Label": [10, 9]},
            ("single", ("Review",), "Label", ("9", "10")),
        ),
        (
            {"premise": ["no", "yes"], "hypothesis": "b", "label": [True, False]},
            ("pair", ("premise", "hypothesis"), "label", ("false", "true")),
        ),
        (
            {"sentence1": "a", "sentence2": "b", "score": [1, 7, 3]},
            ("similarity", ("sentence1", "sentence2"), "score", (1.0, 7.0)),
        ),
        (
            {"text": LONG, "label": ["0.5", "2.25"]},
            ("single", ("text",), "label", (0.5, 2.25)),
        ),
        (
            {"what": [LONG] * 8, "mood": ["up", "down"] * 4, "id": list("abcdefgh")},
            ("single", ("what",), "mood", ("down", "up")),
        ),
        (
            {"text": LONG, "label": [1.0, float("nan"), 0.0, None, ""]},
            ("single", ("text",), "label", ("0", "1")),
        ),
    ],
)
def test_columns_classes_and_kind_are_inferred(columns, expected):
    assert facts(infer(**columns)[0]) == expected


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        ({"choices": [["x", "y"]] * 2, "label": [0, 1]}, ("0", "1")),
        ({"choices": [["x", "y", "z"]] * 2, "answer": [1, 3]}, ("1", "2", "3")),
        ({"A": "x", "B": "y", "answer": ["B", "A"]}, ("A", "B")),
        ({"ending0": "x", "ending1": "y", "label": ["b", "a"]}, ("a", "b")),
        ({"sol1": "x", "sol2": "y", "label": ["sol1", "sol2"]}, ("sol1", "sol2")),
    ],
)
def test_a_choice_is_inferred_from_columns_or_lists_of_answers(columns, names):
    task, described = infer(article=LONG, question="which one ?", **columns)
    assert task.kind == "choice"
    assert task.answer_names == names
    assert task.context_columns == ("article",)
    assert task.question_columns == ("question",)
    assert set(task.columns) == set(columns) - {"label", "answer"}
    assert f"answers in {', '.join(task.columns)}; texts before them in" in described


def test_metrics_follow_from_the_kind():
    metrics = [
        infer(text=LONG, label=labels)[0].metrics
        for labels in (["a", "b"], ["a", "b", "c"], [0.1, 0.2])
    ]
    assert metrics == [("accuracy", "f1"), ("accuracy",), ("pearson", "spearman")]


def test_what_the_user_names_is_taken():
    table = sheet(
        a=["one two", "three four"], b=["five six", "x y"], label=["k", "l"], n=[1, 2]
    )
    config = DataConfig(text_columns="b, A", label_column="N", label_kind="number")
    assert facts(infer(table, config=config)[0]) == (
        *("similarity", ("b", "a"), "n"),
        (1.0, 2.0),
    )
    config = DataConfig(answer_columns="a,b", label_column="n", label_kind="choice")
    assert infer(table, config=config)[0].columns == ("a", "b")
    config = DataConfig(label_column="label", text_columns="a")
    lists = sheet(a=LONG, tokens=[["x"], ["y", "z"]], label=["k", "l"])
    config = DataConfig(label_kind="class")
    assert facts(infer(lists, config=config)[0])[:2] == ("single", ("a",))


def test_one_line_says_how_the_table_is_read():
    _, described = infer(id=[1, 2, 3], text=LONG, mood=["b", "a", "b"])
    assert described == (
        "F: texts in text; label in mood: a 1, b 2; kind single, metric accuracy, f1"
    )


def test_many_classes_are_described_in_short():
    _, described = infer(text=LONG, label=[f"c{n:02}" for n in range(25)] * 2)
    assert "c19 2, and 5 more; kind" in described


@pytest.mark.parametrize(
    ("columns", "fields", "message"),
    [
        (
            {"text": LONG, "label": ["a", "b"]},
            {"label_column": "labl"},
            r"label_column: F has no column 'labl'; its columns are text, label; did",
        ),
        (
            {"text": LONG, "label": ["a", "b"]},
            {"text_columns": "text,body"},
            r"text_columns: F has no column 'body'; .* name one of these",
        ),
        (
            {"text": LONG, "label": ["a", "b"]},
            {"text_columns": "label", "label_column": "label"},
            r"text_columns=label: label is a column of labels or answers; another",
        ),
        (
            {"text": LONG, "label": ["a", "a"]},
            {},
            r"every label in column label is 'a'; two or more are expected; name ano",
        ),
        (
            {"text": LONG, "label": [f"c{n}" for n in range(21)]},
            {},
            r"F: all 21 labels in column label differ; classes that occur several",
        ),
        (
            {"text": LONG, "label": ["", None]},
            {},
            r"column label has no label; one in each row is expected; add them",
        ),
        (
            {"text": ["1", "2.5"], "label": ["a", "b"]},
            {},
            r"column text holds only numbers; texts are expected; name another",
        ),
        (
            {"text": LONG, "label": [1, 2, 3, "x"]},
            {},
            r"F: row 3: label 'x' in column label is no number, and others are; ",
        ),
        (
            {"text": LONG, "label": ["a", "b"]},
            {"label_kind": "number"},
            r"F: row 0: label 'a' in column label is no number",
        ),
        (
            {"text": LONG, "label": [["a"], ["b"]]},
            {"label_kind": "class"},
            r"F: row 0: \['a'\] in column label; a name or a number is expected",
        ),
        (
            {"text": LONG, "other": ["one", "two"] * 4, "more": ["x", "y"] * 4},
            {},
            r"other and more may be the labels; its columns are text, other, more; ",
        ),
        (
            {"text": [f"{LONG} {n}" for n in range(8)]},
            {},
            r"F: no column looks like labels; its columns are text; name the one",
        ),
        (
            {"a": LONG, "b": LONG, "c": LONG, "label": ["k", "l"]},
            {},
            r"F: a, b, c could be texts; one or two columns of texts are expected",
        ),
        ({"a": ["x", "y"], "label": ["k", "l"]}, {}, r"no column could be texts; one"),
        (
            {"choices": [["x", "y"], ["x"]], "label": [0, 1]},
            {},
            r"F: row 1: 1 answers in column choices; 2 are expected, the same number",
        ),
        (
            {"choices": [["x"], ["y"]], "label": [0, 1]},
            {},
            r"F: row 0: 1 answers in column choices; at least 2 are expected",
        ),
        (
            {"choices": [["x", "y"], None], "label": [0, 1]},
            {},
            r"F: row 1: None in column choices; a list of texts is expected; correct",
        ),
        (
            {"choices": [["x", "y", "z"]] * 2, "label": [1, 2]},
            {},
            r"the labels 1, 2 may count from 0 or from 1; .* write letters, or add",
        ),
        (
            {"choices": [["x", "y"]] * 2, "label": ["p", "q"]},
            {},
            r"F: the labels are p, q; numbers from 0 or 1, or letters from A, of the 2",
        ),
        (
            {"text": LONG, "label": [0, 1]},
            {"label_kind": "choice"},
            r"label_kind=choice, but F has no columns of answers, such as answer1",
        ),
    ],
)
def test_a_table_without_a_clear_task_is_refused(columns, fields, message):
    with pytest.raises(UserError, match=message):
        infer(config=DataConfig(**fields), **columns)
