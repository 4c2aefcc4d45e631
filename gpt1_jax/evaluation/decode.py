"""Generation: sampling continuations of prompts, a token at a time."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpt1_jax.exits import UserError


def make_next_token(
    logits_fn: Callable[[Any, jax.Array], jax.Array],
) -> Callable[..., jax.Array]:
    """A jitted function that draws each row's next token.

    It takes params, tokens_NL, lengths_N and what `sample` takes; returns token_N.
    Args: logits_fn: (params, tokens_NL) -> logits_NLV.
    """

    @jax.jit
    def next_token(
        params: Any,
        tokens_NL: jax.Array,
        lengths_N: jax.Array,
        key: jax.Array,
        temperature: jax.Array,
        top_k: jax.Array,
        top_p: jax.Array,
    ) -> jax.Array:
        logits_NLV = logits_fn(params, tokens_NL)
        last_N11 = (lengths_N - 1)[:, None, None]
        logits_NV = jnp.take_along_axis(logits_NLV, last_N11, axis=1)[:, 0]
        return sample(logits_NV, key, temperature, top_k, top_p)

    return next_token


def sample(
    logits_NV: jax.Array,
    key: jax.Array,
    temperature: jax.Array,
    top_k: jax.Array,
    top_p: jax.Array,
) -> jax.Array:
    """Tokens drawn from softmax(logits / temperature), less likely ones left out.

    Args: temperature: 0 takes the likeliest. top_k: 0 keeps all. top_p: 1 keeps all,
          less the fewest likeliest tokens that together have that probability.
    """
    V = logits_NV.shape[-1]
    scaled_NV = logits_NV / jnp.maximum(temperature, 1e-6)
    order_NV = jnp.argsort(-scaled_NV, axis=-1)
    ranked_NV = jnp.take_along_axis(scaled_NV, order_NV, axis=-1)
    probability_NV = jax.nn.softmax(ranked_NV, axis=-1)
    mass_before_NV = jnp.cumsum(probability_NV, axis=-1) - probability_NV
    rank_1V = jnp.arange(V)[None]
    keep_NV = (rank_1V < jnp.where(top_k > 0, top_k, V)) & (mass_before_NV < top_p)
    keep_NV |= rank_1V == 0
    drawn_N = jax.random.categorical(key, jnp.where(keep_NV, ranked_NV, -jnp.inf))
    rank_N = jnp.where(temperature > 0, drawn_N, 0)
    return jnp.take_along_axis(order_NV, rank_N[:, None], axis=-1)[:, 0]


def generate(
    next_token: Callable[..., jax.Array],
    params: Any,
    prompts: Sequence[np.ndarray],
    *,
    context_length: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> list[np.ndarray]:
    """Continuations of token prompts, without the prompts.

    A continuation is shorter than max_new_tokens where the context is full.
    Raises: UserError: a prompt that is empty or leaves no room, impossible numbers.
    """
    _check(prompts, context_length, max_new_tokens, temperature, top_k, top_p)
    starts_N = np.array([len(prompt) for prompt in prompts], np.int64)
    tokens_NL = np.zeros((len(prompts), context_length), np.int32)
    for row, prompt in enumerate(prompts):
        tokens_NL[row, : len(prompt)] = prompt
    lengths_N = starts_N.copy()
    key = jax.random.key(seed)
    room = context_length - int(starts_N.min(initial=context_length))
    for number in range(min(max_new_tokens, room)):
        token_N = next_token(
            params,
            tokens_NL,
            lengths_N,
            jax.random.fold_in(key, number),
            temperature,
            top_k,
            top_p,
        )
        has_room_N = lengths_N < context_length
        rows_R = np.flatnonzero(has_room_N)
        tokens_NL[rows_R, lengths_N[rows_R]] = np.asarray(token_N)[rows_R]
        lengths_N = lengths_N + has_room_N
    return [
        tokens_NL[row, start:end]
        for row, (start, end) in enumerate(zip(starts_N, lengths_N, strict=True))
    ]


def _check(
    prompts: Sequence[np.ndarray],
    context_length: int,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
) -> None:
    for number, prompt in enumerate(prompts):
        if not 1 <= len(prompt) < context_length:
            raise UserError(
                f"prompt {number} has {len(prompt)} tokens; from 1 to "
                f"{context_length - 1}, one less than the context; shorten or fill it"
            )
    for name, value, is_good, allowed in (
        ("max_new_tokens", max_new_tokens, max_new_tokens >= 1, "at least 1"),
        ("temperature", temperature, 0 <= temperature < float("inf"), "at least 0"),
        ("top_k", top_k, top_k >= 0, "at least 0, which keeps all"),
        ("top_p", top_p, 0 < top_p <= 1, "above 0, at most 1"),
    ):
        if not is_good:
            raise UserError(f"{name}={value}; {allowed}; change it")
