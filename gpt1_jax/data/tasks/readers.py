"""The file formats of the tasks: one generator each, from a file to `Example`s.

No reader knows a task: `rows` says which file of which task has which format. Readers
neither tokenise nor shuffle. A generator counts each row that it skips in its argument
`skipped`, by reason; other than that it skips only blank lines.
"""

import collections
import csv
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpt1_jax.data.tasks.examples import Column, Columns, Example
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import parse_json

ANSWER_LETTERS = "ABCD"  # of RACE

# The released code's split of Story Cloze's validation file of 2016.
# Source: finetune-transformer-lm datasets.py: seed, n_valid.
_STORY_CLOZE_SEED = 3535999445
_STORY_CLOZE_DEV_ROWS, _STORY_CLOZE_ROWS = 374, 1871

# Characters of a file's own column names that a message repeats.
_MOST_NAMED = 500

SHORT_ROW = "rows with too few columns"


def read_lines(path: Path, *, keeps_blank: bool = False) -> Iterator[tuple[int, str]]:
    r"""The lines of a UTF-8 file, with their numbers from 1; blank ones if asked for.

    A line ends at `\n` or `\r\n` only: texts hold other characters that Unicode calls
    line ends. A byte-order mark is dropped.
    Raises: UserError naming the line that is not UTF-8.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                raise UserError(
                    f"{path}: line {number}: byte 0x{byte:02x} is not UTF-8; the "
                    "tasks' files are UTF-8; convert it with `iconv -t UTF-8`"
                ) from None
            if number == 1:
                line = line.removeprefix("\ufeff")
            line = line.removesuffix("\n").removesuffix("\r")
            if keeps_blank or line.strip(" "):
                yield number, line


def read_tsv(
    path: Path,
    skipped: collections.Counter[str],
    *,
    columns: Columns,
    has_header: bool = True,
    skips_short: bool = False,
) -> Iterator[Example]:
    r"""The rows of a tab-separated file; quotes are characters like any other.

    Args:
      columns: by name, or by place from 0 in a file without a header.
      skips_short: rows that lack a needed column are skipped and counted (QQP has
        some); otherwise they are errors.
    Raises: UserError naming file and line.
    """
    rows = ((number, line.split("\t")) for number, line in read_lines(path))
    if has_header:
        _, header = next(rows, (1, []))
        places = _find_columns(path, header, columns)
        num_columns = len(header)
    else:
        places = {column: int(column) for column in columns.needed}
        num_columns = max(places.values()) + 1
    for number, row in rows:
        where = f"{path}: line {number}"
        if len(row) <= max(places.values()) and skips_short:
            skipped[SHORT_ROW] += 1
            continue
        _check_length(row, places, num_columns, where)
        named = {column: row[place] for column, place in places.items()}
        example = columns.example(named, where, skipped)
        if example:
            yield example


def _find_columns(
    path: Path, header: Sequence[str], columns: Columns
) -> dict[Column, int]:
    """The places of the needed columns in a header."""
    if not header:
        raise UserError(
            f"{path} is empty; a first line that names the columns is expected; use "
            "the official file"
        )
    found = ", ".join(header)
    if len(found) > _MOST_NAMED:
        found = f"{found[:_MOST_NAMED]} ..."
    label = columns.labels.column if columns.labels else None
    missing = [str(column) for column in columns.needed if column not in header]
    if missing == [label]:
        raise UserError(
            f"{path}: line 1: no labels: column {label} is missing among {found}; a "
            "labelled split is expected; use the split that has labels, or predict"
        )
    if missing:
        raise UserError(
            f"{path}: line 1: the columns are {found}; {', '.join(missing)} must be "
            "among them; correct the first line, or use the official file"
        )
    return {column: header.index(column) for column in columns.needed}


def _check_length(
    row: Sequence[str], places: Mapping[Column, int], num_columns: int, where: str
) -> None:
    """Raises a UserError for a row that lacks a needed column or has one too many."""
    if not max(places.values()) < len(row) <= num_columns:
        raise UserError(
            f"{where}: {len(row)} columns; {num_columns} are expected, with "
            f"{', '.join(map(str, places))} among them; correct or remove the row"
        )


def read_csv(
    path: Path, skipped: collections.Counter[str], *, columns: Columns
) -> Iterator[Example]:
    """The rows of a comma-separated file with a header and quoted cells.

    Blank lines between them are no rows, and are counted in `skipped`.
    Raises: UserError naming file and line.
    """
    # Lines may end within quotes; only csv knows where a row does.
    list(read_lines(path))  # says which line is not UTF-8
    text = io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")
    rows = csv.reader(text, strict=True)
    try:
        header = next(rows, [])
        places = _find_columns(path, header, columns)
        blank = 0
        for row in rows:
            if not row:
                blank += 1
                continue
            if blank:
                skipped["blank lines"] += blank
                blank = 0
            where = f"{path}: line {rows.line_num}"
            _check_length(row, places, len(header), where)
            named = {column: row[place] for column, place in places.items()}
            example = columns.example(named, where, skipped)
            if example:
                yield example
    except csv.Error as error:
        raise UserError(
            f"{path}: line {rows.line_num}: {error}; comma-separated cells, quoted "
            "where need be, are expected; correct the row"
        ) from None


def read_jsonl(
    path: Path, skipped: collections.Counter[str], *, columns: Columns
) -> Iterator[Example]:
    """The objects of a file with one JSON object a line; `columns` are its keys.

    Raises: UserError naming file and line.
    """
    for number, line in read_lines(path):
        where = f"{path}: line {number}"
        row = _parse_json(line, where)
        missing = [
            str(key)
            for key in columns.needed
            if not isinstance(row, dict) or not isinstance(row.get(key), str)
        ]
        if missing:
            raise UserError(
                f"{where}: no text under {', '.join(missing)}; a JSON object with the "
                f"keys {', '.join(map(str, columns.needed))} is expected; correct or "
                "remove the line"
            )
        example = columns.example(row, where, skipped)
        if example:
            yield example


def _parse_json(text: str, where: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(
            f"{where}: {error}; JSON is expected; use the official file"
        ) from None


def read_msr_paraphrase(
    path: Path, skipped: collections.Counter[str], *, columns: Columns, part: str
) -> Iterator[Example]:
    """GLUE's `part`, train or dev, of Microsoft's msr_paraphrase_train.txt.

    A row is in dev if mrpc_dev_ids.tsv, which lies beside it, has its two ids in a row.
    Raises: UserError, NotFound.
    """
    ids_path = path.with_name("mrpc_dev_ids.tsv")
    if not ids_path.is_file():
        raise NotFound(
            f"{ids_path} does not exist; it says which rows of {path.name} GLUE holds "
            "out; get it from GLUE's site, or MRPC as train.tsv and dev.tsv"
        )
    two_ids = Columns(parts=(0, 1))
    held_out = {
        row.parts
        for row in read_tsv(ids_path, skipped, columns=two_ids, has_header=False)
    }
    with_ids = dataclasses.replace(columns, parts=("#1 ID", "#2 ID", *columns.parts))
    for example in read_tsv(path, skipped, columns=with_ids):
        if (example.parts[:2] in held_out) == (part == "dev"):
            yield dataclasses.replace(example, parts=example.parts[2:])


def read_story_cloze(
    path: Path, skipped: collections.Counter[str], *, columns: Columns, part: str
) -> Iterator[Example]:
    """The released `part`, train or dev, of Story Cloze's validation file."""
    yield from released_part(list(read_csv(path, skipped, columns=columns)), part)


