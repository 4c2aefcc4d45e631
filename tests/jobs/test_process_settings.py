"""Numbers are functions of (config, data, seed), whatever the process is set to."""

import jax
import pytest

import gpt1_jax
from gpt1_jax.jobs import evaluate, finetune, pretrain, zeroshot
from tests.jobs.runs import rows_without_clock

TEXTS = ["The dog went home.", "A boat sank in the river."]


@pytest.fixture
def config(make_config):
    """The config of pretrained_workdir."""
    return make_config(
        train__batch_size=8,
        train__max_steps=6,
        train__checkpoint_every_steps=3,
        train__eval_every_steps=0,
        optim__warmup_steps=2,
    )


def test_another_default_key_implementation_changes_no_number(
    config, pretrained_workdir, tmp_path
):
    def texts(workdir) -> list[str]:
        return gpt1_jax.load(workdir).generate(TEXTS, 10, temperature=1.0, seed=3)

    expected = texts(pretrained_workdir)
    with jax.default_prng_impl("rbg"):  # as JAX_DEFAULT_PRNG_IMPL=rbg sets it
        pretrain.run(config, tmp_path / "run")
        assert texts(tmp_path / "run") == expected
    assert rows_without_clock(tmp_path / "run") == rows_without_clock(
        pretrained_workdir
    )


def test_a_float64_run_changes_no_later_one(
    make_config, make_tuning_config, pretrained_workdir, tmp_path
):
    finetune.run(make_tuning_config("rte", pretrained_workdir), tmp_path / "rte")
    jobs = {
        evaluate: make_config(
            job="evaluate",
            init__path=str(tmp_path / "rte"),
            data__task_dir="storyworld",
        ),
        zeroshot: make_config(
            job="zeroshot",
            init__path=str(pretrained_workdir),
            data__task_dir="storyworld",
            task__name="sst2",
        ),
    }

    def numbers(directory) -> list:
        results = [
            job.run(config, directory / config.job)["metrics"]
            for job, config in jobs.items()
        ]
        predictions = directory / "evaluate/predictions/dev.jsonl"
        logprobs = [
            row["logprobs"] for row in gpt1_jax.load(pretrained_workdir).score(TEXTS)
        ]
        return [*results, predictions.read_text(), logprobs]

    alone = numbers(tmp_path / "alone")
    exact = make_config(
        train__batch_size=8, train__max_steps=1, model__compute_dtype="float64"
    )
    pretrain.run(exact, tmp_path / "float64")
    assert jax.numpy.ones(1).dtype == jax.numpy.float64
    assert numbers(tmp_path / "after") == alone
    assert jax.numpy.ones(1).dtype == jax.numpy.float32
