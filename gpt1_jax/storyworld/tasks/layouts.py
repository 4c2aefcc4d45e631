"""Rows as the files in which the official data sets come (FACTS: one per task).

Knows columns, headers and file names, not what the texts say.
"""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from gpt1_jax.storyworld.tasks.rows import Row

Splits = Mapping[str, Sequence[Row]]
Columns = tuple[object, ...]


@dataclasses.dataclass(frozen=True)
class _Table:
    """A header, or none, and the columns of the row with an index."""

    header: str
    columns: Callable[[int, Row], Columns]

    def write(self, path: pathlib.Path, rows: Iterable[Row]) -> None:
        lines = [self.header] if self.header else []
        for i, row in enumerate(rows):
            lines.append("\t".join(map(str, self.columns(i, row))))
        _write(path, "\n".join(lines) + "\n")


def _tabs(names: str) -> str:
    return names.replace(" ", "\t")


def _ids(i: int) -> tuple[int, int]:
    """Two ids as of a collection of sentences."""
    return 2 * i + 1, 2 * i + 2


_PAIR_TEST = _Table(_tabs("index sentence1 sentence2"), lambda i, r: (i, *r.texts))
_PAIR = _Table(
    _tabs("index sentence1 sentence2 label"), lambda i, r: (i, *r.texts, r.label)
)
_UNDECIDED_EVERY = 40
_MRPC_IDS = "#1 ID\t#2 ID\t#1 String\t#2 String"
_STSB = "index genre filename year old_index source1 source2 sentence1 sentence2"


def _stsb_columns(i: int, row: Row) -> Columns:
    source = ("main-storyworld", "storyworld", "2018train", f"{i:04d}", "none", "none")
    return i, *source, *row.texts


# folder -> the table of train and dev, that of test
_GLUE = {
    "CoLA": (
        _Table("", lambda i, r: ("sw", r.label, "" if r.label else "*", *r.texts)),
        _Table(_tabs("index sentence"), lambda i, r: (i, *r.texts)),
    ),
    "SST-2": (
        _Table(_tabs("sentence label"), lambda i, r: (*r.texts, r.label)),
        _Table(_tabs("index sentence"), lambda i, r: (i, *r.texts)),
    ),
    "MRPC": (
        _Table(f"Quality\t{_MRPC_IDS}", lambda i, r: (r.label, *_ids(i), *r.texts)),
        _Table(f"index\t{_MRPC_IDS}", lambda i, r: (i, *_ids(i), *r.texts)),
    ),
    "QQP": (
        _Table(
            _tabs("id qid1 qid2 question1 question2 is_duplicate"),
            lambda i, r: (i, *_ids(i), *r.texts, r.label),
        ),
        _Table(_tabs("id question1 question2"), lambda i, r: (i, *r.texts)),
    ),
    "STS-B": (
        _Table(
            _tabs(f"{_STSB} score"),
            lambda i, r: (*_stsb_columns(i, r), f"{r.label:.3f}"),
        ),
        _Table(_tabs(_STSB), _stsb_columns),
    ),
    "QNLI": (
        _Table(
            _tabs("index question sentence label"),
            lambda i, r: (i, *r.texts, r.label),
        ),
        _Table(_tabs("index question sentence"), lambda i, r: (i, *r.texts)),
    ),
    "RTE": (_PAIR, _PAIR_TEST),
    "WNLI": (_PAIR, _PAIR_TEST),
}


def write_glue(directory: pathlib.Path, folder: str, splits: Splits) -> None:
    """`folder`/train.tsv, dev.tsv and, without labels, test.tsv."""
    labelled, unlabelled = _GLUE[folder]
    for split, rows in splits.items():
        table = unlabelled if split == "test" else labelled
        table.write(directory / folder / f"{split}.tsv", rows)


def write_ax(directory: pathlib.Path, rows: Sequence[Row]) -> None:
    """AX/AX.tsv, without labels."""
    _PAIR_TEST.write(directory / "AX" / "AX.tsv", rows)


_MNLI = (
    "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse "
    "sentence1_parse sentence2_parse sentence1 sentence2"
)


