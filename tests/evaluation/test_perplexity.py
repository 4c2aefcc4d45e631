"""Means over a held-out set, for any batch size."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from gpt1_jax.data.text import corpus
from gpt1_jax.evaluation import perplexity
from gpt1_jax.models.transformer import Transformer
from gpt1_jax.training import losses
from tests.configs import TINY_MODEL


def test_the_mean_weighs_batches_by_their_count():
    batches = [(6.0, 3), (10.0, 1), (0.0, 0), (5.0, 10)]

    def eval_step(params, batch):
        total, count = batch
        return {"loss": (params * total, count), "accuracy": (count / 2, count)}

    means = perplexity.mean_metrics(eval_step, 2.0, iter(batches))
    assert means == {"loss": 2 * 21.0 / 14, "accuracy": 0.5}


def test_sums_do_not_lose_small_terms():
    batches = [(2.0**24, 1.0)] + [(1.0, 1.0)] * 100

    def eval_step(params, batch):
        return {"loss": tuple(np.float32(x) for x in batch)}

    means = perplexity.mean_metrics(eval_step, None, batches)
    assert means["loss"] == (2**24 + 100) / 101  # in float32 the ones would vanish


def test_the_next_batch_is_prepared_before_the_last_is_read():
    events = []

    class Total:
        def __init__(self, number):
            self.number = number

        def __float__(self):
            events.append(f"read {self.number}")
            return 1.0

    def eval_step(params, batch):
        events.append(f"run {batch}")
        return {"loss": (Total(batch), 1.0)}

    perplexity.mean_metrics(eval_step, None, range(3))
    assert events == ["run 0", "run 1", "read 0", "run 2", "read 1", "read 2"]


def test_held_out_loss_does_not_depend_on_the_batch_size(make_params):
    cfg = dataclasses.replace(TINY_MODEL, context_length=7)
    model = Transformer(cfg, 23)
    params = make_params(model)
    rng = np.random.default_rng(0)
    books = tuple(rng.integers(0, 23, length) for length in (31, 1, 2, 59))
    documents = corpus.Documents(np.concatenate(books), np.array([0, 31, 32, 34, 93]))
    eval_step = jax.jit(
        perplexity.make_eval_step(losses.make_lm_loss(model, is_train=False))
    )
    found = {
        batch_size: perplexity.mean_metrics(
            eval_step, params, corpus.eval_batches(documents, 7, batch_size)
        )["loss"]
        for batch_size in (1, 5)
    }
    assert found[5] == pytest.approx(found[1], rel=1e-6)
    # The mean over all tokens but each book's first, one window at a time.
    total = count = 0
    apply = jax.jit(model.apply)
    for book in books:
        for start in range(0, len(book) - 1, 7):
            window = np.zeros(8, np.int32)
            given = book[start : start + 8]
            window[: len(given)] = given
            logits_LV = apply({"params": params}, window[None, :7])[0]
            logp_LV = np.asarray(jax.nn.log_softmax(logits_LV))
            for place in range(len(given) - 1):
                total -= logp_LV[place, window[place + 1]]
                count += 1
    assert count == 30 + 0 + 1 + 58
    assert found[1] == pytest.approx(total / count, rel=1e-6)


def test_perplexity_is_the_exponential_and_never_overflows():
    assert perplexity.perplexity(math.log(18.4)) == pytest.approx(18.4)
    assert perplexity.perplexity(1e6) == math.inf
    assert math.isnan(perplexity.perplexity(math.nan))
