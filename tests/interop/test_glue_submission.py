"""The zip for GLUE: its content, and the refusal of each defect."""

import zipfile

import pytest

from gpt1_jax.evaluation.predictions import Prediction
from gpt1_jax.interop import glue_submission
from gpt1_jax.interop.glue_submission import FILES

# gluebenchmark.com/faq.
NAMES = [
    *("CoLA.tsv", "SST-2.tsv", "MRPC.tsv", "STS-B.tsv", "MNLI-m.tsv", "MNLI-mm.tsv"),
    *("QNLI.tsv", "QQP.tsv", "RTE.tsv", "WNLI.tsv", "AX.tsv"),
]
ENTAILMENT = ("entailment", "neutral", "contradiction", "entailment", "neutral")
ANSWERS = {
    "CoLA.tsv": ("1", "0", "1"),
    "SST-2.tsv": ("0", "0"),
    "MRPC.tsv": ("1",),
    "STS-B.tsv": (-0.2, 0.12349, 3.0, 5.0004, 7.5),
    "MNLI-m.tsv": ENTAILMENT,
    "MNLI-mm.tsv": ENTAILMENT[1:],
    "QNLI.tsv": ("not_entailment", "entailment"),
    "QQP.tsv": ("0", "1", "1", "0", "0", "0", "1"),
    "RTE.tsv": ("entailment", "not_entailment", "entailment"),
    "WNLI.tsv": ("1", "0"),
    "AX.tsv": ENTAILMENT[::-1],
}
ROWS = {name: len(values) for name, values in ANSWERS.items()}


@pytest.fixture
def good(tmp_path):
    """Writes a valid submission."""
    glue_submission.write(ANSWERS, ROWS, tmp_path / "good.zip")
    return tmp_path / "good.zip"


def texts_of(path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def rewrite(path, texts: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)


def test_the_files_are_those_that_glue_expects(good):
    assert list(texts_of(good)) == list(FILES) == NAMES


def test_tables_have_the_format_of_glue(good):
    texts = texts_of(good)
    assert texts["CoLA.tsv"] == "index\tprediction\n0\t1\n1\t0\n2\t1\n"
    assert texts["QNLI.tsv"] == "index\tprediction\n0\tnot_entailment\n1\tentailment\n"


def test_scores_are_clipped_and_have_three_decimals(good):
    rows = texts_of(good)["STS-B.tsv"].splitlines()[1:]
    assert rows == ["0\t0.000", "1\t0.123", "2\t3.000", "3\t5.000", "4\t5.000"]


def test_a_written_submission_is_valid(good):
    glue_submission.validate(good, ROWS)


def test_equal_predictions_make_equal_bytes(good, tmp_path):
    # The order in which they are given does not matter.
    again = tmp_path / "below/again.zip"
    glue_submission.write(dict(reversed(ANSWERS.items())), ROWS, again)
    assert again.read_bytes() == good.read_bytes()
    with zipfile.ZipFile(good) as archive:
        dates = {info.date_time for info in archive.infolist()}
    assert dates == {(1980, 1, 1, 0, 0, 0)}


def test_official_row_counts_sum_to_the_whole_benchmark():
    assert sum(file.num_rows for file in FILES.values()) == 426_309


def test_each_task_but_ax_is_predicted_by_its_own_model():
    others = [file for file in FILES.values() if file.name != "AX.tsv"]
    assert all(file.predicted_by == file.task for file in others)
    assert all(file.predictions_split == file.split for file in others)
    ax = FILES["AX.tsv"]
    assert (ax.predicted_by, ax.predictions_split, ax.num_rows) == ("mnli", "ax", 1104)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("CoLA.tsv", ("acceptable", "unacceptable"), ["1", "0"]),
        ("WNLI.tsv", ("entailment", "not_entailment"), ["1", "0"]),
        # Labels of GLUE stay unchanged.
        ("MRPC.tsv", ("1", "0"), ["1", "0"]),
        ("RTE.tsv", ("not_entailment", "entailment"), ["not_entailment", "entailment"]),
        ("AX.tsv", ENTAILMENT, list(ENTAILMENT)),
        ("STS-B.tsv", (2.5, 7.0), [2.5, 7.0]),
    ],
)
def test_answers_are_labels_of_glue(name, given, expected):
    rows = [Prediction(i, None, answer, ()) for i, answer in enumerate(given)]
    assert glue_submission.answers(FILES[name], rows, "test.jsonl") == expected


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        (
            "SST-2.tsv",
            (0, "bad"),
            "x line 1 predicts 'bad'; negative or positive is ex",
        ),
        ("SST-2.tsv", (0, 1), "x line 1 predicts 1; negative or positive is expected;"),
        ("RTE.tsv", (0, "neutral"), "'neutral'; entailment or not_entailment is exp"),
        ("STS-B.tsv", (0, "a"), "x line 1 predicts 'a'; a number is expected; predict"),
        (
            "RTE.tsv",
            (1, "entailment"),
            "line 1 has index 1; 0 is expected, each example",
        ),
    ],
)
def test_predictions_without_a_label_in_glue_are_refused(name, row, message):
    index, answer = row
    rows = [Prediction(index, None, answer, ())]
    with pytest.raises(ValueError, match=message):
        glue_submission.answers(FILES[name], rows, "x")


