"""The sequences of Figure 1 as aligned literals, their truncation, and records."""

import itertools

import numpy as np
import pytest

from gpt1_jax.data.tasks import records as records_lib
from gpt1_jax.data.tasks.examples import Example
from gpt1_jax.data.tasks.rows import TASKS

S, D, E = 100, 101, 102  # start, delimiter, classify
EMPTY = np.zeros(0, np.uint32)


def ids(*values: int) -> np.ndarray:
    return np.array(values, np.uint32)


def arranged(kind, parts, length=20, context=EMPTY, question=EMPTY):
    layout = records_lib.make_layout(100, length)
    sequences, is_cut = records_lib.arrange(
        kind, parts, layout, context=context, question=question, name="race, example 3"
    )
    return [sequence.tolist() for sequence in sequences], is_cut


def test_specials_follow_the_vocabulary_in_the_released_order():
    assert records_lib.make_layout(100, 20) == records_lib.Layout(S, D, E, 20)


@pytest.mark.parametrize(
    ("kind", "parts", "expected"),
    [
        ("single", [ids(1, 2, 3)], [[S, 1, 2, 3, E]]),
        ("pair", [ids(1, 2), ids(5)], [[S, 1, 2, D, 5, E]]),
        (
            "similarity",
            [ids(1, 2), ids(5)],
            [[S, 1, 2, D, 5, E], [S, 5, D, 1, 2, E]],
        ),
        ("single", [EMPTY], [[S, E]]),
    ],
)
def test_sequences_are_those_of_figure_1(kind, parts, expected):
    assert arranged(kind, parts) == (expected, False)


def test_a_choice_repeats_context_and_question_and_has_one_delimiter():
    sequences, is_cut = arranged(
        "choice", [ids(7), ids(8, 9)], context=ids(1, 2), question=ids(4)
    )
    assert sequences == [[S, 1, 2, 4, D, 7, E], [S, 1, 2, 4, D, 8, 9, E]]
    assert not is_cut


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        # 5 tokens fit beside the 3 special tokens.
        ([ids(1, 2, 3), ids(5, 6)], [S, 1, 2, 3, D, 5, 6, E]),
        ([ids(1, 2, 3, 4, 4, 4), ids(5)], [S, 1, 2, 3, 4, D, 5, E]),
        ([ids(1), ids(5, 6, 7, 8, 9, 9)], [S, 1, D, 5, 6, 7, 8, E]),
        ([ids(1, 2, 3, 4), ids(5, 6, 7, 8)], [S, 1, 2, D, 5, 6, E]),
    ],
)
def test_each_of_two_texts_keeps_half_and_what_the_other_does_not_need(parts, expected):
    (sequence,), is_cut = arranged("pair", parts, length=8)
    assert sequence == expected
    assert is_cut == (len(parts[0]) + len(parts[1]) > 5)


@pytest.mark.parametrize("kind", ["pair", "similarity"])
def test_a_pair_needs_a_context_that_holds_the_specials(kind):
    assert arranged(kind, [ids(1, 2), ids(5)], length=3)[0][0] == [S, D, E]
    with pytest.raises(ValueError, match=r"context_length=2; at least 3 .* longer con"):
        arranged(kind, [ids(1, 2), ids(5)], length=2)


def test_a_long_pair_is_cut_equally_in_both_orders():
    long, short = ids(*range(1, 12)), ids(*range(20, 26))
    (one, other), _ = arranged("similarity", [long, short], length=12)
    (swapped, _), _ = arranged("similarity", [short, long], length=12)
    assert other == swapped
    assert sorted(one) == sorted(other)
    assert len(one) < 12 + 3


def test_a_choice_cuts_only_the_context_and_equally_for_all_answers():
    sequences, is_cut = arranged(
        "choice",
        [ids(7), ids(8, 9)],
        length=9,
        context=ids(1, 2, 3, 4),
        question=ids(5, 6),
    )
    assert is_cut
    assert sequences == [[S, 1, 2, 5, 6, D, 7, E], [S, 1, 2, 5, 6, D, 8, 9, E]]


def test_question_and_answer_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError,
        match=r"race, example 3: question and longest answer have 7 tokens; at most 6 "
        r"fit into context_length=9 .* longer context",
    ):
        arranged(
            "choice",
            [ids(7), ids(8, 9, 9, 9, 9)],
            length=9,
            context=ids(1),
            question=ids(5, 6),
        )


def encode(text: str) -> np.ndarray:
    return np.array([ord(char) - ord("a") for char in text], np.uint32)


def test_records_hold_every_sequence_its_bounds_and_its_label():
    examples = [Example(("ab", "c"), 2.5), Example(("defgh", "ijklm"), None)]
    records = records_lib.make_records(
        TASKS["stsb"], examples, encode, records_lib.make_layout(100, 9)
    )
    assert (len(records), records.num_sequences, records.num_truncated) == (2, 2, 1)
    found = [
        [records.tokens[a:b].tolist() for a, b in itertools.pairwise(bounds)]
        for bounds in records.bounds_RA1
    ]
    assert found == [
        [[S, 0, 1, D, 2, E], [S, 2, D, 0, 1, E]],
        [[S, 3, 4, 5, D, 8, 9, 10, E], [S, 8, 9, 10, D, 3, 4, 5, E]],
    ]
    np.testing.assert_array_equal(records.lengths_RA, [[6, 6], [9, 9]])
    np.testing.assert_array_equal(records.labels_R, [2.5, np.nan])
