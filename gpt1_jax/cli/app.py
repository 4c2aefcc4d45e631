"""The frame of every command: flags, --help, errors in one line, exit codes.

A command is a module with its own flags (a FlagValues, so that several commands can be
imported into one process), a docstring that is its help, and a `main()`.
"""

import dataclasses
import errno
import functools
import inspect
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

from absl import flags
from absl import logging as absl_logging

from gpt1_jax import __version__, errors, terminal
from gpt1_jax.config import COMPUTE_DTYPES, paths_of
from gpt1_jax.errors import UserError, suggestion


def define_required(
    name: str, meaning: str, flag_values: flags.FlagValues
) -> flags.FlagHolder[str]:
    """Defines a flag for a string that the user has to give."""
    return flags.DEFINE_string(
        name, None, meaning, required=True, flag_values=flag_values
    )


def define_checkpoint(
    flag_values: flags.FlagValues, what: str = "A workdir"
) -> flags.FlagHolder[str]:
    """Defines --checkpoint, for commands that use a trained model."""
    meaning = f"{what}, or its checkpoints/STEP."
    return define_required("checkpoint", meaning, flag_values)


def define_fields(
    config_class: type, names: tuple[str, ...], flag_values: flags.FlagValues
) -> Callable[[], dict[str, Any]]:
    """Defines a flag for each named field of a config, as the field declares it.

    Returns: a function that returns the values of the flags by name.
    """
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    for name in names:
        default: Any = fields[name].default
        facts = fields[name].metadata
        arguments: list[Any] = [name, default]
        if facts["choices"]:
            arguments.append(facts["choices"])
        define: Any = flags.DEFINE_enum if facts["choices"] else flags.DEFINE_string
        if isinstance(default, bool):
            define = flags.DEFINE_boolean
        elif not isinstance(default, str):
            is_float = isinstance(default, float)
            define = flags.DEFINE_float if is_float else flags.DEFINE_integer
        bounds = facts["range"] or ()
        # A line of help has room for the first clause.
        meaning = re.split("[;:]", facts["meaning"])[0]
        define(*arguments, meaning, *bounds, flag_values=flag_values)
    return lambda: {name: flag_values[name].value for name in names}


def define_compute_dtype(flag_values: flags.FlagValues) -> flags.FlagHolder[str]:
    """Defines --compute_dtype, for commands that can replace the run's format."""
    return flags.DEFINE_enum(
        "compute_dtype",
        "",
        ("", *COMPUTE_DTYPES),
        "Number format; empty: the run's.",
        flag_values=flag_values,
    )


