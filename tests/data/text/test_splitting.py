import gzip
import hashlib

import pytest

from gpt1_jax.config import DataConfig
from gpt1_jax.data.text import splitting

BLANK = {"empty.txt": "", "newline.txt": "\n"}


def write(directory, books):
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in books.items():
        (directory / name).write_bytes(content.encode())
    return f"{directory}/*.txt"


def find(pattern, eval_pattern="", holdout_fraction=0.01):
    config = DataConfig(holdout_fraction=holdout_fraction)
    return splitting.find(config, str(pattern), eval_pattern).sources


def sample(pattern):
    """Returns the sample of a corpus; one of its books is held out."""
    return list(splitting.sample(splitting.find(DataConfig(), pattern, "")))


def names(found, split):
    return {book.path.name for book in found if book.split == split}


def test_books_are_found_by_glob_directory_and_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    books = {"a.txt": "a b", "b.txt": "c d", "c.txt": "e f"}
    pattern = write(tmp_path / "some [books]", books)
    (tmp_path / "some [books]" / "readme.md").write_text("no book")
    (tmp_path / "some [books]" / "d.txt").mkdir()
    expected = [(tmp_path / "some [books]" / name) for name in books]
    for given in (
        str(tmp_path / "some ?books]/*.txt"),
        str(tmp_path / "some [books]"),
        str(tmp_path / "some [books]") + "/",
        "~/some [books]",
        "~/some ?books]/*.txt",
        str(tmp_path / "**" / "*.txt"),
    ):
        found = find(given)
        assert sorted(book.path for book in found) == expected
    # In a glob, brackets are a set of characters.
    with pytest.raises(FileNotFoundError, match="no file matches"):
        find(pattern)


def test_pattern_without_files_is_refused(tmp_path):
    message = r"no file matches '.*nowhere/\*.txt'; a glob of .*; quote it, and check"
    with pytest.raises(FileNotFoundError, match=message):
        find(tmp_path / "nowhere/*.txt")


def test_directories_that_a_glob_matches_are_said(tmp_path, capsys):
    for name in ("some", "more"):
        write(
            tmp_path / name, {"a.txt": f"the book {name}", "b.txt": f"another {name}"}
        )
    message = r"'.*/\*' matches directories only, such as .*more; a glob of"
    with pytest.raises(FileNotFoundError, match=message):
        find(tmp_path / "*")
    write(tmp_path, {"c.txt": "a book"})
    find(tmp_path / "**")
    assert "directories" not in capsys.readouterr().out
    assert len(find(tmp_path / "**" / "*")) == 5
    find(f"{tmp_path}/[!m]*")
    shown = " ".join(capsys.readouterr().out.split())
    assert "also matches directories, whose files are not read, such as" in shown
    assert "/some; name one directory" in shown


