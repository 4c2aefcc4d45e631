"""The training loop, run with a fake job whose state is a counter."""

import dataclasses
import json
import math
import os
import signal
import threading

import pytest

from gpt1_jax import errors
from gpt1_jax.config import TrainConfig
from gpt1_jax.distributed import preemption
from gpt1_jax.training import loop
from gpt1_jax.training.step import TrainState
from gpt1_jax.workdirs.metrics_log import MetricsLog

CONFIG = TrainConfig(
    log_every_steps=3,
    eval_every_steps=4,
    checkpoint_every_steps=5,
    keep_at_steps=(7,),
)


class Record:
    """A fake job and metrics log that record their calls in order."""

    def __init__(self, total_steps: int = 11, more: dict | None = None, **hooks):
        self.scores: dict[int, float | None] = {}
        self.last_row: dict[str, float] = {}
        self.earlier_rows: list[dict[str, float]] = []
        self.events: list[tuple[str, int]] = []
        self.rows: dict[int, dict[str, float]] = {}
        self.batches: list[int] = []
        self._hooks = hooks
        self.job = loop.Job(
            train_step=self._train_step,
            batch_at=self._batch_at,
            evaluate=self._evaluate,
            save=self._save,
            total_steps=total_steps,
            **{"tokens_at": lambda step: 64} | (more or {}),
        )

    def _note(self, kind: str, step: int) -> None:
        self.events.append((kind, step))
        if hook := self._hooks.get(kind):
            hook(step)

    def _batch_at(self, step: int) -> int:
        self.batches.append(step)
        return step

    def _train_step(self, state: TrainState, batch: int):
        assert batch == state.step == state.params
        step = state.step + 1
        self._note("train", step)
        loss = self._hooks.get("loss", float)(step)
        sums = {"loss": (loss * 7, 7), "grad_norm": (step / 2, 1)}
        return TrainState(step, step, None), sums

    def _save(self, state: TrainState, score: float | None) -> None:
        self._note("save", state.step)
        self.scores[state.step] = score

    def _evaluate(self, params: int) -> dict[str, float]:
        batches = self._hooks.get("batches", lambda step: ())
        for batch in preemption.interruptible(batches(params)):
            assert batch
        self._note("evaluate", params)
        return {"eval/loss": self._hooks.get("eval_loss", float)(params)}

    def write(self, step: int, values: dict[str, float]) -> None:
        assert step not in self.rows
        self._note("row", step)
        self.rows[step] = values

    def replace_last(self, row: dict[str, float]) -> None:
        self._note("completed", int(row["step"]))
        self.rows[int(row["step"])] = row

    def fit(self, first: int = 0, cfg: TrainConfig = CONFIG) -> TrainState:
        return loop.fit(TrainState(first, first, None), self.job, cfg, self)

    def steps(self, kind: str) -> list[int]:
        return [step for event, step in self.events if event == kind]


def interrupt(number: int = signal.SIGTERM, *, at: int, times: int = 1):
    """Returns a hook that sends this process a signal at one step."""

    def hook(step: int) -> None:
        for _ in range(times if step == at else 0):
            os.kill(os.getpid(), number)

    return hook


def value_at(bad_step: int, value: float):
    """Returns a hook with `value` at one step and the step's number at the others."""
    return lambda step: value if step == bad_step else float(step)


@pytest.fixture
def clock(monkeypatch) -> dict[str, float]:
    """The loop's clock: clock["now"] is the time, which only the test changes."""
    clock = {"now": 0.0}
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock["now"])
    return clock


@pytest.mark.parametrize("first", [0, 1, 6, 10, 11])
def test_trains_to_exactly_the_total_from_any_step(first):
    record = Record()
    end = record.fit(first)
    assert end.step == 11
    assert record.steps("train") == list(range(first + 1, 12))
    assert record.batches == list(range(first, 11))


