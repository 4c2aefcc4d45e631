"""The configuration of a run: every field, its default and its source.

The frozen dataclasses below hold the only defaults, and these are the paper's
(Radford et al. 2018, Sec. 4.1, where no other source is given). An experiment file
turns them into an ml_collections ConfigDict, flags override it, and `from_mapping`
makes dataclasses of it again. What values are possible, `config_checks` knows. Nothing
here touches a device or a file.
"""

import dataclasses
import difflib
import types
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from gpt1_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes and regularisation of the backbone."""

    # transformer, or lstm: one layer of lstm_width units (Sec. 5, Table 5).
    backbone: str = "transformer"
    num_layers: int = 12
    width: int = 768
    num_heads: int = 12
    mlp_width: int = 3072
    lstm_width: int = 2048
    context_length: int = 512
    embedding_dropout: float = 0.1
    residual_dropout: float = 0.1
    attention_dropout: float = 0.1
    # Sec. 4.1, "Fine-tuning details".
    classifier_dropout: float = 0.1
    # How attention is computed: written out (xla), block by block (blocked), or by a
    # kernel (fused) where there is one, see models.attention; auto: fused on GPUs,
    # blocked on CPUs from 384 positions on.
    attention: str = "auto"
    # auto: bfloat16 on accelerators, float32 on CPU. The paper names none.
    compute_dtype: str = "auto"

    @property
    def depth(self) -> int:
        """How many layers can be taken over from a trained model."""
        return self.num_layers if self.backbone == "transformer" else 1


# The value of data.corpus and data.task_dir that means the built-in, synthetic data.
STORYWORLD = "storyworld"


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where text comes from and how it becomes tokens."""

    # A glob of text files (one book a file), the directory of a prepared token
    # store, `storyworld`, or tfds:NAME, a data set that TFDS has prepared in tfds_dir,
    # as tfds:lm1b. The paper's BooksCorpus can't be shipped: no default.
    corpus: str = ""
    # A glob of held-out books; "" holds books of `corpus` out.
    eval_corpus: str = ""
    # The share of books held out of a glob without eval_corpus, by hash of their
    # bytes. The paper names none.
    holdout_fraction: float = 0.01
    # `sentencepiece` learns one from the training books; `openai` is the paper's, whose
    # files are in openai_bpe_dir; a directory brings its own.
    tokenizer: str = "sentencepiece"
    # encoder_bpe_40000.json and vocab_40000.bpe of the release.
    openai_bpe_dir: str = ""
    # The size of a tokenizer that is learnt: that of the paper's, which had 478 symbols
    # and 40,000 merges.
    vocab_size: int = 40478
    # The root of the tasks' official folders (CoLA, SNLI's snli_1.0, ...), or
    # `storyworld`. The paper's can't be shipped: no default.
    task_dir: str = ""
    # `files` reads them; `tfds` what TensorFlow Datasets has prepared in tfds_dir.
    source: str = "files"
    tfds_dir: str = "~/tensorflow_datasets"
    # Prepared stores, storyworld, compiled programs: kept for the next run.
    cache_dir: str = "~/.cache/gpt1_jax"
    storyworld_seed: int = 0
    storyworld_megabytes: float = 2.0


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long to train, and how often to log, evaluate and save."""

    batch_size: int = 64
    eval_batch_size: int = 64
    epochs: int = 100
    # The number of updates; 0: as many as `epochs` hold.
    max_steps: int = 0
    accumulation_steps: int = 1
    log_every_steps: int = 100
    # 0: at the end only.
    eval_every_steps: int = 10000
    checkpoint_every_steps: int = 2000
    keep_checkpoints: int = 2
    # Steps whose checkpoints are saved and never deleted.
    keep_at_steps: tuple[int, ...] = ()
    remat: bool = False
    # How many steps to trace, after the first few of a process, which compile; into the
    # workdir's profile/, for TensorBoard's profile plugin and Perfetto. 0: none.
    profile_steps: int = 0


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """Optimizer and learning-rate schedule."""

    name: str = "openai_adam"
    peak_learning_rate: float = 2.5e-4
    schedule: str = "cosine"
    # One of the two, in steps or as a share of all steps; both 0: no warm-up.
    warmup_steps: int = 2000
    warmup_fraction: float = 0.0
    weight_decay: float = 0.01
    # finetune-transformer-lm train.py: max_grad_norm 1, b1, b2, e as here.
    clip_norm: float = 1.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """What is fine-tuned on, or evaluated."""

    # A row of data.tasks; pre-training has none.
    name: str = ""
    # The share lambda of the language-modelling loss, Sec. 3.2, eq. (5).
    lm_coef: float = 0.5
    # STS-B: six soft classes, as the released code trained it, or the squared error.
    graded_target: str = "soft6"
    # What the job evaluate scores: dev or test (all sets of it), or any one split.
    split: str = "dev"
    # How many of the training examples are scored too, at the end, by the kept step:
    # train_eval/METRIC of result.json, Figure 2's train curves. 0: none.
    num_train_scored: int = 0


@dataclasses.dataclass(frozen=True)
class InitConfig:
    """The trained model that a run starts from."""

    # A workdir or its checkpoints/STEP; `none`: from scratch.
    path: str = "none"
    # -1: all layers; 0: the embeddings only; n: these and the first n layers; -2: its
    # tokenizer and sizes only.
    num_layers: int = -1


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """The devices of a run, on one host or many; results change by rounding only."""

    # Parameters and optimizer state shared out over the devices, not copied to each.
    fsdp: bool = False
    # Whether this is one of several processes: `auto` asks SLURM, Open MPI, a TPU pod's
    # environment and coordinator_address.
    distributed: str = "auto"
    # HOST:PORT of the first process; "": JAX finds it.
    coordinator_address: str = ""
    # With an address: how many processes there are, and which of them this is, from 0.
    num_processes: int = 1
    process_id: int = 0


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that, with the data, determines a run."""

    job: str = "pretrain"
    seed: int = 0
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    optim: OptimConfig = OptimConfig()
    task: TaskConfig = TaskConfig()
    init: InitConfig = InitConfig()
    mesh: MeshConfig = MeshConfig()


