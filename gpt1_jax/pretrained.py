"""A trained model to use from Python: what gpt1_jax.load returns."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import jax
import numpy as np

from gpt1_jax import workdir as workdir_lib
from gpt1_jax.config import RunConfig
from gpt1_jax.data import tokenizers
from gpt1_jax.evaluation import decode, scoring
from gpt1_jax.exits import NotFound, UserError
from gpt1_jax.models.transformer import Transformer
from gpt1_jax.training import mesh
from gpt1_jax.training.checkpoint import Checkpoints, abstract


class Score(TypedDict):
    """A scored text: ids, and log-probabilities (nats) of all ids but the first."""

    text: str
    tokens: list[int]
    logprobs: list[float]


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A model: its weights, its tokenizer and the config of the run that made it."""

    config: RunConfig
    model: Transformer
    params: Any
    tokenizer: tokenizers.Tokenizer
    step: int

    def _logits(self, params: Any, tokens_NL: jax.Array) -> jax.Array:
        return self.model.apply({"params": params}, tokens_NL)

    @functools.cached_property
    def _next_token(self):
        return decode.make_next_token(self._logits)

    @functools.cached_property
    def _token_logp(self):
        return scoring.make_token_logp(self._logits)

    @functools.cached_property
    def _jitted_logits(self):
        return jax.jit(self._logits)

    def logits(self, tokens_NL: np.ndarray) -> jax.Array:
        """logits_NLV over the token after each position; rows padded on the right."""
        return self._jitted_logits(self.params, np.asarray(tokens_NL, np.int32))

    def generate(
        self, prompts: str | Sequence[str], max_new_tokens: int = 40, **sampling: Any
    ) -> str | list[str]:
        """The continuation of each prompt, without the prompt.

        Args: sampling: temperature (0 is greedy), top_k, top_p, seed, as in
              evaluation.decode. A continuation ends early where the context is full.
        """
        batch = [prompts] if isinstance(prompts, str) else list(prompts)
        prompt_ids = [self.tokenizer.encode(prompt) for prompt in batch]
        texts = self.continue_ids(prompt_ids, max_new_tokens, **sampling)
        return texts[0] if isinstance(prompts, str) else texts

    def continue_ids(
        self, prompts: Sequence[np.ndarray], max_new_tokens: int, **sampling: Any
    ) -> list[str]:
        """As `generate`, of prompts that are token ids.

        A text starts with a space where its first token starts a word.
        """
        continuations = decode.generate(
            self._next_token,
            self.params,
            prompts,
            context_length=self.config.model.context_length,
            max_new_tokens=max_new_tokens,
            **sampling,
        )
        texts = []
        for prompt, new in zip(prompts, continuations, strict=True):
            before = self.tokenizer.decode(prompt.tolist())
            whole = self.tokenizer.decode([*prompt.tolist(), *new.tolist()])
            texts.append(whole.removeprefix(before))
        return texts

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


def load(path: str | Path) -> Pretrained:
    """The model in a workdir (its newest checkpoint), or in DIR/checkpoints/STEP.

    Raises: UserError, NotFound: no run or no checkpoint there.
    """
    directory, step = Path(path).expanduser(), None
    if (
        directory.parent.name == workdir_lib.CHECKPOINTS_DIR
        and directory.name.isdigit()
    ):
        directory, step = directory.parent.parent, int(directory.name)
    config = workdir_lib.read_config(directory)
    tokenizer = tokenizers.load(directory / workdir_lib.TOKENIZER_DIR)
    cfg = mesh.resolve_dtype(config.model)
    model = Transformer(cfg, tokenizer.vocab_size)
    like = abstract(
        jax.eval_shape(lambda: init_params(model, jax.random.key(0))),
        mesh.replicated(mesh.make_mesh()),
    )
    checkpoints_dir = directory / workdir_lib.CHECKPOINTS_DIR
    missing = NotFound(
        f"no checkpoint {'' if step is None else step} in {checkpoints_dir}; a run "
        "that has saved one is expected; train first, or check the path"
    )
    if not checkpoints_dir.is_dir():
        raise missing
    with Checkpoints(checkpoints_dir, create=False) as checkpoints:
        steps = checkpoints.all_steps()
        if not steps or (step is not None and step not in steps):
            raise missing
        step = steps[-1] if step is None else step
        params = checkpoints.restore_params(step, like)
    return Pretrained(config, model, params, tokenizer, step)


def init_params(model: Transformer, key: jax.Array) -> Any:
    """Fresh parameters of `model`."""
    tokens_NL = np.zeros((1, 1), np.int32)
    return model.init(key, tokens_NL)["params"]
