"""The Transformer beside transformers' OpenAIGPT in float64, and its own contracts."""

import collections
import dataclasses
import functools
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpt1_jax import config
from gpt1_jax.config import ModelConfig
from gpt1_jax.data.text.corpus import LMBatch
from gpt1_jax.distributed import mesh
from gpt1_jax.inference import decode
from gpt1_jax.models import dropout, heads
from gpt1_jax.models.backbone import init_params
from gpt1_jax.models.transformer import Transformer
from gpt1_jax.training import losses

ROOT = Path(__file__).parents[2]
GOLDEN_CONFIG = ModelConfig(
    num_layers=2,
    width=32,
    num_heads=4,
    mlp_width=128,
    context_length=24,
    compute_dtype="float64",
)
TINY = ModelConfig(
    num_layers=2,
    width=15,
    num_heads=3,
    mlp_width=17,
    context_length=13,
    compute_dtype="float32",
)
VOCAB = 23
# The names of a block's parameters in transformers and here.
BLOCK_NAMES = {
    "attn.c_attn.weight": "attention/qkv/kernel",
    "attn.c_attn.bias": "attention/qkv/bias",
    "attn.c_proj.weight": "attention/out/kernel",
    "attn.c_proj.bias": "attention/out/bias",
    "ln_1.weight": "norm_1/scale",
    "ln_1.bias": "norm_1/bias",
    "mlp.c_fc.weight": "mlp/in/kernel",
    "mlp.c_fc.bias": "mlp/in/bias",
    "mlp.c_proj.weight": "mlp/out/kernel",
    "mlp.c_proj.bias": "mlp/out/bias",
    "ln_2.weight": "norm_2/scale",
    "ln_2.bias": "norm_2/bias",
}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(ROOT / "tests/golden/hf_tiny_openai_gpt_f64.npz") as arrays:
        return dict(arrays)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def names(num_layers: int) -> dict[str, str]:
    """Returns our parameter name for each name in transformers."""
    pairs = {"tokens_embed.weight": "embed/token"}
    pairs["positions_embed.weight"] = "embed/position"
    for layer in range(num_layers):
        for theirs, ours in BLOCK_NAMES.items():
            pairs[f"h.{layer}.{theirs}"] = f"block_{layer:02d}/{ours}"
    return {f"transformer.{theirs}": ours for theirs, ours in pairs.items()}


def golden_tree(golden: dict[str, np.ndarray], kind: str) -> dict:
    tree: dict = {}
    for theirs, ours in names(2).items():
        *path, leaf = ours.split("/")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = golden[f"{kind}/{theirs}"]
    return tree


def paths_of(tree) -> dict[str, jax.Array]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(key.key for key in path): leaf for path, leaf in leaves}


@pytest.fixture
def tiny(make_params) -> tuple[Transformer, dict]:
    model = Transformer(TINY, VOCAB)
    return model, make_params(model)


@functools.partial(jax.jit, static_argnames=("model", "is_train", "method"))
def run(model, params, tokens_NL, is_train=False, key=None, method="__call__"):
    rngs = {} if key is None else {"dropout": key}
    return model.apply(
        {"params": params}, tokens_NL, is_train, rngs=rngs, method=method
    )


def encode(model, params, tokens_NL, is_train=False, key=None):
    return run(model, params, tokens_NL, is_train, key, "encode")


def tokens(N: int, L: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCAB, (N, L)).astype(np.int32)


@pytest.fixture(scope="module")
def found(golden) -> dict[str, np.ndarray]:
    """Returns our hidden states and logits for the golden ids, then `greedy`."""

    def compute(params, tokens_NL):
        arrays = {}
        for num_layers in range(3):
            cfg = dataclasses.replace(GOLDEN_CONFIG, num_layers=num_layers)
            model = Transformer(cfg, 99)
            arrays[f"hidden_{num_layers}"] = encode(model, params, tokens_NL)
        return arrays | {"logits": run(model, params, tokens_NL)}

    with jax.enable_x64(True):
        tokens_NL = np.concatenate([golden["ids"], golden["greedy"]])
        arrays = jax.jit(compute)(golden_tree(golden, "param"), tokens_NL)
        return jax.tree.map(np.asarray, arrays)


@pytest.mark.parametrize("name", ["hidden_0", "hidden_1", "hidden_2", "logits"])
def test_hidden_states_and_logits_equal_transformers(golden, found, name):
    assert found[name].dtype == np.float64
    assert np.abs(found[name][:3] - golden[name]).max() < 1e-10


def test_token_losses_equal_transformers(golden, found, x64):
    nll_NL = heads.token_nll(
        jnp.asarray(found["logits"][:3, :-1]), jnp.asarray(golden["ids"][:, 1:])
    )
    np.testing.assert_allclose(nll_NL.mean(), golden["loss"], rtol=0, atol=1e-10)


