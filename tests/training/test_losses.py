"""The language-modelling loss: its average, and where its dropout acts."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from gpt1_jax.data.text.corpus import LMBatch
from gpt1_jax.models import dropout
from gpt1_jax.models.transformer import Transformer
from gpt1_jax.training import losses
from tests.configs import TINY_MODEL

VOCAB = 23
KEY = jax.random.key(5)
MODEL = Transformer(TINY_MODEL, VOCAB)


@pytest.fixture(scope="module")
def params(make_params) -> dict:
    return make_params(MODEL)


@functools.cache
def make_loss(is_train: bool, **changes):
    model = Transformer(dataclasses.replace(TINY_MODEL, **changes), VOCAB)
    return jax.jit(losses.make_lm_loss(model, is_train=is_train))


def batch(num_targets=(11, 7, 0, 1)) -> LMBatch:
    B = len(num_targets)
    tokens_BL = np.random.default_rng(0).integers(0, VOCAB, (B, 12)).astype(np.int32)
    return LMBatch(
        tokens_BL, np.array(num_targets, np.int32), np.arange(B, dtype=np.uint32)
    )


encode = jax.jit(
    lambda params, tokens_NL: MODEL.apply(
        {"params": params}, tokens_NL, method="encode"
    )
)


def oracle(params, batch, table_VD=None) -> tuple[float, int]:
    """Returns the sum of the counted targets' losses, and their number."""
    h_BLD = np.asarray(encode(params, batch.tokens_BL[:, :-1]), np.float64)
    table_VD = params["embed"]["token"] if table_VD is None else table_VD
    logits_BLV = h_BLD @ np.asarray(table_VD, np.float64).T
    total, count = 0.0, 0
    for row, num_targets in enumerate(batch.num_targets_B):
        for position in range(num_targets):
            logits_V = logits_BLV[row, position]
            target = batch.tokens_BL[row, position + 1]
            total += np.log(np.exp(logits_V).sum()) - logits_V[target]
            count += 1
    return total, count


def test_loss_is_the_mean_over_counted_targets(params):
    loss, sums = make_loss(is_train=False)(params, batch(), KEY)
    total, count = oracle(params, batch())
    assert count == 19
    np.testing.assert_allclose(loss, total / count, rtol=1e-5)
    np.testing.assert_allclose(sums["loss"][0], total, rtol=1e-5)
    assert sums["loss"][1] == count
    # It is neither the mean over all positions nor the mean of the rows' means.
    assert abs(oracle(params, batch((11,) * 4))[0] / 44 - loss) > 0.05
    rows = [
        batch()._replace(num_targets_B=n * np.eye(4, dtype=int)[i])
        for i, n in enumerate(batch().num_targets_B)
        if n
    ]
    means = [total / count for total, count in (oracle(params, row) for row in rows)]
    assert abs(np.mean(means) - loss) > 0.05


def test_padding_does_not_count(params):
    tokens_BL = batch().tokens_BL
    for row, num_targets in enumerate(batch().num_targets_B):
        tokens_BL[row, num_targets + 1 :] = 0
    padded = batch()._replace(tokens_BL=tokens_BL)
    assert np.any(padded.tokens_BL != batch().tokens_BL)
    first, second = (
        make_loss(is_train=False)(params, given, KEY)[0] for given in (batch(), padded)
    )
    assert first == second


def test_a_batch_of_padding_has_loss_zero(params):
    loss, sums = make_loss(is_train=False)(params, batch((0, 0, 0, 0)), KEY)
    assert loss == 0
    assert sums["loss"] == (0, 0)


def test_evaluation_uses_no_key_and_training_does(params):
    keys = (KEY, KEY, jax.random.key(6))
    scored, trained = (
        [make_loss(is_train=is_train)(params, batch(), key)[0] for key in keys]
        for is_train in (False, True)
    )
    assert scored[0] == scored[1] == scored[2]
    assert trained[0] == trained[1] != trained[2]
    assert trained[0] != scored[0]


NO_DROPOUT = dict.fromkeys(
    ("embedding_dropout", "residual_dropout", "attention_dropout"), 0.0
)


@pytest.mark.parametrize("site", NO_DROPOUT)
def test_each_dropout_rate_changes_the_training_loss(params, site):
    plain, _ = make_loss(is_train=False)(params, batch(), KEY)
    without, _ = make_loss(is_train=True, **NO_DROPOUT)(params, batch(), KEY)
    some = make_loss(is_train=True, **NO_DROPOUT | {site: 0.5})(params, batch(), KEY)[0]
    np.testing.assert_allclose(without, plain, rtol=1e-6)
    assert abs(some - plain) > 1e-3


def test_embedding_dropout_reaches_the_input_and_the_softmax(params):
    loss_fn = make_loss(is_train=True, **NO_DROPOUT | {"embedding_dropout": 0.5})
    loss, _ = loss_fn(params, batch(), KEY)
    table_key, _ = jax.random.split(KEY)
    dropped = jax.jit(dropout.drop_embeddings, static_argnums=1)(params, 0.5, table_key)
    total, count = oracle(dropped, batch())
    np.testing.assert_allclose(loss, total / count, rtol=1e-5)
    # Dropout in one of these places only would give another loss.
    for name in ("token", "position"):
        partly = dropped | {"embed": dropped["embed"] | {name: params["embed"][name]}}
        assert abs(oracle(partly, batch())[0] / count - loss) > 1e-2
    undropped_softmax = oracle(dropped, batch(), params["embed"]["token"])
    assert abs(undropped_softmax[0] / count - loss) > 1e-2


def test_gradient_of_the_training_loss_equals_finite_differences(params):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        params = jax.tree.map(np.float64, params)
        loss_fn = make_loss(is_train=True, compute_dtype="float64")
        grad_fn = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
        _, gradient = grad_fn(params, batch(), KEY)
        for part in params:
            delta = jax.tree.map(
                lambda p: 1e-6 * rng.standard_normal(p.shape), params[part]
            )
            higher, lower = (
                grad_fn(
                    params | {part: jax.tree.map(f, params[part], delta)}, batch(), KEY
                )
                for f in (np.add, np.subtract)
            )
            products = jax.tree.map(lambda g, d: (g * d).sum(), gradient[part], delta)
            slope = sum(jax.tree.leaves(products))
            found = higher[0][0] - lower[0][0]
            np.testing.assert_allclose(found, 2 * slope, rtol=1e-5, err_msg=part)
