"""Log-probabilities of given tokens under a language model."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from gpt1_jax.distributed.pipeline import pipelined
from gpt1_jax.inference.shapes import round_up
from gpt1_jax.models import backbone, heads

# Tokens in a batch, padding included.
_TOKENS_AT_ONCE = 8192


def make_token_logp(
    model: nn.Module, chunk_elements: int = 1 << 22
) -> Callable[[Any, np.ndarray], jax.Array]:
    """Returns a jitted (params, tokens_NL) -> logp of each token but a row's first.

    Args: chunk_elements: about how many logits to hold at once; see models.heads.
    """

    @jax.jit
    def token_logp(params: Any, tokens_NL: jax.Array) -> jax.Array:
        h_NLD = backbone.apply(model, params, "encode", tokens_NL)
        table_VD = params["embed"]["token"]
        next_NL = jax.numpy.roll(tokens_NL, -1, axis=1)
        return -heads.nll(h_NLD, table_VD, next_NL, chunk_elements)[:, :-1]

    return token_logp


class _Window(NamedTuple):
    """The tokens start .. end of a text; those from `scored` on are scored."""

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
    """Returns each sequence's log-probabilities (nats) of all tokens but the first.

    Sequences longer than the context are read in windows that overlap by half, so that
    a token is conditioned on at least half a context of those before it.
    """
    windows = list(_windows([len(tokens) for tokens in texts], context_length))
    logps = [np.zeros(max(0, len(tokens) - 1), np.float32) for tokens in texts]
    pieces = [texts[window.text][window.start : window.end] for window in windows]
    for indices, logp_NL in pipelined(
        (indices, token_logp(params, tokens_NL))
        for indices, tokens_NL in padded_batches(pieces, context_length)
    ):
        for logp_L, index in zip(np.asarray(logp_NL), indices, strict=False):
            text, start, end, scored = windows[index]
            # logp_L[i] belongs to the token at start + i + 1.
            logps[text][scored - 1 : end - 1] = logp_L[
                scored - start - 1 : end - start - 1
            ]
    return logps


def padded_batches(
    texts: Sequence[np.ndarray],
    context_length: int,
    tokens_at_once: int = _TOKENS_AT_ONCE,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yields batches of few shapes: the indices of their texts, and tokens_NL.

    The longest texts come first. Rows are padded on the right with 0, and batches with
    rows of 0.
    Args: texts: token ids of each text, at most context_length. tokens_at_once: tokens
          in a batch, padding included.
    """
    groups: dict[int, list[int]] = {}
    for index in sorted(range(len(texts)), key=lambda index: -len(texts[index])):
        length = round_up(max(len(texts[index]), 8), context_length)
        groups.setdefault(length, []).append(index)
    for length, group in groups.items():
        batch_size = max(1, tokens_at_once // length)
        for first in range(0, len(group), batch_size):
            indices = group[first : first + batch_size]
            num_rows = round_up(len(indices), batch_size)
            tokens_NL = np.zeros((num_rows, length), np.int32)
            for row, index in enumerate(indices):
                tokens_NL[row, : len(texts[index])] = texts[index]
            yield indices, tokens_NL


def _windows(lengths: Sequence[int], context_length: int) -> Iterator[_Window]:
    stride = max(1, context_length // 2)
    for text, length in enumerate(lengths):
        scored, start = 1, 0
        while scored < length:
            end = min(start + context_length, length)
            yield _Window(text, start, end, scored)
            scored = end
            start += stride
