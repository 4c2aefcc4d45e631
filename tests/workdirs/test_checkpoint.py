"""Checkpoints: exact restoring, which steps are kept, and refusal of other data."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import logging
from orbax.checkpoint._src.serialization import ocdbt_utils

from gpt1_jax.errors import RunFailed
from gpt1_jax.training.step import TrainState
from gpt1_jax.workdirs.checkpoint import Checkpoints, abstract

FINGERPRINT = {"corpus": "c0", "tokenizer": "t0", "config": "k0"}
ON_DEVICE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def state_at(step: int) -> TrainState:
    """Returns a state in several dtypes, in which any rounding would show."""
    rng = np.random.default_rng(step)
    params = {
        "embed": {"token": jnp.asarray(rng.standard_normal((5, 3)), jnp.float32)},
        "block_00": {"kernel": jnp.asarray(rng.standard_normal((3, 7)), jnp.bfloat16)},
    }
    params["embed"]["token"] = params["embed"]["token"].at[0].set(jnp.float32(1e-42))
    opt_state = (
        {"m": jax.tree.map(lambda p: p / 3, params), "count": jnp.int32(step)},
        (),
    )
    return TrainState(jnp.int32(step), params, opt_state)


def like() -> TrainState:
    return abstract(jax.eval_shape(lambda: state_at(0)), ON_DEVICE)


def assert_bit_equal(found, expected) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()


def save(directory, steps, **kwargs) -> None:
    with Checkpoints(directory, **kwargs) as checkpoints:
        for step in steps:
            checkpoints.save(state_at(step), FINGERPRINT)


def test_a_restored_state_is_bit_equal(tmp_path):
    save(tmp_path / "checkpoints", [7])
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() == 7
        found = checkpoints.restore(7, like(), FINGERPRINT)
        params = checkpoints.restore_params(7, like().params)
    assert_bit_equal(found, state_at(7))
    assert_bit_equal(params, state_at(7).params)


@pytest.mark.parametrize(
    "name",
    ["run [1]", "a*b?", "back\\slash", "100% #1 'x' & \"y\"", "été 日本", "a:b=c,d"],
)
def test_a_path_is_a_path(tmp_path, name):
    directory = tmp_path / name / "checkpoints"
    save(directory, [3, 7])
    assert sorted(path.name for path in directory.iterdir()) == ["3", "7"]
    directory = (tmp_path / name).rename(tmp_path / f"{name} moved") / "checkpoints"
    with Checkpoints(directory) as checkpoints:
        assert_bit_equal(checkpoints.restore(7, like(), FINGERPRINT), state_at(7))
        checkpoints.save(state_at(8), FINGERPRINT)
    with Checkpoints(directory, create=False) as checkpoints:
        assert_bit_equal(
            checkpoints.restore_params(8, like().params), state_at(8).params
        )
    assert {path.name for path in tmp_path.iterdir()} == {f"{name} moved"}


def test_a_checkpoint_without_an_array_does_not_count_as_saved(tmp_path, monkeypatch):
    # What orbax does in a directory with brackets in its name.
    monkeypatch.setattr(ocdbt_utils, "merge_ocdbt_per_process_files", merge_nothing)
    message = r"7 could not be saved: .*params: 2 of 2 arrays were not written, such as"
    with pytest.raises(RunFailed, match=message):
        save(tmp_path, [7])
    with Checkpoints(tmp_path, create=False) as checkpoints:
        assert checkpoints.all_steps() == []


async def merge_nothing(*args, **kwargs):
    pass


def test_a_step_is_known_by_its_content_and_its_plain_number(tmp_path, capsys):
    save(tmp_path, [3])
    shutil.copytree(tmp_path / "3", tmp_path / "9")
    shutil.copytree(tmp_path / "3", tmp_path / "004")
    with Checkpoints(tmp_path, create=False) as checkpoints:
        assert checkpoints.all_steps() == [3, 9]
        assert checkpoints.model_step() == 3
    shown = " ".join(capsys.readouterr().out.split())
    assert "9 is damaged: it holds step 3; its name must be 3" in shown


def test_a_directory_without_checkpoints_has_no_latest_step(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest_step() is None
        assert checkpoints.all_steps() == []


def test_the_newest_and_the_named_steps_are_kept(tmp_path):
    save(tmp_path, range(1, 8), keep=2, keep_at_steps=(2, 4))
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [2, 4, 6, 7]
    with Checkpoints(tmp_path, keep=2, keep_at_steps=(2, 4)) as checkpoints:
        assert checkpoints.all_steps() == [2, 4, 6, 7]
        assert checkpoints.latest_step() == 7
        for step in (2, 6):
            found = checkpoints.restore(step, like(), FINGERPRINT)
            assert_bit_equal(found, state_at(step))


def test_a_checkpoint_that_was_not_finished_is_ignored(tmp_path):
    save(tmp_path, [3])
    (tmp_path / "3").rename(tmp_path / "5.orbax-checkpoint-tmp")
    save(tmp_path / "other", [3])
    (tmp_path / "other/3").rename(tmp_path / "3")
    (tmp_path / "other").rmdir()
    with Checkpoints(tmp_path, create=False) as checkpoints:
        assert checkpoints.all_steps() == [3]
        assert checkpoints.latest_step() == 3
    save(tmp_path, [5])
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.all_steps() == [3, 5]
        assert_bit_equal(checkpoints.restore(5, like(), FINGERPRINT), state_at(5))


@pytest.mark.parametrize("name", ["corpus", "tokenizer", "config"])
def test_other_data_is_refused_by_name(tmp_path, name):
    save(tmp_path, [3])
    with Checkpoints(tmp_path) as checkpoints:
        other = FINGERPRINT | {name: "x9"}
        message = f"3 was saved with another {name}; it can only be used with"
        with pytest.raises(ValueError, match=message):
            checkpoints.restore(3, like(), other)


def test_every_difference_is_named(tmp_path):
    save(tmp_path, [3])
    other = dict.fromkeys(FINGERPRINT, "x")
    message = f"saved with another {' and '.join(FINGERPRINT)}; .* name another workdir"
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(ValueError, match=message):
        checkpoints.restore(3, like(), other)


def test_a_fact_that_was_not_saved_may_have_any_value(tmp_path):
    """A converted workdir may get its tokenizer later."""
    save(tmp_path, [3])
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.check(3, FINGERPRINT | {"weather": "w0"})


def test_a_state_that_changes_during_saving_is_saved_unchanged(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        state = state_at(3)
        checkpoints.save(state, FINGERPRINT)
        jax.tree.map(lambda x: x.delete(), state)  # as donating it to the step does
    with Checkpoints(tmp_path) as checkpoints:
        assert_bit_equal(checkpoints.restore(3, like(), FINGERPRINT), state_at(3))


def test_the_earliest_step_of_the_highest_score_is_kept(tmp_path):
    scores = {1: 0.5, 2: 0.75, 3: 0.75, 4: None, 5: 0.25, 6: 0.625}
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.best_step() is None
        for step, score in scores.items():
            checkpoints.save(state_at(step), FINGERPRINT, score)
    with Checkpoints(tmp_path, create=False) as checkpoints:
        assert checkpoints.all_steps() == [2, 5, 6]
        assert checkpoints.best_step() == 2


def test_shapes_and_dtypes_of_parameters_are_known_without_reading_them(tmp_path):
    save(tmp_path, [3])
    with Checkpoints(tmp_path) as checkpoints:
        found = checkpoints.params_shapes(3)
    expected = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state_at(3).params
    )
    assert found == expected


def test_a_save_that_fails_after_another_error_gives_one_line(
    tmp_path, monkeypatch, caplog
):
    """orbax logs its errors with the traceback of the error before."""

    def close():
        try:
            raise OSError("disk full")
        except OSError:
            logging.exception("orbax was here")
            raise

    def fail():
        with Checkpoints(tmp_path, keep=2) as checkpoints:
            monkeypatch.setattr(checkpoints._manager, "close", close)
            raise OSError("another file")

    verbosity = logging.get_verbosity()
    with pytest.raises(RunFailed, match=r"could not be saved: disk full; the check"):
        fail()
    assert "orbax was here" not in caplog.text
    assert logging.get_verbosity() == verbosity
