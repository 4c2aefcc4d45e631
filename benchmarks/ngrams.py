"""Computes the held-out perplexity of n-gram models counted on a run's tokens.

    python -m benchmarks.ngrams --workdir runs/pretrain --output ngrams.json

The models are an add-one unigram and interpolated modified Kneser-Ney bigrams and
trigrams. They count the training tokens in the windows of a finished run; a token that
several epochs saw counts once. They predict the tokens that the model is evaluated on,
with the whole book before them as history; the model sees its own window only.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from benchmarks import side_by_side
from gpt1_jax import terminal
from gpt1_jax.cli import app
from gpt1_jax.config import RunConfig
from gpt1_jax.data.text import corpus, preparation
from gpt1_jax.errors import UserError
from gpt1_jax.workdirs import workdir as workdir_lib

# Axes, beside those of models/transformer.py:
# T positions of the corpus, G distinct n-grams, P distinct n-grams' prefixes,
# Q predictions, O tokens of an n-gram.

# Used where the counts of counts give no valid discounts. Source: KenLM, lm/builder,
# the default of --discount_fallback.
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)

_FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "A finished run.", required=True, flag_values=_FLAGS
)
_OUTPUT = flags.DEFINE_string(
    "output", "", "JSON file to write; empty: none.", flag_values=_FLAGS
)


@dataclasses.dataclass(frozen=True)
class Level:
    """The n-grams of one length and their share in the probability of a token.

    p(w | prefix) = mass(prefix w) + backoff(prefix) p(w | prefix less its first).
    Keys are sorted; an absent n-gram has mass 0, an absent prefix backoff 1.
    """

    grams_G: np.ndarray
    mass_G: np.ndarray
    prefixes_P: np.ndarray
    backoff_P: np.ndarray
    discounts: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class KneserNey:
    """An interpolated modified Kneser-Ney model; levels[i] has i + 1 tokens."""

    vocab_size: int
    levels: tuple[Level, ...]

    def logp(self, grams_QO: np.ndarray) -> np.ndarray:
        """Returns logp_Q in nats: each row's last token given the tokens before it.

        Rows may be shorter than the model's order.
        """
        p_Q = np.full(len(grams_QO), 1 / self.vocab_size)
        for length, level in enumerate(self.levels[: grams_QO.shape[1]], start=1):
            key_Q = _keys(grams_QO[:, -length:].T, self.vocab_size)
            mass_Q = _lookup(level.grams_G, level.mass_G, key_Q, 0.0)
            prefix_Q = key_Q // self.vocab_size
            p_Q *= _lookup(level.prefixes_P, level.backoff_P, prefix_Q, 1.0)
            p_Q += mass_Q
        return np.log(p_Q)

    def logp_of_books(self, books: Iterable[np.ndarray]) -> np.ndarray:
        """Returns logp_Q of every token but each book's first.

        Example: for a book a b c d a trigram model predicts b | a, c | a b, d | b c.
        """
        order = len(self.levels)
        logp = []
        for book in books:
            for length in range(2, min(order - 1, len(book)) + 1):
                logp.append(self.logp(book[None, :length]))
            if len(book) >= order:
                grams_QO = np.lib.stride_tricks.sliding_window_view(book, order)
                logp.append(self.logp(grams_QO))
        return np.concatenate(logp)


def fit(
    tokens_T: np.ndarray, is_seen_T: np.ndarray, *, vocab_size: int, order: int
) -> KneserNey:
    """Returns the Kneser-Ney model of the n-grams whose tokens are all seen.

    With c(h w) the count of an n-gram of length `order`, and for shorter ones the
    number of distinct tokens that precede them,

        p(w | h) = (c(h w) - D(c(h w))) / c(h) + sum_v D(c(h v)) / c(h) p(w | h'),

    c(h) = sum_v c(h v), h' = h less its first token; below the unigrams stands
    1 / vocab_size.  Source: Chen & Goodman 1998 (TR-10-98), Sec. 2.7 and 3.
    Differs: n-grams cross the seams of books, as the model's windows do.
    Args:   order: at least 2.
    Raises: UserError: the n-grams of this vocabulary don't fit into 63 bits.
    """
    if vocab_size**order >= 2**63:
        raise UserError(
            f"vocabulary of {vocab_size} tokens and order {order}; n-grams must fit "
            "into 63 bits; lower one of the two"
        )
    levels = []
    for length in range(1, order):
        longer_G, _ = count_ngrams(tokens_T, is_seen_T, length + 1, vocab_size)
        longer_G %= vocab_size**length
        levels.append(_make_level(*_count_distinct(longer_G), vocab_size))
    grams_G, counts_G = count_ngrams(tokens_T, is_seen_T, order, vocab_size)
    levels.append(_make_level(grams_G, counts_G, vocab_size))
    return KneserNey(vocab_size, tuple(levels))


def count_ngrams(
    tokens_T: np.ndarray, is_seen_T: np.ndarray, length: int, vocab_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Counts n-grams whose tokens are all seen; returns sorted keys_G and counts_G.

    The key of an n-gram a b c is (a V + b) V + c.
    Example: bigrams, V = 10, tokens  1 2 1 2 3 4
                              seen    x x x x . x  ->  12 twice, 21 once
    """
    num_places = max(len(tokens_T) - length + 1, 0)
    places = [slice(offset, offset + num_places) for offset in range(length)]
    is_inside = np.logical_and.reduce([is_seen_T[place] for place in places])
    columns = [tokens_T[place][is_inside] for place in places]
    return _count_distinct(_keys(columns, vocab_size))


def estimate_discounts(counts_G: np.ndarray) -> tuple[float, float, float]:
    """Returns the discounts of n-grams counted once, twice and more: (D1, D2, D3+).

    D_k = k - (k + 1) Y n_{k+1} / n_k, with Y = n_1 / (n_1 + 2 n_2) and n_k the number
    of n-grams counted k times; FALLBACK_DISCOUNTS if an n_k is 0 or not 0 < D_k <= k.
    Source: Chen & Goodman 1998 (TR-10-98), Sec. 3.
    """
    _, n1, n2, n3, n4, _ = np.bincount(np.minimum(counts_G, 5), minlength=6).tolist()
    if not n1 * n2 * n3:
        return FALLBACK_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if min(found) > 0 else FALLBACK_DISCOUNTS


def _make_level(grams_G: np.ndarray, counts_G: np.ndarray, vocab_size: int) -> Level:
    """Returns the level of n-grams, which are sorted and so grouped by prefix."""
    discounts = estimate_discounts(counts_G)
    discount_G = np.asarray(discounts)[np.minimum(counts_G, 3) - 1]
    prefix_G = grams_G // vocab_size
    starts_P = np.flatnonzero(np.diff(prefix_G, prepend=-1))
    total_P = np.add.reduceat(counts_G, starts_P)
    total_G = np.repeat(total_P, np.diff(starts_P, append=len(grams_G)))
    return Level(
        grams_G=grams_G,
        mass_G=(counts_G - discount_G) / total_G,
        prefixes_P=prefix_G[starts_P],
        backoff_P=np.add.reduceat(discount_G, starts_P) / total_P,
        discounts=discounts,
    )


def _keys(columns: Sequence[np.ndarray], vocab_size: int) -> np.ndarray:
    """Returns an integer for each n-gram, from one column for each of its tokens."""
    keys = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        keys *= vocab_size
        keys += column
    return keys


def _count_distinct(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct keys, sorted, and their counts; sorts `keys` in place."""
    keys.sort()  # np.unique would copy
    starts_G = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts_G], np.diff(starts_G, append=len(keys))


def _lookup(
    keys: np.ndarray, values: np.ndarray, wanted_Q: np.ndarray, default: float
) -> np.ndarray:
    """Returns the values of the wanted keys, `default` for absent ones."""
    place_Q = np.searchsorted(keys, wanted_Q)
    np.minimum(place_Q, len(keys) - 1, out=place_Q)
    return np.where(keys[place_Q] == wanted_Q, values[place_Q], default)


def add_one_logp(
    tokens_T: np.ndarray, is_seen_T: np.ndarray, vocab_size: int
) -> np.ndarray:
    """Returns logp_V by add-one frequencies of the seen tokens."""
    counts_V = 1 + np.bincount(tokens_T[is_seen_T], minlength=vocab_size)
    return np.log(counts_V / counts_V.sum())


def seen_positions(num_tokens: int, config: RunConfig, steps: int) -> np.ndarray:
    """Returns is_seen_T, true for tokens in a window of the first `steps` steps."""
    is_seen_T = np.zeros(num_tokens, bool)
    window = np.arange(config.model.context_length + 1)
    for step in range(steps):
        starts_B = corpus.window_starts(
            num_tokens,
            context_length=config.model.context_length,
            batch_size=config.train.batch_size,
            seed=config.seed,
            step=step,
        )
        is_seen_T[starts_B[:, None] + window] = True
    return is_seen_T


def compare(workdir: Path) -> dict[str, Any]:
    """Compares the n-gram models with the model of a finished run.

    Raises: UserError, NotFound: no finished run there, or its corpus changed.
    """
    config, result = workdir_lib.read_config(workdir), workdir_lib.read_result(workdir)
    if result is None:
        raise UserError(
            f"the run in {workdir} has not finished; a run with a result is expected; "
            "give the command that trains it again"
        )
    store = preparation.open_corpus(config.data)
    _check_same_corpus(store, result["metrics"]["eval/unigram_perplexity"])
    tokens_T, vocab_size = store.train_tokens, store.meta["vocab_size"]
    is_seen_T = seen_positions(len(tokens_T), config, result["steps"])
    targets_Q = np.concatenate([book[1:] for book in store.eval_books])
    logp_V = add_one_logp(tokens_T, is_seen_T, vocab_size)
    perplexity, discounts = {"unigram": _perplexity(logp_V[targets_Q])}, {}
    for name, order in (("bigram", 2), ("trigram", 3)):
        model = fit(tokens_T, is_seen_T, vocab_size=vocab_size, order=order)
        perplexity[name] = _perplexity(model.logp_of_books(store.eval_books))
        discounts[name] = [level.discounts for level in model.levels]
    length = config.model.context_length
    windows = result["steps"] * config.train.batch_size
    return {
        "tokens_seen": int(is_seen_T.sum()),
        "tokens_trained": windows * length,
        "epochs": windows / corpus.windows_per_epoch(len(tokens_T), length),
        "predictions": len(targets_Q),
        "model_perplexity": result["metrics"]["eval/perplexity"],
        "ngram_perplexity": perplexity,
        "discounts": discounts,
    }


def _perplexity(logp_Q: np.ndarray) -> float:
    return math.exp(-logp_Q.mean())


def _check_same_corpus(store: corpus.TokenStore, expected: float) -> None:
    found = corpus.unigram_perplexity(store)
    if not math.isclose(found, expected, rel_tol=1e-6):
        raise UserError(
            f"{store.directory} has a unigram perplexity of {found}; the run's corpus "
            f"had {expected}; restore the books that it was trained on"
        )


def describe(comparison: dict[str, Any]) -> str:
    """Returns a comparison as lines for the terminal."""
    model = comparison["model_perplexity"]
    lines = [
        f"counted: {comparison['tokens_seen']:,} distinct training tokens; the model "
        f"was trained on {comparison['tokens_trained']:,}, "
        f"{comparison['epochs']:.3f} epochs"
    ]
    if comparison["epochs"] > 1:
        lines.append("tokens that several epochs saw are counted once")
    for name, levels in comparison["discounts"].items():
        fallen_back = levels.count(FALLBACK_DISCOUNTS)
        if fallen_back:
            lines.append(
                f"{name}: {fallen_back} of {len(levels)} orders take the discounts "
                f"{FALLBACK_DISCOUNTS}: too few rare n-grams to estimate them"
            )
    lines.append(f"held-out perplexity over {comparison['predictions']:,} tokens:")
    lines.append(f"  {'model':8}{model:10.2f}")
    for name, perplexity in comparison["ngram_perplexity"].items():
        ratio = perplexity / model
        lines.append(f"  {name:8}{perplexity:10.2f}   {ratio:.2f} x the model's")
    return "\n".join(lines)


def main() -> None:
    """Runs the command."""
    comparison = compare(Path(_WORKDIR.value))
    terminal.say(describe(comparison))
    side_by_side.write(_OUTPUT.value, side_by_side.origin("ngrams") | comparison)


if __name__ == "__main__":
    app.run(main, _FLAGS)
