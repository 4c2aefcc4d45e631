"""Every config field, declared once, with all that is known of it.

A field's declaration is the only home of its default, meaning, role, source and allowed
values. The defaults are the paper's (Radford et al. 2018). The rules about fields are
derived from these declarations, see `config.rules`.
"""

import dataclasses
import enum
import functools
import types
from collections.abc import Mapping
from typing import Any


class Role(enum.StrEnum):
    """What a field is for; every rule about fields follows from it."""

    # What a model is. Inherited by every run that starts from the model.
    ARCHITECTURE = "architecture"
    # Dropout. Changes the numbers of a run; an evaluation inherits it.
    REGULARISATION = "regularisation"
    # Which data is read. The data's own hash goes into the checkpoints.
    DATA = "data"
    # Anything else that changes the numbers of a run.
    TRAJECTORY = "trajectory"
    # How a run is computed; changes numbers by rounding only. Free on resume.
    EXECUTION = "execution"
    # What is logged, evaluated, saved and kept. Free on resume.
    LOGGING = "logging"


# The values of data.corpus and data.task_dir that mean the built-in, synthetic data.
STORYWORLD = "storyworld"
COMPUTE_DTYPES = ("auto", "float32", "bfloat16", "float64")
SOURCES = ("files", "tfds")


_LARGEST_INT = 2**31 - 1
_PAPER = "Sec. 4.1"
_TRAIN_PY = "finetune-transformer-lm train.py"


def _field(
    role: Role,
    default: Any,
    meaning: str,
    source: str = "",
    *,
    choices: tuple[str, ...] = (),
    low: float | None = None,
    high: float | None = None,
    may_grow: bool = False,
) -> Any:
    """Declares a config field.

    Args: source: where the default is from, if the paper or its code names it. choices:
          the allowed strings; none: any. low, high: the closed range of a number, or of
          each element of a tuple; by default 1 and up for integers, above 0 for floats.
          may_grow: True for a length of training that a resumed run may raise, where
          the schedule does not depend on it; it is left out of the fingerprint.
    """
    is_integer = isinstance(default, int | tuple)
    if low is None:
        low = 1 if is_integer else 1e-30
    if high is None:
        high = _LARGEST_INT if is_integer else 1e30
    metadata = {
        "role": role,
        "meaning": meaning,
        "source": source,
        "choices": choices,
        "range": None if isinstance(default, str | bool) else (low, high),
        "may_grow": may_grow,
    }
    return dataclasses.field(default=default, metadata=metadata)


