"""Examples to token sequences: the input transformations of Figure 1.

Source: Radford et al. 2018, Sec. 3.3. The ids of the three special tokens follow the
tokenizer's vocabulary. This module neither batches nor pads.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable

import numpy as np

from gpt1_jax.data.tasks.examples import Example
from gpt1_jax.data.tasks.task import Task
from gpt1_jax.errors import UserError

NUM_SPECIALS = 3


@dataclasses.dataclass(frozen=True)
class Layout:
    """The ids of the special tokens, and the maximum length of a sequence."""

    start: int
    delimiter: int
    classify: int
    max_length: int


def make_layout(vocab_size: int, context_length: int) -> Layout:
    """Returns the layout of special tokens in the order of the released code."""
    return Layout(vocab_size, vocab_size + 1, vocab_size + 2, context_length)


@dataclasses.dataclass(frozen=True)
class Records:
    """The sequences of all examples of a split, ready to be batched.

    tokens: all sequences, concatenated. bounds_RA1: the starts in `tokens` of the A
    sequences of each record, and the end of the last one. labels_R: NaN for a record
    without a label. num_truncated: the number of examples that were cut.
    """

    tokens: np.ndarray
    bounds_RA1: np.ndarray
    labels_R: np.ndarray
    num_truncated: int

    def __len__(self) -> int:
        return len(self.labels_R)

    @property
    def num_sequences(self) -> int:
        """A, the number of sequences of each example."""
        return self.bounds_RA1.shape[1] - 1

    @functools.cached_property
    def lengths_RA(self) -> np.ndarray:
        """The number of tokens of each sequence."""
        return np.diff(self.bounds_RA1, axis=1)

    def take(self, indices_R: np.ndarray) -> "Records":
        """Returns the records of these indices."""
        return dataclasses.replace(
            self,
            bounds_RA1=self.bounds_RA1[indices_R],
            labels_R=self.labels_R[indices_R],
        )


def make_records(
    task: Task,
    examples: Iterable[Example],
    encode: Callable[[str], np.ndarray],
    layout: Layout,
) -> Records:
    """Returns the token sequences of `examples`, in order.

    Args:   examples: as validation.check_examples accepts them.
    Raises: UserError: a text that is never cut does not fit.
    """
    all_sequences, labels, num_truncated = [], [], 0
    for number, example in enumerate(examples):
        sequences, is_truncated = arrange(
            task.kind,
            [encode(text) for text in example.parts],
            layout,
            context=encode(example.context),
            question=encode(example.question),
            name=f"{task.name}, example {number}",
        )
        all_sequences.append(sequences)
        label = np.nan if example.label is None else example.label
        labels.append(task.grade_of(label) if task.is_graded else label)
        num_truncated += is_truncated
    flat = [sequence for sequences in all_sequences for sequence in sequences]
    ends = np.cumsum([0, *map(len, flat)])
    A = len(all_sequences[0]) if all_sequences else 1
    assert all(len(sequences) == A for sequences in all_sequences)
    starts_RA = ends[:-1].reshape(-1, A)
    bounds_RA1 = np.concatenate([starts_RA, ends[A::A, None]], axis=1)
    tokens = np.concatenate(flat, dtype=np.int32) if flat else np.zeros(0, np.int32)
    return Records(tokens, bounds_RA1, np.array(labels, float), num_truncated)


def arrange(
    kind: str,
    parts: list[np.ndarray],
    layout: Layout,
    *,
    context: np.ndarray,
    question: np.ndarray,
    name: str = "example",
) -> tuple[list[np.ndarray], bool]:
    """Returns the token sequences of an example, and whether it was truncated.

    Texts that do not fit are cut at their end. Each of two texts keeps at least half of
    the available tokens, and more if the other text is short. For a choice only the
    context is cut, to the same length for all answers.
    Source: Radford et al. 2018, Figure 1. Differs: the released code gives each part
    254 tokens, however short the other is; with that, RACE would lose its questions.
    Example: kind        parts   sequences ($ delimiter, S start, E classify)
             single      a       S a E
             pair        a, b    S a $ b E
             similarity  a, b    S a $ b E    S b $ a E
             choice      a, b    S context question $ a E    S context question $ b E
    Raises:  UserError naming `name`: question and answers alone do not fit.
    """
    start, delimiter, end = (
        np.array([token], np.uint32)
        for token in (layout.start, layout.delimiter, layout.classify)
    )
    if kind == "single":
        (text,) = parts
        kept = text[: layout.max_length - 2]
        return [np.concatenate([start, kept, end])], len(kept) < len(text)
    available = layout.max_length - 3
    if available < 0:
        raise UserError(
            f"{name}: context_length={layout.max_length}; at least 3 are needed for "
            "the special tokens of two texts; use a model with a longer context"
        )
    if kind == "choice":
        longest = len(question) + max(map(len, parts))
        if longest > available:
            raise UserError(
                f"{name}: question and longest answer have {longest} tokens; at most "
                f"{available} fit into context_length={layout.max_length} and neither "
                "is ever cut; use a model with a longer context"
            )
        kept = context[: available - longest]
        shared = [start, kept, question, delimiter]
        sequences = [np.concatenate([*shared, part, end]) for part in parts]
        return sequences, len(kept) < len(context)
    first, second = parts
    half = available // 2
    kept_first = first[: max(half, available - len(second))]
    kept_second = second[: max(half, available - len(first))]
    pairs = [(kept_first, kept_second)]
    if kind == "similarity":
        pairs.append((kept_second, kept_first))
    is_cut = len(kept_first) + len(kept_second) < len(first) + len(second)
    return [np.concatenate([start, a, delimiter, b, end]) for a, b in pairs], is_cut
