"""Fine-tuning: a language model and a task's files to scores (Radford et al. 2018).

Sec. 3.2, 3.3 and 4.1. The step of best dev score is kept beside the last, as released.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from gpt1_jax import config as config_lib
from gpt1_jax import finetuned, pretrained, terminal
from gpt1_jax import workdir as workdir_lib
from gpt1_jax.config import RunConfig
from gpt1_jax.data import batches, preparation, task_data, tasks, tokenizers
from gpt1_jax.data.examples import Split
from gpt1_jax.data.inputs import Records
from gpt1_jax.evaluation import predictions
from gpt1_jax.evaluation.classify import Answers
from gpt1_jax.exits import UserError
from gpt1_jax.training import (
    checkpoint,
    loop,
    losses,
    mesh,
    metrics_log,
    optim,
    process,
    session,
    state,
    transfer,
)


def run(
    config: RunConfig | ConfigDict, workdir: str | Path = "runs/finetune"
) -> dict[str, Any]:
    """Fine-tunes, or goes on, in `workdir`; returns its result.json.

    In order: check the config; load the model and the task's files; build; restore or
    transfer; train and evaluate; predict dev and test with the best step.
    With config.init.path, sizes and tokenizer are those of the model there.
    Raises: UserError: an impossible config, files or model. RunFailed, Preempted: see
            training.loop.fit.
    """
    began = time.monotonic()
    config = config_lib.checked(config)
    task = tasks.named(config.task.name)
    if not task.train:
        raise UserError(
            f"config.task.name={task.name!r} has no training data; a task to fine-tune "
            f"on is expected; {_what_instead(task)}"
        )
    process.prepare(config.data.cache_dir)
    mesh.check_batch_size(config.train.batch_size, config.train.accumulation_steps)
    workdir = Path(workdir)
    source = None
    if config.init.path != "none":
        source = pretrained.restore(config.init.path)
        config = _with_sizes_of(source, config)
    workdir_lib.check(workdir, config)
    result = workdir_lib.read_result(workdir)
    if result and result["steps"] >= config.train.max_steps:
        terminal.say(f"{workdir} is finished: {_summary(result['metrics'])}")
        return result
    terminal.say(f"{mesh.describe(mesh.resolve_dtype(config.model))}; run: {workdir}")
    tokenizer = source.tokenizer if source else _tokenizer(config)
    finetuning = _FineTuning(finetuned.Recipe(config, task, tokenizer))
    with workdir_lib.hold(workdir):
        workdir_lib.check(workdir, config)  # again, as others may have been in it
        for warning in config_lib.warnings(config, finetuning.total_steps):
            terminal.warn(warning)
        scores = finetuning.train(workdir, source)
        result = session.write_result(
            workdir,
            config.job,
            steps=finetuning.total_steps,
            metrics=scores,
            began=began,
        )
    terminal.say(_summary(scores))
    terminal.say(
        f"next: python -m gpt1_jax.predict --checkpoint {workdir} --input FILE "
        "--output FILE.jsonl"
    )
    return result


def _what_instead(task: tasks.Task) -> str:
    if task.predicted_by:
        return f"fine-tune {task.predicted_by}, whose model predicts it"
    return "it is for zero-shot evaluation only"


def _with_sizes_of(source: pretrained.Restored, config: RunConfig) -> RunConfig:
    """`config` with the sizes of the model that it starts from."""
    sizes = pretrained.sizes(source.config)
    if config.init.num_layers > sizes["num_layers"]:
        raise UserError(
            f"config.init.num_layers={config.init.num_layers}; the model in "
            f"{config.init.path} has {sizes['num_layers']} layers; name at most as many"
        )
    shown = ", ".join(f"{name} {size}" for name, size in sizes.items())
    terminal.say(f"{config.init.path}: step {source.step:,}; {shown}")
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **sizes))


def _tokenizer(config: RunConfig) -> tokenizers.Tokenizer:
    """The tokenizer of a run from scratch: given, or learnt from the books."""
    source = preparation.tokenizer_source(config.data)
    if source != "sentencepiece":
        return tokenizers.load(Path(source))
    return preparation.open_corpus(config.data).tokenizer


def _summary(scores: dict[str, float]) -> str:
    """The kept step's scores in one line."""
    names = [name for name in scores if name.startswith("eval/")]
    return "dev " + ", ".join(
        f"{name.removeprefix('eval/')} {scores[name]:.4f}" for name in names
    )


