"""Checkpoints with damaged files: found before use, passed over, never overwritten."""

import json
import random
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.breaking import DAMAGES, damage, files_of
from gpt1_jax.errors import RunFailed
from gpt1_jax.training.step import TrainState
from gpt1_jax.workdirs import checksums
from gpt1_jax.workdirs.checkpoint import Checkpoints, abstract

FACTS = {"corpus": "c0"}
ON_DEVICE = jax.sharding.SingleDeviceSharding(jax.devices()[0])
TX = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))


def state_at(step: int, dtype=jnp.float32, width: int = 5) -> TrainState:
    rng = np.random.default_rng(step)
    params = {"embed": {"token": jnp.asarray(rng.standard_normal((11, width)), dtype)}}
    return TrainState(jnp.int32(step), params, TX.init(params))


def like(**kwargs) -> TrainState:
    return abstract(jax.eval_shape(lambda: state_at(0, **kwargs)), ON_DEVICE)


def assert_bit_equal(found, expected) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Returns a checkpoints directory with the steps 3 and 6 of a run."""
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    with Checkpoints(directory) as checkpoints:
        for step in (3, 6):
            checkpoints.save(state_at(step), FACTS, score=step / 7)
    return directory


@pytest.fixture
def directory(saved, tmp_path) -> Path:
    """Returns a copy of it in another place."""
    return shutil.copytree(saved, tmp_path / "checkpoints")


def restored(directory: Path) -> TrainState:
    """Returns the state that a resume starts from."""
    with Checkpoints(directory) as checkpoints:
        step = checkpoints.latest_step()
        return checkpoints.restore(step, like(), FACTS)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_is_named_and_the_step_before_is_used(how, saved, tmp_path):
    """Each file of a checkpoint is damaged in turn, also those without arrays."""
    rng = random.Random(7)
    found_out = 0
    for number, original in enumerate(files_of(saved / "6")):
        directory = shutil.copytree(saved, tmp_path / str(number))
        path = directory / original.relative_to(saved)
        damage(path, how, rng)
        problem = checksums.problem(directory / "6")
        name = path.relative_to(directory / "6").as_posix()
        found_out += bool(problem)
        assert problem.startswith(name) or name in (
            "_CHECKPOINT_METADATA",
            "commit_success.txt",
        ), name
        # Either the step is passed over, or nothing restored depends on the file.
        assert_bit_equal(restored(directory), state_at(3 if problem else 6))
    assert found_out >= 15


def test_a_run_that_passes_a_step_over_says_so_and_saves_it_again(directory, capsys):
    data = next((directory / "6" / "rest" / "d").iterdir())
    damage(data, "flipped", random.Random(0))
    bytes_before = data.read_bytes()
    with Checkpoints(directory) as checkpoints:
        assert checkpoints.all_steps() == [3]
        aside = directory / "6.damaged" / data.relative_to(directory / "6")
        assert aside.read_bytes() == bytes_before
        checkpoints.save(state_at(6), FACTS)
    line = f"warning: {directory}/6 is damaged: rest/d/{data.name} has other bytes than"
    assert f"{line} were written; step 3 is used instead" in capsys.readouterr().out
    assert sorted(path.name for path in directory.iterdir()) == ["3", "6"]
    assert_bit_equal(restored(directory), state_at(6))


def test_with_no_good_step_nothing_is_changed(directory):
    for step in (3, 6):
        damage(
            next((directory / str(step) / "params" / "d").iterdir()),
            "flipped",
            random.Random(0),
        )
    before = {path: path.read_bytes() for path in files_of(directory)}
    message = (
        r"no good checkpoint in .*: step 6: params/d/\w+ has other bytes .* step 3"
    )
    with pytest.raises(RunFailed, match=message):
        Checkpoints(directory)
    with (
        Checkpoints(directory, create=False) as checkpoints,
        pytest.raises(RunFailed, match=message),
    ):
        checkpoints.model_step()
    assert {path: path.read_bytes() for path in files_of(directory)} == before


def test_a_half_copied_directory_is_passed_over(directory):
    shutil.rmtree(directory / "6" / "rest")
    (directory / "9" / "params").mkdir(parents=True)
    assert_bit_equal(restored(directory), state_at(3))


def test_a_model_needs_its_own_files_only(directory, capsys):
    """Those of the optimizer may be missing; the best of the good steps is used."""
    shutil.rmtree(directory / "6" / "rest")
    with Checkpoints(directory, create=False) as checkpoints:
        assert checkpoints.model_step() == 6
        damage(directory / "6" / "metrics" / "metrics", "flipped", random.Random(1))
        assert checkpoints.model_step() == checkpoints.best_step() == 3
    assert "6 is damaged: metrics/metrics has" in capsys.readouterr().out


def test_a_checkpoint_without_checksums_is_passed_over(directory, capsys):
    (directory / "6" / checksums.MANIFEST_FILE).unlink()
    assert_bit_equal(restored(directory), state_at(3))
    assert "6 is damaged: manifest.json is missing" in capsys.readouterr().out


def test_a_manifest_never_makes_a_file_outside_be_read(directory):
    outside = directory / "secret"
    outside.write_text("x")
    path = directory / "6" / checksums.MANIFEST_FILE
    sums = json.loads(path.read_text())["files"] | {"../secret": [1, 0]}
    path.write_text(checksums._text(6, sums))
    assert checksums.problem(directory / "6") == "../secret is missing"


def test_a_step_that_was_saved_without_its_score_gets_it(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.save(state_at(3), FACTS)
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        checkpoints.set_score(3, 0.75)
        assert checkpoints.best_step() == 3
        for step in (4, 5, 6):
            checkpoints.save(state_at(step), FACTS, score=step / 10)
    with Checkpoints(tmp_path, create=False) as checkpoints:
        assert checkpoints.all_steps() == [3, 5, 6]
        assert checkpoints.best_step() == 3
        assert_bit_equal(checkpoints.restore(3, like(), FACTS), state_at(3))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"width": 7}, r"token is float32 of shape \[11, 5\]; .* float32 .*\[11, 7\]"),
        ({"dtype": jnp.bfloat16}, r"token is float32 of shape .* has bfloat16 of"),
    ],
)
def test_other_arrays_are_refused_by_path(directory, other, message):
    with (
        Checkpoints(directory) as checkpoints,
        pytest.raises(ValueError, match=message),
    ):
        checkpoints.restore(6, like(**other), FACTS)


def test_another_optimizer_is_refused_by_path(directory):
    own = like()
    plain = TrainState(own.step, own.params, optax.sgd(0.1).init(own.params))
    with (
        Checkpoints(directory) as checkpoints,
        pytest.raises(
            ValueError, match=r"opt_state/1/0/count is int32 .* no such array"
        ),
    ):
        checkpoints.restore(6, plain, FACTS)
