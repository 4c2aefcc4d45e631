import json

import pytest

from gpt1_jax.data.tasks import readers
from gpt1_jax.data.tasks.examples import Columns, Example, Labels
from gpt1_jax.data.tasks.readers import SHORT_ROW
from gpt1_jax.errors import UserError
from tests.data.tasks.reading import CLOZE, read, write

BINARY = {"0": 0, "1": 1}
SENTENCE = Columns(("sentence",), Labels("label", BINARY))
PAIR = Columns(("a", "b"), Labels("label", {"yes": 0, "no": 1}))


def texts(examples):
    return [example.parts for example in examples]


def test_quotes_in_a_tsv_are_ordinary_characters(tmp_path):
    path = write(tmp_path, 'sentence\tlabel\n"open\t1\nclose"\t0\n""\t1\n')
    examples, _ = read(readers.read_tsv, path, columns=SENTENCE)
    assert examples == [
        Example(('"open',), 1),
        Example(('close"',), 0),
        Example(('""',), 1),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_end_at_newlines_only(tmp_path, end):
    odd = "a\u2028b\x85c\x0bd\x0ce\x1cf\rg"
    lines = ["sentence\tlabel", f"{odd}\t1", "", "  ", "last\t0"]
    expected = [Example((odd,), 1), Example(("last",), 0)]
    for final in (end, ""):
        path = write(tmp_path, end.join(lines) + final)
        assert read(readers.read_tsv, path, columns=SENTENCE) == (expected, {})


def test_byte_order_mark_is_dropped_from_the_file_not_from_texts(tmp_path):
    path = write(tmp_path, "\ufeffsentence\tlabel\n\ufeffx\t1\n")
    examples, _ = read(readers.read_tsv, path, columns=SENTENCE)
    assert texts(examples) == [("\ufeffx",)]


def test_columns_are_found_by_name_in_any_order(tmp_path):
    path = write(tmp_path, "b\tid\tlabel\tmore\ta\n1b\t1\tno\t?\t1a\n2b\t2\tyes\t?\t\n")
    examples, _ = read(readers.read_tsv, path, columns=PAIR)
    assert examples == [Example(("1a", "1b"), 1), Example(("", "2b"), 0)]


def test_file_without_header_is_read_by_place(tmp_path):
    path = write(tmp_path, "src\t1\t*\tOne.\nsrc\t0\t\tTwo.\n")
    columns = Columns((3,), Labels(1, BINARY))
    examples, _ = read(readers.read_tsv, path, columns=columns, has_header=False)
    assert examples == [Example(("One.",), 1), Example(("Two.",), 0)]


def test_row_of_empty_cells_is_not_a_blank_line(tmp_path):
    path = write(tmp_path, "a\tb\n\t\nx\ty\n")
    examples, _ = read(readers.read_tsv, path, columns=Columns(("a", "b")))
    assert texts(examples) == [("", ""), ("x", "y")]


def test_short_rows_are_errors_unless_the_format_has_some(tmp_path):
    content = "id\ta\tb\tlabel\n1\tx\ty\tno\n2\tbroken\nz\tw\tyes\n3\tv\tu\tyes\n"
    path = write(tmp_path, content)
    message = r"file.txt: line 3: 2 columns; 4 are expected, with a, b, label among"
    with pytest.raises(ValueError, match=message):
        read(readers.read_tsv, path, columns=PAIR)
    examples, skipped = read(readers.read_tsv, path, columns=PAIR, skips_short=True)
    assert texts(examples) == [("x", "y"), ("v", "u")]
    assert skipped == {SHORT_ROW: 2}


def test_a_message_shortens_very_long_column_names(tmp_path):
    path = write(tmp_path, "9" * 100_000 + "\ttext\n")
    message = r"the columns are 9+ \.\.\.; a, b must"
    with pytest.raises(UserError, match=message) as found:
        read(readers.read_tsv, path, columns=Columns(("a", "b")))
    assert len(str(found.value)) < 1000


def test_row_without_unneeded_columns_is_read(tmp_path):
    path = write(tmp_path, "label\ta\tb\tlabel1\tlabel2\nno\tx\ty\tno\n")
    assert read(readers.read_tsv, path, columns=PAIR)[0] == [Example(("x", "y"), 1)]


def test_row_with_too_many_columns_is_refused_with_its_line(tmp_path):
    path = write(tmp_path, "sentence\tlabel\nx\t1\n\na tab\tin it\t1\n")
    message = r"file.txt: line 4: 3 columns; 2 are expected; correct or remove"
    for skips_short in (False, True):
        with pytest.raises(ValueError, match=message):
            read(readers.read_tsv, path, columns=SENTENCE, skips_short=skips_short)
    path = write(tmp_path, "x\ty\t0\tz\n")
    columns = Columns((0, 1), Labels(2, BINARY))
    with pytest.raises(ValueError, match=r"line 1: 4 columns; 3 are expected"):
        read(readers.read_tsv, path, columns=columns, has_header=False)


def test_missing_columns_are_refused_with_those_of_the_file(tmp_path):
    path = write(tmp_path, "index\ttext\n0\tx\n")
    message = (
        r"file.txt: line 1: the columns are index, text; sentence, label must be among"
    )
    with pytest.raises(ValueError, match=message):
        read(readers.read_tsv, path, columns=SENTENCE)
    message = "file.txt is empty; a first line that names the columns is expected"
    for reader in (readers.read_tsv, readers.read_csv):
        with pytest.raises(ValueError, match=message):
            read(reader, write(tmp_path, ""), columns=SENTENCE)


def test_file_without_labels_where_they_are_needed_is_refused(tmp_path):
    path = write(tmp_path, "index\tsentence\n0\tx\n")
    message = r"no labels: column label is missing among index, sentence; .*; use the"
    with pytest.raises(ValueError, match=message):
        read(readers.read_tsv, path, columns=SENTENCE)
    unlabelled = Columns(("sentence",))
    examples, _ = read(readers.read_tsv, path, columns=unlabelled)
    assert examples == [Example(("x",), None)]


def test_label_outside_the_classes_is_refused_with_its_line(tmp_path):
    path = write(tmp_path, "a\tb\tlabel\nx\ty\tno\nx\ty\tmaybe\n")
    message = r"file.txt: line 3: label 'maybe'; one of yes, no is expected; correct"
    with pytest.raises(ValueError, match=message):
        read(readers.read_tsv, path, columns=PAIR)
    path = write(tmp_path, '{"a": "x", "b": "y", "label": ""}\n')
    with pytest.raises(ValueError, match=r"line 1: label ''; one of yes, no is"):
        read(readers.read_jsonl, path, columns=PAIR)


def test_scores_are_numbers_from_0_to_5(tmp_path):
    columns = Columns(("s",), Labels("score", {}))
    path = write(tmp_path, "s\tscore\nx\t0\ny\t5.000\nz\t3.6\n")
    examples, _ = read(readers.read_tsv, path, columns=columns)
    assert [example.label for example in examples] == [0.0, 5.0, 3.6]
    for bad in ("5.001", "-0.1", "nan", "high", ""):
        path = write(tmp_path, f"s\tscore\nx\t0\ny\t{bad}\n")
        message = rf"line 3: label '{bad}'; a number from 0 to 5 is expected"
        with pytest.raises(ValueError, match=message):
            read(readers.read_tsv, path, columns=columns)


def test_rows_without_a_gold_label_are_skipped_and_counted(tmp_path):
    labels = Labels("gold_label", {"entailment": 0, "neutral": 1}, absent="-")
    columns = Columns(("sentence1", "sentence2"), labels)
    rows = [("-", "a", "b"), ("neutral", "c", "d"), ("-", "e", "f")]
    header = ("gold_label", "sentence1", "sentence2")
    table = "\n".join("\t".join(row) for row in [header, *rows])
    lines = "\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in rows)
    expected = [Example(("c", "d"), 1)], {"rows without a gold label ('-')": 2}
    assert read(readers.read_tsv, write(tmp_path, table), columns=columns) == expected
    assert read(readers.read_jsonl, write(tmp_path, lines), columns=columns) == expected


def test_dash_is_a_wrong_label_unless_labels_may_be_absent(tmp_path):
    path = write(tmp_path, "a\tb\tlabel\nx\ty\t-\n")
    with pytest.raises(ValueError, match="line 2: label '-'"):
        read(readers.read_tsv, path, columns=PAIR)


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    message = r"file.txt: line 3: byte 0xe9 is not UTF-8; .*; convert it"
    table, lines = b"sentence\tlabel\nx\t1\n", b'{"sentence": "x", "label": "1"}\n' * 2
    for reader, good in (
        (readers.read_tsv, table),
        (readers.read_csv, table),
        (readers.read_jsonl, lines),
    ):
        path = write(tmp_path, good + b"caf\xe9\t0\n")
        with pytest.raises(ValueError, match=message):
            read(reader, path, columns=SENTENCE)


def test_jsonl_line_without_the_keys_is_refused(tmp_path):
    good = '{"sentence": "x", "label": "1", "more": [1]}\n'
    assert read(readers.read_jsonl, write(tmp_path, good), columns=SENTENCE)[0] == [
        Example(("x",), 1)
    ]
    path = write(tmp_path, good + '{"sentence": "x", "label"\n')
    with pytest.raises(
        ValueError, match=r"line 2, column 26: Expecting .*; a JSON object on each"
    ):
        read(readers.read_jsonl, path, columns=SENTENCE)
    for bad in ('{"sentence": "x"}', '{"sentence": "x", "label": true}'):
        path = write(tmp_path, good + bad)
        message = r"line 2: no text in label; texts in sentence, label"
        with pytest.raises(ValueError, match=message):
            read(readers.read_jsonl, path, columns=SENTENCE)
    with pytest.raises(ValueError, match=r"line 1 is a list; a JSON object"):
        read(readers.read_jsonl, write(tmp_path, "[]"), columns=SENTENCE)


def test_csv_cells_are_unquoted_and_context_is_joined(tmp_path):
    content = (
        "\ufeffId,S1,S2,End1,End2,Right\r\n"
        '1,"He said, ""go"".",So she went.,"Far, far","Two\nlines",2\r\n'
        "\r\n"
        "2,a,b,c,d,1\r\n"
    )
    examples, _ = read(readers.read_csv, write(tmp_path, content), columns=CLOZE)
    assert examples == [
        Example(("Far, far", "Two\nlines"), 1, 'He said, "go". So she went.'),
        Example(("c", "d"), 0, "a b"),
    ]


def test_csv_row_that_is_malformed_is_refused_with_its_line(tmp_path):
    header = "Id,S1,S2,End1,End2,Right\n"
    for row, message in (
        ("1,a,b,c,d", r"line 4: 5 columns; 6 are expected, with S1, S2, End1"),
        ("1,a,b,c,d,e,1", r"line 4: 7 columns; 6 are expected"),
        ("1,a,b,c,d,3", r"line 4: label '3'; one of 1, 2 is expected"),
        ('1,a,b,c,"d"e,1', r"line 4: .*; comma-separated cells, .*; correct the row"),
    ):
        path = write(tmp_path, f'{header}1,"a\na",b,c,d,1\n{row}\n')
        with pytest.raises(ValueError, match=message):
            read(readers.read_csv, path, columns=CLOZE)
