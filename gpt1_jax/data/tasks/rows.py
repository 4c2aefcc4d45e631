"""The tasks of the paper and of GLUE: one row for each.

A row holds everything that is specific to a task. Code elsewhere reads its fields and
does not test its name; the paper's tables, zero-shot heuristics and GLUE's files are
lists of names.
Source of counts and layouts: the official files, or the catalog of TFDS 4.9.10.
"""

from gpt1_jax.data.tasks import layouts, tfds
from gpt1_jax.data.tasks.examples import Columns, Labels
from gpt1_jax.data.tasks.layouts import (
    ENTAILMENT,
    NLI,
    NLI_TEXTS,
    SENTENCES,
    binary,
    exports,
    joined,
    make_labels,
    named_or_binary,
)
from gpt1_jax.data.tasks.task import PaperScore, Task
from gpt1_jax.data.tasks.tfds import Dataset

_LEADERBOARD = "GLUE leaderboard"
_SINGLE_TASK = "Single-task BiLSTM + ELMo + Attn"
_MULTI_TASK = "Multi-task BiLSTM + Attn"
_SAN, _MRU = "SAN, 3 models", "BiAttention MRU, 9 models"
_ACCURACY = ("accuracy",)


_MNLI_SPLITS = {
    "train": "train",
    "dev_matched": "validation_matched",
    "dev_mismatched": "validation_mismatched",
    "test_matched": "test_matched",
    "test_mismatched": "test_mismatched",
}


def _counts(train: int, dev: int, test: int) -> dict[str, int]:
    return {"train": train, "dev": dev, "test": test}


