"""Declares config fields: their roles, and the metadata that the rules need."""

import dataclasses
import enum
import functools
from typing import Any

_LARGEST_INT = 2**31 - 1


class Role(enum.StrEnum):
    """The purpose of a field, from which the rules about it follow."""

    # Defines the model. Every run that starts from the model inherits it.
    ARCHITECTURE = "architecture"
    # Dropout. Changes the numbers of a run. An evaluation inherits it.
    REGULARISATION = "regularisation"
    # Selects the data. Checkpoints contain a hash of the data itself.
    DATA = "data"
    # Changes the numbers of a run in any other way.
    TRAJECTORY = "trajectory"
    # Changes how a run is computed, and its numbers by rounding only. Free on resume.
    EXECUTION = "execution"
    # Changes what is logged, evaluated, saved and kept. Free on resume.
    LOGGING = "logging"


def field(
    role: Role,
    default: Any,
    meaning: str,
    source: str = "",
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    may_grow: bool = False,
) -> Any:
    """Declares a config field.

    Args: source: the place in the paper or its code that gives the default.
          choices: the allowed strings; empty: all.
          low, high: the closed range of a number, or of each element of a tuple; by
          default from 1 for integers, above 0 for floats.
          may_grow: True for a length of training that a resumed run may raise if the
          schedule does not depend on it; it is not in the fingerprint.
    """
    is_integer = isinstance(default, int | tuple)
    if low is None:
        low = 1 if is_integer else 1e-30
    if high is None:
        high = _LARGEST_INT if is_integer else 1e30
    metadata = {
        "role": role,
        "meaning": meaning,
        "source": source,
        "choices": choices,
        "range": None if isinstance(default, str | bool) else (low, high),
        "may_grow": may_grow,
    }
    return dataclasses.field(default=default, metadata=metadata)


architecture = functools.partial(field, Role.ARCHITECTURE)
dropout = functools.partial(field, Role.REGULARISATION, low=0.0, high=0.99)
data = functools.partial(field, Role.DATA)
trajectory = functools.partial(field, Role.TRAJECTORY)
execution = functools.partial(field, Role.EXECUTION)
logging = functools.partial(field, Role.LOGGING)
