"""The experiment that a command line names: its config, its axes, its workdir."""

import contextlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from gpt1_jax import config as config_lib
from gpt1_jax import config_checks, terminal
from gpt1_jax.config import RunConfig
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.workdirs import starting_point

# The experiments that come with this package lie beside it, in a clone as in a wheel.
PACKAGE = "experiments"
SHIPPED = Path(__file__).parents[2] / PACKAGE


def define_config(flag_values: flags.FlagValues) -> flags.FlagHolder[ConfigDict]:
    """The flag --config FILE:words, and --config.GROUP.FIELD=VALUE with it."""
    holder = config_flags.DEFINE_config_file(
        "config",
        None,
        "Experiment file, with :words if any.",
        lock_config=True,
        flag_values=flag_values,
    )
    flag = flag_values["config"]
    flag.parser = _LocatingParser(flag.parser)
    return holder


class _LocatingParser(flags.ArgumentParser):
    """Parses --config as ml_collections does, once the file is located."""

    def __init__(self, parser: flags.ArgumentParser):
        self._parser = parser

    def parse(self, argument: str) -> Any:
        file, colon, words = argument.partition(":")
        return self._parser.parse(f"{locate(Path(file))}{colon}{words}")

    def flag_type(self) -> str:
        return self._parser.flag_type()


def locate(file: Path) -> Path:
    """`file`; if there is none and this package has that experiment, the package's.

    Example: experiments/pretrain.py, in a directory without experiments ->
             .../site-packages/experiments/pretrain.py
    """
    if file.exists() or file.parts[:1] != (PACKAGE,):
        return file
    shipped = SHIPPED.joinpath(*file.parts[1:])
    if not shipped.is_file():
        return file
    _import_shipped()
    return shipped


def _import_shipped() -> None:
    """Makes experiments import each other from SHIPPED, whatever lies on the path."""
    imported = sys.modules.get(PACKAGE)
    if str(SHIPPED) in getattr(imported, "__path__", []):
        return
    spec = importlib.util.spec_from_file_location(
        PACKAGE,
        SHIPPED / "__init__.py",
        submodule_search_locations=[str(SHIPPED)],
    )
    assert spec
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)


def resolve(flag_values: flags.FlagValues) -> RunConfig:
    """The config that the command line describes.

    Raises: UserError, NotFound: no experiment, an impossible config.
    """
    if not flag_values["config"].present:
        raise UserError(
            "--config is missing; name an experiment, as in --config "
            "experiments/pretrain.py"
        )
    given, _ = _file_and_words(flag_values)
    file = locate(given)
    if not file.is_file():
        raise NotFound(
            f"no experiment file {file}; a Python file with get_config(words) is "
            f"expected, or one of gpt1_jax's own: {', '.join(_own_names())}; check the "
            "path after --config"
        )
    if file != given:
        terminal.say(f"no {given} here: the one that comes with gpt1_jax, {file}")
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
    config_checks.validate(config)
    if config.init.path != "none":
        # A finished run may do without the model that it started from: jobs know.
        with contextlib.suppress(NotFound):
            starting_point.check_overrides(config, by_hand)


def default_workdir(flag_values: flags.FlagValues) -> str:
    """runs/pretrain-paper for experiments/pretrain.py and the word paper."""
    file, words = _file_and_words(flag_values)
    given = [word.strip() for word in words.split(",") if word.strip()]
    return "-".join([f"runs/{file.stem}", *given])


def axes(flag_values: flags.FlagValues, config: RunConfig) -> Mapping[str, Any]:
    """What the experiment's own get_axes(config, words) gives; {} if it has none."""
    file, words = _file_and_words(flag_values)
    spec = importlib.util.spec_from_file_location(file.stem, locate(file))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    get_axes = getattr(module, "get_axes", None)
    return get_axes(config, words) if get_axes else {}


def _own_names() -> list[str]:
    """experiments/pretrain.py and the others that come with this package."""
    paths = sorted(SHIPPED.glob("[!_]*.py"))
    return [f"{PACKAGE}/{path.name}" for path in paths]


def _file_and_words(flag_values: flags.FlagValues) -> tuple[Path, str]:
    """The file and the words of --config FILE:words."""
    given = config_flags.get_config_filename(flag_values["config"])
    file, _, words = given.partition(":")
    return Path(file), words
