"""The tasks of seed 0, read as users' files are, and how often books use each word."""

import collections
import re

import pytest

from gpt1_jax import storyworld
from gpt1_jax.data.tasks import loading
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.storyworld.books import book_text
from gpt1_jax.storyworld.world import make_world


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tasks")
    storyworld.write_tasks(directory, seed=0)
    return directory


@pytest.fixture(scope="session")
def examples_of(root):
    """Task -> split -> examples; RACE's levels are joined."""
    found = {}
    for name, task in TASKS.items():
        splits = found[name] = collections.defaultdict(list)
        for split in task.files:
            if not split.endswith("_2018"):
                loaded = loading.load(task, split, task_dir=root, check_counts=False)
                joined = split.partition("_")[0] if name == "race" else split
                splits[joined] += loaded.examples
    return found


@pytest.fixture(scope="session")
def book_counts():
    world = make_world(0)
    text = "".join(book_text(world, 0, i) for i in range(17)).lower()
    return collections.Counter(re.findall(r"[a-z]+", text))