def test_likeliest_continuation_equals_transformers(golden, found):
    likeliest_L = found["logits"][3].argmax(-1)
    np.testing.assert_array_equal(likeliest_L[3:-1], golden["greedy"][0, 4:])


def test_a_choice_equals_that_of_transformers_double_heads(golden, x64):
    model = Transformer(GOLDEN_CONFIG, 99)
    ids = golden["mc_ids"]
    h_NLD = encode(model, golden_tree(golden, "param"), ids.reshape(-1, ids.shape[-1]))
    h_BAD = heads.gather_last_token(h_NLD, jnp.asarray(golden["mc_token_ids"]) + 1)
    head = {"kernel": golden["mc_w"].T, "bias": golden["mc_b"]}
    logits_BC = heads.task_logits(head, h_BAD, is_choice=True)
    np.testing.assert_allclose(logits_BC, golden["mc_logits"], rtol=0, atol=1e-10)


def test_greedy_decoding_equals_transformers(golden, x64):
    """Decodes with a cache in float64; the golden continuation was made without one."""
    decoder = decode.Decoder(Transformer(GOLDEN_CONFIG, 99), 24)
    greedy = decode.Sampling(temperature=0.0)
    params = jax.tree.map(jnp.asarray, golden_tree(golden, "param"))
    (new,) = decoder.generate(params, [golden["greedy"][0, :4]], 12, greedy)
    np.testing.assert_array_equal(new, golden["greedy"][0, 4:])


def test_loss_and_all_gradients_equal_transformers(golden, x64):
    model = Transformer(GOLDEN_CONFIG, 99)
    loss_fn = losses.make_lm_loss(model, is_train=False, chunk_elements=3 * 5 * 99)
    batch = LMBatch(jnp.asarray(golden["ids"]), jnp.full(3, 15), jnp.arange(3))
    (loss, _), gradients = jax.jit(jax.value_and_grad(loss_fn, has_aux=True))(
        golden_tree(golden, "param"), batch, jax.random.key(0)
    )
    np.testing.assert_allclose(loss, golden["loss"], rtol=0, atol=1e-10)
    expected = paths_of(golden_tree(golden, "grad"))
    found = paths_of(gradients)
    assert found.keys() == expected.keys()
    assert len(found) == 2 + 12 * 2
    for name, gradient in found.items():
        assert np.abs(expected[name]).max() > 1e-4, name
        assert np.abs(gradient - expected[name]).max() < 1e-10, name


def test_bfloat16_is_near_float64_with_float32_parameters_and_logits(golden):
    cfg = dataclasses.replace(GOLDEN_CONFIG, compute_dtype="bfloat16")
    model = Transformer(cfg, 99)
    fresh = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {np.dtype("float32")}
    params = jax.tree.map(np.float32, golden_tree(golden, "param"))
    ids = golden["ids"].astype(np.int32)
    h_NLD = jax.eval_shape(lambda: encode(model, params, ids))
    assert h_NLD.dtype == jnp.bfloat16
    logits = run(model, params, ids)
    assert logits.dtype == jnp.float32
    scale = np.abs(golden["logits"]).max()
    np.testing.assert_allclose(logits, golden["logits"], atol=0.03 * scale)


def test_paper_config_has_the_released_parameters():
    module = runpy.run_path(str(ROOT / "experiments/pretrain.py"))
    cfg = config.from_mapping(module["get_config"]("paper"))
    model = Transformer(mesh.resolve_dtype(cfg.model), cfg.data.vocab_size)
    shapes = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
    found = {name: leaf.shape for name, leaf in paths_of(shapes).items()}
    expected = {"embed/token": (40478, 768), "embed/position": (512, 768)}
    for layer in range(12):
        for part, shape in {
            "attention/qkv": (768, 2304),
            "attention/out": (768, 768),
            "mlp/in": (768, 3072),
            "mlp/out": (3072, 768),
        }.items():
            expected[f"block_{layer:02d}/{part}/kernel"] = shape
            expected[f"block_{layer:02d}/{part}/bias"] = shape[1:]
        for norm in ("norm_1", "norm_2"):
            expected[f"block_{layer:02d}/{norm}/scale"] = (768,)
            expected[f"block_{layer:02d}/{norm}/bias"] = (768,)
    assert found == expected
    assert found.keys() == set(names(12).values())
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 116_534_784


