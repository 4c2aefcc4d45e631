import collections
import hashlib
import json
import re

import numpy as np
import pytest

from gpt1_jax import storyworld
from gpt1_jax.data.tasks.rows import TASKS
from gpt1_jax.storyworld import lexicon
from gpt1_jax.storyworld.tasks import rows as task_rows
from gpt1_jax.storyworld.world import make_world

# This generator's own output. New bytes change every score measured on it: change them
# on purpose, and VERSION with them.
GOLDEN_SHA256 = {
    3: "966aefbcefab0cf023b5af0744979723a8da4aa67d22238752b0b822ebe21edb",
}
MAX_WORDS = {"race": 55, "storycloze": 45}  # of one sequence of the model
COUNTS = {
    "race": {"train": 1536, "dev": 240, "test": 160},
    "storycloze": {"train": 1497, "dev": 374, "test": 200},
}
LABELLED = tuple(name for name, task in TASKS.items() if task.train)

PAIR = "index sentence1 sentence2"
MRPC = "#1_ID #2_ID #1_String #2_String"
STSB = "index genre filename year old_index source1 source2 sentence1 sentence2"
MNLI = (
    "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse "
    "sentence1_parse sentence2_parse sentence1 sentence2"
)
# Header of train and dev, and of test.
HEADERS = {
    "CoLA": ("", "index sentence"),
    "SST-2": ("sentence label", "index sentence"),
    "MRPC": (f"Quality {MRPC}", f"index {MRPC}"),
    "QQP": ("id qid1 qid2 question1 question2 is_duplicate", "id question1 question2"),
    "STS-B": (f"{STSB} score", STSB),
    "QNLI": ("index question sentence label", "index question sentence"),
    "RTE": (f"{PAIR} label", PAIR),
    "WNLI": (f"{PAIR} label", PAIR),
}


def lines_of(path):
    text = path.read_bytes().decode()
    assert text.endswith("\n")
    return text[:-1].split("\n")


def table(path, has_header=True):
    """Rows as dicts; positions as names where there is no header."""
    rows = [line.split("\t") for line in lines_of(path)]
    names = rows.pop(0) if has_header else [str(i) for i in range(len(rows[0]))]
    assert all(len(row) == len(names) for row in rows)
    return [dict(zip(names, row, strict=True)) for row in rows]


def words(texts):
    return re.findall(r"[a-z]+", " ".join(texts).lower())


@pytest.fixture(scope="module")
def rows_of(examples_of):
    """Task -> split -> (texts, label) of each row."""
    return {
        name: {
            split: [(texts_of(example), example.label) for example in examples]
            for split, examples in examples_of[name].items()
        }
        for name in LABELLED
    }


def texts_of(example):
    """All texts of an example; the context comes first."""
    return *filter(None, (example.context, example.question)), *example.parts


@pytest.fixture(scope="module")
def content_words():
    """Names, and the nouns and adjectives of the lexicon."""
    world = make_world(0)
    groups = (*lexicon.WORDS["synonyms"], *lexicon.KINDS.values())
    pools = (*groups, lexicon.POOLS["stray"], lexicon.WORDS["feared"], world.by_name)
    villages = {person.village for person in world.people}
    return {word.lower() for pool in (*pools, villages) for word in pool}


