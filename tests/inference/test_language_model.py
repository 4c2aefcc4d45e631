"""A trained model from Python: what it returns is what the model says."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import gpt1_jax
from gpt1_jax.inference import decode, language_model


@pytest.fixture(scope="module")
def model(pretrained_workdir):
    return gpt1_jax.load(pretrained_workdir)


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_logits_are_the_models(model):
    tokens_NL = np.array([[5, 6, 7], [8, 9, 300]])
    expected = model.model.apply({"params": model.params}, tokens_NL)
    found = model.logits(tokens_NL)
    assert found.shape == (2, 3, 500)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_scores_are_log_probabilities_of_the_logits(model):
    texts = ["the boat sank. she was sad.", "it"]
    for text, found in zip(texts, model.score(texts), strict=True):
        ids = model.tokenizer.encode(text)
        assert found["text"] == text
        assert found["tokens"] == ids.tolist()
        logp_LV = log_softmax(model.logits(ids[None])[0])
        expected = [logp_LV[i, token] for i, token in enumerate(ids[1:])]
        np.testing.assert_allclose(found["logprobs"], expected, rtol=1e-4)


def test_greedy_generation_takes_the_likeliest_token_each_time(model):
    ids = model.tokenizer.encode("the boat").tolist()
    start = len(ids)
    for _ in range(5):
        logits_V = np.asarray(model.logits(np.array([ids]))[0, -1])
        ids.append(int(logits_V.argmax()))
    whole = model.tokenizer.decode(ids)
    expected = whole.removeprefix(model.tokenizer.decode(ids[:start]))
    assert model.generate("the boat", 5, temperature=0.0) == expected
    assert model.generate(["the boat"], 5, temperature=0.0) == [expected]


def test_the_seed_decides_what_is_drawn(model):
    first, again, other = (
        model.generate("the boat", 8, temperature=1.0, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_text_is_told_as_it_grows(model, monkeypatch):
    monkeypatch.setattr(decode, "_TOKENS_AT_ONCE", 4)
    told = {0: "", 1: ""}
    pieces = []

    def on_text(number, text):
        told[number] += text
        pieces.append(number)

    fresh = dataclasses.replace(model)
    texts = fresh.generate(["the boat", "it"], 11, on_text=on_text, seed=1)
    assert list(told.values()) == texts
    assert len(pieces) > 2


def test_a_character_is_told_once_it_is_whole(model):
    cut = model.tokenizer.encode("é日")  # bytes, as no piece has them
    assert len(cut) > 4
    growing = language_model._Continuation(model.tokenizer, np.array([], np.uint32))
    pieces = [growing.add(cut[n : n + 1]) for n in range(len(cut))]
    assert "".join(pieces) + growing.rest() == model.tokenizer.decode(cut)
    assert "\ufffd" not in "".join(pieces)


def test_a_prompt_that_ends_within_a_character_is_not_repeated(model):
    before, whole = "the caf\ufffd", "the café boat"
    assert language_model._num_equal(before, whole) == len("the caf")
    assert language_model._num_equal("the", "the boat") == 3


def test_a_string_instead_of_a_list_is_refused(model):
    with pytest.raises(ValueError, match="a list of texts is expected"):
        model.score("the boat")


def test_a_moved_workdir_and_an_older_step_can_be_loaded(
    model, pretrained_workdir, tmp_path
):
    moved = tmp_path / "elsewhere"
    shutil.copytree(pretrained_workdir, moved)
    again, older = gpt1_jax.load(moved), gpt1_jax.load(moved / "checkpoints/3")
    assert (model.step, again.step, older.step) == (6, 6, 3)
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    assert (older.params["embed"]["token"] != model.params["embed"]["token"]).any()


def test_a_checkpoint_that_is_not_there_is_named(pretrained_workdir):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 4 in .*checkpoints"):
        gpt1_jax.load(pretrained_workdir / "checkpoints/4")


def test_another_tokenizer_than_the_checkpoints_is_refused(
    pretrained_workdir, tmp_path
):
    moved = tmp_path / "run"
    shutil.copytree(pretrained_workdir, moved)
    path = moved / "tokenizer/sentencepiece.model"
    # A byte of the trainer's notes, which decide no id.
    path.write_bytes(path.read_bytes().replace(b"identity", b"identitx", 1))
    with pytest.raises(ValueError, match="was saved with another tokenizer"):
        gpt1_jax.load(moved)
