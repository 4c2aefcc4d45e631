"""Tasks solved without fine-tuning, from a language model's likelihood of texts.

Radford et al. 2018, Sec. 5, "Zero-shot Behaviors". An example becomes candidates: texts
to score, each after a given text. Scores, answers and metrics are functions of the
candidates' log-probabilities. If a candidate exceeds the context, its given text is cut
on the left.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gpt1_jax.data.tasks.examples import Example
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.errors import UserError
from gpt1_jax.evaluation import metrics
from gpt1_jax.terminal import counted

Encode = Callable[[str], np.ndarray]


class Candidate(NamedTuple):
    """Token ids to score, and the given ids before them."""

    given: np.ndarray
    scored: np.ndarray


@dataclasses.dataclass(frozen=True)
class Heuristic:
    """A task's zero-shot solution, and the scale on which its score is shown.

    title: the task's name in reports.
    is_threshold: the score of the only candidate is compared with a threshold, the one
    with the best Matthews correlation on training data. Otherwise the candidate with
    the highest score is the answer.
    is_mean: a candidate's score is the mean of its tokens' log-probabilities, otherwise
    their sum.
    chance: the metric of random guessing.
    reference: the metric of the best earlier model in the paper's tables (for CoLA
    trained on that task alone, for RACE an ensemble); for DPR that of Peng et al. 2015.
    The paper does not state which references it uses.
    paper_last: the final value of the paper's Transformer on this scale, read off the
    right panel of Figure 2 to about 0.02; None if the paper lacks the task.
    """

    task: str
    title: str
    metric: str
    candidates: Callable[[Example, Encode], list[Candidate]]
    is_threshold: bool
    is_mean: bool
    chance: float
    reference: float
    paper_last: float | None = None

    def normalised(self, score: float) -> float:
        """Returns 0 for chance, 1 for the reference: the y axis of Figure 2, right."""
        return (score - self.chance) / (self.reference - self.chance)


def _cola(example: Example, encode: Encode) -> list[Candidate]:
    """Scores the sentence alone; its first token has no context and no score."""
    ids = encode(example.parts[0])
    return [Candidate(ids[:1], ids[1:])]


def _sst2(example: Example, encode: Encode) -> list[Candidate]:
    """Scores the class names `negative` and `positive` after the text and "very"."""
    given = encode(f"{example.parts[0]} very")
    return [Candidate(given, encode(word)) for word in ("negative", "positive")]


def _race(example: Example, encode: Encode) -> list[Candidate]:
    """Scores each answer after the document and the question."""
    given = encode(f"{example.context}\n{example.question}")
    return [Candidate(given, encode(answer)) for answer in example.parts]


def _dpr(example: Example, encode: Encode) -> list[Candidate]:
    """Scores the rest of the sentence with each referent in the pronoun's place."""
    found = re.search(rf"\b{re.escape(example.question)}\b", example.context)
    if not found:
        raise UserError(
            f"{example.context!r} does not contain {example.question!r}; the pronoun "
            "is expected as a word of the sentence; correct the file"
        )
    before, after = example.context[: found.start()], example.context[found.end() :]
    return [
        Candidate(encode(f"{before}{referent}"), encode(after))
        for referent in example.parts
    ]


def _earlier(task: str, metric: str) -> float:
    """Returns the best score of an earlier model in the paper's tables."""
    (percent,) = (s.earlier_percent for s in TASKS[task].paper if s.metric == metric)
    return percent / 100


# To add a heuristic, add a row; the job and the report read this table. Its task needs
# a row in data/tasks/rows.py.
HEURISTICS = (
    Heuristic(
        task="sst2",
        title="sentiment (SST-2)",
        metric="accuracy",
        candidates=_sst2,
        is_threshold=False,
        is_mean=False,
        chance=0.5,
        reference=_earlier("sst2", "accuracy"),
        paper_last=0.68,
    ),
    Heuristic(
        task="dpr",
        title="Winograd schemas (DPR)",
        metric="accuracy",
        candidates=_dpr,
        is_threshold=False,
        is_mean=True,
        chance=0.5,
        reference=0.764,
        paper_last=0.55,
    ),
    Heuristic(
        task="cola",
        title="acceptability (CoLA)",
        metric="matthews",
        candidates=_cola,
        is_threshold=True,
        is_mean=True,
        chance=0.0,
        reference=_earlier("cola", "matthews"),
        paper_last=0.43,
    ),
    Heuristic(
        task="race",
        title="question answering (RACE)",
        metric="accuracy",
        candidates=_race,
        is_threshold=False,
        is_mean=True,
        chance=0.25,
        reference=_earlier("race", "accuracy"),
        paper_last=0.25,
    ),
)