def released_part(examples: Sequence[Example], part: str) -> list[Example]:
    """1,497 of 1,871 examples for train and 374 for dev, as released; in proportion.

    What sklearn's train_test_split(examples, test_size=374, random_state=3535999445)
    gives.  Source: finetune-transformer-lm datasets.py, rocstories.
    """
    num_dev = round(len(examples) * _STORY_CLOZE_DEV_ROWS / _STORY_CLOZE_ROWS)
    order = np.random.RandomState(_STORY_CLOZE_SEED).permutation(len(examples))
    chosen = order[:num_dev] if part == "dev" else order[num_dev:]
    return [examples[number] for number in chosen]


def read_race(
    path: Path, skipped: collections.Counter[str], *, levels: tuple[str, ...]
) -> Iterator[Example]:
    """The questions of RACE's articles in `path`/<level>/*.txt, in order of the names.

    Each file is a JSON object: article, and questions, options, answers of one length.
    Raises: UserError, NotFound.
    """
    for level in levels:
        files = sorted((path / level).glob("*.txt"))
        if not files:
            raise NotFound(
                f"{path / level} holds no article; RACE's *.txt files, one article "
                "each, are expected; unpack RACE.tar.gz there"
            )
        for file in files:
            text = "\n".join(line for _, line in read_lines(file))
            yield from race_questions(_parse_json(text, str(file)), str(file))


