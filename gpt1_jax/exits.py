"""How a command ends: its exit codes, and the exceptions that stand for them."""

DONE, FAILED, MISTAKE, PREEMPTED = 0, 1, 2, 75


class UserError(ValueError):
    """What the user gave can't be used; exit code 2.

    The message is one line: what was given; what is allowed; what to do.
    """


class NotFound(UserError, FileNotFoundError):
    """A UserError about a path that does not lead to what it should; exit code 2."""


class RunFailed(RuntimeError):
    """The run can't go on, through no mistake in its command; exit code 1."""


class Preempted(RuntimeError):
    """The run was asked to stop and has saved its state; exit code 75."""
