"""Attention without all weights in memory, `blocked` and the kernels, beside `xla`.

The kernels run in Pallas's interpreter on CPUs.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpt1_jax.distributed import mesh
from gpt1_jax.models import attention, blocked_attention, dropout, flash_attention
from tests import processes

N, H, K = 4, 6, 16


def inputs(L: int) -> tuple[list[jax.Array], jax.Array, jax.Array]:
    """Returns q, k and v, the rows' seeds, and the cotangent of the result."""
    rng = np.random.default_rng(L)
    *qkv, weight = (
        jnp.asarray(rng.standard_normal((N, L, H, K)), jnp.float32) for _ in range(4)
    )
    row_N = jnp.arange(N, dtype=jnp.uint32)
    return qkv, dropout.row_seeds(jax.random.key(3), row_N), weight


def kernels(q, k, v, seed_N2, rate) -> jax.Array:
    qkv_NL3HK = jnp.stack([q, k, v], axis=2)
    return flash_attention.flash_attention(qkv_NL3HK, seed_N2, rate, True)


def by_name(name: str, q, k, v, seed_N2, rate) -> jax.Array:
    drop = dropout.Dropout(rate, seed_N2) if rate else None
    return attention.causal_attention(q, k, v, drop, implementation=name)


reference = functools.partial(by_name, "xla")
blocked = functools.partial(by_name, "blocked")
IN_BLOCKS = {"blocked": blocked, "kernels": kernels}
each = pytest.mark.parametrize("attend", IN_BLOCKS.values(), ids=IN_BLOCKS.keys())


@functools.partial(jax.jit, static_argnums=(0, 4))
def value_and_gradients(attend, qkv, seed_N2, weight, rate) -> list[jax.Array]:
    att, backward = jax.vjp(lambda qkv: attend(*qkv, seed_N2, rate), qkv)
    return [att, *backward(weight.astype(att.dtype))[0]]


# Shorter than a block, no multiple of one, several whole ones.
@each
@pytest.mark.parametrize(
    ("L", "rate"), [(5, 0.3), (100, 0.3), (136, 0.99), (256, 0.1), (136, 0.0)]
)
def test_values_and_gradients_equal_the_reference(attend, L, rate):
    qkv, seed_N2, weight = inputs(L)
    found = value_and_gradients(attend, qkv, seed_N2, weight, rate)
    expected = value_and_gradients(reference, qkv, seed_N2, weight, rate)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
        assert np.abs(theirs).max() > 0.1


@each
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_as_accurate_as_the_reference(attend, dtype):
    qkv, seed_N2, weight = inputs(136)
    half = [x.astype(dtype) for x in qkv]
    rest = (seed_N2, weight, 0.1)
    exact = [x.astype(jnp.float32) for x in half]
    exact = value_and_gradients(reference, exact, *rest)
    ours = value_and_gradients(attend, half, *rest)
    usual = value_and_gradients(reference, half, *rest)
    for found, plain, expected in zip(ours, usual, exact, strict=True):
        assert found.dtype == dtype
        error, allowed = (
            np.linalg.norm(x.astype(np.float32) - expected) / np.linalg.norm(expected)
            for x in (found, plain)
        )
        assert 0 < error < 1.5 * allowed < 0.02


def test_blocked_is_exact_in_float64():
    with jax.enable_x64(True):
        qkv, seed_N2, weight = inputs(136)
        qkv = [x.astype(jnp.float64) for x in qkv]
        found = value_and_gradients(blocked, qkv, seed_N2, weight, 0.1)
        expected = value_and_gradients(reference, qkv, seed_N2, weight, 0.1)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


# Groups of one head, two heads and all six.
@pytest.mark.parametrize(
    ("max_weights", "heads"), [(1, 1), (N * 128 * 300 * 2, 2), (2**30, H)]
)
def test_blocked_never_holds_all_weights_of_a_head(monkeypatch, max_weights, heads):
    monkeypatch.setattr(blocked_attention, "_MAX_WEIGHTS", max_weights)
    L = 300
    *given, weight = inputs(L)

    def compiled(attend):
        def total(qkv, seed_N2):
            return (attend(*qkv, seed_N2, 0.1) * weight).sum()

        return jax.jit(jax.grad(total)).lower(*given).compile()

    expected, found = compiled(reference), compiled(blocked)
    assert f"{L},{L}]" in expected.as_text()
    assert f"{L},{L}]" not in found.as_text()
    # A block has the keys up to its last query.
    for queries, keys in ((128, 128), (128, 256), (44, 300)):
        assert f"[{N},{heads},{queries},{keys}]" in found.as_text()
    for ours, theirs in zip(found(*given), expected(*given), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_long_texts_have_longer_blocks_instead_of_more():
    def products(L: int) -> int:
        q = jax.ShapeDtypeStruct((1, L, 2, 8), jnp.float32)
        attend = functools.partial(blocked, seed_N2=None, rate=0.0)
        return str(jax.make_jaxpr(attend)(q, q, q)).count("dot_general")

    assert products(256) == 2 * 2
    # A mask of this size would exceed 32-bit indices; without dropout there is none.
    assert products(2**16) == 2 * 8


@each
def test_gradients_pass_through_remat_and_scan(attend):
    """Training with remat and accumulation differentiates attention like this."""
    qkv, seed_N2, weight = inputs(20)

    def gradients(attend):
        attend_anew = jax.checkpoint(lambda *arrays: attend(*arrays, 0.3))

        def total(qkv):
            def add(total, one):
                *arrays, own_weight = (x[None] for x in one)
                return total + (attend_anew(*arrays) * own_weight).sum(), None

            return jax.lax.scan(add, 0.0, (*qkv, seed_N2, weight))[0]

        return jax.jit(jax.grad(total))(qkv)

    for ours, theirs in zip(gradients(attend), gradients(reference), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert np.abs(theirs).max() > 0.1


@each
def test_extreme_logits_neither_overflow_nor_reach_masked_positions(attend):
    (q, k, v), seed_N2, _ = inputs(100)
    att = attend(q * 1e6, k * 1e2, v, seed_N2, 0.0)
    assert np.isfinite(att).all()
    np.testing.assert_allclose(att[:, 0], v[:, 0], rtol=1e-6)


def test_devices_exchange_no_rows():
    processes.run_on_devices(__file__, 4)


def check_rows_of_devices(attend, L: int) -> None:
    """Raises AssertionError if devices exchange rows, or find other gradients."""
    devices = mesh.make_mesh()
    assert devices.size == 4
    qkv, seed_N2, weight = inputs(L)

    def gradients(attend, *given):
        return value_and_gradients(attend, *given, 0.3)[1:]

    given = (qkv, seed_N2, weight)
    shared = jax.device_put(given, mesh.batch_sharding(devices))
    compiled = jax.jit(functools.partial(gradients, attend)).lower(*shared).compile()
    program = compiled.as_text()
    assert "all-gather" not in program
    assert "all-reduce" not in program
    expected = gradients(reference, *given)
    for ours, theirs in zip(compiled(*shared), expected, strict=True):
        assert ours.sharding.is_equivalent_to(mesh.batch_sharding(devices), 4)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


if __name__ == "__main__":
    check_rows_of_devices(kernels, 20)
    # Three blocks of six groups.
    blocked_attention._MAX_WEIGHTS = 1
    check_rows_of_devices(blocked, 300)
