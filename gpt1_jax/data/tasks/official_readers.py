"""Readers of formats that only one data set has: MRPC, QQP, Story Cloze, RACE, DPR.

They follow the rules of `readers`, which reads tables.
"""

import collections
import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpt1_jax.data.tables import read_lines
from gpt1_jax.data.tasks import paths
from gpt1_jax.data.tasks.examples import Columns, Example
from gpt1_jax.data.tasks.readers import read_csv, read_table, read_tsv
from gpt1_jax.errors import NotFound, UserError
from gpt1_jax.files import parse_json

_DEV_FRACTION = 0.1
ANSWER_LETTERS = "ABCD"  # of RACE

# The released code's split of Story Cloze's validation file of 2016.
# Source: finetune-transformer-lm datasets.py: seed, n_valid.
_STORY_CLOZE_SEED = 3535999445
_STORY_CLOZE_DEV_ROWS, _STORY_CLOZE_ROWS = 374, 1871


def read_msr_paraphrase(
    path: Path, skipped: collections.Counter[str], *, columns: Columns, part: str
) -> Iterator[Example]:
    """Yields GLUE's `part`, train or dev, of Microsoft's msr_paraphrase_train.txt.

    A row is in dev if mrpc_dev_ids.tsv, in the same folder, has a row of its two ids.
    Raises: UserError, NotFound.
    """
    found = paths.find(path.parent, "mrpc_dev_ids.tsv")
    ids_path = found[0] if found else path.with_name("mrpc_dev_ids.tsv")
    says = f"it says which rows of {path.name} GLUE holds out"
    remedy = "get it from GLUE's site, or MRPC as train.tsv and dev.tsv"
    if not found:
        raise NotFound(f"{ids_path} does not exist; {says}; {remedy}")
    two_ids = Columns(parts=(0, 1))
    held_out = {
        row.parts
        for row in read_tsv(ids_path, skipped, columns=two_ids, has_header=False)
    }
    if not held_out:
        raise UserError(f"{ids_path} is empty; {says}; {remedy}")
    with_ids = dataclasses.replace(columns, parts=("#1 ID", "#2 ID", *columns.parts))
    for example in read_tsv(path, skipped, columns=with_ids):
        if (example.parts[:2] in held_out) == (part == "dev"):
            yield dataclasses.replace(example, parts=example.parts[2:])


def read_part(
    path: Path,
    skipped: collections.Counter[str],
    *,
    columns: Columns,
    kind: str,
    part: str,
) -> Iterator[Example]:
    """Yields the `part`, train or dev, of a table without splits.

    A tenth of the examples is dev, chosen by the hash of their texts.
    """
    for example in read_table(path, skipped, columns=columns, kind=kind):
        digest = hashlib.sha256("\n".join(example.parts).encode()).digest()
        if (digest[0] / 256 < _DEV_FRACTION) == (part == "dev"):
            yield example


def read_story_cloze(
    path: Path, skipped: collections.Counter[str], *, columns: Columns, part: str
) -> Iterator[Example]:
    """Yields the released `part`, train or dev, of Story Cloze's validation file."""
    yield from released_part(list(read_csv(path, skipped, columns=columns)), part)


def released_part(examples: Sequence[Example], part: str) -> list[Example]:
    """Returns the released `part`, train or dev, of Story Cloze's validation examples.

    Of 1,871 examples 1,497 are in train and 374 in dev; other numbers are split in the
    same proportion. The split equals that of sklearn's train_test_split(examples,
    test_size=374, random_state=3535999445).
    Source: finetune-transformer-lm datasets.py, rocstories.
    """
    num_dev = round(len(examples) * _STORY_CLOZE_DEV_ROWS / _STORY_CLOZE_ROWS)
    order = np.random.RandomState(_STORY_CLOZE_SEED).permutation(len(examples))
    chosen = order[:num_dev] if part == "dev" else order[num_dev:]
    return [examples[number] for number in chosen]


def read_race(
    path: Path, skipped: collections.Counter[str], *, levels: tuple[str, ...]
) -> Iterator[Example]:
    """Yields the questions of the articles in `path`/<level>/*.txt, in order of names.

    A file is a JSON object with an article and its questions, options and answers.
    Raises: UserError, NotFound.
    """
    for level in levels:
        files = paths.find(path, f"{level}/*.txt")
        if not files:
            raise NotFound(
                f"{path / level} holds no article; RACE's *.txt files, each with "
                "one article, are expected; unpack RACE.tar.gz there"
            )
        for file in files:
            text = "\n".join(line for _, line in read_lines(file))
            yield from race_questions(_parse_article(text, str(file)), str(file))


def _parse_article(text: str, where: str) -> Any:
    """Returns the JSON value of `text`.

    Raises: UserError naming `where`.
    """
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{where}: {error}; JSON is expected; copy it again") from None


def race_questions(article: Any, where: str) -> Iterator[Example]:
    """Yields an Example for each question of an article.

    Raises: UserError naming `where` and what is wrong.
    """
    expected = (
        "article, and as many questions as options (four texts each) and answers (A to "
        "D) are expected; copy it again"
    )
    keys = ("article", "questions", "options", "answers")
    missing = [k for k in keys if not isinstance(article, dict) or k not in article]
    if missing:
        raise UserError(f"{where}: no {', '.join(missing)}; {expected}")
    kinds = {"article": str} | dict.fromkeys(keys[1:], list)
    wrong = [k for k, kind in kinds.items() if not isinstance(article[k], kind)]
    if wrong:
        raise UserError(f"{where}: {', '.join(wrong)} of the wrong type; {expected}")
    lengths = [len(article[key]) for key in keys[1:]]
    if len(set(lengths)) > 1:
        raise UserError(
            f"{where}: {lengths[0]} questions, {lengths[1]} lists of options, "
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
    """Yields the examples of a file of definite pronoun resolution.

    An example is four lines: a sentence, its pronoun, two candidates separated by a
    comma, and the answer. The candidates become the parts, the sentence the context and
    the pronoun the question.  Source: Rahman and Ng 2012.
    Raises: UserError naming file and line.
    """
    lines = list(read_lines(path))
    for start in range(0, len(lines), 4):
        number, sentence = lines[start]
        block = [line.strip() for _, line in lines[start : start + 4]]
        consecutive = lines[start : start + 4][-1][0] == number + 3
        if len(block) < 4 or not consecutive:
            raise UserError(
                f"{path}: line {number}: not four lines together; sentence, pronoun, "
                "candidates and answer, then a blank line, are expected; correct them"
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
