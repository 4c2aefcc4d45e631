"""A task's loss, compared with numpy in float64, one sequence at a time."""

import dataclasses

import jax
import numpy as np
import pytest

from gpt1_jax.data.tasks.batches import TaskBatch
from gpt1_jax.models.transformer import Transformer
from gpt1_jax.training import losses
from gpt1_jax.training.losses import TaskObjective
from tests.configs import TINY_MODEL

CFG = dataclasses.replace(
    TINY_MODEL, embedding_dropout=0.0, residual_dropout=0.0, attention_dropout=0.0
)
VOCAB = 23
MODEL = Transformer(CFG, VOCAB)
KEY = jax.random.key(3)
B, L = 5, 11


def objective(target="softmax", is_choice=False, lm_coef=0.5, dropout=0.0):
    return TaskObjective(target, is_choice, lm_coef, dropout)


def batch(A: int, labels) -> TaskBatch:
    rng = np.random.default_rng(0)
    lengths_BA = rng.integers(4, L + 1, (B, A)).astype(np.int32)
    tokens_BAL = rng.integers(1, VOCAB, (B, A, L)).astype(np.int32)
    tokens_BAL *= np.arange(L) < lengths_BA[..., None]
    row_B = np.arange(B, dtype=np.uint32)
    return TaskBatch(tokens_BAL, lengths_BA, np.array(labels, np.float32), row_B)


def single_rows(batch: TaskBatch) -> list[TaskBatch]:
    """Returns a batch of one example for each example of `batch`."""
    return [TaskBatch(*(x[row : row + 1] for x in batch)) for row in range(B)]


@pytest.fixture(scope="module")
def params(make_params):
    return make_params(MODEL)


def with_head(params, num_outputs: int) -> dict:
    rng = np.random.default_rng(1)
    kernel_DC = rng.standard_normal((CFG.width, num_outputs)).astype(np.float32)
    bias_C = rng.standard_normal(num_outputs).astype(np.float32)
    return params | {"head": {"kernel": kernel_DC, "bias": bias_C}}


def log_softmax(x):
    return x - np.log(np.exp(x - x.max()).sum()) - x.max()


def make_loss(aim: TaskObjective):
    return jax.jit(losses.make_task_loss(MODEL, aim))


@jax.jit
def hidden(params, tokens_NL):
    backbone = {name: value for name, value in params.items() if name != "head"}
    return MODEL.apply({"params": backbone}, tokens_NL, method="encode")


def lm_oracle(params, batch: TaskBatch) -> float:
    """Returns the mean loss of a sequence's predictions, averaged over sequences."""
    means = []
    tokens_NL = batch.tokens_BAL.reshape(-1, L)
    h_NLD = np.asarray(hidden(params, tokens_NL), np.float64)
    for tokens_L, h_LD, length in zip(
        tokens_NL, h_NLD, batch.lengths_BA.reshape(-1), strict=True
    ):
        logits_LV = h_LD @ np.asarray(params["embed"]["token"], np.float64).T
        nll = [-log_softmax(logits_LV[i])[tokens_L[i + 1]] for i in range(length - 1)]
        means.append(np.mean(nll))
    return float(np.mean(means))


def logits_oracle(params, batch: TaskBatch, is_choice: bool) -> np.ndarray:
    kernel_DC, bias_C = params["head"]["kernel"], params["head"]["bias"]
    h_NLD = np.asarray(hidden(params, batch.tokens_BAL.reshape(-1, L)), np.float64)
    h_BALD = h_NLD.reshape(*batch.tokens_BAL.shape, -1)
    rows = []
    for h_ALD, lengths_A in zip(h_BALD, batch.lengths_BA, strict=True):
        h_AD = [h_LD[length - 1] for h_LD, length in zip(h_ALD, lengths_A, strict=True)]
        if is_choice:
            rows.append([float((h_D @ kernel_DC + bias_C)[0]) for h_D in h_AD])
        else:
            rows.append(np.sum(h_AD, axis=0) @ kernel_DC + bias_C)
    return np.array(rows)


CASES = {
    "classes": (1, 3, objective(), [0, 2, 1, 1, 0]),
    "choice": (4, 1, objective(is_choice=True), [3, 0, 2, 1, 1]),
    "soft grades": (2, 6, objective("soft6"), [0.0, 5.0, 2.25, 3.5, 4.8]),
    "grades": (2, 1, objective("mse"), [0.0, 5.0, 2.25, 3.5, 4.8]),
}


