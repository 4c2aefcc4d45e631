"""A backbone with a task's head: how to build it, load it and predict with it."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gpt1_jax import terminal
from gpt1_jax.config import RunConfig
from gpt1_jax.data.tasks import batches, registry, validation
from gpt1_jax.data.tasks import records as records_lib
from gpt1_jax.data.tasks.examples import Example, Split
from gpt1_jax.data.tasks.records import NUM_SPECIALS, Records
from gpt1_jax.data.tasks.task import Task
from gpt1_jax.data.tasks.task_data import TaskData
from gpt1_jax.data.text import tokenizers
from gpt1_jax.distributed import mesh
from gpt1_jax.errors import UserError
from gpt1_jax.evaluation import metrics
from gpt1_jax.evaluation.predictions import Answer, Prediction
from gpt1_jax.inference import task_logits
from gpt1_jax.models import backbone, heads
from gpt1_jax.models.backbone import Backbone
from gpt1_jax.training.losses import TaskObjective
from gpt1_jax.workdirs import model_store

# A text, the texts of the task's columns, or an Example.
Row = str | tuple[str, ...] | Example


@dataclasses.dataclass(frozen=True)
class TaskModel:
    """A task's model without its parameters: config, task and tokenizer."""

    config: RunConfig
    task: Task
    tokenizer: tokenizers.Tokenizer

    @property
    def target(self) -> str:
        """The target of the head's loss; see training.losses.target_loss."""
        return self.config.task.graded_target if self.task.is_graded else "softmax"

    @property
    def is_choice(self) -> bool:
        return self.task.kind == "choice"

    @property
    def objective(self) -> TaskObjective:
        """The objective of fine-tuning on the task."""
        return TaskObjective(
            self.target,
            self.is_choice,
            lm_coef=self.config.task.lm_coef,
            classifier_dropout=self.config.model.classifier_dropout,
        )

    @functools.cached_property
    def model(self) -> Backbone:
        """The backbone; its token table has rows for specials after the vocabulary."""
        return backbone.make(
            mesh.resolve_dtype(self.config.model),
            self.tokenizer.vocab_size + NUM_SPECIALS,
            remat=self.config.train.remat,
        )

    def init_params(self, key: jax.Array) -> Any:
        """Returns fresh parameters of backbone and head."""
        backbone_key, head_key = jax.random.split(key)
        num_outputs = {"softmax": len(self.task.classes) or 1, "soft6": 6, "mse": 1}
        head = heads.init_head(
            head_key, self.config.model.width, num_outputs[self.target]
        )
        return backbone.init_params(self.model, backbone_key) | {"head": head}

    def records(self, examples: Iterable[Example]) -> Records:
        """Returns the records of `examples`; see records.make_records."""
        layout = records_lib.make_layout(
            self.tokenizer.vocab_size, self.config.model.context_length
        )
        return records_lib.make_records(
            self.task, examples, self.tokenizer.encode, layout
        )

    def load_records(
        self, data: TaskData, split: str, *, must_have_labels: bool
    ) -> Records:
        """Returns the records of a split on disk, and prints notes on it and its size.

        Raises: UserError, NotFound: see TaskData.load; or an example has no label
                though must_have_labels is true.
        """
        loaded = data.load(self.task, split)
        for note in loaded.notes:
            terminal.warn(note)
        if must_have_labels:
            self._check_labels(loaded, split)
        with terminal.progress(
            f"reading {split}", len(loaded.examples), unit="examples"
        ) as bar:
            records = self.records(bar.over(loaded.examples))
        cut = f"; {records.num_truncated:,} cut" if records.num_truncated else ""
        count = terminal.counted(len(records), "example")
        terminal.say(f"{self.task.name} {split}: {count}{cut}")
        return records

    def _check_labels(self, loaded: Split, split: str) -> None:
        unlabelled = sum(example.label is None for example in loaded.examples)
        if unlabelled:
            raise UserError(
                f"split {split} of {self.task.name}: {unlabelled:,} of "
                f"{terminal.counted(len(loaded.examples), 'example')} without a label; "
                "training and scoring need all labels; use a split that has labels"
            )

    @functools.cached_property
    def batched_logits(self) -> task_logits.TaskLogits:
        """The compiled function from records to logits."""
        return task_logits.TaskLogits(
            self.model,
            is_choice=self.is_choice,
            batch_size=self.config.train.eval_batch_size,
            mesh=mesh.make_mesh(),
        )

    def answers(self, params: Any, records: Records) -> task_logits.Answers:
        """Returns the model's answers to `records`, in order."""
        buckets = batches.eval_buckets(self.config.model.context_length)
        with terminal.progress("evaluating", len(records), unit="examples") as bar:
            logits_RC = self.batched_logits.logits(
                params, records, buckets, bar.advance
            )
        return task_logits.answers(self.target, logits_RC)

    def scores(
        self, records: Mapping[str, Records], answers: Mapping[str, task_logits.Answers]
    ) -> dict[str, float]:
        """Returns the task's metrics on all sets together, and on each if several.

        Args: records, answers: by the prefix of a set's metrics, such as `matched`.
        """
        names = self.task.metrics
        labels_R = np.concatenate([found.labels_R for found in records.values()])
        values_R = np.concatenate([answers[prefix].values_R for prefix in records])
        scores = metrics.compute(names, labels_R, values_R)
        for prefix in records if len(records) > 1 else ():
            found = metrics.compute(
                names, records[prefix].labels_R, answers[prefix].values_R
            )
            scores |= {f"{prefix}/{name}": score for name, score in found.items()}
        return scores

    def predictions(
        self, records: Records, answers: task_logits.Answers
    ) -> list[Prediction]:
        """Returns a row of predictions/SPLIT.jsonl for each record."""
        return [
            Prediction(
                index,
                None if np.isnan(label) else self._named(label),
                self._named(value),
                tuple(probabilities_C.tolist()),
            )
            for index, (label, value, probabilities_C) in enumerate(
                zip(records.labels_R, *answers, strict=True)
            )
        ]

    def _named(self, value: float) -> Answer:
        """Returns the name of a class, the name or index of a choice, or a score."""
        if self.task.is_graded:
            return float(self.task.score_of(value))
        names = self.task.classes or self.task.answer_names
        return names[int(value)] if names else int(value)


