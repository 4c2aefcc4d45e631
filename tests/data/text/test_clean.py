import hashlib
import re

import ftfy
import hypothesis
import pytest
from hypothesis import strategies as st

from gpt1_jax.data.text import clean

EXAMPLES = [
    # from the docstring
    ("He said “no”...\n\n\nWell,yes", 'He said " no " ... \n Well , yes'),
    # the released pattern lists the backslash but never matches it
    (r"a\b c:\dir", r"a\b c:\dir"),
    ("a--b---c", "a -- b --- c"),
    ('-~!"?+,)(/*[]}{|_', '- ~ ! " ? + , ) ( / * [ ] } { | _'),
    ("?!?!!", "? ! ? !!"),
    ("a;b:c.d'e", "a ; b:c.d'e"),
    ("a+b=c", "a + b=c"),
    ("a—b–c―d…e´f", "a - b - c - d...e'f"),
    ("‘a’ “b”", "'a' \" b \""),
    ("a \t b\u00a0c", "a b c"),
    (" \n a\r\nb\rc \n\n d \n ", "a \n b \n c \n d"),
    ("a\x00b\x07", "ab"),
    ("fish &amp; chips", "fish & chips"),
    ("a<b\n&amp;", "a<b \n &amp ;"),
    ("&amp;\na<b", "& \n a<b"),
    ("caf\u00c3\u00a9", "café"),
    ("e\u0301", "é"),
    ("😀!😀", "😀 ! 😀"),
    ("", ""),
    (" \n\t", ""),
]

# The characters that the rules change; hypothesis adds arbitrary text.
MARKS = [
    *"-~!\"';?+,)(/*\\[]}{|_:.=&<>#abAB \t\n\r\u00a0\u2028\u0085\ufeff\x00\x0b\x1c\x7f",
    *("—", "–", "―", "…", "´", "“", "”", "‘", "’"),
    *("é", "e\u0301", "Ã©", "â€™", "😀", "ﬁ"),
    *("\n\n", "\r\n", "--", "&amp;", "&lt;", "&eacute;", "<p>", "\x1b[31m", "ｆ", "Ⅳ"),
]


def texts(marks=MARKS, **kwargs):
    return st.lists(st.sampled_from(marks) | st.text(max_size=3), **kwargs).map("".join)


def slow_standardize(string: str) -> str:
    """Applies ftfy, then each released rule, character by character."""
    string = ftfy.fix_text(string)
    for old, new in (("—", "-"), ("–", "-"), ("―", "-"), ("…", "..."), ("´", "'")):
        string = string.replace(old, new)
    apart = []
    for position, character in enumerate(string):
        if character in '-~!";?+,)(/*[]}{|_':
            same_before = string[:position].endswith(character)
            same_after = string[position + 1 :].startswith(character)
            before, after = "" if same_before else " ", "" if same_after else " "
            apart.append(before + character + after)
        else:
            apart.append(character)
    lines = "".join(apart).split("\n")
    lines = [" ".join(re.split(r"\s+", line.strip())) for line in lines]
    return " \n ".join(line for line in lines if line)


@pytest.mark.parametrize(("given", "expected"), EXAMPLES)
def test_standardize_examples(given, expected):
    assert clean.standardize(given) == expected


@hypothesis.given(texts())
@hypothesis.example("a&amp;b\nc<d\n&amp; é")
@hypothesis.example("é &amp; <\n&amp;")
@hypothesis.example("plain <\n&amp;")
def test_standardize_equals_ftfy_and_the_released_rules(string):
    assert clean.standardize(string) == slow_standardize(string)


def test_html_entities_after_the_first_tag_are_kept():
    # Plain lines skip ftfy, but a tag in one of them must still have its effect.
    assert clean.standardize("x &lt;\n<p>\ny &lt;") == "x < \n <p> \n y &lt ;"


@pytest.fixture
def book(tmp_path):
    return tmp_path / "book.txt"


def pieces(path, piece_chars):
    with path.open(encoding="utf-8-sig") as file:
        return list(clean.read_pieces(file, piece_chars))


@pytest.mark.parametrize(
    ("content", "piece_chars", "expected"),
    [
        ("ab cd\nef gh\ni", 8, [("ab cd", True), ("ef gh\ni", True)]),
        ("ab cd ef", 4, [("ab", False), ("cd", False), ("ef", True)]),
        ("abcdefgh", 3, [("abc", False), ("def", False), ("gh", True)]),
        ("ab\n\n\ncd", 4, [("ab\n", True), ("\ncd", True)]),
        ("", 4, [("", True)]),
    ],
)
def test_read_pieces_examples(book, content, piece_chars, expected):
    book.write_text(content)
    assert pieces(book, piece_chars) == expected


