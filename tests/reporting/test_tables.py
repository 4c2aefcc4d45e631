import pytest

from gpt1_jax.reporting import page, tables
from gpt1_jax.reporting.groups import Cell
from gpt1_jax.reporting.page import Page, Section
from gpt1_jax.reporting.tables import Table


@pytest.mark.parametrize(
    ("value", "text"),
    [(45.35, "45.4"), (0.05, "0.1"), (-3.27, "−3.3"), (-0.04, "0.0"), (100, "100.0")],
)
def test_a_half_is_rounded_up(value, text):
    assert tables.number(value) == text


def test_a_score_is_a_median_with_its_range():
    assert tables.score(Cell((0.454,))) == "45.4"
    assert tables.score(Cell((0.2, 0.7, 0.31))) == "31.0 (20.0 to 70.0)"
    assert tables.score(Cell((0.2, 0.2))) == "20.0"
    assert tables.score(Cell((), 2)) == "not finished"
    assert tables.score(Cell()) == "not run"
    assert tables.seeds(Cell((0.2, 0.7), 3)) == "2 + 3 not finished"
    assert tables.seeds(Cell((0.2,))) == "1"
    assert tables.seeds(Cell((), 2)) == "2 not finished"
    assert tables.seeds(Cell()) == "–"


def test_a_difference_is_in_points_of_the_median():
    assert tables.difference(Cell((0.2, 0.7, 0.31)), 45.4) == "−14.4"
    assert tables.difference(Cell((0.5,)), 45.4) == "+4.6"
    assert tables.difference(Cell((0.5,)), 50.0) == "0.0"
    assert tables.difference(Cell((), 1), 50.0) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [(116534784, "116.5 M"), (1063424, "1.063 M"), (4300, "4.3 k"), (7, "7")],
)
def test_large_numbers_are_short(value, text):
    assert tables.large(value) == text


def test_markdown_shows_text_as_it_is():
    table = Table(
        "name",
        "a <b>",
        ("x|y", "z"),
        [["`1`|*2*", "3"], ["", "4"]],
        notes=["a_b"],
        is_synthetic=True,
        emphasised=frozenset({1}),
    )
    markdown = page.to_markdown(Page("t", [], [], [], [Section("s", "s", [table])]))
    assert markdown.endswith(
        "**a &lt;b&gt; (synthetic data (storyworld))**\n\n"
        "| x\\|y | z |\n| :-- | --: |\n| \\`1\\`\\|\\*2\\* | 3 |\n|  | **4** |\n\n"
        "a\\_b\n"
    )
