"""Tasks solved by a language model alone, through the likelihood of texts.

Radford et al. 2018, Sec. 5, "Zero-shot Behaviors". An example becomes
candidates: texts to score, each after a given text. All else is a function of their
log-probabilities. A text that exceeds the context is cut on the left.
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

Encode = Callable[[str], np.ndarray]


class Candidate(NamedTuple):
    """Given token ids, and the ids after them whose log-probabilities are scored."""

    given: np.ndarray
    scored: np.ndarray


@dataclasses.dataclass(frozen=True)
class Heuristic:
    """A task's zero-shot solution, and the scale that its score is shown on.

    title: the task's name in reports.
    is_threshold: the score of the only candidate is compared with a threshold that is
    fitted on training data; else the candidate with the highest score is the answer.
    is_mean: a score is the mean over tokens; else their sum, a word's probability.
    chance: the score of guessing. reference: the score of the best earlier model in the
    paper's tables (CoLA a single task's, RACE an ensemble), for DPR that of Peng et al.
    2015; the paper does not state its own references.
    paper_last: where the paper's Transformer ends on this scale, read off Figure 2,
    right, to about 0.02; None: the paper does not have the task.
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
        """0 for guessing, 1 for the reference: the y axis of Figure 2, right."""
        return (score - self.chance) / (self.reference - self.chance)


def _cola(example: Example, encode: Encode) -> list[Candidate]:
    """The sentence by itself; its first token has nothing before it and no score."""
    ids = encode(example.parts[0])
    return [Candidate(ids[:1], ids[1:])]


def _sst2(example: Example, encode: Encode) -> list[Candidate]:
    """`negative` and `positive`, the classes' names, after the text and "very"."""
    given = encode(f"{example.parts[0]} very")
    return [Candidate(given, encode(word)) for word in ("negative", "positive")]


def _race(example: Example, encode: Encode) -> list[Candidate]:
    """Each answer, after the document and the question."""
    given = encode(f"{example.context}\n{example.question}")
    return [Candidate(given, encode(answer)) for answer in example.parts]


def _dpr(example: Example, encode: Encode) -> list[Candidate]:
    """The rest of the sentence, after each referent in the pronoun's place."""
    found = re.search(rf"\b{re.escape(example.question)}\b", example.context)
    if not found:
        raise UserError(
            f"{example.context!r} has no {example.question!r}; the pronoun is expected "
            "there as a word; correct the file"
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


# A new heuristic is one row here; the job and the report read it.
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
    """Returns the score of each candidate of each example: score_BC.

    Args: score: from texts' ids to log-probabilities of all ids but the first; see
          inference.scoring.score.
    """
    texts, counts = [], []
    for given, scored in (candidate for row in candidates for candidate in row):
        room = max(0, context_length - len(scored))
        texts.append(np.concatenate([given[max(0, len(given) - room) :], scored]))
        counts.append(len(scored))
    fold = np.mean if heuristic.is_mean else np.sum
    found = [
        # A candidate without a token to score is the least likely.
        float(fold(logp[-count:])) if count and len(logp) else -np.inf
        for logp, count in zip(score(texts), counts, strict=True)
    ]
    return np.array(found).reshape(len(candidates), -1)


def describe(candidates: Sequence[Sequence[Candidate]], context_length: int) -> str:
    """Returns how many texts are cut or have nothing to score, in words; "" if none."""
    every = [candidate for row in candidates for candidate in row]
    cut = sum(len(given) + len(scored) > context_length for given, scored in every)
    empty = sum(not len(scored) for _, scored in every)
    found = [f"{cut:,} of {len(every):,} texts cut on the left"] if cut else []
    found += [f"{empty:,} with nothing to score"] if empty else []
    return ", ".join(found)


def answers(heuristic: Heuristic, score_BC: np.ndarray, threshold: float) -> np.ndarray:
    """Returns the class or the number of each example's answer: value_B."""
    if heuristic.is_threshold:
        return (score_BC[:, 0] > threshold).astype(np.int64)
    return score_BC.argmax(axis=1)


def best_threshold(score_B: np.ndarray, labels_B: Iterable[int]) -> float:
    """Returns the threshold for class 1 with the best Matthews correlation.

    It lies halfway between two scores; of equally good ones it is the lowest. It must
    be fitted on training data only.
    """
    order = np.argsort(score_B, kind="stable")
    score_B, is_one_B = score_B[order], np.asarray(list(labels_B))[order] == 1
    total, ones = len(score_B), int(is_one_B.sum())
    # Above the cut after the first k scores: ones and others that are called 1.
    below_ones = np.cumsum(is_one_B)[:-1]
    below = np.arange(1, total)
    true_1, false_1 = ones - below_ones, (total - below) - (ones - below_ones)
    true_0 = below - below_ones
    called_1, called_0 = total - below, below
    scale = np.sqrt(1.0 * called_1 * called_0 * ones * (total - ones))
    covariance = 1.0 * true_1 * true_0 - 1.0 * false_1 * below_ones
    gain = covariance / np.maximum(scale, 1e-9)
    # No cut lies between equal scores.
    gain = np.where(score_B[1:] > score_B[:-1], gain, -np.inf)
    if not len(gain) or not np.isfinite(gain).any():
        return float(score_B[0]) if total else 0.0
    cut = int(gain.argmax())
    return float((score_B[cut] + score_B[cut + 1]) / 2)


def evaluate(
    heuristic: Heuristic, score_BC: np.ndarray, labels_B: np.ndarray, threshold: float
) -> float:
    """Returns the task's metric of the answers."""
    values_B = answers(heuristic, score_BC, threshold)
    return metrics.compute([heuristic.metric], labels_B, values_B)[heuristic.metric]
