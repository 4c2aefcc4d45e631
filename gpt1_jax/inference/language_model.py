"""The trained language model that gpt1_jax.load returns."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from gpt1_jax.config import RunConfig
from gpt1_jax.data.text import tokenizers
from gpt1_jax.distributed import mesh
from gpt1_jax.errors import UserError
from gpt1_jax.inference import decode, scoring
from gpt1_jax.models import backbone, heads
from gpt1_jax.models.backbone import Backbone
from gpt1_jax.workdirs import model_store


class Score(TypedDict):
    """A text, its token ids, and the log-probabilities (nats) of all but the first."""

    text: str
    tokens: list[int]
    logprobs: list[float]


@dataclasses.dataclass(frozen=True, repr=False)
class LanguageModel:
    """A trained model with its parameters, tokenizer and the config of its run."""

    config: RunConfig
    model: Backbone
    params: Any
    tokenizer: tokenizers.Tokenizer
    step: int

    def __repr__(self) -> str:
        cfg, V = self.model.cfg, self.tokenizer.vocab_size
        layers = "1 layer" if cfg.depth == 1 else f"{cfg.depth} layers"
        sizes = f"{layers} of width {cfg.width}, {V:,} tokens"
        return f"LanguageModel({cfg.backbone}, {sizes}, step {self.step:,})"

    def _logits(self, params: Any, tokens_NL: jax.Array) -> jax.Array:
        return backbone.apply(self.model, params, "__call__", tokens_NL)

    @functools.cached_property
    def _decoder(self) -> decode.Decoder:
        return decode.Decoder(self.model, self.config.model.context_length)

    @functools.cached_property
    def _token_logp(self) -> Callable[[Any, np.ndarray], jax.Array]:
        return scoring.make_token_logp(self.model, mesh.logits_chunk_elements())

    @functools.cached_property
    def _jitted_logits(self) -> Callable[[Any, np.ndarray], jax.Array]:
        return jax.jit(self._logits)

    @functools.cached_property
    def _jitted_hidden_states(self) -> Callable[[Any, np.ndarray], jax.Array]:
        def hidden_states(params: Any, tokens_NL: jax.Array) -> jax.Array:
            _, captured = backbone.apply(
                self.model, params, "encode", tokens_NL, mutable="intermediates"
            )
            return jnp.stack(captured["intermediates"]["hidden_states"])

        return jax.jit(hidden_states)

    @functools.cached_property
    def _jitted_mean_state(self) -> Callable[[Any, np.ndarray, np.ndarray], jax.Array]:
        def mean_state(
            params: Any, tokens_NL: jax.Array, lengths_N: jax.Array
        ) -> jax.Array:
            h_NLD = backbone.apply(self.model, params, "encode", tokens_NL)
            is_token_NL = jnp.arange(h_NLD.shape[1])[None] < lengths_N[:, None]
            kept_NLD = jnp.where(is_token_NL[..., None], h_NLD.astype(jnp.float32), 0.0)
            return kept_NLD.sum(1) / lengths_N[:, None]

        return jax.jit(mean_state)

    def logits(self, tokens_NL: np.ndarray) -> jax.Array:
        """Returns logits_NLV over the next token; pad rows on the right."""
        return self._jitted_logits(self.params, self._checked("logits", tokens_NL))

    def hidden_states(self, tokens_NL: np.ndarray) -> jax.Array:
        """Returns the embeddings and each layer's output: (num_layers + 1, N, L, D).

        Pad rows on the right. An LSTM has one layer.
        """
        tokens_NL = self._checked("hidden_states", tokens_NL)
        return self._jitted_hidden_states(self.params, tokens_NL)

    def _checked(self, method: str, tokens_NL: Any) -> np.ndarray:
        """Returns rows of token ids as an array.

        Raises: UserError: they are not integers of the shape (N, L), or out of range.
        """
        try:
            found_NL = np.asarray(tokens_NL)
        except ValueError:  # rows of several lengths
            found_NL = np.asarray(None)
        if found_NL.dtype.kind not in "iu" or found_NL.ndim != 2 or not found_NL.size:
            given = f"{found_NL.dtype} of shape {found_NL.shape}"
            if found_NL.dtype.kind == "O":
                given = "rows of several lengths, or no numbers"
            raise UserError(
                f"{method} was given {given}; integers of shape (N, L) are expected, "
                "rows of token ids; pad shorter rows on the right"
            )
        context_length = self.config.model.context_length
        if found_NL.shape[1] > context_length:
            raise UserError(
                f"{method} was given rows of {found_NL.shape[1]} tokens; at most "
                f"{context_length} are allowed, the context length; cut them"
            )
        self._check_ids(method, found_NL)
        return found_NL.astype(np.int32)

    def _check_ids(self, method: str, ids: np.ndarray) -> None:
        """Raises a UserError for a token id that the model does not have."""
        num_ids = self.params["embed"]["token"].shape[0]
        wrong = ids[(ids < 0) | (ids >= num_ids)]
        if wrong.size:
            raise UserError(
                f"{method} was given the token id {wrong[0]}; from 0 to {num_ids - 1} "
                "are allowed; encode texts with the tokenizer of this model"
            )

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the mean of the last layer's states over each text's tokens: (N, D).

        Raises: UserError: a text has no token, or more than the context length.
        """
        _check_texts("embed", texts)
        ids = [self.tokenizer.encode(text) for text in texts]
        context_length = self.config.model.context_length
        for number, tokens in enumerate(ids):
            if not 1 <= len(tokens) <= context_length:
                raise UserError(
                    f"text {number} has {len(tokens)} tokens; from 1 to "
                    f"{context_length} are allowed, the context length; shorten or "
                    "split it"
                )
        embeddings_ND = np.zeros((len(ids), self.config.model.width), np.float32)
        for index, tokens_NL in scoring.padded_batches(ids, context_length):
            lengths_N = np.ones(len(tokens_NL), np.int32)
            lengths_N[: len(index)] = [len(ids[number]) for number in index]
            found_ND = self._jitted_mean_state(self.params, tokens_NL, lengths_N)
            embeddings_ND[index] = found_ND[: len(index)]
        return embeddings_ND

    def generate(
        self,
        prompts: str | Sequence[str],
        max_new_tokens: int = 40,
        *,
        on_text: Callable[[int, str], None] = lambda number, text: None,
        **sampling: Any,
    ) -> str | list[str]:
        """Returns the continuation of each prompt, without the prompt.

        A continuation ends early when the context is full.
        Args: on_text: called with a prompt's number and each new piece of its text.
              sampling: temperature (0 is greedy), top_k, top_p and seed; see
              inference.decode.Sampling.
        """
        batch = [prompts] if isinstance(prompts, str) else prompts
        _check_texts("generate", batch)
        prompt_ids = [self.tokenizer.encode(prompt) for prompt in batch]
        texts = self.continue_ids(
            prompt_ids, max_new_tokens, on_text=on_text, **sampling
        )
        return texts[0] if isinstance(prompts, str) else texts

    def continue_ids(
        self,
        prompts: Sequence[np.ndarray],
        max_new_tokens: int,
        *,
        on_text: Callable[[int, str], None] = lambda number, text: None,
        **sampling: Any,
    ) -> list[str]:
        """Returns what `generate` does, for prompts given as token ids.

        A continuation starts with a space if its first token starts a word.
        """
        if not len(prompts):
            return []
        for prompt in prompts:
            self._check_ids("generate", prompt)
        continuations = [_Continuation(self.tokenizer, prompt) for prompt in prompts]

        def on_tokens(new_ids: list[np.ndarray]) -> None:
            for number, ids in enumerate(new_ids):
                if piece := continuations[number].add(ids):
                    on_text(number, piece)

        self._decoder.generate(
            self.params, prompts, max_new_tokens, decode.Sampling(**sampling), on_tokens
        )
        for number, continuation in enumerate(continuations):
            if piece := continuation.rest():
                on_text(number, piece)
        return [continuation.text for continuation in continuations]

    def score(self, texts: Sequence[str]) -> list[Score]:
        """Returns each text's token ids and their log-probabilities in nats."""
        _check_texts("score", texts)
        ids = [self.tokenizer.encode(text) for text in texts]
        logps = scoring.score(
            self._token_logp,
            self.params,
            ids,
            context_length=self.config.model.context_length,
        )
        return [
            Score(text=text, tokens=tokens.tolist(), logprobs=logp.tolist())
            for text, tokens, logp in zip(texts, ids, logps, strict=True)
        ]


