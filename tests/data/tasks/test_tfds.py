"""TFDS's own builders prepare these data sets; only their downloads are replaced."""

import collections
import importlib
import json
import re
import shutil
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds
from etils import epath
from tensorflow_datasets.core.features.feature import TensorInfo

from gpt1_jax.config import DataConfig
from gpt1_jax.data.tasks import loading
from gpt1_jax.data.tasks import tfds as tfds_lib
from gpt1_jax.data.tasks.examples import Example
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.data.text import preparation

CLOZE = (
    "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,"
    "RandomFifthSentenceQuiz1,RandomFifthSentenceQuiz2"
)


def write(directory, files):
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Prepares a data set of TFDS from `files`; returns its tfds_dir."""

    def fetch(manager, urls):
        root = epath.Path(tmp_path / "downloads")
        if isinstance(urls, dict):
            return {key: root / key for key in urls}
        return root / "ax.tsv" if "AX" in urls or "bit.ly" in urls else root

    for method in ("download", "download_and_extract"):
        monkeypatch.setattr(tfds.download.DownloadManager, method, fetch)

    def prepare(name, files, file_format="array_record"):
        write(tmp_path / "downloads", files)
        if module := tfds_lib.LAZY_MODULES.get(name.split("/")[0]):
            importlib.import_module(module)
        tfds_dir = tmp_path / "tfds"
        builder = tfds.builder(name, data_dir=tfds_dir, file_format=file_format)
        manual = tfds.download.DownloadConfig(manual_dir=tmp_path / "downloads")
        builder.download_and_prepare(download_config=manual)
        return str(tfds_dir)

    return prepare


def load(name, split, tfds_dir, **more):
    return loading.load(
        TASKS[name],
        split,
        task_dir="",
        source="tfds",
        tfds_dir=tfds_dir,
        **{"check_counts": False} | more,
    )


def test_story_cloze_is_read_back(prepare):
    files = {
        "cloze_test_val__spring2016.csv": f"{CLOZE},AnswerRightEnding\n"
        + "".join(f'{n},"S{n}, a.",B.,C.,D.,e,"f, g",{n % 2 + 1}\n' for n in range(20)),
        "cloze_test_test__spring2016.csv": f"{CLOZE},AnswerRightEnding\n"
        "x,Café.,B.,C.,D.,e,f,2\n",
    }
    tfds_dir = prepare("story_cloze/2016", files)
    test = load("storycloze", "test", tfds_dir)
    assert test.examples == (Example(("e", "f"), 1, "Café. B. C. D."),)
    assert test.notes == ()
    train, dev = (load("storycloze", split, tfds_dir) for split in ("train", "dev"))
    assert (len(train.examples), len(dev.examples)) == (16, 4)
    both = {example.context: example for example in train.examples + dev.examples}
    assert len(both) == 20
    for n in range(20):
        context = f"S{n}, a. B. C. D."
        assert both[context] == Example(("e", "f, g"), n % 2, context)
    for split in (train, dev):
        (note,) = split.notes
        assert "as many stories as in the released code, but different ones" in note


def test_unlabelled_story_cloze_has_no_labels(prepare):
    content = f"{CLOZE}\nx,A.,B.,C.,D.,e,f\n"
    files = {
        "cloze_test_val__winter2018.csv": content,
        "cloze_test_test__winter2018.csv": content,
    }
    found = load("storycloze", "test_2018", prepare("story_cloze/2018", files))
    assert found.examples == (Example(("e", "f"), None, "A. B. C. D."),)


def test_tensorflow_is_not_imported(prepare):
    content = f"{CLOZE},AnswerRightEnding\nx,A.,B.,C.,D.,e,f,2\n"
    files = {f"cloze_test_{s}__spring2016.csv": content for s in ("val", "test")}
    tfds_dir = prepare("story_cloze/2016", files)
    code = (
        "import sys; from gpt1_jax.data.tasks import loading, registry\n"
        "assert 'tensorflow_datasets' not in sys.modules\n"
        "task = registry.named('storycloze')\n"
        "found = loading.load(task, 'test', task_dir='', source='tfds', "
        f"tfds_dir={tfds_dir!r})\n"
        "assert found.examples[0].label == 1\n"
        "assert 'tensorflow_datasets' in sys.modules\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def rows(count):
    """Returns `count` different texts, which TFDS shuffles on disk."""
    return [f"text {n}" for n in range(count)]


def test_glue_is_read_in_the_order_of_its_files(prepare):
    texts = rows(40)
    files = {
        "CoLA/train.tsv": "".join(f"s\t{n % 2}\t\t{t}\n" for n, t in enumerate(texts)),
        "CoLA/dev.tsv": "s\t1\t\tx\n",
        "CoLA/test.tsv": "index\tsentence\n"
        + "".join(f"{n}\t{t}\n" for n, t in enumerate(texts)),
    }
    tfds_dir = prepare("glue/cola", files)
    train, test = (load("cola", split, tfds_dir) for split in ("train", "test"))
    assert train.examples == tuple(
        Example((text,), n % 2) for n, text in enumerate(texts)
    )
    assert test.examples == tuple(Example((text,), None) for text in texts)
    # On disk it is shuffled.
    builder = tfds.builder_from_directory(f"{tfds_dir}/glue/cola/2.0.0")
    on_disk = [record["sentence"].decode() for record in builder.as_data_source("test")]
    assert on_disk != texts


def test_scores_are_the_decimals_of_the_files(prepare):
    header = "index\tsentence1\tsentence2"
    scores = ["0.0", "3.8", "5.0", "2.333", "0.1"]
    table = "".join(f"{n}\ta\tb\t{score}\n" for n, score in enumerate(scores))
    files = {
        "STS-B/train.tsv": f"{header}\tscore\n{table}",
        "STS-B/dev.tsv": f"{header}\tscore\n{table}",
        "STS-B/test.tsv": f"{header}\n0\ta\tb\n",
    }
    tfds_dir = prepare("glue/stsb", files)
    found = load("stsb", "train", tfds_dir).examples
    assert [example.label for example in found] == [float(score) for score in scores]
    assert load("stsb", "test", tfds_dir).examples == (Example(("a", "b"), None),)


def test_mnli_has_its_four_evaluation_splits_and_label_order(prepare):
    header = "index\tsentence1\tsentence2\tgold_label\n"
    labels = ("entailment", "neutral", "contradiction")
    train = "".join(f"{n}\ttrain\tb\t{label}\n" for n, label in enumerate(labels))
    files = {"MNLI/train.tsv": header + train}
    for split in ("dev_matched", "dev_mismatched"):
        files[f"MNLI/{split}.tsv"] = f"{header}0\t{split}\tb\tneutral\n"
    for split in ("test_matched", "test_mismatched"):
        files[f"MNLI/{split}.tsv"] = f"index\tsentence1\tsentence2\n0\t{split}\tb\n"
    tfds_dir = prepare("glue/mnli", files)
    for split in ("dev_matched", "dev_mismatched", "test_matched", "test_mismatched"):
        label = 1 if split.startswith("dev") else None
        assert load("mnli", split, tfds_dir).examples == (Example((split, "b"), label),)
    found = load("mnli", "train", tfds_dir).examples
    assert [example.label for example in found] == [0, 1, 2]


def test_ax_is_read_from_its_only_split(prepare):
    files = {"ax.tsv": "index\tsentence1\tsentence2\n0\ta\tb\n"}
    found = load("ax", "test", prepare("glue/ax", files))
    assert found.examples == (Example(("a", "b"), None),)


def test_snli_examples_without_a_label_are_skipped_and_counted(prepare):
    table = "gold_label\tsentence1\tsentence2\n-\ta\tb\ncontradiction\tc\td\n-\te\tf\n"
    files = {f"snli_1.0/snli_1.0_{split}.txt": table for split in ("train", "dev")}
    files["snli_1.0/snli_1.0_test.txt"] = table
    tfds_dir = prepare("snli", files)
    found = load("snli", "dev", tfds_dir, check_counts=True)
    assert found.examples == (Example(("c", "d"), 2),)
    assert found.notes == (
        f"{tfds_dir}: skipped examples without a label (-1): 2",
        "snli, split dev: 1 example; the official data has 9,842",
    )


def test_scitail_labels_are_entails_and_neutral(prepare):
    files = {
        f"SciTailV1.1/tsv_format/scitail_1.0_{split}.tsv": "a\tb\tneutral\n"
        for split in ("train", "dev", "test")
    }
    found = load("scitail", "test", prepare("sci_tail", files))
    assert found.examples == (Example(("a", "b"), 1),)


def test_race_article_becomes_its_questions(prepare, monkeypatch):
    # TFDS asks TensorFlow for its type `string` when it writes lists of lists.
    monkeypatch.setattr(TensorInfo, "tf_dtype", property(lambda info: info.np_dtype))

    def article(name):
        return json.dumps(
            {
                "id": f"{name}.txt",
                "article": f"Article {name}.",
                "questions": [f"{name} one _", f"{name} two _"],
                "options": [["a", "b", "c", "d"], ["e", "f", "g", "h"]],
                "answers": ["C", "A"],
            }
        )

    files = {
        f"RACE/{split}/{level}/{n}.txt": article(f"{level}{n}")
        for split in ("train", "dev", "test")
        for level in ("middle", "high")
        for n in range(5)
    }
    tfds_dir = prepare("race/middle", files)
    prepare("race/high", files)
    found = load("race", "train", tfds_dir).examples
    expected = [f"{level}{n}" for level in ("middle", "high") for n in range(5)]
    assert found == tuple(
        Example(parts, label, f"Article {name}.", f"{name} {number} _")
        for name in expected
        for parts, label, number in (
            (("a", "b", "c", "d"), 2, "one"),
            (("e", "f", "g", "h"), 0, "two"),
        )
    )
    assert load("race", "dev_high", tfds_dir).examples == found[10:]


def test_dpr_has_candidates_sentence_and_pronoun(prepare):
    content = "The bee sat because it could.\nit\nThe bee,the rose\nThe bee\n\n"
    tfds_dir = prepare(
        "definite_pronoun_resolution", {"train": content, "test": content}
    )
    assert load("dpr", "test", tfds_dir).examples == (
        Example(("The bee", "the rose"), 0, "The bee sat because it could.", "it"),
    )


def test_texts_of_a_language_modelling_set_are_read_whole(
    prepare, tmp_path, monkeypatch
):
    monkeypatch.setattr(tfds_lib, "_BATCH", 3)
    # TFDS finds the files of lm1b with TensorFlow; only preparing it needs that.
    lm1b = importlib.import_module(tfds.builder_cls("lm1b").__module__)
    for split in ("train", "test"):
        paths = [tmp_path / f"downloads/{split}.txt"]
        monkeypatch.setattr(lm1b, f"_{split}_data_filenames", lambda _, p=paths: p)
    lines = [f"Sentence {n} , naïve ." for n in range(10)]
    files = {"train.txt": "\n".join(lines), "test.txt": "held out\n"}
    tfds_dir = prepare("lm1b", files)
    assert sorted(tfds_lib.texts("lm1b", "train", tfds_dir)) == lines
    assert list(tfds_lib.texts("lm1b", "test", tfds_dir)) == ["held out"]
    identity, sizes = tfds_lib.describe("lm1b", tfds_dir)
    assert re.fullmatch(r"lm1b/1\.1\.0-[0-9a-f]{16}", identity)
    assert sizes == {"train": 10, "test": 1}
    config = DataConfig(
        corpus="tfds:lm1b",
        tfds_dir=tfds_dir,
        cache_dir=str(tmp_path / "cache"),
        vocab_size=300,
    )
    store = preparation.open_corpus(config)
    by_split = {book["split"]: book for book in store.meta["books"]}
    assert len(store.meta["books"]) == 2
    assert store.tokenizer.decode(store.train_tokens.tolist()).count("sentence") == 10
    (held_out,) = store.eval_books
    assert store.tokenizer.decode(held_out.tolist()) == "held out"
    assert by_split["train"]["bytes"] == sum(len(f"{x}\n".encode()) for x in lines)
    before = sorted((tmp_path / "cache").rglob("*"))
    assert preparation.open_corpus(config).fingerprint == store.fingerprint
    assert sorted((tmp_path / "cache").rglob("*")) == before


def small(prepare, **more):
    content = "The bee sat because it could.\nit\nThe bee,the rose\nThe bee\n\n"
    files = {"train": content, "test": content}
    return prepare("definite_pronoun_resolution", files, **more)


def test_data_that_is_not_prepared_is_refused_with_the_command(tmp_path):
    message = (
        r"has no prepared glue/rte; glue/rte/VERSION/dataset_info.json is expected "
        r"there; run `python -c \"import tensorflow_datasets.text.glue, "
        r"tensorflow_datasets as t; t.builder\('glue/rte', data_dir='.*', "
        r"file_format='array_record'\).download_and_prepare\(\)\"` \(to prepare race, "
    )
    with pytest.raises(FileNotFoundError, match=message):
        load("rte", "dev", str(tmp_path))
    message = r"import tensorflow_datasets as t; t.builder\('lm1b'"
    with pytest.raises(FileNotFoundError, match=message):
        tfds_lib.texts("lm1b", "train", str(tmp_path))
    with pytest.raises(ValueError, match=r"tfds_dir is empty; the directory in which"):
        load("rte", "dev", "")


def test_command_in_the_message_prepares_the_data(prepare, tmp_path):
    tfds_dir = str(tmp_path / "tfds")
    with pytest.raises(FileNotFoundError) as error:
        load("dpr", "test", tfds_dir)
    content = "The bee sat because it could.\nit\nThe bee,the rose\nThe bee\n\n"
    write(tmp_path / "downloads", {"train": content, "test": content})
    command = re.search('python -c "(.*)"`', str(error.value))[1]
    exec(command)
    assert load("dpr", "test", tfds_dir).examples[0].label == 0


def test_data_in_another_file_format_is_refused(prepare, tmp_path):
    tfds_dir = small(prepare)
    (info,) = (tmp_path / "tfds").rglob("dataset_info.json")
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    message = (
        r"1.1.0 is in the format tfrecord; array_record is expected, as no other .*; "
        r"move it away, then run `python -c"
    )
    with pytest.raises(ValueError, match=message):
        load("dpr", "test", tfds_dir)


def test_split_that_was_not_prepared_is_refused(prepare):
    tfds_dir = small(prepare)
    name = "definite_pronoun_resolution"
    with pytest.raises(ValueError, match=r"no split 'dev'; it has test, train; name"):
        tfds_lib.texts(name, "dev", tfds_dir)
    with pytest.raises(ValueError, match=r"has the features .*; text or book_text is"):
        tfds_lib.texts(name, "train", tfds_dir)


def test_labels_of_another_order_are_refused(prepare):
    task = TASKS["dpr"]
    tfds_dir = small(prepare)
    skipped = collections.Counter()
    message = r"the labels are 0, 1; yes, no are expected; prepare the version"
    with pytest.raises(ValueError, match=message):
        tfds_lib.read(
            task.tfds, "test", tfds_dir, classes=("yes", "no"), skipped=skipped
        )


def test_newest_version_is_read(prepare, tmp_path):
    tfds_dir = small(prepare)
    directory = tmp_path / "tfds/definite_pronoun_resolution"
    for name in ("1.10.0", "1.9.0", "incomplete.2.0.0"):
        shutil.copytree(directory / "1.1.0", directory / name)
    for name in ("1.1.0", "1.9.0", "incomplete.2.0.0"):
        (directory / name / "features.json").unlink()
    assert len(load("dpr", "test", tfds_dir).examples) == 1
