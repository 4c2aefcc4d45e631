"""The pages quote every result file, and every benchmark that they name exists."""

import importlib.util
import re

import pytest

from benchmarks.side_by_side import RESULTS_DIR
from tests.docs_pages import PAGES
from tests.processes import ROOT

TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
QUOTED = {
    module
    for text in TEXTS.values()
    for module in re.findall(r"-m (benchmarks\.\w+)", text)
}


@pytest.mark.parametrize("path", sorted(RESULTS_DIR.iterdir()), ids=lambda p: p.name)
def test_every_result_is_quoted_by_a_page(path):
    link = f"../{path.relative_to(ROOT)}"
    assert [name for name, text in TEXTS.items() if f"]({link})" in text], (
        f"no page links to {link}; quote it or remove it"
    )


def test_every_quoted_benchmark_exists():
    assert len(QUOTED) >= 5
    missing = [name for name in QUOTED if importlib.util.find_spec(name) is None]
    assert not missing


@pytest.mark.parametrize(
    ("page", "most"),
    [("performance.md", 1100), ("results.md", 1800), ("reliability.md", 900)],
)
def test_pages_stay_short(page, most):
    assert len(TEXTS[page].split()) <= most
