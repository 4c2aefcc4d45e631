"""Held-out loss and perplexity of a language model."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax

from gpt1_jax.distributed.pipeline import pipelined
from gpt1_jax.training.losses import LossFn, Sums
from gpt1_jax.training.step import make_key


def make_eval_step(loss_fn: LossFn) -> Callable[[Any, Any], Sums]:
    """Returns a function (params, batch) -> {name: (sum, count)}, not yet jitted.

    Args: loss_fn: a loss without dropout; its key is ignored.
    """

    def eval_step(params: Any, batch: Any) -> Sums:
        return loss_fn(params, batch, make_key(0))[1]

    return eval_step


def mean_metrics(
    eval_step: Callable[[Any, Any], Sums], params: Any, batches: Iterable[Any]
) -> dict[str, float]:
    """Returns each metric's sum divided by its count over all batches, in float64.

    The next batch is prepared while the devices work on the one before.
    """
    totals: dict[str, list[float]] = {}
    for sums in pipelined(eval_step(params, batch) for batch in batches):
        for name, (total, count) in jax.device_get(sums).items():
            entry = totals.setdefault(name, [0.0, 0.0])
            entry[0] += float(total)
            entry[1] += float(count)
    return {name: total / count for name, (total, count) in totals.items()}


def perplexity(nats_per_token: float) -> float:
    """Returns exp of the mean loss, or infinity above the range of a float."""
    return math.inf if nats_per_token > 700 else math.exp(nats_per_token)
