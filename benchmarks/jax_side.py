"""This project's training step, made from a config as the job makes it."""

import functools
from collections.abc import Callable
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


def make(config: RunConfig) -> steps.Side:
    """The step of `config`, compiled; its state is made of config.seed."""
    return traced(config)()


def traced(
    config: RunConfig, chunk_elements: int | None = None
) -> Callable[[], steps.Side]:
    """As `make`, in two parts: the second, XLA's, may run in a thread.

    Args: chunk_elements: of the logits; None: the job's own.
    """
    runtime.keep_freed_memory()
    model = backbone.make(
        config.model, config.data.vocab_size, remat=config.train.remat
    )
    total_steps = config.train.max_steps or 10**6
    schedule = optim.make_schedule(config.optim, total_steps)
    tx = optim.make_optimizer(config.optim, total_steps)
    init = step_lib.make_init(functools.partial(backbone.init_params, model), tx)
    devices, seed = mesh.make_mesh(), np.uint32(config.seed)
    like = session.state_like(init, devices, config.mesh)
    B, L = config.train.batch_size, config.model.context_length
    loss_fn = losses.make_lm_loss(
        model,
        is_train=True,
        chunk_elements=chunk_elements or mesh.logits_chunk_elements(),
    )
    train_step = step_lib.make_train_step(
        loss_fn, tx, schedule, accumulation_steps=config.train.accumulation_steps
    )

    def batch_of(tokens_BL: np.ndarray) -> Any:
        num_targets_B, row_B = np.full(B, L, np.int32), np.arange(B, dtype=np.uint32)
        batch = corpus.LMBatch(tokens_BL.astype(np.int32), num_targets_B, row_B)
        return mesh.shard_rows(batch, devices)

    batch_like = checkpoint.abstract(
        batch_of(np.zeros((B, L + 1))), mesh.batch_sharding(devices)
    )
    lowered = mesh.jit_step(train_step, devices).lower(like, batch_like, seed)

    def compile_() -> steps.Side:
        compiled = lowered.compile()
        now = jax.jit(init, out_shardings=session.shardings_of(like))(seed)

        def start(tokens_BL: np.ndarray) -> Any:
            nonlocal now
            now, sums = compiled(now, batch_of(tokens_BL), seed)
            return sums["loss"]

        def step(tokens_BL: np.ndarray) -> float:
            total, count = jax.block_until_ready(start(tokens_BL))
            return float(total) / float(count)

        return steps.Side(
            session.num_parameters(now.params),
            step,
            _bytes(compiled),
            start,
            compiled.as_text,
        )

    return compile_


def _bytes(compiled: Any) -> int:
    """What a compiled program needs at once; an aliased result counts once."""
    found = compiled.memory_analysis()
    return (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
        + found.temp_size_in_bytes
    )
