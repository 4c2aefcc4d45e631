"""Fine-tuning of a language model on a task (Radford et al. 2018, Sec. 3.2, 3.3, 4.1).

The step with the best dev score is kept beside the last, as in the released code.
"""

import dataclasses
import functools
import shlex
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gpt1_jax import config as config_lib
from gpt1_jax import terminal
from gpt1_jax.config import STORYWORLD, RunConfig
from gpt1_jax.data.tasks import batches, own_files, registry, task_data
from gpt1_jax.data.tasks.records import Records
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.data.tasks.task import Task
from gpt1_jax.distributed import memory, mesh, multihost
from gpt1_jax.errors import UserError
from gpt1_jax.evaluation import predictions
from gpt1_jax.inference import classifier
from gpt1_jax.training import loop, losses, optim
from gpt1_jax.training import step as step_lib
from gpt1_jax.workdirs import metrics_log, model_store, session, starting_point
from gpt1_jax.workdirs import workdir as workdir_lib

# finetune-transformer-lm train.py evaluates after these updates of the first epoch too.
_RELEASED_EVAL_STEPS = (1000, 2000, 4000, 8000, 16000, 32000)


@multihost.ends_together
def run(
    config: RunConfig | ConfigDict, workdir: str | Path = "runs/finetune"
) -> dict[str, Any]:
    """Starts or resumes fine-tuning in `workdir`; returns its result.json.

    In order: check the config; load the task's files; build; restore or transfer; train
    and evaluate; predict dev and test with the best step.
    With config.init.path, architecture and tokenizer come from the model there.
    Raises: UserError: an impossible config, files or model. RunFailed, Preempted: see
            training.loop.fit.
    """
    began = time.monotonic()
    config, workdir = config_lib.checked(config), Path(workdir)
    task, description = _task(config, workdir)
    session.prepare_training(config, workdir)
    config = starting_point.with_inherited(config, workdir)
    if workdir_lib.has_checkpoint(workdir):
        registry.check(task, workdir)
    if result := session.finished_result(workdir, config):
        starting_point.check_unchanged(config, workdir)
        _predict_missing(config, task, workdir)
        terminal.say(f"{workdir} is finished: {_summary(result['metrics'])}")
        return result
    session.announce(config, workdir)
    if description:
        terminal.say(description)
    if config.init.path == "none":
        terminal.warn(
            "config.init.path=none: from scratch, without pre-training; "
            "--config.init.path=runs/pretrain starts from that model"
        )
    elif not workdir_lib.has_checkpoint(workdir):
        _warn_of_synthetic_tasks(config)
    with multihost.first_before_others("the data was prepared"):
        tokenizer = starting_point.tokenizer(config, workdir)
        data = task_data.open_data(config.data)
    finetuning = _FineTuning(classifier.TaskModel(config, task, tokenizer), data)
    result = session.complete(
        workdir,
        config,
        lambda: finetuning.train(workdir),
        total_steps=finetuning.total_steps,
        began=began,
    )
    terminal.say(_summary(result["metrics"]))
    terminal.say(
        f"next: python -m gpt1_jax.predict --checkpoint {shlex.quote(str(workdir))} "
        "--input FILE --output FILE.jsonl"
    )
    return result


def _task(config: RunConfig, workdir: Path) -> tuple[Task, str]:
    """Returns the task to fine-tune on, and a line about that of own labels.

    Raises: UserError: an unknown task, or one without training data.
    """
    name = config.task.name
    is_own = config.data.train_file or (name == own_files.NAME and name not in TASKS)
    if is_own and name not in TASKS:
        if _has_finished_on(config, workdir):  # the files may be gone
            return registry.load(name, workdir), ""
        return own_files.infer_task(config.data, name)
    if own_files.is_named(config.data):
        raise UserError(
            f"config.data.train_file={config.data.train_file!r}, dev_file="
            f"{config.data.dev_file!r}, but {name} has files of its own; they are for "
            "experiments/finetune.py:own; use it, or drop them"
        )
    task = registry.named(name)
    if not task.train:
        raise UserError(
            f"config.task.name={task.name!r} has no training data; a task to fine-tune "
            f"on is expected; {_what_instead(task)}"
        )
    return task, ""


