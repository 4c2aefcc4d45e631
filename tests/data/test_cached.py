"""Data sets of texts that are written to the cache as files, and the cache itself."""

import json
from pathlib import Path

import pytest

from gpt1_jax import files
from gpt1_jax.config import DataConfig
from gpt1_jax.data import cached
from gpt1_jax.data.tasks import tfds


def written(directory) -> list[str]:
    return [path.read_text() for path in sorted(directory.glob("*.txt"))]


def test_long_texts_are_books_and_short_ones_share_files(tmp_path, monkeypatch):
    monkeypatch.setattr(cached, "_FILE_CHARACTERS", 10)
    monkeypatch.setattr(cached, "_BOOK_CHARACTERS", 20)
    book = "a book\nof two lines and more"
    cached.write_books(tmp_path, ["one", "two\nlines", book, "three", "four"])
    assert written(tmp_path) == ["one\ntwo lines\n", book, "three\nfour\n"]


@pytest.mark.parametrize(
    ("splits", "held_out"),
    [
        ({"train": 2, "validation": 1, "test": 1}, {"validation"}),
        ({"train": 2, "test": 1}, {"test"}),
        ({"train": 2, "validation": 0, "extra": 5}, set()),
    ],
)
def test_one_split_is_held_out(splits, held_out, tmp_path, monkeypatch):
    monkeypatch.setattr(
        tfds, "describe", lambda name, tfds_dir: ("set/1.0.0-ab", splits)
    )
    monkeypatch.setattr(
        tfds, "texts", lambda name, split, tfds_dir: [f"{name} {split}"]
    )
    config = DataConfig(cache_dir=str(tmp_path))
    found = cached.tfds_books(config, "set")
    assert list(found) == ["train", *held_out]
    for split, directory in found.items():
        assert directory == tmp_path / "tfds/set/1.0.0-ab" / split
        assert written(directory) == [f"set {split}\n"]


def test_a_set_without_training_texts_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        tfds, "describe", lambda name, tfds_dir: ("set/1.0.0-ab", {"test": 3})
    )
    with pytest.raises(ValueError, match=r"tfds:set has texts in test; a split train"):
        cached.tfds_books(DataConfig(cache_dir=str(tmp_path)), "set")


def test_leftovers_of_a_killed_writer_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(
        tfds, "describe", lambda name, tfds_dir: ("set/1.0.0-ab", {"train": 1})
    )
    monkeypatch.setattr(tfds, "texts", lambda *_: ["whole"])
    half = tmp_path / "tfds/set/1.0.0-ab/.train.1.part"
    half.mkdir(parents=True)
    (half / "0000009.txt").write_text("half")
    (directory,) = cached.tfds_books(
        DataConfig(cache_dir=str(tmp_path)), "set"
    ).values()
    assert written(directory) == ["whole\n"]
    assert not half.exists()


def lose(directory):
    (directory / "book_0001.txt").unlink()


def cut(directory):
    (directory / "book_0000.txt").write_text("Cut.\n")


def change(directory):
    path = directory / "book_0000.txt"
    path.write_bytes(path.read_bytes().swapcase())


def add(directory):
    (directory / "book_9999.txt").write_text("A foreign book.\n")


def forget(directory):
    (directory / ".manifest.json").write_text("{")


@pytest.mark.parametrize("damage", [lose, cut, change, add, forget])
def test_damaged_storyworld_is_written_again(tmp_path, capsys, damage):
    config = DataConfig(cache_dir=str(tmp_path), storyworld_megabytes=0.07)
    directory = cached.storyworld_books(config)
    books = {path.name: path.read_bytes() for path in directory.glob("*.txt")}
    assert len(books) > 1
    capsys.readouterr()
    (directory / ".DS_Store").write_bytes(b"\0")
    assert cached.storyworld_books(config) == directory
    assert not capsys.readouterr().out
    damage(directory)
    assert cached.storyworld_books(config) == directory
    said = " ".join(capsys.readouterr().out.split())
    assert f"warning: {directory} has lost or changed files since it was wr" in said
    assert "it is being written again" in said
    assert {p.name: p.read_bytes() for p in directory.glob("*.txt")} == books


def test_a_directory_of_an_earlier_version_is_accepted_and_gets_a_manifest(
    tmp_path, capsys, monkeypatch
):
    config = DataConfig(cache_dir=str(tmp_path), storyworld_megabytes=0.07)
    directory = cached.storyworld_books(config)
    manifest = directory / ".manifest.json"
    text = manifest.read_text()
    manifest.unlink()
    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(files, "write_atomically", refuse)
        assert cached.storyworld_books(config) == directory
        assert not manifest.exists()
    assert cached.storyworld_books(config) == directory
    assert json.loads(manifest.read_text()) == json.loads(text)
    sums_only = {name: entry[:2] for name, entry in json.loads(text).items()}
    manifest.write_text(json.dumps(sums_only))
    assert cached.storyworld_books(config) == directory
    assert json.loads(manifest.read_text()) == json.loads(text)
    assert not capsys.readouterr().out


def refuse(path, text):
    raise PermissionError(path)


def test_only_files_that_changed_are_read_again(tmp_path, monkeypatch):
    config = DataConfig(cache_dir=str(tmp_path), storyworld_megabytes=0.07)
    directory = cached.storyworld_books(config)
    read = []
    sums = files.sums

    def counted(paths):
        read.extend(paths)
        return sums(paths)

    monkeypatch.setattr(files, "sums", counted)
    cached.storyworld_books(config)
    assert not read
    (directory / "book_0001.txt").touch()
    for _ in range(2):
        cached.storyworld_books(config)
        assert read == ["book_0001.txt"]


def test_damaged_tasks_are_written_again(tmp_path, capsys):
    config = DataConfig(cache_dir=str(tmp_path))
    directory = cached.storyworld_tasks(config)
    before = (directory / "RTE/train.tsv").read_bytes()
    (directory / "RTE/train.tsv").write_bytes(before[:-200])
    assert (cached.storyworld_tasks(config) / "RTE/train.tsv").read_bytes() == before
    assert "is being written again" in " ".join(capsys.readouterr().out.split())


def test_without_a_home_the_message_names_a_field_and_a_variable(monkeypatch, tmp_path):
    def no_home(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("GPT1_JAX_CACHE_DIR", raising=False)
    monkeypatch.setattr(Path, "expanduser", no_home)
    message = r"no home directory; .* --config.data.cache_dir=DIR, or GPT1_JAX_CACHE_DI"
    with pytest.raises(ValueError, match=message):
        cached.root(DataConfig.cache_dir)
    monkeypatch.undo()
    monkeypatch.setenv("GPT1_JAX_CACHE_DIR", str(tmp_path))
    assert cached.root(DataConfig.cache_dir) == tmp_path
    assert cached.root("/given") == Path("/given")
