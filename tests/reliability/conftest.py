"""Fixtures for tests of whole processes: a cache, and an uninterrupted run."""

from pathlib import Path

import pytest

from benchmarks.breaking import finish, start


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory, cache_dir) -> Path:
    """The workdir of a finished run."""
    workdir = tmp_path_factory.mktemp("unbroken") / "run"
    finish(start(workdir, cache_dir), 0)
    return workdir
