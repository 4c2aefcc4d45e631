"""Sampling beside a slow filter, and generation beside one prompt at a time."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpt1_jax.inference import decode
from gpt1_jax.models.transformer import Transformer
from tests.configs import TINY_MODEL

LOGITS_V = np.log(np.array([0.05, 0.30, 0.10, 0.02, 0.25, 0.08, 0.20]))
VOCAB, CONTEXT = 23, 13


@functools.partial(jax.jit, static_argnames="num")
def draw(logits_V, temperature, top_k, top_p, num, seed=0):
    logits_NV = jnp.broadcast_to(logits_V[None], (num, len(logits_V)))
    key_N = jax.random.split(jax.random.key(seed), num)
    return decode.sample(logits_NV, key_N, temperature, top_k, top_p)


def filtered(logits_V, temperature, top_k, top_p) -> np.ndarray:
    """Returns the probabilities of the draws; top-p is measured within top-k."""
    p_V = np.exp(np.asarray(logits_V, np.float64) / temperature)
    ranked = sorted(range(len(p_V)), key=lambda v: -p_V[v])[: top_k or None]
    p_V /= p_V[ranked].sum()
    kept_V, mass = np.zeros_like(p_V), 0.0
    for token in ranked:
        if mass >= top_p:
            break
        kept_V[token] = p_V[token]
        mass += p_V[token]
    return kept_V / kept_V.sum()


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "num_kept"),
    [
        (1.0, 0, 1.0, 7),
        (0.5, 0, 1.0, 7),
        (3.0, 0, 1.0, 7),
        (1.0, 3, 1.0, 3),
        (1.0, 1, 1.0, 1),
        (1.0, 99, 1.0, 7),
        (1.0, 0, 0.6, 3),
        (1.0, 0, 0.5, 2),
        (1.0, 0, 1e-9, 1),
        (0.5, 0, 0.6, 2),
        (1.0, 4, 0.6, 2),  # 0.30 + 0.25 of 0.85
        (1.0, 4, 0.7, 3),
        (1.0, 2, 0.5, 1),  # 0.30 of 0.55
    ],
)
def test_draws_have_the_filtered_probabilities(temperature, top_k, top_p, num_kept):
    num = 20_000
    drawn_N = draw(jnp.asarray(LOGITS_V), temperature, top_k, top_p, num)
    counts_V = np.bincount(drawn_N, minlength=7)
    p_V = filtered(LOGITS_V, temperature, top_k, top_p)
    assert (p_V > 0).sum() == num_kept
    np.testing.assert_array_equal(counts_V > 0, p_V > 0)
    expected_V = num * p_V[p_V > 0]
    chi2 = ((counts_V[p_V > 0] - expected_V) ** 2 / expected_V).sum()
    assert chi2 < (num_kept - 1) + 4 * np.sqrt(2 * num_kept)


def test_rows_of_a_batch_are_drawn_independently():
    first, again, other = (
        draw(jnp.zeros(7), 1.0, 0, 1.0, 1001, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    for pair in ((first, other), (first[1:], first[:-1])):
        share = np.mean(pair[0] == pair[1])
        assert abs(share - 1 / 7) < 4 * np.sqrt(6 / 49 / 1000)


def test_extreme_logits_can_be_sampled():
    logits_V = jnp.array([-1e9, 1e4, 0.0, 1e4 - 1, -jnp.inf])
    for temperature in (1e-4, 1.0):
        drawn_N = draw(logits_V, temperature, 0, 1.0, 1000)
        assert set(np.unique(drawn_N)) <= {1, 3}


@pytest.fixture(scope="module")
def model() -> Transformer:
    cfg = dataclasses.replace(TINY_MODEL, context_length=CONTEXT)
    return Transformer(cfg, VOCAB)


@pytest.fixture(scope="module")
def params(model, make_params):
    params = make_params(model)
    # With the initial values one token would be the likeliest after nearly all others.
    params["block_00"]["norm_2"]["bias"] *= 0
    params["embed"]["position"] *= 4
    return params


@pytest.fixture(scope="module")
def generate(model, params):
    decoder = decode.Decoder(model, CONTEXT)

    def generate(prompts, max_new_tokens, window=0, **sampling):
        how = decode.Sampling(**sampling)
        return decoder.generate(params, prompts, max_new_tokens, how, window=window)

    return generate


def prompts(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, VOCAB, length) for length in lengths]


@pytest.mark.parametrize(("lengths", "count"), [((2, 7, 5), 6), ((2, 3, 1), 10)])
def test_greedy_generation_takes_the_likeliest_tokens(
    model, params, generate, lengths, count
):
    """The counts need one call and two calls of _draw_tokens."""
    given = prompts(*lengths)
    together = generate(given, max_new_tokens=count, temperature=0.0)
    assert len({tuple(ids) for ids in together}) == 3
    apply = jax.jit(model.apply)
    for prompt, continuation in zip(given, together, strict=True):
        assert len(continuation) == count
        alone = generate([prompt], max_new_tokens=count, temperature=0.0)[0]
        np.testing.assert_array_equal(continuation, alone)
        # The model is causal: one forward pass gives each step's likeliest token.
        whole = np.zeros((1, CONTEXT), np.int32)
        whole[0, : len(prompt) + count] = [*prompt, *continuation]
        likeliest_L = apply({"params": params}, whole)[0].argmax(-1)
        start = len(prompt) - 1
        np.testing.assert_array_equal(likeliest_L[start : start + count], continuation)


@pytest.mark.parametrize("sampling", [{}, {"top_k": 5}, {"top_p": 0.5}])
def test_low_temperature_draws_equal_greedy_ones(generate, sampling):
    given = prompts(2, 7, 5)
    greedy = generate(given, 6, temperature=0.0, **sampling)
    cold = generate(given, 6, temperature=1e-5, **sampling)
    hot = generate(given, 6, temperature=1.0, **sampling)
    np.testing.assert_array_equal(greedy, cold)
    assert np.any(np.array(hot) != greedy)


def test_draws_do_not_depend_on_the_default_prng(model, params):
    drawn = []
    for implementation in ("threefry2x32", "rbg"):
        decoder = decode.Decoder(model, CONTEXT)  # without compiled programs
        with jax.default_prng_impl(implementation):
            how = decode.Sampling(seed=7)
            drawn.append(decoder.generate(params, prompts(3, 5), 6, how))
    np.testing.assert_array_equal(*drawn)


def test_draws_have_the_models_probabilities(model, params, generate):
    """Compares the first and third tokens of many continuations with the model."""
    (prompt,) = prompts(3)
    num = 4000
    drawn = np.stack(generate([prompt] * num, 3, temperature=2.0))
    apply = jax.jit(model.apply)

    def expected(rows_NL):
        whole_NL = np.zeros((len(rows_NL), CONTEXT), np.int32)
        whole_NL[:, : len(rows_NL[0])] = rows_NL
        logits_NLV = np.asarray(apply({"params": params}, whole_NL), np.float64)
        p_NV = np.exp(logits_NLV[:, len(rows_NL[0]) - 1] / 2.0)
        return p_NV / p_NV.sum(-1, keepdims=True)

    before_N2 = np.concatenate([np.tile(prompt, (num, 1)), drawn[:, :2]], axis=1)
    for counts_V, p_V in (
        (np.bincount(drawn[:, 0], minlength=VOCAB), expected([prompt])[0]),
        (np.bincount(drawn[:, 2], minlength=VOCAB), expected(before_N2).mean(0)),
    ):
        common = num * p_V > 5
        chi2 = ((counts_V - num * p_V)[common] ** 2 / (num * p_V[common])).sum()
        assert chi2 < common.sum() + 4 * np.sqrt(2 * common.sum())


def test_on_tokens_gets_tokens_as_they_are_drawn(model, params, generate, monkeypatch):
    given, told = prompts(2, 7, 12), []
    monkeypatch.setattr(decode, "_TOKENS_AT_ONCE", 4)
    decoder, greedy = decode.Decoder(model, CONTEXT), decode.Sampling(temperature=0.0)
    whole = decoder.generate(
        params, given, 10, greedy, lambda number, ids: told.append((number, ids))
    )
    assert [len(ids) for ids in whole] == [10, 6, 1]
    for number, lengths in enumerate(([4, 4, 2], [4, 2], [1])):
        pieces = [ids for row, ids in told if row == number]
        assert [len(ids) for ids in pieces] == lengths
        np.testing.assert_array_equal(np.concatenate(pieces), whole[number])


def test_continuations_stop_where_the_context_is_full(generate):
    given = prompts(2, 12, 9)
    long = generate(given, max_new_tokens=99, temperature=0.0)
    assert [len(ids) for ids in long] == [11, 1, 4]
    short = generate(given, max_new_tokens=3, temperature=0.0)
    assert [len(ids) for ids in short] == [3, 1, 3]
    for ids, first_ids in zip(long, short, strict=True):
        np.testing.assert_array_equal(ids[:3], first_ids)


def test_samples_depend_on_the_seed_only(generate):
    given = prompts(2, 5, 7)
    first, again, other = (
        np.stack(generate(given, max_new_tokens=6, seed=seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)


def test_a_prompt_given_twice_has_two_continuations(generate):
    (prompt,) = prompts(3)
    first, second = generate([prompt, prompt], max_new_tokens=10)
    assert np.any(first != second)


def test_the_first_of_equal_prompts_is_drawn_as_one_alone(generate):
    (prompt,) = prompts(3)
    together = generate([*prompts(5, 2), prompt, prompt], 8)
    (alone,) = generate([prompt], 8)
    np.testing.assert_array_equal(together[2], alone)
    assert np.any(together[3] != alone)


@pytest.mark.parametrize("sampling", [{}, {"top_k": 5}], ids=["all", "top_k"])
def test_a_prompt_has_the_same_continuation_alone_and_in_batches(
    generate, monkeypatch, sampling
):
    given = prompts(*range(1, 13), 7, 7, 5)
    together = generate(given, 30, window=4, seed=3, **sampling)
    monkeypatch.setattr(decode, "_CACHED_TOKENS", 50)  # three or four a batch
    in_batches = generate(given, 30, window=4, seed=3, **sampling)
    for prompt, one, other in zip(given, together, in_batches, strict=True):
        (alone,) = generate([prompt], 30, window=4, seed=3, **sampling)
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, alone)
        assert len(alone) == 30


@pytest.mark.parametrize("window", [1, 5, 12])
def test_a_full_context_moves_on_after_its_last_tokens(model, params, generate, window):
    """An oracle that reads the whole context again for each token."""
    (prompt,) = prompts(7)
    (found,) = generate([prompt], 25, window=window, temperature=0.0)
    apply = jax.jit(model.apply)
    context, expected = prompt.tolist(), []
    for _ in range(25):
        if len(context) == CONTEXT:
            context = context[-window:]
        whole = np.zeros((1, CONTEXT), np.int32)
        whole[0, : len(context)] = context
        logits_V = apply({"params": params}, whole)[0, len(context) - 1]
        expected.append(int(logits_V.argmax()))
        context.append(expected[-1])
    assert found.tolist() == expected


@pytest.mark.parametrize("window", [-1, 13])
def test_a_window_that_fills_the_context_is_refused(generate, window):
    message = f"window={window}; from 1 to 12, one less than the context, or 0 to end"
    with pytest.raises(ValueError, match=message):
        generate(prompts(20), 5, window=window)


def test_no_prompts_give_no_continuations(generate):
    assert generate([], max_new_tokens=3) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens=0; at least 1; change it"),
        ({"temperature": -0.1}, "temperature=-0.1; at least 0; change it"),
        ({"temperature": float("nan")}, "temperature=nan; at least 0"),
        ({"temperature": float("inf")}, "temperature=inf; at least 0"),
        ({"top_k": -1}, "top_k=-1; at least 0, which keeps all"),
        ({"top_p": 0.0}, "top_p=0.0; above 0, at most 1"),
        ({"top_p": 1.1}, "top_p=1.1; above 0, at most 1"),
        ({"seed": 2**32}, r"seed=4294967296; from 0 to 2\^32 - 1"),
    ],
)
def test_settings_out_of_range_are_refused(generate, changes, message):
    with pytest.raises(ValueError, match=message):
        generate(prompts(3), **{"max_new_tokens": 5} | changes)


@pytest.mark.parametrize("length", [0, 13, 14])
def test_prompts_that_are_empty_or_fill_the_context_are_refused(generate, length):
    message = (
        f"prompt 1 has {length} tokens; from 1 to 12 are allowed, one less than the"
    )
    with pytest.raises(ValueError, match=message):
        generate(prompts(3, length), max_new_tokens=5)
