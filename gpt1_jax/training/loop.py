"""The loop: every job that trains calls `fit`.

It asks for batches, runs the step, reads metrics one step late so that the devices
never wait for the host, and logs, evaluates and saves when it is time.
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
MOST_SKIPPED = 10


class Log(Protocol):
    """The record of a run, see workdirs.metrics_log.

    last_row: the row of the step that the run resumes at; empty where there is none.
    """

    last_row: dict[str, float]

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the row of `step`."""

    def replace_last(self, row: dict[str, float]) -> None:
        """Replaces the row of the step that the run resumed at."""

    @property
    def earlier_rows(self) -> Sequence[Mapping[str, float]]:
        """The rows up to the step that the run resumes at, in order."""

    @property
    def skipped_steps(self) -> Sequence[int]:
        """The steps skipped so far, in order, including those before a resume."""

    def add_skipped(
        self, step: int, values: Mapping[str, float], contents: dict[str, list[int]]
    ) -> None:
        """Records a skipped step, its metrics and the contents of its batch."""


@dataclasses.dataclass(frozen=True)
class Job:
    """The functions that the loop calls; their `step` counts the updates made before.

    train_step: the compiled step, which donates its state.
    batch_at: step -> sharded batch.
    is_compiled: batch -> whether train_step has a program for its shape.
    compile: (state, batch) makes that program; the loop does not time it.
    tokens_at: step -> number of tokens in its batch, without padding.
    evaluate: params -> {metric: value}.
    eval_steps: steps to evaluate after, in addition to the config's; 0: before the
        first step.
    best_by: the metric that says how good a step is; "": none does.
    is_lower_better: whether its lowest value is the best, as of a loss.
    keeps_best: whether every evaluated step is saved with its score, so that the best
        can be kept.
    save: starts saving a state, with its score: the value of `best_by`, negative where
        lower is better; None if the step was not evaluated or the best is not kept.
    set_score: sets the score of a step that was saved before its evaluation ended.
    contents: step -> contents of its batch, for the record of a skipped step.
    """

    train_step: Callable[[TrainState, Any], tuple[TrainState, Sums]]
    batch_at: Callable[[int], Any]
    evaluate: Callable[[Any], dict[str, float]]
    save: Callable[[TrainState, float | None], None]
    total_steps: int
    tokens_at: Callable[[int], int]
    eval_steps: Container[int] = ()
    best_by: str = ""
    is_lower_better: bool = False
    keeps_best: bool = True
    set_score: Callable[[int, float], None] = lambda step, score: None
    contents: Callable[[int], dict[str, list[int]]] = lambda step: {}
    is_compiled: Callable[[Any], bool] = lambda batch: True
    compile: Callable[[TrainState, Any], None] = lambda state, batch: None

    @property
    def saves_evaluated(self) -> bool:
        """Returns whether every evaluated step is saved."""
        return bool(self.best_by) and self.keeps_best

    def score(self, row: Mapping[str, float]) -> float | None:
        """Returns how good the step of a row is; None: it was not evaluated."""
        value = row.get(self.best_by)
        return -value if value is not None and self.is_lower_better else value


def fit(state: TrainState, job: Job, cfg: TrainConfig, log: Log) -> TrainState:
    """Trains from `state` to `job.total_steps` updates, or until it stops improving.

    It ends early after `cfg.early_stopping_patience` evaluations in a row without a
    better score. That depends on the logged scores, those before a resume included.

    A step's row of metrics.jsonl is written before its checkpoint, so that a resumed
    run has every row. `tokens_per_second` excludes evaluation, saving and compiling.
    Skipped steps, whose loss or gradient is not finite, are recorded.
    Raises: RunFailed: too many steps in a row were skipped, or a score is not finite;
            that step is not saved. Preempted: a signal asked the run to stop; the last
            finished step was saved, and the resumed run does its evaluation.
    """
    first = int(state.step)
    with preemption.recorded_signals(), _progress(job, first) as bar:
        reporter = _Reporter(job, cfg, log, bar, first)
        if _lacks_scores(log.last_row) and _is_eval(job, cfg, first):
            try:
                if first:
                    reporter.complete(first, state.params)
                else:
                    reporter.begin(state.params)
            except preemption.StopRequested:
                if not first:
                    job.save(state, None)
                raise _preempted(first) from None
        if reporter.has_stopped_improving():
            return state
        unread: tuple[int, Sums] | None = None
        for step in range(first + 1, job.total_steps + 1):
            batch = job.batch_at(step - 1)
            if not job.is_compiled(batch):
                if unread:  # the devices may still be running it, which is training
                    reporter.report(*unread)
                    unread = None
                reporter.compile(state, batch)
            state, sums = job.train_step(state, batch)
            if unread:
                reporter.report(*unread)
            unread = (step, sums)
            is_last = step == job.total_steps
            # Read once: a later signal takes effect after the next step.
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
            if is_eval and reporter.has_stopped_improving():
                is_save = is_last = True
            if is_save:
                job.save(state, job.score(scores) if job.saves_evaluated else None)
            if is_eval or is_save:
                reporter.resume_clock()
            if is_stop and not is_last:
                raise _preempted(step)
            if is_last:
                break
    return state


def _lacks_scores(row: Mapping[str, float]) -> bool:
    """Returns whether `row` has no evaluation, or was lost."""
    return not any(name.startswith("eval/") for name in row)


def _is_eval(job: Job, cfg: TrainConfig, step: int) -> bool:
    """Returns whether the state after `step` is evaluated."""
    is_last = step == job.total_steps
    is_due = step > 0 and _divides(cfg.eval_every_steps, step)
    return is_last or is_due or step in job.eval_steps


