"""How a command ends: its exit codes, and the exceptions that stand for them.

A user's mistake is no class of its own: it is a ValueError or FileNotFoundError that
this package raises.
"""

DONE, FAILED, MISTAKE, PREEMPTED = 0, 1, 2, 75


class RunFailed(RuntimeError):
    """The run can't go on, through no mistake in its command; exit code 1."""


class Preempted(RuntimeError):
    """The run was asked to stop and has saved its state; exit code 75."""
