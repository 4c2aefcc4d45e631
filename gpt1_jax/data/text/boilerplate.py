"""What stands in a file beside its text: Project Gutenberg's licence, front matter.

It cuts both from text that is read in pieces, and counts what it cuts.
"""

import collections
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from gpt1_jax.data import formats

# The last line before the text. The title in it may be wrapped. Books from before 2004
# end their licence by the line about the small print.
_START = re.compile(
    r"^(?:\*\*\* *START OF (?:THE|THIS) PROJECT GUTENBERG(?:[^*]{0,300}\*\*\*)?"
    r"|\*END ?\*? ?THE SMALL PRINT)[^\n]*\n?",
    re.MULTILINE | re.IGNORECASE,
)
# The first line after the text.
_END = re.compile(
    r"^(?:\*\*\* *END OF (?:THE|THIS) PROJECT GUTENBERG"
    r"|End of (?:the |this )?Project Gutenberg(?:'s)? )",
    re.MULTILINE | re.IGNORECASE,
)
# One of these is in every first and last line of a licence.
_MENTIONS = ("project gutenberg", "the small print")
# A YAML block at the very beginning, such as static site generators read.
_FRONT_MATTER = re.compile(
    r"\A\ufeff?---[ \t\r]*\n(?=[\w-]+[ \t]*:)"
    r"(?:.*\n){1,200}?(?:---|\.\.\.)[ \t\r]*(?:\n|\Z)"
)
_MARKDOWN = {".md", ".markdown"}


def is_markdown(path: Path) -> bool:
    """Returns whether the name of a file says that it is Markdown."""
    return formats.stem_suffix(path) in _MARKDOWN


def cut(
    pieces: Iterable[tuple[str, bool]],
    counts: collections.Counter[str],
    *,
    is_markdown: bool,
    begins: bool = True,
) -> Iterator[tuple[str, bool]]:
    """Yields the pieces of a text without licences and front matter.

    A file may hold several books of Project Gutenberg, each between its START and its
    END. In the first piece, all before START is licence.
    Args: pieces: as of clean.read_pieces. counts: gets `licences`, `front matter` and
          `characters`, which are cut. begins: the first piece begins the text.
    """
    licences = _Licences(counts)
    for piece, ends_line in pieces:
        size = len(piece)
        if begins and is_markdown and (head := _FRONT_MATTER.match(piece)):
            counts["front matter"] += 1
            piece = piece[head.end() :]
        piece = licences.cut(piece, begins=begins)
        begins = False
        counts["characters"] += size - len(piece)
        if piece or not size:
            yield piece, ends_line


class _Licences:
    """Cuts the licences of a text piece by piece."""

    def __init__(self, counts: collections.Counter[str]):
        self._counts = counts
        self._is_in_licence = False
        self._is_in_book = False  # its START has been counted

    def cut(self, piece: str, *, begins: bool) -> str:
        """Returns a piece without licences; `begins`: it begins the text."""
        lower = piece.lower()  # much faster than a search that ignores case
        if not (self._is_in_licence or any(words in lower for words in _MENTIONS)):
            return piece
        texts = []
        place = self._after_head(piece) if begins else 0
        while True:
            if self._is_in_licence:
                start = _START.search(piece, place)
                if not start:
                    break
                place = start.end()
                self._begin_book()
            end = _END.search(piece, place)
            if not end:
                texts.append(piece[place:])
                break
            texts.append(piece[place : end.start()])
            place = end.end()
            if not self._is_in_book:
                self._counts["licences"] += 1
            self._is_in_licence, self._is_in_book = True, False
        return "".join(texts)

    def _after_head(self, piece: str) -> int:
        """Returns the place after the licence that begins a text."""
        end = _END.search(piece)
        stop = end.start() if end else len(piece)
        starts = [start.end() for start in _START.finditer(piece, 0, stop)]
        if not starts:
            return 0
        self._begin_book()
        return starts[-1]

    def _begin_book(self) -> None:
        self._counts["licences"] += 1
        self._is_in_licence, self._is_in_book = False, True


def cut_text(text: str, *, is_markdown: bool, begins: bool) -> str:
    """Returns a text, or a part of one, without licences and front matter."""
    pieces = cut(
        [(text, True)],
        collections.Counter(),
        is_markdown=is_markdown,
        begins=begins,
    )
    return "".join(piece for piece, _ in pieces)
