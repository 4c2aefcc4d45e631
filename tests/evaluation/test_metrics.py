"""Metrics beside their textbook formulas, and cases where these divide by zero."""

import math

import hypothesis
import hypothesis.extra.numpy
import numpy as np
import pytest
from hypothesis import strategies as st

from gpt1_jax.evaluation import metrics

NAMES = ("accuracy", "f1", "matthews", "pearson", "spearman")
CORRELATIONS = ("matthews", "pearson", "spearman")
LABELS = np.array([0, 1, 1, 0, 1, 0, 0])


def counts(labels, predictions) -> tuple[int, int, int, int]:
    """Counts true and false positives, false and true negatives, one by one."""
    pairs = list(zip(labels.tolist(), predictions.tolist(), strict=True))
    return tuple(pairs.count(pair) for pair in [(1, 1), (0, 1), (1, 0), (0, 0)])


def f1_oracle(labels, predictions) -> float:
    tp, fp, fn, _ = counts(labels, predictions)
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    return 2 * precision * recall / (precision + recall)


def matthews_oracle(labels, predictions) -> float:
    tp, fp, fn, tn = counts(labels, predictions)
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(product)


def matthews_of_many_oracle(labels, predictions) -> float:
    """Gorodkin 2004, eq. (8): covariances of one-hot rows, summed over classes."""
    classes = sorted({*labels.tolist(), *predictions.tolist()})
    x, y = (
        np.array([[float(v == c) for c in classes] for v in values])
        for values in (labels, predictions)
    )

    def covariance(a, b) -> float:
        pairs = zip(a.T, b.T, strict=True)
        return sum(np.mean((u - u.mean()) * (v - v.mean())) for u, v in pairs)

    return covariance(x, y) / math.sqrt(covariance(x, x) * covariance(y, y))


def pearson_oracle(labels, predictions) -> float:
    x, y = [float(v) for v in labels], [float(v) for v in predictions]
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    covariance = math.fsum(
        (a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)
    )
    variance_x = math.fsum((a - mean_x) ** 2 for a in x)
    variance_y = math.fsum((b - mean_y) ** 2 for b in y)
    return covariance / math.sqrt(variance_x * variance_y)


def ranks_oracle(values) -> list[float]:
    """Returns ranks; equal values share the mean of theirs."""
    return [
        sum(other < value for other in values)
        + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def spearman_oracle(labels, predictions) -> float:
    return pearson_oracle(ranks_oracle(labels), ranks_oracle(predictions))


@pytest.mark.parametrize(
    ("name", "oracle"), [("f1", f1_oracle), ("matthews", matthews_oracle)]
)
@pytest.mark.parametrize("seed", range(5))
def test_scores_of_two_classes(name, oracle, seed):
    rng = np.random.default_rng(seed)
    labels, predictions = rng.random((2, 53)) < [[0.3], [0.6]]
    labels, predictions = labels.astype(np.int32), predictions.astype(np.int64)
    found = metrics.compute([name], labels, predictions)
    assert found == {name: pytest.approx(oracle(labels, predictions), abs=1e-12)}


def test_f1_is_of_class_1():
    # Class 1: one right of two predicted, of three there. Class 0: three of five.
    predictions = np.array([0, 1, 0, 0, 0, 1, 0])
    assert metrics.compute(["f1"], LABELS, predictions)["f1"] == pytest.approx(2 / 5)
    flipped = metrics.compute(["f1"], 1 - LABELS, 1 - predictions)["f1"]
    assert flipped == pytest.approx(2 / 3)


def test_matthews_of_three_classes():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=53)
    predictions = np.where(rng.random(53) < 0.5, labels, rng.integers(3, size=53))
    expected = matthews_of_many_oracle(labels, predictions)
    assert 0.2 < expected < 0.9
    found = metrics.compute(["matthews"], labels, predictions)
    assert found == {"matthews": pytest.approx(expected, abs=1e-12)}


@pytest.mark.parametrize("seed", range(5))
def test_correlations_of_scores(seed):
    rng = np.random.default_rng(seed)
    # A few levels, so that ranks tie; the exponential parts Pearson from Spearman.
    labels = rng.integers(6, size=31) / 1.25
    predictions = np.exp(labels + rng.standard_normal(31)).astype(np.float32)
    found = metrics.compute(["spearman", "pearson"], labels, predictions)
    pearson = pearson_oracle(labels, predictions)
    spearman = spearman_oracle(labels, predictions)
    assert abs(pearson - spearman) > 0.01
    assert found["pearson"] == pytest.approx(pearson, abs=1e-12)
    assert found["spearman"] == pytest.approx(spearman, abs=1e-12)


