"""Rows as the files in which the official data sets come.

Columns, headers and file names are decided here, not what the texts say.
"""

import csv
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from gpt1_jax.storyworld.tasks.rows import Row

Splits = Mapping[str, Sequence[Row]]

_UNDECIDED_EVERY = 40
_PAIR = "index,sentence1,sentence2"
_MRPC = "#1 ID,#2 ID,#1 String,#2 String"
_STSB = "index,genre,filename,year,old_index,source1,source2,sentence1,sentence2"
_MNLI = (
    "index,promptID,pairID,genre,sentence1_binary_parse,sentence2_binary_parse,"
    "sentence1_parse,sentence2_parse,sentence1,sentence2"
)
# folder -> the columns of train and dev, those of test
_GLUE = {
    "CoLA": ("source,label,mark,sentence", "index,sentence"),
    "SST-2": ("sentence,label", "index,sentence"),
    "MRPC": (f"Quality,{_MRPC}", f"index,{_MRPC}"),
    "QQP": (
        "id,qid1,qid2,question1,question2,is_duplicate",
        "id,question1,question2",
    ),
    "STS-B": (f"{_STSB},score", _STSB),
    "QNLI": ("index,question,sentence,label", "index,question,sentence"),
    "RTE": (f"{_PAIR},label", _PAIR),
    "WNLI": (f"{_PAIR},label", _PAIR),
    "AX": ("", _PAIR),
}


def write_glue(directory: pathlib.Path, folder: str, splits: Splits) -> None:
    """Writes `folder`/train.tsv, dev.tsv and, without labels, test.tsv or AX.tsv."""
    labelled, unlabelled = _GLUE[folder]
    for split, rows in splits.items():
        is_labelled = split in ("train", "dev")
        columns = labelled if is_labelled else unlabelled
        has_header = folder != "CoLA" or not is_labelled
        path = directory / folder / f"{split}.tsv"
        _write_tsv(path, columns, rows, has_header=has_header)


def write_mnli(directory: pathlib.Path, splits: Splits) -> None:
    """Writes MNLI/train.tsv (12 columns), dev_matched ... (16), test_matched ... (10).

    A split has as many labels as annotators and the gold one; test has none.
    """
    for split, rows in splits.items():
        num_annotators = {"train": 1, "dev": 5, "test": 0}[split.partition("_")[0]]
        labels = [f"label{k + 1}" for k in range(num_annotators)]
        columns = ",".join([_MNLI, *labels, *["gold_label"][:num_annotators]])
        genre = "talk" if split.endswith("_mismatched") else "story"
        _write_tsv(directory / "MNLI" / f"{split}.tsv", columns, rows, genre=genre)


def write_scitail(directory: pathlib.Path, splits: Splits) -> None:
    """Writes SciTailV1.1/tsv_format/scitail_1.0_*.tsv: premise, hypothesis, label."""
    for split, rows in splits.items():
        folder = directory / "SciTailV1.1" / "tsv_format"
        path = folder / f"scitail_1.0_{split}.tsv"
        _write_tsv(path, "sentence1,sentence2,label", rows, has_header=False)


def write_snli(directory: pathlib.Path, splits: Splits) -> None:
    """Writes snli_1.0/snli_1.0_*.jsonl; some rows have no gold label: `-`."""
    for split, rows in splits.items():
        lines = []
        for i, row in enumerate(rows):
            is_decided = i % _UNDECIDED_EVERY != _UNDECIDED_EVERY - 1
            label = row.label if is_decided else "-"
            entry: dict[str, object] = {
                "annotator_labels": (
                    [label] * 3 if is_decided else ["neutral", "entailment"]
                ),
                "captionID": f"{i}.jpg#0",
                "gold_label": label,
                "pairID": f"{i}.jpg#0r1",
            }
            names = [name for name in _MNLI.split(",") if name.startswith("sentence")]
            values = _values(i, row)
            entry |= {name: values[name] for name in sorted(names)}
            lines.append(json.dumps(entry) + "\n")
        _write(directory / "snli_1.0" / f"snli_1.0_{split}.jsonl", "".join(lines))


def write_race(directory: pathlib.Path, splits: Splits) -> None:
    """Writes RACE/<split>/<middle or high>/<n>.txt: an article and its question."""
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
    directory: pathlib.Path, validation: Sequence[Row], test: Sequence[Row]
) -> None:
    """Writes StoryCloze/: the two files of spring 2016, under their released names."""
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
    """Writes DPR/*.c.txt: sentence, pronoun, candidates, answer, a blank line."""
    for split in ("train", "test"):
        text = "".join("\n".join(row.texts) + "\n\n" for row in splits[split])
        _write(directory / "DPR" / f"{split}.c.txt", text)


def _values(i: int, row: Row) -> dict[str, object]:
    """The value of each column, by its name, in the row with index `i`.

    A flat tree stands in place of a parser's.
    """
    first, second = row.texts[0], row.texts[-1]
    label = row.label
    values: dict[str, object] = {
        "index": i,
        "pairID": f"{i}n",
        "source": "sw",
        "mark": "" if label else "*",
        "genre": "main-storyworld",
        "filename": "storyworld",
        "year": "2018train",
        "old_index": f"{i:04d}",
        "source1": "none",
        "source2": "none",
        "sentence": second,
        "question": first,
        "score": f"{label:.3f}" if isinstance(label, float) else "",
    }
    values |= dict.fromkeys(("id", "promptID"), i)
    values |= dict.fromkeys(("qid1", "#1 ID"), 2 * i + 1)
    values |= dict.fromkeys(("qid2", "#2 ID"), 2 * i + 2)
    values |= dict.fromkeys(("sentence1", "question1", "#1 String"), first)
    values |= dict.fromkeys(("sentence2", "question2", "#2 String"), second)
    values |= dict.fromkeys(("label", "Quality", "is_duplicate", "gold_label"), label)
    values |= {f"label{k}": label for k in range(1, 6)}
    for k, text in enumerate((first, second), 1):
        values[f"sentence{k}_binary_parse"] = f"( {text} )"
        values[f"sentence{k}_parse"] = f"(ROOT {text})"
    return values


def _write_tsv(
    path: pathlib.Path,
    columns: str,
    rows: Iterable[Row],
    *,
    has_header: bool = True,
    **extra: str,
) -> None:
    """Writes the columns of `rows`; `extra` is the same in all rows."""
    names = columns.split(",")
    lines = [names] if has_header else []
    for i, row in enumerate(rows):
        values = _values(i, row) | extra
        lines.append([str(values[name]) for name in names])
    _write(path, "".join("\t".join(line) + "\n" for line in lines))


def _write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
