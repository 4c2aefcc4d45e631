import dataclasses
import json

import pytest

from gpt1_jax.data.tasks import loading, registry
from gpt1_jax.data.tasks.examples import Columns, Example
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.data.tasks.tfds import Dataset

METRICS = {"accuracy", "f1", "matthews", "pearson", "spearman"}
GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax")

# One small file of each layout, and the example in it. Headers, numbers of columns and
# names of labels are those of the official files.
MNLI = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
    "sentence1_parse\tsentence2_parse\tsentence1\tsentence2"
)
STSB = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2"
SNLI = (
    "gold_label\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
    "sentence2_parse\tsentence1\tsentence2\tcaptionID\tpairID\tlabel1\tlabel2"
)
CLOZE = (
    "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,"
    "RandomFifthSentenceQuiz1,RandomFifthSentenceQuiz2"
)
RACE = json.dumps(
    {
        "id": "middle1.txt",
        "article": "Art.",
        "questions": ["Q _"],
        "options": [["a", "b", "c", "d"]],
        "answers": ["C"],
    }
)
LAYOUTS = [
    ("cola", "train", "CoLA/train.tsv", "gj04\t0\t*\tA b.\n", ("A b.",), 0),
    ("cola", "dev", "CoLA/dev.tsv", "gj04\t1\t\tA b.\n", ("A b.",), 1),
    ("cola", "test", "CoLA/test.tsv", "index\tsentence\n0\tA b.\n", ("A b.",), None),
    ("sst2", "dev", "SST-2/dev.tsv", "sentence\tlabel\na b \t1\n", ("a b ",), 1),
    ("sst2", "test", "SST-2/test.tsv", "index\tsentence\n0\ta\n", ("a",), None),
    (
        "mrpc",
        "train",
        "MRPC/train.tsv",
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta\tb\n",
        ("a", "b"),
        1,
    ),
    (
        "mrpc",
        "test",
        "MRPC/test.tsv",
        "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t7\t8\ta\tb\n",
        ("a", "b"),
        None,
    ),
    (
        "mrpc",
        "test",
        "MRPC/msr_paraphrase_test.txt",
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t7\t8\ta\tb\r\n",
        ("a", "b"),
        1,
    ),
    (
        "stsb",
        "train",
        "STS-B/train.tsv",
        f"{STSB}\tscore\n0\tg\tf\ty\t0\tnone\tnone\ta\tb\t3.750\n",
        ("a", "b"),
        3.75,
    ),
    (
        "stsb",
        "test",
        "STS-B/test.tsv",
        f"{STSB}\n0\tg\tf\ty\t0\tnone\tnone\ta\tb\n",
        ("a", "b"),
        None,
    ),
    (
        "qqp",
        "dev",
        "QQP/dev.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\ta?\tb?\t1\n",
        ("a?", "b?"),
        1,
    ),
    (
        "qqp",
        "test",
        "QQP/test.tsv",
        "id\tquestion1\tquestion2\n0\ta?\tb?\n",
        ("a?", "b?"),
        None,
    ),
    (
        "mnli",
        "train",
        "MNLI/train.tsv",
        f"{MNLI}\tlabel1\tgold_label\n0\t1\t1n\tg\t(\t(\t(\t(\ta\tb\tneutral\tneutral\n",
        ("a", "b"),
        1,
    ),
    (
        "mnli",
        "dev_mismatched",
        "MNLI/dev_mismatched.tsv",
        f"{MNLI}\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n0\t1\t1n\tg\t(\t("
        "\t(\t(\ta\tb\tneutral\tneutral\tneutral\tneutral\tneutral\tcontradiction\n",
        ("a", "b"),
        2,
    ),
    (
        "mnli",
        "test_matched",
        "MNLI/test_matched.tsv",
        f"{MNLI}\n0\t1\t1n\tg\t(\t(\t(\t(\ta\tb\n",
        ("a", "b"),
        None,
    ),
    (
        "qnli",
        "dev",
        "QNLI/dev.tsv",
        "index\tquestion\tsentence\tlabel\n0\ta?\tb\tnot_entailment\n",
        ("a?", "b"),
        1,
    ),
    (
        "rte",
        "dev",
        "RTE/dev.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n",
        ("a", "b"),
        0,
    ),
    (
        "wnli",
        "dev",
        "WNLI/dev.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n",
        ("a", "b"),
        1,
    ),
    *(
        (
            "ax",
            "test",
            name,
            "index\tsentence1\tsentence2\n0\ta\tb\n",
            ("a", "b"),
            None,
        )
        for name in (
            "AX/AX.tsv",
            "AX/diagnostic.tsv",
            "diagnostic/diagnostic.tsv",
            "diagnostic.tsv",
        )
    ),
    (
        "snli",
        "dev",
        "snli_1.0/snli_1.0_dev.jsonl",
        '{"annotator_labels": ["neutral"], "captionID": "1", "gold_label": "neutral", '
        '"pairID": "1", "sentence1": "a", "sentence2": "b"}\n',
        ("a", "b"),
        1,
    ),
    (
        "snli",
        "test",
        "snli_1.0/snli_1.0_test.txt",
        f"{SNLI}\ncontradiction\t(\t(\t(\t(\ta\tb\t1\t1c\tcontradiction\n",
        ("a", "b"),
        2,
    ),
    (
        "scitail",
        "train",
        "SciTailV1.1/tsv_format/scitail_1.0_train.tsv",
        'a "\tb\tentails\n',
        ('a "', "b"),
        0,
    ),
    (
        "scitail",
        "test",
        "SciTailV1.1/snli_format/scitail_1.0_test.txt",
        '{"sentence1": "a", "sentence2": "b", "gold_label": "entailment"}\n',
        ("a", "b"),
        0,
    ),
    ("race", "dev_middle", "RACE/dev/middle/1.txt", RACE, ("a", "b", "c", "d"), 2),
    ("race", "test_high", "RACE/test/high/1.txt", RACE, ("a", "b", "c", "d"), 2),
    (
        "storycloze",
        "test",
        "StoryCloze/cloze_test_test__spring2016 - cloze_test_ALL_test.csv",
        f'{CLOZE},AnswerRightEnding\nid,"A, a.",B.,C.,D.,e,f,2\n',
        ("e", "f"),
        1,
    ),
    (
        "storycloze",
        "dev_2018",
        "StoryCloze/cloze_test_val__winter2018-cloze_test_ALL_val - 1 - 1.csv",
        f'{CLOZE},AnswerRightEnding\nid,"A, a.",B.,C.,D.,e,f,1\n',
        ("e", "f"),
        0,
    ),
    (
        "storycloze",
        "test_2018",
        "StoryCloze/cloze_test_test__winter2018.csv",
        f'{CLOZE}\nid,"A, a.",B.,C.,D.,e,f\n',
        ("e", "f"),
        None,
    ),
    (
        "dpr",
        "test",
        "DPR/test.c.txt",
        "A saw B, but it hid.\nit\nA,B\nB\n\n",
        ("A", "B"),
        1,
    ),
]


