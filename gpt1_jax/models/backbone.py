"""The network from tokens to hidden states, built by its name in the config."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpt1_jax.config import ModelConfig
from gpt1_jax.models.lstm import LSTM
from gpt1_jax.models.transformer import Transformer

Backbone = Transformer | LSTM


def make(cfg: ModelConfig, vocab_size: int, *, remat: bool = False) -> Backbone:
    """Returns the backbone that `cfg.backbone` names.

    Args: cfg: its compute_dtype is resolved, that is, not `auto`.
          vocab_size: rows of the token table, specials included.
          remat: recompute activations in the backward pass instead of storing them.
    """
    kinds: dict[str, type[Backbone]] = {"transformer": Transformer, "lstm": LSTM}
    return kinds[cfg.backbone](cfg, vocab_size, remat)


def init_params(model: Backbone, key: jax.Array) -> Any:
    """Returns fresh parameters of `model`."""
    return model.init(key, jnp.zeros((1, 1), jnp.int32))["params"]


@functools.cache
def num_parameters(cfg: ModelConfig, vocab_size: int) -> int:
    """Returns the number of parameters of a backbone, without a task's head."""
    model = make(dataclasses.replace(cfg, compute_dtype="float32"), vocab_size)
    shapes = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def apply(
    model: nn.Module, params: Any, method: str, *arguments: Any, **more: Any
) -> Any:
    """Calls a method of `model` with `params`; `more` goes to flax's `apply`."""
    return model.apply({"params": params}, *arguments, method=method, **more)
