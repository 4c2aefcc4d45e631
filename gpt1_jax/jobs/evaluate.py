"""Evaluation of a fine-tuned model on any labelled split: scores and predictions."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from gpt1_jax import config as config_lib
from gpt1_jax import terminal
from gpt1_jax.config import RunConfig
from gpt1_jax.data.tasks import registry, task_data
from gpt1_jax.data.tasks.task import Task
from gpt1_jax.distributed import mesh, multihost
from gpt1_jax.errors import UserError
from gpt1_jax.evaluation import predictions
from gpt1_jax.inference import classifier
from gpt1_jax.workdirs import session, starting_point
from gpt1_jax.workdirs import workdir as workdir_lib


@multihost.ends_together
def run(
    config: RunConfig | ConfigDict, workdir: str | Path = "runs/evaluate"
) -> dict[str, Any]:
    """Scores the model in config.init.path on config.task.split; returns result.json.

    The task is the model's own, or one that it predicts: config.task.name.
    Raises: UserError: no fine-tuned model, no such split, or one without labels.
    """
    began = time.monotonic()
    config, workdir = config_lib.checked(config), Path(workdir)
    starting_point.check_named(config, "a fine-tuned", "runs/finetune-rte")
    session.prepare(config, workdir)
    config = starting_point.with_inherited(config, workdir)
    workdir_lib.check(workdir, config)
    model = classifier.load(config.init.path)
    recipe = _recipe(model.task_model, config)
    subject = f"{config.init.path}: step {model.step:,}, {model.task_model.task.name}"
    terminal.say(mesh.describe(recipe.model.cfg, subject))
    data = task_data.open_data(config.data)
    terminal.say(f"task data: {data.directory}")
    splits = _splits(recipe.task, config.task.split)
    records, answers = {}, {}
    with session.lock(workdir):
        for infix, split in splits.items():
            records[infix] = recipe.load_records(data, split, must_have_labels=True)
            found = {f"task data of {split}": task_data.fingerprint(records[infix])}
            multihost.agree("the data", found | starting_point.facts(config))
            answers[infix] = recipe.answers(model.params, records[infix])
            rows = recipe.predictions(records[infix], answers[infix])
            if multihost.is_first():
                predictions.write(workdir, split, rows)
        scores = recipe.scores(records, answers)
        if multihost.is_first():
            workdir_lib.write_config(workdir, config)
        result = session.write_result(
            workdir,
            config.job,
            steps=model.step,
            metrics={f"eval/{name}": score for name, score in scores.items()},
            began=began,
        )
    shown = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    terminal.say(f"{recipe.task.name} {config.task.split}: {shown}")
    return result


def _recipe(own: classifier.TaskModel, config: RunConfig) -> classifier.TaskModel:
    """Returns the model's recipe with the evaluation's task, batch size and dtype."""
    size = config.train.eval_batch_size
    train = dataclasses.replace(own.config.train, eval_batch_size=size)
    own_config = dataclasses.replace(own.config, model=config.model, train=train)
    return dataclasses.replace(own, config=own_config, task=_task(own.task, config))


def _splits(task: Task, name: str) -> dict[str, str]:
    """Returns the splits that `name` stands for: all dev or test sets, or one split."""
    splits = {"dev": task.dev, "test": task.test}.get(name, {"": name})
    if not splits:
        raise UserError(
            f"config.task.split={name}, but {task.name} has no {name} set; its splits "
            f"are {', '.join(task.files or ('train', 'dev'))}; name one of these"
        )
    return dict(splits)


def _task(own: Task, config: RunConfig) -> Task:
    """Returns the task to score: the model's own, or another that it predicts."""
    name = config.task.name
    task = own if name == own.name else registry.named(name)
    if own.name not in (task.name, task.predicted_by):
        raise UserError(
            f"config.task.name={task.name!r}, but the model in {config.init.path} was "
            f"fine-tuned on {own.name}; leave the name out, or name another model"
        )
    return task
