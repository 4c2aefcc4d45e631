"""Compares fine-tuning steps padded to a few lengths with steps padded to one.

    python -m benchmarks.finetune_epoch --checkpoint runs/pretrain --task sst2 \
        --task_dir /data/glue_data

Both sides train the same model on the same examples in the same order, at a constant
learning rate. `buckets` pads to at most six lengths, as the job does; `padded` pads all
to --length. They share one process and its compiled programs, and train on --batches
batches of 32.
"""

import dataclasses
import functools
import time
from typing import Any

import jax
import numpy as np
from absl import flags

from benchmarks import side_by_side
from experiments import finetune as experiment
from gpt1_jax import config
from gpt1_jax.cli import app
from gpt1_jax.data.tasks import batches, registry, task_data
from gpt1_jax.distributed import mesh, runtime
from gpt1_jax.inference import classifier
from gpt1_jax.training import losses, optim, transfer
from gpt1_jax.training import step as step_lib
from gpt1_jax.workdirs import model_store

_FLAGS = flags.FlagValues()
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "A pre-trained workdir.", required=True, flag_values=_FLAGS
)
_TASK = flags.DEFINE_string("task", "sst2", "A task.", flag_values=_FLAGS)
_TASK_DIR = flags.DEFINE_string(
    "task_dir", "storyworld", "The root of the official folders.", flag_values=_FLAGS
)
_LENGTH = flags.DEFINE_integer(
    "length", 512, "Tokens that `padded` pads to.", 8, flag_values=_FLAGS
)
_NUM_BATCHES = flags.DEFINE_integer("batches", 20, "Batches.", 1, flag_values=_FLAGS)
_COMPARISON = side_by_side.define("finetune_epoch", _FLAGS)


def main() -> None:
    """Runs the command."""
    runtime.keep_freed_memory()
    found = model_store.restore(_CHECKPOINT.value)
    task = registry.named(_TASK.value)
    recipe = classifier.TaskModel(_config(found), task, found.tokenizer)
    data = task_data.open_data(recipe.config.data)
    dev_split = next(iter(task.dev.values()))
    train, dev = (
        recipe.records(data.load(task, split).examples)
        for split in (task.train, dev_split)
    )
    buckets = batches.bucket_lengths(train.lengths_RA.max(axis=1), _LENGTH.value)
    sides = {"buckets": buckets, "padded": (_LENGTH.value,)}
    run, untrained = _make_run(recipe, train, buckets, found.params)

    def measure(lengths: tuple[int, ...]) -> side_by_side.Run:
        began = time.perf_counter()
        run(lengths)
        return {"seconds": time.perf_counter() - began}

    # Training each side once compiles, and gives the scores.
    params = {"untrained": untrained} | {side: run(sides[side]) for side in sides}
    logits = {
        side: recipe.batched_logits.logits(
            its, dev, batches.eval_buckets(_LENGTH.value)
        )
        for side, its in params.items()
    }
    rounds = side_by_side.run_rounds(
        _COMPARISON,
        {side: functools.partial(measure, sides[side]) for side in sides},
        lambda run: f"{run['seconds']:.1f} s",
    )
    summaries = side_by_side.summary(rounds)
    for side, row in summaries.items():
        answers = recipe.answers(params[side], dev)
        row["dev_scores"] = recipe.scores({"": dev}, {"": answers})
        row["padding"] = batches.padding(train, sides[side])
    side_by_side.publish(
        _COMPARISON,
        summaries,
        {
            "s": lambda row: f"{row['median_seconds']:.2f}",
            "padding": lambda row: f"{row['padding']:.0%}",
            "over buckets": side_by_side.ratio,
            "dev": lambda row: str(row["dev_scores"]),
        },
        largest_change_of_a_dev_logit={
            "by padding": float(abs(logits["buckets"] - logits["padded"]).max()),
            "by training": float(abs(logits["buckets"] - logits["untrained"]).max()),
        },
        buckets=buckets,
        batches=_NUM_BATCHES.value,
        device=jax.devices()[0].device_kind,
    )


def _config(found: model_store.Restored) -> config.RunConfig:
    """Returns the experiment's config, with the checkpoint's sizes and --length."""
    experiment_config = experiment.get_config(_TASK.value)
    experiment_config.data.task_dir = _TASK_DIR.value
    experiment_config.train.batch_size = 32
    experiment_config.optim.schedule = "constant"
    experiment_config = config.from_mapping(experiment_config)
    inherited = config.inherit(
        experiment_config, found.config, (config.Role.ARCHITECTURE,)
    )
    return config.replace(inherited, {"model.context_length": _LENGTH.value})


def _make_run(
    recipe: classifier.TaskModel, train: Any, buckets: tuple[int, ...], trained: Any
) -> tuple[Any, Any]:
    """Returns a function from lengths to trained parameters, and untrained ones.

    The batches have the order of `buckets` on both sides.
    """
    cfg = recipe.config
    lengths_R = train.lengths_RA.max(axis=1)
    indices = batches.make_train_order(
        lengths_R, buckets, batch_size=cfg.train.batch_size, seed=0
    )
    total_steps = len(lengths_R) // cfg.train.batch_size * cfg.train.epochs
    schedule = optim.make_schedule(cfg.optim, total_steps)
    tx = optim.make_optimizer(cfg.optim, total_steps)
    devices = mesh.make_mesh()
    loss_fn = losses.make_task_loss(
        recipe.model, recipe.objective, chunk_elements=mesh.logits_chunk_elements()
    )
    step = mesh.jit_step(step_lib.make_train_step(loss_fn, tx, schedule), devices)
    init = jax.jit(
        step_lib.make_init(recipe.init_params, tx),
        out_shardings=mesh.replicated(devices),
    )
    found = {name: leaf for name, leaf in trained.items() if name != "head"}
    found["embed"] = found["embed"] | {
        "position": _resized(found["embed"]["position"], cfg.model.context_length)
    }

    def begin() -> step_lib.TrainState:
        fresh = init()
        moved = transfer.transfer(fresh.params, found, -1)
        params = jax.device_put(moved.params, mesh.replicated(devices))
        return dataclasses.replace(fresh, params=params)

    def run(lengths: tuple[int, ...]) -> Any:
        now = begin()
        for number in range(min(_NUM_BATCHES.value, len(lengths_R) // 32)):
            batch = batches.make_batch(
                train, indices(number), lengths, batch_size=cfg.train.batch_size
            )
            now, _ = step(now, mesh.shard_rows(batch, devices), 0)
        return jax.block_until_ready(now.params)

    return run, begin().params


def _resized(position_LD: Any, length: int) -> Any:
    """Returns a table of `length` positions that repeats the trained ones."""
    return np.resize(np.asarray(position_LD), (length, position_LD.shape[1]))


if __name__ == "__main__":
    app.run(main, _FLAGS)
