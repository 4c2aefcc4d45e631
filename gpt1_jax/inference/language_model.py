"""A trained model to use from Python: what gpt1_jax.load returns."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import jax
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
    """A scored text: ids, and log-probabilities (nats) of all ids but the first."""

    text: str
    tokens: list[int]
    logprobs: list[float]


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A model: its weights, its tokenizer and the config of the run that made it."""

    config: RunConfig
    model: Backbone
    params: Any
    tokenizer: tokenizers.Tokenizer
    step: int

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

    def logits(self, tokens_NL: np.ndarray) -> jax.Array:
        """logits_NLV over the token after each position; rows padded on the right."""
        return self._jitted_logits(self.params, np.asarray(tokens_NL, np.int32))

    def generate(
        self,
        prompts: str | Sequence[str],
        max_new_tokens: int = 40,
        *,
        on_text: Callable[[int, str], None] = lambda number, text: None,
        **sampling: Any,
    ) -> str | list[str]:
        """The continuation of each prompt, without the prompt.

        A continuation ends early where the context is full.
        Args: on_text: told of each piece of text as it comes, with its prompt's number.
              sampling: temperature (0 is greedy), top_k, top_p, seed, as
              inference.decode.Sampling.
        """
        batch = [prompts] if isinstance(prompts, str) else list(prompts)
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
        """As `generate`, of prompts that are token ids.

        A text starts with a space where its first token starts a word.
        """
        growing = [_Continuation(self.tokenizer, prompt) for prompt in prompts]

        def tell(new: list[np.ndarray]) -> None:
            for number, (continuation, ids) in enumerate(
                zip(growing, new, strict=True)
            ):
                if piece := continuation.add(ids):
                    on_text(number, piece)

        self._decoder.generate(
            self.params, prompts, max_new_tokens, decode.Sampling(**sampling), tell
        )
        for number, continuation in enumerate(growing):
            if piece := continuation.rest():
                on_text(number, piece)
        return [continuation.text for continuation in growing]

    def score(self, texts: Sequence[str]) -> list[Score]:
        """Each text's token ids and their log-probabilities in nats."""
        if isinstance(texts, str):
            raise UserError("score was given a string; a list of texts is expected")
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


class _Continuation:
    """The text of a prompt's new tokens, as they come."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, prompt: np.ndarray):
        self._tokenizer, self._ids = tokenizer, prompt.tolist()
        self._before = tokenizer.decode(self._ids)
        self._num_told = 0
        self.text = ""

    def add(self, ids: np.ndarray) -> str:
        """What is new for sure in the text now that `ids` have come."""
        self._ids += ids.tolist()
        whole = self._tokenizer.decode(self._ids)
        self.text = whole[_num_equal(self._before, whole) :]
        # The last character may lack bytes that the next tokens bring.
        return self._tell(self.text.rstrip("\ufffd"))

    def rest(self) -> str:
        """What `add` held back."""
        return self._tell(self.text)

    def _tell(self, known: str) -> str:
        piece = known[self._num_told :]
        self._num_told += len(piece)
        return piece


def _num_equal(one: str, other: str) -> int:
    """How many characters two texts begin with alike.

    A prompt may end within a character of several tokens: decoded, it begins no text
    that goes on.
    """
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def load(path: str | Path, compute_dtype: str = "", attention: str = "") -> Pretrained:
    """The language model in a workdir, or in one of its checkpoints/STEP.

    Of a workdir: the best step if its job keeps one, else the newest.
    Args:   compute_dtype: another than the run's, as float32 on an accelerator.
            attention: another than the run's; see config.ModelConfig.
    Raises: UserError, NotFound: as model_store.restore.
    """
    cfg = model_store.read_config(path).model
    if compute_dtype:
        cfg = dataclasses.replace(cfg, compute_dtype=compute_dtype)
    if attention:
        cfg = dataclasses.replace(cfg, attention=attention)
    # Before the parameters are read: without 64-bit mode float64 would be rounded.
    cfg = mesh.resolve_dtype(cfg)
    found = model_store.restore(path)
    tokenizer = found.tokenizer
    assert tokenizer  # restore needs one
    vocab_size = tokenizer.vocab_size
    embed = found.params["embed"]
    params = heads.backbone_of(found.params)
    params["embed"] = embed | {"token": embed["token"][:vocab_size]}
    model = backbone.make(cfg, vocab_size)
    return Pretrained(found.config, model, params, tokenizer, found.step)