def _check_texts(method: str, texts: Sequence[str]) -> None:
    """Raises a UserError for anything but a list of strings."""
    if isinstance(texts, str | bytes):
        raise UserError(
            f"{method} was given one {type(texts).__name__}; a list of strings is "
            "expected; put a string into a list"
        )
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(
                f"text {number} is of type {type(text).__name__}; {method} takes a "
                "list of strings; decode or convert it"
            )


class _Continuation:
    """The growing text of a prompt's new tokens."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, prompt: np.ndarray):
        self._tokenizer, self._ids = tokenizer, prompt.tolist()
        self._before = tokenizer.decode(self._ids)
        self._num_returned = 0
        self.text = ""

    def add(self, ids: np.ndarray) -> str:
        """Adds `ids` and returns the new text that later ids cannot change."""
        self._ids += ids.tolist()
        whole = self._tokenizer.decode(self._ids)
        self.text = whole[_common_prefix_length(self._before, whole) :]
        # The last character may lack bytes that come with the next tokens.
        return self._new_part(self.text.rstrip("\ufffd"))

    def rest(self) -> str:
        """Returns the text that `add` held back."""
        return self._new_part(self.text)

    def _new_part(self, text: str) -> str:
        """Returns the part of `text` that was not returned before."""
        piece = text[self._num_returned :]
        self._num_returned += len(piece)
        return piece


def _common_prefix_length(one: str, other: str) -> int:
    """Returns the length of the longest common prefix of two texts.

    A prompt may end in the middle of a character that takes several tokens. Its text is
    then not a prefix of the continued text.
    """
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def load(
    path: str | Path, compute_dtype: str = "", attention: str = ""
) -> LanguageModel:
    """Returns the language model in a workdir, or in one of its checkpoints/STEP.

    A workdir gives its best step if its job keeps one, else its newest.
    Args:   compute_dtype, attention: replace the run's settings; see
            config.ModelConfig.
    Raises: UserError, NotFound: as model_store.restore.
    """
    found = model_store.restore(path, compute_dtype=compute_dtype, attention=attention)
    tokenizer = found.tokenizer
    assert tokenizer  # restore requires one
    vocab_size = tokenizer.vocab_size
    embed = found.params["embed"]
    params = heads.backbone_of(found.params)
    params["embed"] = embed | {"token": embed["token"][:vocab_size]}
    model = backbone.make(found.model, vocab_size)
    return LanguageModel(found.config, model, params, tokenizer, found.step)
