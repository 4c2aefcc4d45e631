"""One training step of transformers' OpenAIGPT, eager: what startup compares with.

A script of its own, as its user would write it: it imports torch and transformers,
makes the model, takes the first windows of a prepared store's tokens, and updates once.
"""

import json
from pathlib import Path

import numpy as np
import torch
from absl import flags

from benchmarks import torch_sides
from gpt1_jax.cli import app, experiment

_FLAGS = flags.FlagValues()
_CONFIG = experiment.define_config(_FLAGS)
_STORE = flags.DEFINE_string(
    "store", None, "A prepared token store.", required=True, flag_values=_FLAGS
)


def main() -> None:
    """Runs the command."""
    config = experiment.resolve(_FLAGS)
    store = Path(_STORE.value)
    meta = json.loads((store / "meta.json").read_text(encoding="utf-8"))
    tokens = np.memmap(store / "tokens.bin", meta["dtype"], mode="r")
    B, L = config.train.batch_size, config.model.context_length + 1
    _, train_step = torch_sides.make("transformers", config)
    first_BL = tokens[: B * L].reshape(B, L).astype(np.int64)
    print(train_step(torch.from_numpy(first_BL)))


if __name__ == "__main__":
    app.run(main, _FLAGS)
