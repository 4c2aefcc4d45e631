import gzip
import json

import pytest
from sklearn.model_selection import train_test_split

from gpt1_jax.data.tasks.examples import Columns, Example, Labels
from gpt1_jax.data.tasks.official_readers import (
    read_dpr,
    read_msr_paraphrase,
    read_race,
    read_story_cloze,
    released_part,
)
from tests.data.tasks.reading import CLOZE, read, write


def test_released_part_equals_the_split_of_scikit_learn():
    rows = list(range(1871))
    train, dev = train_test_split(rows, test_size=374, random_state=3535999445)
    assert released_part(rows, "train") == train
    assert released_part(rows, "dev") == dev
    assert (len(train), len(dev)) == (1497, 374)


def test_released_part_of_fewer_rows_is_in_proportion():
    rows = list(range(100))
    train, dev = (released_part(rows, part) for part in ("train", "dev"))
    assert len(dev) == 20
    assert sorted(train + dev) == rows
    assert dev != rows[:20]


def test_story_cloze_parts_share_no_story(tmp_path):
    rows = "".join(f"{n},a{n},b,c,d,{n % 2 + 1}\n" for n in range(10))
    path = write(tmp_path, "Id,S1,S2,End1,End2,Right\n" + rows)
    train, dev = (
        read(read_story_cloze, path, columns=CLOZE, part=part)[0]
        for part in ("train", "dev")
    )
    assert (len(train), len(dev)) == (8, 2)
    assert len({example.context for example in train + dev}) == 10
    for example in train + dev:
        assert example.label == int(example.context[1]) % 2


MSR = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
STRINGS = Columns(("#1 String", "#2 String"), Labels("Quality", {"0": 0, "1": 1}))


def test_msr_rows_are_in_dev_if_both_their_ids_are(tmp_path):
    rows = [
        ("1", "7", "8", 'a "quoted', "b"),
        ("0", "7", "9", "c", "d"),
        ("1", "8", "7", "e", "f"),
    ]
    path = write(tmp_path, MSR + "".join("\t".join(row) + "\r\n" for row in rows))
    with pytest.raises(FileNotFoundError, match=r"mrpc_dev_ids.tsv does not exist; it"):
        read(read_msr_paraphrase, path, columns=STRINGS, part="train")
    write(tmp_path, "7\t8\r\n1\t2\r\n", "mrpc_dev_ids.tsv")
    parts = {
        part: read(read_msr_paraphrase, path, columns=STRINGS, part=part)[0]
        for part in ("train", "dev")
    }
    assert parts == {
        "train": [Example(("c", "d"), 0), Example(("e", "f"), 1)],
        "dev": [Example(('a "quoted', "b"), 1)],
    }


def article(name, num_questions=2, **changes):
    questions = [f"{name} q{n} _" for n in range(num_questions)]
    options = [[f"{q} {letter}" for letter in "ABCD"] for q in questions]
    content = {
        "id": f"{name}.txt",
        "article": f"Article\n{name}",
        "questions": questions,
        "options": options,
        "answers": list("DBCA"[:num_questions]),
    }
    return json.dumps(content | changes)


def test_race_gives_a_choice_for_each_question_in_order(tmp_path):
    for name in ("middle/2", "middle/10", "high/1"):
        write(tmp_path, article(name.replace("/", "")), f"{name}.txt")
    write(tmp_path, "no article", "middle/readme.md")
    examples, _ = read(read_race, tmp_path, levels=("middle", "high"))
    assert [example.question for example in examples] == [
        f"{name} q{n} _" for name in ("middle10", "middle2", "high1") for n in (0, 1)
    ]
    assert examples[1] == Example(
        parts=tuple(f"middle10 q1 _ {letter}" for letter in "ABCD"),
        label=1,
        context="Article\nmiddle10",
        question="middle10 q1 _",
    )
    assert [example.label for example in examples[:2]] == [3, 1]
    examples, _ = read(read_race, tmp_path, levels=("high",))
    assert [example.context for example in examples] == ["Article\nhigh1"] * 2


def test_race_reads_articles_in_every_compression_once(tmp_path):
    article = '{"article": "%s", "questions": ["q"], "options": [["a", "b", "c", "d"]]'
    article += ', "answers": ["A"]}'
    folder = tmp_path / "high"
    folder.mkdir()
    (folder / "1.txt").write_text(article % "first")
    for name, text in (("1", "first"), ("2", "second")):
        content = gzip.compress((article % text).encode())
        (folder / f"{name}.txt.gz").write_bytes(content)
    examples, _ = read(read_race, tmp_path, levels=("high",))
    assert [example.context for example in examples] == ["first", "second"]


def test_race_level_without_articles_is_refused(tmp_path):
    write(tmp_path, article("x"), "middle/1.txt")
    message = r"high holds no article; RACE's \*.txt files, .*; unpack RACE.tar.gz"
    with pytest.raises(FileNotFoundError, match=message):
        read(read_race, tmp_path, levels=("middle", "high"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": ["A"]}, "2 questions, 2 lists of options, 1 answers; article"),
        ({"answers": ["A", "E"]}, "'x q1 _' has 4 options and the answer 'E'; article"),
        ({"answers": ["A", "BC"]}, "the answer 'BC'"),
        ({"options": [["a"] * 4, ["a"] * 3]}, "'x q1 _' has 3 options and the answer"),
    ],
)
def test_race_article_that_is_malformed_is_refused(tmp_path, changes, message):
    write(tmp_path, article("x", **changes), "middle/1.txt")
    with pytest.raises(ValueError, match=f"middle/1.txt: .*{message}"):
        read(read_race, tmp_path, levels=("middle",))


def test_race_file_that_is_not_an_article_is_refused(tmp_path):
    for content, message in (
        ('{"article": "x"}', "no questions, options, answers; article, and as many"),
        ("[]", "no article, questions, options, answers; article, and"),
        ("{", "Expecting .*; JSON is expected; copy it again"),
    ):
        write(tmp_path, content, "middle/1.txt")
        with pytest.raises(ValueError, match=f"middle/1.txt: {message}"):
            read(read_race, tmp_path, levels=("middle",))


BEE = "The bee sat on the flower because it was hungry.\nit\nThe bee,the flower\n"


def test_dpr_label_is_the_place_of_the_answer_in_any_case(tmp_path):
    path = write(
        tmp_path,
        f"{BEE}The flower\n\n{BEE}The bee\n\n\n"
        "Ann saw Bob, but he hid.\nhe\nAnn, Bob \nBob",
    )
    examples, _ = read(read_dpr, path)
    sentence = "The bee sat on the flower because it was hungry."
    assert examples == [
        Example(("The bee", "the flower"), 1, sentence, "it"),
        Example(("The bee", "the flower"), 0, sentence, "it"),
        Example(("Ann", "Bob"), 1, "Ann saw Bob, but he hid.", "he"),
    ]


def test_dpr_block_that_is_malformed_is_refused_with_its_line(tmp_path):
    good = f"{BEE}The bee\n\n"
    for bad, message in (
        (f"{BEE}\n{BEE}The bee\n", r"line 6: not four lines together; sentence, pro"),
        (BEE, r"line 6: not four lines together"),
        (f"{BEE}A bee\n", r"line 9: answer 'A bee' for 'The bee,the flower'; one of"),
        ("s\nit\na,b,c\na\n", r"line 9: answer 'a' for 'a,b,c'; one of two cand"),
    ):
        with pytest.raises(ValueError, match=message):
            read(read_dpr, write(tmp_path, good + bad))
