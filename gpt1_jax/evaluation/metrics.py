"""Metrics of the predictions of a split, as pure functions of numpy arrays.

A score lies in [0, 1] or [-1, 1], never in percent. Tasks and files are elsewhere.
"""

from collections.abc import Sequence

import numpy as np

from gpt1_jax.data.tasks.task import METRICS


def compute(
    names: Sequence[str], labels: np.ndarray, predictions: np.ndarray
) -> dict[str, float]:
    """Returns `{name: score}` for B predictions.

    accuracy  share of predictions equal to their label
    f1        2 p r / (p + r), precision and recall of class 1
    matthews  correlation of two classes, or its extension to more (Gorodkin 2004)
    pearson   linear correlation
    spearman  linear correlation of the ranks, ties sharing their mean rank

    If predictions or labels are constant, correlations are 0.0, never NaN; so is f1 if
    no 1 occurs. Predicting 1 everywhere gives f1 = 2 q / (1 + q), q the share of 1.
    Args:    labels, predictions: (B,); class indices (0 and 1 only for f1), or finite
             real numbers for pearson and spearman.
    Raises:  ValueError: an unknown name, no prediction, shapes that differ, a number
             that is not finite, or a class other than 0 and 1 for f1.
    """
    for name in names:
        if name not in _METRICS:
            known = ", ".join(_METRICS)
            raise ValueError(f"metric {name!r}; {known}; use one of these")
    labels_B, predictions_B = np.asarray(labels), np.asarray(predictions)
    if labels_B.ndim != 1 or labels_B.shape != predictions_B.shape:
        raise ValueError(
            f"labels of shape {labels_B.shape}, predictions of {predictions_B.shape}; "
            "both must be (B,); pass one prediction for each label"
        )
    if not len(labels_B):
        raise ValueError("0 predictions; at least 1 is needed; check the split's file")
    for what, values_B in (("labels", labels_B), ("predictions", predictions_B)):
        num_bad = np.sum(~np.isfinite(values_B))
        if num_bad:
            raise ValueError(
                f"{num_bad} of {len(values_B)} {what} are not finite; real numbers are "
                "needed; check the model's parameters"
            )
    is_constant = _is_constant(labels_B) or _is_constant(predictions_B)
    return {
        name: 0.0
        if is_constant and name in _CORRELATIONS
        else float(_METRICS[name](labels_B, predictions_B))
        for name in names
    }


def _is_constant(values_B: np.ndarray) -> bool:
    return bool(np.all(values_B == values_B[0]))


# scikit-learn and scipy are imported inside functions: importing them takes seconds,
# and most commands need neither.


def _accuracy(labels_B: np.ndarray, predictions_B: np.ndarray) -> float:
    return np.mean(labels_B == predictions_B)


def _f1(labels_B: np.ndarray, predictions_B: np.ndarray) -> float:
    import sklearn.metrics

    classes = np.union1d(labels_B, predictions_B)
    if not np.isin(classes, (0, 1)).all():
        raise ValueError(
            f"classes {classes.tolist()} for f1; 0 and 1 only; use accuracy or matthews"
        )
    if 1 not in classes:
        return 0.0
    return sklearn.metrics.f1_score(labels_B, predictions_B)


def _matthews(labels_B: np.ndarray, predictions_B: np.ndarray) -> float:
    import sklearn.metrics

    return sklearn.metrics.matthews_corrcoef(labels_B, predictions_B)


def _pearson(labels_B: np.ndarray, predictions_B: np.ndarray) -> float:
    import scipy.stats

    return scipy.stats.pearsonr(_centred(labels_B), _centred(predictions_B)).statistic


def _spearman(labels_B: np.ndarray, predictions_B: np.ndarray) -> float:
    import scipy.stats

    return _pearson(scipy.stats.rankdata(labels_B), scipy.stats.rankdata(predictions_B))


def _centred(values_B: np.ndarray) -> np.ndarray:
    """Returns non-constant values shifted to mean 0 and scaled to absolute maximum 1.

    Neither changes a correlation, but its sums would lose digits if values hardly
    differ.
    """
    values_B = values_B.astype(np.float64)
    values_B = values_B - values_B.mean()
    return values_B / np.abs(values_B).max()


_CORRELATIONS = ("matthews", "pearson", "spearman")

_FUNCTIONS = (_accuracy, _f1, _matthews, _pearson, _spearman)
_METRICS = dict(zip(METRICS, _FUNCTIONS, strict=True))
