import concurrent.futures
import dataclasses
import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpt1_jax import files
from gpt1_jax.config import DataConfig
from gpt1_jax.data.text import (
    corpus,
    encoding,
    executors,
    preparation,
    recipes,
    tokenizer_training,
)
from gpt1_jax.errors import RunFailed
from gpt1_jax.terminal import counted

AWKWARD = {
    "a_crlf.txt": "The boat.\r\n\r\nThe river.\r\n",
    "b_bom.txt": "\ufeffThe old man\nsaid “no”.",
    "c_empty.txt": "",
    "d_blank.txt": " \r\n\t\n",
    "e_one.txt": "x",
    "f_newline.txt": "\n",
}


def write(directory, books):
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in books.items():
        (directory / name).write_bytes(content.encode())
    return f"{directory}/*.txt"


def make_recipe(pattern, tokenizer="sentencepiece", **changes):
    settings = {"holdout_fraction": 0.01, "vocab_size": 400} | changes
    config = DataConfig(corpus=str(pattern), tokenizer=str(tokenizer), **settings)
    return recipes.make_recipe(config)


def contents(directory):
    """Returns the bytes of all files below `directory`, except hidden ones."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("[!.]*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def stories(tmp_path_factory, story_books):
    """Returns the glob of a directory with long and awkward books."""
    directory = tmp_path_factory.mktemp("stories")
    books = {path.name: path.read_text() for path in story_books.iterdir()}
    return write(directory, books | AWKWARD)


@pytest.fixture
def in_processes(monkeypatch):
    """Splits small corpora into many groups, and uses worker processes."""
    monkeypatch.setattr(encoding, "_WORTH_PROCESSES_BYTES", 0)
    monkeypatch.setattr(encoding, "_GROUP_BYTES", 5000)


@pytest.fixture
def encoded(monkeypatch):
    """Collects the outputs of all calls of encode_group."""
    calls, real = [], encoding.encode_group

    def encode_group(paths, tokenizer_dir, dtype, output):
        calls.append(output)
        real(paths, tokenizer_dir, dtype, output)

    monkeypatch.setattr(encoding, "encode_group", encode_group)
    return calls


def test_books_that_are_empty_after_cleaning_are_refused(tmp_path, tokenizer_dir):
    # Control characters are not white space, but cleaning removes them.
    pattern = write(tmp_path, {"a.txt": "\x01\x02", "b.txt": "\x03"})
    with pytest.raises(ValueError, match="the train books hold no text"):
        preparation.prepare(make_recipe(pattern, tokenizer_dir), tmp_path / "store")


def test_meta_describes_the_store(stories, tokenizer, tokenizer_dir, tmp_path):
    recipe = make_recipe(stories, tokenizer_dir)
    store = preparation.prepare(recipe, tmp_path / "store")
    raw = (tmp_path / "store" / "tokens.bin").read_bytes()
    tokens = np.frombuffer(raw, np.uint16)
    meta = store.meta
    assert meta == json.loads((tmp_path / "store" / "meta.json").read_text())
    assert meta["key"] == recipe.key
    assert meta["dtype"] == "uint16"
    assert meta["vocab_size"] == 400
    assert meta["tokens_sha256"] == hashlib.sha256(raw).hexdigest()
    assert meta["tokenizer_sha256"] == tokenizer.fingerprint
    ends = np.fromfile(tmp_path / "store" / "documents.bin", np.uint64).astype(int)
    offsets = iter(ends)
    offset = 0
    for book, source in zip(meta["books"], recipe.sources, strict=True):
        content = source.path.read_bytes()
        assert book["path"] == str(source.path)
        assert book["sha256"] == hashlib.sha256(content).hexdigest()
        assert book["bytes"] == len(content)
        assert book["split"] == source.split
        assert book["documents"] == 1
        assert book["words"] == len(content.decode("utf-8-sig").split())
        expected = tokenizer.encode(content.decode("utf-8-sig"))
        found = tokens[offset : offset + book["tokens"]]
        np.testing.assert_array_equal(found, expected)
        if book["tokens"]:
            assert next(offsets) == offset
        offset += book["tokens"]
    assert list(offsets) == [offset]
    assert offset == len(tokens)
    train = sum(b["tokens"] for b in meta["books"] if b["split"] == "train")
    assert meta["tokens"] == {"train": train, "valid": offset - train}
    words = sum(b["words"] for b in meta["books"] if b["split"] == "train")
    assert meta["words"]["train"] == words
    assert meta["empty_documents"] == 3
    full = [b for b in meta["books"] if b["split"] == "train" and b["tokens"]]
    assert meta["windows_across_books_per_epoch_at_most"] == len(full) - 1
    np.testing.assert_array_equal(store.train_tokens, tokens[:train])


def test_description_counts_books_and_tokens(stories, tokenizer_dir, tmp_path):
    store = preparation.prepare(make_recipe(stories, tokenizer_dir), tmp_path / "store")
    line = preparation.describe(store)
    tokens = store.meta["tokens"]
    full = [book["split"] for book in store.meta["books"] if book["tokens"]]
    num_valid = full.count("valid")
    assert line == (
        f"corpus: {full.count('train')} training books, {tokens['train']:,} tokens; "
        f"{counted(num_valid, 'held-out book')}, {tokens['valid']:,} tokens; "
        f"vocabulary 400; held out: {tokens['valid'] / sum(tokens.values()):.1%}; "
        "3 empty books"
    )


def test_five_hundred_tiny_books(tmp_path, tokenizer, tokenizer_dir, encoded):
    books = {f"{n:03}.txt": f"The boat {n}" for n in range(500)}
    pattern = write(tmp_path / "books", books)
    store = preparation.prepare(make_recipe(pattern, tokenizer_dir), tmp_path / "store")
    assert len(encoded) == 1
    everything = np.concatenate([store.train_tokens, *store.eval_books])
    names = [Path(book["path"]).name for book in store.meta["books"]]
    assert names != list(books)
    expected = [tokenizer.encode(books[name]) for name in names]
    np.testing.assert_array_equal(everything, np.concatenate(expected))


@pytest.mark.usefixtures("in_processes")
def test_any_number_of_workers_writes_the_same_bytes(stories, tmp_path):
    recipe = make_recipe(stories)
    for workers in (1, 2, 3):
        preparation.prepare(recipe, tmp_path / f"{workers}", workers)
    expected = contents(tmp_path / "1")
    assert expected.keys() == {
        "tokens.bin",
        "documents.bin",
        "meta.json",
        "tokenizer/sentencepiece.model",
    }
    assert contents(tmp_path / "2") == expected
    assert contents(tmp_path / "3") == expected
    # Only the stores are left.
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "3"}


def test_size_of_groups_does_not_change_the_bytes(stories, tmp_path, monkeypatch):
    recipe = make_recipe(stories)
    preparation.prepare(recipe, tmp_path / "one_group")
    monkeypatch.setattr(encoding, "_GROUP_BYTES", 1)
    preparation.prepare(recipe, tmp_path / "many_groups")
    assert contents(tmp_path / "one_group") == contents(tmp_path / "many_groups")


def test_tokenizer_is_trained_on_training_books_only(tmp_path):
    train = write(
        tmp_path / "t", {"a.txt": "zebra river boat\n" * 99, "b.txt": "zebra"}
    )
    held_out = write(tmp_path / "v", {"a.txt": "giraffe boat\n" * 999})
    recipe = make_recipe(train, eval_corpus=held_out, vocab_size=280)
    tokenizer = preparation.prepare(recipe, tmp_path / "store").tokenizer
    assert len(tokenizer.encode("zebra")) == 1
    assert len(tokenizer.encode("boat")) == 1
    assert len(tokenizer.encode("giraffe")) > 3


def test_given_tokenizer_is_used_and_copied(
    stories, tokenizer, tokenizer_dir, tmp_path
):
    recipe = make_recipe(stories, tokenizer_dir, vocab_size=999)
    store = preparation.prepare(recipe, tmp_path / "store")
    assert store.tokenizer.fingerprint == tokenizer.fingerprint
    assert store.meta["vocab_size"] == 400
    assert contents(tmp_path / "store" / "tokenizer") == contents(tokenizer_dir)
    # The key depends on its files, not on their place; vocab_size is not used.
    assert recipe.key == make_recipe(stories, store.directory / "tokenizer").key
    assert recipe.key != make_recipe(stories).key


def test_missing_tokenizer_is_refused(stories, tmp_path):
    with pytest.raises(FileNotFoundError, match="no tokenizer in"):
        preparation.prepare(make_recipe(stories, tmp_path / "no"), tmp_path / "store")


def test_prepared_store_is_not_encoded_again(stories, tokenizer_dir, tmp_path, encoded):
    recipe = make_recipe(stories, tokenizer_dir)
    preparation.prepare(recipe, tmp_path / "store")
    before = contents(tmp_path)
    assert len(encoded) == 1
    preparation.prepare(recipe, tmp_path / "store")
    assert len(encoded) == 1
    assert contents(tmp_path) == before


class Killed(BaseException):
    """An exception that no code expects."""


def test_stopped_preparation_is_continued(stories, tmp_path, monkeypatch, encoded):
    monkeypatch.setattr(encoding, "_GROUP_BYTES", 5000)
    recipe = make_recipe(stories)
    preparation.prepare(recipe, tmp_path / "unbroken")
    num_groups = len(encoded)
    assert num_groups > 4
    encoded.clear()
    encode_group = encoding.encode_group

    def dies_in_the_third(paths, tokenizer_dir, dtype, output):
        if len(encoded) == 2:
            output.write_bytes(b"half of it")
            raise Killed
        encode_group(paths, tokenizer_dir, dtype, output)

    monkeypatch.setattr(encoding, "encode_group", dies_in_the_third)
    with pytest.raises(Killed):
        preparation.prepare(recipe, tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
    monkeypatch.setattr(encoding, "encode_group", encode_group)
    # The tokenizer is not trained again either.
    monkeypatch.setattr(tokenizer_training, "train", None)
    preparation.prepare(recipe, tmp_path / "broken")
    done = [output.name for output in encoded]
    assert len(done) == len(set(done)) == num_groups
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")
    assert {path.name for path in tmp_path.iterdir()} == {"broken", "unbroken"}


def test_unfinished_work_of_other_books_is_not_used(
    stories, tokenizer_dir, tmp_path, monkeypatch, encoded
):
    preparation.prepare(make_recipe(stories, tokenizer_dir), tmp_path / "expected")
    encode_group = encoding.encode_group

    def dies_at_the_end(*args):
        encode_group(*args)
        raise Killed

    monkeypatch.setattr(encoding, "encode_group", dies_at_the_end)
    other = make_recipe(
        write(tmp_path / "o", {"a.txt": "a", "b.txt": "b"}), tokenizer_dir
    )
    with pytest.raises(Killed):
        preparation.prepare(other, tmp_path / "store")
    monkeypatch.setattr(encoding, "encode_group", encode_group)
    preparation.prepare(make_recipe(stories, tokenizer_dir), tmp_path / "store")
    assert contents(tmp_path / "store") == contents(tmp_path / "expected")


def test_store_of_other_settings_is_not_overwritten(stories, tokenizer_dir, tmp_path):
    preparation.prepare(make_recipe(stories, tokenizer_dir), tmp_path / "store")
    before = contents(tmp_path)
    message = r"store holds a store of other books or settings; .*; name another"
    with pytest.raises(ValueError, match=message):
        preparation.prepare(make_recipe(stories), tmp_path / "store")
    assert contents(tmp_path) == before


def test_directory_with_something_else_is_not_overwritten(stories, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for name in ("file", "full"):
        with pytest.raises(
            ValueError, match=f"{name} exists and is not a token store;"
        ):
            preparation.prepare(make_recipe(stories), tmp_path / name)
    assert contents(tmp_path) == {"file": b"mine", "full/mine": b"mine"}


def test_empty_directory_becomes_the_store(stories, tokenizer_dir, tmp_path):
    (tmp_path / "store").mkdir()
    recipe = make_recipe(stories, tokenizer_dir)
    assert preparation.prepare(recipe, tmp_path / "store").meta["key"] == recipe.key


def test_two_threads_make_a_store_once(stories, tokenizer_dir, tmp_path, encoded):
    recipe = make_recipe(stories, tokenizer_dir)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        futures = [
            pool.submit(preparation.prepare, recipe, tmp_path / "store")
            for _ in range(4)
        ]
        stores = [future.result() for future in futures]
    assert len({store.fingerprint for store in stores}) == 1
    assert len(encoded) == 1


def test_two_processes_may_prepare_the_same_store(stories, tokenizer_dir, tmp_path):
    recipe = make_recipe(stories, tokenizer_dir)
    preparation.prepare(recipe, tmp_path / "expected")
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        futures = [
            pool.submit(preparation.prepare, recipe, tmp_path / "store")
            for _ in range(2)
        ]
        for future in futures:
            assert future.result().meta["key"] == recipe.key
    assert contents(tmp_path / "store") == contents(tmp_path / "expected")


def test_config_without_a_corpus_is_refused():
    with pytest.raises(ValueError, match=r"config.data.corpus is empty; .*; set it"):
        preparation.open_corpus(DataConfig())


def test_corpus_of_a_config_is_prepared_in_the_cache_once(
    stories, tokenizer_dir, tmp_path, encoded
):
    config = DataConfig(
        corpus=stories, tokenizer=str(tokenizer_dir), cache_dir=str(tmp_path / "cache")
    )
    store = preparation.open_corpus(config)
    recipe = make_recipe(stories, tokenizer_dir)
    assert store.directory == tmp_path / "cache" / "stores" / recipe.key[:32]
    assert preparation.open_corpus(config).fingerprint == store.fingerprint
    assert len(encoded) == 1


def test_config_may_name_a_prepared_store(
    stories, tokenizer_dir, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe = make_recipe(stories, tokenizer_dir)
    store = preparation.prepare(recipe, tmp_path / "store")
    for name in (str(tmp_path / "store"), "~/store"):
        found = preparation.open_corpus(DataConfig(corpus=name, cache_dir="nowhere"))
        assert found.fingerprint == store.fingerprint


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("eval_corpus", "books/*.txt"),
        ("tokenizer", "some/where"),
        ("documents", "line"),
        ("lowercase", False),
    ],
)
def test_fields_that_contradict_a_prepared_store_are_refused(
    stories, tokenizer_dir, tmp_path, field, value
):
    preparation.prepare(make_recipe(stories, tokenizer_dir), tmp_path / "store")
    config = DataConfig(corpus=str(tmp_path / "store"), **{field: value})
    message = rf"config.data.{field}=.*, but .*store is a prepared store .*; drop one"
    with pytest.raises(ValueError, match=message):
        preparation.open_corpus(config)


def test_storyworld_is_written_and_prepared_once(tmp_path, tokenizer_dir, encoded):
    config = DataConfig(
        corpus="storyworld",
        storyworld_megabytes=0.05,
        holdout_fraction=0.1,
        tokenizer=str(tokenizer_dir),
        # characters that a glob would read as a pattern
        cache_dir=str(tmp_path / "cache [1]"),
    )
    store = preparation.open_corpus(config)
    assert sum(book["bytes"] for book in store.meta["books"]) == pytest.approx(
        50_000, rel=0.02
    )
    before = contents(tmp_path)
    preparation.open_corpus(config)
    assert contents(tmp_path) == before
    assert len(encoded) == 1
    other = dataclasses.replace(config, storyworld_seed=1)
    assert preparation.open_corpus(other).fingerprint != store.fingerprint


def test_unfinished_tokenizer_is_trained_again(stories, tmp_path):
    recipe = make_recipe(stories)
    partial = tmp_path / ".store.partial"
    (partial / "tokenizer").mkdir(parents=True)
    (partial / "key").write_text(recipe.key)
    store = preparation.prepare(recipe, tmp_path / "store")
    assert store.tokenizer.vocab_size == 400


def test_a_book_that_changes_while_it_is_read_leaves_nothing_behind(
    stories, tmp_path, monkeypatch
):
    recipe = make_recipe(stories)
    book = next(book.path for book in recipe.sources if book.split == "train")
    intact = book.read_bytes()
    expected = contents(preparation.prepare(recipe, tmp_path / "expected").directory)
    train = tokenizer_training.train

    def train_while_it_changes(*args, **kwargs):
        tokenizer = train(*args, **kwargs)
        book.write_bytes(intact[: len(intact) // 2])
        return tokenizer

    def encode_after_a_change(sources, *args):
        book.write_bytes(b"More. " + intact)
        try:
            encode_group(sources, *args)
        finally:
            book.write_bytes(intact)

    encode_group = encoding.encode_group
    for module, name, changing in (
        (tokenizer_training, "train", train_while_it_changes),
        (encoding, "encode_group", encode_after_a_change),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, changing)
            with pytest.raises(
                ValueError, match=rf"{book} changed while the corpus was"
            ):
                preparation.prepare(recipe, tmp_path / "store")
        book.write_bytes(intact)
        assert not (tmp_path / "store").exists()
    store = preparation.prepare(recipe, tmp_path / "store")
    assert contents(store.directory) == expected


def test_scripts_without_a_guard_can_use_worker_processes(stories, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('the script starts')\n"
        "from pathlib import Path\n"
        "from gpt1_jax.config import DataConfig\n"
        "from gpt1_jax.data.text import encoding, preparation, recipes\n"
        "encoding._WORTH_PROCESSES_BYTES = 0\n"
        f"config = DataConfig(corpus={str(stories)!r}, vocab_size=500)\n"
        "recipe = recipes.make_recipe(config)\n"
        "preparation.prepare(recipe, Path('store'), workers=2)\n"
        "print('the script ends')\n"
    )
    for argv, text in (([str(script)], None), (["-"], script.read_text())):
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        ran = subprocess.run(
            [sys.executable, *argv],
            input=text,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.stdout.count("the script starts") == 1, ran.stderr
        assert ran.stdout.endswith("the script ends\n"), ran.stderr


def test_a_killed_worker_is_one_line():
    with (
        pytest.raises(RunFailed, match=r"one of 2 worker processes was killed"),
        executors.choose(2, "", is_worth_processes=True) as pool,
    ):
        pool.submit(os._exit, 9).result()


@pytest.mark.parametrize(
    ("train", "valid", "share"),
    [(900_000, 100_000, ""), (100_000, 100_000, "50.0%"), (900_000, 9_000, "1.0%")],
)
def test_an_unusual_held_out_share_is_said(train, valid, share):
    warnings = warnings_of(tokens={"train": train, "valid": valid})
    assert len(warnings) == bool(share)
    expected = f"{share} of the corpus; at least 50,000 tokens and at most 20% is usual"
    assert all(expected in warning for warning in warnings)


def warnings_of(tokens, cut=None):
    meta = {"tokens": tokens, "cut": cut or {}}
    return preparation.warnings(corpus.TokenStore(None, meta, None, (), None))


@pytest.mark.parametrize(
    ("cut", "share"),
    [
        ({"characters": 21, "read": 100}, "21.0%"),
        ({"characters": 20, "read": 100}, ""),
        ({"characters": 20}, ""),
    ],
)
def test_an_unusual_share_of_cut_text_is_said(cut, share):
    warnings = warnings_of({"train": 900_000, "valid": 100_000}, cut)
    assert len(warnings) == bool(share)
    expected = f"{share} of the characters are cut as licences and front matter; at mo"
    assert all(expected in warning for warning in warnings)


@pytest.mark.parametrize("documents", ["file", "line", "blank_line"])
def test_what_is_cut_is_counted_once(tmp_path, tokenizer_dir, monkeypatch, documents):
    """A file of several groups of documents is read several times."""
    monkeypatch.setattr("gpt1_jax.data.text.documents._CHUNK_BYTES", 100)
    monkeypatch.setattr(encoding, "_GROUP_BYTES", 100)
    head = "*** START OF THE PROJECT GUTENBERG EBOOK A BOOK ***\n"
    text = "".join(f"The boat number {n} sank.\n\n" for n in range(40))
    tail = "*** END OF THE PROJECT GUTENBERG EBOOK A BOOK ***\nIt is free."
    pattern = write(tmp_path / "books", {"a.txt": head + text + tail})
    recipe = make_recipe(pattern, tokenizer_dir, documents=documents)
    store = preparation.prepare(recipe, tmp_path / "store")
    assert store.meta["cut"] == {
        "licences": 1,
        "characters": len(head + tail),
        "read": len(head + text + tail),
    }
    shown = preparation.describe(store)
    assert "cut: 1 licence of Project Gutenberg and 0 front matters, 113 ch" in shown
    assert "113 characters (9.9%)" in shown


def test_a_prepared_store_is_used_where_nothing_can_be_written(
    make_config, monkeypatch
):
    config = make_config().data
    store = preparation.open_corpus(config)
    for remembered in store.directory.glob(".verified*"):
        remembered.unlink()

    def refuse(path, *_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(corpus, "write_atomically", refuse)
    monkeypatch.setattr(preparation, "exclusive", refuse)
    monkeypatch.setattr(files, "check_writable", refuse)
    again = preparation.open_corpus(config)
    assert again.fingerprint == store.fingerprint
    assert not list(store.directory.glob(".verified*"))
