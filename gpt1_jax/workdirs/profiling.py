"""A trace of a few training steps, for TensorBoard's profile plugin and for Perfetto.

It says nothing of what a trace shows; the rates that are logged meanwhile are slower.
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

# The first steps of a process compile, and fill caches.
WARM_UP_STEPS = 3

TrainStep = Callable[[TrainState, Any], tuple[TrainState, Sums]]


class Profile:
    """A trace of `num_steps` steps of the run in `workdir`, which goes on at `first`.

    Only the first process traces. A trace that is still on is ended as the block is.
    One that can't be begun or written is warned of, and costs nothing else.
    """

    def __init__(self, workdir: Path, num_steps: int, *, first: int):
        self._workdir, self._num_steps = (
            workdir,
            num_steps if multihost.is_first() else 0,
        )
        self._first = self._step = first
        self._begun = 0  # the first step of the trace that is on; 0: none is

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: Any) -> None:
        self._end()

    def traced(self, train_step: TrainStep, total_steps: int) -> TrainStep:
        """`train_step`, to be called for each step from `first` to `total_steps`.

        It waits for the devices before the trace and at its end, so that the trace
        holds the work of its steps, all of it, and what the host does between them.
        """
        left = total_steps - self._first
        if not self._num_steps or not left:
            return train_step
        if left <= WARM_UP_STEPS:
            terminal.warn(
                f"config.train.profile_steps={self._num_steps}: no profile, as of the "
                f"{left} steps left the first {WARM_UP_STEPS} are not traced"
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
        """Goes on after JAX's errors, which it gives for files that it can't write."""
        try:
            yield
        except RuntimeError as error:
            directory = self._workdir / workdir_lib.PROFILE_DIR
            terminal.warn(f"no profile in {directory}: {error}")
