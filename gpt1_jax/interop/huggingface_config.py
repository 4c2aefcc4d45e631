"""config.json and generation_config.json of transformers' OpenAIGPT."""

import json
from pathlib import Path
from typing import Any

from gpt1_jax.config import FIELDS, ModelConfig
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import parse_json, write_atomically
from gpt1_jax.interop import weights
from gpt1_jax.interop.weights import Weights

_FILE_NAME, _GENERATION_FILE = "config.json", "generation_config.json"
# The class of a model by the kind of its head.
_CLASSES = {
    "": "OpenAIGPTLMHeadModel",
    "choice": "OpenAIGPTDoubleHeadsModel",
    "classes": "OpenAIGPTForSequenceClassification",
}
# The only values of these fields in config.json that are implemented.
_REQUIRED = {
    "model_type": ("openai-gpt",),
    "afn": ("gelu", "gelu_new"),
    "layer_norm_epsilon": (1e-5,),
}


def read(directory: Path) -> tuple[ModelConfig, int]:
    """Returns the model's sizes and the number of rows of its token table."""
    path = directory / _FILE_NAME
    if not path.is_file():
        raise NotFound(
            f"no {path.name} in {path.parent}; the directory that transformers saved "
            "is expected; check --input"
        )
    try:
        fields = parse_json(path.read_text(encoding="utf-8"))
        for name, allowed in _REQUIRED.items():
            if fields.get(name, allowed[0]) not in allowed:
                raise UserError(
                    f"{path}: {name} is {fields[name]!r}; "
                    f"{' or '.join(map(repr, allowed))} is expected; only GPT-1 as "
                    "released can be converted"
                )
        width, num_heads = (_size(path, fields, x) for x in ("n_embd", "n_head"))
        if width % num_heads:
            raise UserError(
                f"{path}: n_head is {num_heads}; a divisor of n_embd={width} is "
                "expected; fetch the file again"
            )
        model = ModelConfig(
            num_layers=_size(path, fields, "n_layer"),
            width=width,
            num_heads=num_heads,
            mlp_width=4 * width,
            # Older versions have n_ctx alone, or both with one value.
            context_length=_size(
                path, fields, "n_positions" if "n_positions" in fields else "n_ctx"
            ),
            embedding_dropout=_rate(path, fields, "embd_pdrop"),
            residual_dropout=_rate(path, fields, "resid_pdrop"),
            attention_dropout=_rate(path, fields, "attn_pdrop"),
            classifier_dropout=_rate(path, fields, "summary_first_dropout"),
        )
        # The first versions counted special tokens apart.
        num_special = _size(path, fields, "n_special") if fields.get("n_special") else 0
        return model, _size(path, fields, "vocab_size") + num_special
    except UserError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path} is not a config of an OpenAIGPT: {error!r}; fetch it again"
        ) from None


def _size(path: Path, fields: dict[str, Any], name: str) -> int:
    """Returns a size in config.json; raises UserError unless it is a whole number."""
    value = fields.get(name)
    if type(value) is not int or not 1 <= value <= weights.LARGEST_SIZE:
        given = "missing" if name not in fields else json.dumps(value)
        raise UserError(
            f"{path}: {name} is {given}; a whole number from 1 to "
            f"{weights.LARGEST_SIZE:,} is expected; fetch the file again"
        )
    return value


def _rate(path: Path, fields: dict[str, Any], name: str) -> float:
    """Returns a dropout rate in config.json; raises UserError if it is out of range."""
    value = fields.get(name, 0.1)
    low, high = FIELDS["model.embedding_dropout"].metadata["range"]
    if type(value) not in (int, float) or not low <= value <= high:  # true for nan too
        raise UserError(
            f"{path}: {name} is {json.dumps(value)}; a dropout rate from {low:g} to "
            f"{high:g} is expected; correct it, or fetch the file again"
        )
    return float(value)


def write(found: Weights, directory: Path, *, dtype: str, newline_id: int) -> None:
    """Writes both files for `from_pretrained`.

    Generation has no end: our models know no token that ends a text.
    Args: newline_id: the token that is named bos and pad; -1: none.
    """
    named = {"bos_token_id": newline_id, "pad_token_id": newline_id}
    tokens = named if newline_id >= 0 else {}
    for name, fields in (
        (_FILE_NAME, _config_of(found, dtype) | tokens),
        (_GENERATION_FILE, {"_from_model_config": False, **tokens}),
    ):
        text = json.dumps(fields, indent=2, sort_keys=True)
        write_atomically(directory / name, f"{text}\n")


def _config_of(found: Weights, dtype: str) -> dict[str, Any]:
    """Returns the content of config.json."""
    model = found.model
    if model.mlp_width != 4 * model.width:
        raise UserError(
            f"the model's mlp_width is {model.mlp_width}; transformers' OpenAIGPT "
            f"allows only 4 x width, {4 * model.width}; convert another model"
        )
    num_labels = found.params["head/kernel"].shape[1] if found.head else 1
    labels = found.labels or tuple(f"LABEL_{n}" for n in range(num_labels))
    return {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "model_type": "openai-gpt",
        "architectures": [_CLASSES[found.head]],
        "afn": "gelu",
        "vocab_size": found.num_rows,
        "n_positions": model.context_length,
        "n_embd": model.width,
        "n_layer": model.num_layers,
        "n_head": model.num_heads,
        "embd_pdrop": model.embedding_dropout,
        "resid_pdrop": model.residual_dropout,
        "attn_pdrop": model.attention_dropout,
        "layer_norm_epsilon": 1e-5,
        "initializer_range": 0.02,
        "summary_type": "cls_index",
        "summary_use_proj": True,
        "summary_activation": None,
        "summary_proj_to_labels": True,
        "summary_first_dropout": model.classifier_dropout,
        "num_labels": num_labels,
        "tie_word_embeddings": True,
        "dtype": dtype,
    }
