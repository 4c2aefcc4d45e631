r"""Converts weights from and to OpenAI's release and transformers' OpenAIGPT.

    python -m gpt1_jax.convert --from openai --input finetune-transformer-lm/model \
        --output runs/gpt1
    python -m gpt1_jax.convert --to huggingface --input runs/gpt1 --output gpt1-hf

--from makes a workdir for fine-tuning, generation and scoring, with the tokenizer of
--input if it has one. --to exports the model of a workdir or of its checkpoints/STEP,
or with --all_checkpoints each of them. transformers' AutoTokenizer and Auto classes
load the folder of --to huggingface; its README.md is a model card.
"""

import dataclasses
from pathlib import Path
from typing import Any

from absl import flags

from gpt1_jax import config as config_lib
from gpt1_jax import files, terminal
from gpt1_jax.cli import app
from gpt1_jax.config import FIELDS, DataConfig, ModelConfig, Role, RunConfig, role
from gpt1_jax.data.tasks import registry
from gpt1_jax.data.text import openai_bpe, tokenizers
from gpt1_jax.distributed import memory, runtime
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.interop import (
    huggingface,
    model_card,
    openai,
    tokenizer_json,
    weights,
)
from gpt1_jax.interop.weights import Weights
from gpt1_jax.workdirs import model_store

_FORMATS = ("openai", "huggingface")
_WEIGHTS_SUFFIXES = (".npy", ".safetensors")
_FLAGS = flags.FlagValues()
_FROM = flags.DEFINE_enum(
    "from", None, _FORMATS, "Format of --input.", flag_values=_FLAGS
)
_TO = flags.DEFINE_enum("to", None, _FORMATS, "Format of --output.", flag_values=_FLAGS)
_INPUT = app.define_required("input", "Directory to read.", _FLAGS)
_OUTPUT = app.define_required("output", "Directory to write.", _FLAGS)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    huggingface.DTYPES,
    "Format of exported weights.",
    flag_values=_FLAGS,
)
_ALL_CHECKPOINTS = flags.DEFINE_bool(
    "all_checkpoints",
    False,
    "Export every kept checkpoint, each to OUTPUT/STEP.",
    flag_values=_FLAGS,
)


def main() -> None:
    """Runs the command."""
    if (_FROM.value is None) == (_TO.value is None):
        raise UserError(
            f"--from={_FROM.value} and --to={_TO.value}; one of them, "
            f"{' or '.join(_FORMATS)}, is expected; name one"
        )
    if _TO.value != "huggingface" and _DTYPE.value != "float32":
        raise UserError(
            f"--dtype={_DTYPE.value}; other formats than float32 are allowed with --to "
            "huggingface only; drop it"
        )
    if _FROM.value and _ALL_CHECKPOINTS.value:
        raise UserError(
            "--all_checkpoints with --from; it exports the checkpoints of a workdir; "
            "drop it, or use --to"
        )
    given, output = (files.expand(flag.value) for flag in (_INPUT, _OUTPUT))
    if not given.is_dir():
        raise NotFound(f"no directory {given}; check --input")
    files.check_name(output, "name another --output")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} exists; nothing is overwritten; name another")
    files.check_writable(output.absolute().parent, "name another --output")
    runtime.prepare()
    terminal.say(f"reading {given}")
    if _FROM.value:
        _import(given, output)
    else:
        _export(given, output)


def _import(given: Path, output: Path) -> None:
    """Makes the workdir `output` from another system's files."""
    weights_size = sum(
        path.stat().st_size
        for path in given.iterdir()
        if path.suffix in _WEIGHTS_SUFFIXES
    )
    memory.check_host({"weights": weights_size}, f"{given}: the model")
    origin: dict[str, Any] = {"from": _FROM.value}
    if _FROM.value == "openai":
        found, origin["layout"] = openai.read(given)
    else:
        found = huggingface.read(given)
        origin["head"] = found.head
    terminal.say(_describe(found))
    if suspicious := weights.suspicious_norm_scale(found):
        terminal.warn(
            f"{suspicious} has a mean near 0; the mean of a trained norm scale is well "
            "above 0; if these weights are trained, the pieces are in another order"
        )
    tokenizer = None
    if tokenizers.is_tokenizer(given):
        tokenizer = tokenizers.load(given)
        model_store.check_vocabulary(tokenizer, found.num_rows, str(given))
    data = DataConfig(vocab_size=found.num_rows)
    if tokenizer:
        data = DataConfig(
            tokenizer=tokenizer.kind,
            vocab_size=tokenizer.vocab_size,
            lowercase=not tokenizer.is_cased,
        )
    config = RunConfig(model=found.model, data=data)
    model_store.create(output, config, found.tree, tokenizer, origin)
    terminal.say(f"{output}: a workdir to fine-tune, score and generate from")
    if tokenizer is None:
        pair = " and ".join(openai_bpe.FILE_NAMES[0])
        terminal.warn(
            f"{given} has no tokenizer; to score, generate or fine-tune, put {pair} "
            f"into {output / 'tokenizer'}"
        )


