"""Layouts that users have beside the official ones: the right examples and labels."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from gpt1_jax.data.tasks import loading
from gpt1_jax.data.tasks.examples import Example
from gpt1_jax.data.tasks.rows import TASKS
from tests.data.tasks.reading import write

MNLI_HEAD = (
    "gold_label\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
    "sentence2_parse\tsentence1\tsentence2\tpromptID\tpairID\tgenre\tlabel1\tlabel2\t"
    "label3\tlabel4\tlabel5"
)
GLUE_SNLI_HEAD = (
    "index\tcaptionID\tpairID\tsentence1_binary_parse\tsentence2_binary_parse\t"
    "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label"
)
RTE = "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment\n"
ARTICLE = json.dumps(
    {
        "article": "Art.",
        "questions": ["Q"],
        "options": [["a", "b", "c", "d"]],
        "answers": ["C"],
    }
)


def load(name, split, task_dir):
    return loading.load(TASKS[name], split, task_dir=task_dir, check_counts=False)


def labelled(name, split, task_dir):
    """Returns the parts and the label of each example, and the notes."""
    found = load(name, split, task_dir)
    return [(*e.parts, e.label) for e in found.examples], found.notes


# Task, split, file, its content, its examples.
FOREIGN = [
    (
        "snli",
        "dev",
        "SNLI/dev.tsv",
        f"{GLUE_SNLI_HEAD}\n0\tc\tp\t(\t(\t(\t(\ta\tb\tneutral\tentailment\n"
        "1\tc\tp\t(\t(\t(\t(\tc\td\tneutral\tcontradiction\n",
        [("a", "b", 0), ("c", "d", 2)],
    ),
    (
        "mnli",
        "dev_mismatched",
        "multinli_1.0/multinli_1.0_dev_mismatched.txt",
        f'{MNLI_HEAD}\nneutral\t(\t(\t(\t(\ta "b\tc\t1\t1n\tg\tneutral\t\t\t\t\n',
        [('a "b', "c", 1)],
    ),
    (
        "mnli",
        "train",
        "multinli_1.0/multinli_1.0_train.jsonl",
        '{"gold_label": "contradiction", "sentence1": "a", "sentence2": "b"}\n',
        [("a", "b", 2)],
    ),
    (
        "stsb",
        "test",
        "stsbenchmark/sts-test.csv",
        'main-captions\tMSRvid\t2012test\t0024\t2.500\tA "girl.\tb, c\n'
        "main-news\theadlines\t2015\t0001\t0.000\td\te\thttp://x\thttp://y\n",
        [('A "girl.', "b, c", 2.5), ("d", "e", 0.0)],
    ),
    (
        "sst2",
        "dev",
        "sst2/validation.csv",
        'sentence,label,idx\n"a, b",1,0\nc,0,1\n',
        [("a, b", 1), ("c", 0)],
    ),
    (
        "cola",
        "train",
        "cola/train.jsonl",
        '{"sentence": "a", "label": 1, "idx": 0}\n'
        '{"sentence": "b", "label": "unacceptable", "idx": 1}\n',
        [("a", 1), ("b", 0)],
    ),
    (
        "mrpc",
        "dev",
        "mrpc/validation.csv",
        "sentence1,sentence2,label,idx\na,b,1,9\n",
        [("a", "b", 1)],
    ),
    (
        "qqp",
        "train",
        "qqp/train.json",
        '{"question1": "a", "question2": "b", "label": 0, "idx": 0}\n',
        [("a", "b", 0)],
    ),
    (
        "wnli",
        "dev",
        "WNLI/dev.csv",
        "sentence1,sentence2,label,idx\na,b,entailment,0\nc,d,0,1\n",
        [("a", "b", 1), ("c", "d", 0)],
    ),
    (
        "stsb",
        "dev",
        "stsb/validation.jsonl",
        '{"sentence1": "a", "sentence2": "b", "label": 3.7999999523, "idx": 0}\n',
        [("a", "b", 3.8)],
    ),
    (
        "mnli",
        "dev_matched",
        "mnli/validation_matched.csv",
        "premise,hypothesis,label,idx\na,b,contradiction,0\n",
        [("a", "b", 2)],
    ),
    (
        "mnli",
        "test_matched",
        "mnli/test_matched.csv",
        "premise,hypothesis,label,idx\na,b,-1,0\n",
        [("a", "b", None)],
    ),
    (
        "qnli",
        "dev",
        "qnli/validation.csv",
        "question,sentence,label,idx\na,b,not_entailment,0\n",
        [("a", "b", 1)],
    ),
    (
        "ax",
        "test",
        "ax/test.csv",
        "premise,hypothesis,label,idx\na,b,-1,0\n",
        [("a", "b", None)],
    ),
]


@pytest.mark.parametrize(
    ("name", "split", "path", "content", "expected"),
    FOREIGN,
    ids=[row[2] for row in FOREIGN],
)
def test_layout_of_users_is_read(tmp_path, name, split, path, content, expected):
    write(tmp_path, content, path)
    assert labelled(name, split, tmp_path) == (expected, ())


def test_examples_without_a_gold_label_are_skipped_and_counted(tmp_path):
    rows = "".join(
        json.dumps({"gold_label": gold, "sentence1": "a", "sentence2": "b"}) + "\n"
        for gold in ("-", "entailment")
    )
    path = write(tmp_path, rows, "multinli_1.0/multinli_1.0_dev_matched.jsonl")
    assert labelled("mnli", "dev_matched", tmp_path) == (
        [("a", "b", 0)],
        (f"{path}: skipped rows without a gold label ('-'): 1",),
    )


def write_parquet(path, rows, names=(), label_type=None):
    """Writes rows as Hugging Face's datasets do, with the names of classes."""
    label_type = label_type or pyarrow.int64()
    schema = {key: pyarrow.string() for key in rows[0]} | {"label": label_type}
    table = pyarrow.Table.from_pylist(rows, pyarrow.schema(list(schema.items())))
    if names:
        feature = {"names": list(names), "_type": "ClassLabel"}
        info = json.dumps({"info": {"features": {"label": feature}}})
        table = table.replace_schema_metadata({"huggingface": info})
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, path)


