"""The tasks of the paper and of GLUE, a row each.

A row holds everything that is specific to a task; no other code tests its name.
Source of counts and layouts: the official files, or the catalog of TFDS 4.9.10.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt1_jax.data.tasks import readers
from gpt1_jax.data.tasks import tfds as tfds_lib
from gpt1_jax.data.tasks.examples import Column, Columns, Example, Labels
from gpt1_jax.data.tasks.tfds import Dataset


@dataclasses.dataclass(frozen=True)
class File:
    """A possible path of a split below task_dir, and the reader of its format."""

    pattern: str  # a path; a glob where official names vary
    read: Callable[[Path, collections.Counter[str]], Iterator[Example]]


@dataclasses.dataclass(frozen=True)
class PaperScore:
    """A score of the paper's model on a test set, in percent.

    earlier_percent: the best score that the same table gives to an earlier system, and
    which that is; "": it names none.
    """

    metric: str  # as after eval/: accuracy, matched/accuracy
    percent: float
    table: str
    earlier_percent: float = 0.0
    earlier_system: str = ""


_LEADERBOARD = "GLUE leaderboard"
_SINGLE_TASK = "Single-task BiLSTM + ELMo + Attn"
_MULTI_TASK = "Multi-task BiLSTM + Attn"
_SAN, _MRU = "SAN, 3 models", "BiAttention MRU, 9 models"


KINDS = ("single", "pair", "similarity", "choice")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """Everything that is specific to a task."""

    name: str
    kind: str  # one of KINDS
    # Names of the classes in order of their index; (): scores, or a choice.
    classes: tuple[str, ...] = ()
    # The first selects the best checkpoint.
    metrics: tuple[str, ...]
    # The columns of a table of the user's own: an Example's parts, context, question.
    columns: tuple[str, ...] = ()
    context_columns: tuple[str, ...] = ()
    question_columns: tuple[str, ...] = ()
    # The split to train on; "": none. To evaluate on: by what stands before the
    # metric's name, eval/<this>/accuracy. `files` may have more splits than these.
    train: str = "train"
    dev: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"": "dev"})
    test: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"": "test"})
    # The files of each split that can be loaded, in order of preference.
    files: Mapping[str, tuple[File, ...]] = dataclasses.field(default_factory=dict)
    tfds: Dataset = dataclasses.field(
        default_factory=lambda: Dataset(splits={}, columns=Columns(()))
    )
    # The size of each official split, without the rows that have no gold label.
    num_examples: Mapping[str, int] = dataclasses.field(default_factory=dict)
    paper: tuple[PaperScore, ...] = ()
    predicted_by: str = ""  # the task whose model predicts this one; "": its own


def _tsv(
    pattern: str,
    parts: tuple[Column, ...],
    labels: Labels | None = None,
    *,
    has_header: bool = True,
    skips_short: bool = False,
) -> File:
    return File(
        pattern,
        functools.partial(
            readers.read_tsv,
            columns=Columns(parts, labels),
            has_header=has_header,
            skips_short=skips_short,
        ),
    )


def _jsonl(pattern: str, parts: tuple[Column, ...], labels: Labels) -> File:
    columns = Columns(parts, labels)
    return File(pattern, functools.partial(readers.read_jsonl, columns=columns))


def _glue_files(
    folder: str,
    parts: tuple[Column, ...],
    labels: Labels,
    *,
    dev: tuple[str, ...] = ("dev",),
    test: tuple[str, ...] = ("test",),
    skips_short: bool = False,
) -> dict[str, tuple[File, ...]]:
    """GLUE's usual folder: labelled train.tsv and dev.tsv, test.tsv without labels."""
    labelled: dict[str, tuple[File, ...]] = {
        split: (_tsv(f"{folder}/{split}.tsv", parts, labels, skips_short=skips_short),)
        for split in ("train", *dev)
    }
    # A test row is never skipped: its place is its index in a submission.
    return labelled | {split: (_tsv(f"{folder}/{split}.tsv", parts),) for split in test}