@pytest.mark.parametrize("piece_chars", [1, 2, 3, 5, 8, 100])
def test_pieces_have_neither_byte_order_mark_nor_carriage_return(book, piece_chars):
    book.write_bytes("\ufeffab\r\ncd\ref\n".encode())
    read = pieces(book, piece_chars)
    joined = "".join(piece + ("\n" if ends else "") for piece, ends in read)
    assert joined.rstrip("\n") == "ab\ncd\nef"


# No word is longer than a piece: longer words may be cut.
PIECE_WORDS = [
    "a",
    "bc",
    "d.",
    "é",
    "“",
    "…",
    "--",
    "-",
    "don´t",
    "😀",
    "\\",
    "Ab",
    ";",
]


@hypothesis.given(
    st.lists(
        st.sampled_from([*PIECE_WORDS, " ", " ", " ", "\n", "\n\n", "\r\n", " \n "]),
        max_size=40,
    ),
    st.integers(13, 30),
)
def test_standardized_pieces_equal_the_standardized_text(tmp_path_factory, ws, size):
    # The space after each word keeps words shorter than a piece.
    content = "".join(w if w.isspace() else w + " " for w in ws)
    path = tmp_path_factory.getbasetemp() / "pieces.txt"
    path.write_bytes(content.encode())
    read = pieces(path, size)
    # Pieces are joined by the line break or the space that separated them.
    joined = "".join(piece + ("\n" if ends else " ") for piece, ends in read)
    assert clean.standardize(joined) == clean.standardize(content)
    each = " ".join(clean.standardize(piece) for piece, _ in read).split()
    assert each == clean.standardize(content).split()


def test_pieces_never_exceed_twice_their_size(book):
    book.write_text("word " * 1000 + "\n" + "x" * 1000)
    read = pieces(book, 64)
    assert max(len(piece) for piece, _ in read) <= 2 * 64
    assert len(read) > 50


@pytest.mark.parametrize("content", [b"", b"plain\n", "é😀".encode() * 50])
@pytest.mark.parametrize("block_bytes", [1, 3, 7, 1 << 20])
def test_scan_returns_hash_and_size(book, monkeypatch, content, block_bytes):
    monkeypatch.setattr(clean, "_BLOCK_BYTES", block_bytes)
    book.write_bytes(content)
    digest, size, _ = clean.scan(book)
    assert (digest, size) == (hashlib.sha256(content).hexdigest(), len(content))


@pytest.mark.parametrize(
    ("content", "is_blank"),
    [
        ("", True),
        (" \r\n\t\n\u00a0\u2028", True),
        ("\ufeff \n", True),
        ("\n" * 20 + ".", False),
        ("." + "\n" * 20, False),
    ],
)
def test_scan_returns_whether_a_book_is_blank(book, monkeypatch, content, is_blank):
    monkeypatch.setattr(clean, "_BLOCK_BYTES", 4)
    book.write_bytes(content.encode())
    assert clean.scan(book)[2] == is_blank


@pytest.mark.parametrize(
    ("content", "byte", "value"),
    [
        (b"\xff", 0, "ff"),
        (b"abc\xe9", 3, "e9"),  # the file ends inside a character
        (b"abc\xe9def", 3, "e9"),
        ("aé😀".encode() + b"\x80", 7, "80"),
        ("é".encode() * 8 + b"\xed\xa0\x80", 16, "ed"),  # half a surrogate pair
        (b"abcdefg\xf0\x9f\x98", 7, "f0"),
        (b"abcdefg\xf0\x9fxy", 7, "f0"),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 2, 3, 4, 7, 8, 9, 1 << 20])
def test_scan_names_the_first_bad_byte(
    book, monkeypatch, content, byte, value, block_bytes
):
    with pytest.raises(UnicodeDecodeError) as error:
        content.decode()
    assert error.value.start == byte
    monkeypatch.setattr(clean, "_BLOCK_BYTES", block_bytes)
    book.write_bytes(content)
    message = rf"book.txt: byte {byte} \(0x{value}\) is not UTF-8; .*; convert it"
    with pytest.raises(ValueError, match=message):
        clean.scan(book)


@hypothesis.given(texts())
def test_words_are_those_of_split(string):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clean, "_SHORT_CHARS", 1)
        assert clean.count_words(string) == len(string.split())
        assert clean.count_words(f"{string} \u3000\U0001f600\x1c ") == len(
            f"{string} \U0001f600".split()
        )
