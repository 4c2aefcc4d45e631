"""Command lines: parsed in this process, or run in processes of their own."""

import concurrent.futures
import importlib.util
import os
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest


def parse(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The command's module, its flags set, of `python -m gpt1_jax.NAME FLAGS`.

    Each time as if it were the process's first.

    Args: argv: the module's name, then its flags and arguments.
    """
    # Overrides of a config's fields become flags of the module: each time a fresh one.
    spec = importlib.util.find_spec(argv[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # ml_collections looks there for overrides.
    monkeypatch.setattr(sys, "argv", argv)
    with warnings.catch_warnings():
        # ml_collections loads the experiment by a method that will go.
        warnings.filterwarnings("ignore", r"the load_module\(\) method")
        module._FLAGS(argv)
    module._FLAGS.validate_all_flags()
    return module


def run(
    commands: Mapping[str, Sequence[str]],
    directory: Path,
    *,
    package: Path,
    at_once: int,
) -> dict[str, subprocess.CompletedProcess]:
    """How `python -m gpt1_jax.NAME FLAGS` ends in `directory`, for each of them.

    Args: package: where gpt1_jax is imported from.
    """
    env = os.environ | {"PYTHONPATH": str(package), "JAX_PLATFORMS": "cpu"}

    def end(args: Sequence[str]) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", f"gpt1_jax.{args[0]}", *args[1:]],
            cwd=directory,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return dict(zip(commands, pool.map(end, commands.values()), strict=True))