def named(task: str) -> Heuristic:
    """Returns the heuristic of a task.

    Raises: UserError: the task has none.
    """
    for heuristic in HEURISTICS:
        if heuristic.task == task:
            return heuristic
    known = ", ".join(heuristic.task for heuristic in HEURISTICS)
    raise UserError(
        f"task {task!r} has no zero-shot heuristic; {known} have one; name one of these"
    )


def scores(
    heuristic: Heuristic,
    candidates: Sequence[Sequence[Candidate]],
    score: Callable[[list[np.ndarray]], list[np.ndarray]],
    context_length: int,
) -> np.ndarray:
    """Returns score_BC, the score of each candidate of each example.

    Args: score: a function from texts of ids to the log-probabilities of all ids but
          the first; see inference.scoring.score.
    """
    texts, counts = [], []
    for given, scored in (candidate for row in candidates for candidate in row):
        num_given = max(0, context_length - len(scored))
        texts.append(np.concatenate([given[max(0, len(given) - num_given) :], scored]))
        counts.append(len(scored))
    fold = np.mean if heuristic.is_mean else np.sum
    found = [
        # A candidate without a token to score is the least likely.
        float(fold(logp[-count:])) if count and len(logp) else -np.inf
        for logp, count in zip(score(texts), counts, strict=True)
    ]
    return np.array(found).reshape(len(candidates), -1)


def describe(candidates: Sequence[Sequence[Candidate]], context_length: int) -> str:
    """Returns a phrase that counts cut texts and those with nothing to score, or ""."""
    every = [candidate for row in candidates for candidate in row]
    cut = sum(len(given) + len(scored) > context_length for given, scored in every)
    empty = sum(not len(scored) for _, scored in every)
    found = [f"{cut:,} of {counted(len(every), 'text')} cut on the left"] if cut else []
    found += [f"{empty:,} with nothing to score"] if empty else []
    return ", ".join(found)


def answers(heuristic: Heuristic, score_BC: np.ndarray, threshold: float) -> np.ndarray:
    """Returns value_B, the index of each example's class or answer."""
    if heuristic.is_threshold:
        return (score_BC[:, 0] > threshold).astype(np.int64)
    return score_BC.argmax(axis=1)


def best_threshold(score_B: np.ndarray, labels_B: Iterable[int]) -> float:
    """Returns the threshold for class 1 with the best Matthews correlation.

    It lies halfway between two scores, and is the lowest of equally good ones. Fit it
    on training data only.
    """
    order = np.argsort(score_B, kind="stable")
    score_B, is_one_B = score_B[order], np.asarray(list(labels_B))[order] == 1
    total, ones = len(score_B), int(is_one_B.sum())
    # Cut k calls the first k examples 0 and the rest 1.
    below_ones = np.cumsum(is_one_B)[:-1]
    below = np.arange(1, total)
    true_1, false_1 = ones - below_ones, (total - below) - (ones - below_ones)
    true_0 = below - below_ones
    called_1, called_0 = total - below, below
    scale = np.sqrt(1.0 * called_1 * called_0 * ones * (total - ones))
    covariance = 1.0 * true_1 * true_0 - 1.0 * false_1 * below_ones
    gain = covariance / np.maximum(scale, 1e-9)
    # There is no cut between equal scores.
    gain = np.where(score_B[1:] > score_B[:-1], gain, -np.inf)
    if not len(gain) or not np.isfinite(gain).any():
        return float(score_B[0]) if total else 0.0
    cut = int(gain.argmax())
    return float((score_B[cut] + score_B[cut + 1]) / 2)


def evaluate(
    heuristic: Heuristic, score_BC: np.ndarray, labels_B: np.ndarray, threshold: float
) -> float:
    """Returns the heuristic's metric of its answers."""
    values_B = answers(heuristic, score_BC, threshold)
    return metrics.compute([heuristic.metric], labels_B, values_B)[heuristic.metric]
