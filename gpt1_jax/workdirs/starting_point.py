"""The model that a run starts from, which config.init names."""

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jax

from gpt1_jax import config as config_lib
from gpt1_jax import files, terminal
from gpt1_jax.config import STORYWORLD, Role, RunConfig
from gpt1_jax.data.tasks import task_data
from gpt1_jax.data.text import corpus, preparation, recipes, tokenizers
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.training import transfer
from gpt1_jax.training.step import TrainState
from gpt1_jax.workdirs import checkpoint, model_store
from gpt1_jax.workdirs import workdir as workdir_lib


def check_overrides(config: RunConfig, overridden: Collection[str]) -> None:
    """Raises UserError if a field must differ from the model in config.init.path.

    Args: overridden: the fields, as `model.width`, that the user set by hand.
    """
    given = config_lib.flatten(config)
    source = config_lib.flatten(model_store.read_config(config.init.path))
    for path in overridden:
        if config_lib.role(path) == Role.ARCHITECTURE and given[path] != source[path]:
            raise UserError(
                f"config.{path}={given[path]}, but the model in config.init.path="
                f"{config.init.path} has {source[path]}; the architecture comes from "
                "there; drop the override"
            )
    for path in ("data.tokenizer", "data.vocab_size", "data.lowercase"):
        if path in overridden and given[path] != source[path]:
            raise UserError(
                f"config.{path}={given[path]}, but the tokenizer comes from "
                f"config.init.path={config.init.path}; drop the override"
            )


def check_named(config: RunConfig, kind: str, example: str) -> None:
    """Raises UserError if config.init.path names no model for a job that needs one.

    Args: kind: for example "a pre-trained". example: a usual workdir of this kind.
    """
    if config.init.path == "none":
        raise UserError(
            f"config.init.path=none; {kind} workdir, or one of its checkpoints/STEP, "
            f"is expected; set it, as in --config.init.path={example}"
        )


def with_inherited(config: RunConfig, workdir: Path) -> RunConfig:
    """Returns `config` with what its job inherits from the model in config.init.path.

    The jobs that train inherit the architecture. Those that train nothing also inherit
    the regularisation, the value of each field of the group model that is `auto`, the
    task data where config.data names none, and an evaluation its task.
    Raises: UserError, NotFound: there is no such model, or it has too few layers.
    """
    if config.init.path == "none":
        return config
    if config.job in ("pretrain", "finetune"):
        return _for_training(config, workdir)
    return _for_evaluation(config)


def _for_evaluation(config: RunConfig) -> RunConfig:
    own = model_store.read_config(config.init.path)
    inherited_roles = (Role.ARCHITECTURE, Role.REGULARISATION)
    model = config_lib.inherit(config, own, inherited_roles).model
    from_own = {
        name: value
        for name, value in dataclasses.asdict(own.model).items()
        if getattr(model, name) == "auto"
    }
    task = config.task
    if config.job == "evaluate" and not task.name:
        task = dataclasses.replace(task, name=own.task.name)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(model, **from_own),
        data=task_data.select_data(own.data, config.data),
        task=task,
    )


def _for_training(config: RunConfig, workdir: Path) -> RunConfig:
    """Returns `config` with the architecture of the model that it starts from.

    If that model was deleted, the architecture is read from the run's own config.
    """
    path = config.init.path
    try:
        source = model_store.read_config(path)
    except NotFound:
        if not workdir_lib.has_checkpoint(workdir):
            raise
        source = workdir_lib.read_config(workdir)
    if config.init.num_layers > source.model.depth:
        raise UserError(
            f"config.init.num_layers={config.init.num_layers}; the model in {path} has "
            f"{source.model.depth} layers; name at most as many"
        )
    is_about_world = config.job == "finetune" and task_data.is_storyworld(config.data)
    if source.data.corpus == STORYWORLD and is_about_world:
        _warn_of_another_world(source.data.storyworld_seed, config)
    return config_lib.inherit(config, source, (Role.ARCHITECTURE,))


def _warn_of_another_world(seed: int, config: RunConfig) -> None:
    if seed != config.data.storyworld_seed:
        terminal.warn(
            f"the model was trained on storyworld {seed}, the task is about storyworld "
            f"{config.data.storyworld_seed}; set config.data.storyworld_seed={seed} to "
            "use one world for both"
        )