class _FineTuning:
    """The model, the step and the data of one run, on the devices there are."""

    def __init__(self, recipe: finetuned.Recipe):
        self.recipe, config = recipe, recipe.config
        self.data = task_data.open_data(config.data)
        self.train_records = self._records(recipe.task.train)
        self.dev_records = {
            infix: self._records(split) for infix, split in recipe.task.dev.items()
        }
        lengths_R = self.train_records.lengths_RA.max(axis=1)
        self.buckets = batches.bucket_lengths(lengths_R, config.model.context_length)
        batch_size = config.train.batch_size
        self.indices = batches.make_train_order(
            lengths_R, self.buckets, batch_size=batch_size, seed=config.seed
        )
        self.steps_per_epoch = len(lengths_R) // batch_size
        self.total_steps = (
            config.train.max_steps or self.steps_per_epoch * config.train.epochs
        )
        padding = batches.padding(self.train_records, self.buckets)
        terminal.say(
            f"batches: padded to {', '.join(map(str, self.buckets))} tokens; "
            f"{padding:.0%} of them padding"
        )
        self.mesh = mesh.make_mesh()
        self.schedule = optim.make_schedule(config.optim, self.total_steps)
        self.tx = optim.make_optimizer(config.optim, self.total_steps)

    def _records(self, split: str) -> Records:
        """The records of a labelled split."""
        loaded = self.data.load(self.recipe.task, split)
        return self._told(split, loaded, self.recipe.labelled_records(loaded, split))

    def _told(self, name: str, loaded: Split, records: Records) -> Records:
        """`records`, after a word about what they are and what is unusual."""
        for note in loaded.notes:
            terminal.warn(note)
        cut = f"; {records.num_truncated:,} cut" if records.num_truncated else ""
        terminal.say(f"{self.recipe.task.name} {name}: {len(records):,} examples{cut}")
        return records

    def train(
        self, workdir: Path, source: pretrained.Restored | None
    ) -> dict[str, float]:
        """Trains to the end, from the newest checkpoint if there is one."""
        config = self.recipe.config
        replicated = mesh.replicated(self.mesh)
        init = state.make_init(self.recipe.init_params, self.tx, config.seed)
        like = checkpoint.abstract(jax.eval_shape(init), replicated)
        terminal.say(
            f"model: {session.num_parameters(like.params):,} parameters; "
            f"{self.total_steps:,} steps of {config.train.batch_size} examples"
        )

        def make_state() -> state.TrainState:
            fresh = jax.jit(init, out_shardings=replicated)()
            if source is None:
                return fresh
            moved = transfer.transfer(
                fresh.params, source.params, config.init.num_layers
            )
            terminal.say(transfer.describe(moved))
            params = jax.device_put(moved.params, replicated)
            return dataclasses.replace(fresh, params=params)

        fingerprint = {
            "tokenizer": self.recipe.tokenizer.fingerprint,
            "task data": task_data.fingerprint(self.train_records),
            "config": config_lib.fingerprint(config),
        }
        with session.begin(
            workdir,
            config.train,
            make_state=make_state,
            like=like,
            fingerprint=fingerprint,
            keeps_best=True,
        ) as run:
            workdir_lib.begin(workdir, config, self.recipe.tokenizer)
            loop.fit(run.state, self._job(run.save), config.train, run.log)
            best = run.checkpoints.best_step()
            params = run.checkpoints.restore_params(best, like.params)
            self._write_predictions(workdir, params)
        return _best_and_last(
            metrics_log.read(workdir / workdir_lib.METRICS_FILE), best
        )

    def _job(self, save: Callable[[state.TrainState, float | None], None]) -> loop.Job:
        """What the loop runs and calls."""
        config, recipe = self.recipe.config, self.recipe
        loss_fn = losses.make_task_loss(
            recipe.model,
            recipe.objective,
            chunk_elements=mesh.logits_chunk_elements(),
        )
        train_step = state.make_train_step(
            loss_fn,
            self.tx,
            self.schedule,
            seed=config.seed,
            accumulation_steps=config.train.accumulation_steps,
        )
        lengths_RA = self.train_records.lengths_RA
        return loop.Job(
            train_step=mesh.jit_step(train_step, self.mesh),
            batch_at=self._batch_at,
            evaluate=self._evaluate,
            save=save,
            total_steps=self.total_steps,
            tokens_at=lambda step: int(lengths_RA[self.indices(step)].sum()),
            eval_steps=range(
                self.steps_per_epoch, self.total_steps + 1, self.steps_per_epoch
            ),
            best_by=f"eval/{recipe.task.metrics[0]}",
        )

    def _batch_at(self, step: int) -> batches.TaskBatch:
        """The sharded batch of training step `step`; each process loads its rows."""
        batch_size = self.recipe.config.train.batch_size
        batch = batches.make_batch(
            self.train_records,
            self.indices(step),
            self.buckets,
            batch_size=batch_size,
            rows=mesh.local_rows(batch_size),
        )
        return mesh.shard_rows(batch, self.mesh)

    def _evaluate(self, params: Any) -> dict[str, float]:
        """The task's metrics on all dev sets, and where there are several on each."""
        answers = {
            infix: self._answers(params, records)
            for infix, records in self.dev_records.items()
        }
        scores = self.recipe.scores(self.dev_records, answers)
        return {f"eval/{name}": score for name, score in scores.items()}

    def _answers(self, params: Any, records: Records) -> Answers:
        with terminal.progress("evaluating", len(records), unit="examples") as bar:
            return self.recipe.answers(params, records, bar.advance)

    def _write_predictions(self, workdir: Path, params: Any) -> None:
        """predictions/SPLIT.jsonl of dev and test, and of a task that rides along."""
        recipe = self.recipe
        for infix, split in recipe.task.dev.items():
            records = self.dev_records[infix]
            answers = self._answers(params, records)
            predictions.write(workdir, split, recipe.predictions(records, answers))
        for task, split, name in task_data.test_splits(recipe.task):
            loaded = self.data.load_if_there(task, split)
            if loaded is None:
                terminal.say(f"{task.name} has no {split} split here; not predicted")
                continue
            records = self._told(name, loaded, recipe.records(loaded.examples))
            answers = recipe.answers(params, records)
            predictions.write(workdir, name, recipe.predictions(records, answers))


def _best_and_last(rows: list[dict[str, float]], best: int) -> dict[str, float]:
    """`eval/` metrics of the kept step, `last_eval/` of the last, and which it is."""
    by_step = {int(row["step"]): row for row in rows}
    kept = {n: v for n, v in by_step[best].items() if n.startswith("eval/")}
    last = {n: v for n, v in rows[-1].items() if n.startswith("eval/")}
    return kept | {f"last_{n}": v for n, v in last.items()} | {"best_step": best}
