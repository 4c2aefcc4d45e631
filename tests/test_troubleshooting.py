"""The code prints each message that docs/troubleshooting.md explains."""

import ast
import re

import pytest

from tests.docs_pages import ROOT

MESSAGES = re.findall(
    r"^### `(.*)`$", (ROOT / "docs/troubleshooting.md").read_text(), re.MULTILINE
)
ANY = "\0"  # stands for the values of an f-string


def text_of(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or ANY for part in node.values)
    return None


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """The strings in the package's code."""
    trees = [ast.parse(path.read_text()) for path in ROOT.glob("gpt1_jax/**/*.py")]
    found = (text_of(node) for tree in trees for node in ast.walk(tree))
    return [text for text in found if text]


def matches(message: str, text: str) -> bool:
    """Returns whether `text` begins like `message`, where `...` matches anything."""
    parts = [re.escape(part) for part in re.split(r"\.\.\.(?!\.)", message)]
    return re.match(".*?".join(parts), text, re.DOTALL) is not None


def test_page_explains_each_message_once():
    assert len(MESSAGES) >= 25
    assert len(set(MESSAGES)) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES)
def test_message_is_in_the_code(message, texts):
    assert len(re.sub(r"\W|\.\.\.", "", message)) > 8
    assert any(matches(message, text) for text in texts)


def test_message_that_is_not_in_the_code_is_not_found(texts):
    assert not any(
        matches("no experiment file ...; a Perl file", text) for text in texts
    )
