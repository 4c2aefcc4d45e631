import base64
import re
from html.parser import HTMLParser

from gpt1_jax.reporting import page
from gpt1_jax.reporting.figures import Picture
from gpt1_jax.reporting.page import Headline, Page, Section
from gpt1_jax.reporting.tables import Table

HOSTILE = "<script>alert(1)</script>&\"'"
TABLE = Table("t", HOSTILE, (HOSTILE, "b"), [[HOSTILE, "not run"]], (HOSTILE,), True)
PICTURE = Picture("p", HOSTILE, HOSTILE, b"bright", b"dark", True)
PAGE = Page(
    HOSTILE,
    [HOSTILE],
    [Headline("7", HOSTILE, HOSTILE, True)],
    [HOSTILE],
    [
        Section("one", HOSTILE, [TABLE, PICTURE], HOSTILE),
        Section("two", "Two", [TABLE], is_folded=True),
    ],
)


class Tags(HTMLParser):
    """All tags with their attributes, and all text."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)


def test_names_from_outside_are_text_and_no_markup():
    found = Tags(page.to_html(PAGE))
    assert "script" not in {tag for tag, _ in found.tags}
    # Title twice, summary, headline twice, warning, contents, heading, text; of each
    # table title, column, cell, note; of the picture title and caption.
    assert sum(HOSTILE in text for text in found.texts) == 19
    assert [a["alt"] for tag, a in found.tags if tag == "img"] == [HOSTILE]
    assert "<script" not in page.to_markdown(PAGE)


def test_the_page_needs_nothing_else():
    found = Tags(page.to_html(PAGE))
    addresses = [
        value
        for _, attributes in found.tags
        for name, value in attributes.items()
        if name in ("src", "srcset", "href")
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "@import" not in page.to_html(PAGE)
    assert "url(" not in page.to_html(PAGE)
    names = {attributes.get("id") for _, attributes in found.tags}
    assert {"#one", "#two"} == {a for a in addresses if a.startswith("#")}
    assert {"one", "two"} <= names


def test_a_dark_page_shows_the_dark_picture():
    html = page.to_html(PAGE)
    source, image = (
        next(attributes for tag, attributes in Tags(html).tags if tag == name)
        for name in ("source", "img")
    )
    assert source["media"] == "(prefers-color-scheme: dark)"
    assert decoded(source["srcset"]) == b"dark"
    assert decoded(image["src"]) == b"bright"


def decoded(uri: str) -> bytes:
    return base64.b64decode(uri.removeprefix("data:image/png;base64,"))


def test_synthetic_is_marked_everywhere():
    mark = "synthetic data (storyworld)"
    # The headline, both tables, the picture.
    assert page.to_html(PAGE).count(mark) == 4
    assert len(re.findall(re.escape(mark), page.to_markdown(PAGE))) == 5  # alt, caption


def test_markdown_shows_pictures_that_lie_beside_it(tmp_path):
    page.write(PAGE, tmp_path / "new/report")
    written = tmp_path / "new/report"
    assert {path.name for path in written.iterdir()} == {
        *("report.html", "report.md", "p.png")
    }
    assert (written / "p.png").read_bytes() == b"bright"
    assert "](p.png)" in (written / "report.md").read_text(encoding="utf-8")