def test_parquet_labels_are_read_by_the_names_that_it_has(tmp_path):
    # This order is not ours.
    names = ("contradiction", "neutral", "entailment")
    rows = [{"premise": str(n), "hypothesis": "b", "label": n} for n in (0, 1, 2, -1)]
    path = tmp_path / "snli/train-00000-of-00001.parquet"
    write_parquet(path, rows, names)
    examples, notes = labelled("snli", "train", tmp_path)
    assert examples == [("0", "b", 2), ("1", "b", 1), ("2", "b", 0)]
    assert notes[0].endswith("skipped rows without a gold label ('-1'): 1")


def test_parquet_scores_are_the_decimals_that_they_were(tmp_path):
    rows = [{"sentence1": "a", "sentence2": "b", "label": 3.8}]
    path = tmp_path / "stsb/validation/0000.parquet"
    write_parquet(path, rows, label_type=pyarrow.float32())
    assert labelled("stsb", "dev", tmp_path) == ([("a", "b", 3.8)], ())


def test_shards_are_one_data_set_and_a_missing_one_is_refused(tmp_path):
    for number in (1, 0):
        rows = [{"sentence1": str(number), "sentence2": "b", "label": number}]
        path = tmp_path / f"rte/train-0000{number}-of-00002.parquet"
        write_parquet(path, rows, ("entailment", "not_entailment"))
    assert labelled("rte", "train", tmp_path)[0] == [("0", "b", 0), ("1", "b", 1)]
    (tmp_path / "rte/train-00000-of-00002.parquet").unlink()
    with pytest.raises(ValueError, match=r"rte has 1 of the 2 shards of train-0000.*;"):
        load("rte", "train", tmp_path)


def write_rte_shards(folder, *names: str) -> None:
    for number, name in enumerate(names):
        rows = [{"sentence1": str(number), "sentence2": "b", "label": number % 2}]
        write_parquet(folder / name, rows, ("entailment", "not_entailment"))


def test_numbered_files_in_the_folder_of_a_split_are_its_shards(tmp_path):
    write_rte_shards(tmp_path / "rte/train", "0000.parquet", "0001.parquet")
    assert labelled("rte", "train", tmp_path)[0] == [("0", "b", 0), ("1", "b", 1)]
    (tmp_path / "rte/train/0000.parquet").unlink()
    with pytest.raises(ValueError, match=r"has 1 of the 2 shards of 0001.parquet; all"):
        load("rte", "train", tmp_path)


