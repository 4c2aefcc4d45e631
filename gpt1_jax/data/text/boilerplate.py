"""Cuts Project Gutenberg's licence and Markdown front matter from text.

The text is read in pieces; what is cut is counted.
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
# The first line after the text. A line of the second form may also be part of a text.
_END = re.compile(
    r"^(?:\*\*\* *END OF (?:THE|THIS) PROJECT GUTENBERG"
    r"|(?P<bare>End of (?:the |this )?Project Gutenberg(?:'s)? ))",
    re.MULTILINE | re.IGNORECASE,
)
# Words that follow the end of a text where its licence does.
_TERMS = re.compile(
    r"^\*\*\* *END OF (?:THE|THIS) PROJECT GUTENBERG|General Terms of Use"
    r"|Project Gutenberg(?:-tm|\u2122)? Licen[cs]e",
    re.MULTILINE | re.IGNORECASE,
)
# Characters of the longest licence before or after a text.
_LICENCE_CHARS = 20_000
# One of these is in every first and last line of a licence.
_MENTIONS = ("project gutenberg", "the small print")
# A YAML block at the very beginning, such as static site generators read.
_FRONT_MATTER = re.compile(
    r"\A\ufeff?---[ \t\r]*\n(?=[\w-]+[ \t]*:)"
    r"(?:.*\n){1,200}?(?:---|\.\.\.)[ \t\r]*(?:\n|\Z)"
)


def is_markdown(path: Path) -> bool:
    """Returns whether the name of a file says that it is Markdown."""
    return formats.stem_suffix(path) in formats.MARKDOWN_SUFFIXES


def cut(
    pieces: Iterable[tuple[str, bool]],
    counts: collections.Counter[str],
    *,
    is_markdown: bool,
    begins: bool = True,
) -> Iterator[tuple[str, bool]]:
    """Yields the pieces of a text without licences and front matter.

    A file may hold several books of Project Gutenberg, each after its START and usually
    before its END. The beginning of the text is licence up to the first START, if it is
    no longer than one.
    Args: pieces: as of clean.read_pieces. counts: gets `licences`, `front matter` and
          `characters`, which are cut, and `read`, the number of all characters.
          begins: the first piece begins the text.
    """
    # The START of a text from its middle came before.
    licences = _Licences(counts, is_in_book=not begins)
    for piece, ends_line in pieces:
        size = len(piece)
        if begins and is_markdown and (head := _FRONT_MATTER.match(piece)):
            counts["front matter"] += 1
            piece = piece[head.end() :]
        piece = licences.cut(piece, begins=begins)
        begins = False
        counts["characters"] += size - len(piece)
        counts["read"] += size
        if piece or not size:
            yield piece, ends_line


class _Licences:
    """Cuts the licences of a text piece by piece."""

    def __init__(self, counts: collections.Counter[str], *, is_in_book: bool):
        self._counts = counts
        self._is_in_licence = False
        self._is_in_book = is_in_book  # its START has been counted

    def cut(self, piece: str, *, begins: bool) -> str:
        """Returns a piece without licences; `begins`: it begins the text."""
        lower = piece.lower()  # much faster than a search that ignores case
        if not (self._is_in_licence or any(words in lower for words in _MENTIONS)):
            return piece
        texts = []
        place = 0  # of what is neither cut nor in `texts`
        may_be_head = begins  # what stands before the next START may be its licence
        for mark in _marks(piece):
            before = piece[place : mark.start()]
            if mark.re is _START:
                is_head = may_be_head and _is_head(before, begins=place == 0)
                if not (self._is_in_licence or is_head):
                    texts.append(before)
                if not is_head or not self._is_in_book:
                    self._counts["licences"] += 1
                self._is_in_licence, self._is_in_book = False, True
                may_be_head = True
            elif self._is_in_licence or not self._is_end(mark):
                continue
            else:
                texts.append(before)
                if not self._is_in_book:
                    self._counts["licences"] += 1
                self._is_in_licence, self._is_in_book = True, False
                may_be_head = False
            place = mark.end()
        if not self._is_in_licence:
            texts.append(piece[place:])
        return "".join(texts)

    def _is_end(self, mark: re.Match[str]) -> bool:
        """Returns whether a match of _END ends a text, rather than being part of it."""
        if self._is_in_book or not mark["bare"]:
            return True
        return bool(_TERMS.search(mark.string, mark.end(), mark.end() + _LICENCE_CHARS))


def _marks(piece: str) -> list[re.Match[str]]:
    """Returns the matches of _START and _END in a piece, in order."""
    found = [*_START.finditer(piece), *_END.finditer(piece)]
    return sorted(found, key=re.Match.start)


def _is_head(before: str, *, begins: bool) -> bool:
    """Returns whether the text before a START is the rest of the same licence.

    Args: begins: `before` begins the text; else another START stands before it.
    """
    if len(before) >= _LICENCE_CHARS:
        return False
    return begins or not before.strip() or "project gutenberg" in before.lower()


def cut_text(text: str, *, is_markdown: bool, begins: bool) -> str:
    """Returns a text, or a part of one, without licences and front matter."""
    pieces = cut(
        [(text, True)],
        collections.Counter(),
        is_markdown=is_markdown,
        begins=begins,
    )
    return "".join(piece for piece, _ in pieces)
