"""The experiment that a command line names: its config, its axes, its workdir."""

import contextlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_collections
from absl import flags

from gpt1_jax import config as config_lib
from gpt1_jax import files, terminal
from gpt1_jax.config import FIELDS, RunConfig
from gpt1_jax.errors import NotFound, UserError

# The experiments that come with this package lie beside it, in a clone as in a wheel.
PACKAGE = "experiments"
SHIPPED = Path(__file__).parents[2] / PACKAGE

_OVERRIDE = re.compile(r"--?(no)?config\.([^=]*)(?:=(.*))?", re.DOTALL)


class ExperimentFlags(flags.FlagValues):
    """Flags of a command that takes --config FILE:words.

    overrides: the text of each --config.GROUP.FIELD=VALUE on the command line, by path.
    modules: the experiment file that was run for these flags, by path.
    """

    def __init__(self) -> None:
        super().__init__()
        # FlagValues treats attributes as flags.
        self.__dict__["overrides"] = {}
        self.__dict__["modules"] = {}
        flags.DEFINE_string(
            "config", "", "Experiment file, as FILE or FILE:words.", flag_values=self
        )

    def __call__(self, argv: Sequence[str], known_only: bool = False) -> list[str]:
        """Parses `argv`; returns the arguments that are not flags."""
        rest, self.__dict__["overrides"] = split_overrides(argv)
        self.__dict__["modules"] = {}
        return super().__call__(rest, known_only)