def write(task_dir, name, content):
    path = task_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode())
    return path


def load(name, split, task_dir, **more):
    return loading.load(TASKS[name], split, task_dir=task_dir, **more)


def fields_of(name):
    """Returns the context and the question of the example in LAYOUTS."""
    return {
        "race": {"context": "Art.", "question": "Q _"},
        "storycloze": {"context": "A, a. B. C. D."},
        "dpr": {"context": "A saw B, but it hid.", "question": "it"},
    }.get(name, {})


@pytest.mark.parametrize(
    ("name", "split", "path", "content", "parts", "label"),
    LAYOUTS,
    ids=[layout[2] for layout in LAYOUTS],
)
def test_official_layout_is_read(tmp_path, name, split, path, content, parts, label):
    write(tmp_path, path, content)
    found = load(name, split, tmp_path, check_counts=False)
    assert found.examples == (Example(parts, label, **fields_of(name)),)
    assert found.notes == ()


def test_layouts_of_every_task_are_tested():
    assert {layout[0] for layout in LAYOUTS} == set(TASKS)
    assert tuple(TASKS) == (*GLUE, "snli", "scitail", "race", "storycloze", "dpr")


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_rows_are_consistent(task):
    named = {*task.dev.values(), *task.test.values()} | {task.train} - {""}
    assert named <= task.files.keys()
    assert task.files.keys() == task.tfds.splits.keys() == task.num_examples.keys()
    assert METRICS.issuperset(task.metrics)
    expected = {
        f"{infix}/{task.metrics[0]}".lstrip("/") for infix in (task.test or {"": ""})
    }
    scores = {score.metric for score in task.paper}
    assert expected <= scores or task.name == "dpr"
    assert not task.predicted_by or TASKS[task.predicted_by].classes == task.classes