def test_shards_of_different_totals_or_numbers_are_refused(tmp_path):
    names = "train-00000-of-00002.parquet", "train-00001-of-00003.parquet"
    write_rte_shards(tmp_path / "rte", *names)
    with pytest.raises(ValueError, match=r"rte has shards of several data sets: train"):
        load("rte", "train", tmp_path)
    (tmp_path / "rte" / names[1]).rename(tmp_path / "rte/train-0-of-2.parquet")
    with pytest.raises(ValueError, match=r"rte has 1 of the 2 shards of .*, each once"):
        load("rte", "train", tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("rte", "rte/train.csv", "sentence1,sentence2,label,idx\na,b,1,0\n"),
        ("rte", "RTE/train.tsv", RTE.replace("not_entailment", "1")),
        ("qnli", "qnli/train.csv", "question,sentence,label,idx\na,b,0,0\n"),
        (
            "mnli",
            "mnli/train.jsonl",
            '{"premise": "a", "hypothesis": "b", "label": 2, "idx": 0}\n',
        ),
        ("snli", "snli/train.csv", "premise,hypothesis,label\na,b,0\n"),
    ],
    ids=["rte csv", "rte tsv", "qnli", "mnli", "snli"],
)
def test_numbers_that_do_not_say_their_class_are_refused(tmp_path, name, file, content):
    write(tmp_path, content, file)
    message = (
        r"label '\d' is a number, and data sets number their classes differently; "
        r"one of entailment, .* is expected in column label; write "
        "the names, or save the data set as parquet with Hugging Face's datasets"
    )
    with pytest.raises(ValueError, match=message):
        load(name, "train", tmp_path)


def test_a_label_in_another_case_gets_a_suggestion(tmp_path):
    write(tmp_path, "sentence1,sentence2,label\na,b,Not_Entailment\n", "rte/train.csv")
    message = r"label 'Not_Entailment'; one of .*; did you mean not_entailment\?"
    with pytest.raises(ValueError, match=message):
        load("rte", "train", tmp_path)


def test_parquet_numbers_without_names_are_refused(tmp_path):
    rows = [{"sentence1": "a", "sentence2": "b", "label": 1}]
    write_parquet(tmp_path / "rte/train.parquet", rows)
    with pytest.raises(ValueError, match=r"train.parquet: row 0: label '1' is a num"):
        load("rte", "train", tmp_path)


def test_quora_file_is_split_and_says_so(tmp_path):
    rows = "".join(f"{n}\t1\t2\tq{n}\tr\t{n % 2}\n" for n in range(300))
    quoted = '300\t1\t2\t"He said ""a""\nb"\tr\t1\n'
    head = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    write(tmp_path, head + rows + quoted, "quora_duplicate_questions.tsv")
    train, notes = labelled("qqp", "train", tmp_path)
    dev, _ = labelled("qqp", "dev", tmp_path)
    assert "it has no splits; a tenth of its pairs, other ones than GLUE's" in notes[0]
    assert 15 <= len(dev) <= 45
    expected = {(f"q{n}", "r", n % 2) for n in range(300)}
    assert {*train, *dev} == expected | {('He said "a"\nb', "r", 1)}
    assert len(train) + len(dev) == 301
    with_one_more = head + "301\t1\t2\tnew\tr\t0\n" + rows
    write(tmp_path, with_one_more, "quora_duplicate_questions.tsv")
    assert set(labelled("qqp", "dev", tmp_path)[0]) <= {*dev, ("new", "r", 0)}


@pytest.mark.parametrize(
    "file",
    [
        "rte/dev.tsv",
        "Rte/DEV.tsv",
        "RTE/RTE/dev.tsv",
        "glue_data/RTE/dev.tsv",
        "glue_data/GLUE/RTE/dev.tsv",
        "GLUE/rte/dev.tsv",
    ],
)
def test_folders_of_any_case_and_nesting_are_found(tmp_path, file):
    write(tmp_path, RTE, file)
    assert labelled("rte", "dev", tmp_path)[0] == [("a", "b", 1)]
    assert loading.exists(
        TASKS["rte"], "dev", task_dir=tmp_path, source="files", tfds_dir=""
    )