def _tfds(dataset: str, parts: tuple[str, ...], **more: Any) -> Dataset:
    """A data set of TFDS with the usual splits, in the order of its `idx`."""
    splits = {"train": "train", "dev": "validation", "test": "test"}
    return Dataset(
        splits={ours: (f"{dataset}:{theirs}",) for ours, theirs in splits.items()},
        columns=Columns(parts),
        **{"order": "idx"} | more,
    )


def _index(*names: str) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def _counts(train: int, dev: int, test: int) -> dict[str, int]:
    return {"train": train, "dev": dev, "test": test}


_BINARY = _index("0", "1")
_SENTENCES = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")
# The order of TFDS. Differs: HF's and jiant's processors put contradiction first.
_NLI = ("entailment", "neutral", "contradiction")
_ACCURACY = ("accuracy",)

_MRPC_TEXTS = ("#1 String", "#2 String")
_MRPC_COLUMNS = Columns(_MRPC_TEXTS, Labels("Quality", _BINARY))
_MRPC_FILES = _glue_files("MRPC", _MRPC_TEXTS, Labels("Quality", _BINARY))

_STORY_CLOZE_CONTEXT = tuple(f"InputSentence{number}" for number in (1, 2, 3, 4))
_STORY_CLOZE_ENDINGS = ("RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2")
_STORY_CLOZE_UNLABELLED = Columns(_STORY_CLOZE_ENDINGS, context=_STORY_CLOZE_CONTEXT)
_STORY_CLOZE = dataclasses.replace(
    _STORY_CLOZE_UNLABELLED, labels=Labels("AnswerRightEnding", _index("1", "2"))
)


def _msr_paraphrase(part: str) -> File:
    return File(
        "MRPC/msr_paraphrase_train.txt",
        functools.partial(
            readers.read_msr_paraphrase, columns=_MRPC_COLUMNS, part=part
        ),
    )


def _snli_files(split: str) -> tuple[File, ...]:
    labels = Labels("gold_label", _index(*_NLI), absent="-")
    return (
        _jsonl(f"snli_1.0/snli_1.0_{split}.jsonl", _SENTENCES, labels),
        _tsv(f"snli_1.0/snli_1.0_{split}.txt", _SENTENCES, labels),
    )


def _scitail_files(split: str) -> tuple[File, ...]:
    name = f"scitail_1.0_{split}"
    # The same class is called entails in one format and entailment in the other.
    return (
        _tsv(
            f"SciTailV1.1/tsv_format/{name}.tsv",
            (0, 1),
            Labels(2, _index("entails", "neutral")),
            has_header=False,
        ),
        _jsonl(
            f"SciTailV1.1/snli_format/{name}.txt",
            _SENTENCES,
            Labels("gold_label", _index("entailment", "neutral")),
        ),
    )


def _race_files(split: str, *levels: str) -> tuple[File, ...]:
    read = functools.partial(readers.read_race, levels=levels)
    return (File(f"RACE/{split}", read),)


def _story_cloze_file(
    start: str, columns: Columns = _STORY_CLOZE, part: str = ""
) -> tuple[File, ...]:
    """A csv whose official name has a tail that varies; TFDS wants it without."""
    read = functools.partial(readers.read_csv, columns=columns)
    if part:
        read = functools.partial(readers.read_story_cloze, columns=columns, part=part)
    return (File(f"StoryCloze/{start}*.csv", read),)


