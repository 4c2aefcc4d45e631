"""GELU and layer norm beside plain formulas in float64, differentiated by JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpt1_jax.models import layers

N, L, D = 3, 5, 37


def gelu(x):
    return 0.5 * x * (1 + jnp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def layer_norm(x, scale, bias):
    centred = x - x.mean(-1, keepdims=True)
    var = (centred**2).mean(-1, keepdims=True)
    return scale[None, None] * centred / jnp.sqrt(var + 1e-5) + bias[None, None]


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def norm_arguments() -> tuple[jax.Array, ...]:
    """Returns x, whose mean is large beside its deviation; scale; bias."""
    return normal(0, N, L, D) + 5.0, normal(1, D) + 2.0, normal(2, D)


def value_and_gradients(function, arguments, weight):
    def total(*arguments):
        return (function(*arguments) * weight).sum()

    gradients = jax.grad(total, tuple(range(len(arguments))))(*arguments)
    return function(*arguments), *gradients


# The allowed rounding error, as a share of the largest value.
@pytest.mark.parametrize(
    ("dtype", "allowed"), [("float64", 1e-13), ("float32", 2e-6), ("bfloat16", 0.01)]
)
@pytest.mark.parametrize(
    ("ours", "exact", "make"),
    [
        (layers.gelu, gelu, lambda: (4 * normal(0, N, L, D),)),
        (layers.layer_norm, layer_norm, norm_arguments),
    ],
)
def test_values_and_gradients_equal_the_formulas(ours, exact, make, dtype, allowed):
    with jax.enable_x64(True):
        x, *rest = make()
        x, weight = x.astype(dtype), normal(3, N, L, D).astype(dtype)
        rest = [y.astype("float64" if dtype == "float64" else "float32") for y in rest]
        found = value_and_gradients(ours, (x, *rest), weight)
        wide = [jnp.asarray(y, jnp.float64) for y in (x, *rest)]
        expected = value_and_gradients(exact, wide, weight.astype(jnp.float64))
        dtypes = [dtype, dtype, *(y.dtype for y in rest)]
        for array, number, named in zip(found, expected, dtypes, strict=True):
            assert array.dtype == named
            error = np.abs(array.astype(np.float64) - number).max()
            assert np.abs(number).max() > 0.1
            assert error < allowed * np.abs(number).max()


def test_gelu_far_from_zero_is_the_identity_or_zero():
    x = jnp.array([-1e18, -1e4, -50.0, 0.0, 50.0, 1e4, 1e18], jnp.float32)
    y, slope = jax.vmap(jax.value_and_grad(layers.gelu))(x)
    np.testing.assert_array_equal(y, jnp.maximum(x, 0))
    np.testing.assert_array_equal(slope, [0, 0, 0, 0.5, 1, 1, 1])


def test_layer_norm_in_float32_is_accurate_with_a_large_mean():
    x, scale, bias = (y.astype(jnp.float32) for y in norm_arguments())
    far = x + 1000.0
    found = layers.layer_norm(far, scale, bias)
    with jax.enable_x64(True):
        exact = (jnp.asarray(y, jnp.float64) for y in (far, scale, bias))
        expected = layer_norm(*exact)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_constant_rows_are_normed_to_the_bias_in_bfloat16_too():
    width = 1000
    x = jnp.linspace(1e3, 2e3, 64)[:, None, None] * jnp.ones((1, 1, width))
    x = x.astype(jnp.bfloat16)
    wide = x.astype(jnp.float32)
    # For some rows, rounding makes the variance negative.
    assert ((wide**2).mean(-1) - wide.mean(-1) ** 2).min() < -1e-5
    found = layers.layer_norm(x, jnp.ones(width), jnp.zeros(width))
    assert np.isfinite(found.astype(jnp.float32)).all()


def test_residuals_are_the_input_and_two_numbers_per_row():
    x, scale, bias = (y.astype(jnp.bfloat16) for y in norm_arguments())
    _, pull = jax.vjp(layers.gelu, x)
    kept = [y for y in jax.tree.leaves(pull) if hasattr(y, "shape")]
    assert sum(y.nbytes for y in kept) == x.nbytes
    _, pull = jax.vjp(layers.layer_norm, x, scale, bias)
    kept = [y for y in jax.tree.leaves(pull) if hasattr(y, "shape")]
    assert sum(y.nbytes for y in kept) == x.nbytes + 2 * 4 * N * L + scale.nbytes
