"""Hidden states, embeddings and attention weights of many texts, in batches by length.

A text is padded to a length that depends on its own length only, and computed in chunks
whose shape depends on that length only. So its values are the same, whatever texts are
given beside it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpt1_jax.distributed import mesh
from gpt1_jax.distributed.pipeline import pipelined
from gpt1_jax.errors import UserError
from gpt1_jax.inference import scoring
from gpt1_jax.models import backbone
from gpt1_jax.models.backbone import Backbone

# Tokens that a device computes at once, and in a batch, padding included.
_CHUNK_TOKENS, _BATCH_TOKENS = 512, 4096

# (params, (tokens_NL, lengths_N)) -> an array with a row for each text.
_Rows = Callable[[Any, Any], jax.Array]


def make_hidden_states(model: Backbone, layers: tuple[int, ...]) -> _Rows:
    """Returns a function to h_NSLD, the chosen states; 0 stands for the embeddings."""

    def hidden_states(params: Any, batch: Any) -> jax.Array:
        tokens_NL, _ = batch
        _, captured = backbone.apply(
            model, params, "encode", tokens_NL, mutable="intermediates"
        )
        found = captured["intermediates"]["hidden_states"]
        return _widened(jnp.stack([found[layer] for layer in layers], axis=1))

    return hidden_states


def make_attentions(model: Backbone, layers: tuple[int, ...]) -> _Rows:
    """Returns a function to att_NSHLM, the attention weights of the chosen layers."""

    def attentions(params: Any, batch: Any) -> jax.Array:
        tokens_NL, _ = batch
        found = backbone.apply(model, params, "attention_weights", tokens_NL)
        return _widened(jnp.stack([found[layer] for layer in layers], axis=1))

    return attentions


def _mean(h_NLD: jax.Array, lengths_N: jax.Array) -> jax.Array:
    is_token_NL1 = _is_token(h_NLD, lengths_N)
    return jnp.where(is_token_NL1, h_NLD, 0.0).sum(1) / lengths_N[:, None]


def _max(h_NLD: jax.Array, lengths_N: jax.Array) -> jax.Array:
    return jnp.where(_is_token(h_NLD, lengths_N), h_NLD, -jnp.inf).max(1)


def _last(h_NLD: jax.Array, lengths_N: jax.Array) -> jax.Array:
    return jnp.take_along_axis(h_NLD, lengths_N[:, None, None] - 1, axis=1)[:, 0]


def _is_token(h_NLD: jax.Array, lengths_N: jax.Array) -> jax.Array:
    return (jnp.arange(h_NLD.shape[1])[None] < lengths_N[:, None])[..., None]


# How the states of a text's tokens become one vector.
POOLINGS = {"mean": _mean, "last": _last, "max": _max}


def make_embeddings(model: Backbone, pooling: str, layer: int) -> _Rows:
    """Returns a function to h_ND, the pooled states of each text's tokens.

    Args: pooling: a name in POOLINGS.
    """
    hidden_states = make_hidden_states(model, (layer,))

    def embeddings(params: Any, batch: Any) -> jax.Array:
        h_NLD = hidden_states(params, batch)[:, 0]
        return POOLINGS[pooling](h_NLD, batch[1])

    return embeddings


def _widened(x: jax.Array) -> jax.Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def checked_layers(
    method: str, layers: int | Sequence[int] | None, count: int
) -> tuple[int, ...]:
    """Returns the chosen layers as numbers from 0 to count - 1.

    Args:   layers: a number or several, negative from the end; None: all.
    Raises: UserError: there is no such layer, or none is chosen.
    """
    if layers is None:
        return tuple(range(count))
    found = np.atleast_1d(np.asarray(layers))
    is_good = found.dtype.kind in "iu" and found.ndim == 1 and found.size > 0
    if not is_good or found.min() < -count or found.max() >= count:
        raise UserError(
            f"{method} was given layers={layers}; one or several integers from "
            f"{-count} to {count - 1} are expected; change them, or leave them out "
            "for all"
        )
    return tuple(int(layer) % count for layer in found)


def shaped(
    values: list[np.ndarray], is_array: bool, layers: int | Sequence[int] | None
) -> list[np.ndarray] | np.ndarray:
    """Returns the values of texts, whose first axis is S, as the caller expects them.

    Args: is_array: the texts were rows of an array; their axis N comes after S.
          layers: as in checked_layers; a single number leaves out the axis S.
    """
    if isinstance(layers, int | np.integer):
        values = [value[0] for value in values]
        return np.stack(values) if is_array else values
    return np.stack(values, axis=1) if is_array else values


class Reader:
    """Computes functions of texts with one model, and keeps the compiled programs."""

    def __init__(self, model: Backbone, context_length: int):
        self._model, self._context_length = model, context_length
        self._compiled: dict[Any, _Rows] = {}

    def read(
        self,
        make: Callable[..., _Rows],
        params: Any,
        ids: Sequence[np.ndarray],
        *choices: Any,
    ) -> list[np.ndarray]:
        """Returns the value of each text, in order.

        Values are not cut: where they have an axis of positions, it is padded.
        Args: make: (model, choices) -> the function. ids: the tokens of each text, at
              least one and at most as many as the context.
        """
        devices = mesh.make_mesh()
        found: list[np.ndarray] = [np.zeros(0)] * len(ids)

        def dispatch(index: list[int], tokens_NL: np.ndarray) -> Any:
            length = tokens_NL.shape[1]
            rows = max(1, _CHUNK_TOKENS // length)
            case = make, choices, rows
            if case not in self._compiled:
                self._compiled[case] = mesh.jit_over_rows(
                    make(self._model, *choices), devices, rows
                )
            missing = -len(tokens_NL) % (rows * devices.size)
            tokens_NL = np.pad(tokens_NL, ((0, missing), (0, 0)))
            lengths_N = np.ones(len(tokens_NL), np.int32)
            lengths_N[: len(index)] = [len(ids[number]) for number in index]
            return index, self._compiled[case](params, (tokens_NL, lengths_N))

        batches = scoring.padded_batches(ids, self._context_length, _BATCH_TOKENS)
        for index, values in pipelined(dispatch(*batch) for batch in batches):
            for number, value in zip(index, np.asarray(values), strict=False):
                found[number] = value
        return found