_architecture = functools.partial(_field, Role.ARCHITECTURE)
_dropout = functools.partial(_field, Role.REGULARISATION, low=0.0, high=0.99)
_data = functools.partial(_field, Role.DATA)
_trajectory = functools.partial(_field, Role.TRAJECTORY)
_execution = functools.partial(_field, Role.EXECUTION)
_logging = functools.partial(_field, Role.LOGGING)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Architecture and regularisation of the backbone."""

    backbone: str = _architecture(
        "transformer",
        "kind of model: a Transformer, or one LSTM layer of lstm_width units",
        "Sec. 4.1; lstm: Table 5",
        choices=("transformer", "lstm"),
    )
    num_layers: int = _architecture(12, "Transformer blocks", _PAPER)
    width: int = _architecture(768, "features of a hidden state", _PAPER)
    num_heads: int = _architecture(12, "attention heads; must divide width", _PAPER)
    mlp_width: int = _architecture(3072, "hidden units of a block's MLP", _PAPER)
    lstm_width: int = _architecture(2048, "units of the LSTM", "Sec. 5")
    context_length: int = _architecture(
        512, "tokens that the model reads at once", _PAPER, low=2, high=2**20
    )
    embedding_dropout: float = _dropout(0.1, "dropout rate", _PAPER)
    residual_dropout: float = _dropout(0.1, "dropout rate", _PAPER)
    attention_dropout: float = _dropout(0.1, "dropout rate", _PAPER)
    classifier_dropout: float = _dropout(
        0.1, "dropout rate before a task's head", 'Sec. 4.1, "Fine-tuning details"'
    )
    attention: str = _execution(
        "auto",
        "implementation of attention: xla (reference), blocked, or fused (one kernel); "
        "auto: fused on GPUs that support it, blocked on CPUs from 384 positions on, "
        "else xla",
        choices=("auto", "xla", "blocked", "fused"),
    )
    compute_dtype: str = _trajectory(
        "auto",
        "number format of products; auto: bfloat16 on accelerators, float32 on CPUs",
        choices=COMPUTE_DTYPES,
    )

    @property
    def depth(self) -> int:
        """How many layers a transfer can copy from this model."""
        return self.num_layers if self.backbone == "transformer" else 1


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where text comes from and how it becomes tokens."""

    corpus: str = _data(
        "",
        "text to pre-train on: a glob of files (one book a file), a prepared token "
        "store, storyworld, or tfds:NAME; BooksCorpus cannot be shipped",
    )
    eval_corpus: str = _data(
        "", "a glob of held-out books; empty: some books of corpus are held out"
    )
    holdout_fraction: float = _data(
        0.01,
        "share of the books of a glob that is held out, chosen by the hash of their "
        "bytes, where eval_corpus is empty",
        low=0.0,
        high=0.5,
    )
    tokenizer: str = _data(
        "sentencepiece",
        "sentencepiece (trained on the training books), openai (the released BPE, from "
        "openai_bpe_dir), or the directory of a tokenizer",
    )
    openai_bpe_dir: str = _data(
        "", "directory of the released encoder_bpe_40000.json and vocab_40000.bpe"
    )
    vocab_size: int = _data(
        40478,
        "entries of a tokenizer to train, without special tokens",
        "478 symbols and 40,000 merges, Sec. 4.1",
        low=300,
    )
    task_dir: str = _data(
        "", "root of the tasks' official folders (CoLA, snli_1.0, ...), or storyworld"
    )
    source: str = _data(
        "files",
        "files: official files below task_dir; tfds: data that TensorFlow Datasets "
        "prepared in tfds_dir",
        choices=SOURCES,
    )
    tfds_dir: str = _data(
        "~/tensorflow_datasets", "directory of prepared TensorFlow Datasets"
    )
    cache_dir: str = _execution(
        "~/.cache/gpt1_jax",
        "directory of prepared corpora, storyworld and compiled programs",
    )
    storyworld_seed: int = _data(
        0, "seed of the synthetic world", low=0, high=2**32 - 1
    )
    storyworld_megabytes: float = _data(
        2.0, "size of the synthetic books", low=0.01, high=10000.0
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long to train, and how often to log, evaluate and save."""

    batch_size: int = _trajectory(
        64, "windows or examples of an update; the paper fine-tunes with 32", _PAPER
    )
    eval_batch_size: int = _execution(
        64, "windows or examples that are evaluated at once"
    )
    epochs: int = _trajectory(
        100, "passes over the training data; the paper fine-tunes for 3", _PAPER
    )
    max_steps: int = _trajectory(
        0,
        "number of updates; 0: as many as epochs contain",
        low=0,
        may_grow=True,
    )
    accumulation_steps: int = _execution(
        1, "microbatches that a batch is computed in, to save memory"
    )
    log_every_steps: int = _logging(100, "updates between logged rows")
    eval_every_steps: int = _logging(
        10000, "updates between evaluations; 0: only at the end", low=0
    )
    checkpoint_every_steps: int = _logging(
        2000, "updates between checkpoints; 0: only at the end", low=0
    )
    keep_checkpoints: int = _logging(
        2, "how many of the newest checkpoints are kept", low=2
    )
    keep_at_steps: tuple[int, ...] = _logging(
        (), "steps whose checkpoints are saved and never deleted"
    )
    remat: bool = _execution(
        False, "recompute activations in the backward pass instead of keeping them"
    )
    profile_steps: int = _logging(
        0, "steps to trace into the workdir's profile/; 0: none", low=0, high=1000
    )


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Optimizer and learning-rate schedule."""

    name: str = _trajectory(
        "openai_adam",
        "openai_adam: Adam as released; adamw: that of optax",
        "finetune-transformer-lm opt.py",
        choices=("openai_adam", "adamw"),
    )
    peak_learning_rate: float = _trajectory(
        2.5e-4, "highest learning rate; the paper fine-tunes with 6.25e-5", _PAPER
    )
    schedule: str = _trajectory(
        "cosine",
        "shape after the warm-up; the paper fine-tunes with linear",
        _PAPER,
        choices=("cosine", "linear", "constant"),
    )
    warmup_steps: int = _trajectory(
        2000,
        "updates of the linear warm-up; either this or warmup_fraction",
        _PAPER,
        low=0,
    )
    warmup_fraction: float = _trajectory(
        0.0,
        "warm-up as a share of all updates; the paper fine-tunes with 0.002",
        _PAPER,
        low=0.0,
        high=1.0,
    )
    weight_decay: float = _trajectory(
        0.01,
        "decay of weights that are not biases or norm scales",
        _PAPER,
        low=0.0,
        high=1.0,
    )
    clip_norm: float = _trajectory(
        1.0, "largest global norm of the gradient", _TRAIN_PY
    )
    b1: float = _trajectory(
        0.9, "decay of Adam's first moment", _TRAIN_PY, low=0.0, high=0.9999
    )
    b2: float = _trajectory(
        0.999, "decay of Adam's second moment", _TRAIN_PY, low=0.0, high=0.999999
    )
    eps: float = _trajectory(1e-8, "Adam's epsilon", _TRAIN_PY)


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """The task to fine-tune on or to evaluate."""

    name: str = _trajectory("", "name of a task, as rte; pre-training has none")
    lm_coef: float = _trajectory(
        0.5,
        "weight lambda of the auxiliary language-modelling loss",
        "Sec. 3.2, eq. (5)",
        low=0.0,
        high=100.0,
    )
    graded_target: str = _trajectory(
        "soft6",
        "target of STS-B: soft6 (six soft classes) or mse",
        "finetune-transformer-lm, stsb_label_encoding",
        choices=("soft6", "mse"),
    )
    split: str = _data(
        "dev",
        "what the job evaluate scores: dev or test (all sets of it), or one split",
    )
    num_train_scored: int = _data(
        0,
        "training examples that are scored at the end as train_eval/METRIC; 0: none",
        low=0,
    )


@dataclasses.dataclass(frozen=True)
class InitConfig:
    """The trained model that a run starts from."""

    path: str = _trajectory(
        "none", "a workdir or its checkpoints/STEP; none: from scratch"
    )
    num_layers: int = _trajectory(
        -1,
        "layers to copy: -1 all, 0 the embeddings, n these and the first n layers, -2 "
        "only the tokenizer and the architecture",
        "Sec. 5, Figure 2",
        low=-2,
    )


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """The devices of a run, on one host or on many."""

    fsdp: bool = _execution(
        False,
        "shard parameters and optimizer state over the devices instead of copying them",
    )
    distributed: str = _execution(
        "auto",
        "whether this is one of several processes; auto: as SLURM, Open MPI, a TPU "
        "pod's environment or coordinator_address say",
        choices=("auto", "on", "off"),
    )
    coordinator_address: str = _execution(
        "", "HOST:PORT of the first process; empty: JAX finds it"
    )
    num_processes: int = _execution(1, "number of processes, with coordinator_address")
    process_id: int = _execution(0, "number of this process, from 0", low=0)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that, together with the data, determines a run."""

    job: str = _trajectory(
        "pretrain",
        "what the run does",
        choices=("pretrain", "finetune", "evaluate", "zeroshot"),
    )
    seed: int = _trajectory(
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
    """Returns the dataclass field of each path, as model.width."""
    found: dict[str, dataclasses.Field] = {}
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.type):
            found |= _declared(field.type, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = field
    return found


FIELDS: Mapping[str, dataclasses.Field] = types.MappingProxyType(_declared(RunConfig))


def role(path: str) -> Role:
    """Returns the role of a field, as `model.width`."""
    return FIELDS[path].metadata["role"]


def choices(path: str) -> tuple[str, ...]:
    """Returns the allowed strings of a field, as `job`; none: any string."""
    return FIELDS[path].metadata["choices"]


def paths_of(name: str) -> list[str]:
    """Returns the fields of this name in all groups: `width` -> [`model.width`]."""
    return [path for path in FIELDS if path.split(".")[-1] == name]
