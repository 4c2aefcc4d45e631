"""Tables of the user's own labels: reading, holding out, and mistakes."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from gpt1_jax.config import DataConfig
from gpt1_jax.data.tasks import own_files, task_data
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.errors import UserError

ROWS = [
    {"id": n, "text": f"text number {n % 40}", "label": "ab"[n % 2]} for n in range(80)
]


@pytest.fixture
def write(tmp_path):
    """(name, content) -> the path of a file, as a string."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def as_csv(rows):
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


def as_jsonl(rows):
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def load(**fields):
    """Returns the task and its splits by name."""
    config = DataConfig(**{"holdout_fraction": 0.2} | fields)
    task, _ = own_files.infer_task(config, "own")
    data = task_data.open_data(config)
    return task, {split: data.load(task, split) for split in ("train", "dev")}


def texts(split):
    return [example.parts[0] for example in split.examples]


def test_every_format_gives_the_same_examples(write, tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    zst = pyarrow.compress(as_csv(ROWS).encode(), "zstd", asbytes=True)
    names = [
        write("a.csv", as_csv(ROWS)),
        write("a.tsv", as_csv(ROWS).replace(",", "\t")),
        write("a.jsonl.gz", gzip.compress(as_jsonl(ROWS).encode())),
        write("a.csv.zst", zst),
        str(tmp_path / "a.parquet"),
    ]
    first, *others = [load(train_file=name)[1] for name in names]
    assert all(found == first for found in others)


def test_a_share_is_held_out_and_equal_texts_are_on_one_side(write):
    _, found = load(train_file=write("a.csv", as_csv(ROWS)))
    train, dev = (set(texts(found[split])) for split in ("train", "dev"))
    assert not train & dev
    assert len(train | dev) == 40
    assert 3 <= len(dev) <= 15
    assert len(found["train"].examples) + len(found["dev"].examples) == 80


def test_a_growing_file_keeps_its_split(write):
    _, small = load(train_file=write("a.csv", as_csv(ROWS[:40])))
    more = [row | {"text": f"{row['text']} more"} for row in ROWS]
    _, large = load(train_file=write("b.csv", as_csv([*ROWS[:40], *more])))
    assert texts(small["dev"]) == [t for t in texts(large["dev"]) if "more" not in t]


def test_every_class_stays_in_training_and_something_is_held_out(write):
    rows = [{"text": f"a b {n}", "label": "xyz"[min(n, 2)]} for n in range(6)]
    path = write("a.csv", as_csv(rows))
    _, found = load(train_file=path, holdout_fraction=0.5)
    assert {example.label for example in found["train"].examples} == {0, 1, 2}
    _, found = load(train_file=path, holdout_fraction=0.0)
    assert len(found["dev"].examples) == 1


def test_a_dev_file_is_read_by_the_training_files_columns_and_classes(write):
    train, dev = write("a.csv", as_csv(ROWS)), '{"label": "b", "text": "text number 3"}'
    _, found = load(train_file=train, dev_file=write("b.jsonl", dev))
    (example,) = found["dev"].examples
    assert (example.parts, example.label) == (("text number 3",), 1)
    assert len(found["train"].examples) == 80
    (note,) = found["dev"].notes
    assert note.endswith("1 of 1 examples have the texts of one in " + train)


def test_rows_without_a_label_are_counted(write):
    path = write("a.csv", as_csv([*ROWS, {"id": 9, "text": "c d", "label": ""}]))
    _, found = load(train_file=path)
    assert found["train"].notes == (f"{path}: skipped rows without a label: 1",)


def test_choices_are_read_from_lists_with_labels_by_letter(write):
    rows = [
        {"story": f"the story {n}", "choices": ["x", "y"], "answer": "AB"[n % 2]}
        for n in range(8)
    ]
    _, found = load(train_file=write("a.jsonl", as_jsonl(rows)))
    example = found["train"].examples[0]
    assert (example.parts, example.context[:9]) == (("x", "y"), "the story")
    for example in found["train"].examples:
        assert example.label == int(example.context[-1]) % 2
    rows[5]["choices"] = ["x", "y", "z"]
    path = write("b.jsonl", as_jsonl(rows))
    with pytest.raises(UserError, match=r"line 6: 3 choices; 2 are expected"):
        load(train_file=write("c.jsonl", as_jsonl(rows[:5])), dev_file=path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", r"a.csv is empty; a first line that names the columns is exp"),
        ("a.csv", "text,label\n", r"a.csv has no rows; texts with labels are expected"),
        ("a.jsonl", "", r"a.jsonl is empty; a row is expected; add one"),
        ("a.txt", "text,label\na b,c\n", r"named as plain text; csv, .* to a.csv$"),
        ("a.csv", "text,label\na b,x\nc d,y\ne\n", r"line 4: 1 column; 2 are expected"),
        ("tokens.bin", "\0\1", r"is a corpus that was prepared for pre-training; a t"),
        ("a.csv", "text,label\na b,x\nc d,y\n", r"2 examples are too few to hold some"),
    ],
)
def test_an_unusable_training_file_is_refused(write, name, content, message):
    with pytest.raises(UserError, match=message):
        load(train_file=write(name, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "text,label\na b,c\n",
            r"line 2: label 'c' in column label is not one of",
        ),
        ("text,mark\na b,a\n", r"line 1: no labels: column label is missing among te"),
        ("words,label\na b,a\n", r"the columns are words, label; text must be among"),
        ("text,label\na b,\n", r"b.csv has no labelled row; texts with labels are"),
    ],
)
def test_an_unusable_dev_file_is_refused(write, content, message):
    train = write("a.csv", as_csv(ROWS))
    with pytest.raises(UserError, match=message):
        load(train_file=train, dev_file=write("b.csv", content))


