"""What length buckets save: fine-tuning steps padded to few lengths, and all to one.

    python -m benchmarks.finetune_epoch --checkpoint runs/pretrain --task sst2 \
        --task_dir /data/glue_data

Both sides train the same model on the same examples in the same order, at a constant
rate, and evaluate on dev; one pads to at most six lengths, as the job does, the other
all to --length. They take turns, --rounds times, over a part of an epoch: --batches.
As both are this project's, they share one process, and what it compiled.
"""

import dataclasses
import time
from typing import Any

import jax
import numpy as np
from absl import flags

from benchmarks import side_by_side
from experiments import finetune as experiment
from gpt1_jax import config, terminal
from gpt1_jax.cli import app
from gpt1_jax.data.tasks import batches, loading, task_data
from gpt1_jax.distributed import mesh, runtime
from gpt1_jax.inference import classifier
from gpt1_jax.training import losses, optim, transfer
from gpt1_jax.training import step as step_lib
from gpt1_jax.workdirs import model_store, starting_point

_FLAGS = flags.FlagValues()
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "A pre-trained workdir.", required=True, flag_values=_FLAGS
)
_TASK = flags.DEFINE_string("task", "sst2", "A task.", flag_values=_FLAGS)
_TASK_DIR = flags.DEFINE_string(
    "task_dir", "storyworld", "The root of the official folders.", flag_values=_FLAGS
)
_LENGTH = flags.DEFINE_integer(
    "length", 512, "What the other side pads to, in tokens.", 8, flag_values=_FLAGS
)
_BATCHES = flags.DEFINE_integer("batches", 20, "Of 32.", 1, flag_values=_FLAGS)
_COMPARISON = side_by_side.define("finetune_epoch", _FLAGS)


def main() -> None:
    """Runs the command."""
    runtime.keep_freed_memory()
    found = model_store.restore(_CHECKPOINT.value)
    run_config = _config(found)
    task = loading.named(_TASK.value)
    recipe = classifier.TaskModel(run_config, task, found.tokenizer)
    data = task_data.open_data(run_config.data)
    train = recipe.records(data.load(task, task.train).examples)
    (dev_split, *_) = task.dev.values()
    dev = recipe.records(data.load(task, dev_split).examples)
    lengths_R = train.lengths_RA.max(axis=1)
    buckets = batches.bucket_lengths(lengths_R, _LENGTH.value)
    sides = {"buckets": buckets, "padded": (_LENGTH.value,)}
    rounds: side_by_side.Rounds = {side: [] for side in sides}
    scores: dict[str, dict[str, float]] = {}
    run, start = _make_run(recipe, train, buckets, found.params)
    results = {"untrained": start} | {  # compiles, and gives the scores
        side: run(lengths) for side, lengths in sides.items()
    }
    logits = {}
    for side, params in results.items():
        answers = recipe.answers(params, dev)
        scores[side] = recipe.scores({"": dev}, {"": answers})
        logits[side] = recipe.batched_logits.logits(
            params, dev, batches.eval_buckets(_LENGTH.value)
        )
    num_rounds = _COMPARISON.rounds.value
    for number in range(1, num_rounds + 1):
        for side, lengths in sides.items():
            began = time.perf_counter()
            run(lengths)
            elapsed = time.perf_counter() - began
            rounds[side].append({"seconds": elapsed})
            terminal.say(f"round {number}/{num_rounds}, {side}: {elapsed:.1f} s")
    summaries = side_by_side.summary(rounds)
    for side, row in summaries.items():
        row["dev_scores"] = scores[side]
        row["padding"] = batches.padding(train, sides[side])
    report = side_by_side.report(
        _COMPARISON,
        summaries,
        largest_change_of_a_dev_logit={
            "by padding": float(abs(logits["buckets"] - logits["padded"]).max()),
            "by training": float(abs(logits["buckets"] - logits["untrained"]).max()),
        },
        buckets=buckets,
        batches=_BATCHES.value,
        device=jax.devices()[0].device_kind,
    )
    terminal.say(_render(report))
    side_by_side.write(_COMPARISON, report)


def _config(found: model_store.Restored) -> config.RunConfig:
    """The experiment's, with the checkpoint's sizes and room for the padded length."""
    experiment_config = experiment.get_config(_TASK.value)
    experiment_config.data.task_dir = _TASK_DIR.value
    experiment_config.train.batch_size = 32
    experiment_config.optim.schedule = "constant"
    run_config = config.from_mapping(experiment_config)
    sizes = starting_point.sizes(found.config) | {"context_length": _LENGTH.value}
    model = dataclasses.replace(run_config.model, **sizes)
    return dataclasses.replace(run_config, model=model)


def _make_run(
    recipe: classifier.TaskModel, train: Any, buckets: tuple[int, ...], trained: Any
) -> tuple[Any, Any]:
    """(lengths to pad to -> the parameters after the first batches), and before them.

    The order of the batches is that of `buckets` on both sides.
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
        "position": _room(found["embed"]["position"], cfg.model.context_length)
    }

    def begin() -> step_lib.TrainState:
        fresh = init()
        moved = transfer.transfer(fresh.params, found, -1)
        params = jax.device_put(moved.params, mesh.replicated(devices))
        return dataclasses.replace(fresh, params=params)

    def run(lengths: tuple[int, ...]) -> Any:
        now = begin()
        for number in range(min(_BATCHES.value, len(lengths_R) // 32)):
            batch = batches.make_batch(
                train, indices(number), lengths, batch_size=cfg.train.batch_size
            )
            now, _ = step(now, mesh.shard_rows(batch, devices), 0)
        return jax.block_until_ready(now.params)

    return run, begin().params


def _room(position_LD: Any, length: int) -> Any:
    """A table of `length` positions: the trained ones over and over."""
    return np.resize(np.asarray(position_LD), (length, position_LD.shape[1]))


def _render(report: dict[str, Any]) -> str:
    """The report as lines for the terminal."""
    lines = [
        f"{side:<8} {row['median_seconds']:8.2f} s for {report['batches']} batches, "
        f"{row['padding']:.0%} padding, dev {row['dev_scores']}"
        for side, row in report["sides"].items()
    ]
    for cause, change in report["largest_change_of_a_dev_logit"].items():
        lines.append(f"largest change of a dev logit {cause}: {change:.2g}")
    lines += side_by_side.ratio_lines(report["sides"])
    return "\n".join([*lines, side_by_side.machine_line(report)])


if __name__ == "__main__":
    app.run(main, _FLAGS)