def test_initial_values_are_normal_zero_and_one():
    sizes = {"num_layers": 1, "width": 96, "mlp_width": 384, "context_length": 64}
    cfg = dataclasses.replace(TINY, **sizes)
    init = jax.jit(init_params, static_argnums=0)
    params = init(Transformer(cfg, 509), jax.random.key(3))
    for name, value in paths_of(params).items():
        if name.endswith("bias"):
            assert not np.any(value), name
        elif name.endswith("scale"):
            assert np.all(value == 1), name
        else:
            n = value.size
            assert abs(np.mean(value)) < 4 * 0.02 / np.sqrt(n), name
            assert abs(np.std(value) / 0.02 - 1) < 4 / np.sqrt(2 * n), name
            # The share of a normal beyond 2 sigma; a truncated normal has none.
            beyond = np.mean(np.abs(value) > 0.04)
            assert abs(beyond - 0.0455) < 4 * np.sqrt(0.0455 / n), name


@pytest.mark.parametrize("is_train", [False, True])
def test_a_token_changes_no_earlier_hidden_state_and_every_later_one(tiny, is_train):
    before_NL = tokens(2, 11)
    h_NLD = encode(*tiny, before_NL, is_train, jax.random.key(0))
    for place in range(11):
        after_NL = before_NL.copy()
        after_NL[:, place] = (after_NL[:, place] + 1) % VOCAB
        changed_NLD = encode(*tiny, after_NL, is_train, jax.random.key(0))
        is_same_NL = np.all(np.asarray(changed_NLD == h_NLD), axis=-1)
        assert is_same_NL[:, :place].all()
        assert not is_same_NL[:, place:].any()


def test_padding_never_changes_real_positions(tiny):
    real_NL = tokens(2, 7)
    first, second = (
        np.asarray(
            encode(*tiny, np.pad(real_NL, [(0, 0), (0, 4)], constant_values=fill))
        )
        for fill in (0, 22)
    )
    assert np.abs(first - second)[:, 7:].max(-1).min() > 1e-3
    np.testing.assert_array_equal(first[:, :7], second[:, :7])
    np.testing.assert_allclose(first[:, :7], encode(*tiny, real_NL), atol=1e-5)


def test_rows_longer_than_the_context_are_refused(tiny):
    with pytest.raises(ValueError, match=r"14 tokens; at most context_length=13; cut"):
        encode(*tiny, tokens(2, 14))
    full = jax.eval_shape(lambda: encode(*tiny, tokens(2, 13)))
    assert full.shape == (2, 13, 15)


def test_remat_recomputes_and_gives_the_same_gradients_under_dropout(make_params):
    batch = LMBatch(tokens(3, 12), np.full(3, 11), np.arange(3, dtype=np.uint32))
    cfg = dataclasses.replace(TINY, num_layers=1)
    found, programs = {}, {}
    for remat in (False, True):
        model = Transformer(cfg, VOCAB, remat)
        params = make_params(model)
        loss_fn = losses.make_lm_loss(model, is_train=True)
        traced = jax.jit(jax.grad(lambda p, k, f=loss_fn: f(p, batch, k)[0])).trace(
            params, jax.random.key(0)
        )
        programs[remat] = str(traced.jaxpr)
        compiled = traced.lower().compile()
        for key in (5, 6):
            gradients = compiled(params, jax.random.key(key))
            found[remat, key] = paths_of(jax.tree.map(np.asarray, gradients))
    assert "prevent_cse" not in programs[False]
    assert programs[True].count("prevent_cse") == 1
    for name, plain in found[False, 5].items():
        scale = np.abs(plain).max()
        assert np.abs(found[True, 6][name] - plain).max() > 1e-2 * scale, name
        assert np.abs(found[True, 5][name] - plain).max() < 1e-5 * scale, name


def test_training_without_dropout_equals_not_training(tiny):
    no_dropout = dataclasses.replace(
        TINY, embedding_dropout=0.0, residual_dropout=0.0, attention_dropout=0.0
    )
    model, params = tiny
    plain = encode(model, params, tokens(2, 11))
    with_dropout, without = (
        encode(Transformer(cfg, VOCAB), params, tokens(2, 11), True, jax.random.key(0))
        for cfg in (TINY, no_dropout)
    )
    assert np.abs(with_dropout - plain).max() > 0.1
    np.testing.assert_array_equal(without, plain)


