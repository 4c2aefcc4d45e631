"""Devices: the mesh, what lies where on it, and the number format they are best at."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gpt1_jax.config import ModelConfig
from gpt1_jax.exits import UserError

_DATA_AXIS = "data"


def make_mesh() -> Mesh:
    """One axis over all devices of all processes."""
    return jax.make_mesh((jax.device_count(),), (_DATA_AXIS,), (AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device: parameters and optimizer state."""
    return NamedSharding(mesh, PartitionSpec())


def by_rows(mesh: Mesh) -> NamedSharding:
    """The first axis split over devices: batches."""
    return NamedSharding(mesh, PartitionSpec(_DATA_AXIS))


def check_batch_size(batch_size: int, accumulation_steps: int) -> None:
    """Raises UserError unless every device gets equal shares of every microbatch."""
    devices = jax.device_count()
    if batch_size % (devices * accumulation_steps):
        unit = devices * accumulation_steps
        near = max(unit, round(batch_size / unit) * unit)
        raise UserError(
            f"config.train.batch_size={batch_size}; must be a multiple of {devices} "
            f"devices x accumulation_steps={accumulation_steps}; try {near}"
        )


def padded_to_devices(batch_size: int) -> int:
    """The least multiple of the device count that holds `batch_size` rows."""
    return -(-batch_size // jax.device_count()) * jax.device_count()


def local_rows(batch_size: int) -> slice:
    """The rows of a global batch that this process loads."""
    share = batch_size // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)


def shard_rows(local_batch: Any, mesh: Mesh) -> Any:
    """A global batch of device arrays from each process's rows (a pytree of numpy)."""
    sharding = by_rows(mesh)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)),
        local_batch,
    )


def resolve_dtype(cfg: ModelConfig) -> ModelConfig:
    """`cfg` with `auto` replaced: bfloat16 on accelerators, float32 on CPU.

    float64 turns JAX's 64-bit mode on, for the whole process.
    """
    dtype = cfg.compute_dtype
    if dtype == "auto":
        dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    return dataclasses.replace(cfg, compute_dtype=dtype)


def logits_chunk_elements() -> int:
    """How many logits the loss holds at once: a CPU's cache full; 1 GB a device."""
    if jax.default_backend() == "cpu":
        return 1 << 22
    return jax.device_count() << 28


def describe(cfg: ModelConfig) -> str:
    """One line about devices and precision, for the terminal."""
    devices = jax.devices()
    kind = devices[0].device_kind
    hosts = f" on {jax.process_count()} hosts" if jax.process_count() > 1 else ""
    return f"devices: {len(devices)} x {kind}{hosts}; {cfg.compute_dtype}"
