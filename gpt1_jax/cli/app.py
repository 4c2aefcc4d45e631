"""What every command has in common: flags, --help, errors in one line, exit codes.

A command is a module with flags of its own (a FlagValues, so that commands can be
imported side by side), a docstring that is its help, and a `main()`.
"""

import functools
import inspect
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from types import ModuleType

from absl import flags
from absl import logging as absl_logging

from gpt1_jax import errors, terminal
from gpt1_jax.config import COMPUTE_DTYPES, RunConfig, flatten
from gpt1_jax.errors import UserError

# How absl and ml_collections quote a ValueError or TypeError of a get_config.
_TRACEBACK = "Traceback (most recent call last)"
_QUOTED_USER_ERROR = f"\n{UserError.__module__}.{UserError.__qualname__}: "


def define_checkpoint(
    flag_values: flags.FlagValues, what: str = "A workdir"
) -> flags.FlagHolder[str]:
    """The flag of a command that uses a trained model."""
    return flags.DEFINE_string(
        "checkpoint",
        None,
        f"{what}, or its checkpoints/STEP.",
        required=True,
        flag_values=flag_values,
    )


def define_compute_dtype(flag_values: flags.FlagValues) -> flags.FlagHolder[str]:
    """The flag of a command that may compute in another format than the run."""
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
    """Parses sys.argv into `flag_values`, runs `main`, exits.

    Args: positionals: what each argument that is no flag stands for, as WORKDIR; `main`
          then takes the list of them, at least one. "": `main` takes nothing.
          is_resumable: whether the same command goes on where one was stopped.
    """
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("jax").setLevel(logging.ERROR)
    # Where nothing else listens to it, as a training loop does, SIGTERM is Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if {"-h", "--help", "-help", "--helpfull"} & set(sys.argv[1:]):
        print(_help(inspect.getmodule(main), flag_values))
        sys.exit(errors.DONE)
    try:
        code, arguments = _parse_flags(flag_values, positionals)
        if code == errors.DONE:
            code = _run(functools.partial(main, arguments) if positionals else main)
    except KeyboardInterrupt:
        goes_on = "the same command goes on where this one stopped"
        nothing = "what it was to write has not been written"
        terminal.say(f"interrupted; {goes_on if is_resumable else nothing}")
        terminal.flush()
        # At once: an ordinary exit waits for what other threads are writing.
        os._exit(errors.PREEMPTED)
    sys.exit(code)


def _parse_flags(
    flag_values: flags.FlagValues, positionals: str
) -> tuple[int, list[str]]:
    """Parses sys.argv; prints a mistake. Returns the exit code and the positionals."""
    try:
        rest = flag_values(sys.argv)[1:]
        flag_values.validate_all_flags()
    except (flags.Error, AttributeError, OSError, ValueError, KeyError) as error:
        if _is_bug_of_experiment(error):
            raise
        return _mistake(_readable(error)), []
    if rest and not positionals:
        given = " ".join(rest)
        mistake = f"unexpected argument {given!r}; only flags; write --NAME=VALUE"
        return _mistake(mistake), []
    if positionals and not rest:
        mistake = f"no {positionals}; at least one is needed; --help shows an example"
        return _mistake(mistake), []
    return errors.DONE, rest


def _is_bug_of_experiment(error: Exception) -> bool:
    """Whether the code of an experiment file failed, by no UserError that it raises."""
    if _TRACEBACK in str(error):
        return _QUOTED_USER_ERROR not in str(error)
    frames = traceback.extract_tb(error.__traceback__)
    in_experiment = any(frame.name == "get_config" for frame in frames)
    return in_experiment and "Did you mean" not in str(error)


def _readable(error: Exception) -> str:
    """One line of a flag's or config flag's error."""
    message = str(error).strip()
    missing = re.search(r"Flag --(\w+) must have a value", message)
    if missing:
        return f"--{missing[1]} is missing; it has no default; --help shows an example"
    near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', message)
    if near:
        return f"unknown config field {near[2]!r}; Did you mean {near[1]!r}?"
    if "no attribute 'get_config'" in message:
        return (
            "the experiment file has no get_config; a function of the words after the "
            "colon that returns a ConfigDict is expected; add it"
        )
    if isinstance(error, AttributeError | KeyError):
        return f"unknown config field: {' '.join(message.split())}"
    if _QUOTED_USER_ERROR in message:
        return message.rpartition(_QUOTED_USER_ERROR)[2]
    last = message.splitlines()[-1].strip() if message else repr(error)
    if isinstance(error, OSError):
        return (
            f"no experiment file: {last}; a Python file with get_config(words) is "
            "expected; check the path after --config"
        )
    if "invalid literal for int()" in message:
        return f"{' '.join(message.split())}; an integer is expected; write 1000"
    if isinstance(error, flags.UnrecognizedFlagError) and "Did you" not in message:
        return f"unknown flag --{error.flagname}; {_nearest_field(error.flagname)}"
    return " ".join(message.split())


def _nearest_field(name: str) -> str:
    """What a flag that there is not may have been meant to be."""
    paths = [path for path in flatten(RunConfig()) if path.split(".")[-1] == name]
    if paths:
        return f"did you mean {' or '.join(f'--config.{path}' for path in paths)}?"
    return "--help lists them"


def _run(main: Callable[[], None]) -> int:
    """Runs `main`; prints how it failed, if it did, and returns its exit code.

    With GPT1_JAX_TRACEBACK=1 in the environment an error keeps its traceback, as a bug
    always does.
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
        return _failure(
            f"{_named(error)}; free space or check the path, then run again"
        )
    except RuntimeError as error:
        if os.environ.get("GPT1_JAX_TRACEBACK") or not _is_out_of_memory(error):
            raise
        return _failure(
            f"the device's memory is full: {str(error).splitlines()[0]}; see what else "
            "runs there, raise config.train.accumulation_steps, set "
            "config.train.remat=True, or lower the batch size"
        )


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether XLA says so. Its error is a RuntimeError: JAX need not be imported.

    A full disk is exhausted too, in what orbax writes with.
    """
    said = str(error)
    return said.startswith("RESOURCE_EXHAUSTED") and "memory" in said


def _named(error: OSError) -> str:
    """An error of the system, with the path that writing had been about."""
    notes = getattr(error, "__notes__", [])
    return " ".join([str(error), *notes] if error.filename is None else [str(error)])


def _mistake(message: str) -> int:
    _print_error(message)
    return errors.MISTAKE


def _failure(message: str) -> int:
    _print_error(message)
    return errors.FAILED


def _print_error(message: str) -> None:
    terminal.flush()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)


def _help(module: ModuleType | None, flag_values: flags.FlagValues) -> str:
    lines = [inspect.getdoc(module) or "", "", "Flags:"]
    for flag in (flag_values[name] for name in flag_values):
        # absl says on a line of its own what it says of each flag that may be repeated.
        text = flag.help.partition(";\n")[0]
        if isinstance(flag, flags.MultiFlag):
            text += " May be repeated."
        default = (
            "" if flag.default in (None, "", []) else f" (default: {flag.default})"
        )
        # Only a flag that must be given has a validator: that it is no None.
        must = " (required)" if flag.validators else ""
        lines.append(f"  --{flag.name}: {text}{default or must}")
    return "\n".join(lines)
