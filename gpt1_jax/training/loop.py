"""The loop: every job that trains calls `fit`.

It asks for batches, runs the step, reads metrics one step late so that the devices
never wait for the host, and logs, evaluates and saves when it is time.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Container
from typing import Any

import jax

from gpt1_jax import errors, terminal
from gpt1_jax.config import TrainConfig
from gpt1_jax.distributed import preemption
from gpt1_jax.training.losses import Sums
from gpt1_jax.training.step import TrainState
from gpt1_jax.workdirs.metrics_log import MetricsLog, NoLog

# So many steps skipped in a row, and the run has failed.
MOST_SKIPPED = 10


@dataclasses.dataclass(frozen=True)
class Job:
    """What the loop runs and calls; step is the number of updates made before.

    train_step: compiled, donating its state. batch_at: step -> sharded batch.
    tokens_at: how many tokens, padding not among them, that batch has.
    evaluate: params -> {metric: value}. save: starts saving a state, with the value of
    the metric `best_by` where one is given and the step was evaluated. set_score: gives
    that value to a step that was saved before its evaluation ended.
    eval_steps: steps to evaluate after, beside the config's. contents: step -> what its
    batch holds, for the record of a step that was skipped.
    is_compiled: batch -> whether train_step can run it now; if not, compile prepares
    it, and the loop counts that time as no training.
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
    is_compiled: Callable[[Any], bool] = lambda batch: True
    compile: Callable[[TrainState, Any], None] = lambda state, batch: None


def fit(
    state: TrainState, job: Job, cfg: TrainConfig, log: MetricsLog | NoLog
) -> TrainState:
    """Trains from `state` to exactly `job.total_steps` updates.

    A row of metrics.jsonl is written before the checkpoint of its step is, so that no
    resume misses one. `tokens_per_second` leaves out evaluation, saving and compiling.
    With `job.best_by` every evaluated step is saved, so that the best can be kept. A
    step that was skipped, as its numbers were not finite, is noted and passed over.
    Raises: RunFailed: too many steps in a row were skipped, or a score is not finite
            (nothing of it is saved). Preempted: a signal asked to stop; the last
            finished step has been saved, its evaluation is done at the resume.
    """
    first = int(state.step)
    with preemption.noted(), _progress(job, first) as bar:
        reporter = _Reporter(job, cfg, log, bar, first)
        if log.lacks_scores(first) and _is_eval(job, cfg, first):
            try:
                reporter.complete(first, state.params)
            except preemption.Stopped:
                raise _preempted(first) from None
        unread: tuple[int, Sums] | None = None
        for step in range(first + 1, job.total_steps + 1):
            batch = job.batch_at(step - 1)
            if not job.is_compiled(batch):
                if unread:  # the devices still run it, which is training
                    reporter.report(*unread)
                    unread = None
                reporter.compile(state, batch)
            state, sums = job.train_step(state, batch)
            if unread:
                reporter.report(*unread)
            unread = (step, sums)
            is_last = step == job.total_steps
            # Read once: a signal that comes later is for the next step to save.
            is_stop = preemption.is_asked(step)
            is_eval = _is_eval(job, cfg, step)
            is_save = (
                is_last
                or is_stop
                or (is_eval and bool(job.best_by))
                or _divides(cfg.checkpoint_every_steps, step)
                or step in cfg.keep_at_steps
            )
            scores: dict[str, float] = {}
            if is_eval or is_save:
                try:
                    scores = reporter.report(
                        step, sums, state.params if is_eval else None
                    )
                except preemption.Stopped:
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
    """Whether the state after `step` is to be evaluated."""
    is_last = step == job.total_steps
    return is_last or _divides(cfg.eval_every_steps, step) or step in job.eval_steps


def _preempted(step: int) -> errors.Preempted:
    return errors.Preempted(
        f"stopped at step {step} and saved; the same command goes on"
    )


def _divides(every: int, step: int) -> bool:
    """Whether something done every so many steps is due; 0 is never."""
    return every > 0 and step % every == 0


class _Reporter:
    """Reads a step's metrics, notes what is not finite, writes row and bar."""

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

    def compile(self, state: TrainState, batch: Any) -> None:
        """Compiles the step for a batch of a new shape while the clock stands still."""
        self._pause_clock()
        self._job.compile(state, batch)
        self.resume_clock()

    def report(self, step: int, sums: Sums, evaluated: Any = None) -> dict[str, float]:
        """Waits for `step`; evaluates the parameters given; writes a row if due.

        Returns: all metrics of the step. To be called for each step, in order.
        Raises:  Stopped: the evaluation was left; the row lacks its scores.
        """
        row = {f"train/{name}": value for name, value in _means(sums).items()}
        if "train/skipped" in row:
            row = self._note_skipped(step, row)
        _check_finite(step, row)
        self._pause_clock()
        self._tokens += self._job.tokens_at(step - 1)
        if step > self._interval_step + 1:  # a rate over one step is mostly noise
            self._shown_rate = f", {self._rate():,.0f} tokens/s"
        loss = row.get("train/loss", math.nan)
        self._bar.note(f"loss {loss:.3f}{self._shown_rate}")
        self._bar.advance()
        if evaluated is None and not _divides(self._cfg.log_every_steps, step):
            return row
        row["train/tokens_per_second"] = self._rate()
        try:
            if evaluated is not None:
                row |= self._scores(step, evaluated, loss)
        except preemption.Stopped:  # the row is completed at the resume
            self._log.write(step, row)
            raise
        self._log.write(step, row)
        self._start_interval(step)
        return row

    def complete(self, step: int, evaluated: Any) -> None:
        """Evaluates the step that a run resumes at, and completes its row."""
        row = self._log.last_row
        row |= self._scores(step, evaluated, row.get("train/loss", math.nan))
        if self._job.best_by:
            self._job.set_score(step, row[self._job.best_by])
        self._log.replace_last(row)
        self.resume_clock()

    def _scores(self, step: int, evaluated: Any, loss: float) -> dict[str, float]:
        """The metrics of evaluation, said in a line."""
        scores = self._job.evaluate(evaluated)
        _check_finite(step, scores)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        terminal.say(f"step {step}: train/loss {loss:.4f}, {shown}")
        return scores

    def _note_skipped(self, step: int, row: dict[str, float]) -> dict[str, float]:
        """The row with the number of steps skipped so far, and finite values only."""
        skips = self._log.skips
        if row["train/skipped"]:
            skips.add(step, row, self._job.contents(step - 1))
            row = {name: value for name, value in row.items() if math.isfinite(value)}
        if skips.in_a_row(step) >= MOST_SKIPPED:
            raise errors.RunFailed(
                f"steps {step - MOST_SKIPPED + 1} to {step} were skipped, as a loss or "
                "a gradient was not finite in each; lower "
                "config.optim.peak_learning_rate or lengthen the warm-up"
            )
        return row | {"train/skipped": float(skips.count)}

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
            raise errors.RunFailed(
                f"{name} is {value} at step {step}; nothing of it was saved; lower "
                "config.optim.peak_learning_rate or lengthen the warm-up"
            )


def _progress(job: Job, first: int) -> contextlib.AbstractContextManager:
    return terminal.progress("training", job.total_steps, done=first, unit="steps")