def test_preferred_file_is_read_if_there_are_several(tmp_path):
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    write(tmp_path, "MRPC/msr_paraphrase_train.txt", f"{header}1\t7\t8\told\told\n")
    write(tmp_path, "MRPC/mrpc_dev_ids.tsv", "7\t9\n")
    write(tmp_path, "MRPC/msr_paraphrase_test.txt", f"{header}1\t7\t8\told\told\n")
    write(tmp_path, "snli_1.0/snli_1.0_dev.txt", f"{SNLI}\nneutral\t(\t(\t(\t(\told\to")
    for split in ("train", "test"):
        assert load("mrpc", split, tmp_path).examples[0].parts == ("old", "old")
    write(tmp_path, "MRPC/train.tsv", f"{header}0\t7\t8\tnew\tnew\n")
    write(
        tmp_path,
        "MRPC/test.tsv",
        f"{header.replace('Quality', 'index')}0\t7\t8\tn\tm\n",
    )
    line = {"gold_label": "neutral", "sentence1": "new", "sentence2": "n"}
    write(tmp_path, "snli_1.0/snli_1.0_dev.jsonl", json.dumps(line))
    assert load("mrpc", "train", tmp_path).examples == (Example(("new", "new"), 0),)
    assert load("mrpc", "test", tmp_path).examples == (Example(("n", "m"), None),)
    assert load("snli", "dev", tmp_path).examples == (Example(("new", "n"), 1),)


def test_skipped_rows_and_unofficial_counts_are_noted(tmp_path):
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    path = write(tmp_path, "QQP/dev.tsv", f"{header}0\t1\t2\ta\tb\t1\n1\t3\t4\tcut\n")
    found = load("qqp", "dev", tmp_path)
    assert found.examples == (Example(("a", "b"), 1),)
    assert found.notes == (
        f"{path}: skipped rows with too few columns: 1",
        "qqp, split dev: 1 example; the official data has 40,430",
    )
    assert load("qqp", "dev", tmp_path, check_counts=False).notes == found.notes[:1]


def test_official_count_is_not_noted(tmp_path):
    rows = "".join(f"{n}\ta\tb\t1\n" for n in range(71))
    write(tmp_path, "WNLI/dev.tsv", f"index\tsentence1\tsentence2\tlabel\n{rows}")
    assert load("wnli", "dev", tmp_path).notes == ()


def test_short_row_of_a_test_set_is_not_skipped(tmp_path):
    write(tmp_path, "QQP/test.tsv", "id\tquestion1\tquestion2\n0\ta\tb\n1\tcut\n")
    with pytest.raises(
        ValueError, match=r"test.tsv: line 3: 2 columns; 3 are expected"
    ):
        load("qqp", "test", tmp_path)


def test_story_cloze_train_and_dev_share_the_validation_file(tmp_path):
    rows = "".join(f"{n},{n},b,c,d,e,f,1\n" for n in range(20))
    name = "StoryCloze/cloze_test_val__spring2016 - cloze_test_ALL_val.csv"
    write(tmp_path, name, f"{CLOZE},AnswerRightEnding\n{rows}")
    train, dev = (
        load("storycloze", split, tmp_path).examples for split in ("train", "dev")
    )
    assert (len(train), len(dev)) == (16, 4)
    assert len({example.context for example in train + dev}) == 20


def test_race_trains_on_both_levels(tmp_path):
    for level in ("middle", "high"):
        write(tmp_path, f"RACE/train/{level}/1.txt", RACE.replace("Art.", level))
    contexts = [example.context for example in load("race", "train", tmp_path).examples]
    assert contexts == ["middle", "high"]


