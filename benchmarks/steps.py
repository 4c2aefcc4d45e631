"""A compiled training step of any library, and the measurement of its time."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from gpt1_jax import config as config_lib
from gpt1_jax import errors
from gpt1_jax.config import ModelConfig, RunConfig

FLOP_CONVENTION = (
    "per token, forward and backward: 6 x weights in matrix products (tied output "
    "included, embedding look-ups not) + 12 x layers x context x width for attention, "
    "masked positions included"
)
_WARM_UP_STEPS, _LEAST_STEPS, _LEAST_SECONDS = 3, 3, 5.0
_MOST_STEPS = 1000


@dataclasses.dataclass(frozen=True)
class Step:
    """A compiled training step with its state.

    start: takes tokens_BL, one more than the context, and returns a pending loss.
    finish: waits for the pending loss and returns it as a number.
    num_bytes: the memory that the step needs at once; 0: unknown.
    program: returns the compiled program's text.
    """

    num_parameters: int
    start: Callable[[np.ndarray], Any]
    finish: Callable[[Any], float]
    device: str
    num_bytes: int = 0
    program: Callable[[], str] | None = None


def check(given: RunConfig | ConfigDict) -> RunConfig:
    """Returns the config as all libraries can run it: no accumulation, no remat.

    Raises: UserError: an impossible config, or not a Transformer.
    """
    config = config_lib.checked(given)
    if config.model.backbone != "transformer":
        raise errors.UserError(
            f"config.model.backbone={config.model.backbone}; the benchmark measures "
            "Transformers; leave it out"
        )
    train = dataclasses.replace(config.train, accumulation_steps=1, remat=False)
    return dataclasses.replace(config, train=train)


def flop_per_token(model: ModelConfig, vocab_size: int) -> int:
    """Returns the operations of one token by FLOP_CONVENTION."""
    D, F = model.width, model.mlp_width
    weights = model.num_layers * (4 * D * D + 2 * D * F) + vocab_size * D
    return 6 * weights + 12 * model.num_layers * model.context_length * D


def random_tokens(config: RunConfig) -> np.ndarray:
    """Returns tokens_BL of one batch, one more than the context in each row."""
    shape = (config.train.batch_size, config.model.context_length + 1)
    rng = np.random.default_rng(config.seed)
    return rng.integers(config.data.vocab_size, size=shape)


def run(step: Step, tokens_BL: np.ndarray, count: int) -> tuple[float, float]:
    """Runs `count` steps without waiting between them.

    Returns: (seconds a step, the last loss).
    """
    began = time.perf_counter()
    for _ in range(count):
        pending = step.start(tokens_BL)
    loss = step.finish(pending)
    return (time.perf_counter() - began) / count, loss


def measure(step: Step, config: RunConfig) -> dict[str, Any]:
    """Measures a step after warm-up: at least 3 steps and about 5 seconds.

    Raises: RunFailed: the loss is not finite.
    """
    tokens_BL = random_tokens(config)
    _, first_loss = run(step, tokens_BL, _WARM_UP_STEPS)
    seconds, _ = run(step, tokens_BL, 1)
    count = max(_LEAST_STEPS, math.ceil(_LEAST_SECONDS / seconds))
    count = min(count, _MOST_STEPS)
    seconds, loss = run(step, tokens_BL, count)
    if not math.isfinite(loss):
        raise errors.RunFailed(
            f"the loss is {loss} after {count} steps; it must be finite for the time "
            "to mean anything; lower config.optim.peak_learning_rate"
        )
    return {
        "seconds": seconds,
        "steps": count,
        "first_loss": first_loss,
        "last_loss": loss,
        "num_parameters": step.num_parameters,
        "bytes": step.num_bytes,
        "device": step.device,
    }
