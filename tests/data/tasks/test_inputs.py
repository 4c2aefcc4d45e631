"""The user's own examples, read from files of any format."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from gpt1_jax.data.tasks import inputs
from gpt1_jax.data.tasks.examples import Example
from gpt1_jax.data.tasks.rows import TASKS


def read(task, path):
    return inputs.read_input(TASKS[task], path)


def texts(found):
    return [example.parts[0] for example in found.examples]


@pytest.fixture
def write(tmp_path):
    """(name, content) -> the path of a file."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("task", "content", "example"),
    [
        ("rte", "sentence2\tid\tsentence1\nb\t1\ta\n", Example(("a", "b"), None)),
        (
            "race",
            "article\tquestion\tA\tB\tC\tD\nArt.\tQ _\ta\tb\tc\td\n",
            Example(("a", "b", "c", "d"), None, "Art.", "Q _"),
        ),
        (
            "storycloze",
            "InputSentence1\tInputSentence2\tInputSentence3\tInputSentence4\t"
            "RandomFifthSentenceQuiz1\tRandomFifthSentenceQuiz2\n"
            "A.\tB.\tC.\tD.\te\tf",
            Example(("e", "f"), None, "A. B. C. D."),
        ),
        ("sst2", "id\tsentence\n1\tgood\n", Example(("good",), None)),
        ("sst2", "id\tSentence \n1\tgood\n", Example(("good",), None)),
    ],
)
def test_a_tsv_has_the_columns_of_the_task(write, task, content, example):
    for name in ("in.tsv", "in.txt"):
        assert read(task, write(name, content)).examples == (example,)


def test_every_format_gives_the_same_examples(write, tmp_path):
    given = ["hello, you", 'she said "no"', "two words", "ünïcode"]
    csv = 'id,sentence\n1,"hello, you"\n2,"she said ""no"""\n3,two words\n4,ünïcode\n'
    jsonl = "".join(f"{json.dumps({'id': 1, 'sentence': text})}\n" for text in given)
    tsv = "".join(f"{line}\n" for line in ["sentence", *given])
    table = pyarrow.table({"sentence": given})
    parquet, zstd = tmp_path / "in.parquet", tmp_path / "in.tsv.zst"
    pyarrow.parquet.write_table(table, parquet)
    with pyarrow.CompressedOutputStream(str(zstd), "zstd") as file:
        file.write(tsv.encode())
    paths = [
        write("in.csv", csv),
        write("in.jsonl", jsonl),
        write("in.tsv", tsv),
        write("in.TSV.gz", gzip.compress(tsv.encode())),
        write("in.txt", "\ufeff" + tsv.removeprefix("sentence\n")),
        write("header.txt", csv),
        parquet,
        zstd,
    ]
    for path in paths:
        assert texts(read("sst2", path)) == given, path


def test_a_table_that_is_named_as_text_is_read_as_a_table_and_said(write):
    path = write("in.txt", 'sentence,label\n"good, day",1\n')
    found = read("sst2", path)
    assert texts(found) == ["good, day"]
    assert found.notes == (f"{path}: line 1 names the columns: it is read as csv",)


def test_blank_lines_in_a_table_are_refused_as_each_row_gets_a_label(write):
    path = write("in.csv", 'sentence\none\n""\ntwo\n\n')
    assert texts(read("sst2", path)) == ["one", "", "two"]
    for name in ("in.csv", "in.tsv"):
        with pytest.raises(ValueError, match=rf"{name}: line 3 is blank; .* remove it"):
            read("sst2", write(name, "sentence\none\n\ntwo\n"))


def test_a_cell_may_be_long_or_hold_line_ends(write):
    long = "word " * 100_000
    path = write("in.csv", f'sentence,id\n"two\nlines",1\n{long},2\n')
    assert texts(read("sst2", path)) == ["two\nlines", long]


def test_texts_for_single_sentences_may_be_one_a_line(write):
    path = write("in.txt", "This sentence.\na\tb\n\nlast")
    found = read("cola", path)
    assert texts(found) == ["This sentence.", "a\tb", "", "last"]
    assert found.notes == (f"{path}: 1 empty text",)


@pytest.mark.parametrize(
    ("task", "name", "content", "message"),
    [
        (
            "rte",
            "in.tsv",
            "premise\thypothesis\na\tb\n",
            r"the columns are premise, hy",
        ),
        (
            "sst2",
            "in.tsv",
            "id\treview\n1\tgood\n",
            r"line 1: the columns are id, rev",
        ),
        ("sst2", "in.csv", "review,id\n", r"the columns are review, id; sentence must"),
        (
            "sst2",
            "in.tsv",
            "sentence\ta\ngood\tb\tc\n",
            r"line 2: 3 columns; 2 are exp",
        ),
        (
            "rte",
            "in.tsv",
            "sentence1\tsentence2\na\n",
            r"line 2: 1 column; 2 are expe",
        ),
        ("sst2", "in.csv", "sentence\n\xff\n", r"line 2: byte 0xff is not UTF-8"),
        ("sst2", "in.csv", 'sentence\n"a\n', r"line 2: unexpected end of data; comma-"),
        (
            "sst2",
            "in.jsonl",
            '{"sentence": "a"}\n{\n',
            r"line 2, column 2: .*a JSON object on",
        ),
        ("sst2", "in.jsonl", '{"sentence": "a"}\n[1]\n', r"line 2 is a list; a JSON"),
        ("sst2", "in.jsonl", '{"sentence": 3}\n', r"line 1: no text in sentence; tex"),
        ("cola", "in.txt", "\n", r"in.txt holds no text; one in each row is expected"),
        ("dpr", "in.txt", "a\n", r"task dpr has no columns to read .*zero-shot task"),
    ],
)
def test_input_that_cannot_be_read_is_refused(write, task, name, content, message):
    path = write(name, content.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        read(task, path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is not there; a file is exp"):
        read("cola", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"is a directory; a file is expected"):
        read("cola", tmp_path)
