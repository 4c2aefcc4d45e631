"""The LSTM beside numpy, gate by gate, and its use in place of a Transformer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpt1_jax.config import ModelConfig
from gpt1_jax.data.text.corpus import LMBatch
from gpt1_jax.inference import decode
from gpt1_jax.models import backbone
from gpt1_jax.models.lstm import LSTM
from gpt1_jax.training import losses

VOCAB, WIDTH, UNITS, CONTEXT = 23, 5, 7, 13
CFG = ModelConfig(
    backbone="lstm",
    width=WIDTH,
    lstm_width=UNITS,
    context_length=CONTEXT,
    compute_dtype="float32",
    residual_dropout=0.5,
    embedding_dropout=0.0,
)


@pytest.fixture(scope="module")
def model() -> LSTM:
    made = backbone.make(CFG, VOCAB)
    assert isinstance(made, LSTM)
    return made


@pytest.fixture(scope="module")
def params(model, make_params):
    return make_params(model)


def tokens(N, L):
    return np.random.default_rng(1).integers(0, VOCAB, (N, L)).astype(np.int32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def oracle(params, text) -> np.ndarray:
    """Returns the logits after each token of a text, a gate at a time in float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    table, layer = p["embed"]["token"], p["block_00"]
    kernel, bias = layer["input"]["kernel"], layer["input"]["bias"]
    h, c, found = np.zeros(UNITS), np.zeros(UNITS), []
    for token in text:
        gates = {}
        for index, gate in enumerate("ifgo"):
            part = slice(index * UNITS, (index + 1) * UNITS)
            total = table[token] @ kernel[:, part] + bias[part]
            gates[gate] = total + h @ layer["recurrent"][:, part]
        kept = sigmoid(gates["f"]) * c
        c = kept + sigmoid(gates["i"]) * np.tanh(gates["g"])
        h = sigmoid(gates["o"]) * np.tanh(c)
        projected = h @ layer["out"]["kernel"] + layer["out"]["bias"]
        found.append(table @ projected)
    return np.array(found)


def test_logits_equal_the_oracle(model, params):
    texts = tokens(3, 11)
    found = jax.jit(model.apply)({"params": params}, texts)
    for row, text in enumerate(texts):
        np.testing.assert_allclose(found[row], oracle(params, text), atol=1e-4)
    assert np.ptp(found) > 1


def test_parameters_are_a_table_a_layer_and_a_projection(model):
    fresh = jax.jit(backbone.init_params, static_argnums=0)(model, jax.random.key(0))
    sizes = {name: sum(x.size for x in jax.tree.leaves(p)) for name, p in fresh.items()}
    layer = 4 * UNITS * (WIDTH + UNITS + 1) + (UNITS + 1) * WIDTH
    assert sizes == {"embed": VOCAB * WIDTH, "block_00": layer}
    bias = np.repeat([0.0, 1.0, 0.0, 0.0], UNITS)  # the forget gates start open
    np.testing.assert_array_equal(fresh["block_00"]["input"]["bias"], bias)


def test_paper_config_has_the_expected_number_of_parameters():
    made = backbone.make(ModelConfig(backbone="lstm", compute_dtype="float32"), 40478)
    fresh = jax.eval_shape(lambda: backbone.init_params(made, jax.random.key(0)))
    total = sum(x.size for x in jax.tree.leaves(fresh))
    assert total == 40478 * 768 + 4 * 2048 * (768 + 2048 + 1) + 2049 * 768


def test_generation_equals_encoding_the_whole_text_again(model, params):
    decoder = decode.Decoder(model, CONTEXT)
    prompts = [tokens(1, length)[0] for length in (1, 5, 3)]
    found = decoder.generate(params, prompts, 7, decode.Sampling(temperature=0.0))
    logits = jax.jit(model.apply)
    for prompt, new in zip(prompts, found, strict=True):
        text = list(prompt)
        for token in new:
            padded = np.zeros((1, CONTEXT), np.int32)
            padded[0, : len(text)] = text
            expected = logits({"params": params}, padded)[0, len(text) - 1].argmax()
            assert token == expected
            text.append(int(token))
    assert len({tuple(new) for new in found}) > 1


def test_dropout_is_on_in_training_only_and_remat_changes_nothing(params):
    counts, rows = np.full(2, 7, np.int32), np.arange(2, dtype=np.uint32)
    batch = LMBatch(tokens(2, 8), counts, rows)

    def gradient(is_train: bool, remat: bool):
        made = backbone.make(CFG, VOCAB, remat=remat)
        loss_fn = losses.make_lm_loss(made, is_train=is_train)
        take = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))
        (loss, _), grads = take(params, batch, jax.random.key(0))
        return loss, grads

    plain, dropped, again = (
        gradient(is_train, remat)
        for is_train, remat in ((False, False), (True, False), (True, True))
    )
    assert abs(plain[0] - dropped[0]) > 1e-3
    np.testing.assert_allclose(dropped[0], again[0], rtol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), dropped[1], again[1]
    )


def test_bfloat16_keeps_cell_states_in_float32(params):
    cfg = dataclasses.replace(CFG, compute_dtype="bfloat16")
    half = backbone.make(cfg, VOCAB)
    state = half.apply({}, 2, CONTEXT, method="init_cache")
    assert (state.h.dtype, state.c.dtype) == (jnp.bfloat16, jnp.float32)
    texts = tokens(2, 11)
    found = jax.jit(half.apply)({"params": params}, texts)
    exact = np.stack([oracle(params, text) for text in texts])
    assert 0 < np.abs(found - exact).max() < 0.1 * np.ptp(exact)
