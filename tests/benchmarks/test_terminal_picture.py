"""The picture of a terminal shows the very lines."""

import html
import re

from benchmarks.terminal_picture import picture


def shown(svg: str) -> list[str]:
    """The lines of text in an svg, in order."""
    texts = re.findall(r'<text [^>]*y="([\d.]+)"[^>]*>(.*?)</text>', svg)
    lines: dict[str, str] = {}
    for y, text in texts:
        lines[y] = lines.get(y, "") + html.unescape(text).replace("\xa0", " ")
    return [line.rstrip() for line in lines.values()]


def test_lines_are_shown_as_they_are_and_long_ones_broken():
    printed = "step 20: train/loss 3.41 [bold] :cat: <b>\nwarning: late\n" + 25 * "ab "
    svg = picture("python -m x", printed, 60)
    lines = shown(svg)
    assert "$ python -m x" in lines
    assert "step 20: train/loss 3.41 [bold] :cat: <b>" in lines
    assert "ab " * 19 + "ab" in lines
    assert "ab " * 4 + "ab" in lines
    assert svg == picture("python -m x", printed, 60)
    assert "url(" not in re.sub(r"url\(#", "", svg)  # but its own parts