def test_pearson_of_values_that_hardly_differ():
    labels = np.array([1.0, 2.0, 4.0])
    # Multiples of the spacing of numbers near 3, so the differences are exact.
    predictions = 3 + np.array([2.0, 1.0, 4.0]) * 2.0**-51
    found = metrics.compute(["pearson"], labels, predictions)["pearson"]
    assert found == pytest.approx(11 / 14, abs=1e-12)


def test_accuracy_is_the_share_of_equal_answers():
    predictions = np.array([0, 1, 0, 0, 0, 1, 0])
    assert metrics.compute(["accuracy"], LABELS, predictions) == {"accuracy": 4 / 7}
    # The numbers of choices and classes may be of any type.
    floats = metrics.compute(["accuracy"], LABELS, predictions.astype(np.float32))
    assert floats == {"accuracy": 4 / 7}


def test_names_choose_the_scores_and_their_order():
    found = metrics.compute(["spearman", "accuracy"], LABELS, 1 - LABELS)
    assert list(found.items()) == [("spearman", pytest.approx(-1)), ("accuracy", 0.0)]
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("constant", [0, 1])
@pytest.mark.parametrize("name", CORRELATIONS)
def test_a_constant_scores_zero(name, constant):
    constants = np.full_like(LABELS, constant)
    # Right on every example, too, where both are constant.
    for pair in [(LABELS, constants), (constants, LABELS), (constants, constants)]:
        assert metrics.compute([name], *pair) == {name: 0.0}


def test_accuracy_of_a_constant_is_its_share():
    found = metrics.compute(["accuracy"], LABELS, np.ones_like(LABELS))
    assert found == {"accuracy": 3 / 7}


@pytest.mark.parametrize("name", CORRELATIONS)
def test_a_single_prediction_scores_zero(name):
    assert metrics.compute([name], np.array([1]), np.array([1])) == {name: 0.0}


@pytest.mark.parametrize("name", NAMES)
def test_two_right_predictions_score_one(name):
    found = metrics.compute([name], np.array([0, 1]), np.array([0, 1]))
    assert found == {name: pytest.approx(1.0)}


def test_f1_without_a_hit_is_zero():
    zeros = np.zeros_like(LABELS)
    for pair in [(LABELS, 1 - LABELS), (LABELS, zeros), (zeros, zeros)]:
        assert metrics.compute(["f1"], *pair) == {"f1": 0.0}


def test_f1_of_a_constant_one_is_that_of_its_precision():
    share = LABELS.mean()
    found = metrics.compute(["f1"], LABELS, np.ones_like(LABELS))
    assert found == {"f1": pytest.approx(2 * share / (1 + share))}


_FLOATS = hypothesis.extra.numpy.arrays(
    np.float32,
    st.just((2, 5)),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@hypothesis.given(_FLOATS)
def test_no_correlation_of_finite_scores_is_nan(values):
    for score in metrics.compute(["pearson", "spearman"], *values).values():
        assert -1 <= score <= 1


@pytest.mark.parametrize(
    ("names", "labels", "predictions", "message"),
    [
        (["f2"], [0], [0], "metric 'f2'; accuracy, f1, matthews, pearson, spearman; u"),
        (["f1"], [], [], "0 predictions; at least 1 is needed; check"),
        (["f1"], [0, 1], [0], r"shape \(2,\), predictions of \(1,\); both must be"),
        (["f1"], [[0, 1]], [[0, 1]], r"shape \(1, 2\), predictions of \(1, 2\); both"),
        (["f1"], [0, 1, 2], [0, 1, 1], r"classes \[0, 1, 2\] for f1; 0 and 1 only;"),
        (["pearson"], [0.0, 1.0], [np.nan, 1.0], "1 of 2 predictions are not finite"),
        (["pearson"], [np.inf, np.nan], [0.5, 1.0], "2 of 2 labels are not finite;"),
    ],
)
def test_invalid_input_is_refused(names, labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        metrics.compute(names, np.array(labels), np.array(predictions))
