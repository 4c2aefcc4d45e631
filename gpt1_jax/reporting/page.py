"""The report as a list of sections, and its two forms: HTML and Markdown."""

import base64
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import jinja2
import markupsafe

from gpt1_jax import files
from gpt1_jax.reporting import tables
from gpt1_jax.reporting.figures import Picture
from gpt1_jax.reporting.tables import NOT_RUN, Table

HTML_FILE, MARKDOWN_FILE = "report.html", "report.md"
_TEMPLATE = "page.html.jinja"

Block = Table | Picture


@dataclasses.dataclass(frozen=True)
class Headline:
    """A number at the top of the page, and its meaning."""

    value: str
    meaning: str
    comparison: str
    is_synthetic: bool = False


@dataclasses.dataclass(frozen=True)
class Section:
    """Tables and pictures under a title. is_folded: HTML shows the tables collapsed."""

    name: str
    title: str
    blocks: Sequence[Block]
    text: str = ""
    is_folded: bool = False


@dataclasses.dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    summary: Sequence[str]
    headlines: Sequence[Headline]
    warnings: Sequence[str]
    sections: Sequence[Section]

    def pictures(self) -> list[Picture]:
        """Returns all pictures, in order."""
        blocks = [block for section in self.sections for block in section.blocks]
        return [block for block in blocks if isinstance(block, Picture)]


def write(page: Page, directory: Path) -> None:
    """Writes report.html, report.md and the PNG files that report.md shows.

    If one of them cannot be written, an earlier report stays as it is.
    """
    contents = {
        directory / f"{picture.name}.png": picture.png for picture in page.pictures()
    }
    contents[directory / MARKDOWN_FILE] = to_markdown(page).encode()
    contents[directory / HTML_FILE] = to_html(page).encode()
    files.write_together(contents)


def to_html(page: Page) -> str:
    """Returns the page as HTML with its pictures inside, without scripts or links."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gpt1_jax.reporting", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["data_uri"] = _data_uri
    template = environment.get_template(_TEMPLATE)
    return template.render(page=page, synthetic=tables.SYNTHETIC)


def _data_uri(png: bytes) -> markupsafe.Markup:
    text = base64.b64encode(png).decode("ascii")
    return markupsafe.Markup(f"data:image/png;base64,{text}")


def to_markdown(page: Page) -> str:
    """Returns the page as Markdown that links to the PNG files beside it."""
    parts = [f"# {escape_markdown(page.title)}", *map(escape_markdown, page.summary)]
    if page.headlines:
        parts.append("\n".join(map(_headline, page.headlines)))
    parts += [f"> {escape_markdown(warning)}" for warning in page.warnings]
    for section in page.sections:
        parts.append(f"## {escape_markdown(section.title)}")
        parts += [escape_markdown(section.text)] if section.text else []
        for block in section.blocks:
            parts += _table(block) if isinstance(block, Table) else _image(block)
    return "\n\n".join(parts) + "\n"


def _headline(one: Headline) -> str:
    text = escape_markdown(f"{one.meaning}; {one.comparison}")
    return f"- **{one.value}** {text}{_mark(one)}"


def _mark(block: Headline | Block) -> str:
    return f" ({tables.SYNTHETIC})" if block.is_synthetic else ""


def _image(picture: Picture) -> Iterator[str]:
    title = f"{escape_markdown(picture.title)}{_mark(picture)}"
    yield f"![{title}]({picture.name}.png)"
    yield f"*{title}.* {escape_markdown(picture.caption)}"


def _table(table: Table) -> Iterator[str]:
    """Yields the title, rows and notes; one line if nothing in it was run."""
    title = f"**{escape_markdown(table.title)}{_mark(table)}**"
    if not table.was_run:
        yield f"{title}: {NOT_RUN}."
        return
    yield title
    aligned = [":--"] * table.num_heads + ["--:"] * len(table.columns)
    columns = list(_escaped(table.columns))
    lines = [_line(columns), _line(aligned[: len(columns)])]
    for number, row in enumerate(table.rows):
        is_bold = number in table.emphasised
        lines.append(_line(f"**{x}**" if is_bold and x else x for x in _escaped(row)))
    yield "\n".join(lines)
    if table.missing:
        yield escape_markdown(f"{NOT_RUN.capitalize()}: {table.missing_names}.")
    yield from _escaped(table.notes)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(texts: Iterable[str]) -> Iterator[str]:
    return map(escape_markdown, texts)


def escape_markdown(text: str) -> str:
    """Returns `text` so that Markdown shows it as it is, also in a table's cell."""
    text = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;")
    text = text.replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
    for mark in "*_`[]":
        text = text.replace(mark, f"\\{mark}")
    return text
