"""A trained model to use from Python: what gpt1_jax.load returns."""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from gpt1_jax import files
from gpt1_jax import workdir as workdir_lib
from gpt1_jax.config import RunConfig
from gpt1_jax.data import tokenizers
from gpt1_jax.evaluation import decode, scoring
from gpt1_jax.exits import NotFound, UserError
from gpt1_jax.models import heads
from gpt1_jax.models.transformer import Transformer
from gpt1_jax.training import mesh
from gpt1_jax.training.checkpoint import Checkpoints, abstract
from gpt1_jax.training.state import TrainState

# Rows after the vocabulary: three here, other counts in models from elsewhere.
_MOST_SPECIALS = 16


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
    def _decoder(self) -> decode.Decoder:
        return decode.Decoder(self.model, self.config.model.context_length)

    @functools.cached_property
    def _token_logp(self):
        return scoring.make_token_logp(self.model, mesh.logits_chunk_elements())

    @functools.cached_property
    def _jitted_logits(self):
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
              evaluation.decode.Sampling.
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


def load(path: str | Path, compute_dtype: str = "") -> Pretrained:
    """The language model in a workdir, or in one of its checkpoints/STEP.

    Of a workdir: the best step if its job keeps one, else the newest.
    Args:   compute_dtype: another than the run's, as float32 on an accelerator.
    Raises: UserError, NotFound: no run or no checkpoint there.
    """
    found = restore(path)
    vocab_size = found.tokenizer.vocab_size
    embed = found.params["embed"]
    params = heads.backbone_of(found.params)
    params["embed"] = embed | {"token": embed["token"][:vocab_size]}
    cfg = found.config.model
    if compute_dtype:
        cfg = dataclasses.replace(cfg, compute_dtype=compute_dtype)
    model = Transformer(mesh.resolve_dtype(cfg), vocab_size)
    return Pretrained(found.config, model, params, found.tokenizer, found.step)


@dataclasses.dataclass(frozen=True)
class Restored:
    """A run's checkpoint: its parameters as they were trained, and what explains them.

    After fine-tuning these have rows for the specials, and a head.
    """

    config: RunConfig
    params: Any
    tokenizer: tokenizers.Tokenizer
    step: int


def restore(path: str | Path) -> Restored:
    """What is in a workdir, or in one of its checkpoints/STEP; see `load`.

    Raises: UserError, NotFound: no run or no checkpoint there, no or another tokenizer.
    """
    read_config(path)  # raises where there is no run at all
    tokenizer = tokenizer_of(path)
    found = _restore_weights(path, tokenizer)
    return Restored(found.config, found.params, tokenizer, found.step)


@dataclasses.dataclass(frozen=True)
class RestoredWeights:
    """A checkpoint of a workdir that may lack a tokenizer, as a converted one may.

    origin: what `create` was told of where the weights came from; {}: trained here.
    """

    config: RunConfig
    params: Any
    tokenizer: tokenizers.Tokenizer | None
    step: int
    origin: dict[str, Any]


def restore_weights(path: str | Path) -> RestoredWeights:
    """As `restore`, of a workdir with or without a tokenizer."""
    directory, _ = _workdir_and_step(path)
    has_tokenizer = tokenizers.is_tokenizer(directory / workdir_lib.TOKENIZER_DIR)
    return _restore_weights(path, tokenizer_of(path) if has_tokenizer else None)


def _restore_weights(
    path: str | Path, tokenizer: tokenizers.Tokenizer | None
) -> RestoredWeights:
    directory, _ = _workdir_and_step(path)
    config = workdir_lib.read_config(directory)
    with _checkpoints_of(path) as (checkpoints, step):
        checkpoints.check(step, _facts(tokenizer))
        like = abstract(
            checkpoints.params_shapes(step), mesh.replicated(mesh.make_mesh())
        )
        params = checkpoints.restore_params(step, like)
    if tokenizer:
        check_vocabulary(tokenizer, len(params["embed"]["token"]), str(directory))
    result = workdir_lib.read_result(directory) or {}
    return RestoredWeights(config, params, tokenizer, step, result.get("origin", {}))


def check_vocabulary(
    tokenizer: tokenizers.Tokenizer, num_rows: int, where: str
) -> None:
    """Raises UserError unless a token table may be that of `tokenizer`."""
    if not 0 <= num_rows - tokenizer.vocab_size <= _MOST_SPECIALS:
        raise UserError(
            f"{where}: the tokenizer has {tokenizer.vocab_size:,} entries, the model "
            f"{num_rows:,} rows of tokens; as many rows, and up to {_MOST_SPECIALS} of "
            "specials, are expected; bring the model's own tokenizer"
        )


