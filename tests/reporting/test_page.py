import base64
import re
from html.parser import HTMLParser

from gpt1_jax.reporting import page
from gpt1_jax.reporting.figures import Picture
from gpt1_jax.reporting.page import Headline, Page, Section
from gpt1_jax.reporting.tables import Table

HOSTILE = "<script>alert(1)</script>&\"'"
TABLE = Table(
    "t",
    HOSTILE,
    (HOSTILE, "b"),
    [[HOSTILE, "not finished"]],
    missing=[[HOSTILE, "not run"]],
    notes=(HOSTILE,),
    is_synthetic=True,
)
PICTURE = Picture("p", HOSTILE, HOSTILE, lambda figure: None, is_synthetic=True)
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
    # table title, column, cell, names of missing rows, their column and cell, note; of
    # the picture title and caption.
    assert sum(HOSTILE in text for text in found.texts) == 25
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


def test_the_picture_is_in_the_page_and_a_dark_page_inverts_it():
    html = page.to_html(PAGE)
    (image,) = (attributes for tag, attributes in Tags(html).tags if tag == "img")
    assert decoded(image["src"]) == PICTURE.png
    dark = html[html.index("(prefers-color-scheme: dark)") :]
    assert "figure img { filter: invert(.91)" in dark


def test_rows_that_were_not_run_are_collapsed_into_one_line():
    missing = [["RTE", "1.0", "not run"], ["SNLI", "2.0", "not run"]]
    columns = ("task", "paper", "ours")
    partly = Table("t", "T", columns, [["QNLI", "3.0", "4.0"]], missing=missing)
    none = Table("u", "U", columns, [], missing=missing)
    whole = Page("P", [], [], [], [Section("s", "S", [partly, none])])
    markdown = page.to_markdown(whole)
    assert "| QNLI | 3.0 | 4.0 |\n\nNot run: RTE; SNLI.\n" in markdown
    assert "\n\n**U**: not run.\n" in markdown
    assert "2.0" not in markdown
    html = page.to_html(whole)
    shown, folded, other = html.split("<summary>")
    assert "QNLI" in shown
    assert "SNLI" not in shown
    assert folded.startswith("Not run: RTE; SNLI</summary>")
    assert other.startswith("U: not run</summary>")
    assert all("<td>2.0</td>" in part for part in (folded, other))


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
    assert (written / "p.png").read_bytes() == PICTURE.png
    assert "](p.png)" in (written / "report.md").read_text(encoding="utf-8")
