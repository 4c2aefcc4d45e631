"""The device mesh, the placement of arrays on it, and the compute dtype."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from gpt1_jax.config import ModelConfig
from gpt1_jax.errors import UserError

_DATA_AXIS = "data"
# With these, cuBLAS computes all matrix products of a training step on a GPU, and adds
# biases and residual sums as it multiplies. On an H100 a step is 5 % faster than with
# XLA's own kernels for some of the products.
_GPU_OPTIONS = {"xla_gpu_enable_triton_gemm": False}


def make_mesh() -> Mesh:
    """Returns a mesh of one axis over all devices, grouped by process.

    local_rows and shard_rows need this order; jax.make_mesh follows a TPU's topology
    instead.
    """
    devices = np.array(by_process(jax.devices()))
    return Mesh(devices, (_DATA_AXIS,), axis_types=(AxisType.Auto,))


def by_process(devices: Sequence[Any]) -> list[Any]:
    """Returns `devices` in the order of their processes."""
    return sorted(devices, key=lambda device: (device.process_index, device.id))


def replicated(mesh: Mesh | AbstractMesh) -> NamedSharding:
    """Returns the sharding that puts a copy of an array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of batches, whose first axis is split over devices."""
    return NamedSharding(mesh, PartitionSpec(_DATA_AXIS))


def state_shardings(state_like: Any, mesh: Mesh, *, is_fsdp: bool) -> Any:
    """Returns the sharding of each array of a train state.

    With FSDP an array is split along its longest axis that the number of devices
    divides. An array without such an axis, and every array without FSDP, is replicated.
    """
    devices = mesh.size

    def sharding(x: Any) -> NamedSharding:
        even = [axis for axis, size in enumerate(x.shape) if size % devices == 0]
        if not is_fsdp or not even:
            return replicated(mesh)
        longest = max(even, key=lambda axis: x.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, _DATA_AXIS))

    return jax.tree.map(sharding, state_like)


def with_replicated_params(
    loss_fn: Callable[..., Any], mesh: Mesh
) -> Callable[..., Any]:
    """Returns `loss_fn` with a constraint that its parameters are replicated.

    XLA then gathers a sharded array where it is used, and scatters its gradient.
    Without the constraint it may split the computation as the parameters are split.
    """

    def with_constraint(params: Any, *arguments: Any) -> Any:
        gathered = jax.lax.with_sharding_constraint(params, replicated(mesh))
        return loss_fn(gathered, *arguments)

    return with_constraint


def replicated_sharding_of(params: Any) -> NamedSharding | None:
    """Returns the replicated sharding on the devices of `params`.

    None: they are on JAX's default device, or on the host.
    """
    sharding = getattr(jax.tree.leaves(params)[0], "sharding", None)
    return replicated(sharding.mesh) if isinstance(sharding, NamedSharding) else None


def check_batch_size(batch_size: int, accumulation_steps: int) -> None:
    """Raises UserError unless all devices get equal shares of every microbatch."""
    devices = jax.device_count()
    if batch_size % (devices * accumulation_steps):
        unit = devices * accumulation_steps
        near = max(unit, round(batch_size / unit) * unit)
        raise UserError(
            f"config.train.batch_size={batch_size}; must be a multiple of {devices} "
            f"devices x accumulation_steps={accumulation_steps}; try {near}"
        )


def padded_to_devices(batch_size: int) -> int:
    """Returns `batch_size` rounded up to a multiple of the number of devices."""
    return -(-batch_size // jax.device_count()) * jax.device_count()


def local_rows(batch_size: int) -> slice:
    """Returns the rows of a global batch that this process loads."""
    share = batch_size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def shard_rows(local_batch: Any, mesh: Mesh) -> Any:
    """Returns a global batch of device arrays, made of each process's numpy arrays."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)),
        local_batch,
    )


@functools.cache
def _compiler_options() -> dict[str, Any] | None:
    """Returns _GPU_OPTIONS on a GPU, unless XLA_FLAGS sets one of them."""
    given = os.environ.get("XLA_FLAGS", "")
    if jax.default_backend() != "gpu" or any(name in given for name in _GPU_OPTIONS):
        return None
    try:
        jax.jit(lambda: 0, compiler_options=_GPU_OPTIONS)()
    except jax.errors.JaxRuntimeError as error:  # a later XLA may lack them
        if "No such compile option" not in str(error):
            raise
        return None
    return _GPU_OPTIONS


def jit_step(
    train_step: Callable[[Any, Any, Any], Any], mesh: Mesh, shardings: Any = None
) -> Any:
    """Returns a training step (state, batch, seed) jitted over `mesh`.

    It donates its state.
    Args: shardings: of the state, see state_shardings; None: replicated.
    """
    shardings = shardings or replicated(mesh)
    return jax.jit(
        train_step,
        donate_argnums=0,
        in_shardings=(shardings, batch_sharding(mesh), replicated(mesh)),
        out_shardings=(shardings, replicated(mesh)),
        compiler_options=_compiler_options(),
    )


def jit_over_rows(
    function: Callable[[Any, Any], Any], mesh: Mesh, rows_at_once: int
) -> Any:
    """Returns (params, batch) -> rows, jitted, which each device computes in chunks.

    A chunk has `rows_at_once` rows, so that the shapes of the computation, and every
    bit of a row's result, are the same for any batch size and any number of devices.
    The result is replicated.
    Args: function: takes parameters and a chunk. The number of rows of a batch must be
          a multiple of rows_at_once times the number of devices.
    """

    def on_device(params: Any, batch: Any) -> Any:
        chunks = jax.tree.map(
            lambda x: x.reshape(-1, rows_at_once, *x.shape[1:]), batch
        )
        result = jax.lax.map(lambda chunk: function(params, chunk), chunks)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), result)

    mapped = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(_DATA_AXIS)),
        out_specs=PartitionSpec(_DATA_AXIS),
        # An LSTM starts from zeros, which do not vary over the mesh, unlike its output.
        check_vma=False,
    )
    return jax.jit(mapped, out_shardings=replicated(mesh))


def resolve_dtype(cfg: ModelConfig) -> ModelConfig:
    """Returns `cfg` with `auto` replaced: bfloat16 on accelerators, float32 on CPU.

    Sets JAX's 64-bit mode for the whole process: on for float64, off for any other
    dtype, so that no run inherits the mode of the one before.
    """
    dtype = cfg.compute_dtype
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    jax.config.update("jax_enable_x64", dtype == "float64")
    return dataclasses.replace(cfg, compute_dtype=dtype)


def logits_chunk_elements() -> int:
    """Returns how many logits the loss computes at once.

    They take 134 MB on a CPU; on another device 1 GB in training, in bfloat16, and 2 GB
    in evaluation. Each chunk reads and writes the gradient of the whole token table, so
    few large chunks are fastest.
    """
    if jax.default_backend() == "cpu":
        return 1 << 25
    return jax.device_count() << 29


def describe(cfg: ModelConfig, subject: str) -> str:
    """Returns a line for the terminal: devices, precision, and what runs on them."""
    devices = jax.devices()
    kind = devices[0].device_kind
    hosts = f" on {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    dtype = resolve_dtype(cfg).compute_dtype
    return f"devices: {len(devices)} x {kind}{hosts}; {dtype}; {subject}"