def run(
    main: Callable[..., None],
    flag_values: flags.FlagValues,
    *,
    positionals: str = "",
    is_resumable: bool = False,
) -> None:
    """Parses sys.argv into `flag_values`, runs `main` and exits.

    Args: positionals: the name of the positional arguments, such as WORKDIR; `main`
          takes the list of them, which is empty only if the name is in brackets, as
          [DIR]. If "", `main` takes nothing.
          is_resumable: whether the same command resumes interrupted work.
    """
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("jax").setLevel(logging.ERROR)
    warnings.showwarning = _show_warning
    # SIGTERM acts as Ctrl-C, except in a training loop, which handles it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "--version" in sys.argv[1:]:
        terminal.say(f"gpt1_jax {__version__}")
        sys.exit(errors.DONE)
    if {"-h", "--help", "-help", "--helpfull"} & set(sys.argv[1:]):
        terminal.say(_help(inspect.getmodule(main), flag_values))
        sys.exit(errors.DONE)
    try:
        code, arguments = _parse_flags(flag_values, positionals)
        if code == errors.DONE:
            code = _run(functools.partial(main, arguments) if positionals else main)
    except KeyboardInterrupt:
        resumes = "the same command resumes where this one stopped"
        nothing = "no output was written"
        terminal.say(f"interrupted; {resumes if is_resumable else nothing}")
        terminal.flush()
        # sys.exit would wait for the writes of other threads.
        os._exit(errors.PREEMPTED)
    sys.exit(code)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Shows a library's warning in one line, as this package's are."""
    terminal.warn(" ".join(str(message).split()))


def _parse_flags(
    flag_values: flags.FlagValues, positionals: str
) -> tuple[int, list[str]]:
    """Returns the exit code and the positional arguments; prints any mistake."""
    try:
        rest = flag_values(sys.argv)[1:]
    except (flags.Error, UserError) as error:
        return _mistake(_readable(error, flag_values)), []
    if rest and not positionals:
        given = " ".join(rest)
        mistake = (
            f"unexpected argument {given!r}; only flags are allowed; write --NAME=VALUE"
        )
        return _mistake(mistake), []
    if positionals and not rest and not positionals.startswith("["):
        mistake = f"no {positionals}; at least one is needed; --help shows an example"
        return _mistake(mistake), []
    return errors.DONE, rest


def _readable(error: Exception, flag_values: flags.FlagValues) -> str:
    """Returns one line about a mistake in the flags."""
    if isinstance(error, flags.UnrecognizedFlagError):
        return f"unknown flag --{error.flagname}; {_near(error.flagname, flag_values)}"
    missing = [name for name in flag_values if flag_values[name].value is None]
    if isinstance(error, flags.IllegalFlagValueError) and missing:
        return f"--{missing[0]} is missing; it has no default; --help shows an example"
    return " ".join(str(error).split())


def _near(name: str, flag_values: flags.FlagValues) -> str:
    """Returns a hint at the flag or config field that `name` may stand for."""
    if same := paths_of(name):
        return f"did you mean {' or '.join(f'--config.{path}' for path in same)}?"
    known = [f"--{flag}" for flag in flag_values]
    return suggestion(f"--{name}", known, "--help lists the flags")


def _run(main: Callable[[], None]) -> int:
    """Runs `main`; prints its error, if any, in one line; returns the exit code.

    An error keeps its traceback if GPT1_JAX_TRACEBACK=1 is in the environment. A bug
    always keeps it.
    """
    try:
        main()
        return errors.DONE
    except errors.Preempted as error:
        terminal.say(str(error))
        return errors.PREEMPTED
    except (UserError, errors.RunFailed, OSError) as error:
        if os.environ.get("GPT1_JAX_TRACEBACK"):
            raise
        if isinstance(error, UserError):
            return _mistake(str(error))
        if isinstance(error, errors.RunFailed):
            return _failure(str(error))
        return _failure(f"{_named(error)}; {_remedy(error)}, then run again")
    except RuntimeError as error:
        if os.environ.get("GPT1_JAX_TRACEBACK") or not _is_out_of_memory(error):
            raise
        return _failure(
            f"the device's memory is full: {str(error).splitlines()[0]}; see what else "
            "runs there, raise config.train.accumulation_steps, set "
            "config.train.remat=True, or lower the batch size"
        )


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Returns whether XLA ran out of memory; works without importing JAX.

    RESOURCE_EXHAUSTED alone does not decide: orbax reports a full disk so.
    """
    message = str(error)
    return message.startswith("RESOURCE_EXHAUSTED") and "memory" in message


def _remedy(error: OSError) -> str:
    """Returns what to do about a system error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free space"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "get the right to write there, or name another path"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "raise `ulimit -n`"
    return "free space or check the path"


def _named(error: OSError) -> str:
    """Returns the text of a system error, with the path that it is about."""
    notes = getattr(error, "__notes__", [])
    return " ".join([str(error), *notes] if error.filename is None else [str(error)])


def _mistake(message: str) -> int:
    terminal.error(message)
    return errors.MISTAKE


def _failure(message: str) -> int:
    terminal.error(message)
    return errors.FAILED


def _help(module: ModuleType | None, flag_values: flags.FlagValues) -> str:
    """Returns a command's docstring, and a line for each of its flags."""
    lines = [inspect.getdoc(module) or "", "", "Flags:"]
    for flag in (flag_values[name] for name in flag_values):
        # absl appends a line to the help of each flag that may be repeated.
        text = flag.help.partition(";\n")[0]
        if isinstance(flag, flags.MultiFlag):
            text += " May be repeated."
        is_shown = flag.default not in (None, "", False) and flag.default != []
        default = f" (default: {flag.default})" if is_shown else ""
        # A required flag has a validator and no default.
        must = " (required)" if flag.validators and flag.default is None else ""
        lines.append(f"  --{flag.name}: {text}{default or must}")
    return "\n".join(lines)