def task_oracle(target: str, logits_C: np.ndarray, label: float) -> float:
    if target == "mse":
        return (logits_C[0] - label) ** 2
    logp_C = log_softmax(logits_C)
    if target == "softmax":
        return -logp_C[int(label)]
    low = int(label)
    high = min(low + 1, 5)
    return -((low + 1 - label) * logp_C[low] + (label - low) * logp_C[high])


@pytest.mark.parametrize("name", CASES)
def test_loss_is_the_task_loss_plus_half_the_lm_loss(name, params):
    A, C, aim, labels = CASES[name]
    given, params = batch(A, labels), with_head(params, C)
    loss, sums = make_loss(aim)(params, given, KEY)
    logits = logits_oracle(params, given, aim.is_choice)
    task = np.mean(
        [task_oracle(aim.target, row, y) for row, y in zip(logits, labels, strict=True)]
    )
    lm = lm_oracle(params, given)
    np.testing.assert_allclose(loss, task + 0.5 * lm, rtol=1e-5)
    means = {name: float(total / count) for name, (total, count) in sums.items()}
    assert means == pytest.approx(
        {"loss": task + 0.5 * lm, "task_loss": task, "lm_loss": lm}, rel=1e-5
    )


def test_lm_loss_is_averaged_over_each_sequence_first(params):
    given = batch(1, [0] * B)
    assert len(set(given.lengths_BA.reshape(-1).tolist())) > 2
    backbone = dict(params)
    per_sequence = lm_oracle(backbone, given)
    _, sums = make_loss(objective())(with_head(params, 2), given, KEY)
    per_token, count = 0.0, 0
    for one in single_rows(given):
        targets = int(one.lengths_BA[0, 0]) - 1
        per_token += lm_oracle(backbone, one) * targets
        count += targets
    assert abs(per_token / count - per_sequence) > 1e-3
    found = float(sums["lm_loss"][0] / sums["lm_loss"][1])
    np.testing.assert_allclose(found, per_sequence, rtol=1e-5)


def test_lm_coef_zero_removes_the_lm_loss(params):
    given, params = batch(1, [0, 1, 0, 1, 0]), with_head(params, 2)
    both, _ = make_loss(objective())(params, given, KEY)
    alone, sums = make_loss(objective(lm_coef=0.0))(params, given, KEY)
    assert sums.keys() == {"loss", "task_loss"}
    assert alone == sums["task_loss"][0] / B
    assert both > alone + 0.1


def test_padding_changes_nothing(params):
    given, params = batch(2, [0, 1, 0, 1, 0]), with_head(params, 2)
    loss_fn = make_loss(objective())
    is_padding = np.arange(L) >= given.lengths_BA[..., None]
    other = given._replace(tokens_BAL=np.where(is_padding, 9, given.tokens_BAL))
    assert (other.tokens_BAL != given.tokens_BAL).any()
    np.testing.assert_array_equal(
        loss_fn(params, given, KEY)[0], loss_fn(params, other, KEY)[0]
    )


def test_classifier_dropout_is_shared_by_the_choices_of_an_example(params):
    """Dropout keeps equal choices equal; equal examples differ."""
    aim = objective(is_choice=True, lm_coef=0.0, dropout=0.5)
    given, params = batch(3, [0] * B), with_head(params, 1)
    same = given._replace(
        tokens_BAL=np.repeat(given.tokens_BAL[:1, :1], B, 0).repeat(3, 1),
        lengths_BA=np.full((B, 3), given.lengths_BA[0, 0]),
    )
    loss, _ = make_loss(aim)(params, same, KEY)
    np.testing.assert_allclose(loss, np.log(3), rtol=1e-6)
    graded = dataclasses.replace(aim, target="mse", is_choice=False)
    loss_fn = make_loss(graded)
    found = {float(loss_fn(params, one, KEY)[0]) for one in single_rows(same)}
    assert len(found) == B


def test_dropout_depends_on_the_key_and_not_on_the_other_rows(params):
    aim = objective(dropout=0.3)
    given, params = batch(1, [0, 1, 0, 1, 0]), with_head(params, 2)
    loss_fn = make_loss(aim)
    first, second = (loss_fn(params, given, jax.random.key(n))[0] for n in (3, 4))
    assert first != second
    rows = [loss_fn(params, one, KEY)[0] for one in single_rows(given)]
    np.testing.assert_allclose(loss_fn(params, given, KEY)[0], np.mean(rows), rtol=1e-5)