def race_questions(article: Any, where: str) -> Iterator[Example]:
    """An Example for each question of an article.

    Raises: UserError naming `where` and what is wrong.
    """
    expected = (
        "article, and as many questions as options (four texts each) and answers (A to "
        "D) are expected; use the official file"
    )
    keys = ("article", "questions", "options", "answers")
    missing = [k for k in keys if not isinstance(article, dict) or k not in article]
    if missing:
        raise UserError(f"{where}: no {', '.join(missing)}; {expected}")
    kinds = {"article": str} | dict.fromkeys(keys[1:], list)
    wrong = [k for k, kind in kinds.items() if not isinstance(article[k], kind)]
    if wrong:
        raise UserError(f"{where}: {', '.join(wrong)} of another kind; {expected}")
    lengths = [len(article[key]) for key in keys[1:]]
    if len(set(lengths)) > 1:
        raise UserError(
            f"{where}: {lengths[0]} questions, {lengths[1]} times options, "
            f"{lengths[2]} answers; {expected}"
        )
    for question, options, answer in zip(*(article[k] for k in keys[1:]), strict=True):
        texts = [question, *options] if isinstance(options, list) else [None]
        if not all(isinstance(text, str) for text in texts):
            raise UserError(
                f"{where}: question {question!r} with options {options!r}; {expected}"
            )
        if len(options) != len(ANSWER_LETTERS) or answer not in tuple(ANSWER_LETTERS):
            raise UserError(
                f"{where}: question {question!r} has {len(options)} options and the "
                f"answer {answer!r}; {expected}"
            )
        yield Example(
            parts=tuple(options),
            label=ANSWER_LETTERS.index(answer),
            context=article["article"],
            question=question,
        )


def read_dpr(path: Path, skipped: collections.Counter[str]) -> Iterator[Example]:
    """Definite pronoun resolution: a sentence, its pronoun, two candidates, the answer.

    Four lines each; the candidates are separated by a comma.  Source: Rahman and Ng
    2012.
    Returns: the candidates as parts, the sentence as context, the pronoun as question.
    Raises:  UserError naming file and line.
    """
    lines = list(read_lines(path))
    for start in range(0, len(lines), 4):
        number, sentence = lines[start]
        block = [line.strip() for _, line in lines[start : start + 4]]
        consecutive = lines[start : start + 4][-1][0] == number + 3
        if len(block) < 4 or not consecutive:
            raise UserError(
                f"{path}: line {number}: not four lines together; sentence, pronoun, "
                "candidates and answer are expected, a blank line after; correct them"
            )
        candidates = tuple(name.strip() for name in block[2].split(","))
        folded = [name.casefold() for name in candidates]
        if len(candidates) != 2 or folded.count(block[3].casefold()) != 1:
            raise UserError(
                f"{path}: line {number + 3}: answer {block[3]!r} for {block[2]!r}; one "
                "of two candidates, separated by a comma, is expected; correct it"
            )
        yield Example(
            parts=candidates,
            label=folded.index(block[3].casefold()),
            context=sentence.strip(),
            question=block[1],
        )
