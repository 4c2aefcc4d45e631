"""Where the time of a training step goes on this CPU: its parts, each timed alone.

    python -m benchmarks.step_parts --config experiments/pretrain.py:paper \
        --config.train.batch_size=4 --config.model.context_length=128

Forward and backward together, in float32, beside the fastest that one large matrix
product reaches here. Parts alone read and write memory that XLA may save where it fuses
them: their sum is a guide, the step as a whole is the truth.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

from benchmarks import flop, jax_side, side_by_side
from experiments import pretrain
from gpt1_jax import config as config_lib
from gpt1_jax import config_checks, terminal
from gpt1_jax.cli import app, experiment
from gpt1_jax.config import ModelConfig, RunConfig
from gpt1_jax.distributed import mesh, runtime
from gpt1_jax.models import backbone, dropout, heads, layers
from gpt1_jax.models.attention import causal_attention
from gpt1_jax.models.transformer import Norm
from gpt1_jax.training import optim

_FLAGS = flags.FlagValues()
_CONFIG = experiment.define_config(_FLAGS)
_COMPARISON = side_by_side.define("step_parts", _FLAGS)
_LEAST_CALLS = 3


@dataclasses.dataclass(frozen=True)
class Part:
    """`call` is timed; it is made `count` times a step, each of `operations`."""

    name: str
    count: int
    call: Callable[[], Any]
    operations: float = 0.0


def main() -> None:
    """Runs the command."""
    runtime.keep_freed_memory()
    given = _FLAGS["config"].present
    config = config_checks.checked(_CONFIG.value if given else pretrain.get_config())
    model = dataclasses.replace(config.model, compute_dtype="float32")
    config = dataclasses.replace(config, model=model)
    rounds: side_by_side.Rounds = {}
    for number in range(1, _COMPARISON.rounds.value + 1):
        for part in _parts(config):
            seconds = part.count * _seconds(part.call)
            row = {"seconds": seconds, "operations": part.count * part.operations}
            rounds.setdefault(part.name, []).append(row)
        step = rounds["the whole step"][-1]["seconds"]
        terminal.say(f"round {number}/{_COMPARISON.rounds.value}: {step:.3f} s a step")
    sides = side_by_side.summary(rounds)
    for row in sides.values():
        operations = row["rounds"][0]["operations"]
        row["gflop_per_second"] = operations / row["median_seconds"] / 1e9
    found = side_by_side.report(
        _COMPARISON,
        sides,
        flop_convention=flop.CONVENTION,
        config=config_lib.flatten(config),
    )
    terminal.say(_render(found))
    side_by_side.write(_COMPARISON, found)


def _seconds(call: Callable[[], Any]) -> float:
    """The median time of a call, after one that compiles."""
    jax.block_until_ready(call())
    seconds: list[float] = []
    while len(seconds) < _LEAST_CALLS or sum(seconds) < 0.5:
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _parts(config: RunConfig) -> Iterator[Part]:
    """The step, what it consists of, and the peak of matrix products."""
    model = config.model
    B, L = config.train.batch_size, model.context_length
    T, D, F = B * L, model.width, model.mlp_width
    depth = model.num_layers
    yield _whole_step(config)
    widths = ((D, 3 * D), (D, D), (D, F), (F, D))
    weights = sum(a * b for a, b in widths)
    yield Part(
        "matrix products of the blocks",
        depth,
        _graded(
            lambda key, *xw: [xw[n] @ xw[n + 4] for n in range(4)],
            *(_normal(T, a) for a, _ in widths),
            *(_normal(a, b) for a, b in widths),
        ),
        6 * T * weights,
    )
    yield _attention("attention", model, B)
    undropped = dataclasses.replace(model, attention_dropout=0.0)
    yield _attention("attention, without dropout", undropped, B)
    drop = functools.partial(_drop, model.residual_dropout)
    yield Part("residual dropout", 2 * depth, _graded(drop, _normal(B, L, D)))
    yield _embedding_dropout(config)
    norm = Norm(model)
    params = norm.init(jax.random.key(0), _normal(B, L, D))
    call = _graded(lambda key, *given: norm.apply(*given), params, _normal(B, L, D))
    yield Part("layer norms", 2 * depth, call)
    call = _graded(lambda key, x: layers.gelu(x), _normal(B, L, F))
    yield Part("GELU", depth, call)
    yield _head(config)
    yield _update(config)
    x, y = _normal(2048, D), _normal(D, 4 * D)
    product = jax.jit(jnp.matmul)
    yield Part("one matrix product", 1, lambda: product(x, y), 2 * x.size * 4 * D)


def _normal(*shape: int) -> jax.Array:
    rng = np.random.default_rng(len(shape))
    return jnp.asarray(0.02 * rng.standard_normal(shape, np.float32))


def _graded(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """A call of `function` and of its gradient in `arguments`, compiled.

    It is given a key before them, so that XLA can't draw a mask while it compiles.
    """
    key = jax.random.key(0)
    shapes = jax.eval_shape(function, key, *arguments)
    weights = jax.tree.map(lambda x: _normal(*x.shape), shapes)

    @jax.jit
    def both(key: jax.Array, arguments: Any, weights: Any) -> Any:
        of_arguments = functools.partial(function, key)
        results, backward = jax.vjp(of_arguments, *arguments)
        return results, backward(weights)

    return lambda: both(key, arguments, weights)


def _drop(rate: float, key: jax.Array, x: jax.Array) -> jax.Array:
    return dropout.drop(x, rate, _row_seeds(key, len(x)))


def _row_seeds(key: jax.Array, num_rows: int) -> jax.Array:
    return dropout.row_seeds(key, jnp.arange(num_rows, dtype=jnp.uint32))


def _embedding_dropout(config: RunConfig) -> Part:
    """On the tables of tokens and of positions."""
    model = config.model

    def drop(key: jax.Array, token: jax.Array, position: jax.Array) -> Any:
        params = {"embed": {"token": token, "position": position}}
        return dropout.drop_embeddings(params, model.embedding_dropout, key)["embed"]

    tables = (config.data.vocab_size, model.context_length)
    call = _graded(drop, *(_normal(size, model.width) for size in tables))
    return Part("embedding dropout", 1, call)


def _whole_step(config: RunConfig) -> Part:
    side = jax_side.make(config)
    shape = (config.train.batch_size, config.model.context_length + 1)
    tokens_BL = np.random.default_rng(0).integers(config.data.vocab_size, size=shape)
    tokens = config.train.batch_size * config.model.context_length
    operations = tokens * flop.per_token(config.model, config.data.vocab_size)
    return Part("the whole step", 1, lambda: side.step(tokens_BL), operations)


def _attention(name: str, model: ModelConfig, B: int) -> Part:
    """What lies between the projections."""
    L, H = model.context_length, model.num_heads
    qkv = [_normal(B, L, H, model.width // H) for _ in range(3)]

    def attend(key: jax.Array, *qkv: jax.Array) -> jax.Array:
        drop = None
        if rate := model.attention_dropout:
            drop = dropout.Dropout(rate, _row_seeds(key, B))
        return causal_attention(*qkv, drop, implementation=model.attention)

    call = _graded(attend, *qkv)
    operations = 12 * L * model.width * B * L
    return Part(name, model.num_layers, call, operations)


def _head(config: RunConfig) -> Part:
    B, L = config.train.batch_size, config.model.context_length
    D, V = config.model.width, config.data.vocab_size
    targets_NL, weight_NL = jnp.ones((B, L), jnp.int32), jnp.ones((B, L))
    chunk = mesh.logits_chunk_elements()
    call = _graded(
        lambda key, h, table: heads.nll_sum(h, table, targets_NL, weight_NL, chunk),
        _normal(B, L, D),
        _normal(V, D),
    )
    return Part("output layer and loss", 1, call, 6 * B * L * D * V)


def _update(config: RunConfig) -> Part:
    """Clipping, Adam and the new parameters."""
    made = backbone.make(config.model, config.data.vocab_size)
    params = jax.jit(lambda key: backbone.init_params(made, key))(jax.random.key(0))
    tx = optim.make_optimizer(config.optim, 10**6)
    # Copies: both moments may be one array of zeros, which can't be donated twice.
    now = jax.tree.map(jnp.array, (params, tx.init(params)))

    def update(now: Any) -> Any:
        params, moments = now
        updates, moments = tx.update(params, moments, params)
        return optax.apply_updates(params, updates), moments

    donating = jax.jit(update, donate_argnums=0)

    def call() -> Any:
        nonlocal now
        now = donating(now)
        return now

    return Part("clipping and Adam", 1, call)


def _render(found: dict[str, Any]) -> str:
    """The report as a table for the terminal and for docs/performance.md."""
    sides = found["sides"]
    whole = sides["the whole step"]["median_seconds"]
    lines = ["| part | seconds a step | share | GFLOP/s |", "|---|---|---|---|"]
    for name, row in sides.items():
        rate = row["gflop_per_second"]
        share = f"{row['median_seconds'] / whole:.0%}"
        share = "" if name == "one matrix product" else share
        lines.append(
            f"| {name} | {row['median_seconds']:.3f} | {share} | "
            f"{f'{rate:.0f}' if rate else ''} |"
        )
    return "\n".join([*lines, side_by_side.machine_line(found)])


if __name__ == "__main__":
    app.run(main, _FLAGS)
