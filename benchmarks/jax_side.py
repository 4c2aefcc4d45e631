"""This project's training step, made from a config as the job makes it."""

import functools
from typing import Any

import jax
import numpy as np

from benchmarks import steps
from gpt1_jax.config import RunConfig
from gpt1_jax.data.text import corpus
from gpt1_jax.distributed import mesh, runtime
from gpt1_jax.models import backbone
from gpt1_jax.training import losses, optim
from gpt1_jax.training import step as step_lib
from gpt1_jax.workdirs import checkpoint, session


def make(config: RunConfig, chunk_elements: int | None = None) -> steps.Step:
    """Returns the compiled step of `config` with a state initialised by config.seed.

    Args: chunk_elements: how many logits the loss holds at once; None: as many as the
          job.
    """
    runtime.keep_freed_memory()
    model = backbone.make(mesh.resolve_dtype(config.model), config.data.vocab_size)
    total_steps = config.train.max_steps or 10**6
    schedule = optim.make_schedule(config.optim, total_steps)
    tx = optim.make_optimizer(config.optim, total_steps)
    init = step_lib.make_init(functools.partial(backbone.init_params, model), tx)
    devices, seed = mesh.make_mesh(), np.uint32(config.seed)
    like = session.state_like(init, devices, config.mesh)
    loss_fn = losses.make_lm_loss(
        model,
        is_train=True,
        chunk_elements=chunk_elements or mesh.logits_chunk_elements(),
    )
    train_step = step_lib.make_train_step(loss_fn, tx, schedule, accumulation_steps=1)

    def batch_of(tokens_BL: np.ndarray) -> Any:
        B, L = tokens_BL.shape
        num_targets_B, row_B = (
            np.full(B, L - 1, np.int32),
            np.arange(B, dtype=np.uint32),
        )
        batch = corpus.LMBatch(tokens_BL.astype(np.int32), num_targets_B, row_B)
        return mesh.shard_rows(batch, devices)

    batch_like = checkpoint.abstract(
        batch_of(steps.random_tokens(config)), mesh.batch_sharding(devices)
    )
    compiled = (
        mesh.jit_step(train_step, devices).lower(like, batch_like, seed).compile()
    )
    state = jax.jit(init, out_shardings=session.shardings_of(like))(seed)

    def start(tokens_BL: np.ndarray) -> Any:
        nonlocal state
        state, sums = compiled(state, batch_of(tokens_BL), seed)
        return sums["loss"]

    return steps.Step(
        num_parameters=session.num_parameters(state.params),
        start=start,
        finish=lambda sums: float(sums[0]) / float(sums[1]),
        device=jax.devices()[0].device_kind,
        num_bytes=_num_bytes(compiled),
        program=compiled.as_text,
    )


def _num_bytes(compiled: Any) -> int:
    """Returns the memory that a compiled program needs, donated arrays counted once."""
    found = compiled.memory_analysis()
    return (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
        + found.temp_size_in_bytes
    )
