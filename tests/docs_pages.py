"""Reads tables, fenced blocks and prose from the project's pages."""

import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Returns the fenced blocks of a page, in order."""
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [Block(page, language, text) for language, text in found]


def without_blocks(page: Path) -> str:
    """Returns the prose of a page."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def tables(page: Path) -> list[list[dict[str, str]]]:
    """Returns the tables of a page; a row maps column names to cells."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", without_blocks(page), re.MULTILINE):
        header, _, *rows = (
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in table.splitlines()
        )
        found.append([dict(zip(header, row, strict=True)) for row in rows])
    return found