def _has_finished_on(config: RunConfig, workdir: Path) -> bool:
    """Returns whether a run on the own labels of `config` has finished in `workdir`."""
    if not workdir_lib.is_finished(workdir):
        return False
    found = workdir_lib.read_config(workdir)
    return (found.task.name, found.data.train_file) == (
        config.task.name,
        config.data.train_file,
    )


def _warn_of_synthetic_tasks(config: RunConfig) -> None:
    """Warns if a model of real text is about to be fine-tuned on storyworld."""
    corpus = model_store.read_config(config.init.path).data.corpus
    if task_data.is_storyworld(config.data) and corpus != STORYWORLD:
        terminal.warn(
            f"config.data.task_dir={STORYWORLD} is synthetic data, but the model was "
            f"pre-trained on {corpus or 'other text'}; --config.data.task_dir=DIR "
            "fine-tunes it on the files there"
        )


def _what_instead(task: Task) -> str:
    if task.predicted_by:
        return f"fine-tune {task.predicted_by}, whose model predicts it"
    return "it is for zero-shot evaluation only"


def _predict_missing(config: RunConfig, task: Task, workdir: Path) -> None:
    """Predicts the test splits whose files were added after the run finished."""
    missing = [
        found
        for found in task_data.test_splits(task)
        if not predictions.path_of(workdir, found[-1]).is_file()
    ]
    if not missing:
        return
    data = task_data.open_data(config.data)
    added = [found for found in missing if data.has(*found[:2])]
    if added:
        model = classifier.load(workdir)
        for test_task, split, name in added:
            terminal.say(f"predicting {name}, whose files were added")
            records = _test_records(model.task_model, data, test_task, split)
            _write(model.task_model, model.params, workdir, {name: records})


def _test_records(
    recipe: classifier.TaskModel,
    data: task_data.TaskData,
    task: Task,
    split: str,
) -> Records:
    """Returns the records of a test split, of the own task or an auxiliary one."""
    test_recipe = dataclasses.replace(recipe, task=task)
    return test_recipe.load_records(data, split, must_have_labels=False)


def _write(
    recipe: classifier.TaskModel,
    params: Any,
    workdir: Path,
    records: dict[str, Records],
) -> None:
    """Writes predictions/NAME.jsonl for each of `records`."""
    for name, found in records.items():
        rows = recipe.predictions(found, recipe.answers(params, found))
        if multihost.is_first():
            predictions.write(workdir, name, rows)


def _summary(scores: dict[str, float]) -> str:
    """Returns the scores of the kept step in one line."""
    names = [name for name in scores if name.startswith("eval/")]
    return "dev " + ", ".join(
        f"{name.removeprefix('eval/')} {scores[name]:.4f}" for name in names
    )


