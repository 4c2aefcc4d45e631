"""Log-probabilities of given tokens under a language model."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from gpt1_jax.models.heads import token_nll


def make_token_logp(
    logits_fn: Callable[[Any, jax.Array], jax.Array],
) -> Callable[[Any, jax.Array], jax.Array]:
    """A jitted (params, tokens_NL) -> logp_NL of each token but a row's first."""

    @jax.jit
    def token_logp(params: Any, tokens_NL: jax.Array) -> jax.Array:
        return -token_nll(logits_fn(params, tokens_NL)[:, :-1], tokens_NL[:, 1:])

    return token_logp


def score(
    token_logp: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    texts: Sequence[np.ndarray],
    *,
    context_length: int,
    batch_size: int = 16,
) -> list[np.ndarray]:
    """For each sequence, the log-probabilities (nats) of all tokens but the first.

    Sequences longer than the context are read in windows that overlap by half, so that
    a token is conditioned on at least half a context of those before it.
    """
    stride = max(1, context_length // 2)
    places = []  # (text, start of the window, first target that counts)
    for number, tokens in enumerate(texts):
        scored, start = 1, 0
        while scored < len(tokens):
            places.append((number, start, scored))
            scored = min(start + context_length, len(tokens))
            start += stride
    logps = [np.zeros(max(0, len(tokens) - 1), np.float32) for tokens in texts]
    for first in range(0, len(places), batch_size):
        chunk = places[first : first + batch_size]
        tokens_NL = np.zeros((batch_size, context_length), np.int32)
        for row, (number, start, _) in enumerate(chunk):
            window = texts[number][start : start + context_length]
            tokens_NL[row, : len(window)] = window
        logp_NL = np.asarray(token_logp(params, tokens_NL))
        for row, (number, start, scored) in enumerate(chunk):
            end = min(start + context_length, len(texts[number]))
            # logp_NL[row, i] is about the token at start + i + 1.
            new = logp_NL[row, scored - start - 1 : end - start - 1]
            logps[number][scored - 1 : end - 1] = new
    return logps
