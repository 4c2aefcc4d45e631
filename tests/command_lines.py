"""Parses and runs command lines in this process as their commands would."""

import importlib
from collections.abc import Sequence
from types import ModuleType

from gpt1_jax import terminal


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
    """Runs the command of a module with these flags; a list repeats its flag."""
    argv = [command.__name__]
    for name, given in flags.items():
        several = given if isinstance(given, list) else [given]
        argv += [f"--{name}={value}" for value in several]
    parse(argv)
    try:
        command.main(*([[str(given) for given in positionals]] if positionals else []))
    finally:
        terminal.use_stderr(False)