def test_fused_attention_is_used_without_attention_dropout(monkeypatch, tiny):
    model, params = tiny
    calls, real = [], jax.nn.dot_product_attention

    def spy(*arguments, **settings):
        calls.append(settings["implementation"])
        return real(*arguments, **settings)

    monkeypatch.setattr(jax.nn, "dot_product_attention", spy)

    def count(is_train, **changes):
        calls.clear()
        cfg = dataclasses.replace(TINY, num_layers=1, **changes)

        def run(params, key):
            return Transformer(cfg, VOCAB).apply(
                {"params": params},
                tokens(2, 11),
                is_train,
                rngs={"dropout": key},
                method="encode",
            )

        jax.eval_shape(run, params, jax.random.key(0))
        return len(calls)

    assert count(False, attention="fused") == 1
    assert count(True, attention="fused", attention_dropout=0.0) == 1
    assert count(True, attention="fused") == 0
    assert count(False, attention="xla") == 0
    assert count(False) == 0  # auto, on a CPU
    fused = Transformer(dataclasses.replace(TINY, attention="fused"), VOCAB)
    plain = encode(model, params, tokens(2, 11))
    np.testing.assert_allclose(encode(fused, params, tokens(2, 11)), plain, atol=1e-4)


def test_every_site_of_every_layer_draws_its_own_mask(monkeypatch, make_params):
    cfg = dataclasses.replace(TINY, attention_dropout=0.25, residual_dropout=0.5)
    model = Transformer(cfg, VOCAB)
    calls, seeds = collections.Counter(), []

    def spy(x, rate, seed_N2):
        calls[x.shape, rate] += 1
        seeds.append(seed_N2)
        return x

    monkeypatch.setattr(dropout, "drop", spy)

    def spied(params, row_N):
        seeds.clear()
        rngs = {"dropout": jax.random.key(0)}
        arguments = {"params": params}, tokens(2, 11), True, row_N
        with jax.disable_jit():  # all layers would share one trace
            model.apply(*arguments, rngs=rngs, method="encode")
        return seeds

    params = make_params(model)
    found = np.stack(spied(params, jnp.array([4, 7], jnp.uint32)))
    assert calls == {((2, 3, 11, 11), 0.25): 2, ((2, 11, 15), 0.5): 4}
    assert len({tuple(seed) for seed in found.reshape(-1, 2).tolist()}) == 3 * 2 * 2
    turned = np.stack(spied(params, jnp.array([7, 4], jnp.uint32)))
    np.testing.assert_array_equal(turned, found[:, ::-1])


def test_decoding_with_a_cache_equals_encoding_the_whole_text(tiny):
    """Rows have different lengths; some positions lie beyond the cache."""
    model, params = tiny
    whole = tokens(3, 11)
    expected = encode(model, params, whole)

    @jax.jit
    def decode_step(params, *arguments):
        return model.apply({"params": params}, *arguments, method="decode_step")

    lengths = np.array([5, 2, 4])
    cache = model.apply({}, 3, 11, method="init_cache")
    # Short rows are padded; later tokens overwrite the padding in the cache.
    padded = np.where(np.arange(5)[None] < lengths[:, None], whole[:, :5], 1)
    h, cache = decode_step(params, padded, cache, np.zeros(3, np.int32))
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(h[row, :length], expected[row, :length], atol=1e-4)
    for step in range(9):
        position = lengths + step
        is_valid = position < 11
        new = whole[np.arange(3), np.minimum(position, 10)]
        h, cache = decode_step(params, new[:, None], cache, position)
        np.testing.assert_allclose(
            h[is_valid, 0], expected[is_valid, position[is_valid]], atol=1e-4
        )


def test_decoding_with_a_cache_in_bfloat16_is_as_accurate_as_encoding(tiny):
    model, params = tiny
    exact = np.asarray(encode(model, params, tokens(2, 11)))
    half = Transformer(dataclasses.replace(TINY, compute_dtype="bfloat16"), VOCAB)
    at_once = np.asarray(encode(half, params, tokens(2, 11)), np.float32)

    @jax.jit
    def one_by_one(params):
        cache, found = half.apply({}, 2, 11, method="init_cache"), []
        for position in range(11):
            h, cache = half.apply(
                {"params": params},
                tokens(2, 11)[:, position : position + 1],
                cache,
                np.full(2, position),
                method="decode_step",
            )
            found.append(h[:, 0])
        return jnp.stack(found, axis=1)

    cached = np.asarray(one_by_one(params), np.float32)
    error = np.abs(at_once - exact).max()
    assert 0 < error < 0.5
    assert np.abs(cached - exact).max() < 2 * error


def test_rows_are_numbered_from_zero_by_default(tiny):
    model, params = tiny

    @jax.jit
    def encode_rows(row_N):
        rngs = {"dropout": jax.random.key(0)}
        return model.apply(
            {"params": params}, tokens(2, 11), True, row_N, rngs=rngs, method="encode"
        )

    unnumbered = encode(model, params, tokens(2, 11), True, jax.random.key(0))
    in_order, reversed_order = (
        encode_rows(jnp.array(row_N, jnp.uint32)) for row_N in ((0, 1), (1, 0))
    )
    np.testing.assert_allclose(unnumbered, in_order, atol=1e-5)
    assert np.abs(reversed_order - in_order).max() > 0.1
