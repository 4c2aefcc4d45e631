"""What the weight formats share: our parameters beside the names that others use."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np

from gpt1_jax.config import ModelConfig
from gpt1_jax.errors import UserError
from gpt1_jax.models import backbone
from gpt1_jax.training import keys

# Of an axis of any array; damaged files ask for more.
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
    """A model's parameters by path, as "block_00/mlp/in/kernel", and its sizes.

    With a head of multiple choice it has head/kernel and head/bias too.
    """

    params: Mapping[str, np.ndarray]
    model: ModelConfig

    @property
    def num_rows(self) -> int:
        """The rows of the token table: the vocabulary, and specials after it."""
        return len(self.params["embed/token"])

    @property
    def tree(self) -> dict[str, Any]:
        """The parameters as the model takes them."""
        return flax.traverse_util.unflatten_dict(dict(self.params), sep="/")


def flatten(params: Any) -> dict[str, np.ndarray]:
    """The parameters of a model by path, on the host."""
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    return {path: np.asarray(value) for path, value in flat.items()}


def paths(num_layers: int) -> list[str]:
    """All paths of a model without a head, in the order of the release."""
    blocks = [
        f"block_{layer:02d}/{name}"
        for layer in range(num_layers)
        for name in BLOCK_NAMES
    ]
    return ["embed/position", "embed/token", *blocks]


def expected_shapes(model: ModelConfig, num_rows: int) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of a model without a head."""
    float32 = dataclasses.replace(model, compute_dtype="float32")
    fresh = backbone.make(float32, num_rows)
    found = jax.eval_shape(lambda: backbone.init_params(fresh, keys.make_key(0)))
    flat = flax.traverse_util.flatten_dict(found, sep="/")
    return {path: leaf.shape for path, leaf in flat.items()}


def check_finite(params: Mapping[str, np.ndarray], where: str) -> None:
    """Raises UserError naming a parameter that holds what is no number."""
    for path, value in params.items():
        with np.errstate(all="ignore"):
            total = np.sum(value, dtype=np.float64)
        if not np.isfinite(total):
            raise UserError(
                f"{where}: {path} holds values that are infinite or no number; intact "
                "weights are expected; fetch the files anew"
            )


def doubtful_gains(found: Weights) -> str:
    """The path of the first gain whose mean is near 0, as no trained one's is."""
    for path, value in found.params.items():
        if path.endswith("/scale") and np.mean(value) < 0.05:
            return path
    return ""


def num_heads(width: int, where: str) -> int:
    """The heads of a model whose files don't say it: 64 features each, as released."""
    if width % 64:
        raise UserError(
            f"{where}: width {width} is no multiple of 64, the width of a head in the "
            "release; convert from Hugging Face's format, which names the heads"
        )
    return width // 64
