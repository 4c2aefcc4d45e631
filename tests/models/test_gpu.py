"""The layout of an array on GPUs, tested on CPUs with a replaced backend name."""

import jax
import jax.numpy as jnp
import numpy as np

from gpt1_jax.config import ModelConfig
from gpt1_jax.distributed import mesh
from gpt1_jax.models import gpu
from gpt1_jax.models.transformer import Transformer
from tests import processes


def total(x_NLD, weight_NLD):
    return (jnp.sin(gpu.constrain_row_major(x_NLD)) * weight_NLD).sum()


def lowered(monkeypatch, backend: str) -> str:
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    x = jax.ShapeDtypeStruct((4, 5, 6), jnp.float32)
    # A new function each time, because JAX caches traces.
    return jax.jit(jax.grad(lambda x, y: total(x, y))).lower(x, x).as_text()


def test_only_gpus_have_a_layout_constraint(monkeypatch):
    for backend, count in (("gpu", 2), ("cpu", 0), ("tpu", 0)):
        # One constrains the values, one their gradient.
        assert lowered(monkeypatch, backend).count("@LayoutConstraint") == count


def test_hidden_states_are_row_major_in_training(monkeypatch):
    cfg = ModelConfig(
        num_layers=1,
        width=16,
        num_heads=2,
        mlp_width=16,
        context_length=8,
        attention="xla",
        compute_dtype="float32",
    )
    model, tokens = Transformer(cfg, 31), jnp.zeros((2, 8), jnp.int32)
    params = model.init(jax.random.key(0), tokens)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for is_train in (True, False):

        def encode(params, key, is_train=is_train):
            rngs = {"dropout": key}
            return model.apply(params, tokens, is_train, method="encode", rngs=rngs)

        program = jax.jit(encode).lower(params, jax.random.key(1)).as_text()
        assert program.count("@LayoutConstraint") == is_train


def test_devices_exchange_no_rows():
    processes.run_on_devices(__file__, 4)


def check_rows_of_devices() -> None:
    """Raises AssertionError if devices exchange rows, or values change."""
    devices = mesh.make_mesh()
    assert devices.size == 4
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal((8, 5, 6)).astype(np.float32) for _ in range(2))
    expected = np.cos(x) * weight
    jax.default_backend = lambda: "gpu"
    shared = jax.device_put((x, weight), mesh.batch_sharding(devices))
    compiled = jax.jit(jax.grad(total)).lower(*shared).compile()
    assert "all-gather" not in compiled.as_text()
    found = compiled(*shared)
    assert found.sharding.is_equivalent_to(mesh.batch_sharding(devices), 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


if __name__ == "__main__":
    check_rows_of_devices()