@pytest.mark.parametrize("first", [0, 2, 5])
def test_each_due_step_has_one_row_evaluation_and_checkpoint(first):
    record = Record()
    record.fit(first)
    due = {
        "row": [3, 4, 6, 8, 9, 11],
        "evaluate": [4, 8, 11],
        "save": [5, 7, 10, 11],
    }
    for kind, steps in due.items():
        assert record.steps(kind) == [step for step in steps if step > first], kind


def test_intervals_of_zero_evaluate_and_save_at_the_end_only():
    cfg = TrainConfig(log_every_steps=2, eval_every_steps=0, checkpoint_every_steps=0)
    record = Record()
    record.fit(cfg=cfg)
    assert record.steps("evaluate") == record.steps("save") == [11]
    assert record.steps("row") == [2, 4, 6, 8, 10, 11]


def test_rows_hold_means_rate_and_scores_of_their_own_step():
    record = Record()
    record.fit()
    for step, row in record.rows.items():
        assert row.pop("train/tokens_per_second") > 0
        expected = {
            "train/loss": step,
            "train/grad_norm": step / 2,
        }
        if step in (4, 8, 11):
            expected["eval/loss"] = step
        assert row == expected


def test_all_rows_up_to_a_checkpoint_are_written_before_it():
    record = Record()
    record.fit(cfg=dataclasses.replace(CONFIG, log_every_steps=1))
    assert record.steps("row") == list(range(1, 12))
    for step in record.steps("save"):
        events = record.events[: record.events.index(("save", step))]
        rows = [number for kind, number in events if kind == "row"]
        assert rows == list(range(1, step + 1))


def test_metrics_are_read_one_step_late():
    record = Record()
    cfg = TrainConfig(log_every_steps=1, eval_every_steps=0, checkpoint_every_steps=0)
    record.fit(cfg=cfg)
    assert record.events.index(("train", 6)) < record.events.index(("row", 5))


def test_rate_excludes_evaluation_and_saving(clock):
    def takes(seconds: float):
        def hook(step: int) -> None:
            clock["now"] += seconds

        return hook

    record = Record(train=takes(2.0), evaluate=takes(1000.0), save=takes(1000.0))
    record.fit(cfg=dataclasses.replace(CONFIG, log_every_steps=1))
    rates = [row["train/tokens_per_second"] for row in record.rows.values()]
    # Metrics are read one step late, so an interval is 0 to 4 seconds.
    assert all(rate >= 64 / 4 for rate in rates)
    assert sum(rate == 32 for rate in rates) >= 4


def test_rate_covers_all_steps_since_the_last_row_even_across_a_save(clock):
    def train(step: int) -> None:
        clock["now"] += 100.0 if step == 1 else 1.0

    record = Record(
        more={"tokens_at": lambda step: 10 if step == 0 else 1}, train=train
    )
    cfg = TrainConfig(log_every_steps=6, eval_every_steps=0, checkpoint_every_steps=5)
    record.fit(cfg=cfg)
    # The tokens of steps 1 to 6 over their time and that of step 7, already started.
    assert record.rows[6]["train/tokens_per_second"] == 15 / 106


def test_rate_excludes_compiling(clock):
    """A step takes 1 s, a compilation 1000 s; it begins when the step has ended."""
    compiled = set()

    def compile_step(state: TrainState, batch: int) -> None:
        clock["now"] += 1000.0
        assert state.step == batch
        assert len(record.rows) == batch
        compiled.add(batch % 3)

    def train(step: int) -> None:
        assert (step - 1) % 3 in compiled
        clock["now"] += 1.0

    hooks = {
        "is_compiled": lambda batch: batch % 3 in compiled,
        "compile": compile_step,
    }
    record = Record(more=hooks, train=train)
    record.fit(cfg=TrainConfig(log_every_steps=1, eval_every_steps=0))
    rates = [row["train/tokens_per_second"] for row in record.rows.values()]
    # Metrics are read one step late, so an interval is 0 to 2 seconds.
    assert clock["now"] == 3 * 1000 + 11
    assert min(rates) >= 64 / 2


def test_the_steps_that_a_job_lists_are_evaluated_too():
    record = Record(more={"eval_steps": range(5, 12, 5)})
    record.fit()
    assert record.steps("evaluate") == [4, 5, 8, 10, 11]


