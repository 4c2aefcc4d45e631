"""transformers' format, without transformers; tests/parity compares with it."""

import dataclasses
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from gpt1_jax.config import ModelConfig
from gpt1_jax.interop import huggingface, weights
from gpt1_jax.models.transformer import Transformer

GOLDEN = np.load(Path(__file__).parents[1] / "golden/hf_tiny_openai_gpt_f64.npz")
INDEX = "model.safetensors.index.json"
FIELDS = {
    "model_type": "openai-gpt",
    "vocab_size": 99,
    "n_positions": 24,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
}


def tensors(prefix: str = "transformer.") -> dict[str, np.ndarray]:
    """Returns the golden parameters as transformers stores them."""
    found = {}
    for key in GOLDEN.files:
        name = key.removeprefix("param/")
        bare = name.removeprefix("transformer.")
        if key.startswith("param/") and bare != "lm_head.weight":
            found[prefix + bare] = np.float32(GOLDEN[key])
    return found


def save(directory: Path, found: dict[str, np.ndarray], **fields) -> Path:
    directory.mkdir(exist_ok=True)
    safetensors.numpy.save_file(found, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(FIELDS | fields))
    return directory


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_logits_are_the_golden_ones(prefix, tmp_path):
    found = huggingface.read(save(tmp_path, tensors(prefix)))
    cfg = dataclasses.replace(found.model, compute_dtype="float32")
    logits = Transformer(cfg, found.num_rows).apply(
        {"params": found.tree}, GOLDEN["ids"].astype(np.int32)
    )
    np.testing.assert_allclose(logits, GOLDEN["logits"], atol=2e-5)


def test_masks_of_old_versions_and_a_tied_head_are_skipped(tmp_path):
    old = tensors("")
    for layer in range(2):
        old[f"h.{layer}.attn.bias"] = np.ones((1, 1, 24, 24), bool)
    old["position_ids"] = np.arange(24)
    old["lm_head.weight"] = old["tokens_embed.weight"].copy()
    found = huggingface.read(save(tmp_path, old))
    assert set(found.params) == set(weights.paths(2))


def test_configs_of_old_versions_are_read(tmp_path):
    path = save(tmp_path, tensors()) / "config.json"
    fields = json.loads(path.read_text())
    expected = huggingface.read(tmp_path).model
    fields["n_ctx"] = fields.pop("n_positions")
    fields["vocab_size"] -= 3
    fields["n_special"] = 3
    path.write_text(json.dumps(fields))
    found = huggingface.read(tmp_path)
    assert found.model == expected
    assert found.num_rows == fields["vocab_size"] + 3


def test_a_tied_head_may_replace_the_token_table(tmp_path):
    tied = tensors()
    tied["lm_head.weight"] = tied.pop("transformer.tokens_embed.weight")
    found = huggingface.read(save(tmp_path, tied))
    np.testing.assert_array_equal(found.params["embed/token"], tied["lm_head.weight"])


def test_shards_are_read_as_one(tmp_path):
    whole = tensors()
    names = sorted(whole)
    parts = {f"model-0000{n + 1}-of-00003.safetensors": names[n::3] for n in range(3)}
    save(tmp_path, {})
    (tmp_path / "model.safetensors").unlink()
    for file, own in parts.items():
        safetensors.numpy.save_file({k: whole[k] for k in own}, tmp_path / file)
    index = {name: file for file, own in parts.items() for name in own}
    (tmp_path / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": index})
    )
    found = huggingface.read(tmp_path)
    expected = huggingface.read(save(tmp_path / "one", whole))
    for path, value in expected.params.items():
        np.testing.assert_array_equal(found.params[path], value)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model-00002-of-00003.safeten"):
        huggingface.read(tmp_path)


@pytest.mark.parametrize("has_head", [False, True])
def test_reading_returns_what_was_written(has_head, tmp_path):
    found = huggingface.read(save(tmp_path, tensors()))
    if has_head:
        rng = np.random.default_rng(0)
        head = {
            "head/kernel": rng.standard_normal((32, 1), np.float32),
            "head/bias": np.array([0.5], np.float32),
        }
        params = {**found.params, **head}
        found = dataclasses.replace(found, params=params, head="choice")
    huggingface.write(found, tmp_path / "out")
    again = huggingface.read(tmp_path / "out")
    assert again.model == found.model
    assert set(again.params) == set(found.params)
    for path, value in found.params.items():
        np.testing.assert_array_equal(again.params[path], value)
    fields = json.loads((tmp_path / "out/config.json").read_text())
    name = "OpenAIGPTDoubleHeadsModel" if has_head else "OpenAIGPTLMHeadModel"
    assert fields["architectures"] == [name]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_becomes_float32(dtype, tmp_path):
    half = {name: value.astype(dtype) for name, value in tensors().items()}
    found = huggingface.read(save(tmp_path, half))
    assert {value.dtype for value in found.params.values()} == {np.dtype(np.float32)}
    position = tensors()["transformer.positions_embed.weight"]
    np.testing.assert_allclose(found.params["embed/position"], position, rtol=1e-2)


def test_model_safetensors_is_preferred_to_other_files(tmp_path):
    save(tmp_path, tensors())
    other = {"score.weight": np.zeros(3, np.float32)}
    safetensors.numpy.save_file(other, tmp_path / "adapter.safetensors")
    assert huggingface.read(tmp_path).num_rows == 99


def without(name):
    def spoil(directory):
        rest = {k: v for k, v in tensors().items() if not k.endswith(name)}
        save(directory, rest)

    return spoil


def with_tensor(name, value):
    return lambda directory: save(directory, {**tensors(), name: np.float32(value)})


