"""The training loop: every job that trains calls `fit`.

It asks for batches, runs the step, and logs, evaluates and saves when each is due. It
reads a step's metrics after the next step has been dispatched, so that the devices
never wait for the host.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, Protocol

import jax

from gpt1_jax import errors, terminal
from gpt1_jax.config import TrainConfig
from gpt1_jax.distributed import preemption
from gpt1_jax.training.losses import Sums
from gpt1_jax.training.step import TrainState

# A run fails after this many skipped steps in a row.
MAX_SKIPPED_IN_A_ROW = 10


class Log(Protocol):
    """The record that `fit` keeps, such as workdirs.metrics_log.MetricsLog.

    last_row: the row of the step that the run resumes at; {} if there is none.
    """

    last_row: dict[str, float]

    @property
    def skipped_steps(self) -> Sequence[int]:
        """The skipped steps in order, with those of the processes before a resume."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Appends the row of `step`."""

    def replace_last(self, row: dict[str, float]) -> None:
        """Writes the row of the resumed step again, before any other row."""

    def add_skipped(
        self, step: int, values: Mapping[str, float], contents: dict[str, list[int]]
    ) -> None:
        """Records a skipped step: its metrics, and what its batch held."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What the loop runs and calls. A `step` is the number of steps taken before.

    train_step: compiled, and donates its state.
    batch_at: step -> sharded batch.
    evaluate: params -> {metric: value}.
    save: starts saving a state, with its value of the metric `best_by` if it has one.
    tokens_at: step -> the number of tokens in its batch, without padding.
    eval_steps: steps to evaluate after, besides those that the config sets.
    set_score: sets the value of `best_by` for a step that was saved without it.
    contents: step -> what its batch holds, for the record of a skipped step.
    compile_seconds: returns how long compiling `train_step` has taken so far.
    """

    train_step: Callable[[TrainState, Any], tuple[TrainState, Sums]]
    batch_at: Callable[[int], Any]
    evaluate: Callable[[Any], dict[str, float]]
    save: Callable[[TrainState, float | None], None]
    total_steps: int
    tokens_at: Callable[[int], int]
    eval_steps: Container[int] = ()
    best_by: str = ""
    set_score: Callable[[int, float], None] = lambda step, score: None
    contents: Callable[[int], dict[str, list[int]]] = lambda step: {}
    compile_seconds: Callable[[], float] = lambda: 0.0


def fit(state: TrainState, job: Job, cfg: TrainConfig, log: Log) -> TrainState:
    """Trains from `state` until exactly `job.total_steps` steps are taken.

    The row of a step is written before its checkpoint, so that no resume misses a row.
    `tokens_per_second` leaves out evaluation, saving and compiling. With `job.best_by`
    every evaluated step is saved, so that the best one can be kept.
    Raises: RunFailed: too many steps in a row were skipped, or a score is not finite;
            that step is not saved. Preempted: a signal asked to stop; the last finished
            step is saved, and the resume repeats an evaluation that was cut short.
    """
    first = int(state.step)
    with preemption.recorded_signals(), _progress(job, first) as bar:
        reporter = _Reporter(job, cfg, log, bar, first)
        if _lacks_scores(log.last_row) and _is_eval(job, cfg, first):
            try:
                reporter.complete(first, state.params)
            except preemption.StopRequested:
                raise _preempted(first) from None
        unread: tuple[int, Sums] | None = None
        for step in range(first + 1, job.total_steps + 1):
            state, sums = job.train_step(state, job.batch_at(step - 1))
            if unread:
                reporter.report(*unread)
            unread = (step, sums)
            is_last = step == job.total_steps
            # Asked once a step: the next step handles a signal that comes later.
            is_stop = preemption.is_stop_requested(step)
            is_eval = _is_eval(job, cfg, step)
            is_save = is_last or is_stop or _is_save(job, cfg, step)
            scores: dict[str, float] = {}
            if is_eval or is_save:
                try:
                    scores = reporter.report(
                        step, sums, state.params if is_eval else None
                    )
                except preemption.StopRequested:
                    is_save = is_stop = True
                    is_last = False
                unread = None
            if is_save:
                job.save(state, scores.get(job.best_by))
            if is_eval or is_save:
                reporter.resume_clock()
            if is_stop and not is_last:
                raise _preempted(step)
    return state


def _is_eval(job: Job, cfg: TrainConfig, step: int) -> bool:
    """Says whether the state after `step` steps is evaluated."""
    is_last = step == job.total_steps
    return is_last or _is_due(cfg.eval_every_steps, step) or step in job.eval_steps


def _is_save(job: Job, cfg: TrainConfig, step: int) -> bool:
    """Says whether the state after `step` is saved, even if it is not the last."""
    return (
        (bool(job.best_by) and _is_eval(job, cfg, step))
        or _is_due(cfg.checkpoint_every_steps, step)
        or step in cfg.keep_at_steps
    )


