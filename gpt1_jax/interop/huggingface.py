"""The format of transformers' OpenAIGPT, read and written without torch.

The files are config.json and safetensors; names are those of transformers 5. The
classes are OpenAIGPTLMHeadModel and OpenAIGPTDoubleHeadsModel, which has a head for
multiple choice.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401, gives numpy bfloat16
import numpy as np
import safetensors
import safetensors.numpy

from gpt1_jax.config import FIELDS, ModelConfig
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import parse_json, write_atomically, write_bytes_atomically
from gpt1_jax.interop import weights
from gpt1_jax.interop.weights import Weights

_CONFIG_FILE, _WEIGHTS_FILE = "config.json", "model.safetensors"
_INDEX_FILE = "model.safetensors.index.json"
_PREFIX = "transformer."
_TOKEN_TABLE, _LM_HEAD = "tokens_embed.weight", "lm_head.weight"
_CHOICE_HEAD = {
    "head/kernel": "multiple_choice_head.summary.weight",
    "head/bias": "multiple_choice_head.summary.bias",
}
# Masks and positions that older versions of transformers stored among the weights.
_NO_PARAMETER = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)|position_ids")
# The only values of these fields in config.json that are implemented.
_REQUIRED = {
    "model_type": ("openai-gpt",),
    "afn": ("gelu", "gelu_new"),
    "layer_norm_epsilon": (1e-5,),
}


def read(directory: Path) -> Weights:
    """Returns the weights in `directory`; names may have the prefix `transformer.`.

    Raises: UserError, NotFound: it is another model; a file or tensor is missing,
            damaged or has another shape; or a file is pickled.
    """
    model, vocab_size = _read_config(directory / _CONFIG_FILE)
    tensors: dict[str, np.ndarray] = {}
    for name, tensor in _tensors(directory):
        bare = name.removeprefix(_PREFIX)
        if bare in tensors:
            raise UserError(
                f"{directory} has the tensor {bare} twice; once is expected; leave one "
                "set of weights there"
            )
        if _NO_PARAMETER.fullmatch(bare):
            continue
        if tensor.dtype.kind in "biu":
            raise UserError(
                f"{directory}: tensor {bare} is {tensor.dtype}; floats are expected; "
                "fetch the files again"
            )
        tensors[bare] = tensor
    # transformers stores one of two tied tensors: in a double-heads model, the head.
    if _TOKEN_TABLE not in tensors and _LM_HEAD in tensors:
        tensors[_TOKEN_TABLE] = tensors[_LM_HEAD]
    if model.num_layers > len(tensors):
        raise UserError(
            f"{directory}: {len(tensors)} tensors; config.json asks for a model of "
            f"{model.num_layers:,} layers; fetch the files again"
        )
    names = _names(model.num_layers)
    expected = weights.expected_shapes(model, vocab_size)
    params = {}
    for path, name in names.items():
        if name not in tensors:
            raise UserError(
                f"{directory}: no tensor {name}; config.json asks for a model of "
                f"{model.num_layers} layers that has it; fetch the files again"
            )
        params[path] = _checked(directory, name, tensors.pop(name), expected[path])
    _check_tied(directory, tensors.pop(_LM_HEAD, None), params["embed/token"])
    if set(_CHOICE_HEAD.values()) <= set(tensors):
        kernel_1D, bias_1 = (tensors.pop(name) for name in _CHOICE_HEAD.values())
        kernel_name, bias_name = _CHOICE_HEAD.values()
        shape = (1, model.width)
        params["head/kernel"] = _checked(directory, kernel_name, kernel_1D, shape).T
        params["head/bias"] = _checked(directory, bias_name, bias_1, (1,))
    if more := sorted(name for name in tensors if re.match(r"h\.\d+\.", name)):
        raise UserError(
            f"{directory}: config.json has n_layer={model.num_layers}, but there is a "
            f"tensor {more[0]}; as many layers are expected; fetch the files again"
        )
    if tensors:
        raise UserError(
            f"{directory} has unknown tensors: {', '.join(sorted(tensors))}; "
            "OpenAIGPTLMHeadModel or OpenAIGPTDoubleHeadsModel is expected; save one "
            "of these"
        )
    weights.check_finite(params, str(directory))
    return Weights(params, model)


def write(found: Weights, directory: Path) -> None:
    """Writes config.json and model.safetensors for `from_pretrained`.

    With a head for multiple choice the class is OpenAIGPTDoubleHeadsModel. To replace a
    directory atomically, see files.atomic_directory.
    """
    has_head = "head/kernel" in found.params
    config = json.dumps(_config_of(found, has_head), indent=2, sort_keys=True)
    tensors = {
        f"{_PREFIX}{name}": np.ascontiguousarray(found.params[path], np.float32)
        for path, name in _names(found.model.num_layers).items()
    }
    if has_head:
        kernel_name, bias_name = _CHOICE_HEAD.values()
        kernel_D1 = np.asarray(found.params["head/kernel"], np.float32)
        tensors[kernel_name] = np.ascontiguousarray(kernel_D1.T)
        tensors[bias_name] = np.asarray(found.params["head/bias"], np.float32)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / _WEIGHTS_FILE
    content = safetensors.numpy.save(tensors, metadata={"format": "pt"})
    write_bytes_atomically(path, content)
    write_atomically(directory / _CONFIG_FILE, f"{config}\n")


def _names(num_layers: int) -> dict[str, str]:
    """Returns each parameter's name in transformers, without its prefix."""
    names = {
        "embed/position": "positions_embed.weight",
        "embed/token": _TOKEN_TABLE,
    }
    for layer in range(num_layers):
        for path, name in weights.BLOCK_NAMES.items():
            names[f"block_{layer:02d}/{path}"] = f"h.{layer}.{name}"
    return names