class _FineTuning:
    """The model, the training step and the data of one run, on all devices."""

    def __init__(self, recipe: classifier.TaskModel, data: task_data.TaskData):
        self.recipe, config = recipe, recipe.config
        terminal.say(f"task data: {data.directory}")
        self.train_records, *dev_records = (
            recipe.load_records(data, split, must_have_labels=True)
            for split in (recipe.task.train, *recipe.task.dev.values())
        )
        self.dev_records = dict(zip(recipe.task.dev, dev_records, strict=True))
        # Read before the training, so that a damaged file is found at once.
        self.test_records = {}
        for task, split, name in task_data.test_splits(recipe.task):
            if data.has(task, split):
                self.test_records[name] = _test_records(recipe, data, task, split)
            else:
                terminal.say(f"{task.name} has no {split} split here; not predicted")
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
        num_sequences = self.train_records.lengths_RA.shape[1]
        memory.check_training(
            config,
            vocab_size=recipe.tokenizer.vocab_size,
            sequences=batch_size * num_sequences,
            length=self.buckets[-1],
        )
        self.mesh = mesh.make_mesh()
        self.schedule = optim.make_schedule(config.optim, self.total_steps)
        self.tx = optim.make_optimizer(config.optim, self.total_steps)

    def train(self, workdir: Path) -> dict[str, float]:
        """Trains to the end, from the newest checkpoint if there is one."""
        config = self.recipe.config
        init = step_lib.make_init(self.recipe.init_params, self.tx)
        like = session.state_like(init, self.mesh, config.mesh)
        shardings = session.shardings_of(like)
        terminal.say(
            f"model: {session.num_parameters(like.params):,} parameters; "
            f"{self.total_steps:,} steps of {config.train.batch_size} examples"
        )

        def make_state() -> step_lib.TrainState:
            fresh = jax.jit(init, out_shardings=shardings)(np.uint32(config.seed))
            if config.init.path == "none":
                terminal.say("from scratch: every parameter is initialised")
                return fresh
            return starting_point.state(config, fresh, shardings.params)

        fingerprint = {
            "tokenizer": self.recipe.tokenizer.fingerprint,
            "task data": task_data.fingerprint(self.train_records),
            "config": config_lib.fingerprint(config),
        } | starting_point.facts(config)
        with session.begin(
            workdir,
            config,
            make_state=make_state,
            like=like,
            fingerprint=fingerprint,
            keeps_best=True,
        ) as run:
            if multihost.is_first():
                workdir_lib.begin(workdir, config, self.recipe.tokenizer)
                registry.save(self.recipe.task, workdir)
            job = self._job(run, shardings)
            loop.fit(run.state, job, config.train, run.log)
            best = run.checkpoints.best_step()
            assert best is not None
            params = run.checkpoints.restore_params(best, like.params)
            self._write_predictions(workdir, params)
            training_scores = self._training_scores(params)
            evaluate = functools.partial(job.evaluate, params)
            scores = metrics_log.best_and_last(run.log.rows, best, evaluate)
        return scores | training_scores

    def _job(
        self,
        run: session.Session,
        shardings: step_lib.TrainState,
    ) -> loop.Job:
        """Returns the functions that the loop calls."""
        config, recipe = self.recipe.config, self.recipe
        loss_fn = losses.make_task_loss(
            recipe.model,
            recipe.objective,
            chunk_elements=mesh.logits_chunk_elements(),
        )
        train_step = step_lib.make_train_step(
            mesh.with_replicated_params(loss_fn, self.mesh),
            self.tx,
            self.schedule,
            accumulation_steps=config.train.accumulation_steps,
        )
        jitted = mesh.jit_step(train_step, self.mesh, shardings)
        compiled = step_lib.CompiledStep(jitted, np.uint32(config.seed))
        lengths_RA = self.train_records.lengths_RA
        return loop.Job(
            train_step=run.profile.traced(compiled, self.total_steps),
            is_compiled=compiled.is_compiled,
            compile=compiled.compile,
            batch_at=self._batch_at,
            evaluate=self._evaluate,
            save=run.save,
            total_steps=self.total_steps,
            tokens_at=lambda step: int(lengths_RA[self.indices(step)].sum()),
            eval_steps=self._eval_steps(),
            best_by=f"eval/{recipe.task.metrics[0]}",
            set_score=run.checkpoints.set_score,
            contents=lambda step: {"examples": self.indices(step).tolist()},
        )

    def _eval_steps(self) -> set[int]:
        """Returns the ends of epochs and, as released, some updates of the first."""
        ends = range(self.steps_per_epoch, self.total_steps + 1, self.steps_per_epoch)
        early = {n for n in _RELEASED_EVAL_STEPS if n < self.steps_per_epoch}
        return early.union(ends)

    def _batch_at(self, step: int) -> batches.TaskBatch:
        """Returns the sharded batch of a training step; each process loads its rows."""
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
        """Returns the metrics on all dev sets together and, if several, on each."""
        answers = {
            infix: self.recipe.answers(params, records)
            for infix, records in self.dev_records.items()
        }
        scores = self.recipe.scores(self.dev_records, answers)
        return {f"eval/{name}": score for name, score in scores.items()}

    def _training_scores(self, params: Any) -> dict[str, float]:
        """Returns train_eval/ metrics of evenly spaced training examples."""
        total = len(self.train_records)
        count = min(self.recipe.config.task.num_train_scored, total)
        if not count:
            return {}
        sample = self.train_records.take(np.arange(count) * total // count)
        scores = self.recipe.scores(
            {"": sample}, {"": self.recipe.answers(params, sample)}
        )
        return {f"train_eval/{name}": score for name, score in scores.items()}

    def _write_predictions(self, workdir: Path, params: Any) -> None:
        """Writes predictions/SPLIT.jsonl of dev, test and auxiliary test sets."""
        dev_splits = self.recipe.task.dev
        named = {dev_splits[infix]: found for infix, found in self.dev_records.items()}
        _write(self.recipe, params, workdir, named | self.test_records)
