import pytest

from gpt1_jax.config import DataConfig
from gpt1_jax.data.text import recipes, tokenizers


def write(directory, books):
    for name, content in books.items():
        (directory / name).write_text(content)
    return f"{directory}/*.txt"


def make_recipe(pattern, **changes):
    return recipes.make_recipe(DataConfig(corpus=pattern, **changes))


def test_key_depends_on_books_split_and_vocabulary(tmp_path):
    books = {f"{n}.txt": f"book {n}" for n in range(20)}
    pattern = write(tmp_path, books)
    recipe = make_recipe(pattern)
    keys = {
        recipe.key,
        make_recipe(pattern, vocab_size=401).key,
        make_recipe(pattern, holdout_fraction=0.5).key,
        make_recipe(pattern, strip_gutenberg=False).key,
        make_recipe(pattern, documents="line").key,
    }
    write(tmp_path, {"3.txt": "book 3!"})
    keys.add(make_recipe(pattern).key)
    assert len(keys) == 6


def test_the_released_tokenizer_needs_the_directory_of_its_files():
    config = DataConfig(corpus="storyworld", tokenizer="openai")
    with pytest.raises(ValueError, match=r"openai_bpe_dir is empty; the directory wi"):
        recipes.tokenizer_source(config)


def test_kinds_of_trained_tokenizers_have_stores_of_their_own(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"the {name} boat")
    keys = {
        recipes.make_recipe(DataConfig(corpus=f"{tmp_path}/*.txt", tokenizer=kind)).key
        for kind in tokenizers.TRAINED
    }
    assert len(keys) == len(tokenizers.TRAINED) == 2