def without(text: str, line: int) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(lines[: line - 1] + lines[line:])


def from_one(text: str) -> str:
    header, *rows = text.splitlines()
    cells = [row.split("\t")[1] for row in rows]
    rows = [f"{i}\t{cell}\n" for i, cell in enumerate(cells, start=1)]
    return "".join([f"{header}\n", *rows])


# Of each defect: the file, the change of its text, and the message.
DEFECTS = {
    "index from 1": (
        "RTE.tsv",
        from_one,
        "RTE.tsv line 2 has index '1'; 0 is expected",
    ),
    "a row missing": (
        "QQP.tsv",
        lambda text: without(text, 4),
        "QQP.tsv line 4 has index '3'; 2 is expected: .*; add the missing row or num",
    ),
    "the last row missing": (
        "QQP.tsv",
        lambda text: without(text, 8),
        "QQP.tsv has 6 rows; 7 are expected, one for each",
    ),
    "a row too many": (
        "SST-2.tsv",
        lambda text: text + "2\t1\n",
        "SST-2.tsv has 3 rows; 2 are expected",
    ),
    "no rows": (
        "SST-2.tsv",
        lambda text: "index\tprediction\n",
        "SST-2.tsv has 0 rows; 2 are expected",
    ),
    "an empty file": ("AX.tsv", lambda text: "", "AX.tsv line 1 is ''; 'index"),
    "no header": (
        "CoLA.tsv",
        lambda text: without(text, 1),
        r"CoLA.tsv line 1 is '0\\t1'; 'index\\tprediction' is expected; correct",
    ),
    "another header": (
        "CoLA.tsv",
        lambda text: text.replace("prediction", "label"),
        r"CoLA.tsv line 1 is 'index\\tlabel'; 'index",
    ),
    "no tab": (
        "CoLA.tsv",
        lambda text: text.replace("1\t0", "1 0"),
        "CoLA.tsv line 3 is '1 0'; an index, a tab and a prediction are exp",
    ),
    "a name for a number": (
        "SST-2.tsv",
        lambda text: text.replace("1\t0", "1\tnegative"),
        "SST-2.tsv line 3 has label 'negative'; 0 or 1 is allowed; correct it",
    ),
    "a number for a name": (
        "RTE.tsv",
        lambda text: text.replace("0\tentailment", "0\t0"),
        "RTE.tsv line 2 has label '0'; entailment or not_entailment is allowed",
    ),
    "a label of another task": (
        "AX.tsv",
        lambda text: text.replace("\tneutral", "\tnot_entailment"),
        "label 'not_entailment'; entailment or neutral or contradiction is allowed",
    ),
    "a label for a score": (
        "STS-B.tsv",
        lambda text: text.replace("3.000", "high"),
        "STS-B.tsv line 4 has 'high'; a number from 0 to 5 is expected",
    ),
    "a score that is no number": (
        "STS-B.tsv",
        lambda text: text.replace("3.000", "nan"),
        "STS-B.tsv line 4 has 'nan'; a number from 0 to 5",
    ),
    "a score too high": (
        "STS-B.tsv",
        lambda text: text.replace("3.000", "5.001"),
        "STS-B.tsv line 4 has '5.001'; a number from 0 to 5",
    ),
    "a score below 0": (
        "STS-B.tsv",
        lambda text: text.replace("3.000", "-0.500"),
        "STS-B.tsv line 4 has '-0.500'; a number from 0 to 5",
    ),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_of_a_table_is_refused(good, defect):
    name, break_, message = DEFECTS[defect]
    texts = texts_of(good)
    broken = break_(texts[name])
    assert broken != texts[name]
    rewrite(good, texts | {name: broken})
    with pytest.raises(ValueError, match=message):
        glue_submission.validate(good, ROWS)


def test_the_last_newline_may_be_missing(good):
    rewrite(good, {name: text.rstrip("\n") for name, text in texts_of(good).items()})
    glue_submission.validate(good, ROWS)


def test_missing_files_are_named_with_the_command_that_makes_them(good):
    texts = texts_of(good)
    for name in ("WNLI.tsv", "MNLI-mm.tsv", "AX.tsv"):
        del texts[name]
    rewrite(good, texts)
    with pytest.raises(
        ValueError,
        match=r"lacks MNLI-mm.tsv, WNLI.tsv, AX.tsv; GLUE wants all 11 files; run "
        r"python -m gpt1_jax.main --config experiments/finetune.py:TASK for each .* of "
        r"mnli, wnli, or",
    ):
        glue_submission.validate(good, ROWS)
    glue_submission.validate(good, ROWS, allow_partial=True)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("RTE.txt", "has RTE.txt; the files of a submission are CoLA.tsv, SST-2.tsv"),
        (
            "glue/RTE.tsv",
            "has glue/RTE.tsv in a folder; GLUE reads no folders; zip the",
        ),
        ("glue/", "has glue/ in a folder"),
    ],
)
def test_unknown_files_and_folders_are_refused(good, extra, message):
    rewrite(good, texts_of(good) | {extra: ""})
    with pytest.raises(ValueError, match=message):
        glue_submission.validate(good, ROWS, allow_partial=True)


