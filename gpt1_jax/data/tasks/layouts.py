"""The layouts of each task: its files below task_dir, and TFDS's data sets.

A function returns files by split, or the data set; `rows` says which task has which.
The official layout of a split comes first, then others that users have.
"""

import functools
from collections.abc import Mapping
from typing import Any

from gpt1_jax.data.tables import QUOTED_TSV, Column
from gpt1_jax.data.tasks import official_readers, readers
from gpt1_jax.data.tasks.examples import Columns, Labels
from gpt1_jax.data.tasks.task import File
from gpt1_jax.data.tasks.tfds import Dataset

Files = dict[str, tuple[File, ...]]

TRAIN_DEV_TEST = ("train", "dev", "test")
SENTENCES = ("sentence1", "sentence2")
ENTAILMENT = ("entailment", "not_entailment")
# The order of TFDS. Differs: HF's and jiant's processors put contradiction first.
NLI = ("entailment", "neutral", "contradiction")
NLI_TEXTS = ("premise", "hypothesis")  # in TFDS and Hugging Face's data sets
MRPC_TEXTS = ("#1 String", "#2 String")
STORY_CLOZE_CONTEXT = tuple(f"InputSentence{number}" for number in (1, 2, 3, 4))
STORY_CLOZE_ENDINGS = ("RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2")

_USUAL_SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def make_labels(column: Column, *names: str, absent: str = "") -> Labels:
    """Returns the labels whose index is their place among `names`."""
    classes = {name: index for index, name in enumerate(names)}
    return Labels(column, classes, absent)


def binary(column: Column) -> Labels:
    """Returns the labels 0 and 1."""
    return make_labels(column, "0", "1")


def named_or_binary(*names: str) -> Labels:
    """Returns labels that are names, or the official files' numbers 0 and 1."""
    by_name = make_labels("label", *names).classes
    return Labels("label", {**by_name, **binary("label").classes})


def _tsv(
    pattern: str, parts: tuple[Column, ...], labels: Labels | None = None, **more: Any
) -> File:
    columns = Columns(parts, labels)
    read = functools.partial(readers.read_tsv, columns=columns, **more)
    return File(pattern, read)


def _jsonl(pattern: str, parts: tuple[Column, ...], labels: Labels) -> File:
    columns = Columns(parts, labels)
    return File(pattern, functools.partial(readers.read_jsonl, columns=columns))


def joined(*layouts: Files) -> Files:
    """Returns the files of several layouts; those of the first are preferred."""
    splits = {split: None for layout in layouts for split in layout}
    return {
        split: tuple(file for layout in layouts for file in layout.get(split, ()))
        for split in splits
    }


def exports(
    folder: str,
    parts: tuple[str, ...],
    labels: Labels | None,
    splits: Mapping[str, str] = _USUAL_SPLITS,
    *,
    unlabelled: tuple[str, ...] = ("test", "test_matched", "test_mismatched"),
) -> Files:
    """Files that users export from Hugging Face's data set: csv, jsonl or parquet.

    Classes are read by name: a parquet file has their names, other files must have them
    in place of numbers. The numbers 0 and 1 are read for the tasks whose official files
    have them too.

    Args: folder: may be several, as {a,b}. splits: from the task's name to theirs.
    """
    files: Files = {}
    for ours, theirs in splits.items():
        columns = Columns(parts, None if ours in unlabelled else labels)
        name = ours if ours == theirs else f"{{{theirs},{ours}}}"
        files[ours] = (
            File(
                f"{folder}/{name}{{,-*-of-*,/*}}.{{csv,jsonl,json,parquet}}",
                functools.partial(readers.read_export, columns=columns),
            ),
        )
    return files


def quora() -> Files:
    """Quora's own file, which has no splits: a tenth of its pairs becomes dev."""
    columns = Columns(("question1", "question2"), binary("is_duplicate"))
    name = "quora_duplicate_questions.tsv"
    note = "it has no splits; a tenth of its pairs, other ones than GLUE's, are dev"

    def files(part: str) -> tuple[File, ...]:
        read = functools.partial(
            official_readers.read_part, columns=columns, kind=QUOTED_TSV, part=part
        )
        return (File(f"{{{name},QQP/{name}}}", read, note),)

    return {"train": files("train"), "dev": files("dev")}


def sts_benchmark() -> Files:
    """The STS benchmark's own files: tab-separated, without a header.

    The columns are genre, file, year, index, score, the sentences and, in some rows,
    their origin. The test set has scores.
    """
    return {
        split: (
            _tsv(
                f"{{stsbenchmark,STS-B}}/sts-{split}.csv",
                (5, 6),
                Labels(4, {}),
                has_header=False,
                ignores_more=True,
            ),
        )
        for split in TRAIN_DEV_TEST
    }


def multinli() -> Files:
    """MultiNLI's own labelled files, as jsonl or as text.

    Its test sets are left out: their rows are not in the order that GLUE scores.
    """
    labels = make_labels("gold_label", *NLI, absent="-")
    return {
        split: (
            _jsonl(f"multinli_1.0/multinli_1.0_{split}.jsonl", SENTENCES, labels),
            _tsv(f"multinli_1.0/multinli_1.0_{split}.txt", SENTENCES, labels),
        )
        for split in ("train", "dev_matched", "dev_mismatched")
    }


