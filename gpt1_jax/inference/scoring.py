"""Log-probabilities of given tokens under a language model."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from gpt1_jax.models import backbone, heads

# Tokens, padding among them, that are computed at once.
_TOKENS_AT_ONCE = 8192


def make_token_logp(
    model: nn.Module, chunk_elements: int = 1 << 22
) -> Callable[[Any, np.ndarray], jax.Array]:
    """A jitted (params, tokens_NL) -> logp_NL of each token but a row's first.

    Args: chunk_elements: logits to hold at once, see models.heads.
    """

    @jax.jit
    def token_logp(params: Any, tokens_NL: jax.Array) -> jax.Array:
        h_NLD = backbone.apply(model, params, "encode", tokens_NL)
        table_VD = params["embed"]["token"]
        next_NL = jax.numpy.roll(tokens_NL, -1, axis=1)
        return -heads.nll(h_NLD, table_VD, next_NL, chunk_elements)[:, :-1]

    return token_logp


class _Window(NamedTuple):
    """Tokens start .. end of a text; those from `scored` on are scored in it."""

    text: int
    start: int
    end: int
    scored: int


def score(
    token_logp: Callable[[Any, np.ndarray], jax.Array],
    params: Any,
    texts: Sequence[np.ndarray],
    *,
    context_length: int,
) -> list[np.ndarray]:
    """For each sequence, the log-probabilities (nats) of all tokens but the first.

    Sequences longer than the context are read in windows that overlap by half, so that
    a token is conditioned on at least half a context of those before it.
    """
    windows = list(_windows([len(tokens) for tokens in texts], context_length))
    logps = [np.zeros(max(0, len(tokens) - 1), np.float32) for tokens in texts]
    for length, group in _by_padded_length(windows, context_length).items():
        batch_size = max(1, _TOKENS_AT_ONCE // length)
        for first in range(0, len(group), batch_size):
            batch = group[first : first + batch_size]
            tokens_NL = np.zeros((_rounded(len(batch), batch_size), length), np.int32)
            for row, window in enumerate(batch):
                own = texts[window.text][window.start : window.end]
                tokens_NL[row, : len(own)] = own
            logp_NL = np.asarray(token_logp(params, tokens_NL))
            for logp_L, window in zip(logp_NL, batch, strict=False):
                # logp_L[i] is about the token at start + i + 1.
                begin, end = (place - window.start - 1 for place in window[3:1:-1])
                new = logp_L[begin:end]
                logps[window.text][window.scored - 1 : window.end - 1] = new
    return logps


def _windows(lengths: Sequence[int], context_length: int) -> Iterator[_Window]:
    stride = max(1, context_length // 2)
    for text, length in enumerate(lengths):
        scored, start = 1, 0
        while scored < length:
            end = min(start + context_length, length)
            yield _Window(text, start, end, scored)
            scored = end
            start += stride


def _by_padded_length(
    windows: Sequence[_Window], context_length: int
) -> dict[int, list[_Window]]:
    """The windows by the length that they are padded to, the longest first."""
    groups: dict[int, list[_Window]] = {}
    for window in sorted(windows, key=lambda w: w.start - w.end):
        length = _rounded(max(window.end - window.start, 8), context_length)
        groups.setdefault(length, []).append(window)
    return groups


def _rounded(count: int, largest: int) -> int:
    """A power of two that holds `count`, at most `largest`: few shapes."""
    return min(largest, 1 << (count - 1).bit_length())
