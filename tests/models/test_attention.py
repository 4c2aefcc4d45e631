"""Causal attention beside a case solved by hand and a slow oracle."""

import types

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from gpt1_jax.config import ModelConfig
from gpt1_jax.models import attention, blocked_attention, dropout, flash_attention
from gpt1_jax.models.attention import causal_attention

N, L, H, K = 2, 5, 3, 7


def random_qkv(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((N, L, H, K), np.float32) for _ in range(3)]


def oracle(q_NLHK, k_NMHK, v_NMHK) -> np.ndarray:
    """Computes one output at a time, in float64."""
    q_NLHK, k_NMHK, v_NMHK = (x.astype(np.float64) for x in (q_NLHK, k_NMHK, v_NMHK))
    att_NLHK = np.zeros_like(q_NLHK)
    for n in range(N):
        for h in range(H):
            for i in range(L):
                logits = [q_NLHK[n, i, h] @ k_NMHK[n, j, h] for j in range(i + 1)]
                weights = np.exp(np.array(logits) / np.sqrt(K))
                weights /= weights.sum()
                att_NLHK[n, i, h] = sum(
                    weight * v_NMHK[n, j, h] for j, weight in enumerate(weights)
                )
    return att_NLHK


def test_two_positions_by_hand():
    # K = 4: the logits at position 1 are 0 and 2 log 3 / sqrt(4), the weights 1/4, 3/4.
    q = jnp.array([[9.0, 0, 0, 0], [2.0, 0, 0, 0]])
    k = jnp.array([[0.0, 5, 0, 0], [np.log(3.0), 0, 5, 0]])
    v = jnp.array([[8.0, 0, 4, 1], [0.0, 4, 4, 2]])
    att = causal_attention(*(x[None, :, None] for x in (q, k, v)))[0, :, 0]
    np.testing.assert_allclose(att, [[8, 0, 4, 1], [2, 3, 4, 1.75]], rtol=1e-6)


@pytest.mark.parametrize("name", ["xla", "blocked", "fused"])
def test_attention_equals_the_slow_oracle(name):
    q, k, v = random_qkv()
    found = causal_attention(q, k, v, implementation=name)
    np.testing.assert_allclose(found, oracle(q, k, v), atol=2e-6)


@pytest.fixture
def fused_calls(monkeypatch) -> list[str]:
    """Returns the implementation named in each call of JAX's attention."""
    calls, real = [], jax.nn.dot_product_attention

    def spy(*arguments, implementation, **settings):
        calls.append(implementation)
        return real(*arguments, implementation="xla", **settings)

    monkeypatch.setattr(jax.nn, "dot_product_attention", spy)
    return calls


def test_gradients_of_xla_and_fused_are_equal(fused_calls):
    weight = np.random.default_rng(1).standard_normal((N, L, H, K))

    def total(qkv, name):
        return (causal_attention(*qkv, implementation=name) * weight).sum()

    plain, fused = (jax.grad(total)(random_qkv(), name) for name in ("xla", "fused"))
    assert len(fused_calls) == 1
    for ours, theirs in zip(plain, fused, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-6)
        assert np.abs(ours).max() > 0.1


@pytest.mark.parametrize(
    ("backend", "capability", "dtype", "width", "name", "is_kernel"),
    [
        ("gpu", "9.0", "bfloat16", 64, "auto", True),
        ("gpu", "8.0", "float16", 32, "fused", True),
        ("gpu", "9.0", "bfloat16", 64, "xla", False),
        ("gpu", "9.0", "float32", 64, "auto", False),
        ("gpu", "9.0", "bfloat16", 7, "auto", False),
        ("gpu", "7.5", "bfloat16", 64, "auto", False),
        ("gpu", "gfx90a", "bfloat16", 64, "fused", False),
        ("cpu", "", "bfloat16", 64, "fused", False),
    ],
)
def test_the_fused_kernel_computes_dropout_where_it_is_supported(
    monkeypatch, fused_calls, backend, capability, dtype, width, name, is_kernel
):
    seen = []

    def spy(qkv_NL3HK, seed_N2, rate):
        seen.append((seed_N2.shape, seed_N2.dtype, rate))
        return qkv_NL3HK[:, :, 2]

    monkeypatch.setattr(flash_attention, "flash_attention", spy)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    device = types.SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(attention.jax, "devices", lambda: [device])

    def attend(qkv, seed_N2):
        drop = dropout.Dropout(0.25, seed_N2)
        return attention.self_attention(qkv, drop, implementation=name)

    qkv = jax.ShapeDtypeStruct((N, L, 3, H, width), jnp.dtype(dtype))
    seed_N2 = jax.ShapeDtypeStruct((N, 2), jnp.uint32)
    assert jax.eval_shape(attend, qkv, seed_N2).shape == (N, L, H, width)
    assert seen == ([((N, 2), "uint32", 0.25)] if is_kernel else [])
    assert fused_calls == []


