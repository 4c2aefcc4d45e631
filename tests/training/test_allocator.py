"""The allocator's settings, seen in the page faults of a process of its own."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from gpt1_jax.training import allocator

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(1 << 23, 1.0)  # 64 MB: 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

allocator.keep_freed_memory()
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
