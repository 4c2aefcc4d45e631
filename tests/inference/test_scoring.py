"""Log-probabilities of texts, including texts longer than the context."""

import dataclasses

import jax
import numpy as np
import pytest

from gpt1_jax.inference import scoring
from gpt1_jax.models.transformer import Transformer
from tests.configs import TINY_MODEL

VOCAB = 23


def make(make_params, context_length: int):
    """Returns score() of a tiny model, and a function that scores one window."""
    cfg = dataclasses.replace(TINY_MODEL, context_length=context_length)
    model = Transformer(cfg, VOCAB)
    params = make_params(model)

    def logits_fn(params, tokens_NL):
        return model.apply({"params": params}, tokens_NL)

    token_logp = scoring.make_token_logp(model, chunk_elements=100)
    jitted_logits = jax.jit(logits_fn)

    def score(texts, **kwargs):
        return scoring.score(
            token_logp, params, texts, context_length=context_length, **kwargs
        )

    def window_logp(tokens: np.ndarray) -> np.ndarray:
        """Returns the log-probabilities of a window alone, without its first token."""
        padded = np.zeros((1, context_length), np.int32)
        padded[0, : len(tokens)] = tokens
        logits_LV = np.asarray(jitted_logits(params, padded)[0], np.float64)
        logp_LV = logits_LV - np.log(np.exp(logits_LV).sum(-1, keepdims=True))
        return np.array([logp_LV[i, tokens[i + 1]] for i in range(len(tokens) - 1)])

    return score, window_logp


@pytest.fixture(scope="module")
def odd_context(make_params):
    return make(make_params, 7)


def texts(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, VOCAB, length) for length in lengths]


def by_windows(tokens, window_logp, context_length: int) -> np.ndarray:
    """Returns each token's logp in the first of its half-overlapping windows."""
    logps = []
    for place in range(1, len(tokens)):
        start = 0
        while start + context_length <= place:
            start += context_length // 2
        window = tokens[start : start + context_length]
        logps.append(window_logp(window)[place - start - 1])
        assert start == 0 or place - start >= context_length / 2
    return np.array(logps)


def test_short_texts_have_the_models_log_probabilities(odd_context):
    score, window_logp = odd_context
    given = texts(2, 5, 7)
    for tokens, logp in zip(given, score(given), strict=True):
        assert logp.shape == (len(tokens) - 1,)
        assert logp.std() > 0.1 or len(logp) == 1
        np.testing.assert_allclose(logp, window_logp(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("context_length", [2, 6, 7])
def test_long_texts_are_read_in_windows_that_overlap_by_half(
    make_params, context_length
):
    score, window_logp = make(make_params, context_length)
    for tokens in texts(*range(context_length + 1, 3 * context_length + 2), 53):
        (logp,) = score([tokens])
        expected = by_windows(tokens, window_logp, context_length)
        np.testing.assert_allclose(logp, expected, rtol=1e-5, atol=1e-5)


def test_texts_of_zero_or_one_token_have_no_log_probability(odd_context):
    score, window_logp = odd_context
    given = [np.array([], int), np.array([3]), *texts(5), np.array([4])]
    found = score(given)
    assert [len(logp) for logp in found] == [0, 0, 4, 0]
    np.testing.assert_allclose(found[2], window_logp(given[2]), rtol=1e-5, atol=1e-5)
    assert score([]) == []


def test_log_probabilities_do_not_depend_on_the_batch(odd_context, monkeypatch):
    score, _ = odd_context
    given = texts(3, 29, 1, 7, 8, 0, 17)
    together = score(given)
    for tokens_at_once in (1, 24):
        monkeypatch.setattr(scoring, "_TOKENS_AT_ONCE", tokens_at_once)
        for ours, theirs in zip(score(given), together, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    for tokens, logp in zip(given, together, strict=True):
        np.testing.assert_allclose(score([tokens])[0], logp, rtol=1e-5, atol=1e-5)
