"""Word lists and templates of storyworld, as TOML files, and their reader."""

import functools
import importlib.resources
import tomllib
from typing import Any


@functools.cache
def load(name: str) -> dict[str, Any]:
    """Returns the contents of `name`.toml in this folder, in the order of the file."""
    path = importlib.resources.files(__name__) / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))