def test_a_duplicate_file_is_refused(good):
    with (
        zipfile.ZipFile(good, "a") as archive,
        pytest.warns(UserWarning, match="Duplicate"),
    ):
        archive.writestr("AX.tsv", "")
    with pytest.raises(ValueError, match=r"has AX.tsv twice; once is allowed"):
        glue_submission.validate(good, ROWS)


def test_a_file_without_an_expected_number_of_rows_is_refused(good):
    rows = {name: count for name, count in ROWS.items() if name != "QQP.tsv"}
    with pytest.raises(
        ValueError, match=r"QQP.tsv; its expected number of rows is not"
    ):
        glue_submission.validate(good, rows)


def test_a_file_that_is_not_a_zip_is_refused(good, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no file .*gone; a submission's zip is"
    ):
        glue_submission.validate(tmp_path / "gone", ROWS)
    whole = good.read_bytes()
    # The first byte of a table, behind a header of 30 bytes and the name CoLA.tsv.
    flipped = whole[:38] + bytes([whole[38] ^ 255]) + whole[39:]
    for damaged in (b"no zip", whole[:-30], flipped):
        good.write_bytes(damaged)
        with pytest.raises(
            ValueError, match=r"can't be read: .*; a zip of UTF-8 tables"
        ):
            glue_submission.validate(good, ROWS)


def test_a_table_in_another_encoding_is_refused(good):
    rewrite(good, texts_of(good) | {"AX.tsv": b"index\xe9"})
    with pytest.raises(ValueError, match=r"can't be read: 'utf-8' codec .*; a zip of"):
        glue_submission.validate(good, ROWS)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("RTE.tsv", ("entailment",), "RTE.tsv has 1 row; 3 are expected"),
        ("CoLA.tsv", ("1", "0", "x"), "CoLA.tsv line 4 has label 'x'; 0 or 1"),
        ("STS-B.tsv", (0, 1, 2, 3, float("nan")), "STS-B.tsv line 6 has 'nan'; a num"),
        ("STS-B.tsv", (0, 1, 2, 3, float("inf")), "STS-B.tsv line 6 has 'inf'; a num"),
        ("RTE.txt", (), "has RTE.txt; the files of a submission are"),
    ],
)
def test_bad_predictions_are_refused_before_anything_is_written(
    tmp_path, name, values, message
):
    with pytest.raises(ValueError, match=message):
        glue_submission.write(ANSWERS | {name: values}, ROWS, tmp_path / "new/a.zip")
    assert not list(tmp_path.iterdir())


def test_a_partial_submission_needs_allow_partial(tmp_path):
    path = tmp_path / "partial.zip"
    answers = {"CoLA.tsv": ANSWERS["CoLA.tsv"]}
    with pytest.raises(
        ValueError, match=r"lacks SST-2.tsv, MRPC.tsv, .*--allow_partial"
    ):
        glue_submission.write(answers, ROWS, path)
    assert not path.exists()
    glue_submission.write(answers, ROWS, path, allow_partial=True)
    assert list(texts_of(path)) == ["CoLA.tsv"]


def test_a_failed_write_keeps_the_old_submission(good, monkeypatch):
    before = good.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(glue_submission, "_add", fail)
    with pytest.raises(OSError, match=r"disk full"):
        glue_submission.write(ANSWERS, ROWS, good)
    assert good.read_bytes() == before
    assert list(good.parent.iterdir()) == [good]


def test_writing_to_a_directory_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"is a directory; a file to write is expected"
    ):
        glue_submission.write(ANSWERS, ROWS, tmp_path)
