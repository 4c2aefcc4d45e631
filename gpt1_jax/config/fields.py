"""The config fields, each declared once.

A field's declaration is the only home of its default, meaning, role, source and allowed
values. The defaults are the paper's (Radford et al. 2018). `config.rules` derives the
rules about fields from these declarations.
"""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from gpt1_jax.config.declaration import (
    Role,
    architecture,
    data,
    dropout,
    execution,
    logging,
    trajectory,
)

# The values of data.corpus and data.task_dir that mean the built-in, synthetic data.
STORYWORLD = "storyworld"
COMPUTE_DTYPES = ("auto", "float32", "bfloat16", "float64")
SOURCES = ("files", "tfds")

_PAPER = "Sec. 4.1"
_TRAIN_PY = "finetune-transformer-lm train.py"


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture and regularisation of the backbone."""

    backbone: str = architecture(
        "transformer",
        "kind of model: a Transformer, or one LSTM layer of lstm_width units",
        "Sec. 4.1; lstm: Table 5",
        choices=("transformer", "lstm"),
    )
    num_layers: int = architecture(12, "Transformer blocks", _PAPER)
    width: int = architecture(768, "features of a hidden state", _PAPER)
    num_heads: int = architecture(12, "attention heads; must divide width", _PAPER)
    mlp_width: int = architecture(3072, "hidden units of a block's MLP", _PAPER)
    lstm_width: int = architecture(2048, "units of the LSTM", "Sec. 5")
    context_length: int = architecture(
        512, "tokens that the model reads at once", _PAPER, low=2, high=2**20
    )
    embedding_dropout: float = dropout(0.1, "dropout rate", _PAPER)
    residual_dropout: float = dropout(0.1, "dropout rate", _PAPER)
    attention_dropout: float = dropout(0.1, "dropout rate", _PAPER)
    classifier_dropout: float = dropout(
        0.1, "dropout rate before a task's head", 'Sec. 4.1, "Fine-tuning details"'
    )
    attention: str = execution(
        "auto",
        "implementation of attention: xla (reference), blocked, or fused (one kernel); "
        "auto: fused on GPUs that support it, blocked on CPUs from 384 positions on, "
        "else xla",
        choices=("auto", "xla", "blocked", "fused"),
    )
    compute_dtype: str = trajectory(
        "auto",
        "number format of products; auto: bfloat16 on accelerators, float32 on CPUs",
        choices=COMPUTE_DTYPES,
    )

    @property
    def depth(self) -> int:
        """Returns the number of layers that a transfer can copy from this model."""
        return self.num_layers if self.backbone == "transformer" else 1


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where text comes from and how it becomes tokens."""

    corpus: str = data(
        "",
        "text to pre-train on: a file, a glob or a directory of text, JSON Lines or "
        "parquet, a data set that `datasets` saved, a prepared token store, "
        "storyworld, or tfds:NAME; BooksCorpus cannot be shipped",
    )
    eval_corpus: str = data(
        "", "held-out text; empty: some documents of corpus are held out"
    )
    holdout_fraction: float = data(
        0.01,
        "share of the documents that is held out; the hash of their bytes decides, "
        "where eval_corpus is empty; also of the texts of train_file, without dev_file",
        low=0.0,
        high=0.5,
    )
    documents: str = data(
        "auto",
        "what a document is: a file, a line, a block between blank lines, or a record "
        "of a table; auto: a record of JSON Lines, parquet and the like, else a file",
        choices=("auto", "file", "line", "blank_line", "record"),
    )
    text_column: str = data(
        "", "column of a corpus's texts; empty: `text`, or the only column"
    )
    lowercase: bool = data(
        True,
        "train the tokenizer on lower-cased text; False: it keeps case, blank lines "
        "and indentation; a given tokenizer has its own rule",
    )
    strip_gutenberg: bool = data(
        True,
        "cut Project Gutenberg's licence; also the front matter of .md files",
    )
    windows: str = data(
        "contiguous",
        "training windows: cut from the joined documents (contiguous), or from each "
        "document, so that none crosses two (document)",
        choices=("contiguous", "document"),
    )
    tokenizer: str = data(
        "sentencepiece",
        "sentencepiece, bpe, openai or a directory; sentencepiece and bpe are trained "
        "on the training documents, and their tokens mark a word's beginning or, as in "
        "the paper, its end; openai is the released BPE, from openai_bpe_dir",
    )
    openai_bpe_dir: str = data(
        "", "directory of the released encoder_bpe_40000.json and vocab_40000.bpe"
    )
    vocab_size: int = data(
        40478,
        "entries of a tokenizer to train, without special tokens",
        "478 symbols and 40,000 merges, Sec. 4.1",
        low=300,
    )
    train_file: str = data(
        "",
        "table of your own texts and labels for experiments/finetune.py:own: csv, tsv, "
        "JSON Lines or parquet",
    )
    dev_file: str = data(
        "",
        "table of texts and labels to evaluate on; empty: examples of train_file are "
        "held out, a share of holdout_fraction, chosen by the hash of their text",
    )
    label_column: str = data("", "column of the labels in train_file; empty: inferred")
    text_columns: str = data(
        "",
        "columns of the texts in train_file, one or two, separated by a comma; of a "
        "choice, those before the answers; empty: inferred",
    )
    answer_columns: str = data(
        "",
        "columns of a choice's answers in train_file, separated by commas, or the one "
        "column of lists of answers; empty: inferred",
    )
    label_kind: str = data(
        "auto",
        "what the labels in train_file are: names of classes, numbers on a scale, or "
        "the choice of an answer; auto: inferred",
        choices=("auto", "class", "number", "choice"),
    )
    task_dir: str = data(
        "", "root of the tasks' official folders (CoLA, snli_1.0, ...), or storyworld"
    )
    source: str = data(
        "files",
        "files: official files below task_dir; tfds: data that TensorFlow Datasets "
        "prepared in tfds_dir",
        choices=SOURCES,
    )
    tfds_dir: str = data(
        "~/tensorflow_datasets", "directory of prepared TensorFlow Datasets"
    )
    cache_dir: str = execution(
        "~/.cache/gpt1_jax",
        "directory of prepared corpora, storyworld and compiled programs",
    )
    storyworld_seed: int = data(0, "seed of the synthetic world", low=0, high=2**32 - 1)
    storyworld_megabytes: float = data(
        2.0, "size of the synthetic books", low=0.01, high=10000.0
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long to train, and how often to log, evaluate and save."""

    batch_size: int = trajectory(
        64, "windows or examples per update; the paper fine-tunes with 32", _PAPER
    )
    eval_batch_size: int = execution(
        64, "windows or examples per batch of an evaluation"
    )
    epochs: int = trajectory(
        100, "passes over the training data; the paper fine-tunes for 3", _PAPER
    )
    max_steps: int = trajectory(
        0,
        "number of updates; 0: as many as epochs contain",
        low=0,
        may_grow=True,
    )
    accumulation_steps: int = execution(
        1, "microbatches into which a batch is split, to save memory"
    )
    log_every_steps: int = logging(100, "updates between logged rows")
    eval_every_steps: int = logging(
        10000, "updates between evaluations; 0: only at the end", low=0
    )
    checkpoint_every_steps: int = logging(
        2000, "updates between checkpoints; 0: only at the end", low=0
    )
    keep_checkpoints: int = logging(2, "number of newest checkpoints to keep", low=2)
    keep_at_steps: tuple[int, ...] = logging(
        (), "steps whose checkpoints are saved and never deleted"
    )
    early_stopping_patience: int = trajectory(
        0,
        "end training after this many evaluations in a row without a better score, the "
        "held-out loss or a task's first metric; 0: never",
        low=0,
    )
    keeps_best: bool = trajectory(
        False,
        "keep the step of the lowest held-out loss, for which the workdir then stands; "
        "fine-tuning always keeps its best",
    )
    tracker: str = logging(
        "none",
        "service that also gets the logged metrics; wandb: Weights & Biases, offline "
        "unless WANDB_MODE=online",
        choices=("none", "wandb"),
    )
    remat: bool = execution(
        False, "recompute activations in the backward pass instead of keeping them"
    )
    profile_steps: int = logging(
        0, "steps to trace into the workdir's profile/; 0: none", low=0, high=1000
    )


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Optimizer and learning-rate schedule."""

    name: str = trajectory(
        "openai_adam",
        "openai_adam: Adam as released; adamw: that of optax",
        "finetune-transformer-lm opt.py",
        choices=("openai_adam", "adamw"),
    )
    peak_learning_rate: float = trajectory(
        2.5e-4, "highest learning rate; the paper fine-tunes with 6.25e-5", _PAPER
    )
    schedule: str = trajectory(
        "cosine",
        "shape after the warm-up; the paper fine-tunes with linear",
        _PAPER,
        choices=("cosine", "linear", "constant"),
    )
    warmup_steps: int = trajectory(
        2000,
        "updates of the linear warm-up; either this or warmup_fraction",
        _PAPER,
        low=0,
    )
    warmup_fraction: float = trajectory(
        0.0,
        "warm-up as a share of all updates; the paper fine-tunes with 0.002",
        _PAPER,
        low=0.0,
        high=1.0,
    )
    weight_decay: float = trajectory(
        0.01,
        "decay of weights that are not biases or norm scales",
        _PAPER,
        low=0.0,
        high=1.0,
    )
    clip_norm: float = trajectory(1.0, "largest global norm of the gradient", _TRAIN_PY)
    b1: float = trajectory(
        0.9, "decay of the first moment", _TRAIN_PY, low=0.0, high=0.9999
    )
    b2: float = trajectory(
        0.999, "decay of the second moment", _TRAIN_PY, low=0.0, high=0.999999
    )
    eps: float = trajectory(1e-8, "Adam's epsilon", _TRAIN_PY)


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """The task to fine-tune on or to evaluate."""

    name: str = trajectory("", "name of a task, such as rte; pre-training has none")
    lm_coef: float = trajectory(
        0.5,
        "weight lambda of the auxiliary language-modelling loss",
        "Sec. 3.2, eq. (5)",
        low=0.0,
        high=100.0,
    )
    graded_target: str = trajectory(
        "soft6",
        "target of scores, as STS-B's: soft6 (six soft classes) or mse",
        "finetune-transformer-lm, stsb_label_encoding",
        choices=("soft6", "mse"),
    )
    split: str = data(
        "dev",
        "what the job evaluate scores: dev or test (all such sets), or one split",
    )
    num_train_scored: int = data(
        0,
        "number of training examples to score at the end as train_eval/METRIC",
        low=0,
    )


@dataclasses.dataclass(frozen=True)
class InitConfig:
    """The trained model that a run starts from."""

    path: str = trajectory(
        "none", "a workdir or its checkpoints/STEP; none: from scratch"
    )
    num_layers: int = trajectory(
        -1,
        "layers to copy: -1 all, 0 the embeddings, n the embeddings and the first n "
        "layers, -2 nothing but the tokenizer and the architecture",
        "Sec. 5, Figure 2",
        low=-2,
    )


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """The devices of a run, on one host or on many."""

    fsdp: bool = execution(
        False,
        "shard parameters and optimizer state over the devices instead of copying them",
    )
    distributed: str = execution(
        "auto",
        "whether this is one of several processes; auto: decided by SLURM, Open MPI, "
        "a TPU pod's environment or coordinator_address",
        choices=("auto", "on", "off"),
    )
    coordinator_address: str = execution(
        "", "HOST:PORT of the first process; empty: JAX finds it"
    )
    num_processes: int = execution(1, "number of processes, with coordinator_address")
    process_id: int = execution(0, "number of this process, from 0", low=0)
    start_seconds: int = execution(
        50, "how long a process that has started waits for the others to start"
    )


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that, together with the data, determines a run."""

    job: str = trajectory(
        "pretrain",
        "what the run does",
        choices=("pretrain", "finetune", "evaluate", "zeroshot"),
    )
    seed: int = trajectory(
        0, "seed of parameters, data order and dropout", low=0, high=2**32 - 1
    )
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    optim: OptimConfig = OptimConfig()
    task: TaskConfig = TaskConfig()
    init: InitConfig = InitConfig()
    mesh: MeshConfig = MeshConfig()


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Returns `{"model.width": 768, ...}` for a config dataclass."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{field.name}.")
        else:
            flat[prefix + field.name] = value
    return flat


def _declared(cls: Any, prefix: str = "") -> dict[str, dataclasses.Field]:
    """Returns the dataclass field of each path, such as model.width."""
    found: dict[str, dataclasses.Field] = {}
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.type):
            found |= _declared(field.type, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = field
    return found


FIELDS: Mapping[str, dataclasses.Field] = types.MappingProxyType(_declared(RunConfig))


def role(path: str) -> Role:
    """Returns the role of a field, such as `model.width`."""
    return FIELDS[path].metadata["role"]


def choices(path: str) -> tuple[str, ...]:
    """Returns the allowed strings of a field, such as `job`; empty: any string."""
    return FIELDS[path].metadata["choices"]


def paths_of(name: str) -> list[str]:
    """Returns the fields of this name in all groups: `width` -> [`model.width`]."""
    return [path for path in FIELDS if path.split(".")[-1] == name]
