"""Exit codes of the commands, and the exceptions that lead to them."""

import difflib
from collections.abc import Iterable, Sequence

DONE, FAILED, MISTAKE, PREEMPTED = 0, 1, 2, 75


class UserError(ValueError):
    """The user's input cannot be used; exit code 2.

    The message is one line: what was given; what is allowed; what to do.
    """


class OtherRun(UserError):
    """A UserError about a workdir that holds another run; exit code 2.

    arguments: those that the command needs in addition to another --workdir.
    """

    def __init__(self, message: str, arguments: Sequence[str] = ()):
        super().__init__(message)
        self.arguments = arguments


class NotFound(UserError, FileNotFoundError):
    """A UserError about a path where the expected thing is not; exit code 2."""


class RunFailed(RuntimeError):
    """The run failed although its command is valid; exit code 1."""


class Preempted(RuntimeError):
    """The run was told to stop and has saved its state; exit code 75."""


def exit_code(error: BaseException) -> int:
    """Returns the exit code of a command that ends with `error`."""
    if isinstance(error, UserError):
        return MISTAKE
    return PREEMPTED if isinstance(error, Preempted | KeyboardInterrupt) else FAILED


def text_of(error: BaseException) -> str:
    """Returns the text of an error, or the name of its type if it has none."""
    return str(error) or type(error).__name__


def suggestion(given: str, allowed: Iterable[str], otherwise: str) -> str:
    """Returns `did you mean X?` for the closest of `allowed`, else `otherwise`."""
    near = difflib.get_close_matches(given, list(allowed), n=1)
    return f"did you mean {near[0]}?" if near else otherwise