def _is_save(job: Job, cfg: TrainConfig, step: int) -> bool:
    """Returns whether the state after `step` is saved, if it is not the last."""
    return (
        (job.saves_evaluated and _is_eval(job, cfg, step))
        or _divides(cfg.checkpoint_every_steps, step)
        or step in cfg.keep_at_steps
    )


def _preempted(step: int) -> errors.Preempted:
    return errors.Preempted(
        f"stopped at step {step} and saved; the same command goes on"
    )


def _divides(every: int, step: int) -> bool:
    """Returns whether `step` is a multiple of `every`; 0 means never."""
    return every > 0 and step % every == 0


class _Reporter:
    """Reads metrics, records skipped steps, and writes rows and the progress bar."""

    def __init__(
        self,
        job: Job,
        cfg: TrainConfig,
        log: Log,
        bar: Any,
        first: int,
    ):
        self._job, self._cfg, self._log, self._bar = job, cfg, log, bar
        self._shown_rate = ""
        scores = map(job.score, log.earlier_rows)
        self._scores_so_far = [score for score in scores if score is not None]
        self._start_interval(first)

    def _start_interval(self, step: int) -> None:
        """Starts the interval of tokens_per_second that follows `step`."""
        self._interval_step, self._tokens, self._seconds = step, 0, 0.0
        self.resume_clock()

    def resume_clock(self) -> None:
        """Resumes the clock of tokens_per_second."""
        self._clock = time.monotonic()

    def _pause_clock(self) -> None:
        """Pauses the clock of tokens_per_second, for work other than training."""
        now = time.monotonic()
        self._seconds, self._clock = self._seconds + now - self._clock, now

    def compile(self, state: TrainState, batch: Any) -> None:
        """Compiles the step for a batch of a new shape while the clock is paused."""
        self._pause_clock()
        self._job.compile(state, batch)
        self.resume_clock()

    def report(self, step: int, sums: Sums, evaluated: Any = None) -> dict[str, float]:
        """Waits for `step`, evaluates the given parameters, writes a row if it is due.

        Must be called for each step, in order.
        Returns: all metrics of the step.
        Raises:  StopRequested: the evaluation was interrupted; the row has no scores.
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
        except preemption.StopRequested:  # the row is completed at the resume
            self._log.write(step, row)
            raise
        self._log.write(step, row)
        self._start_interval(step)
        return row

    def begin(self, evaluated: Any) -> None:
        """Evaluates the parameters before the first step; writes the row of step 0."""
        self._log.write(0, self._scores(0, evaluated))
        self.resume_clock()

    def complete(self, step: int, evaluated: Any) -> None:
        """Evaluates the step that the run resumes at and completes its row."""
        row = self._log.last_row or {"step": step}
        row |= self._scores(step, evaluated, row.get("train/loss", math.nan))
        score = self._job.score(row)
        if self._job.saves_evaluated and score is not None:
            self._job.set_score(step, score)
        self._log.replace_last(row)
        self.resume_clock()

    def has_stopped_improving(self) -> bool:
        """Returns whether the evaluations of the patience brought no better score.

        It says so. An equal score is no gain.
        """
        patience, scores = self._cfg.early_stopping_patience, self._scores_so_far
        if not patience or not scores:
            return False
        since_best = len(scores) - 1 - scores.index(max(scores))
        if since_best < patience:
            return False
        terminal.say(
            f"no better {self._job.best_by} in the last {since_best} evaluations "
            f"(config.train.early_stopping_patience={patience}); training ends early"
        )
        return True

    def _scores(
        self, step: int, evaluated: Any, loss: float | None = None
    ) -> dict[str, float]:
        """Evaluates the given parameters, prints the metrics and returns them."""
        scores = self._job.evaluate(evaluated)
        _check_finite(step, scores)
        if (score := self._job.score(scores)) is not None:
            self._scores_so_far.append(score)
        shown = [f"{name} {value:.4g}" for name, value in scores.items()]
        if loss is not None:
            shown.insert(0, f"train/loss {loss:.4f}")
        terminal.say(f"step {step}: {', '.join(shown)}")
        return scores

    def _note_skipped(self, step: int, row: dict[str, float]) -> dict[str, float]:
        """Returns the finite values of `row` and the number of steps skipped so far.

        Raises: RunFailed: MOST_SKIPPED steps in a row were skipped.
        """
        if row["train/skipped"]:
            self._log.add_skipped(step, row, self._job.contents(step - 1))
            row = {name: value for name, value in row.items() if math.isfinite(value)}
        skipped = self._log.skipped_steps
        first = step - MOST_SKIPPED + 1
        if all(number in skipped for number in range(first, step + 1)):
            raise errors.RunFailed(
                f"steps {first} to {step} were skipped, as a loss or a gradient was "
                "not finite in each; lower config.optim.peak_learning_rate or lengthen "
                "the warm-up"
            )
        return row | {"train/skipped": float(len(skipped))}

    def _rate(self) -> float:
        """Returns the tokens per second since the last row."""
        return self._tokens / max(self._seconds, 1e-9)


def _means(sums: Sums) -> dict[str, float]:
    return {
        name: float(total) / float(count)
        for name, (total, count) in jax.device_get(sums).items()
    }


def _check_finite(step: int, row: dict[str, float]) -> None:
    """Raises RunFailed that names the first metric that is infinite or NaN."""
    for name, value in row.items():
        if not math.isfinite(value):
            raise errors.RunFailed(
                f"{name} is {value} at step {step}; nothing of it was saved; lower "
                "config.optim.peak_learning_rate or lengthen the warm-up"
            )


def _progress(job: Job, first: int) -> contextlib.AbstractContextManager:
    return terminal.progress(
        "training", job.total_steps, done=first, unit="steps", is_whole_run=True
    )