def test_book_in_another_encoding_is_refused(tmp_path):
    pattern = write(tmp_path, {"a.txt": "a", "b.txt": "b"})
    (tmp_path / "c.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"c.txt: byte 3 \(0xe9\) is not UTF-8"):
        find(pattern)


@pytest.mark.parametrize("others", [{}, BLANK])
def test_the_end_of_a_single_document_is_held_out(tmp_path, others):
    pattern = write(tmp_path, {"book.txt": "a b"} | others)
    split = splitting.find(DataConfig(), pattern, "")
    assert split.holds_out_tail
    assert {source.split for source in split.sources} == {"train"}
    write(tmp_path, {"other.txt": "c d"})
    assert not splitting.find(DataConfig(), pattern, "").holds_out_tail


def test_copies_of_a_single_document_are_refused(tmp_path):
    pattern = write(tmp_path, {"book.txt": "a b", "copy.txt": "a b"})
    message = r"holds 1 document with text, in copies; .*; remove the copies"
    with pytest.raises(ValueError, match=message):
        find(pattern)


def test_only_blank_books_are_refused(tmp_path):
    blank = write(tmp_path / "blank", BLANK)
    good = write(tmp_path / "good", {"a.txt": "a", "b.txt": "b"})
    message = r"blank/\*.txt': no text in 2 files; .*; check the path"
    with pytest.raises(ValueError, match=message):
        find(blank)
    with pytest.raises(ValueError, match=message):
        find(good, eval_pattern=blank)


def test_books_of_low_hash_are_held_out(tmp_path):
    books = {f"{n}.txt": f"book {n}" for n in range(200)}
    pattern = write(tmp_path, books)

    def fraction(content):
        return int(hashlib.sha256(content.encode()).hexdigest(), 16) / 2**256

    for share in (0.02, 0.3, 0.5):
        expected = {name for name in books if fraction(books[name]) < share}
        found = find(pattern, holdout_fraction=share)
        assert names(found, "valid") == expected
        assert names(found, "train") == books.keys() - expected
        assert 0.5 * share < len(expected) / 200 < 1.5 * share


def test_training_books_come_first_and_paths_are_sorted(tmp_path):
    pattern = write(tmp_path, {f"{n:03}.txt": f"book {n}" for n in range(50)})
    books = find(pattern, holdout_fraction=0.3)
    keys = [(book.split, book.path) for book in books]
    assert keys == sorted(keys)


def test_at_least_one_book_with_text_is_held_out(tmp_path):
    books = {"a.txt": "a b", "b.txt": "c d", "c.txt": "e f"}
    least = min(books, key=lambda n: hashlib.sha256(books[n].encode()).hexdigest())
    found = find(write(tmp_path, books), holdout_fraction=0.0)
    assert names(found, "valid") == {least}
    # The hash of a single newline is lower than that of 99 % of books.
    newline = hashlib.sha256(b"\n").hexdigest()
    assert newline.startswith("01")
    found = find(write(tmp_path, {"n.txt": "\n"}), holdout_fraction=0.01)
    assert names(found, "valid") == {least, "n.txt"}


def test_holding_out_all_books_is_refused(tmp_path):
    books = {}
    for n in range(100):
        if int(hashlib.sha256(b"%d" % n).hexdigest(), 16) / 2**256 < 0.5:
            books[f"{n}.txt"] = str(n)
    assert len(books) > 10
    message = rf"all {len(books)} documents with text are held out; .*; lower"
    with pytest.raises(ValueError, match=message):
        find(write(tmp_path, books), holdout_fraction=0.5)


def test_copies_stay_in_one_split(tmp_path):
    books = {f"{n}.txt": f"book {n}" for n in range(30)}
    copies = {f"copy_of_{name}": content for name, content in books.items()}
    found = find(write(tmp_path, books | copies), holdout_fraction=0.3)
    held_out = names(found, "valid")
    assert 2 < len(held_out) < 60
    for name in books:
        assert (name in held_out) == (f"copy_of_{name}" in held_out)


def test_added_books_do_not_change_the_split_of_others(tmp_path):
    books = {f"{n}.txt": f"book {n}" for n in range(60)}
    before = find(write(tmp_path, books), holdout_fraction=0.2)
    more = {f"0_{n}.txt": f"more {n}" for n in range(60)}
    after = find(write(tmp_path, more), holdout_fraction=0.2)
    assert len(after) == 120
    assert names(before, "valid") == names(after, "valid") & books.keys()
    assert names(before, "train") == names(after, "train") & books.keys()


def test_named_held_out_books_are_all_held_out(tmp_path):
    train = write(tmp_path / "train", {f"{n}.txt": f"book {n}" for n in range(9)})
    held_out = write(tmp_path / "valid", {"v.txt": "another", "w.txt": ""})
    found = find(train, eval_pattern=held_out, holdout_fraction=0.5)
    assert names(found, "valid") == {"v.txt", "w.txt"}
    assert names(found, "train") == {f"{n}.txt" for n in range(9)}


def test_held_out_books_that_are_trained_on_are_refused(tmp_path):
    train = write(tmp_path / "train", {"a.txt": "a b", "b.txt": "c d", "e.txt": ""})
    held_out = write(tmp_path / "valid", {"u.txt": "x", "v.txt": "c d", "e.txt": ""})
    message = r".* also has 1 of the 3 books of .*, such as .*v.txt; .*; narrow one"
    with pytest.raises(ValueError, match=message):
        find(train, eval_pattern=held_out)


def test_sample_takes_books_until_its_size_is_reached(tmp_path, monkeypatch):
    monkeypatch.setattr(splitting, "_SAMPLE_BLOCK_BYTES", 10)
    monkeypatch.setattr(splitting, "_SAMPLE_BYTES", 60)
    # There are more books than the sample has full blocks.
    books = {f"{n:02}.txt": f"b{n:02} " for n in range(20)}
    sampled = sample(write(tmp_path / "tiny", books))
    assert len(sampled) == 60 // 4
    assert set(sampled) < set(books.values())
    # Long books are sampled in blocks, each once, in order.
    long = {"a.txt": "\ufeff" + "0123456789" * 20, "b.txt": "é" * 100}
    pattern = write(tmp_path / "long", long)
    sampled = sample(pattern)
    assert 5 <= len(sampled) <= 6
    assert not any("\ufeff" in block or "\ufffd" in block for block in sampled)
    assert sampled == sample(pattern)


def sample_lines(tmp_path, lines):
    """Returns the sample of a corpus whose documents are lines."""
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    config = DataConfig(documents="line", holdout_fraction=0.0)
    return list(splitting.sample(splitting.find(config, f"{tmp_path}/lines.txt", "")))


@pytest.mark.parametrize(("num_lines", "length"), [(3, 4000), (3000, 4)])
def test_sample_takes_blocks_of_documents_of_any_size(
    tmp_path, monkeypatch, num_lines, length
):
    monkeypatch.setattr(splitting, "_SAMPLE_BLOCK_BYTES", 10)
    monkeypatch.setattr(splitting, "_SAMPLE_BYTES", 1000)
    lines = [f"{n:04}" * (length // 4) for n in range(num_lines)]
    sampled = sample_lines(tmp_path, lines)
    assert 600 < len("".join(sampled)) <= 1000
    assert max(map(len, sampled)) <= 10
    numbers = [text[i : i + 4] for text in sampled for i in range(0, len(text) - 3, 4)]
    assert len(set(numbers)) > min(num_lines, 100) * 0.6
    assert sampled == sample_lines(tmp_path, lines)


def test_small_corpora_of_lines_are_sampled_whole(tmp_path):
    lines = [f"line {n}" for n in range(50)]
    held_out = min(lines, key=lambda n: hashlib.sha256(n.encode()).hexdigest())
    assert sample_lines(tmp_path, lines) == [line for line in lines if line != held_out]


@pytest.mark.parametrize("documents", ["file", "line"])
def test_the_held_out_end_of_a_document_is_not_sampled(tmp_path, documents):
    path = tmp_path / "a.txt"
    path.write_text("да" * 450 + "нет!" * 25)  # 1800 and 175 bytes
    split = splitting.find(DataConfig(documents=documents), str(path), "")
    (found,) = splitting.sample(split)
    assert found == path.read_text()[: int(1975 * 0.9) // 2]


def test_training_books_of_a_small_corpus_are_sampled_whole(story_books):
    books = [book for book in find(str(story_books)) if book.split == "train"]
    sampled = sample(str(story_books))
    assert sampled == [book.path.read_bytes().decode("utf-8-sig") for book in books]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "c.jsonl",
            b'{"text": "a book"}\n',
            r"is text \(2, such as .*a.txt\) and JSON Lines \(1, .*c.jsonl\); files of",
        ),
        (
            "c.txt",
            "a book".encode("utf-16"),
            r"c.txt is UTF-16; UTF-8 is expected",
        ),
        ("c.txt", b'{"text": "a book"}\n', r"named as text, but holds JSON Lines"),
        (
            "c.txt",
            gzip.compress(b"a book" * 99, mtime=0)[:-9],
            r"c.txt: its gzip data is dam",
        ),
    ],
)
def test_files_of_other_formats_are_refused(tmp_path, name, content, message):
    for book in ("a.txt", "b.txt"):
        (tmp_path / book).write_text(f"the book {book}")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        find(tmp_path / "*")


def test_leftovers_beside_books_are_not_books(tmp_path, capsys):
    for name in ("a.txt", "b.txt", "b.txt~", "Thumbs.db"):
        (tmp_path / name).write_text(f"the file {name}")
    books = find(tmp_path / "*")
    assert {book.path.name for book in books} == {"a.txt", "b.txt"}
    shown = " ".join(capsys.readouterr().out.split())
    assert "left out 2 files of a system or an editor, such as" in shown