def test_each_evaluated_step_is_saved_with_its_score_if_the_best_is_kept():
    record = Record(more={"best_by": "eval/loss"})
    record.fit()
    assert record.steps("save") == [4, 5, 7, 8, 10, 11]
    assert record.scores == {4: 4.0, 5: None, 7: None, 8: 8.0, 10: None, 11: 11.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("bad_step", [1, 5, 6, 7, 11])
def test_a_loss_that_is_not_finite_fails_the_run_before_anything_is_saved(
    value, bad_step
):
    record = Record(loss=value_at(bad_step, value))
    with pytest.raises(
        errors.RunFailed, match=rf"train/loss is {value} at step {bad_step};"
    ):
        record.fit()
    assert all(step < bad_step for step in record.steps("save") + record.steps("row"))
    assert record.steps("save") == [step for step in (5, 7, 10) if step < bad_step]


def test_a_score_that_is_not_finite_fails_the_run_before_anything_is_saved():
    cfg = dataclasses.replace(CONFIG, checkpoint_every_steps=4)
    record = Record(eval_loss=value_at(8, math.nan))
    with pytest.raises(errors.RunFailed, match="eval/loss is nan at step 8;"):
        record.fit(cfg=cfg)
    assert record.steps("save") == [4, 7]
    assert max(record.rows) == 6


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ["train", "row", "evaluate", "save"])
def test_a_signal_saves_once_and_stops(kind, number):
    before = signal.getsignal(number)
    at = {"train": 6, "row": 6, "evaluate": 4, "save": 5}[kind]
    record = Record(**{kind: interrupt(number, at=at)})
    with pytest.raises(
        errors.Preempted, match=r"stopped at step \d+ and saved"
    ) as info:
        record.fit()
    assert signal.getsignal(number) is before
    last = record.steps("train")[-1]
    assert at <= last <= at + 1
    assert f"step {last} " in str(info.value)
    saved = record.steps("save")
    assert saved[-1] == last
    assert len(saved) == len(set(saved))
    assert record.steps("row") == [step for step in (3, 4, 6) if step <= last]


def test_a_signal_in_the_last_step_lets_the_run_finish():
    record = Record(train=interrupt(at=11))
    assert record.fit().step == 11
    assert record.steps("save")[-1] == 11


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_a_second_signal_stops_at_once(handler):
    """A shell makes its background processes ignore SIGINT, hence SIG_IGN."""
    before = signal.signal(signal.SIGINT, handler)
    record = Record(train=interrupt(signal.SIGINT, at=6, times=2))
    try:
        with pytest.raises(KeyboardInterrupt):
            record.fit()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert record.steps("save") == [5]


def test_handlers_are_restored_whatever_happens():
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    Record().fit()
    with pytest.raises(errors.RunFailed):
        Record(loss=value_at(2, math.nan)).fit()
    assert before == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]


def test_trains_in_other_threads_than_the_main_one():
    record = Record()
    thread = threading.Thread(target=record.fit)
    thread.start()
    thread.join()
    assert record.steps("save")[-1] == 11


LOSSES = {1: 5.0, 2: 3.0, 3: 4.0, 4: 3.0, 5: 2.0, 6: 2.5, 7: 2.5, 8: 2.0, 9: 1.0}
BY_LOSS = {"best_by": "eval/loss", "is_lower_better": True}


def patient(patience: int, **more) -> TrainConfig:
    return TrainConfig(
        eval_every_steps=1,
        checkpoint_every_steps=0,
        early_stopping_patience=patience,
        **more,
    )


