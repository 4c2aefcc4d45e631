"""Parses command lines in this process as their commands would."""

import importlib.util
import sys
import warnings
from types import ModuleType

import pytest


def parse(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Returns the module of `python -m gpt1_jax.NAME FLAGS` with its flags set.

    Each call parses as if it were the first of the process.

    Args: argv: the module's name, then its flags and arguments.
    """
    # Overrides of config fields become flags of the module: each call needs a new one.
    spec = importlib.util.find_spec(argv[0])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # ml_collections reads overrides from sys.argv.
    monkeypatch.setattr(sys, "argv", argv)
    with warnings.catch_warnings():
        # ml_collections loads the experiment by a deprecated method.
        warnings.filterwarnings("ignore", r"the load_module\(\) method")
        module._FLAGS(argv)
    module._FLAGS.validate_all_flags()
    return module
