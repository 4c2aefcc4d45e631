"""The language-modelling loss beside a float64 oracle that holds all logits."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpt1_jax.models import heads

N, L, D, V = 3, 7, 5, 11
ONE_CHUNK = 1 << 22


def inputs(N=N, L=L, scale=1.0, dtype=np.float32):
    rng = np.random.default_rng(0)
    h_NLD = (scale * rng.standard_normal((N, L, D))).astype(dtype)
    table_VD = rng.standard_normal((V, D)).astype(dtype)
    targets_NL = rng.integers(0, V, (N, L)).astype(np.int32)
    weight_NL = (rng.integers(0, 3, (N, L)) / 2).astype(dtype)
    assert not weight_NL.all()
    return h_NLD, table_VD, targets_NL, weight_NL


def oracle(h_NLD, table_VD, targets_NL, weight_NL):
    """Returns the sum and its gradients in h and table, a position at a time."""
    h_NLD, table_VD = h_NLD.astype(np.float64), table_VD.astype(np.float64)
    total, d_h_NLD, d_table_VD = 0.0, np.zeros_like(h_NLD), np.zeros_like(table_VD)
    for n, i in np.ndindex(targets_NL.shape):
        logits_V = table_VD @ h_NLD[n, i]
        logp_V = logits_V - logits_V.max()
        logp_V -= np.log(np.exp(logp_V).sum())
        target, weight = targets_NL[n, i], weight_NL[n, i]
        total -= weight * logp_V[target]
        d_logits_V = weight * (np.exp(logp_V) - (np.arange(len(logp_V)) == target))
        d_h_NLD[n, i] = d_logits_V @ table_VD
        d_table_VD += np.outer(d_logits_V, h_NLD[n, i])
    return total, d_h_NLD, d_table_VD


def value_and_gradients(arrays, chunk_elements, scale=1.0):
    def loss(h_NLD, table_VD, targets_NL, weight_NL):
        return scale * heads.nll_sum(
            h_NLD, table_VD, targets_NL, weight_NL, chunk_elements
        )

    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(*arrays)
    return value, *gradients


def jitted_loss(chunk_elements):
    loss = functools.partial(heads.nll_sum, chunk_elements=chunk_elements)
    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))


def large_shapes(dtype):
    N, L, D, V = 2, 64, 8, 1031
    return (
        jax.ShapeDtypeStruct((N, L, D), dtype),
        jax.ShapeDtypeStruct((V, D), np.float32),
        jax.ShapeDtypeStruct((N, L), np.int32),
        jax.ShapeDtypeStruct((N, L), np.float32),
    )


# L = 7 is prime: 1 chunk, 3 of which the last is padded, or 7. L = 12 has even splits.
@pytest.mark.parametrize(
    ("length", "chunk_elements"),
    [(7, ONE_CHUNK), (7, 100), (7, 1), (12, 200), (12, 150), (12, 99), (12, 33)],
)
def test_value_and_gradients_equal_the_oracle(length, chunk_elements):
    with jax.enable_x64(True):
        arrays = inputs(L=length, dtype=np.float64)
        expected = oracle(*arrays)
        found = value_and_gradients(arrays, chunk_elements, scale=0.5)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, 0.5 * theirs, rtol=1e-12, atol=1e-13)
        # Without a gradient, other code computes the sum.
        total = heads.nll_sum(*arrays, chunk_elements)
        np.testing.assert_allclose(total, expected[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("length", "chunk_elements", "expected"),
    [
        (509, N * 127 * V, 5),  # 4 would hold 508 positions
        (509, N * 200 * V, 3),
        (512, N * 103 * V, 8),  # 5 are needed; 8 is the next divisor
        (7, 1, 7),
    ],
)
def test_a_prime_number_of_positions_needs_few_chunks(length, chunk_elements, expected):
    arrays = inputs(L=length)
    program = str(jax.make_jaxpr(lambda *a: heads.nll_sum(*a, chunk_elements))(*arrays))
    assert re.findall(r"\blength=(\d+)", program) == [str(expected)]


@pytest.mark.parametrize("chunk_elements", [ONE_CHUNK, 1])
def test_float32_keeps_float32_accuracy(chunk_elements):
    arrays = inputs()
    found = value_and_gradients(arrays, chunk_elements)
    for ours, theirs in zip(found, oracle(*arrays), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("chunk_elements", [ONE_CHUNK, 1])
def test_extreme_logits_neither_overflow_nor_lose_the_sum(chunk_elements):
    arrays = inputs(scale=1000.0)
    expected = oracle(*arrays)
    assert expected[0] > 1e4
    for ours, theirs in zip(
        value_and_gradients(arrays, chunk_elements), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-2)


def test_bfloat16_values_are_exact_and_gradients_as_accurate_as_their_logits():
    h_NLD, table_VD, targets_NL, weight_NL = inputs()
    h_NLD, table_VD = jnp.bfloat16(h_NLD), jnp.bfloat16(table_VD)  # exact from here on
    exact = (np.float32(h_NLD), np.float32(table_VD), targets_NL, weight_NL)
    arrays = (h_NLD, exact[1], targets_NL, weight_NL)
    total, d_h, d_table = value_and_gradients(arrays, ONE_CHUNK)
    assert (total.dtype, d_h.dtype, d_table.dtype) == ("float32", "bfloat16", "float32")
    expected = oracle(*exact)
    # Without gradients, as in evaluation, logits are float32.
    value = jax.jit(heads.nll_sum, static_argnums=4)(*arrays, ONE_CHUNK)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    assert 1e-5 < abs(total / expected[0] - 1) < 1e-3
    np.testing.assert_allclose(d_h.astype(np.float32), expected[1], atol=0.03)
    np.testing.assert_allclose(d_table, expected[2], atol=0.05)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_in_bfloat16_no_product_of_the_training_loss_gives_float32_logits(platform):
    """StableHLO gives the result type of each product."""
    program = jax.export.export(jitted_loss(ONE_CHUNK), platforms=[platform])(
        *large_shapes(jnp.bfloat16)
    )
    products = re.findall(
        r"stablehlo.dot_general .*-> tensor<([\dx]+)x(\w+)>", program.mlir_module()
    )
    P = 1152  # V padded to whole tiles
    logits, d_h, d_table = f"2x64x{P}", "2x64x8", f"8x{P}"
    expected = {(logits, "bf16"), (d_h, "bf16"), (d_table, "f32")}
    assert set(products) == expected


def test_positions_of_weight_zero_have_no_gradient():
    h_NLD, table_VD, targets_NL, weight_NL = inputs()
    _, d_h_NLD, _ = value_and_gradients((h_NLD, table_VD, targets_NL, weight_NL), 1)
    is_zero_NL = np.abs(d_h_NLD).max(-1) == 0
    np.testing.assert_array_equal(is_zero_NL, weight_NL == 0)


def test_token_nll_equals_the_oracle():
    h_NLD, table_VD, targets_NL, _ = inputs(scale=30.0)
    logits_NLV = np.einsum("nld,vd->nlv", h_NLD, table_VD)
    found_NL = jax.jit(heads.token_nll)(logits_NLV, targets_NL)
    for n, i in np.ndindex(targets_NL.shape):
        logits_V = logits_NLV[n, i].astype(np.float64)
        exp_V = np.exp(logits_V - logits_V.max())
        expected = -np.log(exp_V[targets_NL[n, i]] / exp_V.sum())
        np.testing.assert_allclose(found_NL[n, i], expected, rtol=1e-5, atol=1e-4)


def largest_array(chunk_elements: int) -> int:
    """Returns the size of the largest array in the compiled loss and gradient."""
    lowered = jitted_loss(chunk_elements).lower(*large_shapes(np.float32))
    program = lowered.compile().as_text()
    found = re.findall(r"\b(?:f32|pred|s32)\[([\d,]+)\]", program)
    return max(math.prod(map(int, dims.split(","))) for dims in found)


def test_compiled_loss_never_holds_all_logits():
    all_logits = 2 * 64 * 1031
    assert largest_array(ONE_CHUNK) >= all_logits
    assert largest_array(all_logits // 8) <= all_logits // 8