@pytest.mark.parametrize(("patience", "last"), [(0, 9), (1, 3), (2, 4), (3, 8), (4, 9)])
@pytest.mark.parametrize("keeps_best", [True, False])
def test_training_ends_where_evaluations_bring_nothing_better(
    patience, last, keeps_best, capsys
):
    record = Record(
        9, more=BY_LOSS | {"keeps_best": keeps_best}, eval_loss=LOSSES.__getitem__
    )
    assert record.fit(cfg=patient(patience)).step == last
    assert list(record.rows) == list(range(1, last + 1))
    saved = {step: -LOSSES[step] for step in range(1, last + 1)}
    assert record.scores == (saved if keeps_best else {last: None})
    assert ("training ends early" in capsys.readouterr().out) == (last < 9)


@pytest.mark.parametrize("first", range(1, 9))
def test_a_resumed_run_ends_as_early_as_an_unbroken_one(first):
    resumed = Record(9, more=BY_LOSS, eval_loss=LOSSES.__getitem__)
    resumed.earlier_rows = [
        {"step": step, "eval/loss": LOSSES[step]} for step in range(1, first + 1)
    ]
    resumed.last_row = resumed.earlier_rows[-1]
    assert resumed.fit(first, patient(3)).step == 8
    assert resumed.steps("train") == list(range(first + 1, 9))


def test_a_repeated_evaluation_counts_once():
    resumed = Record(9, more=BY_LOSS, eval_loss=LOSSES.__getitem__)
    before = [{"step": step, "eval/loss": LOSSES[step]} for step in (1, 2, 3)]
    resumed.earlier_rows = [*before, {"step": 4, "train/loss": 1.0}]
    resumed.last_row = resumed.earlier_rows[-1]
    assert resumed.fit(4, patient(2)).step == 4
    assert resumed.events == [("evaluate", 4), ("completed", 4)]


def stopped_in_evaluation(at: int):
    """Returns evaluation batches of which the fourth, at one step, sends a signal."""

    def batches(step: int):
        for batch in range(1, 8):
            if (step, batch) == (at, 4):
                os.kill(os.getpid(), signal.SIGTERM)
            assert (step, batch) != (at, 6), "evaluation continued"
            yield batch

    return batches


@pytest.mark.parametrize("at", [4, 8, 11])
@pytest.mark.parametrize("best_by", ["", "eval/loss"])
def test_a_signal_ends_an_evaluation_which_the_resumed_run_repeats(at, best_by):
    """The rows, scores and checkpoints equal those of an uninterrupted run."""
    whole = Record(more={"best_by": best_by})
    whole.fit()
    interrupted = Record(more={"best_by": best_by}, batches=stopped_in_evaluation(at))
    with pytest.raises(errors.Preempted, match=f"stopped at step {at} and saved"):
        interrupted.fit()
    assert interrupted.steps("train")[-1] == interrupted.steps("save")[-1] == at
    assert interrupted.scores[at] is None
    last = interrupted.rows.pop(at)
    assert not any("eval/" in name for name in last)

    resumed = Record(
        more={"best_by": best_by, "set_score": interrupted.scores.__setitem__}
    )
    resumed.last_row = {"step": at} | last
    resumed.fit(at)
    assert resumed.events[:2] == [("evaluate", at), ("completed", at)]
    assert resumed.rows[at].pop("step") == at
    scores = interrupted.scores | resumed.scores
    if best_by:
        assert scores == whole.scores
    rows = interrupted.rows | resumed.rows
    for row in (*rows.values(), *whole.rows.values()):
        del row["train/tokens_per_second"]
    assert rows == whole.rows


def test_a_repeated_evaluation_can_be_interrupted_again():
    resumed = Record(batches=stopped_in_evaluation(4))
    resumed.last_row = {"step": 4, "train/loss": 4.0}
    with pytest.raises(errors.Preempted, match="stopped at step 4 and saved"):
        resumed.fit(4)
    assert not resumed.events


def test_the_start_is_evaluated_before_the_first_step_if_asked():
    asked, not_asked = Record(3, {"eval_steps": (0,)}), Record(3)
    for record in (asked, not_asked):
        record.fit()
    assert asked.events[:3] == [("evaluate", 0), ("row", 0), ("train", 1)]
    assert asked.events[2:] == not_asked.events
    assert asked.rows.pop(0) == {"eval/loss": 0.0}
    assert asked.rows.keys() == not_asked.rows.keys()


