r"""Converts weights from and to OpenAI's release and transformers' OpenAIGPT.

    python -m gpt1_jax.convert --from openai --input finetune-transformer-lm/model \
        --output runs/gpt1
    python -m gpt1_jax.convert --to huggingface --input runs/gpt1 --output gpt1-hf

--from makes a workdir for fine-tuning, generation and scoring, with the tokenizer of
--input if it has one. --to exports the model of a workdir or of its checkpoints/STEP.
"""

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
from gpt1_jax.interop import huggingface, openai, weights
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


def main() -> None:
    """Runs the command."""
    if (_FROM.value is None) == (_TO.value is None):
        raise UserError(
            f"--from={_FROM.value} and --to={_TO.value}; one of them, "
            f"{' or '.join(_FORMATS)}, is expected; name one"
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
    vocab_size = tokenizer.vocab_size if tokenizer else found.num_rows
    is_released = isinstance(tokenizer, openai_bpe.OpenAITokenizer)
    name = "openai" if is_released else DataConfig.tokenizer
    data = DataConfig(tokenizer=name, vocab_size=vocab_size)
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
    """Writes the model in the workdir `given` as another system's files."""
    found = model_store.restore(given, needs_tokenizer=False)
    if found.config.model.backbone != "transformer":
        raise UserError(
            f"{given} holds an LSTM; only a Transformer has a place in these formats; "
            "name another workdir"
        )
    _refuse_other_architectures(given, found.config.model)
    params = weights.flatten(found.params)
    tokenizer = found.tokenizer
    if "head/bias" in params and (_TO.value == "openai" or not _is_choice(found)):
        terminal.warn(
            "the task's head is left out; only Hugging Face's double-heads model has "
            "one, for multiple choice"
        )
        del params["head/kernel"], params["head/bias"]
    if _TO.value == "openai" and tokenizer:
        params["embed/token"] = _vocabulary_only(
            params["embed/token"], tokenizer.vocab_size
        )
    exported = Weights(params, found.config.model)
    with files.atomic_directory(output) as part:
        if _TO.value == "openai":
            openai.write(exported, part, found.origin.get("layout"))
        else:
            huggingface.write(exported, part)
        _export_tokenizer(tokenizer, part)
    terminal.say(f"{output}: {_describe(exported)}")


def _is_choice(found: model_store.Restored) -> bool:
    """Returns whether the model's head, if it has one, is for multiple choice."""
    task = found.config.task.name
    return registry.named(task).kind == "choice" if task else bool(found.origin)


def _vocabulary_only(table_VD: Any, vocab_size: int) -> Any:
    """Returns the table without special tokens, which the release does not have."""
    if rows := len(table_VD) - vocab_size:
        terminal.warn(
            f"left out: {terminal.counted(rows, 'row')} of special tokens; the release "
            "has none"
        )
    return table_VD[:vocab_size]


def _export_tokenizer(tokenizer: tokenizers.Tokenizer | None, directory: Path) -> None:
    """Writes the files of the tokenizer, if there is one, and warns of its limits."""
    is_huggingface = _TO.value == "huggingface"
    if isinstance(tokenizer, openai_bpe.OpenAITokenizer):
        tokenizer.save(directory, as_huggingface=is_huggingface)
        if is_huggingface:
            terminal.warn(
                "transformers' tokenizer gives other ids with these files: no line "
                "breaks, <unk> for curly quotes"
            )
    elif tokenizer:
        tokenizer.save(directory)
        terminal.warn(
            "neither format supports this SentencePiece tokenizer; its model file lies "
            "beside the weights"
        )


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
