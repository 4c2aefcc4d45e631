"""The loop: every job that trains calls `fit`.

It asks for batches, runs the step, reads metrics one step late so that the devices
never wait for the host, and logs, evaluates and saves when it is time.
"""

import contextlib
import dataclasses
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Container, Iterator
from typing import Any

import jax

from gpt1_jax import exits, terminal
from gpt1_jax.config import TrainConfig
from gpt1_jax.training import hosts
from gpt1_jax.training.losses import Sums
from gpt1_jax.training.metrics_log import MetricsLog, NoLog
from gpt1_jax.training.state import TrainState

# Several processes ask each other whether to stop; it makes them wait for a step.
_AGREE_EVERY_STEPS = 10


@dataclasses.dataclass(frozen=True)
class Job:
    """What the loop runs and calls; step is the number of updates made before.

    train_step: compiled, donating its state. batch_at: step -> sharded batch.
    tokens_at: how many tokens, padding not among them, that batch has.
    evaluate: params -> {metric: value}. save: starts saving a state, with the value of
    the metric `best_by` where one is given and the step was evaluated.
    eval_steps: steps to evaluate after, beside the config's.
    """

    train_step: Callable[[TrainState, Any], tuple[TrainState, Sums]]
    batch_at: Callable[[int], Any]
    evaluate: Callable[[Any], dict[str, float]]
    save: Callable[[TrainState, float | None], None]
    total_steps: int
    tokens_at: Callable[[int], int]
    eval_steps: Container[int] = ()
    best_by: str = ""


def fit(
    state: TrainState, job: Job, cfg: TrainConfig, log: MetricsLog | NoLog
) -> TrainState:
    """Trains from `state` to exactly `job.total_steps` updates.

    A row of metrics.jsonl is written before the checkpoint of its step is, so that no
    resume misses one. `tokens_per_second` leaves out evaluation, saving and compiling.
    With `job.best_by` every evaluated step is saved, so that the best can be kept.
    Raises: RunFailed: a metric is not finite (nothing of it is saved). Preempted: a
            signal asked to stop; the state has been saved.
    """
    first = int(state.step)
    with _stop_requests() as stop, _progress(job, first) as bar:
        reporter = _Reporter(job, cfg, log, bar, first)
        unread: tuple[int, Sums] | None = None
        agree_every = 1 if jax.process_count() == 1 else _AGREE_EVERY_STEPS
        for step in range(first + 1, job.total_steps + 1):
            state, sums = job.train_step(state, job.batch_at(step - 1))
            if unread:
                reporter.report(*unread)
            unread = (step, sums)
            is_last = step == job.total_steps
            # Read once: a signal that comes later is for the next step to save.
            is_stop = _divides(agree_every, step) and hosts.any_says(stop.is_requested)
            is_eval = (
                is_last
                or _divides(cfg.eval_every_steps, step)
                or step in job.eval_steps
            )
            is_save = (
                is_last
                or is_stop
                or (is_eval and bool(job.best_by))
                or _divides(cfg.checkpoint_every_steps, step)
                or step in cfg.keep_at_steps
            )
            scores: dict[str, float] = {}
            if is_eval or is_save:
                scores = reporter.report(step, sums, state.params if is_eval else None)
                unread = None
            if is_save:
                job.save(state, scores.get(job.best_by))
            if is_eval or is_save:
                reporter.resume_clock()
            if is_stop and not is_last:
                raise exits.Preempted(
                    f"stopped at step {step} and saved; the same command goes on"
                )
    return state


def _divides(every: int, step: int) -> bool:
    """Whether something done every so many steps is due; 0 is never."""
    return every > 0 and step % every == 0


class _Reporter:
    """Reads a step's metrics, refuses what is not finite, writes row and bar."""

    def __init__(
        self,
        job: Job,
        cfg: TrainConfig,
        log: MetricsLog | NoLog,
        bar: Any,
        first: int,
    ):
        self._job, self._cfg, self._log, self._bar = job, cfg, log, bar
        self._shown_rate = ""
        self._start_interval(first)

    def _start_interval(self, step: int) -> None:
        """Lets tokens_per_second begin anew after `step`."""
        self._interval_step, self._tokens, self._seconds = step, 0, 0.0
        self.resume_clock()

    def resume_clock(self) -> None:
        """Lets the clock of tokens_per_second go on."""
        self._clock = time.monotonic()

    def _pause_clock(self) -> None:
        """Stops it; what comes until it goes on is no training."""
        now = time.monotonic()
        self._seconds, self._clock = self._seconds + now - self._clock, now

    def report(self, step: int, sums: Sums, evaluated: Any = None) -> dict[str, float]:
        """Waits for `step`; evaluates the parameters given; writes a row if due.

        Returns: all metrics of the step. To be called for each step, in order.
        """
        row = {f"train/{name}": value for name, value in _means(sums).items()}
        _check_finite(step, row)
        self._pause_clock()
        self._tokens += self._job.tokens_at(step - 1)
        if step > self._interval_step + 1:  # a rate over one step is mostly noise
            self._shown_rate = f", {self._rate():,.0f} tokens/s"
        loss = row["train/loss"]
        self._bar.note(f"loss {loss:.3f}{self._shown_rate}")
        self._bar.advance()
        if evaluated is None and not _divides(self._cfg.log_every_steps, step):
            return row
        row["train/tokens_per_second"] = self._rate()
        if evaluated is not None:
            row |= self._job.evaluate(evaluated)
            _check_finite(step, row)
            shown = ", ".join(f"{k} {v:.4g}" for k, v in row.items() if "eval/" in k)
            terminal.say(f"step {step}: train/loss {loss:.4f}, {shown}")
        self._log.write(step, row)
        self._start_interval(step)
        return row

    def _rate(self) -> float:
        """Tokens a second since the last row."""
        return self._tokens / max(self._seconds, 1e-9)


def _means(sums: Sums) -> dict[str, float]:
    return {
        name: float(total) / float(count)
        for name, (total, count) in jax.device_get(sums).items()
    }


def _check_finite(step: int, row: dict[str, float]) -> None:
    """Raises RunFailed naming the first metric that is infinite or no number."""
    for name, value in row.items():
        if not math.isfinite(value):
            raise exits.RunFailed(
                f"{name} is {value} at step {step}; nothing of it was saved; lower "
                "config.optim.peak_learning_rate or lengthen the warm-up"
            )


def _progress(job: Job, first: int) -> contextlib.AbstractContextManager:
    return terminal.progress("training", job.total_steps, done=first, unit="steps")


class _StopRequest:
    is_requested = False


@contextlib.contextmanager
def _stop_requests() -> Iterator[_StopRequest]:
    """Notes SIGINT and SIGTERM; a second one acts as if nobody had listened.

    Signals can only be heard in the main thread; elsewhere nothing is.
    """
    stop = _StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(number: int, frame: Any) -> None:
        stop.is_requested = True
        restore()
        os.write(2, b"\nstopping after this step; once more stops at once\n")

    for number in numbers:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        restore()
