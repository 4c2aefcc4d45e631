"""Models in workdirs: restoring them, creating them from weights, their identity.

A PATH here is a workdir or one of its checkpoints/STEP. A workdir stands for its best
intact step if its job keeps one, or else for its newest intact step.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpt1_jax import config as config_lib
from gpt1_jax import files
from gpt1_jax.config import ModelConfig, RunConfig
from gpt1_jax.data.text import tokenizers
from gpt1_jax.distributed import memory, mesh
from gpt1_jax.errors import NotFound, RunFailed, UserError
from gpt1_jax.training.step import TrainState
from gpt1_jax.workdirs import checkpoint, checksums, intact
from gpt1_jax.workdirs import workdir as workdir_lib
from gpt1_jax.workdirs.checkpoint import Checkpoints, abstract

# Token rows after the vocabulary: three in our models, other numbers in converted ones.
_MAX_SPECIALS = 16


@dataclasses.dataclass(frozen=True)
class Restored:
    """A run's checkpoint: its parameters with their config and tokenizer.

    model: the settings that the model is used with, see `restore`.
    params: after fine-tuning they have token rows for the specials, and a head.
    tokenizer: None if a converted workdir has none and none was needed.
    result: the content of result.json; {}: the run has not finished.
    """

    config: RunConfig
    model: ModelConfig
    params: Any
    tokenizer: tokenizers.Tokenizer | None
    step: int
    result: dict[str, Any]

    @property
    def origin(self) -> dict[str, Any]:
        """The source of converted weights, see `create`; {}: trained by gpt1_jax."""
        return self.result.get("origin", {})


def restore(
    path: str | Path,
    *,
    compute_dtype: str = "",
    attention: str = "",
    needs_tokenizer: bool = True,
) -> Restored:
    """Returns the model in PATH, and sets JAX's 64-bit mode for its compute dtype.

    Args:   compute_dtype, attention: replace the run's settings; empty: they stay.
    Raises: UserError, NotFound: PATH has no run, no checkpoint, no tokenizer where one
            is needed, or that of another model, or too little memory. RunFailed: it is
            damaged.
    """
    directory = workdir_of(path)
    config = workdir_lib.read_config(directory)
    model = dataclasses.replace(
        config.model,
        compute_dtype=compute_dtype or config.model.compute_dtype,
        attention=attention or config.model.attention,
    )
    # Before the parameters are read: without 64-bit mode float64 would be rounded.
    model = mesh.resolve_dtype(model)
    has_tokenizer = tokenizers.is_tokenizer(directory / workdir_lib.TOKENIZER_DIR)
    tokenizer = tokenizer_of(path) if has_tokenizer or needs_tokenizer else None
    with _checkpoints_of(path) as (checkpoints, step):
        checkpoints.check(step, _facts(config, tokenizer))
        shapes = checkpoints.params_shapes(step)
        memory.check_params(shapes, f"{path}: the model")
        like = abstract(shapes, mesh.replicated(mesh.make_mesh()))
        params = checkpoints.restore_params(step, like)
    if tokenizer:
        check_vocabulary(tokenizer, len(params["embed"]["token"]), str(directory))
    result = workdir_lib.read_result(directory) or {}
    return Restored(config, model, params, tokenizer, step, result)


def check_vocabulary(
    tokenizer: tokenizers.Tokenizer, num_rows: int, where: str
) -> None:
    """Raises UserError unless a token table of `num_rows` fits `tokenizer`."""
    if not 0 <= num_rows - tokenizer.vocab_size <= _MAX_SPECIALS:
        raise UserError(
            f"{where}: the tokenizer has {tokenizer.vocab_size:,} entries, the model "
            f"{num_rows:,} rows of tokens; as many rows, and up to {_MAX_SPECIALS} of "
            "specials, are expected; bring the model's own tokenizer"
        )


@contextlib.contextmanager
def _checkpoints_of(path: str | Path) -> Iterator[tuple[Checkpoints, int]]:
    """Yields the open checkpoints of a workdir, and the step that PATH stands for.

    Raises: NotFound: there is none. RunFailed: none is intact, or the named one is not.
    """
    directory, step = workdir_and_step(path)
    checkpoints_dir = directory / workdir_lib.CHECKPOINTS_DIR
    missing = NotFound(
        f"no checkpoint in {checkpoints_dir}; a run that has saved one is expected; "
        "train first, or check the path"
    )
    if not checkpoints_dir.is_dir():
        raise missing
    with Checkpoints(checkpoints_dir, create=False) as checkpoints:
        steps = checkpoints.all_steps()
        if not steps:
            raise missing
        if step is not None and step not in steps:
            raise NotFound(
                f"no checkpoint {step} in {checkpoints_dir}; there are "
                f"{', '.join(map(str, steps))}; name one of them"
            )
        if step is None:
            step = checkpoints.model_step()
            assert step is not None
        elif found := checksums.problem(
            checkpoints_dir / str(step), checkpoint.MODEL_ITEMS
        ):
            raise RunFailed(
                f"{checkpoints_dir / str(step)} is damaged: {found}; an intact one is "
                "expected; name another step, or restore a copy of this one"
            )
        yield checkpoints, step


def steps(path: str | Path) -> dict[int, Path]:
    """Returns the intact checkpoints in PATH by step: all of a workdir, or the one.

    Raises: NotFound: there is none. RunFailed: none is intact.
    """
    directory, named = workdir_and_step(path)
    checkpoints_dir = directory / workdir_lib.CHECKPOINTS_DIR
    with _checkpoints_of(path) as (checkpoints, _):
        found = checkpoints.all_steps() if named is None else [named]
    good = intact.good_steps(checkpoints_dir, found, checkpoint.MODEL_ITEMS)
    return {s: checkpoints_dir / str(s) for s in good}


def create(
    workdir: Path,
    config: RunConfig,
    params: Any,
    tokenizer: tokenizers.Tokenizer | None,
    origin: dict[str, Any],
) -> None:
    """Creates `workdir`, completely or not at all, for a model of given weights.

    Args: params: the model's parameters, on the host. origin: the source of the
          weights, written to result.json.
    """
    with files.atomic_directory(workdir) as part:
        with Checkpoints(part / workdir_lib.CHECKPOINTS_DIR) as checkpoints:
            state = TrainState(jnp.zeros((), jnp.int32), params, {})
            facts = _facts(config, tokenizer) | {"weights": _digest(params)}
            checkpoints.save(state, facts)
        if tokenizer:
            tokenizer.save(part / workdir_lib.TOKENIZER_DIR)
        workdir_lib.write_config(part, config)
        workdir_lib.write_result(part, {"job": "convert", "steps": 0, "origin": origin})


def _digest(params: Any) -> str:
    """Returns the sha256 of all parameters, in the order of their paths."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