def digests(directory):
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    names = (path.relative_to(directory).as_posix() for path in files)
    contents = (hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    return dict(zip(names, contents, strict=True))


def test_seed_0_always_writes_the_same_bytes_and_seed_1_others(root, tmp_path):
    storyworld.write_tasks(tmp_path / "again", seed=0)
    storyworld.write_tasks(tmp_path / "other", seed=1)
    first, again = digests(root), digests(tmp_path / "again")
    assert first == again
    whole = hashlib.sha256(json.dumps(first).encode()).hexdigest()
    assert whole == GOLDEN_SHA256[storyworld.VERSION]
    other = digests(tmp_path / "other")
    assert set(other) == set(first)
    assert all(other[name] != digest for name, digest in first.items())


def header_of(path):
    return lines_of(path)[0].replace(" ", "_").replace("\t", " ")


@pytest.mark.parametrize("folder", HEADERS)
def test_glue_headers(root, folder):
    labelled, unlabelled = HEADERS[folder]
    for split in ("train", "dev", "test"):
        header = unlabelled if split == "test" else labelled
        if header:
            assert header_of(root / folder / f"{split}.tsv") == header


def test_cola_has_four_columns_and_marks_what_is_wrong(root):
    for row in table(root / "CoLA" / "train.tsv", has_header=False):
        assert len(row) == 4
        assert (row["1"], row["2"]) in {("0", "*"), ("1", "")}


@pytest.mark.parametrize(
    ("name", "labels", "num_columns"),
    [
        ("train", " label1 gold_label", 12),
        ("dev_matched", " label1 label2 label3 label4 label5 gold_label", 16),
        ("dev_mismatched", " label1 label2 label3 label4 label5 gold_label", 16),
        ("test_matched", "", 10),
        ("test_mismatched", "", 10),
    ],
)
def test_mnli_columns_and_genres(root, name, labels, num_columns):
    path = root / "MNLI" / f"{name}.tsv"
    assert header_of(path) == MNLI + labels
    rows = table(path)
    assert {len(row) for row in rows} == {num_columns}
    (genre,) = {row["genre"] for row in rows}
    assert (genre == "talk") == ("mismatched" in name)


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_snli_has_undecided_rows_in_every_split(root, split):
    path = root / "snli_1.0" / f"snli_1.0_{split}.jsonl"
    labels = collections.Counter(json.loads(x)["gold_label"] for x in lines_of(path))
    assert set(labels) == {"entailment", "neutral", "contradiction", "-"}
    assert 0 < labels["-"] < 0.05 * labels.total()


@pytest.mark.parametrize("level", ["middle", "high"])
def test_race_has_an_article_and_its_question_a_file(root, level):
    for path in (root / "RACE" / "dev" / level).iterdir():
        entry = json.loads(path.read_text())
        assert set(entry) == {"id", "article", "questions", "options", "answers"}
        assert entry["id"] == level + path.name
        assert len(entry["questions"]) == len(entry["options"]) == 1


def test_ax_has_no_labels(root):
    path = root / "AX" / "AX.tsv"
    assert header_of(path) == PAIR
    rows = table(path)
    assert [int(row["index"]) for row in rows] == list(range(120))


def test_dpr_blocks_name_two_candidates_and_the_one_that_the_pronoun_fits(root):
    people = make_world(0).by_name
    for split, count in (("train", 512), ("test", 160)):
        blocks = (root / "DPR" / f"{split}.c.txt").read_text().split("\n\n")
        assert blocks.pop() == ""
        assert len(blocks) == count
        places, pronouns = collections.Counter(), set()
        for block in blocks:
            sentence, pronoun, candidates, answer = block.split("\n")
            # Its first occurrence is the one that is asked for.
            assert re.search(rf"because {pronoun}\b", sentence)
            assert len(re.findall(rf"\b{pronoun}\b", sentence)) == 1
            one, other = candidates.split(",")
            if pronoun == "it":
                assert {candidate.split()[0] for candidate in (one, other)} == {"the"}
            else:
                assert people[answer].she == pronoun
                assert people[one].she != people[other].she
            places[(one, other).index(answer)] += 1
            pronouns.add(pronoun)
        assert places[0] == places[1]
        assert pronouns == {"she", "he", "it"}


@pytest.mark.parametrize("name", LABELLED)
def test_a_few_hundred_rows_with_balanced_labels(rows_of, name):
    for split, rows in rows_of[name].items():
        kind = split.partition("_")[0]
        expected = COUNTS.get(name, {"train": 512, "dev": 240, "test": 160})[kind]
        undecided = expected // 40 if name == "snli" else 0  # the reader skips these
        assert len(rows) == expected - undecided
        if split.startswith("test") and TASKS[name].kind != "choice":
            continue  # most have no labels
        counts = collections.Counter(label for _, label in rows)
        if name == "stsb":
            assert (min(counts), max(counts)) == (0.0, 5.0)
        elif name == "qqp":  # three of eight, as officially
            assert counts[1] == pytest.approx(0.375 * counts.total(), abs=1)
        else:
            assert max(counts.values()) - min(counts.values()) <= 6, counts


@pytest.mark.parametrize("name", LABELLED)
def test_no_row_comes_twice_in_all_splits(rows_of, name):
    rows = [
        tuple(sorted(texts)) for rows in rows_of[name].values() for texts, _ in rows
    ]
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("name", LABELLED)
def test_rows_turn_on_words_that_the_books_know_and_training_does_not(
    rows_of, book_counts, content_words, name
):
    splits = dict(rows_of[name])
    shown = {word for texts, _ in splits.pop("train") for word in words(texts)}
    new = {word for word in content_words - shown if book_counts[word] >= 5}
    for rows in splits.values():
        share = np.mean([bool(new & set(words(texts))) for texts, _ in rows])
        assert 0.6 < share <= 0.8
        found = {word for texts, _ in rows for word in words(texts)} & content_words
        assert len(found & new) > 0.3 * len(found)


@pytest.mark.parametrize("name", LABELLED)
def test_texts_are_of_the_words_of_the_books(rows_of, book_counts, name):
    found = collections.Counter(
        word for rows in rows_of[name].values() for t, _ in rows for word in words(t)
    )
    unknown = sum(n for word, n in found.items() if not book_counts[word])
    assert unknown < 0.01 * found.total()


@pytest.mark.parametrize("name", LABELLED)
def test_texts_fit_a_context_of_64(rows_of, name):
    for rows in rows_of[name].values():
        for texts, _ in rows:
            if name in MAX_WORDS:
                answers = 4 if name == "race" else 2
                longest = max(len(text.split()) for text in texts[-answers:])
                length = len(" ".join(texts[:-answers]).split()) + longest
            else:
                length = len(" ".join(texts).split())
            assert length <= MAX_WORDS.get(name, 25), texts


@pytest.mark.parametrize("name", sorted(set(LABELLED) - {"stsb", "race", "storycloze"}))
def test_the_length_does_not_tell_the_label(rows_of, name):
    lengths = collections.defaultdict(list)
    for texts, label in rows_of[name]["train"]:
        lengths[label].append(len(words(texts)))
    means = [np.mean(of_label) for of_label in lengths.values()]
    assert max(means) - min(means) < 1.0


@pytest.mark.parametrize(("name", "num_answers"), [("race", 4), ("storycloze", 2)])
def test_the_right_answer_is_no_longer_than_the_others(rows_of, name, num_answers):
    gaps = []
    for texts, label in rows_of[name]["train"]:
        lengths = [len(answer.split()) for answer in texts[-num_answers:]]
        gaps.append(lengths[label] - np.mean(lengths))
    assert abs(np.mean(gaps)) < 0.1


def test_draws_keep_each_side_to_its_own_words():
    dice = task_rows.Draws(0)
    options = tuple("abcdefg")
    seen = {dice.pick(options) for _ in range(100)}
    dice.is_held = True
    held = {dice.pick(options) for _ in range(100)}
    assert (len(seen), len(held)) == (4, 3)
    assert seen | held == set(options)
    assert {dice.any(options) for _ in range(100)} == set(options)
    one, other = dice.two(options)
    assert one != other
    assert {one, other} <= held
    assert dice.pick(("a",)) == "a"


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"seed -1; an integer >= 0 .*; choose"):
        storyworld.write_tasks(tmp_path / "tasks", seed=-1)
    assert not (tmp_path / "tasks").exists()
