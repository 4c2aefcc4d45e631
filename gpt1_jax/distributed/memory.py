"""Memory that a model needs, compared with the memory that there is.

The system kills a process that uses more than there is, without a message. The checks
come before that, and refuse only what cannot fit: they compare a lower bound of the
need with an upper bound of the memory. What does not fit on an accelerator beyond that
ends in XLA's own error.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gpt1_jax.config import ModelConfig, RunConfig
from gpt1_jax.distributed import host_memory
from gpt1_jax.errors import UserError
from gpt1_jax.models import backbone

_OTHER_MODEL = "choose a smaller model, or a machine with more memory"
_MORE_SHARDS = f"set config.mesh.fsdp=True on more devices, or {_OTHER_MODEL}"


def check_training(
    config: RunConfig, *, vocab_size: int, sequences: int, length: int
) -> None:
    """Checks that a training step can fit, before anything is allocated.

    Args:   vocab_size: rows of the token table; 1, the least, if it is not known yet.
            sequences: rows of `length` tokens in a batch of all devices.
    Raises: UserError: it cannot.
    """
    parts = training_parts(
        config, vocab_size=vocab_size, sequences=sequences, length=length
    )
    is_step_large = "activations" in parts
    check(parts, "this run", _smaller_step() if is_step_large else _MORE_SHARDS)


def training_parts(
    config: RunConfig, *, vocab_size: int, sequences: int, length: int
) -> dict[str, int]:
    """Returns the bytes that a training step needs at least on each device.

    The larger of activations and gradients is counted, because a step frees the former
    while it computes the latter.
    """
    num_params = backbone.num_parameters(config.model, vocab_size)
    num_bytes = 8 if config.model.compute_dtype == "float64" else 4
    shards = jax.device_count() if config.mesh.fsdp else 1
    rows = sequences // (config.train.accumulation_steps * jax.device_count())
    kept = rows * length * _kept_per_token(config.model, config.train.remat)
    activations = kept * _compute_bytes(config.model)
    gradients = num_params * num_bytes // shards
    # Adam keeps two moments of each parameter.
    state = {"parameters and optimizer state": 3 * num_params * num_bytes // shards}
    if activations > gradients:
        return state | {"activations": activations}
    return state | {"gradients": gradients}


def _smaller_step() -> str:
    """Returns the remedies for a step that is too large.

    XLA's programs for CPUs take as much memory with remat as without it.
    """
    is_cpu = jax.default_backend() == "cpu"
    remat = "" if is_cpu else "set config.train.remat=True, "
    return (
        "lower config.train.batch_size, raise config.train.accumulation_steps, "
        f"{remat}or {_OTHER_MODEL}"
    )


def _kept_per_token(model: ModelConfig, is_recomputed: bool) -> int:
    """Returns how many activations of a token the backward pass needs at least.

    Those of a block are its input, queries, keys and values, the result of attention,
    the input of the MLP and its hidden units. On accelerators XLA recomputes them where
    memory is short, so only the input is certain there.
    """
    if model.backbone == "lstm":
        return model.width
    if is_recomputed or jax.default_backend() != "cpu":
        return model.num_layers * model.width
    return model.num_layers * (6 * model.width + model.mlp_width)


def _compute_bytes(model: ModelConfig) -> int:
    if model.compute_dtype == "auto":
        return 4 if jax.default_backend() == "cpu" else 2
    return jax.numpy.dtype(model.compute_dtype).itemsize


def check_program(compiled: Any) -> None:
    """Checks on a CPU that a compiled training step can run, before it does.

    XLA says exactly how much it will allocate. On accelerators it allocates before it
    starts, and its error comes at once.
    Raises: UserError: it cannot.
    """
    if jax.default_backend() != "cpu":
        return
    found = compiled.memory_analysis()
    if found is None:
        return
    arguments = found.argument_size_in_bytes
    results = found.output_size_in_bytes - found.alias_size_in_bytes
    parts = {
        "parameters, optimizer state and batch": arguments + results,
        "activations and gradients": found.temp_size_in_bytes,
    }
    check(parts, "a training step", _smaller_step())


def check_params(shapes: Any, what: str) -> None:
    """Checks that parameters of these shapes can be loaded, a copy on each device.

    Args:   what: the model, for the message.
    Raises: UserError: they cannot.
    """
    leaves = jax.tree.leaves(shapes)
    size = sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in leaves)
    check({"parameters": size}, what, _OTHER_MODEL)


def check(parts: Mapping[str, int], what: str, remedy: str) -> None:
    """Checks that each device of this process has memory for `parts`, in bytes.

    Raises: UserError naming the need, the memory that there is, and `remedy`.
    """
    if jax.default_backend() == "cpu":
        copies = jax.local_device_count()
        check_host({name: copies * size for name, size in parts.items()}, what, remedy)
        return
    device = jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is not None:
        _compare(parts, what, (limit, f"each {device.device_kind} has"), remedy)


def check_host(parts: Mapping[str, int], what: str, remedy: str = _OTHER_MODEL) -> None:
    """Checks that this process can have memory for `parts`, in bytes, on the host.

    Raises: UserError naming the need, the memory that there is, and `remedy`.
    """
    _compare(parts, what, host_memory.available(), remedy)


def _compare(
    parts: Mapping[str, int], what: str, memory: tuple[int, str], remedy: str
) -> None:
    limit, has = memory
    if sum(parts.values()) <= limit:
        return
    shown = ", ".join(f"{name} {size / 1e9:,.2f}" for name, size in parts.items())
    raise UserError(
        f"{what} needs at least {sum(parts.values()) / 1e9:,.2f} GB of memory ({shown})"
        f"; {has} {limit / 1e9:,.2f} GB for it; {remedy}"
    )