def test_an_evaluation_of_the_start_that_a_signal_ends_is_repeated():
    begun = Record(3, {"eval_steps": (0,)}, batches=stopped_in_evaluation(0))
    with pytest.raises(errors.Preempted, match="stopped at step 0 and saved"):
        begun.fit()
    assert begun.events == [("save", 0)]
    resumed = Record(3, {"eval_steps": (0,)})
    resumed.fit()
    assert resumed.events[:2] == [("evaluate", 0), ("row", 0)]


class Skipping(Record):
    """A job that skips some steps and reports them in its metrics."""

    def __init__(self, workdir, bad_steps, resumed_step: int = 0, **kwargs):
        super().__init__(**kwargs)
        self._bad = bad_steps
        self._log = MetricsLog(workdir, resumed_step)
        self.add_skipped = self._log.add_skipped
        contents = {"contents": lambda step: {"examples": [step * 3, step * 5]}}
        self.job = dataclasses.replace(self.job, **contents)

    def fit(self, first: int = 0) -> TrainState:
        with self._log:
            return super().fit(first)

    @property
    def skipped_steps(self) -> list[int]:
        return self._log.skipped_steps

    def _train_step(self, state: TrainState, batch: int):
        state, sums = super()._train_step(state, batch)
        is_bad = state.step in self._bad
        if is_bad:
            sums |= {"loss": (math.nan, 7), "param_norm": (-math.inf, 1)}
        return state, sums | {"skipped": (float(is_bad), 1)}


def noted(workdir) -> list[dict]:
    lines = (workdir / "skipped.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_skipped_steps_are_counted_and_their_contents_are_written(tmp_path, capsys):
    record = Skipping(tmp_path, {2, 6, 7})
    record.fit()
    counts = {step: row["train/skipped"] for step, row in record.rows.items()}
    assert counts == {3: 1, 4: 1, 6: 2, 8: 3, 9: 3, 11: 3}
    assert record.rows[6]["train/grad_norm"] == 3
    assert "train/loss" not in record.rows[6]
    rows = noted(tmp_path)
    assert [row["step"] for row in rows] == [2, 6, 7]
    assert rows[1]["examples"] == [15, 25]
    assert (rows[1]["train/loss"], rows[1]["train/param_norm"]) == ("nan", "-inf")
    said = capsys.readouterr().out
    assert f"step 6: train/loss is nan; the step is skipped; {tmp_path}/skipped" in said


def test_a_resumed_run_continues_the_count_of_the_steps_that_it_keeps(tmp_path):
    Skipping(tmp_path, {2, 6, 7}).fit()
    with (tmp_path / "skipped.jsonl").open("a") as file:
        file.write('{"step": 9, "to')
    record = Skipping(tmp_path, {2, 6, 7}, resumed_step=5)
    record.fit(5)
    assert [row["train/skipped"] for row in record.rows.values()] == [2, 3, 3, 3]
    rows = noted(tmp_path)
    assert [row["step"] for row in rows] == [2, 6, 7]


@pytest.mark.parametrize("resumed_step", [0, 5, 20])
def test_ten_skipped_steps_in_a_row_fail_the_run(tmp_path, resumed_step):
    """The count continues when the run is interrupted in between."""
    bad = {2, *range(13, 40)}
    if resumed_step:
        Skipping(tmp_path, bad, total_steps=resumed_step).fit()
    record = Skipping(tmp_path, bad, resumed_step, total_steps=50)
    with pytest.raises(
        errors.RunFailed, match="steps 13 to 22 were skipped, as a loss"
    ):
        record.fit(resumed_step)
    assert max(record.steps("save"), default=0) <= 22
    assert 20 in record.steps("save") or resumed_step == 20


def test_nine_skipped_steps_in_a_row_do_not_fail_the_run(tmp_path):
    record = Skipping(tmp_path, {*range(2, 11), *range(12, 21)}, total_steps=30)
    assert record.fit().step == 30
    assert record.rows[30]["train/skipped"] == 18