def test_compressed_official_files_are_read(tmp_path):
    write(tmp_path, gzip.compress(RTE.encode()), "RTE/dev.tsv.gz")
    snli = {"gold_label": "neutral", "sentence1": "a", "sentence2": "b"}
    packed = pyarrow.compress(json.dumps(snli).encode(), "zstd", asbytes=True)
    write(tmp_path, packed, "snli_1.0/snli_1.0_dev.jsonl.zst")
    write(tmp_path, gzip.compress(ARTICLE.encode()), "RACE/dev/high/1.txt.gz")
    assert labelled("rte", "dev", tmp_path)[0] == [("a", "b", 1)]
    assert labelled("snli", "dev", tmp_path)[0] == [("a", "b", 1)]
    assert load("race", "dev_high", tmp_path).examples[0].label == 2
    write(tmp_path, gzip.compress(RTE.encode())[:-9], "RTE/dev.tsv.gz")
    with pytest.raises(ValueError, match=r"its gzip data is damaged or ends early"):
        load("rte", "dev", tmp_path)


def test_two_folders_that_differ_by_case_are_refused(tmp_path):
    for folder in ("rte", "Rte"):
        write(tmp_path, RTE, f"{folder}/dev.tsv")
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system ignores case")
    with pytest.raises(ValueError, match=r"2 files match RTE/dev.tsv: Rte/dev.tsv, rt"):
        load("rte", "dev", tmp_path)
    write(tmp_path, RTE.replace("not_", ""), "RTE/dev.tsv")
    assert labelled("rte", "dev", tmp_path)[0] == [("a", "b", 0)]


def test_leftovers_beside_articles_are_no_articles(tmp_path):
    for name in ("._1.txt", ".DS_Store", "1.txt", "2.txt~"):
        content = ARTICLE if name == "1.txt" else b"\0\5\x16\7"
        write(tmp_path, content, f"RACE/RACE/dev/Middle/{name}")
    found = load("race", "dev_middle", tmp_path)
    assert found.examples == (
        Example(("a", "b", "c", "d"), 2, context="Art.", question="Q"),
    )


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("rte", "RTE/dev.tsv", "", "is empty; a first line that names the columns"),
        ("rte", "RTE/dev.tsv", RTE[:-18], r"line 2: 2 columns; 4 are expected"),
        ("rte", "RTE/dev.tsv", RTE[:-4], r"line 2: label 'not_entailm'; one of ent"),
        ("rte", "RTE/dev.tsv", RTE.replace("sentence2\t", ""), r"sentence2 must be"),
        ("cola", "CoLA/dev.tsv", "", "holds no example for split dev of cola; at"),
        ("cola", "CoLA/dev.tsv", "a\t1\t\tb c\nd\t0\t*", r"line 2: 3 columns; 4"),
        ("stsb", "stsbenchmark/sts-dev.csv", "a\tb\tc\t0\t1.0\td", r"6 columns; 7 are"),
        ("qqp", "QQP/dev.csv", "question1,label\na,1\n", "question2 must be among"),
        ("race", "RACE/dev/middle/1.txt", "", "Expecting value.*; copy it again"),
        ("race", "RACE/dev/middle/1.txt", ARTICLE[:40], "JSON is expected; copy it"),
    ],
    ids=range(10),
)
def test_truncated_file_is_refused(tmp_path, name, file, content, message):
    write(tmp_path, content, file)
    split = "dev_middle" if name == "race" else "dev"
    with pytest.raises(ValueError, match=message) as error:
        load(name, split, tmp_path)
    assert "\n" not in str(error.value)


def test_empty_list_of_held_out_rows_is_refused(tmp_path):
    head = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    write(tmp_path, f"{head}1\t7\t8\ta\tb\n", "MRPC/msr_paraphrase_train.txt")
    write(tmp_path, "", "MRPC/mrpc_dev_ids.tsv")
    with pytest.raises(ValueError, match=r"mrpc_dev_ids.tsv is empty; it says which"):
        load("mrpc", "train", tmp_path)


def test_every_score_of_the_official_file_keeps_its_value(tmp_path):
    scores = [n / 1000 for n in range(0, 5001, 7)]
    rows = "".join(f"g\tf\ty\t{n}\t{s:.3f}\ta\tb\n" for n, s in enumerate(scores))
    write(tmp_path, rows, "stsbenchmark/sts-train.csv")
    found = [example.label for example in load("stsb", "train", tmp_path).examples]
    assert found == scores