def split_overrides(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Separates --config.GROUP.FIELD=VALUE from the other arguments.

    Accepts `--config.GROUP.FIELD VALUE` too and, for booleans, `--config.GROUP.FIELD`
    and `--noconfig.GROUP.FIELD`. The last value of a field counts.

    Example: ["main", "--config=a.py", "--config.seed=1", "--config.train.remat"] ->
             ["main", "--config=a.py"], {"seed": "1", "train.remat": "true"}
    Raises:  UserError: an unknown field, or no value.
    """
    rest: list[str] = []
    overrides: dict[str, str] = {}
    arguments = iter(argv)
    for argument in arguments:
        if argument == "--":
            return [*rest, argument, *arguments], overrides
        match = _OVERRIDE.fullmatch(argument)
        if not match:
            rest.append(argument)
            continue
        is_negated, path, text = match.groups()
        config_lib.check_path(path)
        if isinstance(FIELDS[path].default, bool) and text is None:
            text = "false" if is_negated else "true"
        elif is_negated:
            raise UserError(
                f"{argument}; --no goes with a boolean field only; write "
                f"--config.{path}=VALUE"
            )
        elif text is None and (text := next(arguments, None)) is None:
            raise UserError(f"{argument} has no value; write --config.{path}=VALUE")
        overrides[path] = text
    return rest, overrides


def locate(file: Path) -> Path:
    """Returns `file` if it exists, else the package's experiment of the same path.

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
    """Makes experiments import each other from SHIPPED, whatever is on sys.path."""
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


def resolve(flag_values: ExperimentFlags) -> RunConfig:
    """Returns the experiment's config with the overrides of the command line.

    Raises: UserError, NotFound: no usable experiment, or an impossible config.
    """
    file, words = _file_and_words(flag_values)
    get_config = getattr(_load(file, flag_values), "get_config", None)
    if get_config is None:
        raise UserError(
            f"{file}: the experiment file has no get_config; a function of the words "
            "after the colon that returns a ConfigDict is expected; add it"
        )
    with _locating_mistakes():
        config_dict = get_config(words)
    config = config_lib.from_mapping(config_dict)
    given, _ = _given(flag_values)
    if file != given:
        terminal.say(f"experiment: {given} of the installed gpt1_jax, {file}")
    values = {
        path: config_lib.parse(path, text)
        for path, text in flag_values.overrides.items()
    }
    config = config_lib.replace(config, values)
    check(config, flag_values.overrides)
    return config


@contextlib.contextmanager
def _locating_mistakes() -> Iterator[None]:
    """Turns an error that ml_collections raises in an experiment into a UserError.

    Such an error concerns a field or its type. Any other error is a bug and passes.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        library = str(Path(ml_collections.__file__).parent)
        if not frames[-1].filename.startswith(library):
            raise
        caller = [frame for frame in frames if not frame.filename.startswith(library)]
        # ml_collections wraps a KeyError, and str() of a KeyError is quoted.
        cause = error
        while isinstance(cause, Exception) and cause.args:
            cause = cause.args[0]
        said = str(cause).strip().splitlines()[-1]
        raise UserError(
            f"{caller[-1].filename}, line {caller[-1].lineno}: {caller[-1].line}; "
            f"{said}; correct the line"
        ) from None


def check(config: RunConfig, overridden: Collection[str]) -> None:
    """Raises UserError for an impossible config.

    Args: overridden: the fields, as `model.width`, that the user set.
    """
    config_lib.validate(config)
    if config.init.path != "none":
        # A finished run does not need its starting model. The jobs check this case.
        from gpt1_jax.workdirs import starting_point  # JAX is slow to import

        with contextlib.suppress(NotFound):
            starting_point.check_overrides(config, overridden)


def describe(config: RunConfig, flag_values: ExperimentFlags) -> str:
    """Returns a list of all fields: value, who set it, meaning and source."""
    given = config_lib.flatten(config)
    workdir = Path(default_workdir(flag_values))
    if config.init.path != "none":
        from gpt1_jax.workdirs import starting_point  # JAX is slow to import

        config = starting_point.with_inherited(config, workdir)
    final = config_lib.flatten(config)
    lines = ["Sections are those of Radford et al. 2018."]
    for path, value in final.items():
        default, setter = FIELDS[path].default, ""
        if value != given[path]:
            setter = "the model in config.init.path"
        elif path in flag_values.overrides:
            setter = "the command line"
        elif value != default:
            setter = "the experiment"
        origin = f"set by {setter}; default {default!r}" if setter else "default"
        lines.append(f"{path} = {value!r}  ({origin})")
        lines.append(f"    {_explain(FIELDS[path].metadata)}")
    return "\n".join(lines)


def _explain(metadata: Mapping[str, Any]) -> str:
    """Returns a field's meaning, allowed values and source, as sentences."""
    meaning = metadata["meaning"]
    if meaning.partition(":")[0].split(" ")[0] not in metadata["choices"]:
        meaning = f"{meaning[0].upper()}{meaning[1:]}"
    parts = [f"{meaning}."]
    if metadata["choices"]:
        parts.append(f"One of {', '.join(metadata['choices'])}.")
    if metadata["source"]:
        parts.append(f"Source of the default: {metadata['source']}.")
    return " ".join(parts)


def default_workdir(flag_values: ExperimentFlags) -> str:
    """Returns runs/pretrain-paper for experiments/pretrain.py and the word paper."""
    given, words = _given(flag_values)
    names = [word.strip() for word in words.split(",") if word.strip()]
    return "-".join([f"runs/{given.stem}", *names])


def axes(flag_values: ExperimentFlags, config: RunConfig) -> Mapping[str, Any]:
    """Returns the experiment's own get_axes(config, words); {} if it has none."""
    file, words = _file_and_words(flag_values)
    get_axes = getattr(_load(file, flag_values), "get_axes", None)
    return get_axes(config, words) if get_axes else {}


def _load(file: Path, flag_values: ExperimentFlags) -> ModuleType:
    """Runs an experiment file, once for a command, and returns it as a module."""
    modules: dict[Path, ModuleType] = flag_values.modules
    if file in modules:
        return modules[file]
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise UserError(
            f"{file} is not a Python file; an experiment with get_config(words) is "
            "expected; check the path after --config"
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    modules[file] = module
    return module


def _own_names() -> list[str]:
    """Returns experiments/pretrain.py and the others that come with this package."""
    paths = sorted(SHIPPED.glob("[!_]*.py"))
    return [f"{PACKAGE}/{path.name}" for path in paths]


def _given(flag_values: ExperimentFlags) -> tuple[Path, str]:
    """Returns the file and the words of --config FILE:words, as given."""
    file, _, words = str(flag_values["config"].value).partition(":")
    return files.expand(file), words


def _file_and_words(flag_values: ExperimentFlags) -> tuple[Path, str]:
    """Returns the located experiment file, and the words after the colon."""
    if not flag_values["config"].value:
        raise UserError(
            "--config is missing; name an experiment, as in --config "
            "experiments/pretrain.py"
        )
    given, words = _given(flag_values)
    file = locate(given)
    if not file.is_file():
        raise NotFound(
            f"no experiment file {file}; a Python file with get_config(words) is "
            f"expected, or one of gpt1_jax's own: {', '.join(_own_names())}; check the "
            "path after --config"
        )
    return file, words
