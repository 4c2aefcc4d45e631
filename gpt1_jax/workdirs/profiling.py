"""A trace of a few training steps, for TensorBoard's profile plugin and for Perfetto.

Steps are slower while they are traced, and so are the rates that are logged.
"""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from gpt1_jax import terminal
from gpt1_jax.distributed import multihost
from gpt1_jax.training.losses import Sums
from gpt1_jax.training.step import TrainState
from gpt1_jax.workdirs import workdir as workdir_lib

# The first steps of a process compile and fill caches.
WARM_UP_STEPS = 3

TrainStep = Callable[[TrainState, Any], tuple[TrainState, Sums]]


class Profile:
    """A trace of `num_steps` steps of the run in `workdir`, which starts after `first`.

    Only the first process traces. Leaving the block ends the trace. A trace that can't
    be started or written gives a warning, and the run continues.
    """

    def __init__(self, workdir: Path, num_steps: int, *, first: int):
        self._workdir = workdir
        self._num_steps = num_steps if multihost.is_first() else 0
        self._first = self._step = first
        self._begun = 0  # the first traced step while a trace runs, else 0

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: Any) -> None:
        self._end()

    def traced(self, train_step: TrainStep, total_steps: int) -> TrainStep:
        """Returns `train_step` with tracing, for each step up to `total_steps`.

        It waits for the devices before and after the trace, so that the trace has all
        work of its steps and no other.
        """
        left = total_steps - self._first
        if not self._num_steps or not left:
            return train_step
        if left <= WARM_UP_STEPS:
            terminal.warn(
                f"config.train.profile_steps={self._num_steps}: no profile, because "
                f"the first {WARM_UP_STEPS} of a process's steps are not traced and "
                f"only {left} are left"
            )
            return train_step
        begin = self._first + WARM_UP_STEPS + 1
        end = min(begin + self._num_steps - 1, total_steps)

        def run(state: TrainState, batch: Any) -> tuple[TrainState, Sums]:
            self._step += 1
            if self._step == begin:
                jax.block_until_ready(state)
                self._begin()
            with jax.profiler.StepTraceAnnotation("train", step_num=self._step):
                result = train_step(state, batch)
            if self._step == end:
                jax.block_until_ready(result)
                self._end()
            return result

        return run

    def _begin(self) -> None:
        with self._warning():
            jax.profiler.start_trace(self._workdir / workdir_lib.PROFILE_DIR)
            self._begun = self._step

    def _end(self) -> None:
        begun, self._begun = self._begun, 0
        if not begun:
            return
        with self._warning():
            jax.profiler.stop_trace()
            terminal.say(
                f"profile: steps {begun} to {self._step} are in "
                f"{self._workdir / workdir_lib.PROFILE_DIR}; tensorboard --logdir "
                f"{shlex.quote(str(self._workdir))} shows them, and ui.perfetto.dev "
                "opens the trace.json.gz there"
            )

    @contextlib.contextmanager
    def _warning(self) -> Iterator[None]:
        """Turns an error of JAX, such as a file that it can't write, into a warning."""
        try:
            yield
        except RuntimeError as error:
            directory = self._workdir / workdir_lib.PROFILE_DIR
            terminal.warn(f"no profile in {directory}: {error}")