@pytest.mark.parametrize("rate", [0.0, 0.25])
@pytest.mark.parametrize(
    ("backend", "name", "length", "is_blocked"),
    [
        ("cpu", "auto", 384, True),
        ("cpu", "auto", 383, False),
        ("cpu", "xla", 512, False),
        ("cpu", "blocked", 16, True),
        ("gpu", "auto", 512, False),
        ("tpu", "auto", 512, False),
        ("tpu", "blocked", 512, True),
    ],
)
def test_auto_is_blocked_for_long_texts_on_cpus(
    monkeypatch, backend, name, length, is_blocked, rate
):
    seen = []

    def spy(q_NLHK, k_NLHK, v_NLHK, seed_N2, rate):
        seen.append((seed_N2 is None, rate))
        return v_NLHK

    monkeypatch.setattr(blocked_attention, "blocked_attention", spy)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    seed_N2 = jnp.zeros((N, 2), jnp.uint32)
    drop = dropout.Dropout(rate, seed_N2) if rate else None
    q = jax.ShapeDtypeStruct((N, length, H, K), jnp.float32)
    jax.eval_shape(lambda q: causal_attention(q, q, q, drop, implementation=name), q)
    assert seen == ([(not rate, rate)] if is_blocked else [])


def test_symbolic_sizes_use_the_reference():
    export = jax.export.export(
        jax.jit(lambda q: causal_attention(q, q, q, implementation="blocked")),
        platforms=("cpu", "cuda", "tpu"),
    )
    for shape in (f"n,8,{H},{K}", f"2,l,{H},{K}", f"2,8,{H},{K}"):
        sizes = jax.export.symbolic_shape(shape)
        program = export(jax.ShapeDtypeStruct(sizes, jnp.float32)).mlir_module()
        assert ("stablehlo.while" in program) == shape.startswith("2,8")


def test_fewer_queries_than_keys_use_the_reference():
    q, k, v = random_qkv()
    found = causal_attention(q[:, :2], k, v, implementation="blocked")
    np.testing.assert_allclose(found, oracle(q, k, v)[:, :2], atol=2e-6)


def test_self_attention_equals_attention_of_separate_arrays():
    qkv = random_qkv()
    seeds = dropout.row_seeds(jax.random.key(0), jnp.arange(N, dtype=jnp.uint32))
    together = jnp.stack(qkv, axis=2)
    for drop in (None, dropout.Dropout(0.25, seeds)):
        found = attention.self_attention(together, drop)
        np.testing.assert_array_equal(found, causal_attention(*qkv, drop))


@pytest.mark.parametrize(
    ("backend", "changes", "expected"),
    [
        ("gpu", {}, ""),
        ("gpu", {"num_heads": 6}, "kernel with dropout for heads of width 128 in bf"),
        (
            "gpu",
            {"compute_dtype": "float32"},
            "for heads of width 64 in float32; NVIDIA GPUs have",
        ),
        ("gpu", {"num_heads": 6, "attention": "xla"}, ""),
        ("gpu", {"num_heads": 6, "attention_dropout": 0.0}, ""),
        ("cpu", {}, ""),
        (
            "cpu",
            {"attention": "fused"},
            "this machine has no fused attention kernel with",
        ),
    ],
)
def test_missing_kernel_is_reported(monkeypatch, backend, changes, expected):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    device = types.SimpleNamespace(compute_capability="9.0")
    monkeypatch.setattr(attention.jax, "devices", lambda: [device])
    cfg = ModelConfig(**{"compute_dtype": "bfloat16"} | changes)
    found = attention.missing_kernel(cfg)
    assert (expected in found) if expected else (found == "")


