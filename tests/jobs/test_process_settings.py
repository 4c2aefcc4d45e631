"""Numbers of a run do not depend on the runs before it in the same process."""

import jax

import gpt1_jax
from gpt1_jax.jobs import evaluate, finetune, pretrain, zeroshot

TEXTS = ["The dog went home.", "A boat sank in the river."]


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
