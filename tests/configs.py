"""Configs for tests."""

import dataclasses

from gpt1_jax.config import ModelConfig, RunConfig

# The sizes are distinct primes, apart from the width, which num_heads divides.
TINY_MODEL = ModelConfig(
    num_layers=1,
    width=15,
    num_heads=3,
    mlp_width=17,
    context_length=11,
    compute_dtype="float32",
)


def changed(changes: dict, base: RunConfig | None = None) -> RunConfig:
    """Returns the default config, or `base`, with dotted fields changed.

    Unlike config.replace, it accepts values of another type.
    """
    config = base or RunConfig()
    for path, value in changes.items():
        *group, field = path.split(".")
        if group:
            inner = dataclasses.replace(getattr(config, group[0]), **{field: value})
            config = dataclasses.replace(config, **{group[0]: inner})
        else:
            config = dataclasses.replace(config, **{field: value})
    return config
