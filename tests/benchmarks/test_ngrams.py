"""The n-gram models, against slow ones and a hand-computed one."""

import collections
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ngrams
from gpt1_jax.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from gpt1_jax.data.text import corpus
from gpt1_jax.workdirs import workdir as workdir_lib

V, T = 53, 1009
BOOK_LENGTHS = (1, 2, 3, 67)


def zipfian_tokens(seed, size):
    """Returns random tokens, smaller ones more often, so that every count occurs."""
    weights_V = 1 / np.arange(1, V + 1) ** 1.3
    rng = np.random.default_rng(seed)
    return rng.choice(V, size, p=weights_V / weights_V.sum()).astype(np.uint16)


@pytest.fixture(scope="module")
def tokens():
    return zipfian_tokens(0, T)


@pytest.fixture(scope="module")
def is_seen():
    """True for seen tokens, in runs of one token up to hundreds."""
    is_seen_T = np.ones(T, bool)
    is_seen_T[[0, 97, 99, 102, 103, 106, 400, 401, 402, 811]] = False
    return is_seen_T


@pytest.fixture(scope="module")
def books():
    return tuple(zipfian_tokens(1 + n, size) for n, size in enumerate(BOOK_LENGTHS))


def fit(tokens, is_seen, order):
    return ngrams.fit(tokens, is_seen, vocab_size=V, order=order)


class SlowKneserNey:
    """Modified Kneser-Ney from its definition, with dicts and recursion."""

    def __init__(self, tokens, is_seen, order):
        runs = [[]]
        for token, seen in zip(tokens.tolist(), is_seen.tolist(), strict=True):
            if seen:
                runs[-1].append(token)
            else:
                runs.append([])
        occurring = {
            length: [
                tuple(run[i : i + length])
                for run in runs
                for i in range(len(run) - length + 1)
            ]
            for length in range(1, order + 1)
        }
        self.counts = {order: collections.Counter(occurring[order])}
        for length in range(1, order):
            predecessors = collections.defaultdict(set)
            for gram in occurring[length + 1]:
                predecessors[gram[1:]].add(gram[0])
            self.counts[length] = {g: len(tokens) for g, tokens in predecessors.items()}

    def discount(self, length, count):
        n = collections.Counter(self.counts[length].values())
        y = n[1] / (n[1] + 2 * n[2])
        k = min(count, 3)
        return k - (k + 1) * y * n[k + 1] / n[k]

    def probability(self, token, history):
        length = len(history) + 1
        followers = {
            gram[-1]: count
            for gram, count in self.counts[length].items()
            if gram[:-1] == history
        }
        lower = self.probability(token, history[1:]) if history else 1 / V
        total = sum(followers.values())
        if not total:
            return lower
        count = followers.get(token, 0)
        kept = count - self.discount(length, count) if count else 0
        given_away = sum(self.discount(length, c) for c in followers.values())
        return kept / total + given_away / total * lower


@pytest.mark.parametrize("order", [2, 3])
def test_probabilities_equal_those_of_a_slow_implementation(
    tokens, is_seen, books, order
):
    slow = SlowKneserNey(tokens, is_seen, order)
    expected_Q = [
        math.log(
            slow.probability(
                int(book[i]), tuple(book[max(0, i - order + 1) : i].tolist())
            )
        )
        for book in books
        for i in range(1, len(book))
    ]
    model = fit(tokens, is_seen, order)
    # The slow implementation has no fallback.
    assert all(x.discounts != ngrams.FALLBACK_DISCOUNTS for x in model.levels)
    found_Q = model.logp_of_books(books)
    np.testing.assert_allclose(found_Q, expected_Q, rtol=0, atol=1e-10)


