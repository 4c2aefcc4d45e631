"""Settings of a process, tested in separate processes."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from gpt1_jax.distributed import runtime

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(1 << 23, 1.0)  # 64 MB: 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

runtime.keep_freed_memory()
faults()
print(max(faults() for _ in range(3)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
@pytest.mark.parametrize(
    ("platforms", "is_kept"), [("cpu", True), ("cuda", False), ("cuda,cpu", False)]
)
def test_freed_memory_is_kept_where_there_is_only_a_cpu(platforms, is_kept):
    # numpy would ask for huge pages, which take few faults either way.
    env = os.environ | {"JAX_PLATFORMS": platforms, "NUMPY_MADVISE_HUGEPAGE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    faults = int(done.stdout)
    assert faults < 1000 if is_kept else faults > 10_000


COMPILE = """
import sys
import jax
from gpt1_jax.config import DataConfig, RunConfig
from gpt1_jax.distributed import runtime

runtime.prepare(RunConfig(data=DataConfig(cache_dir=sys.argv[1])))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
print(jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((7, 7))))
print(hits.count("/jax/compilation_cache/cache_hits"))
"""


def compile_once(cache_dir, **env) -> tuple[float, int]:
    """Returns the result, and how many compiled programs came from the cache."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(cache_dir)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    result, hits = done.stdout.split()
    return float(result), int(hits)


def test_the_next_process_finds_compiled_programs(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    first, hits = compile_once(tmp_path)
    assert hits == 0
    again, hits = compile_once(tmp_path)
    assert hits > 0
    assert again == first
    assert [path.name for path in tmp_path.iterdir()] == ["compiled"]


def test_a_cache_directory_that_is_already_set_is_kept(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    compile_once(other, JAX_COMPILATION_CACHE_DIR=str(own))
    assert own.is_dir()
    assert not other.exists()
