"""The user's texts and token ids as arguments of a model: checks and tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from gpt1_jax.errors import UserError

# Strings, token ids of each text, or an array tokens_NL.
Texts = Sequence[str | Sequence[int] | np.ndarray] | np.ndarray


def check_texts(method: str, texts: Sequence[str]) -> None:
    """Raises a UserError for anything but a list of strings."""
    _refuse_one(method, texts)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(
                f"text {number} is of type {type(text).__name__}; {method} takes a "
                "list of strings; decode or convert it"
            )


def _refuse_one(method: str, texts: Any) -> None:
    if isinstance(texts, str | bytes):
        raise UserError(
            f"{method} was given one {type(texts).__name__}; a list of strings is "
            "expected; put a string into a list"
        )


def is_array(texts: Texts) -> bool:
    """Returns whether `texts` is an array tokens_NL, and no list of texts."""
    return isinstance(texts, np.ndarray | jax.Array) and texts.ndim == 2


def ids_of(
    method: str,
    texts: Texts,
    encode: Callable[[str], np.ndarray],
    *,
    num_ids: int,
    context_length: int,
) -> list[np.ndarray]:
    """Returns the token ids of each text.

    Raises: UserError: a text is neither a string nor token ids of the model; it has no
            token, or more than the context length.
    """
    _refuse_one(method, texts)
    if is_array(texts):
        return list(checked_rows(method, texts, num_ids, context_length))
    ids = []
    for number, text in enumerate(texts):
        found_L = encode(text) if isinstance(text, str) else _as_ids(text)
        if found_L is None:
            raise UserError(
                f"text {number} is of type {type(text).__name__}; {method} takes "
                "strings, or the token ids of each text; decode or convert it"
            )
        if not 1 <= len(found_L) <= context_length:
            raise UserError(
                f"text {number} has {len(found_L)} tokens; from 1 to {context_length} "
                "are allowed, the context length; shorten or split it"
            )
        check_ids(method, found_L, num_ids)
        ids.append(found_L)
    return ids


def _as_ids(text: Any) -> np.ndarray | None:
    """Returns a sequence of integers as an array; None: it is no such sequence."""
    try:
        ids_L = np.asarray(text)
    except ValueError:  # sequences of several lengths
        return None
    is_empty = ids_L.shape == (0,)
    return ids_L if is_empty or (ids_L.dtype.kind in "iu" and ids_L.ndim == 1) else None


def checked_rows(
    method: str, tokens_NL: Any, num_ids: int, context_length: int
) -> np.ndarray:
    """Returns rows of token ids as an array.

    Raises: UserError: they are not integers of the shape (N, L), or out of range.
    """
    try:
        found_NL = np.asarray(tokens_NL)
    except ValueError:  # rows of several lengths
        found_NL = np.asarray(None)
    if found_NL.dtype.kind not in "iu" or found_NL.ndim != 2 or not found_NL.size:
        given = f"{found_NL.dtype} of shape {found_NL.shape}"
        if found_NL.dtype.kind == "O":
            given = "rows of several lengths, or no numbers"
        raise UserError(
            f"{method} was given {given}; integers of shape (N, L) are expected, "
            "rows of token ids; pad shorter rows on the right"
        )
    if found_NL.shape[1] > context_length:
        raise UserError(
            f"{method} was given rows of {found_NL.shape[1]} tokens; at most "
            f"{context_length} are allowed, the context length; cut them"
        )
    check_ids(method, found_NL, num_ids)
    return found_NL.astype(np.int32)


def check_ids(method: str, ids: np.ndarray, num_ids: int) -> None:
    """Raises a UserError for a token id that the model does not have."""
    wrong = ids[(ids < 0) | (ids >= num_ids)]
    if wrong.size:
        raise UserError(
            f"{method} was given the token id {wrong[0]}; from 0 to {num_ids - 1} "
            "are allowed; encode texts with the tokenizer of this model"
        )