def glue(
    folder: str,
    parts: tuple[Column, ...],
    labels: Labels,
    *,
    dev: tuple[str, ...] = ("dev",),
    test: tuple[str, ...] = ("test",),
    skips_short: bool = False,
) -> Files:
    """GLUE's usual folder: labelled train.tsv and dev.tsv, test.tsv without labels."""
    labelled: Files = {
        split: (_tsv(f"{folder}/{split}.tsv", parts, labels, skips_short=skips_short),)
        for split in ("train", *dev)
    }
    # A test row is never skipped: its place is its index in a submission.
    return labelled | {split: (_tsv(f"{folder}/{split}.tsv", parts),) for split in test}


def cola() -> Files:
    """CoLA: source, label, the author's mark, sentence; only test.tsv has a header."""
    labelled: Files = {
        split: (_tsv(f"CoLA/{split}.tsv", (3,), binary(1), has_header=False),)
        for split in ("train", "dev")
    }
    return labelled | {"test": (_tsv("CoLA/test.tsv", ("sentence",)),)}


def mrpc() -> Files:
    """MRPC in GLUE's files, or in Microsoft's; in these the test set has labels."""
    labels = binary("Quality")
    files = glue("MRPC", MRPC_TEXTS, labels)
    for split in ("train", "dev"):
        read = functools.partial(
            official_readers.read_msr_paraphrase,
            columns=Columns(MRPC_TEXTS, labels),
            part=split,
        )
        files[split] += (File("MRPC/msr_paraphrase_train.txt", read),)
    files["test"] += (_tsv("MRPC/msr_paraphrase_test.txt", MRPC_TEXTS, labels),)
    return files


def ax() -> Files:
    """GLUE's diagnostic file, under each path at which downloads place it."""
    patterns = (
        "AX/AX.tsv",
        "AX/diagnostic.tsv",
        "diagnostic/diagnostic.tsv",
        "diagnostic.tsv",
    )
    return {"test": tuple(_tsv(pattern, SENTENCES) for pattern in patterns)}


def snli() -> Files:
    """SNLI as jsonl or as text, or as GLUE's tables of it."""
    labels = make_labels("gold_label", *NLI, absent="-")
    return {
        split: (
            _jsonl(f"snli_1.0/snli_1.0_{split}.jsonl", SENTENCES, labels),
            _tsv(f"snli_1.0/snli_1.0_{split}.txt", SENTENCES, labels),
            _tsv(f"SNLI/{split}.tsv", SENTENCES, labels),
        )
        for split in TRAIN_DEV_TEST
    }


def scitail() -> Files:
    """SciTail in either format; their names for the first class differ."""
    in_tsv = make_labels(2, "entails", "neutral")
    in_jsonl = make_labels("gold_label", "entailment", "neutral")
    tsv, jsonl = "SciTailV1.1/tsv_format", "SciTailV1.1/snli_format"
    return {
        split: (
            _tsv(f"{tsv}/scitail_1.0_{split}.tsv", (0, 1), in_tsv, has_header=False),
            _jsonl(f"{jsonl}/scitail_1.0_{split}.txt", SENTENCES, in_jsonl),
        )
        for split in TRAIN_DEV_TEST
    }


def race() -> Files:
    """RACE: a folder for each split, and in it one for each level."""

    def files(split: str, *levels: str) -> tuple[File, ...]:
        read = functools.partial(official_readers.read_race, levels=levels)
        return (File(f"RACE/{split}", read),)

    return {
        "train": files("train", "middle", "high"),
        "dev_middle": files("dev", "middle"),
        "dev_high": files("dev", "high"),
        "test_middle": files("test", "middle"),
        "test_high": files("test", "high"),
    }


def story_cloze() -> Files:
    """Story Cloze: train and dev are the released parts of one validation file.

    The official names have a tail that varies, which TFDS expects to be removed.
    """
    unlabelled = Columns(STORY_CLOZE_ENDINGS, context=STORY_CLOZE_CONTEXT)
    labels = make_labels("AnswerRightEnding", "1", "2")
    labelled = Columns(STORY_CLOZE_ENDINGS, labels, context=STORY_CLOZE_CONTEXT)

    def files(start: str, read: Any, **more: Any) -> tuple[File, ...]:
        pattern = f"StoryCloze/cloze_test_{start}*.csv"
        return (File(pattern, functools.partial(read, **more)),)

    part_of = official_readers.read_story_cloze
    return {
        "train": files("val__spring2016", part_of, columns=labelled, part="train"),
        "dev": files("val__spring2016", part_of, columns=labelled, part="dev"),
        "test": files("test__spring2016", readers.read_csv, columns=labelled),
        "dev_2018": files("val__winter2018", readers.read_csv, columns=labelled),
        "test_2018": files("test__winter2018", readers.read_csv, columns=unlabelled),
    }


def dpr() -> Files:
    """Definite pronoun resolution, without a dev split."""
    return {
        split: (File(f"DPR/{split}.c.txt", official_readers.read_dpr),)
        for split in ("train", "test")
    }


def tfds_dataset(
    name: str,
    columns: Columns,
    splits: Mapping[str, str] = _USUAL_SPLITS,
    **more: Any,
) -> Dataset:
    """Returns a data set of TFDS.

    Args: splits: from the task's name of a split to TFDS's; more: fields of Dataset.
    """
    found = {ours: (f"{name}:{theirs}",) for ours, theirs in splits.items()}
    return Dataset(splits=found, columns=columns, **more)


def glue_dataset(
    name: str,
    parts: tuple[str, ...],
    splits: Mapping[str, str] = _USUAL_SPLITS,
) -> Dataset:
    """Returns a data set of GLUE in TFDS, in the order of its `idx`."""
    return tfds_dataset(f"glue/{name}", Columns(parts), splits, order="idx")