@dataclasses.dataclass(frozen=True, repr=False)
class Classifier:
    """A fine-tuned model, with the parameters of training step `step`."""

    task_model: TaskModel
    params: Any
    step: int

    def __repr__(self) -> str:
        task = self.task_model.task
        answers = ", ".join(task.classes) or task.kind
        return f"Classifier({task.name}: {answers}; step {self.step:,})"

    def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        """Returns the model's answer to each row, with its probabilities.

        Args:   rows: a text each, for tasks on single texts; a tuple of texts each, in
                the order of the task's columns; or Examples.
        Raises: UserError: a row is none of these, or an Example is invalid.
        """
        examples = make_examples(self.task_model.task, rows)
        if not examples:
            return []
        records = self.task_model.records(examples)
        if records.num_truncated:
            terminal.warn(
                f"cut to the context: {terminal.counted(records.num_truncated, 'text')}"
            )
        answers = self.task_model.answers(self.params, records)
        return self.task_model.predictions(records, answers)


def make_examples(task: Task, rows: Sequence[Row]) -> list[Example]:
    """Returns an unlabelled Example for each row; Examples are kept as they are.

    Raises: UserError: see Classifier.predict.
    """
    if isinstance(rows, str | Example):
        raise UserError(
            f"predict was given one {type(rows).__name__}; a list of rows is expected; "
            "put it into a list"
        )
    examples = [_make_example(task, row, number) for number, row in enumerate(rows)]
    validation.check_examples(task, examples, f"rows of {task.name}")
    return examples


def _make_example(task: Task, row: Row, number: int) -> Example:
    if isinstance(row, Example):
        return row
    texts = (row,) if isinstance(row, str) else row
    columns = task.input_columns
    names = () if columns.has_list else columns.needed
    is_texts = isinstance(texts, tuple) and all(isinstance(text, str) for text in texts)
    if not names or not is_texts or len(texts) != len(names):
        given = (
            terminal.counted(len(texts), "text")
            if is_texts
            else f"of type {type(row).__name__}"
        )
        count = terminal.counted(len(names), "text")
        wanted = f"{count}, {', '.join(map(str, names))}, or an Example"
        raise UserError(
            f"row {number} is {given}; {task.name} takes "
            f"{wanted if names else 'Examples only'}; change the row"
        )
    example = columns.example(dict(zip(names, texts, strict=True)), "", Counter())
    assert example  # it is None only for a missing label
    return example


def load(path: str | Path) -> Classifier:
    """Returns the fine-tuned model in a workdir (its best step) or a checkpoints/STEP.

    Raises: UserError, NotFound: there is no run, or it was not fine-tuned.
    """
    found = model_store.restore(path)
    if "head" not in found.params or not found.config.task.name:
        raise UserError(
            f"{path} holds no fine-tuned model; its job is {found.config.job}; name "
            "the workdir of a run of experiments/finetune.py"
        )
    assert found.tokenizer  # restore requires one
    task = registry.load(found.config.task.name, model_store.workdir_of(path))
    task_model = TaskModel(found.config, task, found.tokenizer)
    return Classifier(task_model, found.params, found.step)