def test_missing_file_is_refused_with_the_expected_names(tmp_path):
    (tmp_path / "glue").mkdir()
    message = (
        r"glue has no file for split dev of mrpc; MRPC/dev.tsv or MRPC/msr_paraphrase"
        r"_train.txt is expected there; check --config.data"
    )
    with pytest.raises(FileNotFoundError, match=message):
        load("mrpc", "dev", tmp_path / "glue")
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a directory; the one"):
        load("mrpc", "dev", tmp_path / "nowhere")


def test_folder_of_the_task_is_refused_with_its_parent(tmp_path):
    write(tmp_path, "RTE/dev.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n")
    message = rf"RTE has no file .*; use --config.data.task_dir={tmp_path}$"
    with pytest.raises(FileNotFoundError, match=message):
        load("rte", "dev", tmp_path / "RTE")


def test_brackets_in_the_path_are_not_a_glob(tmp_path):
    path, content = LAYOUTS[3][2:4]
    write(tmp_path / "my [glue]*", path, content)
    assert len(load("sst2", "dev", tmp_path / "my [glue]*").examples) == 1


def test_two_files_that_match_are_refused(tmp_path):
    for tail in ("", " (copy)"):
        write(tmp_path, f"StoryCloze/cloze_test_test__spring2016{tail}.csv", CLOZE)
    message = (
        r"2 files match .*: StoryCloze/cloze.*2016 \(copy\).csv, .*; one is "
        "expected; move the others away"
    )
    with pytest.raises(ValueError, match=message):
        load("storycloze", "test", tmp_path)


def test_three_labels_where_two_are_expected_are_refused(tmp_path):
    header = "index\tsentence1\tsentence2\tlabel\n"
    write(tmp_path, "RTE/train.tsv", f"{header}0\ta\tb\tentailment\n1\ta\tb\tneutral\n")
    message = (
        r"RTE/train.tsv: line 3: label 'neutral'; one of entailment, not_entailment is "
        "expected; correct it, or choose the task that has such labels"
    )
    with pytest.raises(ValueError, match=message):
        load("rte", "train", tmp_path)


def test_unlabelled_dev_is_refused(tmp_path):
    write(tmp_path, "RTE/dev.tsv", "index\tsentence1\tsentence2\n0\ta\tb\n")
    message = r"RTE/dev.tsv: line 1: no labels: column label is missing among index"
    with pytest.raises(ValueError, match=message):
        load("rte", "dev", tmp_path)


def test_split_without_examples_is_refused(tmp_path):
    write(tmp_path, "RTE/dev.tsv", "index\tsentence1\tsentence2\tlabel\n")
    with pytest.raises(ValueError, match=r"dev.tsv holds no example for split dev of"):
        load("rte", "dev", tmp_path)


def test_unknown_names_are_refused_with_the_known_ones(tmp_path):
    assert registry.named("sst2") is TASKS["sst2"]
    with pytest.raises(ValueError, match=r"'sst-2'; cola, sst2, .*; did you mean sst2"):
        registry.named("sst-2")
    with pytest.raises(ValueError, match=r"'imdb'; cola, .*, dpr; use one of these"):
        registry.named("imdb")
    message = r"split 'dev' of mnli; train, dev_matched, dev_mismatched, test_matched, "
    with pytest.raises(ValueError, match=message):
        load("mnli", "dev", tmp_path)
    with pytest.raises(ValueError, match=r"split 'train' of ax; test; name one"):
        load("ax", "train", tmp_path)
    with pytest.raises(ValueError, match=r"data.source='hf'; files\|tfds; use one"):
        load("cola", "dev", tmp_path, source="hf")


def test_a_task_without_data_in_tfds_has_none_there(tmp_path):
    task = dataclasses.replace(TASKS["rte"], tfds=Dataset({}, Columns(())))
    for source in ("files", "tfds"):
        found = {"task_dir": tmp_path, "source": source, "tfds_dir": str(tmp_path)}
        assert not loading.exists(task, "dev", **found)


def test_a_task_is_a_row(tmp_path):
    # A task that no code knows is loaded like the others.
    task = dataclasses.replace(TASKS["rte"], name="mine", num_examples={"dev": 1})
    write(
        tmp_path,
        "RTE/dev.tsv",
        "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment",
    )
    found = loading.load(task, "dev", task_dir=tmp_path)
    assert found.examples == (Example(("a", "b"), 0),)
    assert found.notes == ()
