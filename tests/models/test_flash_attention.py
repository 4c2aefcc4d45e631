"""The kernels, interpreted on a CPU, beside attention written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gpt1_jax.models import attention, dropout, flash_attention
from gpt1_jax.training import mesh
from tests import processes

N, H, K = 4, 3, 16


def inputs(L: int) -> tuple[list[jax.Array], jax.Array, jax.Array]:
    """q, k and v; the rows' seeds; how much each result weighs."""
    rng = np.random.default_rng(L)
    *qkv, weight = (
        jnp.asarray(rng.standard_normal((N, L, H, K)), jnp.float32) for _ in range(4)
    )
    row_N = jnp.arange(N, dtype=jnp.uint32)
    return qkv, dropout.row_seeds(jax.random.key(3), row_N), weight


def kernels(q, k, v, seed_N2, rate) -> jax.Array:
    qkv_NL3HK = jnp.stack([q, k, v], axis=2)
    return flash_attention.flash_attention(qkv_NL3HK, seed_N2, rate, True)


def written_out(q, k, v, seed_N2, rate) -> jax.Array:
    drop = dropout.RowDropout(rate, seed_N2) if rate else None
    return attention.causal_attention(q, k, v, drop)


# Shorter than a block, no multiple of one, several whole ones.
@pytest.mark.parametrize(
    ("L", "rate"), [(5, 0.3), (100, 0.3), (136, 0.99), (192, 0.1), (100, 0.0)]
)
def test_values_and_gradients_are_those_of_attention_written_out(L, rate):
    qkv, seed_N2, weight = inputs(L)

    def value_and_gradients(attend):
        def total(qkv):
            return (attend(*qkv, seed_N2, rate) * weight).sum()

        return attend(*qkv, seed_N2, rate), *jax.grad(total)(qkv)

    found = value_and_gradients(kernels)
    expected = value_and_gradients(written_out)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
        assert np.abs(theirs).max() > 0.1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_half_precision_they_are_as_near_to_float32_as_written_out(dtype):
    qkv, seed_N2, weight = inputs(136)
    half = [x.astype(dtype) for x in qkv]

    def value_and_gradients(attend, qkv):
        def total(qkv):
            return (attend(*qkv, seed_N2, 0.1) * weight).sum()

        return attend(*qkv, seed_N2, 0.1), *jax.grad(total)(qkv)

    exact = value_and_gradients(written_out, [x.astype(jnp.float32) for x in half])
    ours = value_and_gradients(kernels, half)
    usual = value_and_gradients(written_out, half)
    for found, plain, expected in zip(ours, usual, exact, strict=True):
        assert found.dtype == dtype
        error, allowed = (
            np.linalg.norm(x.astype(np.float32) - expected) / np.linalg.norm(expected)
            for x in (found, plain)
        )
        assert 0 < error < 1.5 * allowed < 0.02


def test_gradients_pass_through_remat_and_scan():
    """As in a step that computes anew what it did not keep, a microbatch at a time."""
    qkv, seed_N2, weight = inputs(20)

    def gradients(attend):
        attend_anew = jax.checkpoint(lambda *arrays: attend(*arrays, 0.3))

        def total(qkv):
            def add(total, one):
                *arrays, own_weight = (x[None] for x in one)
                return total + (attend_anew(*arrays) * own_weight).sum(), None

            return jax.lax.scan(add, 0.0, (*qkv, seed_N2, weight))[0]

        return jax.jit(jax.grad(total))(qkv)

    for ours, theirs in zip(gradients(kernels), gradients(written_out), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert np.abs(theirs).max() > 0.1


def test_extreme_logits_neither_overflow_nor_reach_masked_positions():
    (q, k, v), seed_N2, _ = inputs(100)
    att = kernels(q * 1e6, k * 1e2, v, seed_N2, 0.0)
    assert np.isfinite(att).all()
    np.testing.assert_allclose(att[:, 0], v[:, 0], rtol=1e-6)


def test_each_device_has_its_own_rows_and_no_others():
    processes.run_on_devices(__file__, 4)


def check_rows_of_devices() -> None:
    """Raises AssertionError if devices exchange rows, or find other gradients."""
    devices = mesh.make_mesh()
    assert devices.size == 4
    qkv, seed_N2, weight = inputs(20)

    def gradients(qkv, seed_N2, weight):
        return jax.grad(lambda qkv: (kernels(*qkv, seed_N2, 0.3) * weight).sum())(qkv)

    shared = jax.device_put((qkv, seed_N2, weight), mesh.by_rows(devices))
    compiled = jax.jit(gradients).lower(*shared).compile()
    program = compiled.as_text()
    assert "all-gather" not in program
    assert "all-reduce" not in program
    found = compiled(*shared)
    for ours, theirs in zip(found, gradients(qkv, seed_N2, weight), strict=True):
        assert ours.sharding.is_equivalent_to(mesh.by_rows(devices), 4)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "width", "expected"),
    [
        ("bfloat16", 64, True),
        ("float16", 16, True),
        ("float32", 64, False),
        ("bfloat16", 8, False),
        ("bfloat16", 128, False),
        ("bfloat16", 48, False),
    ],
)
def test_which_heads_the_kernels_take(dtype, width, expected):
    assert flash_attention.takes(width, dtype) == expected


def test_none_is_taken_where_jax_has_no_triton(monkeypatch):
    monkeypatch.setattr(flash_attention, "_triton", lambda: None)
    assert not flash_attention.takes(64, jnp.bfloat16)


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")
def test_the_kernels_lower_for_cuda(monkeypatch):
    try:  # JAX from 0.11 on wants to know which GPU.
        from jax._src.pallas.triton import gpu_info, pallas_call_registration
    except ImportError:
        pass
    else:
        info = gpu_info.get_gpu_info_from_version(gpu_info.GpuVersion.A100)
        lowering = pallas_call_registration.gpu_info_lib
        monkeypatch.setattr(lowering, "get_gpu_info", lambda: info)

    def total(qkv, seed_N2):
        att = flash_attention.flash_attention(qkv, seed_N2, 0.1)
        return att.astype(jnp.float32).sum()

    qkv = jax.ShapeDtypeStruct((2, 136, 3, 12, 64), jnp.bfloat16)
    seeds = jax.ShapeDtypeStruct((2, 2), jnp.uint32)
    traced = jax.jit(jax.grad(total)).trace(qkv, seeds)
    program = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert program.count("__gpu$xla.gpu.triton") == 2


if __name__ == "__main__":
    check_rows_of_devices()