# What the formats have a place for; every other architecture field has one value there.
_EXPORTED = {
    "model.num_layers",
    "model.width",
    "model.num_heads",
    "model.mlp_width",
    "model.context_length",
    "model.lstm_width",
    "model.backbone",
}


def _refuse_other_architectures(given: Path, model: ModelConfig) -> None:
    """Raises a UserError for a model that the formats would describe wrongly."""
    for path, value in config_lib.flatten(RunConfig(model=model)).items():
        if role(path) is not Role.ARCHITECTURE or path in _EXPORTED:
            continue
        if value != FIELDS[path].default:
            raise UserError(
                f"{given} has config.{path}={value}; the formats have a place for "
                f"{FIELDS[path].default} only; convert another model"
            )


def _export(given: Path, output: Path) -> None:
    """Writes the model in the workdir `given`, or each of its checkpoints."""
    config = model_store.read_config(given)
    if config.model.backbone != "transformer":
        raise UserError(
            f"{given} holds an LSTM; only a Transformer has a place in these formats; "
            "name another workdir"
        )
    _refuse_other_architectures(given, config.model)
    with files.atomic_directory(output) as part:
        if not _ALL_CHECKPOINTS.value:
            described = _export_one(given, part)
        else:
            found = model_store.steps(given)
            for step, path in found.items():
                described = _export_one(path, part / str(step))
            described = f"{len(found)} checkpoints; each {described}"
    terminal.say(f"{output}: {described}")


def _export_one(given: Path, part: Path) -> str:
    """Writes the files of one checkpoint; returns their description."""
    found = model_store.restore(given, needs_tokenizer=False)
    exported = Weights(weights.flatten(found.params), found.config.model)
    if "head/bias" in exported.params:
        exported = _with_head(exported, found, model_store.workdir_of(given))
    if _TO.value == "openai":
        _write_openai(exported, found, part)
    else:
        _write_huggingface(exported, found, part)
    return _describe(exported)


def _with_head(
    exported: Weights, found: model_store.Restored, workdir: Path
) -> Weights:
    """Returns the weights with the head if the format has a place for it."""
    if _TO.value == "huggingface":
        if not found.config.task.name:
            return dataclasses.replace(
                exported, head=found.origin.get("head") or "choice"
            )
        task = registry.load(found.config.task.name, workdir)
        if task.kind == "choice":
            return dataclasses.replace(exported, head="choice")
        if task.kind in ("single", "pair") and (folded := weights.fold_bias(exported)):
            terminal.say(
                "the head's bias, which transformers' class does not have, is folded "
                "into the last layer norm; next-token logits change by it"
            )
            return dataclasses.replace(folded, head="classes", labels=task.classes)
    terminal.warn(
        "the task's head is left out; it is kept only with --to huggingface, for "
        "multiple choice, and for classes of one text or a pair whose bias can be "
        "folded"
    )
    rest = {k: v for k, v in exported.params.items() if not k.startswith("head/")}
    return dataclasses.replace(exported, params=rest)


def _write_openai(
    exported: Weights, found: model_store.Restored, directory: Path
) -> None:
    if found.tokenizer:
        table_VD = _vocabulary_only(
            exported.params["embed/token"], found.tokenizer.vocab_size
        )
        params = {**exported.params, "embed/token": table_VD}
        exported = dataclasses.replace(exported, params=params)
    openai.write(exported, directory, found.origin.get("layout"))
    if found.tokenizer:
        found.tokenizer.save(directory)
    if found.tokenizer and not isinstance(found.tokenizer, openai_bpe.OpenAITokenizer):
        terminal.warn(
            "OpenAI's format does not support this tokenizer; its file lies beside the "
            "weights"
        )


def _write_huggingface(
    exported: Weights, found: model_store.Restored, directory: Path
) -> None:
    tokenizer = found.tokenizer
    has_specials = bool(found.config.task.name and exported.head)
    huggingface.write(
        exported,
        directory,
        dtype=_DTYPE.value,
        newline_id=tokenizer.newline_id if tokenizer else -1,
    )
    if tokenizer:
        tokenizer_json.write(
            tokenizer,
            directory,
            context_length=exported.model.context_length,
            has_specials=has_specials,
        )
    model_card.write(
        exported,
        directory,
        tokenizer=tokenizer,
        result=found.result,
        step=found.step,
        has_specials=bool(tokenizer and has_specials),
    )


def _vocabulary_only(table_VD: Any, vocab_size: int) -> Any:
    """Returns the table without special tokens, which the release does not have."""
    if rows := len(table_VD) - vocab_size:
        terminal.warn(
            f"left out: {terminal.counted(rows, 'row')} of special tokens; the release "
            "has none"
        )
    return table_VD[:vocab_size]


def _describe(found: Weights) -> str:
    model = found.model
    count = sum(value.size for value in found.params.values())
    return (
        f"{model.num_layers} layers, width {model.width}, {model.num_heads} heads, "
        f"context {model.context_length}, {found.num_rows:,} rows of tokens; "
        f"{count:,} parameters"
    )


if __name__ == "__main__":
    app.run(main, _FLAGS)
