"""The trained language model that gpt1_jax.load returns."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import jax
import numpy as np

from gpt1_jax import terminal
from gpt1_jax.config import RunConfig
from gpt1_jax.data.text import tokenizers
from gpt1_jax.distributed import mesh
from gpt1_jax.errors import UserError, suggestion
from gpt1_jax.inference import decode, scoring, states
from gpt1_jax.inference import texts as texts_lib
from gpt1_jax.inference.continuation import Continuation
from gpt1_jax.inference.texts import Texts
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
    def _reader(self) -> states.Reader:
        return states.Reader(self.model, self.config.model.context_length)

    def logits(self, tokens_NL: np.ndarray) -> jax.Array:
        """Returns logits_NLV over the next token; pad rows on the right."""
        found_NL = texts_lib.checked_rows(
            "logits", tokens_NL, self._num_ids, self.config.model.context_length
        )
        return self._jitted_logits(self.params, found_NL)

    def hidden_states(
        self, texts: Texts, layers: int | Sequence[int] | None = None
    ) -> list[np.ndarray] | np.ndarray:
        """Returns the hidden states h_SLD of each text, S states of L tokens.

        State 0 is the embeddings, state n the output of layer n; an LSTM has one layer.
        Args:    texts: strings, or the token ids of each text.
                 layers: the states to return, negative numbers from the end; None: all.
                 A single number leaves out the axis S.
        Returns: an array for each text. If `texts` is an array tokens_NL, it is one
                 array h_SNLD; a row may be padded on the right with any id.
        Raises:  UserError: a text has no token, or more than the context length.
        """
        num_states = self.model.cfg.depth + 1
        chosen = states.checked_layers("hidden_states", layers, num_states)
        ids = self._ids("hidden_states", texts)
        found = self._reader.read(states.make_hidden_states, self.params, ids, chosen)
        cut = [h_SLD[:, : len(i)] for h_SLD, i in zip(found, ids, strict=True)]
        return states.shaped(cut, texts_lib.is_array(texts), layers)

    def attentions(
        self, texts: Texts, layers: int | Sequence[int] | None = None
    ) -> list[np.ndarray] | np.ndarray:
        """Returns the attention weights att_SHLM of each text, S layers of H heads.

        Each row over M, the positions that position L attends to, sums to 1; it is 0
        after L. Layers are numbered from 0.
        Args, Returns: as hidden_states; an array tokens_NL gives att_SNHLM.
        Raises: UserError: as hidden_states; or the model is an LSTM.
        """
        cfg = self.model.cfg
        if not hasattr(self.model, "attention_weights"):
            raise UserError(
                f"attentions was called on a model with config.model.backbone="
                f"{cfg.backbone}; a transformer is expected, as an {cfg.backbone} has "
                "no attention; use hidden_states"
            )
        chosen = states.checked_layers("attentions", layers, cfg.depth)
        ids = self._ids("attentions", texts)
        found = self._reader.read(states.make_attentions, self.params, ids, chosen)
        cut = [
            att_SHLM[..., : len(i), : len(i)]
            for att_SHLM, i in zip(found, ids, strict=True)
        ]
        return states.shaped(cut, texts_lib.is_array(texts), layers)

    def embed(self, texts: Texts, pooling: str = "mean", layer: int = -1) -> np.ndarray:
        """Returns a vector for each text, from the states of its tokens: h_ND.

        Args:   texts: strings, or the token ids of each text.
                pooling: mean, max, or last, the state of the last token, which alone
                has seen the whole text. layer: the state, as in hidden_states.
        Raises: UserError: a text has no token, or more than the context length; there
                is no such pooling or layer.
        """
        if pooling not in states.POOLINGS:
            hint = suggestion(str(pooling), states.POOLINGS, "use one of these")
            raise UserError(
                f"embed was given pooling={pooling!r}; {'|'.join(states.POOLINGS)}; "
                f"{hint}"
            )
        (chosen,) = states.checked_layers("embed", [layer], self.model.cfg.depth + 1)
        ids = self._ids("embed", texts)
        found = self._reader.read(
            states.make_embeddings, self.params, ids, pooling, chosen
        )
        return np.stack(found) if found else np.zeros((0, self.model.cfg.width))

    @property
    def _num_ids(self) -> int:
        return self.params["embed"]["token"].shape[0]

    def _ids(self, method: str, given: Texts) -> list[np.ndarray]:
        return texts_lib.ids_of(
            method,
            given,
            self.tokenizer.encode,
            num_ids=self._num_ids,
            context_length=self.config.model.context_length,
        )

    def generate(
        self,
        prompts: str | Sequence[str],
        max_new_tokens: int = 40,
        *,
        on_text: Callable[[int, str], None] = lambda number, text: None,
        window: int = 0,
        **sampling: Any,
    ) -> str | list[str]:
        """Returns the continuation of each prompt, without the prompt.

        A prompt that is given once has the same continuation alone and among others;
        see the seed rule in inference.decode. A prompt longer than the context is cut
        to its last tokens, with a warning. Another warns if the context is full before
        all new tokens are drawn.
        Args: on_text: called with a prompt's number and each new piece of its text.
              window: when the context is full, go on after the last `window` tokens,
              read again from the start of the context; 0: end there.
              sampling: temperature (0 is greedy), top_k, top_p and seed; see
              inference.decode.Sampling.
        """
        batch = [prompts] if isinstance(prompts, str) else prompts
        texts_lib.check_texts("generate", batch)
        prompt_ids = [self.tokenizer.encode(prompt) for prompt in batch]
        texts = self.continue_ids(
            prompt_ids, max_new_tokens, on_text=on_text, window=window, **sampling
        )
        return texts[0] if isinstance(prompts, str) else texts

    def continue_ids(
        self,
        prompts: Sequence[np.ndarray],
        max_new_tokens: int,
        *,
        on_text: Callable[[int, str], None] = lambda number, text: None,
        window: int = 0,
        **sampling: Any,
    ) -> list[str]:
        """Returns what `generate` does, for prompts given as token ids.

        A continuation starts with a space if its first token starts a word.
        """
        if not len(prompts):
            return []
        for prompt in prompts:
            texts_lib.check_ids("generate", prompt, self._num_ids)
        prompts = self._ends(prompts, max_new_tokens, window)
        continuations = [Continuation(self.tokenizer, prompt) for prompt in prompts]
        total = len(prompts) * max_new_tokens if len(prompts) > 1 else 0
        with contextlib.ExitStack() as stack:
            bar = None
            if total:  # text that is shown as it grows shows the progress of one
                progress = terminal.progress("generating", total, unit="tokens")
                bar = stack.enter_context(progress)

            def on_tokens(number: int, ids: np.ndarray) -> None:
                if piece := continuations[number].add(ids):
                    on_text(number, piece)
                if bar:
                    bar.advance(len(ids))

            self._decoder.generate(
                self.params,
                prompts,
                max_new_tokens,
                decode.Sampling(**sampling),
                on_tokens,
                window=window,
            )
        for number, continuation in enumerate(continuations):
            if piece := continuation.rest():
                on_text(number, piece)
        return [continuation.text for continuation in continuations]

    def _ends(
        self, prompts: Sequence[np.ndarray], max_new_tokens: int, window: int
    ) -> list[np.ndarray]:
        """Returns the prompts, and of those that fill the context only the end.

        The end has `window` tokens, or else as many as leave room for the new tokens,
        but at least half a context. It warns of them.
        """
        context_length = self.config.model.context_length
        most = window or max(context_length - max_new_tokens, context_length // 2)
        is_long = [len(prompt) >= context_length for prompt in prompts]
        if any(is_long):
            terminal.warn(
                f"{sum(is_long):,} of {len(prompts):,} prompts fill the context of "
                f"{context_length} tokens; the last {most} tokens of each are used"
            )
        ends = [
            prompt[-most:] if long else prompt
            for prompt, long in zip(prompts, is_long, strict=True)
        ]
        least = context_length - max(map(len, ends))
        if least < max_new_tokens and not window:
            half = context_length // 2
            terminal.warn(
                f"the context of {context_length} tokens is full after {least} of "
                f"{max_new_tokens} new tokens; --window={half} (window={half}) goes on "
                f"after the last {half} of them"
            )
        return ends

    def score(self, texts: Sequence[str]) -> list[Score]:
        """Returns each text's token ids and their log-probabilities in nats."""
        texts_lib.check_texts("score", texts)
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
