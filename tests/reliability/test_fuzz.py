"""Any input gives a result or an error in one line."""

import random
import shutil

import hypothesis
import pytest
from hypothesis import strategies

from benchmarks import fuzzing

# Cases of each target here; benchmarks/soak.py tries many more.
NUM_CASES = 40


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return fuzzing.Corpus(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_anything_gives_a_result_or_an_error_in_one_line(
    name, corpus, tmp_path_factory
):
    parent = tmp_path_factory.mktemp("cases")
    fresh = fuzzing.directories(parent)

    @hypothesis.settings(max_examples=NUM_CASES, derandomize=True, database=None)
    @hypothesis.given(seed=strategies.integers(0, 2**32))
    def run(seed):
        directory = next(fresh)
        fuzzing.TARGETS[name](corpus, random.Random(seed), directory)
        shutil.rmtree(directory)

    run()
