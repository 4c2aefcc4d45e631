"""The format of transformers' OpenAIGPT, read and written without torch.

The weights are safetensors, with the names of transformers 5. The classes are
OpenAIGPTLMHeadModel, OpenAIGPTDoubleHeadsModel, which has a head for multiple choice,
and OpenAIGPTForSequenceClassification, whose head has no bias.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes  # noqa: F401, gives numpy bfloat16
import numpy as np
import safetensors
import safetensors.numpy

from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import parse_json, write_bytes_atomically
from gpt1_jax.interop import huggingface_config, weights
from gpt1_jax.interop.weights import Weights

_WEIGHTS_FILE = "model.safetensors"
_INDEX_FILE = "model.safetensors.index.json"
_PREFIX = "transformer."
_TOKEN_TABLE, _LM_HEAD = "tokens_embed.weight", "lm_head.weight"
_CHOICE_HEAD = {
    "head/kernel": "multiple_choice_head.summary.weight",
    "head/bias": "multiple_choice_head.summary.bias",
}
_CLASS_HEAD = "score.weight"
DTYPES = ("float32", "float16", "bfloat16")
# Masks and positions that older versions of transformers stored among the weights.
_NO_PARAMETER = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)|position_ids")


def read(directory: Path) -> Weights:
    """Returns the weights in `directory`; names may have the prefix `transformer.`.

    Raises: UserError, NotFound: it is another model; a file or tensor is missing,
            damaged or has another shape; or a file is pickled.
    """
    model, vocab_size = huggingface_config.read(directory)
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
    head = ""
    if set(_CHOICE_HEAD.values()) <= set(tensors):
        kernel_1D, bias_1 = (tensors.pop(name) for name in _CHOICE_HEAD.values())
        kernel_name, bias_name = _CHOICE_HEAD.values()
        shape = (1, model.width)
        params["head/kernel"] = _checked(directory, kernel_name, kernel_1D, shape).T
        params["head/bias"] = _checked(directory, bias_name, bias_1, (1,))
        head = "choice"
    elif _CLASS_HEAD in tensors:
        kernel_CD = tensors.pop(_CLASS_HEAD)
        shape = (len(kernel_CD), model.width)
        params["head/kernel"] = _checked(directory, _CLASS_HEAD, kernel_CD, shape).T
        params["head/bias"] = np.zeros(shape[0], np.float32)
        head = "classes"
    if more := sorted(name for name in tensors if re.match(r"h\.\d+\.", name)):
        raise UserError(
            f"{directory}: config.json has n_layer={model.num_layers}, but there is a "
            f"tensor {more[0]}; as many layers are expected; fetch the files again"
        )
    if tensors:
        raise UserError(
            f"{directory} has unknown tensors: {', '.join(sorted(tensors))}; an "
            "OpenAIGPT of the class LMHeadModel, DoubleHeadsModel or "
            "ForSequenceClassification is expected; save one of these"
        )
    weights.check_finite(params, str(directory))
    return Weights(params, model, head)


def write(
    found: Weights, directory: Path, *, dtype: str = "float32", newline_id: int = -1
) -> None:
    """Writes config.json, generation_config.json and model.safetensors.

    With a head the class is OpenAIGPTDoubleHeadsModel, for multiple choice, or
    OpenAIGPTForSequenceClassification. To replace a directory atomically, see
    files.atomic_directory.
    Args:   dtype: the number format of the weights, one of DTYPES. newline_id: the
            token that is named bos and pad; -1: none.
    Raises: UserError: transformers has no such model, or `dtype` no such values.
    """
    names = _names(found.model.num_layers)
    tensors = {f"{_PREFIX}{name}": found.params[path] for path, name in names.items()}
    head = found.head
    if head == "choice":
        kernel_name, bias_name = _CHOICE_HEAD.values()
        tensors[kernel_name] = found.params["head/kernel"].T
        tensors[bias_name] = found.params["head/bias"]
    elif head == "classes":
        tensors[_CLASS_HEAD] = found.params["head/kernel"].T
    directory.mkdir(parents=True, exist_ok=True)
    huggingface_config.write(found, directory, dtype=dtype, newline_id=newline_id)
    with np.errstate(over="ignore"):
        tensors = {
            name: np.ascontiguousarray(value, np.dtype(dtype))
            for name, value in tensors.items()
        }
    for name, value in tensors.items():
        if not np.isfinite(value.astype(np.float32)).all():
            raise UserError(
                f"{name} has values beyond the range of --dtype={dtype}; "
                f"{' or '.join(DTYPES)} is allowed; use bfloat16 or float32"
            )
    path = directory / _WEIGHTS_FILE
    content = safetensors.numpy.save(tensors, metadata={"format": "pt"})
    write_bytes_atomically(path, content)


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
