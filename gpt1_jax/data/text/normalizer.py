"""The cleaning of text as a normalizer of the library `tokenizers`.

An exported tokenizer.json has it, and is recognised by it. Some rules of `clean` and of
ftfy cannot be expressed; interop.tokenizer_json lists them.
"""

from typing import Any

import tokenizers as lib
from tokenizers import Regex, models, normalizers

from gpt1_jax.files import parse_json

SPACE_MARK = "\u2581"  # SentencePiece's sign for a space
# ftfy's characters, then those of `clean.standardize`.
_REPLACED: tuple[tuple[Any, str], ...] = (
    (Regex(r"\x1b\[[\d;]*[a-zA-Z]"), ""),
    (
        Regex(
            r"[\x00-\x08\x0b\x0e-\x1f\x7f\x{206a}-\x{206f}\x{feff}\x{fff9}-\x{fffc}]"
        ),
        "",
    ),
    (Regex(r"[\x{2bc}\x{2018}-\x{201b}\x{ff07}]"), "'"),
    (Regex(r"[\x{201c}-\x{201f}\x{ff02}]"), '"'),
    *{
        "&amp;": "&",
        "ﬀ": "ff",
        "ﬁ": "fi",
        "ﬂ": "fl",
        "ﬃ": "ffi",
        "ﬄ": "ffl",
        "ﬅ": "ſt",
        "ﬆ": "st",
    }.items(),
    (Regex(r"[\x{2013}-\x{2015}]"), "-"),
    (Regex(r"[\x{85}\x{2026}]"), "..."),
    ("´", "'"),
)
_LINE_BREAKS = Regex(r"\s*[\n\r\x{2028}\x{2029}]\s*")
# Python's lower() writes a sigma that ends a word in its own form.
_FINAL_SIGMA = Regex(r"(?<=\p{L})Σ(?!\p{L})")


def cleaning(boundaries: tuple[str, ...] = ()) -> Any:
    """Returns `clean.standardize` and lower-casing as a normalizer.

    Args: boundaries: patterns of the places that get a space before lower-casing.
    """
    return normalizers.Sequence(
        [
            *(normalizers.Replace(*pair) for pair in _REPLACED),
            normalizers.NFC(),
            normalizers.Replace(_LINE_BREAKS, "\n"),
            *(normalizers.Replace(Regex(pattern), " ") for pattern in boundaries),
            normalizers.Replace(_FINAL_SIGMA, "ς"),
            normalizers.Lowercase(),
            normalizers.Replace(SPACE_MARK, "_"),
            normalizers.Strip(),
        ]
    )


def cleaning_json() -> dict[str, Any]:
    """Returns `cleaning` as an exported tokenizer.json has it."""
    empty = lib.Tokenizer(models.BPE())
    empty.normalizer = cleaning()
    return parse_json(empty.to_str())["normalizer"]