def _is_due(every: int, step: int) -> bool:
    """Says whether something done every `every` steps is due; 0 means never."""
    return every > 0 and step % every == 0


def _lacks_scores(row: dict[str, float]) -> bool:
    """Says whether a row was written without the scores of an evaluation."""
    return bool(row) and not any(name.startswith("eval/") for name in row)


def _preempted(step: int) -> errors.Preempted:
    return errors.Preempted(
        f"stopped at step {step} and saved; the same command goes on"
    )


class _Reporter:
    """Reads a step's metrics, handles skipped steps, writes the row and the bar."""

    def __init__(self, job: Job, cfg: TrainConfig, log: Log, bar: Any, first: int):
        self._job, self._cfg, self._log, self._bar = job, cfg, log, bar
        self._shown_rate = ""
        self._start_interval(first)

    def _start_interval(self, step: int) -> None:
        """Restarts the measurement of tokens_per_second after `step`."""
        self._interval_step, self._tokens, self._seconds = step, 0, 0.0
        self._compile_seconds = self._job.compile_seconds()
        self.resume_clock()

    def resume_clock(self) -> None:
        """Restarts the clock of tokens_per_second."""
        self._clock = time.monotonic()

    def _pause_clock(self) -> None:
        """Stops the clock before work that is not training."""
        now = time.monotonic()
        self._seconds, self._clock = self._seconds + now - self._clock, now

    def report(self, step: int, sums: Sums, params: Any = None) -> dict[str, float]:
        """Waits for `step`, evaluates `params` if given, and writes the row if due.

        It must be called for each step, in order.
        Returns: all metrics of the step.
        Raises:  StopRequested: the evaluation was cut short; the row lacks its scores.
        """
        row = {f"train/{name}": value for name, value in _means(sums).items()}
        if "train/skipped" in row:
            row = self._record_skip(step, row)
        _check_finite(step, row)
        self._pause_clock()
        self._tokens += self._job.tokens_at(step - 1)
        if step > self._interval_step + 1:  # a rate over one step is mostly noise
            self._shown_rate = f", {self._rate():,.0f} tokens/s"
        loss = row.get("train/loss", math.nan)
        self._bar.note(f"loss {loss:.3f}{self._shown_rate}")
        self._bar.advance()
        if params is None and not _is_due(self._cfg.log_every_steps, step):
            return row
        row["train/tokens_per_second"] = self._rate()
        try:
            if params is not None:
                row |= self._scores(step, params, loss)
        except preemption.StopRequested:  # the resume completes the row
            self._log.write(step, row)
            raise
        self._log.write(step, row)
        self._start_interval(step)
        return row

    def complete(self, step: int, params: Any) -> None:
        """Evaluates the step that a run resumes at, and completes its row."""
        row = self._log.last_row
        row |= self._scores(step, params, row.get("train/loss", math.nan))
        if self._job.best_by:
            self._job.set_score(step, row[self._job.best_by])
        self._log.replace_last(row)
        self.resume_clock()

    def _scores(self, step: int, params: Any, loss: float) -> dict[str, float]:
        """Returns the metrics of an evaluation, and prints them."""
        scores = self._job.evaluate(params)
        _check_finite(step, scores)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        terminal.say(f"step {step}: train/loss {loss:.4f}, {shown}")
        return scores

    def _record_skip(self, step: int, row: dict[str, float]) -> dict[str, float]:
        """Returns the finite values of `row` and the number of steps skipped so far."""
        if row["train/skipped"]:
            self._log.add_skipped(step, row, self._job.contents(step - 1))
            row = {name: value for name, value in row.items() if math.isfinite(value)}
        skipped = self._log.skipped_steps
        first = step - MAX_SKIPPED_IN_A_ROW + 1
        if all(number in skipped for number in range(first, step + 1)):
            raise errors.RunFailed(
                f"steps {first} to {step} were skipped, as a loss or a gradient was "
                "not finite in each; lower config.optim.peak_learning_rate or lengthen "
                "the warm-up"
            )
        return row | {"train/skipped": float(len(skipped))}

    def _rate(self) -> float:
        """Returns the tokens per second since the last row, without compiling."""
        compiling = self._job.compile_seconds() - self._compile_seconds
        return self._tokens / max(self._seconds - compiling, 1e-9)


def _means(sums: Sums) -> dict[str, float]:
    return {
        name: float(total) / float(count)
        for name, (total, count) in jax.device_get(sums).items()
    }


def _check_finite(step: int, row: dict[str, float]) -> None:
    """Raises RunFailed with the name of the first metric that is not finite."""
    for name, value in row.items():
        if not math.isfinite(value):
            raise errors.RunFailed(
                f"{name} is {value} at step {step}; this step was not saved; lower "
                "config.optim.peak_learning_rate or lengthen the warm-up"
            )


def _progress(job: Job, first: int) -> contextlib.AbstractContextManager:
    return terminal.progress("training", job.total_steps, done=first, unit="steps")