def test_probabilities_of_all_tokens_sum_to_one_after_any_history(tokens, is_seen):
    model = fit(tokens, is_seen, 3)
    seen_bigrams = set(model.levels[2].prefixes_P.tolist())
    kinds = set()
    for history in [(0, 0), (1, 0), (0, V - 1), (V - 1, 0), (V - 1, V - 2)]:
        kinds.add(history[0] * V + history[1] in seen_bigrams)
        grams_VO = np.array([(*history, token) for token in range(V)])
        for length in (1, 2, 3):
            total = np.exp(model.logp(grams_VO[:, -length:])).sum()
            assert total == pytest.approx(1, abs=1e-12)
    assert kinds == {True, False}


def test_unseen_tokens_have_a_probability():
    tokens = np.array([3, 1, 3, 1, 3, 2])
    model = fit(tokens, np.ones(6, bool), 3)
    assert np.isfinite(model.logp(np.array([[3, 1, 50], [50, 51, 52]]))).all()


def test_ngrams_stay_inside_runs_of_seen_tokens():
    tokens = np.array([1, 2, 1, 2, 3, 4])
    is_seen = np.array([1, 1, 1, 1, 0, 1], bool)
    keys, counts = ngrams.count_ngrams(tokens, is_seen, 2, 10)
    assert dict(zip(keys.tolist(), counts.tolist(), strict=True)) == {12: 2, 21: 1}
    keys, _ = ngrams.count_ngrams(tokens, np.ones(6, bool), 2, 10)
    assert keys.tolist() == [12, 21, 23, 34]


def test_bigram_probabilities_equal_hand_computed_ones():
    # Bigrams 01 01 10 12. No n-gram is counted three times: discounts 0.5, 1, 1.5.
    # 0, 1 and 2 have one predecessor each, 3 has none:
    # p(0) = p(1) = p(2) = (1 - 0.5)/3 + 3*0.5/3 * 1/4 = 7/24; p(3) = 1/8.
    tokens = np.array([0, 1, 0, 1, 2])
    model = ngrams.fit(tokens, np.ones(5, bool), vocab_size=4, order=2)
    expected = {
        (0, 1): (2 - 1) / 2 + 1 / 2 * 7 / 24,
        (1, 0): (1 - 0.5) / 2 + (0.5 + 0.5) / 2 * 7 / 24,
        (1, 3): (0.5 + 0.5) / 2 * 1 / 8,
        (2, 3): 1 / 8,  # nothing was seen after 2
    }
    found_Q = np.exp(model.logp(np.array(list(expected))))
    np.testing.assert_allclose(found_Q, list(expected.values()), rtol=1e-14)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # n = 4, 2, 1, 1; Y = 4 / (4 + 2*2) = 1/2
        ([1, 1, 1, 1, 2, 2, 3, 4, 9], (0.5, 1.25, 1.0)),
        ([1, 1, 2, 4], ngrams.FALLBACK_DISCOUNTS),  # n_3 = 0
        ([1, 2, 2, 3, 3, 3, 3, 3, 3, 3], ngrams.FALLBACK_DISCOUNTS),  # D_2 < 0
    ],
)
def test_discounts_come_from_counts_of_counts(counts, expected):
    assert ngrams.estimate_discounts(np.array(counts)) == expected


def test_add_one_frequencies_count_seen_tokens_only():
    tokens, is_seen = np.array([0, 0, 2, 2]), np.array([1, 1, 1, 0], bool)
    logp_V = ngrams.add_one_logp(tokens, is_seen, 4)
    np.testing.assert_allclose(np.exp(logp_V), np.array([3, 1, 2, 1]) / 7, rtol=1e-14)


def test_a_vocabulary_too_large_for_64_bit_keys_is_refused():
    nothing = np.zeros(3, int)
    with pytest.raises(ValueError, match=r"vocabulary of 4000000 .*63 bits; lower"):
        ngrams.fit(nothing, nothing == 0, vocab_size=4_000_000, order=3)


