"""The weights of a model between formats, and what both formats share."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np

from gpt1_jax.config import ModelConfig
from gpt1_jax.errors import UserError
from gpt1_jax.models import backbone
from gpt1_jax.training.step import make_key

# The largest allowed axis of an array; larger ones mean damaged files.
LARGEST_SIZE = 1 << 20

# Each parameter of a block, in the order of the release, and its name in transformers.
BLOCK_NAMES = {
    "attention/qkv/kernel": "attn.c_attn.weight",
    "attention/qkv/bias": "attn.c_attn.bias",
    "attention/out/kernel": "attn.c_proj.weight",
    "attention/out/bias": "attn.c_proj.bias",
    "norm_1/scale": "ln_1.weight",
    "norm_1/bias": "ln_1.bias",
    "mlp/in/kernel": "mlp.c_fc.weight",
    "mlp/in/bias": "mlp.c_fc.bias",
    "mlp/out/kernel": "mlp.c_proj.weight",
    "mlp/out/bias": "mlp.c_proj.bias",
    "norm_2/scale": "ln_2.weight",
    "norm_2/bias": "ln_2.bias",
}


@dataclasses.dataclass(frozen=True)
class Weights:
    """A model's parameters by path, such as "block_00/mlp/in/kernel", and its sizes.

    head: the kind of the task's head, whose parameters are head/kernel and head/bias:
    "choice" (one output, for each answer), "classes", or "": there is none.
    labels: the names of the classes.
    """

    params: Mapping[str, np.ndarray]
    model: ModelConfig
    head: str = ""
    labels: tuple[str, ...] = ()

    @property
    def num_rows(self) -> int:
        """The number of rows of the token table: the vocabulary, then specials."""
        return len(self.params["embed/token"])

    @property
    def tree(self) -> dict[str, Any]:
        """The parameters as the nested dictionary that the model expects."""
        return flax.traverse_util.unflatten_dict(dict(self.params), sep="/")


def flatten(params: Any) -> dict[str, np.ndarray]:
    """Returns the parameters of a model by path, as numpy arrays."""
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    return {path: np.asarray(value) for path, value in flat.items()}


def fold_bias(found: Weights) -> Weights | None:
    """Returns an equal classifier without a bias; None if there is none.

    h W + b = (h + d) W with d W = b, and d is added to the bias of the last norm, whose
    result is h. So the classes' logits stay, but not those of the next token.
    """
    kernel_DC = found.params["head/kernel"].astype(np.float64)
    bias_C = found.params["head/bias"].astype(np.float64)
    shift_D = np.linalg.lstsq(kernel_DC.T, bias_C, rcond=None)[0]
    if not np.allclose(shift_D @ kernel_DC, bias_C, rtol=1e-6, atol=1e-7):
        return None
    last = f"block_{found.model.num_layers - 1:02d}/norm_2/bias"
    shifted = {
        last: (found.params[last] + shift_D).astype(np.float32),
        "head/bias": np.zeros_like(found.params["head/bias"]),
    }
    return dataclasses.replace(found, params={**found.params, **shifted})


def paths(num_layers: int) -> list[str]:
    """Returns all paths of a model without a head, in the order of the release."""
    blocks = [
        f"block_{layer:02d}/{name}"
        for layer in range(num_layers)
        for name in BLOCK_NAMES
    ]
    return ["embed/position", "embed/token", *blocks]


def expected_shapes(model: ModelConfig, num_rows: int) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each parameter of a model without a head."""
    float32 = dataclasses.replace(model, compute_dtype="float32")
    fresh = backbone.make(float32, num_rows)
    found = jax.eval_shape(lambda: backbone.init_params(fresh, make_key(0)))
    flat = flax.traverse_util.flatten_dict(found, sep="/")
    return {path: leaf.shape for path, leaf in flat.items()}


def check_finite(params: Mapping[str, np.ndarray], where: str) -> None:
    """Raises UserError naming a parameter with infinite or NaN values."""
    for path, value in params.items():
        with np.errstate(all="ignore"):
            total = np.sum(value, dtype=np.float64)
        if not np.isfinite(total):
            raise UserError(
                f"{where}: {path} has infinite or NaN values; finite weights are "
                "expected; fetch the files again"
            )


def suspicious_norm_scale(found: Weights) -> str:
    """Returns the path of the first norm scale whose mean is near 0, or ""."""
    for path, value in found.params.items():
        if path.endswith("/scale") and np.mean(value) < 0.05:
            return path
    return ""


def num_heads(width: int, where: str) -> int:
    """Returns the number of heads that a file does not store: 64 features per head."""
    if width % 64:
        raise UserError(
            f"{where}: width {width} is not a multiple of 64, the width of a head in "
            "the release; use Hugging Face's format, which stores the number of heads"
        )
    return width // 64