_ROWS = (
    Task(
        name="cola",
        kind="single",
        classes=("unacceptable", "acceptable"),
        metrics=("matthews",),
        columns=("sentence",),
        # Source, label, the author's mark, sentence; only test.tsv has a header.
        files={
            split: (
                _tsv(f"CoLA/{split}.tsv", (3,), Labels(1, _BINARY), has_header=False),
            )
            for split in ("train", "dev")
        }
        | {"test": (_tsv("CoLA/test.tsv", ("sentence",)),)},
        tfds=_tfds("glue/cola", ("sentence",)),
        num_examples=_counts(8551, 1043, 1063),
        paper=(PaperScore("matthews", 45.4, "Table 4", 35.0, _SINGLE_TASK),),
    ),
    Task(
        name="sst2",
        kind="single",
        classes=("negative", "positive"),
        metrics=_ACCURACY,
        columns=("sentence",),
        files=_glue_files("SST-2", ("sentence",), Labels("label", _BINARY)),
        tfds=_tfds("glue/sst2", ("sentence",)),
        num_examples=_counts(67349, 872, 1821),
        paper=(PaperScore("accuracy", 91.3, "Table 4", 93.2, "Sparse byte mLSTM"),),
    ),
    Task(
        name="mrpc",
        kind="similarity",
        classes=("not_equivalent", "equivalent"),
        metrics=("f1", "accuracy"),
        columns=_MRPC_TEXTS,
        files={
            "train": (*_MRPC_FILES["train"], _msr_paraphrase("train")),
            "dev": (*_MRPC_FILES["dev"], _msr_paraphrase("dev")),
            # Microsoft's file of the test set has its labels; GLUE's has none.
            "test": (
                *_MRPC_FILES["test"],
                _tsv(
                    "MRPC/msr_paraphrase_test.txt",
                    _MRPC_TEXTS,
                    Labels("Quality", _BINARY),
                ),
            ),
        },
        tfds=_tfds("glue/mrpc", _SENTENCES),
        num_examples=_counts(3668, 408, 1725),
        paper=(
            PaperScore("f1", 82.3, "Table 4", 86.0, "TF-KLD"),
            PaperScore("accuracy", 75.7, _LEADERBOARD),
        ),
    ),
    Task(
        name="stsb",
        kind="similarity",
        metrics=("pearson", "spearman"),
        columns=_SENTENCES,
        files=_glue_files("STS-B", _SENTENCES, Labels("score", {})),
        tfds=_tfds("glue/stsb", _SENTENCES),
        num_examples=_counts(5749, 1500, 1379),
        paper=(
            PaperScore("pearson", 82.0, "Table 4", 81.0, "ECNU, a mixed ensemble"),
            PaperScore("spearman", 80.0, _LEADERBOARD),
        ),
    ),
    Task(
        name="qqp",
        kind="similarity",
        classes=("not_duplicate", "duplicate"),
        metrics=("f1", "accuracy"),
        columns=("question1", "question2"),
        files=_glue_files(
            "QQP",
            ("question1", "question2"),
            Labels("is_duplicate", _BINARY),
            skips_short=True,
        ),
        tfds=_tfds("glue/qqp", ("question1", "question2")),
        # The current file; older ones have 363,849 or 363,870.
        num_examples=_counts(363846, 40430, 390965),
        paper=(
            PaperScore("f1", 70.3, "Table 4", 66.1, _SINGLE_TASK),
            PaperScore("accuracy", 88.5, _LEADERBOARD),
        ),
    ),
    Task(
        name="mnli",
        kind="pair",
        classes=_NLI,
        metrics=_ACCURACY,
        columns=_SENTENCES,
        dev={"matched": "dev_matched", "mismatched": "dev_mismatched"},
        test={"matched": "test_matched", "mismatched": "test_mismatched"},
        files=_glue_files(
            "MNLI",
            _SENTENCES,
            Labels("gold_label", _index(*_NLI)),
            dev=("dev_matched", "dev_mismatched"),
            test=("test_matched", "test_mismatched"),
        ),
        tfds=Dataset(
            splits={
                "train": ("glue/mnli:train",),
                "dev_matched": ("glue/mnli:validation_matched",),
                "dev_mismatched": ("glue/mnli:validation_mismatched",),
                "test_matched": ("glue/mnli:test_matched",),
                "test_mismatched": ("glue/mnli:test_mismatched",),
            },
            columns=Columns(("premise", "hypothesis")),
            order="idx",
        ),
        num_examples={
            "train": 392702,
            "dev_matched": 9815,
            "dev_mismatched": 9832,
            "test_matched": 9796,
            "test_mismatched": 9847,
        },
        paper=(
            PaperScore("matched/accuracy", 82.1, "Table 2", 80.6, _SAN),
            PaperScore("mismatched/accuracy", 81.4, "Table 2", 80.1, _SAN),
        ),
    ),
    Task(
        name="qnli",
        kind="pair",
        classes=_ENTAILMENT,
        metrics=_ACCURACY,
        columns=("question", "sentence"),
        files=_glue_files(
            "QNLI", ("question", "sentence"), Labels("label", _index(*_ENTAILMENT))
        ),
        tfds=_tfds("glue/qnli", ("question", "sentence")),
        # Version 2, all that is left; the paper's score is on version 1, withdrawn.
        num_examples=_counts(104743, 5463, 5463),
        paper=(PaperScore("accuracy", 88.1, "Table 2", 82.3, "GenSen"),),
    ),
    Task(
        name="rte",
        kind="pair",
        classes=_ENTAILMENT,
        metrics=_ACCURACY,
        columns=_SENTENCES,
        files=_glue_files("RTE", _SENTENCES, Labels("label", _index(*_ENTAILMENT))),
        tfds=_tfds("glue/rte", _SENTENCES),
        num_examples=_counts(2490, 277, 3000),
        paper=(PaperScore("accuracy", 56.0, "Table 2", 61.7, _MULTI_TASK),),
    ),
    Task(
        name="wnli",
        kind="pair",
        classes=("not_entailment", "entailment"),
        metrics=_ACCURACY,
        columns=_SENTENCES,
        files=_glue_files("WNLI", _SENTENCES, Labels("label", _BINARY)),
        tfds=_tfds("glue/wnli", _SENTENCES),
        num_examples=_counts(635, 71, 146),
        paper=(PaperScore("accuracy", 53.4, _LEADERBOARD),),
    ),
    Task(
        name="ax",
        kind="pair",
        classes=_NLI,
        metrics=("matthews",),
        columns=_SENTENCES,
        train="",
        dev={},
        # GLUE's own names for the file, in the places where downloads put it.
        files={
            "test": tuple(
                _tsv(pattern, _SENTENCES)
                for pattern in (
                    "AX/AX.tsv",
                    "AX/diagnostic.tsv",
                    "diagnostic/diagnostic.tsv",
                    "diagnostic.tsv",
                )
            )
        },
        tfds=Dataset(
            splits={"test": ("glue/ax:test",)},
            columns=Columns(("premise", "hypothesis")),
            order="idx",
        ),
        num_examples={"test": 1104},
        paper=(PaperScore("matthews", 29.8, _LEADERBOARD),),
        predicted_by="mnli",
    ),
    Task(
        name="snli",
        kind="pair",
        classes=_NLI,
        metrics=_ACCURACY,
        columns=_SENTENCES,
        files={split: _snli_files(split) for split in ("train", "dev", "test")},
        tfds=_tfds("snli", ("premise", "hypothesis"), order="", skips_unlabelled=True),
        # 550,152, 10,000 and 10,000 with those that have no gold label.
        num_examples=_counts(549367, 9842, 9824),
        # CAFE, 5 models, has the same.
        paper=(PaperScore("accuracy", 89.9, "Table 2", 89.3, "ESIM + ELMo, 5 models"),),
    ),
    Task(
        name="scitail",
        kind="pair",
        classes=("entails", "neutral"),
        metrics=_ACCURACY,
        columns=("premise", "hypothesis"),
        files={split: _scitail_files(split) for split in ("train", "dev", "test")},
        tfds=_tfds("sci_tail", ("premise", "hypothesis"), order=""),
        # TFDS and HF read quotes as csv's, which joins rows: 23,097 for training.
        num_examples=_counts(23596, 1304, 2126),
        paper=(PaperScore("accuracy", 88.3, "Table 2", 83.3, "CAFE"),),
    ),
    Task(
        name="race",
        kind="choice",
        metrics=_ACCURACY,
        columns=("A", "B", "C", "D"),
        context_columns=("article",),
        question_columns=("question",),
        dev={"middle": "dev_middle", "high": "dev_high"},
        test={"middle": "test_middle", "high": "test_high"},
        files={
            "train": _race_files("train", "middle", "high"),
            "dev_middle": _race_files("dev", "middle"),
            "dev_high": _race_files("dev", "high"),
            "test_middle": _race_files("test", "middle"),
            "test_high": _race_files("test", "high"),
        },
        tfds=Dataset(
            splits={
                "train": ("race/middle:train", "race/high:train"),
                "dev_middle": ("race/middle:dev",),
                "dev_high": ("race/high:dev",),
                "test_middle": ("race/middle:test",),
                "test_high": ("race/high:test",),
            },
            columns=Columns(("options",)),
            order="example_id",
            examples=tfds_lib.race_examples,
        ),
        # Questions. Source: Lai et al. 2017, Table 2.
        num_examples={
            "train": 87866,
            "dev_middle": 1436,
            "dev_high": 3451,
            "test_middle": 1436,
            "test_high": 3498,
        },
        paper=(
            PaperScore("middle/accuracy", 62.9, "Table 3", 60.2, _MRU),
            PaperScore("high/accuracy", 57.4, "Table 3", 50.3, _MRU),
            PaperScore("accuracy", 59.0, "Table 3", 53.3, _MRU),
        ),
    ),
    Task(
        name="storycloze",
        kind="choice",
        metrics=_ACCURACY,
        columns=_STORY_CLOZE_ENDINGS,
        context_columns=_STORY_CLOZE_CONTEXT,
        files={
            "train": _story_cloze_file("cloze_test_val__spring2016", part="train"),
            "dev": _story_cloze_file("cloze_test_val__spring2016", part="dev"),
            "test": _story_cloze_file("cloze_test_test__spring2016"),
            "dev_2018": _story_cloze_file("cloze_test_val__winter2018"),
            "test_2018": _story_cloze_file(
                "cloze_test_test__winter2018", _STORY_CLOZE_UNLABELLED
            ),
        },
        tfds=Dataset(
            splits={
                "train": ("story_cloze/2016:validation",),
                "dev": ("story_cloze/2016:validation",),
                "test": ("story_cloze/2016:test",),
                "dev_2018": ("story_cloze/2018:validation",),
                "test_2018": ("story_cloze/2018:test",),
            },
            columns=Columns(("endings",), context=("context",)),
            first_label=1,
            released={"train": "train", "dev": "dev"},
            released_note=(
                "TFDS keeps Story Cloze in an order of its own: the stories held out "
                "for dev are as many as the released code's, but others"
            ),
        ),
        num_examples=_counts(1497, 374, 1871) | {"dev_2018": 1571, "test_2018": 1571},
        paper=(
            PaperScore("accuracy", 86.5, "Table 3", 77.6, "Hidden Coherence Model"),
        ),
    ),
    Task(
        name="dpr",
        kind="choice",
        metrics=_ACCURACY,
        train="",
        dev={},
        files={
            split: (File(f"DPR/{split}.c.txt", readers.read_dpr),)
            for split in ("train", "test")
        },
        tfds=Dataset(
            splits={
                "train": ("definite_pronoun_resolution:train",),
                "test": ("definite_pronoun_resolution:test",),
            },
            columns=Columns(
                ("candidates",), context=("sentence",), question=("pronoun",)
            ),
        ),
        num_examples={"train": 1322, "test": 564},
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ROWS}