@pytest.fixture
def finished_run(tmp_path, tokens, books):
    """The workdir of a run of 5 steps, 3 windows each, of 11 tokens."""
    store_dir = tmp_path / "store"
    store_dir.mkdir()
    sizes = [("train", len(tokens)), *(("valid", len(book)) for book in books)]
    offsets = np.cumsum([0, *(size for _, size in sizes)]).astype("<u8")
    everything = np.concatenate([tokens, *books])
    meta = {
        "key": "",
        "tokens_sha256": hashlib.sha256(everything.tobytes()).hexdigest(),
        "tokenizer_sha256": "",
        "offsets_sha256": hashlib.sha256(offsets.tobytes()).hexdigest(),
        "tokens": {"train": len(tokens), "valid": sum(map(len, books))},
        "words": {"train": 0, "valid": 0},
        "documents": {"train": 1, "valid": len(books)},
        "dtype": "uint16",
        "vocab_size": V,
        "books": [{"split": split, "tokens": size} for split, size in sizes],
    }
    (store_dir / corpus.META_FILE).write_text(json.dumps(meta))
    everything.tofile(store_dir / corpus.TOKENS_FILE)
    offsets.tofile(store_dir / corpus.OFFSETS_FILE)
    config = RunConfig(
        model=ModelConfig(context_length=11),
        data=DataConfig(corpus=str(store_dir)),
        train=TrainConfig(batch_size=3),
    )
    store = corpus.open_store(store_dir)
    metrics = {
        "eval/perplexity": 17.0,
        "eval/unigram_perplexity": corpus.unigram_perplexity(store),
    }
    workdir_lib.write_config(tmp_path / "run", config)
    workdir_lib.write_result(
        tmp_path / "run", {"job": "pretrain", "steps": 5, "metrics": metrics}
    )
    return tmp_path / "run"


def test_a_comparison_counts_the_tokens_that_the_run_has_seen(
    finished_run, tokens, books
):
    config = workdir_lib.read_config(finished_run)
    seen = set()
    for step in range(5):
        for start in corpus.window_starts(
            T, context_length=11, batch_size=3, seed=config.seed, step=step
        ):
            seen |= set(range(start, start + 12))
    assert 5 * 3 * 11 < len(seen) < T
    is_seen = np.array([t in seen for t in range(T)])
    logp = fit(tokens, is_seen, 3).logp_of_books(books)

    comparison = ngrams.compare(finished_run)

    assert comparison["tokens_seen"] == len(seen)
    assert comparison["tokens_trained"] == 5 * 3 * 11
    assert comparison["epochs"] == 15 / 90  # 1009 tokens: 90 windows of 11
    assert comparison["predictions"] == len(logp) == sum(BOOK_LENGTHS) - 4
    trigram = comparison["ngram_perplexity"]["trigram"]
    assert trigram == pytest.approx(math.exp(-logp.mean()), rel=1e-12)
    unigram = comparison["ngram_perplexity"]["unigram"]
    ratio = f"unigram {unigram:10.2f}   {unigram / 17:.2f} x the model's"
    assert ratio in ngrams.describe(comparison)


def test_tokens_of_several_epochs_are_counted_once_and_the_output_says_so(finished_run):
    result = workdir_lib.read_result(finished_run)
    workdir_lib.write_result(finished_run, result | {"steps": 100})
    comparison = ngrams.compare(finished_run)
    assert comparison["tokens_seen"] <= T < comparison["tokens_trained"]
    assert "epochs saw are counted once" in ngrams.describe(comparison)


def test_an_unfinished_run_is_refused(finished_run):
    (finished_run / "result.json").unlink()
    with pytest.raises(ValueError, match=r"has not finished; .* trains it again"):
        ngrams.compare(finished_run)


def test_another_corpus_than_that_of_the_run_is_refused(finished_run):
    config = workdir_lib.read_config(finished_run)
    store_dir = Path(config.data.corpus)
    other = np.full(T + sum(BOOK_LENGTHS), 1, np.uint16)
    other.tofile(store_dir / corpus.TOKENS_FILE)
    meta = json.loads((store_dir / corpus.META_FILE).read_text())
    meta["tokens_sha256"] = hashlib.sha256(other.tobytes()).hexdigest()
    (store_dir / corpus.META_FILE).write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=r"unigram perplexity .*; restore the books"):
        ngrams.compare(finished_run)
