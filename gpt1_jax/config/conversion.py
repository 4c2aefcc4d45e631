"""Converts configs from and to ConfigDicts, JSON and the command line."""

import dataclasses
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from gpt1_jax.config.fields import FIELDS, Role, RunConfig, flatten, paths_of, role
from gpt1_jax.errors import UserError, suggestion


def replace(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """Returns `config` with the fields of `changes`, by path, set to its values.

    Raises: UserError: an unknown field, or a value of another type.
    """
    nested = dataclasses.asdict(config)
    for path, value in changes.items():
        check_path(path)
        group, _, name = path.rpartition(".")
        (nested[group] if group else nested)[name] = value
    return from_mapping(nested)


def inherit(config: RunConfig, source: RunConfig, roles: Collection[Role]) -> RunConfig:
    """Returns `config` with the fields of these roles taken from `source`."""
    values = flatten(source)
    return replace(config, {p: x for p, x in values.items() if role(p) in roles})


def to_config_dict(config: RunConfig) -> ConfigDict:
    """Returns `config` as a locked ConfigDict, for experiment files."""
    config_dict = ConfigDict(dataclasses.asdict(config))
    config_dict.lock()
    return config_dict


def from_mapping(
    mapping: Mapping[str, Any] | ConfigDict, *, is_complete: bool = True
) -> RunConfig:
    """Returns the RunConfig that a ConfigDict, or a dict read from JSON, describes.

    Args:    mapping: nested; a list is read as a tuple.
             is_complete: whether every field must be present; if not, missing fields
             have their defaults.
    Raises:  UserError naming the field: unknown, missing, or of another type.
    """
    if isinstance(mapping, ConfigDict):
        mapping = mapping.to_dict()
    if not is_complete and isinstance(mapping, Mapping):
        mapping = _with_defaults(dataclasses.asdict(RunConfig()), mapping)
    return _build(RunConfig, mapping, "config")


def _with_defaults(
    defaults: Mapping[str, Any], mapping: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns `mapping` with its missing values taken from `defaults`."""
    filled = {**defaults, **mapping}
    for name, group in defaults.items():
        if isinstance(group, Mapping) and isinstance(filled[name], Mapping):
            filled[name] = _with_defaults(group, filled[name])
    return filled


def _build(cls: Any, mapping: Any, path: str) -> Any:
    """Returns the dataclass `cls` with the values of `mapping`."""
    if not isinstance(mapping, Mapping):
        raise UserError(f"{path}={mapping!r}; must be a group of fields; change it")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in mapping:
        if name not in fields:
            hint = suggestion(str(name), fields, ", ".join(fields))
            raise UserError(f"unknown field {path}.{name}; {hint}")
    values = {}
    for name, field in fields.items():
        if name not in mapping:
            raise UserError(f"field {path}.{name} is missing; add it")
        if dataclasses.is_dataclass(field.type):
            values[name] = _build(field.type, mapping[name], f"{path}.{name}")
        else:
            values[name] = _typed(mapping[name], field.type, f"{path}.{name}")
    return cls(**values)


def _typed(value: Any, kind: Any, path: str) -> Any:
    """Returns `value` if it has the type `kind`; converts an int to a float."""
    if isinstance(kind, types.GenericAlias):
        if isinstance(value, list | tuple) and all(type(v) is int for v in value):
            return tuple(value)
        raise UserError(f"{path}={value!r}; must be integers; write 1000,10000")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise UserError(f"{path}={value!r}; must be of type {kind.__name__}; change it")
    return value


def _tuple_of_integers(text: str) -> tuple[int, ...]:
    """Parses `1,2`, `(1,2)` or, as in an axis of a sweep, `1+2`."""
    inner = text.strip().removeprefix("(").removesuffix(")").replace("+", ",")
    return tuple(int(number) for number in inner.split(",") if number.strip())


def _boolean(text: str) -> bool:
    """Parses `true` or `false`, in any case, with absl's short forms."""
    known = {"true": True, "t": True, "1": True}
    return (known | {"false": False, "f": False, "0": False})[text.lower()]


# The parser of each type for the command line, and the hint of its error message.
_PARSERS: dict[type, tuple[Callable[[str], Any], str]] = {
    bool: (_boolean, "a boolean is expected; write True or False"),
    int: (int, "an integer is expected; write 1000"),
    float: (float, "a number is expected; write 0.5 or 1e-3"),
    str: (str, ""),
    tuple: (_tuple_of_integers, "integers are expected; write 1000,10000"),
}


def parse(path: str, text: str) -> Any:
    """Parses `text` as a value of the field `path`, such as model.width.

    Raises: UserError: an unknown field, or text of another type.
    """
    check_path(path)
    parser, expected = _PARSERS[type(FIELDS[path].default)]
    try:
        return parser(text)
    except (ValueError, KeyError):
        raise UserError(f"config.{path}={text!r}; {expected}") from None


def check_path(path: str) -> None:
    """Raises UserError unless `path` is a field, such as model.width."""
    if path in FIELDS:
        return
    below = [name for name in FIELDS if name.startswith(f"{path}.")]
    if below:
        raise UserError(
            f"config.{path} is a group of fields; one field is expected, as "
            f"config.{below[0]}; add --show_config to the command for a list"
        )
    same_name = paths_of(path.split(".")[-1])
    otherwise = "add --show_config to the command for a list"
    hint = suggestion(path, FIELDS, otherwise)
    if hint == otherwise and same_name:
        hint = f"did you mean {' or '.join(same_name)}?"
    raise UserError(f"unknown config field {path}; {hint}")


def experiment_words(words: str, known: tuple[str, ...]) -> set[str]:
    """Returns the set of comma-separated `words` of `--config FILE:words`.

    Raises: UserError for a word that is not in `known`.
    """
    given = [word.strip() for word in words.split(",") if word.strip()]
    for word in given:
        if word not in known:
            raise UserError(
                f"unknown word {word!r} after the experiment file; known words: "
                f"{', '.join(known)}; remove it or use one of these"
            )
    return set(given)
