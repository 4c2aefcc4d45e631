"""Hints for XLA on GPUs: how to partition a kernel, and the layout of an array."""

from typing import Any

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import NamedSharding, PartitionSpec


def shard_over_batch(run: Any, axes: str) -> Any:
    """Returns `run` partitioned over devices along axis n; all other axes stay whole.

    XLA cannot look into a kernel: without this it would gather n on every device.
    Args: run: a function from arrays to a tuple of arrays.
          axes: the axes of these arrays, a letter each, as in "nl,n->nl".
    """
    partitioned = custom_partitioning(lambda *arrays: run(*arrays))
    operands, results = (side.split(",") for side in axes.split("->"))

    def batch_sharding(mesh: Any, arguments: Any) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec(*arguments[0].sharding.spec[:1]))

    def partition(mesh: Any, arguments: Any, _: Any) -> Any:
        rows = batch_sharding(mesh, arguments)
        return mesh, run, (rows,) * len(results), (rows,) * len(operands)

    def infer(mesh: Any, arguments: Any, _: Any) -> Any:
        return (batch_sharding(mesh, arguments),) * len(results)

    others = dict.fromkeys(axis for axis in axes if axis.isalpha() and axis != "n")
    partitioned.def_partition(
        partition=partition,
        infer_sharding_from_operands=infer,
        sharding_rule=" -> ".join(
            ", ".join(" ".join(one) for one in side) for side in (operands, results)
        ),
        need_replication_factors=tuple(others),
    )
    return partitioned


@jax.custom_vjp
def constrain_row_major(x_NLD: jax.Array) -> jax.Array:
    """Returns `x_NLD`; on GPUs it and its gradient are row-major, D innermost.

    XLA would otherwise give it a layout that suits the broadcast table of positions, N
    innermost, and transpose hidden states before and after each matrix product.
    """
    if jax.default_backend() != "gpu":
        return x_NLD
    order = Layout((0, 1, 2))
    return shard_over_batch(lambda x: (with_layout_constraint(x, order),), "nld->nld")(
        x_NLD
    )[0]


constrain_row_major.defvjp(
    lambda x_NLD: (constrain_row_major(x_NLD), None),
    lambda _, d: (constrain_row_major(d),),
)
