"""Configs for tests of what a config may be."""

import dataclasses

from gpt1_jax.config import RunConfig


def changed(changes: dict, base: RunConfig | None = None) -> RunConfig:
    """The default config, or `base`, with dotted fields changed."""
    config = base or RunConfig()
    for path, value in changes.items():
        *group, field = path.split(".")
        if group:
            inner = dataclasses.replace(getattr(config, group[0]), **{field: value})
            config = dataclasses.replace(config, **{group[0]: inner})
        else:
            config = dataclasses.replace(config, **{field: value})
    return config
