"""Who does not see what decides an example scores no better than chance."""

import collections
import math
import re

import numpy as np
import pytest

CHOICES = {"race": 4, "storycloze": 2, "dpr": 2}
# Second texts that say nothing by themselves, and the share of the commonest label.
HYPOTHESES = {
    "mnli": 1 / 3,
    "snli": 1 / 3,
    "qqp": 5 / 8,
    "mrpc": 1 / 2,
    "rte": 1 / 2,
    "scitail": 1 / 2,
}


def words(text):
    return re.findall(r"[a-z]+", text.lower())


def dev(splits):
    return splits.get("dev") or splits.get("dev_matched") or splits["test"]


def blind_answerers(train, book_counts):
    """Name -> score of an answer's words and position; the highest one wins."""
    right, shown = collections.Counter(), collections.Counter()
    for example in train:
        for position, answer in enumerate(example.parts):
            shown.update(words(answer))
            if position == example.label:
                right.update(words(answer))

    scores = {
        "frequent in books": lambda ws, _: np.mean(
            [math.log(1 + book_counts[w]) for w in ws]
        ),
        "without a rare word": lambda ws, _: min(book_counts[w] for w in ws),
        "often right in training": lambda ws, _: sum(right[w] for w in ws),
        "usually right in training": lambda ws, _: np.mean(
            [(1 + right[w]) / (2 + shown[w]) for w in ws]
        ),
        "long": lambda ws, _: len(" ".join(ws)),
        "first": lambda _, position: -position,
    }
    opposite = {f"not {name}": lambda *a, s=s: -s(*a) for name, s in scores.items()}
    return scores | opposite


def accuracy(examples, score):
    """The share of right answers; those that tie share the point."""
    points = []
    for example in examples:
        scores = [round(score(words(a), i), 9) for i, a in enumerate(example.parts)]
        is_best = np.equal(scores, max(scores))
        points.append(is_best[example.label] / is_best.sum())
    return np.mean(points)


@pytest.mark.parametrize("name", CHOICES)
def test_answers_alone_do_not_tell_the_right_one(examples_of, book_counts, name):
    splits = examples_of[name]
    for blind, score in blind_answerers(splits["train"], book_counts).items():
        scored = accuracy(dev(splits), score)
        assert scored == pytest.approx(1 / CHOICES[name], abs=0.05), blind


@pytest.mark.parametrize("name", CHOICES)
def test_each_answer_is_right_as_often_as_it_should_by_chance(examples_of, name):
    right, shown = collections.Counter(), collections.Counter()
    for example in dev(examples_of[name]):
        right[example.parts[example.label]] += 1
        shown.update(example.parts)
    for answer, count in shown.items():
        assert right[answer] * CHOICES[name] == count


def most_likely_labels(train, texts):
    """The answers of naive Bayes that was trained on single words of texts."""
    counts = collections.defaultdict(collections.Counter)
    totals = collections.Counter(label for _, label in train)
    for text, label in train:
        counts[label].update(set(words(text)))

    known = set().union(*counts.values())

    def score(text, label):
        seen = [counts[label][word] for word in set(words(text)) & known]
        shares = (np.array(seen) + 0.5) / (totals[label] + 1)
        return np.log(totals[label]) + np.log(shares).sum()

    return [max(sorted(totals), key=lambda label: score(t, label)) for t in texts]


@pytest.mark.parametrize("name", HYPOTHESES)
@pytest.mark.parametrize("is_told_dev", [False, True])
def test_the_second_text_alone_does_not_tell_the_label(examples_of, name, is_told_dev):
    """Even words whose labels in dev are known tell nothing."""
    splits = examples_of[name]
    second, labels = zip(*((e.parts[1], e.label) for e in dev(splits)), strict=True)
    told = dev(splits) if is_told_dev else splits["train"]
    found = most_likely_labels([(e.parts[1], e.label) for e in told], second)
    assert np.mean(np.equal(found, labels)) <= HYPOTHESES[name] + 0.05
