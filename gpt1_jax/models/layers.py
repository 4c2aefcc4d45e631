"""GELU and layer norm, with gradients written by hand.

Both are bound by memory on accelerators. For the gradient they keep little more than
their input, where JAX would keep several arrays of its size.
"""

import math

import jax
import jax.numpy as jnp

_EPSILON = 1e-5
_GELU_SCALE, _GELU_CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """GELU in its tanh form, x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.

    Computed in float32 or wider, as x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)).
    Source: finetune-transformer-lm train.py, `gelu`.
    """
    return _gelu(x)[0]


def _gelu(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the result and the residual for the gradient."""
    exact = _widened(x)
    return (exact * _gate(exact)).astype(x.dtype), x


def _gate(x: jax.Array) -> jax.Array:
    """Returns GELU(x) / x."""
    return jax.nn.sigmoid(_GELU_SCALE * x * (1.0 + _GELU_CUBIC * jnp.square(x)))


def _gelu_backward(x: jax.Array, d_y: jax.Array) -> tuple[jax.Array]:
    """Returns the gradient of x; NaN where x^2 overflows, |x| > 1.8e19 in float32."""
    exact = _widened(x)
    gate = _gate(exact)
    slope = _GELU_SCALE * (1.0 + 3.0 * _GELU_CUBIC * jnp.square(exact))
    # The order matters: where `exact` is huge, a factor before it is 0.
    d_x = gate + slope * (1.0 - gate) * gate * exact
    return ((_widened(d_y) * d_x).astype(x.dtype),)


gelu.defvjp(_gelu, _gelu_backward)


@jax.custom_vjp
def layer_norm(x_NLD: jax.Array, scale_D: jax.Array, bias_D: jax.Array) -> jax.Array:
    """scale * (x - mean) / sqrt(var + 1e-5) + bias, over the last axis.

    Computed in float32 or wider.
    Source: finetune-transformer-lm train.py, `norm`.
    Differs: in bfloat16 the variance is E[x^2] - E[x]^2, in one pass; its error is far
    smaller than the rounding of x itself.
    """
    return _layer_norm(x_NLD, scale_D, bias_D)[0]


def _layer_norm(
    x_NLD: jax.Array, scale_D: jax.Array, bias_D: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Returns the result and the residuals for the gradient."""
    exact_NLD = _widened(x_NLD)
    mean_NL1 = exact_NLD.mean(-1, keepdims=True)
    if x_NLD.dtype == jnp.bfloat16:
        square_NL1 = jnp.square(exact_NLD).mean(-1, keepdims=True)
        var_NL1 = jnp.maximum(square_NL1 - jnp.square(mean_NL1), 0.0)
    else:
        var_NL1 = jnp.square(exact_NLD - mean_NL1).mean(-1, keepdims=True)
    inv_std_NL1 = jax.lax.rsqrt(var_NL1 + _EPSILON)
    normed_NLD = (exact_NLD - mean_NL1) * inv_std_NL1
    y_NLD = (scale_D[None, None] * normed_NLD + bias_D[None, None]).astype(x_NLD.dtype)
    return y_NLD, (x_NLD, mean_NL1, inv_std_NL1, scale_D)


def _layer_norm_backward(
    saved: tuple[jax.Array, ...], d_y_NLD: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the gradients of x, scale and bias."""
    x_NLD, mean_NL1, inv_std_NL1, scale_D = saved
    normed_NLD = (_widened(x_NLD) - mean_NL1) * inv_std_NL1
    d_y_NLD = _widened(d_y_NLD)
    d_normed_NLD = d_y_NLD * scale_D[None, None]
    mean_product_NL1 = (d_normed_NLD * normed_NLD).mean(-1, keepdims=True)
    d_x_NLD = inv_std_NL1 * (
        d_normed_NLD
        - d_normed_NLD.mean(-1, keepdims=True)
        - normed_NLD * mean_product_NL1
    )
    return (
        d_x_NLD.astype(x_NLD.dtype),
        (d_y_NLD * normed_NLD).sum((0, 1)).astype(scale_D.dtype),
        d_y_NLD.sum((0, 1)).astype(scale_D.dtype),
    )


layer_norm.defvjp(_layer_norm, _layer_norm_backward)


def _widened(x: jax.Array) -> jax.Array:
    """Returns `x` in float32, or unchanged if it is float64."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
