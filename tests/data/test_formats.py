"""Formats of files, told by name and content."""

import gzip
import io
import os
import subprocess
import sys
import threading
import zipfile

import pytest

from gpt1_jax.data import formats

# Without a time: tests are named by these bytes in several processes.
GZIPPED_TEXT = gzip.compress(b"a text", mtime=0)
GZIPPED_CSV = gzip.compress(b"a,b", mtime=0)
GZIPPED_JSONL = gzip.compress(b'{"a": 1}', mtime=0)


@pytest.fixture
def write(tmp_path):
    """(name, content) -> the path of a file."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo("xl/workbook.xml"), "<workbook/>")
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "kind", "compression"),
    [
        ("a", b"a text", "text", ""),
        ("a.md", b"# A text", "text", ""),
        ("a.txt", b"{not JSON}", "text", ""),
        ("a.txt", b"", "text", ""),
        ("a.CSV", b"a,b", "csv", ""),
        ("a.tsv", b"a\tb", "tsv", ""),
        ("a.ndjson", b'\xef\xbb\xbf\n{"a": 1}', "JSON Lines", ""),
        ("a.jsonl", b'{"a": "' + b"x" * 100_000 + b'"}', "JSON Lines", ""),
        ("standard_input", b'{"a": 1}\n', "JSON Lines", ""),
        ("no_suffix", b"a,b\n", "text", ""),
        ("a.csv.gz", GZIPPED_CSV, "csv", "gzip"),
        ("a.jsonl.gz", GZIPPED_JSONL, "JSON Lines", "gzip"),
        ("a.txt", GZIPPED_TEXT, "text", "gzip"),
    ],
)
def test_a_format_follows_from_name_and_content(
    write, name, content, kind, compression
):
    assert formats.detect(write(name, content)) == formats.Format(kind, compression)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.txt",
            b'{"a": 1}\n',
            r"named as text, but holds JSON Lines; .* to a.jsonl$",
        ),
        ("a.csv", b'{"a": 1}\n', r"named as csv, but holds JSON Lines; .* to a.jsonl$"),
        ("a.txt.gz", GZIPPED_JSONL, r"holds JSON.* to a.jsonl.gz$"),
        ("a.jsonl", b"PAR1....", r"named as JSON Lines, but holds parquet"),
        ("a.parquet", b"a,b\n", r"named as parquet, but is not"),
        ("a.txt.gz", b"a text", r"named as gzip, but is not compressed"),
        ("a.txt.zst", GZIPPED_TEXT, r"named as zstd, but is gzip"),
        (
            "a.txt",
            zipped(),
            r"is a zip archive or a spreadsheet; .*; unpack it, or save",
        ),
        ("a.xlsx", zipped(), r"is a zip archive or a spreadsheet"),
        ("a.txt", b"%PDF-1.7", r"is a PDF; plain text, csv"),
        ("a.txt", b"BZh91AY", r"compressed by bzip2; .* `bunzip2 .*a.txt`"),
        ("a.txt", b"\x00\x01\x02binary", r"is binary"),
        ("a.txt", "a".encode("utf-32"), r"is UTF-32; UTF-8 is expected"),
    ],
)
def test_other_formats_and_contradictions_are_refused(write, name, content, message):
    with pytest.raises(ValueError, match=message):
        formats.detect(write(name, content))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_the_command_that_is_advised_for_wide_text_converts_it(write, encoding):
    path = write("it's one.txt", "Some text that is long enough.\n".encode(encoding))
    with pytest.raises(ValueError, match="UTF-8 is expected") as caught:
        formats.detect(path)
    run_advice(str(caught.value))
    assert path.with_name("it's one.utf8.txt").read_text() == (
        "Some text that is long enough.\n"
    )


@pytest.mark.parametrize("raw", [b"caf\xe9 \x80", b"caf\xe9 \x81"])
def test_the_command_that_is_advised_for_bytes_converts_them(write, raw):
    path = write("a.txt", raw)
    error = formats.not_utf8(path, "byte 3 (0xe9)", raw)
    assert "a.txt: byte 3 (0xe9) is not UTF-8" in str(error)
    run_advice(str(error))
    assert path.with_name("a.utf8.txt").read_text().startswith("café")


def run_advice(message: str) -> None:
    command = message.split("`")[1]
    environment = os.environ | {"LC_ALL": "C"}
    subprocess.run(command, shell=True, check=True, env=environment)


@pytest.mark.parametrize("cut", [slice(0, -6), slice(0, 40)])
def test_a_damaged_compressed_file_is_refused(write, cut):
    path = write("a.txt.gz", gzip.compress(os.urandom(1000))[cut])
    with (
        pytest.raises(ValueError, match=r"gzip data is damaged or ends early"),
        formats.open_binary(path) as file,
    ):
        file.read()


def test_pipes_and_standard_input_are_read_once(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[b"through a pipe"])
    writer.start()
    with formats.local_file(str(pipe)) as path:
        assert path.read_bytes() == path.read_bytes() == b"through a pipe"
    writer.join()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"standard")))
    with formats.local_file("-") as path:
        assert path.read_bytes() == b"standard"
    assert not path.exists()
    with (
        pytest.raises(FileNotFoundError, match="no file nowhere"),
        formats.local_file("nowhere"),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "is_leftover"),
    [
        (".DS_Store", True),
        ("._book.txt", True),
        ("Thumbs.db", True),
        ("desktop.ini", True),
        ("book.txt~", True),
        ("#book.txt#", True),
        (".book.txt.swp", True),
        ("~$book.docx", True),
        ("book.txt.part", True),
        ("book.txt", False),
        ("#1.txt", False),
    ],
)
def test_leftovers_of_systems_and_editors_are_known(tmp_path, name, is_leftover):
    assert formats.is_leftover(tmp_path / name) == is_leftover
