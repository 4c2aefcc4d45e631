"""The facts that all processes of a run must share, and the line about a difference."""

import functools
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import gpt1_jax
from gpt1_jax.config import RunConfig, flatten

# A host may have its own value of these.
_OWN_FIELDS = ("mesh.process_id", "mesh.coordinator_address", "data.cache_dir")
_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_MOST_SHOWN = 4


def facts(config: RunConfig) -> dict[str, Any]:
    """Returns what processes must share before they start the devices."""
    fields = {
        f"config.{path}": value
        for path, value in flatten(config).items()
        if path not in _OWN_FIELDS
    }
    versions = {
        f"the version of {name}": importlib.metadata.version(name)
        for name in _LIBRARIES
    }
    return (
        fields
        | versions
        | {
            "the version of gpt1_jax": gpt1_jax.__version__,
            "the code of gpt1_jax": code_fingerprint(),
        }
    )


@functools.cache
def code_fingerprint() -> str:
    """Returns a sha256 of the package's modules and their names."""
    root = Path(gpt1_jax.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def difference(facts_of_each: list[dict[str, Any]]) -> str:
    """Returns a message about the facts that not all processes share; "": none.

    Args: facts_of_each: the facts of each process, in the order of the processes.
    """
    names = dict.fromkeys(name for facts in facts_of_each for name in facts)
    differing = [
        f"{name}={_values([facts.get(name) for facts in facts_of_each])}"
        for name in names
        if any(facts.get(name) != facts_of_each[0].get(name) for facts in facts_of_each)
    ]
    if not differing:
        return ""
    more = len(differing) - _MOST_SHOWN
    shown = "; ".join(differing[:_MOST_SHOWN])
    return (
        f"the processes differ: {shown}{f'; {more} more' if more > 0 else ''}; all "
        "processes of a run need the same; correct it and start all of them again"
    )


def _values(values: list[Any]) -> str:
    """Returns `A on process 0, B on process 1 and 3` for the values of each."""
    processes: dict[str, list[str]] = {}
    for number, value in enumerate(values):
        processes.setdefault(_short(value), []).append(str(number))
    return ", ".join(
        f"{value} on process {' and '.join(numbers[:_MOST_SHOWN])}"
        + (" and others" if numbers[_MOST_SHOWN:] else "")
        for value, numbers in processes.items()
    )


def _short(value: Any) -> str:
    """Returns a value for a message; of a hash its first digits."""
    text = "absent" if value is None else str(value)
    is_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:12] if is_hash else text or "empty"