# The values that fields of a fixed choice may have.
JOBS = ("pretrain", "finetune", "evaluate", "zeroshot")
BACKBONES = ("transformer", "lstm")
SOURCES = ("files", "tfds")
GRADED_TARGETS = ("soft6", "mse")
ATTENTIONS = ("auto", "xla", "blocked", "fused")
COMPUTE_DTYPES = ("auto", "float32", "bfloat16", "float64")
OPTIMIZERS = ("openai_adam", "adamw")
DISTRIBUTED = ("auto", "on", "off")
SCHEDULES = ("cosine", "linear", "constant")


def explicit_compute_settings(model: ModelConfig) -> dict[str, Any]:
    """How `model` says that it be computed, where it leaves that to no `auto`.

    For jobs that take a trained model's config but for this.
    """
    given = {"attention": model.attention, "compute_dtype": model.compute_dtype}
    return {name: value for name, value in given.items() if value != "auto"}


def to_config_dict(config: RunConfig) -> ConfigDict:
    """`config` as a locked ConfigDict, for experiment files and flags."""
    config_dict = ConfigDict(dataclasses.asdict(config))
    config_dict.lock()
    return config_dict


def experiment_words(words: str, known: tuple[str, ...]) -> set[str]:
    """The set of comma-separated `words` of `--config FILE:words`.

    Raises: UserError for a word that is not in `known`.
    """
    given = [word.strip() for word in words.split(",") if word.strip()]
    for word in given:
        if word not in known:
            raise UserError(
                f"unknown word {word!r} after the experiment file; known words: "
                f"{', '.join(known)}; remove it or use one of these"
            )
    return set(given)


def from_mapping(
    mapping: Mapping[str, Any] | ConfigDict, *, is_complete: bool = True
) -> RunConfig:
    """The RunConfig that a ConfigDict, or a dict read from JSON, describes.

    Args:    mapping: nested; lists stand for tuples. is_complete: every field must be
             present; else one that is missing has its default.
    Raises:  UserError naming the field: unknown, missing, of a wrong type.
    """
    if isinstance(mapping, ConfigDict):
        mapping = mapping.to_dict()
    if not is_complete and isinstance(mapping, Mapping):
        mapping = _filled(dataclasses.asdict(RunConfig()), mapping)
    return _build(RunConfig, mapping, "config")


def _filled(defaults: Mapping[str, Any], mapping: Mapping[str, Any]) -> dict[str, Any]:
    """`mapping` with what it lacks from `defaults`, group by group."""
    filled = {**defaults, **mapping}
    for name, group in defaults.items():
        if isinstance(group, Mapping) and isinstance(filled[name], Mapping):
            filled[name] = _filled(group, filled[name])
    return filled


def _build(cls: Any, mapping: Any, path: str) -> Any:
    if not isinstance(mapping, Mapping):
        raise UserError(f"{path}={mapping!r}; must be a group of fields; change it")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in mapping:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"Did you mean {path}.{near[0]}?" if near else ""
            allowed = ", ".join(fields)
            raise UserError(f"unknown field {path}.{name}; {hint or allowed}")
    values = {}
    for name, field in fields.items():
        if name not in mapping:
            raise UserError(f"field {path}.{name} is missing; add it")
        if dataclasses.is_dataclass(field.type):
            values[name] = _build(field.type, mapping[name], f"{path}.{name}")
        else:
            values[name] = _typed(mapping[name], field.type, f"{path}.{name}")
    return cls(**values)


def _typed(value: Any, kind: Any, path: str) -> Any:
    """`value` as the field type `kind`: int for float and list for tuple are taken."""
    if isinstance(kind, types.GenericAlias):
        if isinstance(value, list | tuple) and all(type(v) is int for v in value):
            return tuple(value)
        raise UserError(f"{path}={value!r}; must be integers; write 1000,10000")
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise UserError(f"{path}={value!r}; must be of type {kind.__name__}; change it")
    return value


def parse(path: str, text: str) -> Any:
    """The value of the field `path`, as model.width, that a command line writes so.

    Raises: UserError: no such field, or no value of its type.
    """
    default = flatten(RunConfig()).get(path)
    if default is None:
        near = difflib.get_close_matches(path, flatten(RunConfig()), n=1)
        hint = f"did you mean {near[0]}?" if near else "gpt1_jax/config.py lists them"
        raise UserError(f"unknown config field {path}; {hint}")
    kind = type(default)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind is tuple:
            return tuple(int(number) for number in text.split("+"))
        return kind(text)
    except (ValueError, KeyError, OverflowError):
        raise UserError(
            f"config.{path}={text!r}; must be of type {kind.__name__}; change it"
        ) from None


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """`{"model.width": 768, ...}` of a config dataclass."""
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            flat |= flatten(value, f"{prefix}{field.name}.")
        else:
            flat[prefix + field.name] = value
    return flat