@contextlib.contextmanager
def _checkpoints_of(path: str | Path) -> Iterator[tuple[Checkpoints, int]]:
    """The open checkpoints of a workdir, and the step that `path`, as of `load`, means.

    Raises: NotFound: there is none.
    """
    directory, step = _workdir_and_step(path)
    checkpoints_dir = directory / workdir_lib.CHECKPOINTS_DIR
    wanted = "checkpoint" if step is None else f"checkpoint {step}"
    missing = NotFound(
        f"no {wanted} in {checkpoints_dir}; a run that has saved one is expected; "
        "train first, or check the path"
    )
    if not checkpoints_dir.is_dir():
        raise missing
    with Checkpoints(checkpoints_dir, create=False) as checkpoints:
        steps = checkpoints.all_steps()
        if not steps or (step is not None and step not in steps):
            raise missing
        if step is None:
            step = checkpoints.best_step() or steps[-1]
        yield checkpoints, step


def create(
    workdir: Path,
    config: RunConfig,
    params: Any,
    tokenizer: tokenizers.Tokenizer | None,
    origin: dict[str, Any],
) -> None:
    """Makes `workdir`, all of it or nothing, of a model that was trained elsewhere.

    Args: params: as the model takes them, on the host. origin: noted in result.json.
    """
    with files.directory_made_whole(workdir) as part:
        with Checkpoints(part / workdir_lib.CHECKPOINTS_DIR) as checkpoints:
            state = TrainState(jnp.zeros((), jnp.int32), params, {})
            facts = _facts(tokenizer) | {"weights": _digest(params)}
            checkpoints.save(state, facts)
        if tokenizer:
            tokenizer.save(part / workdir_lib.TOKENIZER_DIR)
        workdir_lib.write_config(part, config)
        workdir_lib.write_result(part, {"job": "convert", "steps": 0, "origin": origin})


def _digest(params: Any) -> str:
    """A sha256 of all parameters, in the order of their paths."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf))
    return digest.hexdigest()


def _facts(tokenizer: tokenizers.Tokenizer | None) -> dict[str, str]:
    """What a checkpoint must have been saved with to be of use with `tokenizer`."""
    return {"tokenizer": tokenizer.fingerprint} if tokenizer else {}


def read_config(path: str | Path) -> RunConfig:
    """The config of the run that `path`, as of `load`, names."""
    directory, _ = _workdir_and_step(path)
    return workdir_lib.read_config(directory)


def tokenizer_of(path: str | Path) -> tokenizers.Tokenizer:
    """The tokenizer of the run that `path`, as of `load`, names."""
    directory, _ = _workdir_and_step(path)
    return tokenizers.load(directory / workdir_lib.TOKENIZER_DIR)


def identity(path: str | Path) -> str:
    """A sha256 of what the weights that `load` takes are a function of."""
    with _checkpoints_of(path) as (checkpoints, step):
        facts = json.dumps([step, checkpoints.facts(step)], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()


def _workdir_and_step(path: str | Path) -> tuple[Path, int | None]:
    """The workdir of DIR or DIR/checkpoints/STEP, and STEP if it is named."""
    path = Path(path).expanduser()
    if path.parent.name == workdir_lib.CHECKPOINTS_DIR and path.name.isdigit():
        return path.parent.parent, int(path.name)
    return path, None


_SIZES = ("num_layers", "width", "num_heads", "mlp_width", "context_length")


def sizes(config: RunConfig) -> dict[str, int]:
    """What a run that starts from this one's model takes over from its config."""
    return {name: getattr(config.model, name) for name in _SIZES}


def check_overrides(config: RunConfig, overridden: Collection[str]) -> None:
    """Raises UserError if a field must differ from the model in config.init.path.

    Args: overridden: the fields, as `model.width`, that the user set by hand.
    """
    directory, _ = _workdir_and_step(config.init.path)
    for name, size in sizes(workdir_lib.read_config(directory)).items():
        given = getattr(config.model, name)
        if f"model.{name}" in overridden and given != size:
            raise UserError(
                f"config.model.{name}={given}, but the model in config.init.path="
                f"{config.init.path} has {size}; sizes come from there; drop the "
                "override"
            )
    for name in ("tokenizer", "vocab_size"):
        if f"data.{name}" in overridden:
            raise UserError(
                f"config.data.{name} is set, but the tokenizer comes from "
                f"config.init.path={config.init.path}; drop the override"
            )


def init_params(model: Transformer, key: jax.Array) -> Any:
    """Fresh parameters of `model`."""
    tokens_NL = np.zeros((1, 1), np.int32)
    return model.init(key, tokens_NL)["params"]
