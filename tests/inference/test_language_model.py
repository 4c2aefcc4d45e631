"""The Python API of a trained model beside the model itself."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

import gpt1_jax
from gpt1_jax.inference import decode, language_model
from gpt1_jax.models import backbone as backbone_lib


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


@pytest.mark.parametrize("backbone", ["transformer", "lstm"])
def test_hidden_states_start_at_the_embeddings_and_give_the_logits(model, backbone):
    if backbone == "lstm":
        cfg = dataclasses.replace(model.model.cfg, backbone="lstm", lstm_width=24)
        network = backbone_lib.make(cfg, 500)
        params = backbone_lib.init_params(network, jax.random.key(0))
        model = dataclasses.replace(model, model=network, params=params)
    tokens_NL = np.array([[5, 6, 7], [8, 9, 300]])
    first_NLD, *_, last_NLD = states = np.asarray(model.hidden_states(tokens_NL))
    assert states.shape == (2, 2, 3, 16)
    embed = model.params["embed"]
    position_LD = np.asarray(embed["position"])[:3] if "position" in embed else 0
    expected = np.asarray(embed["token"])[tokens_NL] + position_LD
    np.testing.assert_allclose(first_NLD, expected, rtol=1e-6)
    logits = last_NLD @ np.asarray(embed["token"]).T
    np.testing.assert_allclose(logits, model.logits(tokens_NL), rtol=1e-4, atol=1e-5)


def test_an_embedding_is_the_mean_over_the_tokens_of_a_text(model):
    texts = ["it", "the boat sank. she was sad.", "a cat saw the boat"]
    embeddings_ND = model.embed(texts)
    assert embeddings_ND.shape == (3, 16)
    for text, found_D in zip(texts, embeddings_ND, strict=True):
        ids_L = model.tokenizer.encode(text)
        mean_D = np.mean(model.hidden_states(ids_L[None])[-1, 0], axis=0)
        np.testing.assert_allclose(found_D, mean_D, rtol=1e-4, atol=1e-6)
    assert np.abs(embeddings_ND[0] - embeddings_ND[1]).max() > 1e-3


@pytest.mark.parametrize(("text", "count"), [("", "0"), ("boat " * 200, r"\d{3}")])
def test_embed_refuses_empty_and_too_long_texts(model, text, count):
    message = f"text 1 has {count} tokens; from 1 to 128 are allowed, the context"
    with pytest.raises(ValueError, match=message):
        model.embed(["the boat", text])


def test_repr_is_one_line(model):
    expected = "LanguageModel(transformer, 1 layer of width 16, 500 tokens, step 6)"
    assert repr(model) == expected


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


def test_generation_depends_on_the_seed(model):
    first, again, other = (
        model.generate("the boat", 8, temperature=1.0, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_on_text_gets_text_as_it_grows(model, monkeypatch):
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


def test_on_text_gets_whole_characters_only(model):
    cut = model.tokenizer.encode(
        "é日"
    )  # byte tokens: no piece contains these characters
    assert len(cut) > 4
    growing = language_model._Continuation(model.tokenizer, np.array([], np.uint32))
    pieces = [growing.add(cut[n : n + 1]) for n in range(len(cut))]
    assert "".join(pieces) + growing.rest() == model.tokenizer.decode(cut)
    assert "\ufffd" not in "".join(pieces)


def test_common_prefix_ends_before_an_incomplete_character(model):
    before, whole = "the caf\ufffd", "the café boat"
    assert language_model._common_prefix_length(before, whole) == len("the caf")
    assert language_model._common_prefix_length("the", "the boat") == 3


def test_a_string_instead_of_a_list_is_refused(model):
    for method in (model.score, model.embed):
        with pytest.raises(ValueError, match="was given one str; a list of strings is"):
            method("the boat")


def test_a_moved_workdir_and_an_older_step_can_be_loaded(
    model, pretrained_workdir, tmp_path
):
    moved = tmp_path / "elsewhere"
    shutil.copytree(pretrained_workdir, moved)
    again, older = gpt1_jax.load(moved), gpt1_jax.load(moved / "checkpoints/3")
    assert (model.step, again.step, older.step) == (6, 6, 3)
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    assert (older.params["embed"]["token"] != model.params["embed"]["token"]).any()


def test_a_missing_checkpoint_is_named(pretrained_workdir):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 4 in .*checkpoints"):
        gpt1_jax.load(pretrained_workdir / "checkpoints/4")


def test_another_tokenizer_than_the_checkpoints_is_refused(
    pretrained_workdir, tmp_path
):
    moved = tmp_path / "run"
    shutil.copytree(pretrained_workdir, moved)
    path = moved / "tokenizer/sentencepiece.model"
    # A byte of the trainer settings, which affect no id.
    path.write_bytes(path.read_bytes().replace(b"identity", b"identitx", 1))
    with pytest.raises(ValueError, match="was saved with another tokenizer"):
        gpt1_jax.load(moved)


def test_a_workdir_from_before_a_field_existed_can_be_loaded(
    pretrained_workdir, tmp_path
):
    moved = tmp_path / "run"
    shutil.copytree(pretrained_workdir, moved)
    config = json.loads((moved / "config.json").read_text())
    del config["task"], config["model"]["classifier_dropout"]
    (moved / "config.json").write_text(json.dumps(config))
    assert gpt1_jax.load(moved).config.model.classifier_dropout == 0.1


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([[5, 60_000]], r"given the token id 60000; from 0 to \d+ are allowed; encode"),
        ([[-1, 3]], r"given the token id -1; from 0 to \d+ are allowed"),
        ([[1.5, 2.0]], r"given float64 of shape \(1, 2\); integers of shape \(N, L\)"),
        (
            [5, 6],
            r"given int64 of shape \(2,\); integers of shape \(N, L\)",
        ),
        (
            [[5, 6], [1]],
            r"given rows of several lengths, or no numbers; .* pad",
        ),
        ([[]], r"given float64 of shape \(1, 0\)"),
        (
            [[1] * 129],
            r"given rows of 129 tokens; at most 128 are allowed",
        ),
    ],
)
def test_token_ids_that_the_model_does_not_have_are_refused(
    pretrained_workdir, tokens, message
):
    model = gpt1_jax.load(pretrained_workdir)
    for method in ("logits", "hidden_states"):
        with pytest.raises(ValueError, match=f"{method} was given"):
            getattr(model, method)(tokens)
    with pytest.raises(ValueError, match=message):
        model.logits(tokens)


def test_texts_are_lists_of_strings(pretrained_workdir):
    model = gpt1_jax.load(pretrained_workdir)
    for method in ("generate", "score", "embed"):
        call = getattr(model, method)
        assert len(call([])) == 0
        with pytest.raises(ValueError, match=rf"{method} was given one bytes; a li"):
            call(b"once")
        with pytest.raises(ValueError, match=r"text 1 is of type bytes; .* list of"):
            call(["once", b"upon"])