def test_decoding_and_float64_use_the_reference(fused_calls):
    q, k, v = random_qkv()
    for name in ("fused", "blocked"):
        last = causal_attention(
            q[:, -1:], k, v, None, jnp.full((N, 1), L - 1), implementation=name
        )
        np.testing.assert_allclose(last, oracle(q, k, v)[:, -1:], atol=2e-6)
    with jax.enable_x64(True):
        exact = [np.float64(x) for x in (q, k, v)]
        found = causal_attention(*map(jnp.asarray, exact), implementation="fused")
        np.testing.assert_allclose(found, oracle(*exact), atol=1e-12)
    assert fused_calls == []


@pytest.mark.parametrize(
    ("backend", "capability", "dtype", "name", "expected"),
    [
        ("cpu", "", "bfloat16", "auto", []),
        ("tpu", "", "bfloat16", "auto", []),
        ("gpu", "9.0", "bfloat16", "auto", ["cudnn"]),
        ("gpu", "9.0", "bfloat16", "xla", []),
        ("gpu", "10.3", "bfloat16", "fused", ["cudnn"]),
        ("gpu", "9.0", "float32", "auto", ["xla"]),
        ("gpu", "7.5", "bfloat16", "auto", ["xla"]),
        ("gpu", "gfx90a", "bfloat16", "auto", ["xla"]),
    ],
)
def test_auto_is_cudnn_on_gpus_that_support_it(
    monkeypatch, fused_calls, backend, capability, dtype, name, expected
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    device = types.SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(attention.jax, "devices", lambda: [device])
    for width in (8, 7):  # cuDNN supports multiples of 8 only
        shape = jax.ShapeDtypeStruct((N, L, H, width), jnp.dtype(dtype))
        jax.eval_shape(lambda q: causal_attention(q, q, q, implementation=name), shape)
    assert fused_calls == (expected and [*expected, "xla"])


def test_cudnn_attention_and_its_gradient_lower_for_cuda(monkeypatch):
    """Only the check of the library version would need a GPU; it is replaced."""
    stablehlo = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    version = types.SimpleNamespace(cudnn_get_version=lambda: 91000)
    monkeypatch.setattr(stablehlo, "cuda_versions", version)
    monkeypatch.setattr(attention, "_cudnn_supports", lambda q_NLHK: True)

    def total(q):
        return causal_attention(q, q, q, implementation="fused").sum()

    shape = jax.ShapeDtypeStruct((2, 16, 3, 64), jnp.bfloat16)
    traced = jax.jit(jax.grad(total)).trace(shape)
    program = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "__cudnn$fmhaSoftmax" in program
    assert "__cudnn$fmhaSoftmaxBackward" in program


def test_extreme_logits_neither_overflow_nor_reach_masked_positions():
    q, k, v = random_qkv()
    q *= 1e6
    k *= np.float32(1e3)  # logits near 1e9 / sqrt(K), where a mask of -1e9 still holds
    att = causal_attention(q, k, v)
    assert np.isfinite(att).all()
    np.testing.assert_allclose(att[:, 0], v[:, 0], rtol=1e-6)


def test_dropout_acts_on_normalised_weights_in_float32():
    seen = []

    def halve_first_head(att_NHLM):
        seen.append(att_NHLM)
        return att_NHLM.at[:, 0].multiply(0.5)

    q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in random_qkv())
    whole = causal_attention(q, k, v)
    halved = causal_attention(q, k, v, halve_first_head)
    assert halved.dtype == jnp.bfloat16
    (att_NHLM,) = seen
    assert att_NHLM.shape == (N, H, L, L)
    assert att_NHLM.dtype == jnp.float32
    np.testing.assert_allclose(att_NHLM.sum(-1), 1.0, rtol=1e-6)
    assert not np.triu(att_NHLM, 1).any()
    np.testing.assert_array_equal(halved[:, :, 0], whole[:, :, 0] / 2)
    np.testing.assert_array_equal(halved[:, :, 1:], whole[:, :, 1:])
