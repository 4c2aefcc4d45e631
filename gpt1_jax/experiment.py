"""The experiment that a command line names: its config, its axes, its workdir."""

import contextlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from gpt1_jax import config as config_lib
from gpt1_jax import starting_model
from gpt1_jax.config import RunConfig
from gpt1_jax.exits import NotFound, UserError


def define_config(flag_values: flags.FlagValues) -> flags.FlagHolder[ConfigDict]:
    """The flag --config FILE:words, and --config.GROUP.FIELD=VALUE with it."""
    return config_flags.DEFINE_config_file(
        "config",
        None,
        "Experiment file, with :words if any.",
        lock_config=True,
        flag_values=flag_values,
    )


def resolve(flag_values: flags.FlagValues) -> RunConfig:
    """The config that the command line describes.

    Raises: UserError, NotFound: no experiment, an impossible config.
    """
    if not flag_values["config"].present:
        raise UserError(
            "--config is missing; name an experiment, as in --config "
            "experiments/pretrain.py"
        )
    file, _ = _file_and_words(flag_values)
    if not file.is_file():
        raise NotFound(
            f"no experiment file {file}; a Python file with get_config(words) is "
            "expected; check the path after --config"
        )
    config = config_lib.from_mapping(flag_values["config"].value)
    check(config, overridden(flag_values))
    return config


def overridden(flag_values: flags.FlagValues) -> set[str]:
    """The fields, as `model.width`, that the command line overrides."""
    return set(config_flags.get_override_values(flag_values["config"]))


def check(config: RunConfig, by_hand: set[str]) -> None:
    """Raises UserError for an impossible config.

    Args: by_hand: the fields, as `model.width`, that the user set.
    """
    config_lib.validate(config)
    if config.init.path != "none":
        # A finished run may do without the model that it started from: jobs know.
        with contextlib.suppress(NotFound):
            starting_model.check_overrides(config, by_hand)


def default_workdir(flag_values: flags.FlagValues) -> str:
    """runs/pretrain-paper for experiments/pretrain.py and the word paper."""
    file, words = _file_and_words(flag_values)
    given = [word.strip() for word in words.split(",") if word.strip()]
    return "-".join([f"runs/{file.stem}", *given])


def axes(flag_values: flags.FlagValues, config: RunConfig) -> Mapping[str, Any]:
    """What the experiment's own get_axes(config, words) gives; {} if it has none."""
    file, words = _file_and_words(flag_values)
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    get_axes = getattr(module, "get_axes", lambda config, words: {})
    return get_axes(config, words)


def _file_and_words(flag_values: flags.FlagValues) -> tuple[Path, str]:
    """The file and the words of --config FILE:words."""
    given = config_flags.get_config_filename(flag_values["config"])
    file, _, words = given.partition(":")
    return Path(file), words