def with_field(**fields):
    return lambda directory: save(directory, tensors(), **fields)


def with_content(file, content):
    return lambda directory: (directory / file).write_bytes(content)


def pickled(directory):
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "config.json").unlink(), "no config.json in"),
        (lambda d: (d / "model.safetensors").unlink(), "no model.safetensors in"),
        (pickled, r"pytorch_model.bin is a pickle, .*: python -c .*weights_only=True"),
        (with_content("config.json", b"{"), "is not a config of an OpenAIGPT"),
        (with_content("config.json", b"[]"), "is not a config of an OpenAIGPT"),
        (with_content("config.json", b"{}"), "n_embd is missing; a whole number from"),
        (with_content("model.safetensors", b""), "model.safetensors can't be read"),
        (with_content("model.safetensors", b"abc"), "model.safetensors can't be read"),
        (with_field(model_type="gpt2"), "model_type is 'gpt2'; 'openai-gpt' is exp"),
        (with_field(afn="relu"), "afn is 'relu'; 'gelu' or 'gelu_new' is expected"),
        (with_field(n_head=5), "n_head is 5; a divisor of n_embd=32 is expected"),
        (with_field(n_head=0), "n_head is 0; a whole number from 1 to 1,048,576"),
        (with_field(n_positions=-3), "n_positions is -3; a whole number from 1"),
        (with_field(n_positions=25), r"positions_embed.weight is \[24, 32\]; \[25, 32"),
        (with_field(n_layer=0), "n_layer is 0; a whole number"),
        (with_field(n_layer=True), "n_layer is true; a whole number"),
        (with_field(n_layer=2.0), "n_layer is 2.0; a whole number"),
        (with_field(n_embd="32"), 'n_embd is "32"; a whole number'),
        (with_field(vocab_size=None), "vocab_size is null; a whole number"),
        (
            with_field(embd_pdrop=1.5),
            "embd_pdrop is 1.5; a dropout rate from 0 to 0.99",
        ),
        (with_field(resid_pdrop=-0.1), "resid_pdrop is -0.1; a dropout rate"),
        (with_field(attn_pdrop=float("nan")), "attn_pdrop is NaN; a dropout rate"),
        (with_field(summary_first_dropout="0.1"), 'first_dropout is "0.1"; a dropout'),
        (with_field(embd_pdrop=None), "embd_pdrop is null; a dropout rate"),
        (with_content(INDEX, b"{"), "index.json can't be read; an index of shards"),
        (with_content(INDEX, b'{"weight_map": []}'), "index.json can't be read"),
        (with_content(INDEX, b'{"weight_map": {}}'), "index.json can't be read"),
        (with_content(INDEX, b'{"weight_map": {"a": 1}}'), "index.json can't be read"),
        (with_content(INDEX, b'{"weight_map": {"a": ""}}'), "index.json can't be read"),
        (
            with_content(INDEX, b'{"weight_map": {"a": "../b.safetensors"}}'),
            "index.json can't be read",
        ),
        (
            with_content(INDEX, b'{"weight_map": {"a": "b.safetensors"}}'),
            "no b.safetensors in .*; model.safetensors.index.json names it; fetch it",
        ),
        (with_field(n_layer=1), "has n_layer=1, but there is a tensor h.1.attn"),
        (
            with_tensor("h.0.ln_1.bias", np.zeros(32)),
            "has the tensor h.0.ln_1.bias twice",
        ),
        (with_field(n_layer=3), "no tensor h.2.attn.c_attn.weight; .* of 3 layers"),
        (with_field(vocab_size=98), r"tokens_embed.weight is \[99, 32\]; \[98, 32\]"),
        (without("h.1.ln_2.bias"), "no tensor h.1.ln_2.bias"),
        (with_tensor("transformer.h.0.ln_1.bias", [1]), r"ln_1.bias is \[1\]; \[32\]"),
        (with_tensor("lm_head.weight", np.ones((99, 32))), "lm_head.weight differs"),
        (with_tensor("other.weight", [[1]]), "unknown tensors: other.weight"),
        (
            with_tensor("transformer.h.0.ln_1.bias", [np.nan] * 32),
            "block_00/norm_1/bias has infinite or NaN values",
        ),
    ],
)
def test_defects_are_refused_by_name(spoil, message, tmp_path):
    save(tmp_path, tensors())
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message):
        huggingface.read(tmp_path)


def test_another_mlp_width_is_refused(tmp_path):
    found = huggingface.read(save(tmp_path, tensors()))
    other = dataclasses.replace(
        found, model=dataclasses.replace(found.model, mlp_width=64)
    )
    with pytest.raises(ValueError, match=r"mlp_width is 64; .* 4 x width, 128"):
        huggingface.write(other, tmp_path / "out")


def test_dropout_rates_are_read(tmp_path):
    rates = {"embd_pdrop": 0.2, "resid_pdrop": 0.3, "attn_pdrop": 0.4}
    found = huggingface.read(save(tmp_path, tensors(), **rates))
    assert found.model == ModelConfig(
        num_layers=2,
        width=32,
        num_heads=4,
        mlp_width=128,
        context_length=24,
        embedding_dropout=0.2,
        residual_dropout=0.3,
        attention_dropout=0.4,
    )


def test_values_beyond_a_number_format_are_refused(tmp_path):
    found = huggingface.read(save(tmp_path, tensors()))
    params = {**found.params, "embed/token": found.params["embed/token"] * 1e6}
    large = dataclasses.replace(found, params=params)
    with pytest.raises(ValueError, match=r"embed.weight has values .*--dtype=float16"):
        huggingface.write(large, tmp_path / "half", dtype="float16")
    huggingface.write(large, tmp_path / "brain", dtype="bfloat16")