def write_mnli(directory: pathlib.Path, splits: Splits) -> None:
    """MNLI/train.tsv (12 columns), dev_matched, dev_mismatched (16), test_* (10)."""
    for split, rows in splits.items():
        genre = "talk" if split.endswith("_mismatched") else "story"
        num_annotators = {"train": 1, "dev": 5, "test": 0}[split.partition("_")[0]]
        table = _mnli_table(genre, num_annotators)
        table.write(directory / "MNLI" / f"{split}.tsv", rows)


def _mnli_table(genre: str, num_annotators: int) -> _Table:
    """As many labels as annotators and the gold one; none at all without them."""
    names = [f"label{k + 1}" for k in range(num_annotators)]
    names += ["gold_label"] if num_annotators else []

    def columns(i: int, row: Row) -> Columns:
        parses = [_parse(text, bare) for bare in (True, False) for text in row.texts]
        return i, i, f"{i}n", genre, *parses, *row.texts, *[row.label] * len(names)

    return _Table(_tabs(" ".join([_MNLI, *names])), columns)


def _parse(text: str, is_bare: bool) -> str:
    """A flat tree in place of a parser's, so that the columns are no empty ones."""
    return f"( {text} )" if is_bare else f"(ROOT {text})"


def write_snli(directory: pathlib.Path, splits: Splits) -> None:
    """snli_1.0/snli_1.0_*.jsonl; now and then the annotators do not agree: `-`."""
    for split, rows in splits.items():
        lines = []
        for i, row in enumerate(rows):
            one, other = row.texts
            is_decided = i % _UNDECIDED_EVERY != _UNDECIDED_EVERY - 1
            label = row.label if is_decided else "-"
            votes = [label] * 3 if is_decided else ["neutral", "entailment"]
            entry = {
                "annotator_labels": votes,
                "captionID": f"{i}.jpg#0",
                "gold_label": label,
                "pairID": f"{i}.jpg#0r1",
                "sentence1": one,
                "sentence1_binary_parse": _parse(one, True),
                "sentence1_parse": _parse(one, False),
                "sentence2": other,
                "sentence2_binary_parse": _parse(other, True),
                "sentence2_parse": _parse(other, False),
            }
            lines.append(json.dumps(entry) + "\n")
        _write(directory / "snli_1.0" / f"snli_1.0_{split}.jsonl", "".join(lines))


def write_scitail(directory: pathlib.Path, splits: Splits) -> None:
    """SciTailV1.1/tsv_format/scitail_1.0_*.tsv: premise, hypothesis, label."""
    table = _Table("", lambda i, r: (*r.texts, r.label))
    for split, rows in splits.items():
        name = f"scitail_1.0_{split}.tsv"
        table.write(directory / "SciTailV1.1" / "tsv_format" / name, rows)


def write_race(directory: pathlib.Path, splits: Splits) -> None:
    """RACE/<split>/<middle or high>/<n>.txt: one article a file, one question each."""
    for split, rows in splits.items():
        for i, row in enumerate(rows):
            article, question, *options = row.texts
            level = ("middle", "high")[i % 2]
            path = directory / "RACE" / split / level / f"{i}.txt"
            entry = {
                "answers": [row.label],
                "options": [options],
                "questions": [question],
                "article": article,
                "id": f"{level}{i}.txt",
            }
            _write(path, json.dumps(entry))


_STORY_CLOZE = [
    "InputStoryid",
    "InputSentence1",
    "InputSentence2",
    "InputSentence3",
    "InputSentence4",
    "RandomFifthSentenceQuiz1",
    "RandomFifthSentenceQuiz2",
    "AnswerRightEnding",
]


def write_story_cloze(
    directory: pathlib.Path, *, validation: Sequence[Row], test: Sequence[Row]
) -> None:
    """StoryCloze/: the two files of spring 2016, under the names of their release."""
    folder = directory / "StoryCloze"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("val", validation), ("test", test)):
        file_name = f"cloze_test_{name}__spring2016 - cloze_test_ALL_{name}.csv"
        with open(folder / file_name, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(_STORY_CLOZE)
            for i, row in enumerate(rows):
                table.writerow((f"{name}-{i:04d}", *row.texts, row.label))


def write_dpr(directory: pathlib.Path, splits: Splits) -> None:
    """DPR/train.c.txt, test.c.txt: sentence, pronoun, candidates, answer, a blank."""
    for split in ("train", "test"):
        text = "".join("\n".join(row.texts) + "\n\n" for row in splits[split])
        _write(directory / "DPR" / f"{split}.c.txt", text)


def _write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
