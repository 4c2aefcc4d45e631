"""The built-in storyworld data as files in the cache, written when first asked for."""

import shutil
from collections.abc import Callable
from pathlib import Path

from gpt1_jax import terminal
from gpt1_jax.config import DataConfig
from gpt1_jax.data import storyworld
from gpt1_jax.files import exclusive


def books_dir(config: DataConfig) -> Path:
    """The directory of storyworld's books."""
    seed, megabytes = config.storyworld_seed, config.storyworld_megabytes
    return _written(
        config,
        f"v{storyworld.VERSION}-seed{seed}-{megabytes}mb/books",
        f"storyworld: writing {megabytes} MB of synthetic books",
        lambda part: storyworld.write_books(part, seed=seed, megabytes=megabytes),
    )


def tasks_dir(config: DataConfig) -> Path:
    """The directory of storyworld's tasks, in the official layouts."""
    seed = config.storyworld_seed
    return _written(
        config,
        f"v{storyworld.TASKS_VERSION}-seed{seed}/tasks",
        "storyworld: writing synthetic tasks",
        lambda part: storyworld.write_tasks(part, seed=seed),
    )


def _written(
    config: DataConfig, name: str, message: str, write: Callable[[Path], None]
) -> Path:
    """The directory `name` of the cache, written by one process, all of it or none."""
    directory = Path(config.cache_dir).expanduser() / "storyworld" / name
    with exclusive(directory.parent / "lock"):
        if not directory.is_dir():
            terminal.say(message)
            part = directory.with_name(f"{directory.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            write(part)
            part.replace(directory)
    return directory