def _facts(config: RunConfig, tokenizer: tokenizers.Tokenizer | None) -> dict[str, str]:
    """Returns the fingerprint of a checkpoint that fits this config and tokenizer."""
    facts = {"config": config_lib.fingerprint(config)}
    return facts | ({"tokenizer": tokenizer.fingerprint} if tokenizer else {})


def workdir_of(path: str | Path) -> Path:
    """Returns the workdir that PATH is, or is in."""
    return workdir_and_step(path)[0]


def read_config(path: str | Path) -> RunConfig:
    """Returns the config of the run in PATH."""
    return workdir_lib.read_config(workdir_of(path))


def tokenizer_of(path: str | Path) -> tokenizers.Tokenizer:
    """Returns the tokenizer of the run in PATH.

    Raises: UserError, NotFound: it is damaged or missing.
    """
    return tokenizers.load(workdir_of(path) / workdir_lib.TOKENIZER_DIR)


def identity(path: str | Path) -> str:
    """Returns a sha256 of the step and fingerprint of the weights in PATH."""
    with _checkpoints_of(path) as (checkpoints, step):
        facts = json.dumps([step, checkpoints.facts(step)], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()


def workdir_and_step(path: str | Path) -> tuple[Path, int | None]:
    """Returns the workdir of DIR or DIR/checkpoints/STEP, and STEP if it is named."""
    path = files.expand(path)
    if path.is_symlink():
        path = path.resolve()
    if path.name == workdir_lib.CHECKPOINTS_DIR:
        raise UserError(
            f"{path} holds all checkpoints of a run; the workdir, or one checkpoint, "
            f"is expected; name {path.parent} or {path}/STEP"
        )
    if path.parent.name == workdir_lib.CHECKPOINTS_DIR and path.name.isdigit():
        return path.parent.parent, int(path.name)
    return path, None
