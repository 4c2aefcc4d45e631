"""Transfer of parameters from a trained model to a fresh one, by name."""

import dataclasses
import re
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp

from gpt1_jax.errors import UserError

_TOKEN_TABLE = "embed/token"
_LAYER = re.compile(r"block_(\d+)/")


@dataclasses.dataclass(frozen=True)
class Transferred:
    """The parameters after a transfer, with the paths taken, fresh and unused.

    fresh_rows: number of fresh rows in a token table that was taken.
    """

    params: Any
    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]
    fresh_rows: int


def transfer(fresh: Any, trained: Any, num_layers: int) -> Transferred:
    """Returns `fresh` with the trained embeddings and first `num_layers` layers.

    A trained token table may lack the rows of special tokens, which then stay fresh.
    The head of a task is never taken.
    Source: Radford et al. 2018, Sec. 5, Figure 2 (left).
    Args:   num_layers: -1 for all; 0 for the embeddings only; -2 for nothing.
    Raises: UserError that lists every path whose shape does not fit.
    """
    new = flax.traverse_util.flatten_dict(fresh, sep="/")
    old = flax.traverse_util.flatten_dict(trained, sep="/")
    wanted = [path for path in new if _is_wanted(path, num_layers)]
    misfits = [
        f"{path}: {_shape(old.get(path))} -> {new[path].shape}"
        for path in wanted
        if not _fits(path, old.get(path), new[path])
    ]
    if misfits:
        raise UserError(
            f"the trained model does not fit: {'; '.join(misfits)}; sizes and "
            "tokenizer must be those of config.init.path; drop what overrides them"
        )
    result = dict(new)
    for path in wanted:
        value = jnp.asarray(old[path], new[path].dtype)
        result[path] = jnp.asarray(new[path]).at[: len(value)].set(value)
    taken = set(wanted)
    return Transferred(
        flax.traverse_util.unflatten_dict(result, sep="/"),
        taken=tuple(wanted),
        fresh=tuple(path for path in new if path not in taken),
        unused=tuple(path for path in old if path not in taken),
        fresh_rows=(
            len(new[_TOKEN_TABLE]) - len(old[_TOKEN_TABLE])
            if _TOKEN_TABLE in taken
            else 0
        ),
    )


def _is_wanted(path: str, num_layers: int) -> bool:
    if num_layers == -2 or path.startswith("head/"):
        return False
    layer = _LAYER.match(path)
    return not layer or num_layers == -1 or int(layer[1]) < num_layers


def _fits(path: str, old: jax.Array | None, new: jax.Array) -> bool:
    """Returns whether the shapes agree; a token table may have fewer rows."""
    if old is None:
        return False
    if path == _TOKEN_TABLE:
        return old.shape[1:] == new.shape[1:] and len(old) <= len(new)
    return old.shape == new.shape


def _shape(value: jax.Array | None) -> str:
    return "missing" if value is None else str(value.shape)


def describe(transferred: Transferred) -> str:
    """Returns a line of the top-level names that were taken, left fresh and unused."""

    def names(paths: tuple[str, ...]) -> str:
        return ", ".join(sorted({path.split("/")[0] for path in paths})) or "nothing"

    kinds = {"taken": transferred.taken, "fresh": transferred.fresh}
    kinds["unused"] = transferred.unused
    lines = [f"{kind}: {names(paths)}" for kind, paths in kinds.items()]
    if transferred.fresh_rows:
        lines[1] += f", {transferred.fresh_rows} rows of {_TOKEN_TABLE}"
    return "; ".join(lines)
