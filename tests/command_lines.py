"""Command lines, parsed in this process as their command would."""

import importlib.util
import sys
import warnings
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
