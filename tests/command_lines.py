"""Parses and runs command lines in this process as their commands would."""

import importlib
from collections.abc import Sequence
from types import ModuleType


def parse(argv: Sequence[str]) -> ModuleType:
    """Returns the module of `python -m MODULE FLAGS` with its flags set.

    Flags of an earlier call have no effect.

    Args: argv: the module's name, then its flags and arguments.
    """
    module = importlib.import_module(argv[0])
    values = module._FLAGS
    values.unparse_flags()
    for name in values:
        values[name].unparse()
    values(argv)
    return module


def run(command: ModuleType, *positionals: object, **flags: object) -> None:
    """Runs the command of a module with these flags."""
    parse([command.__name__, *(f"--{name}={value}" for name, value in flags.items())])
    command.main(*([[str(given) for given in positionals]] if positionals else []))
