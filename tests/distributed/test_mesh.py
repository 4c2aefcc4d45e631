"""Values that follow from the number of devices and processes."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

import gpt1_jax
from gpt1_jax.config import ModelConfig
from gpt1_jax.distributed import mesh
from gpt1_jax.training.step import make_key


@pytest.fixture
def eight_devices(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 8)


@pytest.mark.parametrize(
    ("batch_size", "accumulation_steps"), [(8, 1), (64, 1), (64, 8), (48, 3)]
)
def test_batches_that_fill_all_devices_are_accepted(
    eight_devices, batch_size, accumulation_steps
):
    mesh.check_batch_size(batch_size, accumulation_steps)


@pytest.mark.parametrize(
    ("batch_size", "accumulation_steps", "near"),
    [(4, 1, 8), (12, 1, 16), (63, 1, 64), (64, 3, 72), (8, 2, 16), (1, 5, 40)],
)
def test_other_batches_are_refused_with_the_nearest_that_fits(
    eight_devices, batch_size, accumulation_steps, near
):
    message = (
        f"config.train.batch_size={batch_size}; must be a multiple of 8 devices x "
        f"accumulation_steps={accumulation_steps}; try {near}$"
    )
    with pytest.raises(ValueError, match=message):
        mesh.check_batch_size(batch_size, accumulation_steps)
    mesh.check_batch_size(near, accumulation_steps)


def test_evaluation_batches_are_padded_to_all_devices(eight_devices):
    sizes = [mesh.padded_to_devices(size) for size in (1, 7, 8, 9, 64, 65)]
    assert sizes == [8, 8, 8, 16, 64, 72]


def test_processes_share_the_rows_without_overlap(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    shares = []
    for index in range(3):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        shares.append(list(range(12))[mesh.local_rows(12)])
    assert shares == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_the_devices_of_a_process_are_adjacent():
    # As a TPU's wires have them: the processes' devices in turn.
    device = types.SimpleNamespace
    devices = [device(id=number, process_index=number % 2) for number in range(8)]
    found = [found.process_index for found in mesh.by_process(devices)]
    assert found == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_sharded_batch_holds_the_given_rows():
    batch = {"tokens": np.arange(15).reshape(5, 3), "rows": np.arange(5)}
    sharded = mesh.shard_rows(batch, mesh.make_mesh())
    for name, values in batch.items():
        np.testing.assert_array_equal(sharded[name], values)
        assert isinstance(sharded[name], jax.Array)


@pytest.mark.parametrize(
    ("backend", "dtype"), [("cpu", "float32"), ("gpu", "bfloat16"), ("tpu", "bfloat16")]
)
def test_auto_is_bfloat16_on_accelerators_and_float32_on_cpus(
    monkeypatch, backend, dtype
):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    cfg = ModelConfig(width=6, compute_dtype="auto")
    assert mesh.resolve_dtype(cfg) == ModelConfig(width=6, compute_dtype=dtype)
    given = ModelConfig(compute_dtype="bfloat16")
    assert mesh.resolve_dtype(given) == given


def test_64_bit_mode_is_on_only_for_float64():
    try:
        for dtype in ("float64", "float32", "float64", "bfloat16"):
            mesh.resolve_dtype(ModelConfig(compute_dtype=dtype))
            expected = "float64" if dtype == "float64" else "float32"
            assert jnp.ones(1).dtype == expected
    finally:
        jax.config.update("jax_enable_x64", False)


def test_a_float64_model_does_not_change_the_next_models_numbers(pretrained_workdir):
    def numbers(dtype: str) -> dict[str, np.ndarray]:
        model = gpt1_jax.load(pretrained_workdir, compute_dtype=dtype)
        drawn = jax.random.normal(make_key(3), (5,))
        logits_NLV = model.logits(np.ones((1, 7), int))
        return {"logits": np.asarray(logits_NLV), "drawn": np.asarray(drawn)}

    alone = numbers("float32")
    try:
        between, after = numbers("float64"), numbers("float32")
    finally:
        jax.config.update("jax_enable_x64", False)
    for name, expected in alone.items():
        assert between[name].dtype == np.float64
        assert np.any(between[name] != expected)
        assert after[name].dtype == expected.dtype == np.float32
        np.testing.assert_array_equal(after[name], expected)


def test_the_terminal_line_names_devices_and_precision():
    kind = jax.devices()[0].device_kind
    line = mesh.describe(ModelConfig(compute_dtype="bfloat16"), "a run")
    assert line == f"devices: {jax.device_count()} x {kind}; bfloat16; a run"


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((6, 20), (None, "data")),
        ((20, 12), ("data",)),
        ((7, 12), (None, "data")),
        ((8,), ("data",)),
        ((7,), ()),
        ((), ()),
    ],
)
def test_an_array_is_split_along_its_longest_even_axis(shape, axes):
    four = jax.sharding.AbstractMesh((4,), ("data",))
    like = {"x": jax.ShapeDtypeStruct(shape, jnp.float32)}
    shared = mesh.state_shardings(like, four, is_fsdp=True)["x"]
    copied = mesh.state_shardings(like, four, is_fsdp=False)["x"]
    assert (shared.spec, copied.spec) == (PartitionSpec(*axes), PartitionSpec())
    if axes:
        assert shared.shard_shape(shape)[len(axes) - 1] == shape[len(axes) - 1] // 4


def test_gpus_get_options_that_their_compiler_knows(monkeypatch):
    options = mesh._compiler_options.__wrapped__
    assert options() is None
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=true")
    assert options() == {"xla_gpu_enable_triton_gemm": False}
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_enable_triton_gemm=true")
    assert options() is None
    monkeypatch.setattr(mesh, "_GPU_OPTIONS", {"xla_gpu_of_another_time": True})
    assert options() is None
    monkeypatch.setattr(mesh, "_GPU_OPTIONS", {"xla_gpu_enable_triton_gemm": "?"})
    monkeypatch.setenv("XLA_FLAGS", "")
    with pytest.raises(jax.errors.JaxRuntimeError):
        options()


def test_a_step_has_the_options(monkeypatch):
    monkeypatch.setattr(mesh, "_compiler_options", lambda: {"xla_of_no_time": True})
    step = mesh.jit_step(lambda state, batch, seed: (state, seed), mesh.make_mesh())
    with pytest.raises(jax.errors.JaxRuntimeError, match="xla_of_no_time"):
        step(jnp.ones(()), jnp.ones(8), 0)
