"""What every command has in common: flags, --help, errors in one line, exit codes.

A command is a module with flags, a docstring that is its help, and a `main()`.
"""

import inspect
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from absl import flags
from absl import logging as absl_logging

from gpt1_jax import exits, terminal

_PACKAGE = Path(__file__).parent


def run(main: Callable[[], None]) -> None:
    """Parses the flags of the module that `main` is in, runs it, exits."""
    module = inspect.getmodule(main)
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("jax").setLevel(logging.ERROR)
    if {"-h", "--help", "-help", "--helpfull"} & set(sys.argv[1:]):
        print(_help(module))
        sys.exit(exits.DONE)
    try:
        code = _parse_flags() or _run(main)
    except KeyboardInterrupt:
        terminal.say("interrupted; the same command goes on where this one stopped")
        code = exits.PREEMPTED
    sys.exit(code)


def _parse_flags() -> int:
    """Parses sys.argv; prints a mistake and returns its exit code."""
    try:
        rest = flags.FLAGS(sys.argv)[1:]
        flags.FLAGS.validate_all_flags()
        if rest:
            given = " ".join(rest)
            return _mistake(
                f"unexpected argument {given!r}; only flags; write --NAME=VALUE"
            )
        return exits.DONE
    except (flags.Error, AttributeError, OSError, ValueError, KeyError) as error:
        return _mistake(_readable(error))


def _readable(error: Exception) -> str:
    """One line of a flag's or config flag's error."""
    message = str(error).strip()
    near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', message)
    if near:
        return f"unknown config field {near[2]!r}; Did you mean {near[1]!r}?"
    if isinstance(error, AttributeError | KeyError):
        return f"unknown config field: {' '.join(message.split())}"
    last = message.splitlines()[-1].strip() if message else repr(error)
    if "Traceback" in message:  # of an experiment file's get_config
        return last.removeprefix("ValueError: ")
    if isinstance(error, OSError):
        return f"no experiment file: {last}; check the path after --config"
    return " ".join(message.split())


def _run(main: Callable[[], None]) -> int:
    try:
        main()
        return exits.DONE
    except exits.Preempted as error:
        terminal.say(str(error))
        return exits.PREEMPTED
    except exits.RunFailed as error:
        return _failure(str(error))
    except (ValueError, FileNotFoundError) as error:
        if not _raised_here(error):
            raise
        return _mistake(str(error))
    except OSError as error:
        if os.environ.get("GPT1_JAX_TRACEBACK"):
            raise
        return _failure(f"{error}; free space or check the path, then run again")


def _raised_here(error: Exception) -> bool:
    """Whether this package raised `error` itself: then it is the user's mistake."""
    if os.environ.get("GPT1_JAX_TRACEBACK"):
        return False
    # A worker process's error carries its origin as its cause, not as frames.
    frames = traceback.extract_tb(error.__traceback__)
    origin = Path(frames[-1].filename)
    return _PACKAGE in origin.parents or "concurrent" in origin.parts


def _mistake(message: str) -> int:
    _print_error(message)
    return exits.MISTAKE


def _failure(message: str) -> int:
    _print_error(message)
    return exits.FAILED


def _print_error(message: str) -> None:
    terminal.flush()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)


def _help(module: ModuleType | None) -> str:
    lines = [inspect.getdoc(module) or "", "", "Flags:"]
    for flag in flags.FLAGS.get_flags_for_module(module):
        default = "" if flag.default in (None, "") else f" (default: {flag.default})"
        lines.append(f"  --{flag.name}: {flag.help}{default}")
    return "\n".join(lines)
