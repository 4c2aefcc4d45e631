"""predictions/SPLIT.jsonl: reading returns what was written and refuses damage."""

import json

import numpy as np
import pytest

from gpt1_jax.evaluation import predictions
from gpt1_jax.evaluation.predictions import Prediction

NAMED = Prediction(0, "neutral", "entailment", (0.1, 1 / 3, 0.7))
SCORED = Prediction(1, 3.8, 2.0000000000000004, ())
CHOSEN = Prediction(2, None, 3, (0.1, 0.2, 0.3, 0.4))

GOOD = '{"index": 0, "label": null, "prediction": "a", "probabilities": [1.0]}'


def test_reading_returns_the_written_values_and_types(tmp_path):
    predictions.write(tmp_path, "dev", [NAMED, SCORED, CHOSEN])
    found = predictions.read(tmp_path, "dev")
    assert found == [NAMED, SCORED, CHOSEN]
    assert [type(row.prediction) for row in found] == [str, float, int]


def test_a_row_is_one_line_with_the_promised_keys(tmp_path):
    predictions.write(tmp_path, "test", [CHOSEN])
    text = (tmp_path / "predictions/test.jsonl").read_text()
    assert text.count("\n") == 1
    assert json.loads(text) == {
        "index": 2,
        "label": None,
        "prediction": 3,
        "probabilities": [0.1, 0.2, 0.3, 0.4],
    }


def test_numpy_numbers_keep_their_value(tmp_path):
    third = np.float32(1 / 3)
    row = Prediction(np.int32(0), np.float32(0.1), np.float64(0.1), (third, third))
    predictions.write(tmp_path, "dev", [row])
    (found,) = predictions.read(tmp_path, "dev")
    assert found == row
    assert found.label != 0.1
    assert {type(number) for number in found.probabilities} == {float}


def test_rows_are_sorted_by_index(tmp_path):
    predictions.write(tmp_path, "dev", [CHOSEN, NAMED, SCORED])
    assert predictions.read(tmp_path, "dev") == [NAMED, SCORED, CHOSEN]


def test_a_split_without_examples_has_no_rows(tmp_path):
    predictions.write(tmp_path, "dev", [])
    assert predictions.read(tmp_path, "dev") == []


def test_a_second_prediction_of_an_example_is_refused(tmp_path):
    with pytest.raises(ValueError, match="two predictions of index 2 in split 'dev'"):
        predictions.write(tmp_path, "dev", [CHOSEN, NAMED, CHOSEN])


@pytest.mark.parametrize("number", [float("nan"), np.float32("inf")])
def test_a_non_finite_number_is_refused_and_the_old_file_stays(tmp_path, number):
    predictions.write(tmp_path, "dev", [NAMED])
    with pytest.raises(ValueError, match="not JSON compliant"):
        predictions.write(tmp_path, "dev", [Prediction(0, None, number, ())])
    assert predictions.read(tmp_path, "dev") == [NAMED]
    assert [path.name for path in tmp_path.glob("predictions/*")] == ["dev.jsonl"]


def test_a_missing_file_is_reported_with_the_existing_ones(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"test\.jsonl; .* there: none; put the"
    ):
        predictions.read(tmp_path, "test")
    predictions.write(tmp_path, "dev", [NAMED])
    predictions.write(tmp_path, "ax", [NAMED])
    with pytest.raises(FileNotFoundError, match="there: ax, dev; put the test"):
        predictions.read(tmp_path, "test")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD[:-9], r"dev\.jsonl line 2 is damaged: .*; one JSON object is expected"),
        ("", "line 2 is damaged: "),
        ("\udcff", "line 2 is damaged: "),
        ("[]", "line 2 has a list; index, label, prediction, probabilities are"),
        ("{}", "line 2 has the keys none; index, label"),
        (GOOD.replace("label", "lable"), "has the keys index, lable, prediction"),
        (GOOD.replace("0,", "-1,"), "has index -1; an integer from 0 is"),
        (GOOD.replace("0,", "0.0,"), "has index 0.0; an integer from 0 is"),
        (GOOD.replace("null", "true"), "has label True; a class name, a finite"),
        (GOOD.replace('"a"', "null"), "has prediction None; a class name or a"),
        (GOOD.replace('"a"', "NaN"), "has prediction nan; a class name or a"),
        (GOOD.replace("[1.0]", "1.0"), "has probabilities 1.0; a list of finite"),
        (GOOD.replace("[1.0]", '["1"]'), r"has probabilities \['1'\]; a list of fin"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, message):
    path = predictions.path_of(tmp_path, "dev")
    path.parent.mkdir()
    path.write_bytes(f"{GOOD}\n{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message):
        predictions.read(tmp_path, "dev")
