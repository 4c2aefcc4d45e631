"""The order of an array on GPUs, seen on CPUs that are taken for GPUs."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from gpt1_jax.models import gpu
from gpt1_jax.training import mesh


def total(x_NLD, weight_NLD):
    return (jnp.sin(gpu.in_order(x_NLD)) * weight_NLD).sum()


def lowered(monkeypatch, backend: str) -> str:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    x = jax.ShapeDtypeStruct((4, 5, 6), jnp.float32)
    # A function of its own, as JAX remembers what it has traced.
    return jax.jit(jax.grad(lambda x, y: total(x, y))).lower(x, x).as_text()


def test_only_gpus_are_told_an_order(monkeypatch):
    assert "LayoutConstraint" in lowered(monkeypatch, "gpu")
    assert "LayoutConstraint" not in lowered(monkeypatch, "cpu")
    assert "LayoutConstraint" not in lowered(monkeypatch, "tpu")


def test_each_device_orders_its_own_rows():
    """In a process of four devices: this file as a script."""
    flags = "--xla_force_host_platform_device_count=4"
    subprocess.run(
        [sys.executable, __file__],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=True,
        timeout=300,
    )


def check_rows_of_devices() -> None:
    """Raises AssertionError if devices exchange rows, or values change."""
    devices = mesh.make_mesh()
    assert devices.size == 4
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal((8, 5, 6)).astype(np.float32) for _ in range(2))
    expected = np.cos(x) * weight
    jax.default_backend = lambda: "gpu"
    shared = jax.device_put((x, weight), mesh.by_rows(devices))
    compiled = jax.jit(jax.grad(total)).lower(*shared).compile()
    assert "all-gather" not in compiled.as_text()
    found = compiled(*shared)
    assert found.sharding.is_equivalent_to(mesh.by_rows(devices), 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


if __name__ == "__main__":
    check_rows_of_devices()