def tokenizer(config: RunConfig, workdir: Path) -> tokenizers.Tokenizer:
    """Returns the tokenizer: that of the begun run, of its model, or a new one."""
    if workdir_lib.has_checkpoint(workdir):
        return tokenizers.load(workdir / workdir_lib.TOKENIZER_DIR)
    if config.init.path != "none":
        return model_store.tokenizer_of(config.init.path)
    source = recipes.tokenizer_source(config.data)
    if source not in tokenizers.TRAINED:
        return tokenizers.load(Path(source))
    if not config.data.corpus:
        raise UserError(
            "config.init.path=none, and config.data.corpus is empty; a pre-trained "
            "workdir, or books to train a tokenizer on, are expected; set it, as in "
            "--config.init.path=runs/pretrain"
        )
    return preparation.open_corpus(config.data).tokenizer


def open_corpus(config: RunConfig, workdir: Path) -> corpus.TokenStore:
    """Returns the token store of config.data.corpus, for the run's tokenizer.

    That is the tokenizer of the begun run, of the model in config.init.path, or the one
    that config.data names.
    Raises: UserError, NotFound: as preparation.open_corpus, there is no tokenizer, or
            a prepared store has another one.
    """
    if config.init.path == "none":
        return preparation.open_corpus(config.data)
    source = model_store.workdir_of(config.init.path)
    owner = workdir if workdir_lib.has_checkpoint(workdir) else source
    directory = owner / workdir_lib.TOKENIZER_DIR
    own = tokenizers.load(directory)
    if not corpus.is_store(files.expand(config.data.corpus)):
        named = dataclasses.replace(config.data, tokenizer=str(directory))
        return preparation.open_corpus(named)
    store = preparation.open_corpus(config.data)
    if store.tokenizer.fingerprint != own.fingerprint:
        raise UserError(
            f"config.data.corpus={config.data.corpus} is a prepared store of another "
            f"tokenizer; that of config.init.path={config.init.path} is expected; name "
            f"the books, or prepare them with --tokenizer {directory}"
        )
    return store


def state(config: RunConfig, fresh: TrainState, shardings: Any) -> TrainState:
    """Returns `fresh` with parameters of the model in config.init.path; says which.

    Args:   shardings: those of the parameters.
    Raises: UserError, NotFound, RunFailed: as model_store.restore, or the model
            does not fit.
    """
    source = model_store.restore(
        config.init.path, compute_dtype=config.model.compute_dtype
    )
    terminal.say(f"{config.init.path}: step {source.step:,}")
    trained, num_dropped = _params(source, keeps_specials=config.job == "finetune")
    if num_dropped:
        terminal.say(f"dropped {num_dropped} token rows after its vocabulary")
    moved = transfer.transfer(fresh.params, trained, config.init.num_layers)
    terminal.say(transfer.describe(moved))
    params = jax.device_put(moved.params, shardings)
    return dataclasses.replace(fresh, params=params)


def _params(source: model_store.Restored, *, keeps_specials: bool) -> tuple[Any, int]:
    """Returns the parameters to start from, and how many token rows were dropped.

    Token rows after the vocabulary are dropped, unless gpt1_jax fine-tuned the model,
    so that they are its own specials, and `keeps_specials` is set.
    """
    table_VD = source.params["embed"]["token"]
    vocab_size = source.tokenizer.vocab_size if source.tokenizer else len(table_VD)
    has_own = keeps_specials and source.config.job == "finetune"
    if has_own or len(table_VD) == vocab_size:
        return source.params, 0
    embed = source.params["embed"] | {"token": table_VD[:vocab_size]}
    return source.params | {"embed": embed}, len(table_VD) - vocab_size


def facts(config: RunConfig) -> dict[str, str]:
    """Returns the identity of the weights in config.init.path; {} if there are none."""
    if config.init.path == "none":
        return {}
    try:
        return {"model in config.init.path": model_store.identity(config.init.path)}
    except NotFound:
        return {}


def check_unchanged(config: RunConfig, workdir: Path) -> None:
    """Raises UserError if a finished run began with weights that have changed since."""
    expected = facts(config)
    if not expected:
        return
    with checkpoint.Checkpoints(
        workdir / workdir_lib.CHECKPOINTS_DIR, create=False
    ) as checkpoints:
        latest = checkpoints.latest_step()
        if latest is not None:
            checkpoints.check(latest, expected)
