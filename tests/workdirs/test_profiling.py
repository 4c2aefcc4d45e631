"""Traces of a step that counts to eleven, and of runs."""

import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from gpt1_jax.data.tasks import batches
from gpt1_jax.distributed import multihost
from gpt1_jax.jobs import finetune, pretrain
from gpt1_jax.training.step import TrainState
from gpt1_jax.workdirs import profiling

TOTAL = 11
count = jax.jit(lambda state: state + 1)


def train(workdir: Path, num_steps: int, first: int = 0, stop_at: int = TOTAL) -> int:
    """Counts from `first`; stops by an exception after `stop_at`."""

    def step(state: TrainState, batch: None):
        return TrainState(count(state.step), None, None), {}

    state = TrainState(jnp.int32(first), None, None)
    with profiling.Profile(workdir, num_steps, first=first) as profile:
        traced = profile.traced(step, TOTAL)
        for number in range(first, TOTAL):
            if number == stop_at:
                raise InterruptedError
            state, _ = traced(state, None)
    return int(state.step)


def traced_steps(workdir: Path) -> list[list[int]]:
    """Returns the steps in each trace, in order of time."""
    found = []
    for path in sorted(workdir.glob("profile/plugins/profile/*/*.trace.json.gz")):
        assert list(path.parent.glob("*.xplane.pb"))  # what TensorBoard reads
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
        steps = [event for event in events if event.get("name") == "train"]
        found.append(sorted(int(event["args"]["step_num"]) for event in steps))
    return found


@pytest.mark.parametrize(
    ("num_steps", "first", "expected"),
    [
        (1, 0, [4]),
        (3, 0, [4, 5, 6]),
        (3, 5, [9, 10, 11]),
        (3, 6, [10, 11]),
        (500, 0, [4, 5, 6, 7, 8, 9, 10, 11]),
    ],
)
def test_the_steps_after_the_first_three_of_a_process_are_traced(
    num_steps, first, expected, tmp_path, capsys
):
    assert train(tmp_path, num_steps, first) == TOTAL
    assert traced_steps(tmp_path) == [expected]
    said = " ".join(capsys.readouterr().out.split())
    assert f"profile: steps {expected[0]} to {expected[-1]} are in {tmp_path}" in said


def test_a_trace_has_the_device_work_of_its_steps_and_no_other(tmp_path, monkeypatch):
    """Devices run behind the host, so it waits for them at both ends."""
    calls = []
    for module, name in (
        (jax, "block_until_ready"),
        (jax.profiler, "start_trace"),
        (jax.profiler, "stop_trace"),
    ):
        monkeypatch.setattr(
            module, name, lambda *given, name=name: calls.append((name, *given))
        )
    with profiling.Profile(tmp_path, 2, first=0) as profile:
        traced = profile.traced(lambda state, batch: (state + 1, {}), TOTAL)
        state = 0
        for _ in range(6):
            state, _ = traced(state, None)
            calls.append(state)
    assert calls == [
        *(1, 2, 3),
        ("block_until_ready", 3),
        ("start_trace", tmp_path / "profile"),
        4,
        ("block_until_ready", (5, {})),
        ("stop_trace",),
        *(5, 6),
    ]


def test_a_trace_ends_with_its_last_step(tmp_path):
    """It does not include the evaluation, or other work before the block's end."""
    with profiling.Profile(tmp_path, 50, first=0) as profile:
        traced = profile.traced(lambda state, batch: (count(state), {}), 5)
        state = jnp.int32(0)
        for _ in range(5):
            state, _ = traced(state, None)
        assert traced_steps(tmp_path) == [[4, 5]]


def test_a_trace_that_is_stopped_short_is_written(tmp_path):
    with pytest.raises(InterruptedError):
        train(tmp_path, 500, stop_at=6)
    assert traced_steps(tmp_path) == [[4, 5, 6]]


def test_without_profile_steps_nothing_is_written(tmp_path, capsys):
    assert train(tmp_path, 0) == TOTAL
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""


def test_only_the_first_process_traces(tmp_path, monkeypatch):
    monkeypatch.setattr(multihost, "is_first", lambda: False)
    assert train(tmp_path, 3) == TOTAL
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left", [1, 3])
def test_too_few_steps_are_warned_of(left, tmp_path, capsys):
    train(tmp_path, 2, first=TOTAL - left)
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: config.train.profile_steps=2: no profile, because the" in said
    assert f"steps are not traced and only {left} are left" in said
    assert not list(tmp_path.iterdir())


def test_a_run_continues_without_a_trace_if_another_trace_runs(tmp_path, capsys):
    with jax.profiler.trace(tmp_path / "other"):
        assert train(tmp_path, 3) == TOTAL
    said = " ".join(capsys.readouterr().out.split())
    assert f"warning: no profile in {tmp_path}/profile: Profile has already" in said
    assert not (tmp_path / "profile").exists()


def test_a_run_continues_if_its_trace_cannot_be_written(tmp_path, capsys, monkeypatch):
    stop = jax.profiler.stop_trace

    def stop_on_full_disk() -> None:
        stop()
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr(jax.profiler, "stop_trace", stop_on_full_disk)
    assert train(tmp_path, 3) == TOTAL
    said = " ".join(capsys.readouterr().out.split())
    assert f"warning: no profile in {tmp_path}/profile: RESOURCE_EXHAUSTED" in said
    assert "steps 4 to 6" not in said


def test_pretraining_is_traced_and_traced_again_after_a_resume(make_config, tmp_path):
    changes = {
        "train__batch_size": 8,
        "optim__schedule": "constant",
        "optim__warmup_steps": 0,
    }
    workdir = tmp_path / "run"
    for max_steps, num_steps in ((5, 2), (10, 50)):
        more = {"train__max_steps": max_steps, "train__profile_steps": num_steps}
        pretrain.run(make_config(**changes | more), workdir)
    assert traced_steps(workdir) == [[4, 5], [9, 10]]


def test_fine_tuning_is_traced(
    make_tuning_config, pretrained_workdir, tmp_path, monkeypatch
):
    monkeypatch.setattr(batches, "_LENGTH_UNIT", 128)  # one length to compile for
    fields = {"train__max_steps": 5, "train__profile_steps": 1}
    config = make_tuning_config("sst2", pretrained_workdir, **fields)
    finetune.run(config, tmp_path / "run")
    assert traced_steps(tmp_path / "run") == [[4]]
    assert not (pretrained_workdir / "profile").exists()
