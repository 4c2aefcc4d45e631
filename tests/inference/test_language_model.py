"""The Python API of a trained model beside the model itself."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

import gpt1_jax
from gpt1_jax.inference import continuation, decode
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


def as_lstm(model):
    """Returns the model with an LSTM of random weights in place of its Transformer."""
    cfg = dataclasses.replace(model.model.cfg, backbone="lstm", lstm_width=24)
    network = backbone_lib.make(cfg, 500)
    params = backbone_lib.init_params(network, jax.random.key(0))
    return dataclasses.replace(model, model=network, params=params)


@pytest.mark.parametrize("backbone", ["transformer", "lstm"])
def test_hidden_states_start_at_the_embeddings_and_give_the_logits(model, backbone):
    if backbone == "lstm":
        model = as_lstm(model)
    tokens_NL = np.array([[5, 6, 7], [8, 9, 300]])
    first_NLD, *_, last_NLD = states = model.hidden_states(tokens_NL)
    assert isinstance(states, np.ndarray)
    assert states.shape == (2, 2, 3, 16)
    embed = model.params["embed"]
    position_LD = np.asarray(embed["position"])[:3] if "position" in embed else 0
    expected = np.asarray(embed["token"])[tokens_NL] + position_LD
    np.testing.assert_allclose(first_NLD, expected, rtol=1e-6)
    logits = last_NLD @ np.asarray(embed["token"]).T
    np.testing.assert_allclose(logits, model.logits(tokens_NL), rtol=1e-4, atol=1e-5)


TEXTS = ["it", "the boat sank. she was sad. " * 6, "a cat saw the boat", "she was sad"]


@pytest.mark.parametrize("backbone", ["transformer", "lstm"])
@pytest.mark.parametrize("method", ["hidden_states", "embed"])
def test_a_text_has_the_same_values_whatever_is_beside_it(model, backbone, method):
    if backbone == "lstm":
        model = as_lstm(model)
    read = getattr(model, method)
    together = read(TEXTS * 20)
    for number, text in enumerate(TEXTS * 20):
        if number < 4:
            (alone,) = read([text])
            (from_ids,) = read([model.tokenizer.encode(text).tolist()])
            np.testing.assert_array_equal(alone, from_ids)
        np.testing.assert_array_equal(together[number], read([text])[0])
    whole_SLD = model.hidden_states([TEXTS[1]])[0]
    assert whole_SLD.shape == (2, len(model.tokenizer.encode(TEXTS[1])), 16)


def test_layers_are_chosen_as_numpy_chooses_them(model):
    tokens_NL = np.array([[5, 6, 7], [8, 9, 300]])
    every_SNLD = model.hidden_states(tokens_NL)
    for layers in (1, -1, [1], (-1, 0), np.int64(0)):
        found = model.hidden_states(tokens_NL, layers)
        np.testing.assert_array_equal(found, every_SNLD[np.asarray(layers)])
    (last_LD,) = model.hidden_states([[5, 6, 7]], layers=-1)
    np.testing.assert_array_equal(last_LD, every_SNLD[-1, 0])


@pytest.mark.parametrize("layers", [2, -3, [], [0, 2], 0.5, "all", [[0]]])
def test_layers_that_the_model_does_not_have_are_refused(model, layers):
    message = "hidden_states was given layers=.*; one or several integers from -2 to 1"
    with pytest.raises(ValueError, match=message):
        model.hidden_states(["it"], layers=layers)
    with pytest.raises(ValueError, match=r"embed was given layers=\[2\]"):
        model.embed(["it"], layer=2)
    with pytest.raises(ValueError, match=r"attentions was given layers=1; .* -1 to 0"):
        model.attentions(["it"], layers=1)


def test_attentions_are_the_weights_by_which_values_are_summed(model):
    """With numpy: the states before a block, its weights and values give its output."""
    text = "a cat saw the boat"
    # With the trained values of so short a run all weights would be nearly equal.
    params = jax.tree.map(lambda x: 20 * x, model.params)
    model = dataclasses.replace(model, params=params)
    ((att_HLM,),) = model.attentions([text])
    before_LD, after_LD = model.hidden_states([text])[0].astype(np.float64)
    L = len(before_LD)
    assert att_HLM.shape == (2, L, L)
    np.testing.assert_allclose(att_HLM.sum(-1), 1.0, rtol=1e-5)
    assert (np.triu(att_HLM, 1) == 0).all()
    block = jax.tree.map(lambda x: np.asarray(x, np.float64), model.params["block_00"])

    def dense(x, layer):
        return x @ layer["kernel"] + layer["bias"]

    def norm(x, layer):
        normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(
            x.var(-1, keepdims=True) + 1e-5
        )
        return layer["scale"] * normed + layer["bias"]

    qkv_L3HK = dense(before_LD, block["attention"]["qkv"]).reshape(L, 3, 2, 8)
    att_LHK = np.einsum("hlm,mhk->lhk", att_HLM, qkv_L3HK[:, 2])
    a_LD = dense(att_LHK.reshape(L, 16), block["attention"]["out"])
    n_LD = norm(before_LD + a_LD, block["norm_1"])
    x = dense(n_LD, block["mlp"]["in"])
    gelu = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    out_LD = norm(n_LD + dense(gelu, block["mlp"]["out"]), block["norm_2"])
    np.testing.assert_allclose(after_LD, out_LD, rtol=1e-4, atol=1e-5)
    assert np.ptp(att_HLM[:, -1]) > 0.01


def test_attentions_have_the_shapes_of_their_texts(model):
    together = model.attentions(TEXTS)
    for text, att_SHLM in zip(TEXTS, together, strict=True):
        L = len(model.tokenizer.encode(text))
        assert att_SHLM.shape == (1, 2, L, L)
        np.testing.assert_array_equal(att_SHLM, model.attentions([text])[0])
    tokens_NL = np.array([[5, 6, 7], [8, 9, 300]])
    assert model.attentions(tokens_NL).shape == (1, 2, 2, 3, 3)
    att_NHLM = model.attentions(tokens_NL, layers=0)
    np.testing.assert_array_equal(att_NHLM, model.attentions(tokens_NL)[0])


def test_attentions_of_an_lstm_are_refused(model):
    with pytest.raises(ValueError, match=r"backbone=lstm; a transformer is expected"):
        as_lstm(model).attentions(["it"])


@pytest.mark.parametrize(
    ("pooling", "numpy_pooling"),
    [
        ("last", lambda h_LD: h_LD[-1]),
        ("max", lambda h_LD: h_LD.max(0)),
        ("mean", lambda h_LD: h_LD.mean(0)),
    ],
    ids=["last", "max", "mean"],
)
def test_an_embedding_pools_the_states_of_a_layer(model, pooling, numpy_pooling):
    for layer in (0, -1):
        found_ND = model.embed(TEXTS, pooling, layer)
        states = model.hidden_states(TEXTS, layer)
        expected_ND = [numpy_pooling(h_LD) for h_LD in states]
        np.testing.assert_allclose(found_ND, expected_ND, rtol=1e-4, atol=1e-6)


def test_an_unknown_pooling_is_refused(model):
    message = r"pooling='maxi'; mean\|last\|max; did you mean max\?"
    with pytest.raises(ValueError, match=message):
        model.embed(["it"], pooling="maxi")


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
    growing = continuation.Continuation(model.tokenizer, np.array([], np.uint32))
    pieces = [growing.add(cut[n : n + 1]) for n in range(len(cut))]
    assert "".join(pieces) + growing.rest() == model.tokenizer.decode(cut)
    assert "\ufffd" not in "".join(pieces)


def test_common_prefix_ends_before_an_incomplete_character(model):
    before, whole = "the caf\ufffd", "the café boat"
    assert continuation.common_prefix_length(before, whole) == len("the caf")
    assert continuation.common_prefix_length("the", "the boat") == 3


def test_a_string_instead_of_a_list_is_refused(model):
    for method in (model.score, model.embed, model.hidden_states, model.attentions):
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
        ([[5, 60_000]], r"the token id 60000; from 0 to \d+ are allowed; encode"),
        ([[-1, 3]], r"the token id -1; from 0 to \d+ are allowed"),
        ([[1.5, 2.0]], r"float64 of shape \(1, 2\); integers of shape \(N, L\)"),
        (
            [5, 6],
            r"int64 of shape \(2,\); integers of shape \(N, L\)",
        ),
        (
            [[5, 6], [1]],
            r"rows of several lengths, or no numbers; .* pad",
        ),
        ([[]], r"float64 of shape \(1, 0\)"),
        (
            [[1] * 129],
            r"rows of 129 tokens; at most 128 are allowed",
        ),
    ],
)
def test_token_ids_that_the_model_does_not_have_are_refused(
    pretrained_workdir, tokens, message
):
    model = gpt1_jax.load(pretrained_workdir)
    with pytest.raises(ValueError, match=f"logits was given {message}"):
        model.logits(tokens)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([[5, 60_000]], r"was given the token id 60000; from 0 to \d+ are allowed"),
        (np.array([[5, 60_000]]), r"was given the token id 60000; from 0 to \d+ are"),
        (np.array([[0.5, 1.0]]), r"was given float64 of shape \(1, 2\); integers of"),
        ([5, 6], r"text 0 is of type int; hidden_states takes strings, or the token"),
        (["it", [0.5]], r"text 1 is of type list; hidden_states takes strings, or"),
        (["it", b"it"], r"text 1 is of type bytes; hidden_states takes strings, or"),
        (["it", [[1], [2, 3]]], r"text 1 is of type list; hidden_states takes str"),
        (["it", []], r"text 1 has 0 tokens; from 1 to 128 are allowed"),
        ([[1] * 129], r"text 0 has 129 tokens; from 1 to 128 are allowed"),
    ],
)
def test_texts_are_strings_or_token_ids_of_the_model(model, texts, message):
    with pytest.raises(ValueError, match=message):
        model.hidden_states(texts)


def test_texts_are_lists_of_strings(pretrained_workdir):
    model = gpt1_jax.load(pretrained_workdir)
    for method in ("generate", "score", "embed", "hidden_states", "attentions"):
        call = getattr(model, method)
        assert len(call([])) == 0
        with pytest.raises(ValueError, match=rf"{method} was given one bytes; a li"):
            call(b"once")
        with pytest.raises(ValueError, match=r"text 1 is of type bytes; .* takes"):
            call(["once", b"upon"])