_ROWS = (
    Task(
        name="cola",
        kind="single",
        classes=("unacceptable", "acceptable"),
        metrics=("matthews",),
        columns=("sentence",),
        files=joined(
            layouts.cola(),
            exports(
                "CoLA", ("sentence",), named_or_binary("unacceptable", "acceptable")
            ),
        ),
        tfds=layouts.glue_dataset("cola", ("sentence",)),
        num_examples=_counts(8551, 1043, 1063),
        paper=(PaperScore("matthews", 45.4, "Table 4", 35.0, _SINGLE_TASK),),
    ),
    Task(
        name="sst2",
        kind="single",
        classes=("negative", "positive"),
        metrics=_ACCURACY,
        columns=("sentence",),
        files=joined(
            layouts.glue("SST-2", ("sentence",), binary("label")),
            exports(
                "{SST-2,sst2}",
                ("sentence",),
                named_or_binary("negative", "positive"),
            ),
        ),
        tfds=layouts.glue_dataset("sst2", ("sentence",)),
        num_examples=_counts(67349, 872, 1821),
        paper=(PaperScore("accuracy", 91.3, "Table 4", 93.2, "Sparse byte mLSTM"),),
    ),
    Task(
        name="mrpc",
        kind="similarity",
        classes=("not_equivalent", "equivalent"),
        metrics=("f1", "accuracy"),
        columns=layouts.MRPC_TEXTS,
        files=joined(
            layouts.mrpc(),
            exports("MRPC", SENTENCES, named_or_binary("not_equivalent", "equivalent")),
        ),
        tfds=layouts.glue_dataset("mrpc", SENTENCES),
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
        columns=SENTENCES,
        files=joined(
            layouts.glue("STS-B", SENTENCES, Labels("score", {})),
            layouts.sts_benchmark(),
            exports("{STS-B,stsb}", SENTENCES, Labels("label", {})),
        ),
        tfds=layouts.glue_dataset("stsb", SENTENCES),
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
        files=joined(
            layouts.glue(
                "QQP",
                ("question1", "question2"),
                binary("is_duplicate"),
                skips_short=True,
            ),
            exports(
                "QQP",
                ("question1", "question2"),
                named_or_binary("not_duplicate", "duplicate"),
            ),
            layouts.quora(),
        ),
        tfds=layouts.glue_dataset("qqp", ("question1", "question2")),
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
        classes=NLI,
        metrics=_ACCURACY,
        columns=SENTENCES,
        dev={"matched": "dev_matched", "mismatched": "dev_mismatched"},
        test={"matched": "test_matched", "mismatched": "test_mismatched"},
        files=joined(
            layouts.glue(
                "MNLI",
                SENTENCES,
                make_labels("gold_label", *NLI),
                dev=("dev_matched", "dev_mismatched"),
                test=("test_matched", "test_mismatched"),
            ),
            layouts.multinli(),
            exports("MNLI", NLI_TEXTS, make_labels("label", *NLI), _MNLI_SPLITS),
        ),
        tfds=layouts.glue_dataset("mnli", NLI_TEXTS, _MNLI_SPLITS),
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
        classes=ENTAILMENT,
        metrics=_ACCURACY,
        columns=("question", "sentence"),
        files=joined(
            layouts.glue(
                "QNLI", ("question", "sentence"), make_labels("label", *ENTAILMENT)
            ),
            exports(
                "QNLI", ("question", "sentence"), make_labels("label", *ENTAILMENT)
            ),
        ),
        tfds=layouts.glue_dataset("qnli", ("question", "sentence")),
        # Version 2; the paper's score is on version 1, which was withdrawn.
        num_examples=_counts(104743, 5463, 5463),
        paper=(PaperScore("accuracy", 88.1, "Table 2", 82.3, "GenSen"),),
    ),
    Task(
        name="rte",
        kind="pair",
        classes=ENTAILMENT,
        metrics=_ACCURACY,
        columns=SENTENCES,
        files=joined(
            layouts.glue("RTE", SENTENCES, make_labels("label", *ENTAILMENT)),
            exports("RTE", SENTENCES, make_labels("label", *ENTAILMENT)),
        ),
        tfds=layouts.glue_dataset("rte", SENTENCES),
        num_examples=_counts(2490, 277, 3000),
        paper=(PaperScore("accuracy", 56.0, "Table 2", 61.7, _MULTI_TASK),),
    ),
    Task(
        name="wnli",
        kind="pair",
        classes=("not_entailment", "entailment"),
        metrics=_ACCURACY,
        columns=SENTENCES,
        files=joined(
            layouts.glue("WNLI", SENTENCES, binary("label")),
            exports("WNLI", SENTENCES, named_or_binary("not_entailment", "entailment")),
        ),
        tfds=layouts.glue_dataset("wnli", SENTENCES),
        num_examples=_counts(635, 71, 146),
        paper=(PaperScore("accuracy", 53.4, _LEADERBOARD),),
    ),
    Task(
        name="ax",
        kind="pair",
        classes=NLI,
        metrics=("matthews",),
        columns=SENTENCES,
        train="",
        dev={},
        files=joined(layouts.ax(), exports("AX", NLI_TEXTS, None, {"test": "test"})),
        tfds=layouts.glue_dataset("ax", NLI_TEXTS, {"test": "test"}),
        num_examples={"test": 1104},
        paper=(PaperScore("matthews", 29.8, _LEADERBOARD),),
        predicted_by="mnli",
    ),
    Task(
        name="snli",
        kind="pair",
        classes=NLI,
        metrics=_ACCURACY,
        columns=SENTENCES,
        files=joined(
            layouts.snli(),
            exports(
                "SNLI",
                NLI_TEXTS,
                make_labels("label", *NLI, absent="-1"),
                unlabelled=(),
            ),
        ),
        tfds=layouts.tfds_dataset("snli", Columns(NLI_TEXTS), skips_unlabelled=True),
        # 550,152, 10,000 and 10,000 with those that have no gold label.
        num_examples=_counts(549367, 9842, 9824),
        # CAFE, 5 models, has the same earlier score.
        paper=(PaperScore("accuracy", 89.9, "Table 2", 89.3, "ESIM + ELMo, 5 models"),),
    ),
    Task(
        name="scitail",
        kind="pair",
        classes=("entails", "neutral"),
        metrics=_ACCURACY,
        columns=("premise", "hypothesis"),
        files=layouts.scitail(),
        tfds=layouts.tfds_dataset("sci_tail", Columns(("premise", "hypothesis"))),
        # TFDS and HF read quotes as in csv, which joins rows: 23,097 for training.
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
        files=layouts.race(),
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
            examples=tfds.race_examples,
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
        columns=layouts.STORY_CLOZE_ENDINGS,
        context_columns=layouts.STORY_CLOZE_CONTEXT,
        files=layouts.story_cloze(),
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
            released=("train", "dev"),
            released_note=(
                "TFDS has Story Cloze in another order, so dev has as many stories as "
                "in the released code, but different ones"
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
        files=layouts.dpr(),
        tfds=layouts.tfds_dataset(
            "definite_pronoun_resolution",
            Columns(("candidates",), context=("sentence",), question=("pronoun",)),
            {"train": "train", "test": "test"},
        ),
        num_examples={"train": 1322, "test": 564},
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ROWS}