def _read_config(path: Path) -> tuple[ModelConfig, int]:
    """Returns the model's sizes and the number of rows of its token table."""
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


def _tensors(directory: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the names and tensors of all shards in `directory`."""
    for path in _shards(directory):
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118, the file is not a dict
                    yield name, file.get_tensor(name)
        except (safetensors.SafetensorError, OSError, TypeError) as error:
            raise UserError(
                f"{path} can't be read: {error}; floats are expected; "
                "fetch the file again"
            ) from None


def _shards(directory: Path) -> list[Path]:
    index = directory / _INDEX_FILE
    if index.is_file():
        paths = [directory / name for name in _names_in_index(index)]
    else:
        whole = directory / _WEIGHTS_FILE
        paths = [whole] if whole.is_file() else sorted(directory.glob("*.safetensors"))
    for path in paths:
        if not path.is_file():
            raise NotFound(
                f"no {path.name} in {directory}; {index.name} names it; fetch it"
            )
    if not paths:
        pickled = sorted(directory.glob("*.bin"))
        if pickled:
            raise UserError(
                f"{pickled[0]} is a pickle, which may run code when it is read; "
                "safetensors are expected; if you trust it, convert it: "
                f"{_unpickling_command(pickled[0].absolute())}"
            )
        raise NotFound(
            f"no {_WEIGHTS_FILE} in {directory}; the directory that transformers saved "
            "is expected; check --input"
        )
    return paths


def _names_in_index(index: Path) -> list[str]:
    """Returns the names of the shards in an index.

    Raises: UserError: it is damaged, or names no file beside it.
    """
    try:
        fields = parse_json(index.read_text(encoding="utf-8"))
        names = sorted(set(fields["weight_map"].values()))
        if not names or any(Path(name).name != name or not name for name in names):
            raise ValueError("it names no files beside it")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{index} can't be read; an index of shards is expected; fetch it again"
        ) from None
    return names


def _unpickling_command(pickled: Path) -> str:
    """Returns the command that converts a pickled file to safetensors."""
    program = (
        "import sys, torch, safetensors.torch as s; w = torch.load(sys.argv[1], "
        'weights_only=True, map_location="cpu"); s.save_file({k: v.clone() for k, v in '
        "w.items()}, sys.argv[2])"
    )
    safe = pickled.with_name(pickled.stem.replace("pytorch_", "") + ".safetensors")
    return shlex.join(["python", "-c", program, str(pickled), str(safe)])


def _checked(
    directory: Path, name: str, tensor: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Returns `tensor` in float32; raises UserError for an unexpected shape."""
    if tensor.shape != shape:
        raise UserError(
            f"{directory}: tensor {name} is {list(tensor.shape)}; {list(shape)} is "
            "expected by config.json; fetch the files again"
        )
    return np.asarray(tensor, np.float32)


def _check_tied(
    directory: Path, head_VD: np.ndarray | None, table_VD: np.ndarray
) -> None:
    if head_VD is not None and not np.array_equal(head_VD, table_VD):
        raise UserError(
            f"{directory}: {_LM_HEAD} differs from {_TOKEN_TABLE}; in GPT-1 they are "
            "equal; tie them, or convert another model"
        )


def _config_of(found: Weights, has_head: bool) -> dict[str, Any]:
    """Returns the content of config.json."""
    model, architecture = found.model, "OpenAIGPTLMHeadModel"
    if has_head:
        architecture = "OpenAIGPTDoubleHeadsModel"
    if model.mlp_width != 4 * model.width:
        raise UserError(
            f"the model's mlp_width is {model.mlp_width}; transformers' OpenAIGPT "
            f"allows only 4 x width, {4 * model.width}; convert another model"
        )
    return {
        "model_type": "openai-gpt",
        "architectures": [architecture],
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
        "num_labels": 1,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
