"""Names in words for what differs between runs: `4 epochs`, `schedule linear`."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gpt1_jax.config import FIELDS

_PHRASES = {
    ("init.path", "none"): "from scratch",
    ("train.max_steps", "0"): "no step limit",
    ("task.lm_coef", "0"): "no auxiliary LM",
}
# Words for fields whose own name says too little.
_NOUNS = {
    "init.path": "from",
    "optim.name": "optimizer",
    "task.lm_coef": "auxiliary weight",
}


def differences(many: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns for each mapping its values that others do not share, in words."""
    names = dict.fromkeys(name for facts in many for name in facts)
    differing = [n for n in names if len({facts.get(n) for facts in many}) > 1]
    return [
        ", ".join(in_words(name, facts[name]) for name in differing if name in facts)
        for facts in many
    ]


def in_words(name: str, value: Any) -> str:
    """Returns a phrase for a field, or the axis of a sweep, and its value.

    Example: train.epochs, 4 -> `4 epochs`; optim.peak_learning_rate, "1e-4" ->
             `peak learning rate 1e-4`; model.num_layers, 3 -> `3 layers`; variant,
             "no_pretraining" -> `no pretraining`
    """
    with contextlib.suppress(ValueError):
        # An axis gives its values as text, such as 0.0.
        if name in FIELDS and isinstance(FIELDS[name].default, float):
            value = float(value)
    text = _number(value) if isinstance(value, float) else str(value)
    if (name, text) in _PHRASES:
        return _PHRASES[name, text]
    noun = _NOUNS.get(name, name.rpartition(".")[2].replace("_", " "))
    default = FIELDS[name].default if name in FIELDS else None
    if isinstance(default, bool):
        return noun if text.lower() == "true" else f"no {noun}"
    if isinstance(default, int) and noun.endswith("s"):
        noun = noun.removeprefix("num ").removeprefix("max ")
        return f"{text} {noun.removesuffix('s') if text == '1' else noun}"
    if name not in FIELDS and text[:1].isalpha():  # a name that an experiment gives
        return text.replace("_", " ")
    return f"{noun} {text}"


def _number(value: float) -> str:
    """Writes 0.5 as `0.5` and 0.0001 as `1e-4`."""
    if value and abs(value) < 0.01:
        return np.format_float_scientific(value, trim="-", exp_digits=1)
    return f"{value:g}"
