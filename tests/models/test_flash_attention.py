"""The heads that the kernels support, and their lowering without a GPU.

test_attention_in_blocks tests what they compute.
"""

import jax
import jax.numpy as jnp
import pytest

from gpt1_jax.models import flash_attention


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
def test_supported_heads(dtype, width, expected):
    assert flash_attention.supports(width, dtype) == expected


def test_no_head_is_supported_without_triton(monkeypatch):
    monkeypatch.setattr(flash_attention, "_triton", lambda: None)
    assert not flash_attention.supports(64, jnp.bfloat16)


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")
def test_the_kernels_lower_for_cuda(monkeypatch):
    try:  # From JAX 0.11 on, lowering needs a GPU's properties.
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
