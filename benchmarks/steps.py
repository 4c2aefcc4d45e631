"""A training step that is ready to run, of whichever library, and its time."""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gpt1_jax import config as config_lib
from gpt1_jax import errors
from gpt1_jax.config import RunConfig

_WARM_UP_STEPS, _LEAST_STEPS, _LEAST_SECONDS = 2, 3, 5.0


@dataclasses.dataclass(frozen=True)
class Side:
    """`step` maps tokens_BL, one more than the context, to the loss.

    memory: bytes that it needs at once, where that is known. start: as `step`, but
    returns at once, what is to become the loss. program: the compiled step's text.
    """

    num_parameters: int
    step: Callable[[np.ndarray], float]
    memory: int = 0
    start: Callable[[np.ndarray], Any] | None = None
    program: Callable[[], str] | None = None


def checked(given: ConfigDict) -> RunConfig:
    """`given`, checked, in float32 and without what trades speed for memory.

    Raises: UserError: an impossible config, or no Transformer.
    """
    config = config_lib.checked(given)
    if config.model.backbone != "transformer":
        raise errors.UserError(
            f"config.model.backbone={config.model.backbone}; the other sides are "
            "Transformers; leave it out"
        )
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, compute_dtype="float32"),
        train=dataclasses.replace(config.train, accumulation_steps=1, remat=False),
    )


def measure(side: Side, config: RunConfig) -> dict[str, Any]:
    """The median seconds of a step on random tokens after warm-up.

    Raises: RunFailed: the loss is no number.
    """
    rng = np.random.default_rng(config.seed)
    shape = (config.train.batch_size, config.model.context_length + 1)

    def timed_step() -> tuple[float, float]:
        tokens_BL = rng.integers(config.data.vocab_size, size=shape)
        began = time.perf_counter()
        loss = side.step(tokens_BL)
        return time.perf_counter() - began, loss

    warm_up_losses = [timed_step()[1] for _ in range(_WARM_UP_STEPS)]
    seconds = []
    while len(seconds) < _LEAST_STEPS or sum(seconds) < _LEAST_SECONDS:
        elapsed, loss = timed_step()
        seconds.append(elapsed)
    if not math.isfinite(loss):
        raise errors.RunFailed(
            f"the loss is {loss} after {len(seconds)} steps; a step on such numbers "
            "says nothing; lower config.optim.peak_learning_rate"
        )
    return {
        "seconds": statistics.median(seconds),
        "steps": len(seconds),
        "first_loss": warm_up_losses[0],
        "last_loss": loss,
        "num_parameters": side.num_parameters,
        "bytes": side.memory,
    }
