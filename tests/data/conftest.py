"""Fixtures of the tests of data/: small books and a tokenizer trained on them."""

import pytest

from gpt1_jax import storyworld
from gpt1_jax.data.text import tokenizer_training


@pytest.fixture(scope="session")
def story_books(tmp_path_factory):
    """A directory of 4 synthetic books, 0.1 MB in all."""
    directory = tmp_path_factory.mktemp("story_books")
    storyworld.write_books(directory, seed=0, megabytes=0.1)
    return directory


@pytest.fixture(scope="session")
def tokenizer(story_books):
    """A tokenizer of 400 pieces, which splits most words."""
    texts = [path.read_text() for path in sorted(story_books.iterdir())]
    return tokenizer_training.train(texts, 400)


@pytest.fixture(scope="session")
def tokenizer_dir(tokenizer, tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(directory)
    return directory
