import collections

import pytest

from gpt1_jax.data.text import boilerplate

START = "*** START OF THE PROJECT GUTENBERG EBOOK A BOOK ***\n"
END = "*** END OF THE PROJECT GUTENBERG EBOOK A BOOK ***\n"
LICENCE = "The Project Gutenberg eBook of A Book\n\nIt is free.\n"
TAIL = "Section 1. General Terms of Use\n"
SMALL_PRINT = "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n"
TEXT = "Chapter 1\n\nIt began.\n*** \nIt ended.\n"


def cut(*texts, is_markdown=False, begins=True):
    counts = collections.Counter()
    pieces = [(text, True) for text in texts]
    found = list(
        boilerplate.cut(pieces, counts, is_markdown=is_markdown, begins=begins)
    )
    assert counts.pop("read") == sum(map(len, texts))
    return "".join(text for text, _ in found), +counts


@pytest.mark.parametrize(
    "content",
    [
        LICENCE + START + TEXT + END + TAIL,
        LICENCE + START.replace("THE", "THIS").replace("***", "*** ") + TEXT + END,
        LICENCE + START.replace("BOOK A", "BOOK\nA VERY LONG") + TEXT + END + TAIL,
        LICENCE + SMALL_PRINT + TEXT + "End of Project Gutenberg's A Book\n" + END,
        LICENCE + SMALL_PRINT + START + TEXT + "End of the Project Gutenberg EBook\n",
        START + TEXT + END,
        TEXT + END + TAIL,
    ],
)
def test_licence_is_cut(content):
    found, counts = cut(content)
    assert found == TEXT
    assert counts == {"licences": 1, "characters": len(content) - len(TEXT)}


def test_licences_between_books_of_one_file_are_cut():
    one = LICENCE + START + TEXT + END + TAIL
    found, counts = cut(one + one + one)
    assert found == TEXT * 3
    assert counts["licences"] == 3


BOOK = "A line of the book.\n" * 1100  # longer than a licence


@pytest.mark.parametrize("gap", [TEXT, BOOK + "Project Gutenberg has it.\n"])
def test_a_book_without_its_end_is_kept(gap):
    found, counts = cut(LICENCE + START + gap + START + TEXT + END + TAIL)
    assert found == gap + TEXT
    assert counts["licences"] == 2
    # Between two START lines of one licence there may be more of it.
    found, counts = cut(SMALL_PRINT + "\n" + LICENCE + START + TEXT + END)
    assert (found, counts["licences"]) == (TEXT, 1)


def test_a_text_before_a_licence_is_kept():
    assert cut(BOOK + START + TEXT + END + TAIL)[0] == BOOK + TEXT


def test_a_line_like_that_of_an_end_is_kept():
    content = TEXT + "End of Project Gutenberg files look like this line.\n" + TEXT
    assert cut(content) == (content, {})
    assert cut(TEXT + "End of Project Gutenberg's A Book\n" + TAIL)[0] == TEXT
    assert cut(START + TEXT + "End of Project Gutenberg's A Book\n")[0] == TEXT


def test_licence_may_span_pieces():
    found, counts = cut(LICENCE + START + TEXT, TEXT + END, TAIL, TAIL + START + TEXT)
    assert found == TEXT * 3
    assert counts["licences"] == 2
    # A piece from the middle of a text is not the head of a licence.
    assert cut(TEXT, begins=False) == (TEXT, {})


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        "He read Project Gutenberg's books.\n*** END OF PART ONE ***\nMore.\n",
        "He wrote: *** END OF THE PROJECT GUTENBERG EBOOK ***, and left.\n",
    ],
)
def test_other_text_is_left_as_it_is(content):
    assert cut(content) == (content, {})


FRONT = "---\ntitle: A note\ntags: [a]\n---\n"


def test_front_matter_of_markdown_is_cut():
    found, counts = cut(FRONT + TEXT, is_markdown=True)
    assert found == TEXT
    assert counts == {"front matter": 1, "characters": len(FRONT)}
    assert cut(FRONT + TEXT)[0] == FRONT + TEXT
    for content in (TEXT + FRONT, "---\n\nA line.\n\n---\nMore.\n"):
        assert cut(content, is_markdown=True)[0] == content