def test_a_number_is_expected_where_training_has_numbers(write):
    train = write("a.csv", "text,score\na b,1\nc d,3\ne f,2\n")
    task, found = load(
        train_file=train, dev_file=write("b.csv", "text,score\ng h,4.5\n")
    )
    assert found["dev"].examples[0].label == 4.5  # beyond the scale of training
    assert task.scores == (1.0, 3.0)
    with pytest.raises(UserError, match=r"label 'x' in column score; a number is exp"):
        load(train_file=train, dev_file=write("b.csv", "text,score\na b,x\n"))


def test_train_and_dev_must_be_two_files_that_exist(write, tmp_path):
    path = write("a.csv", as_csv(ROWS))
    (tmp_path / "link.csv").symlink_to(path)
    with pytest.raises(UserError, match=r"link.csv is config.data.train_file; other"):
        load(train_file=path, dev_file=str(tmp_path / "link.csv"))
    with pytest.raises(FileNotFoundError, match=r"dev_file=.*no.csv is not there; a t"):
        load(train_file=path, dev_file=str(tmp_path / "no.csv"))
    with pytest.raises(UserError, match=r"train_file is empty; a table of texts and"):
        load()
    (tmp_path / "tokens.bin").touch()
    with pytest.raises(UserError, match=r"is a corpus that was prepared for pre-tr"):
        load(train_file=str(tmp_path))


def test_other_splits_and_other_tasks_are_refused(write):
    config = DataConfig(dev_file=write("a.csv", as_csv(ROWS)))
    task, _ = load(train_file=config.dev_file)
    data = task_data.open_data(config)
    assert len(data.load(task, "dev").examples) == 80
    with pytest.raises(UserError, match=r"split 'train' of .*a.csv; train or dev is"):
        data.load(task, "train")
    with pytest.raises(UserError, match=r"task 'rte' reads other files; config.data"):
        data.load(TASKS["rte"], "dev")


def test_scores_are_scaled_to_grades_and_back(write):
    task, _ = load(train_file=write("a.csv", "text,score\na b,1\nc d,3\ne f,2\n"))
    assert [task.grade_of(x) for x in (1, 2, 3)] == [0.0, 2.5, 5.0]
    assert [task.score_of(x) for x in (0, 2.5, 5)] == [1.0, 2.0, 3.0]
    assert TASKS["stsb"].grade_of(3.8) == TASKS["stsb"].score_of(3.8) == 3.8
