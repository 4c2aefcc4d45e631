"""Generation: prompts fill a cache once, then tokens are drawn one by one.

The loop over tokens runs on the device, a fixed number of tokens at a time. So text can
be shown while it grows, and few shapes are compiled.

The seed rule: a draw depends on the seed, on how many tokens of its continuation came
before, and on how many equal prompts came before its prompt; on nothing else. So a
prompt has the same continuation alone and among others, and a prompt that is given
twice has two. Programs of other shapes round differently: a draw that is nearly a tie
may differ.
"""

import concurrent.futures
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from gpt1_jax.distributed import mesh
from gpt1_jax.distributed.pipeline import pipelined
from gpt1_jax.errors import UserError
from gpt1_jax.inference import segments
from gpt1_jax.inference.segments import Segment
from gpt1_jax.inference.shapes import round_up
from gpt1_jax.models import backbone, heads
from gpt1_jax.training.step import make_key

# How many tokens are drawn before the host reads them.
_TOKENS_AT_ONCE = 8
# Tokens in the caches of the prompts that are continued together.
_CACHED_TOKENS = 16_384

# Called with a prompt's number and its newest tokens.
OnTokens = Callable[[int, np.ndarray], None]


class Sampling(NamedTuple):
    """The settings for drawing a token from softmax(logits / temperature).

    temperature: 0 takes the likeliest token.
    top_k: only the top_k likeliest tokens are kept; 0 keeps all.
    top_p: of those, only the fewest likeliest that together have probability top_p are
    kept, measured after top_k as in transformers; 1 keeps all.
    seed: the random seed of the draws.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def as_arrays(self) -> tuple[np.generic, ...]:
        """Returns the settings in the dtypes that programs are compiled for."""
        return (
            np.float32(self.temperature),
            np.int32(self.top_k),
            np.float32(self.top_p),
            np.uint32(self.seed),
        )

    def check(self) -> None:
        """Raises UserError for a setting outside its range."""
        for name, is_good, allowed in (
            ("temperature", 0 <= self.temperature < float("inf"), "at least 0"),
            ("top_k", 0 <= self.top_k < 2**31, "at least 0, which keeps all"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("seed", 0 <= self.seed < 2**32, "from 0 to 2^32 - 1"),
        ):
            if not is_good:
                given = getattr(self, name)
                raise UserError(f"{name}={given}; {allowed}; change it")


def _scaled(logits_NV: jax.Array, temperature: jax.Array) -> jax.Array:
    """Returns logits / temperature, shifted so that no temperature overflows."""
    return (logits_NV - logits_NV.max(-1, keepdims=True)) / temperature


def sample(
    logits_NV: jax.Array,
    key_N: jax.Array,
    temperature: jax.Array,
    top_k: jax.Array,
    top_p: jax.Array,
) -> jax.Array:
    """Draws token_N with the settings of `Sampling`, at a temperature above 0.

    Args: key_N: a random key for each row.
    """
    V = logits_NV.shape[-1]
    scaled_NV = _scaled(logits_NV, temperature)
    order_NV = jnp.argsort(-scaled_NV, axis=-1)
    ranked_NV = jnp.take_along_axis(scaled_NV, order_NV, axis=-1)
    rank_1V = jnp.arange(V)[None]
    is_in_top_k_1V = rank_1V < jnp.where(top_k > 0, top_k, V)
    ranked_NV = jnp.where(is_in_top_k_1V, ranked_NV, -jnp.inf)
    probability_NV = jax.nn.softmax(ranked_NV, axis=-1)
    mass_before_NV = jnp.cumsum(probability_NV, axis=-1) - probability_NV
    is_kept_NV = (mass_before_NV < top_p) | (rank_1V == 0)
    rank_N = _categorical(key_N, jnp.where(is_kept_NV, ranked_NV, -jnp.inf))
    return jnp.take_along_axis(order_NV, rank_N[:, None], axis=-1)[:, 0]


# Draws a token of each row with a key of its own.
_categorical = jax.vmap(jax.random.categorical)


class _Shape(NamedTuple):
    """The shape of a batch of segments; each shape is compiled once."""

    num_rows: int
    length: int
    cache_length: int
    is_greedy: bool
    keeps_all: bool  # neither top_k nor top_p excludes a token


class Decoder:
    """The compiled programs that draw tokens from one model.

    The model has `decode_step`, `init_cache` and `lm_logits`, like the classes of
    models.backbone.
    """

    def __init__(self, model: nn.Module, context_length: int):
        self._model, self._context_length = model, context_length
        self._compiled: dict[Any, tuple[Callable, Callable]] = {}

    def _apply(self, params: Any, method: str, *arguments: Any) -> Any:
        return backbone.apply(self._model, params, method, *arguments)

    def _read_prompts(
        self, params: Any, tokens_NL: jax.Array, lengths_N: jax.Array, cache_length: int
    ) -> tuple[Any, jax.Array]:
        """Returns the cache of prompts, padded on the right, and the next logits_NV."""
        N = len(tokens_NL)
        cache = self._apply(params, "init_cache", N, cache_length)
        start_N = jnp.zeros(N, jnp.int32)
        h_NLD, cache = self._apply(
            params, "decode_step", tokens_NL, cache, start_N, lengths_N
        )
        h_N1D = heads.gather_last_token(h_NLD, lengths_N[:, None])
        return cache, self._apply(params, "lm_logits", h_N1D)[:, 0]

    def _draw_tokens(
        self,
        params: Any,
        carried: tuple[Any, jax.Array],
        rows: tuple[jax.Array, jax.Array, jax.Array],
        done: jax.Array,
        numbers: tuple[jax.Array, ...],
        *,
        is_greedy: bool,
        keeps_all: bool,
    ) -> tuple[tuple[Any, jax.Array], jax.Array]:
        """Returns the new cache and logits, and the next _TOKENS_AT_ONCE tokens.

        Args: rows: each segment's length, its `repeat` and its `drawn`. done: how many
              tokens of the segments were drawn before. numbers: Sampling.as_arrays.
        """
        lengths_N, repeat_N, drawn_N = rows
        temperature, top_k, top_p, seed = numbers

        def make_token_key(repeat: jax.Array, number: jax.Array) -> jax.Array:
            key = make_key(seed)
            key = jnp.where(repeat > 0, jax.random.fold_in(key, repeat), key)
            return jax.random.fold_in(key, number)

        def draw(logits_NV: jax.Array, number: jax.Array) -> jax.Array:
            if is_greedy:
                return logits_NV.argmax(-1)
            key_N = jax.vmap(make_token_key)(repeat_N, drawn_N + number)
            if keeps_all:
                return _categorical(key_N, _scaled(logits_NV, temperature))
            return sample(logits_NV, key_N, temperature, top_k, top_p)

        def step(carried: Any, number: jax.Array) -> tuple[Any, jax.Array]:
            cache, logits_NV = carried
            token_N = draw(logits_NV, number).astype(jnp.int32)
            h_N1D, cache = self._apply(
                params, "decode_step", token_N[:, None], cache, lengths_N + number
            )
            logits_NV = self._apply(params, "lm_logits", h_N1D)[:, 0]
            return (cache, logits_NV), token_N

        carried, tokens_TN = jax.lax.scan(
            step, carried, done + jnp.arange(_TOKENS_AT_ONCE)
        )
        return carried, tokens_TN.T

    def generate(
        self,
        params: Any,
        prompts: Sequence[np.ndarray],
        max_new_tokens: int,
        sampling: Sampling,
        on_tokens: OnTokens = lambda number, tokens: None,
        *,
        window: int = 0,
    ) -> list[np.ndarray]:
        """Returns the continuations of token prompts, without the prompts.

        Prompts of similar length are continued together, in batches. When the context
        of a text is full, its last `window` tokens are read again, and generation goes
        on after them; with window=0 the continuation ends there.
        Raises: UserError: a prompt is empty or fills the context; a setting is out of
                range.
        """
        _check(prompts, self._context_length, max_new_tokens, window)
        sampling.check()
        found: list[list[np.ndarray]] = [[] for _ in prompts]

        def keep(number: int, tokens: np.ndarray) -> None:
            found[number].append(tokens)
            on_tokens(number, tokens)

        left = segments.first(prompts, max_new_tokens, self._context_length)
        while left:
            batches = segments.batches(left, _CACHED_TOKENS)
            left = []
            for batch in batches:
                self._draw_batch(params, batch, sampling, keep)
                if window:
                    left += [
                        segment.following(found[segment.number], window)
                        for segment in batch
                        if segment.wanted > segment.num_fitting
                    ]
        return [np.concatenate(pieces) for pieces in found]

    def _draw_batch(
        self,
        params: Any,
        batch: Sequence[Segment],
        sampling: Sampling,
        on_tokens: OnTokens,
    ) -> None:
        """Draws what fits the context after each segment of a batch."""
        wanted = [segment.num_fitting for segment in batch]
        longest = max(len(segment.tokens) for segment in batch)
        shape = _Shape(
            num_rows=1 << (len(batch) - 1).bit_length(),
            length=round_up(longest, self._context_length),
            cache_length=max(segment.cache_length for segment in batch),
            is_greedy=bool(np.float32(sampling.temperature) == 0),
            keeps_all=sampling.top_k == 0 and sampling.top_p == 1,
        )
        tokens_NL = np.zeros((shape.num_rows, shape.length), np.int32)
        # A row of padding stands for a prompt of one token.
        lengths_N, repeat_N, drawn_N = np.zeros((3, shape.num_rows), np.int32)
        lengths_N[:] = 1
        for row, segment in enumerate(batch):
            tokens_NL[row, : len(segment.tokens)] = segment.tokens
            lengths_N[row] = len(segment.tokens)
            repeat_N[row], drawn_N[row] = segment.repeat, segment.drawn
        leaf = jax.tree.leaves(params)[0]
        case = shape, leaf.dtype, getattr(leaf, "sharding", None)
        if case not in self._compiled:
            self._compiled[case] = self._compile(params, shape)
        read, draw = self._compiled[case]
        rows, numbers = (lengths_N, repeat_N, drawn_N), sampling.as_arrays()

        def dispatch() -> Iterator[tuple[int, jax.Array]]:
            carried = read(params, tokens_NL, lengths_N)
            for done in range(0, max(wanted), _TOKENS_AT_ONCE):
                carried, tokens_NT = draw(
                    params, carried, rows, np.int32(done), numbers
                )
                yield done, tokens_NT

        for done, tokens_NT in pipelined(dispatch()):
            new_NT = np.asarray(tokens_NT)
            for segment, new_T, count in zip(batch, new_NT, wanted, strict=False):
                if done < count:
                    on_tokens(segment.number, new_T[: count - done])

    def _compile(self, params: Any, shape: _Shape) -> tuple[Callable, Callable]:
        """Returns _read_prompts and _draw_tokens, compiled in parallel."""
        N, replicated = shape.num_rows, mesh.replicated_sharding_of(params)
        tokens_NL = jax.ShapeDtypeStruct((N, shape.length), jnp.int32)
        lengths_N = jax.ShapeDtypeStruct((N,), jnp.int32)
        read = jax.jit(
            self._read_prompts, static_argnums=3, out_shardings=replicated
        ).lower(params, tokens_NL, lengths_N, shape.cache_length)
        draw = jax.jit(
            self._draw_tokens,
            donate_argnums=1,
            static_argnames=("is_greedy", "keeps_all"),
            out_shardings=replicated,
        ).lower(
            params,
            read.out_info,
            (lengths_N,) * 3,
            np.int32(0),
            Sampling().as_arrays(),
            is_greedy=shape.is_greedy,
            keeps_all=shape.keeps_all,
        )
        with concurrent.futures.ThreadPoolExecutor() as pool:
            return tuple(pool.map(lambda program: program.compile(), (read, draw)))


def _check(
    prompts: Sequence[np.ndarray],
    context_length: int,
    max_new_tokens: int,
    window: int,
) -> None:
    if not 0 <= window < context_length:
        raise UserError(
            f"window={window}; from 1 to {context_length - 1}, one less than the "
            "context, or 0 to end where the context is full; change it"
        )
    for number, prompt in enumerate(prompts):
        if not 1 <= len(prompt) < context_length:
            raise UserError(
                f"prompt {number} has {len(prompt)} tokens; from 1 to "
                f"{context_length - 1} are allowed, one less than the context; change "
                "its length"
            )
    if max_new_tokens < 1:
        raise UserError(f"max_new_tokens={max_new_tokens}; at least 1; change it")
