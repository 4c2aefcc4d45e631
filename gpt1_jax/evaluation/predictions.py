"""The predictions of a fine-tuned model: predictions/SPLIT.jsonl in a workdir.

Each line is a JSON object: index, label, prediction, probabilities. evaluation.metrics
scores them.
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import write_atomically

PREDICTIONS_DIR = "predictions"

# The name of a class, a grade, or the index of a choice.
Answer = str | float | int


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The model's answer to one example.

    index: the example's place in the split's file, from 0.
    label: None if the file has no labels.
    probabilities: one per class or choice, in their order; () for regression.
    """

    index: int
    label: Answer | None
    prediction: Answer
    probabilities: tuple[float, ...]


_FIELDS = tuple(field.name for field in dataclasses.fields(Prediction))


def path_of(workdir: Path, split: str) -> Path:
    """Returns the path of the predictions of `split`."""
    return workdir / PREDICTIONS_DIR / f"{split}.jsonl"


def write(workdir: Path, split: str, predictions: Iterable[Prediction]) -> None:
    """Replaces the predictions of `split`, sorted by index.

    Floats are written with all digits, so that `read` returns equal ones.
    Args:    predictions: in any order, with Python or numpy numbers.
    Raises:  ValueError: an index occurs twice, or a number is not finite.
    """
    rows = [{name: getattr(row, name) for name in _FIELDS} for row in predictions]
    rows.sort(key=lambda row: row["index"])
    for before, after in itertools.pairwise(rows):
        if before["index"] == after["index"]:
            raise ValueError(
                f"two predictions of index {after['index']} in split {split!r}; one "
                "per example is allowed; drop one"
            )
    lines = [json.dumps(row, default=_plain, allow_nan=False) for row in rows]
    write_atomically(path_of(workdir, split), "".join(f"{line}\n" for line in lines))


def _plain(value: Any) -> int | float:
    """Returns a numpy number as a Python number of exactly the same value."""
    return value.item()


def read(workdir: Path, split: str) -> list[Prediction]:
    """Returns the predictions of `split`, in the order of the file.

    Raises: NotFound: there is no such file.
            UserError: a line is not a prediction.
    """
    path = path_of(workdir, split)
    if not path.is_file():
        found = sorted(file.stem for file in path.parent.glob("*.jsonl"))
        raise NotFound(
            f"no predictions in {path}; splits with predictions there: "
            f"{', '.join(found) or 'none'}; put the test set beside the task's other "
            "files and run its command again, which predicts what is missing"
        )
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    return [
        _parse(line, f"{path} line {number}")
        for number, line in enumerate(lines if lines != [b""] else [], start=1)
    ]


def _parse(line: bytes, where: str) -> Prediction:
    """Returns the prediction in a line of a file."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(
            f"{where} is damaged: {error}; one JSON object is expected; restore it, or "
            "delete the file and run the run's command again"
        ) from None
    if not isinstance(row, dict) or set(row) != set(_FIELDS):
        raise UserError(
            f"{where} has {_keys(row)}; {', '.join(_FIELDS)} are expected; only files "
            "that gpt1_jax wrote can be read"
        )
    for name, (is_good, allowed) in _CHECKS.items():
        if not is_good(row[name]):
            raise UserError(
                f"{where} has {name} {row[name]!r}; {allowed}; restore the file"
            )
    return Prediction(**row | {"probabilities": tuple(row["probabilities"])})


def _keys(row: Any) -> str:
    if not isinstance(row, dict):
        return f"a {type(row).__name__}"
    return f"the keys {', '.join(row) or 'none'}"


def _is_index(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_answer(value: Any) -> bool:
    return isinstance(value, str) or _is_number(value)


def _is_label(value: Any) -> bool:
    return value is None or _is_answer(value)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "index": (_is_index, "an integer from 0 is expected"),
    "label": (_is_label, "a class name, a finite number or null is expected"),
    "prediction": (_is_answer, "a class name or a finite number is expected"),
    "probabilities": (_are_numbers, "a list of finite numbers is expected"),
}
