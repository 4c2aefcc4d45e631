"""The report as one page, HTML that needs nothing else, and the same in Markdown."""

import base64
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jinja2
import markupsafe

from gpt1_jax import files
from gpt1_jax.reporting import tables
from gpt1_jax.reporting.figures import Picture
from gpt1_jax.reporting.tables import Table

HTML_FILE, MARKDOWN_FILE = "report.html", "report.md"
_TEMPLATE = "page.html.jinja"


@dataclasses.dataclass(frozen=True)
class Headline:
    """A number at the top of the page, and what it is."""

    value: str
    what: str
    beside: str
    is_synthetic: bool = False


@dataclasses.dataclass(frozen=True)
class Section:
    """Tables and pictures under a title. is_folded: tables open on demand."""

    name: str
    title: str
    blocks: Sequence[Table | Picture]
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
        """All of its pictures, in order."""
        return [
            block
            for section in self.sections
            for block in section.blocks
            if isinstance(block, Picture)
        ]


def write(page: Page, directory: Path) -> None:
    """Writes report.html, report.md and the PNG files that the latter shows."""
    directory.mkdir(parents=True, exist_ok=True)
    for picture in page.pictures():
        (directory / f"{picture.name}.png").write_bytes(picture.bright)
    files.write_atomically(directory / MARKDOWN_FILE, to_markdown(page))
    files.write_atomically(directory / HTML_FILE, to_html(page))


def to_html(page: Page) -> str:
    """The page in a file of its own: pictures within it, no script, no address."""
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
    """The page's content, with links to PNG files beside it."""
    parts = [f"# {tables.escape_markdown(page.title)}"]
    parts += [tables.escape_markdown(line) for line in page.summary]
    if page.headlines:
        parts.append("\n".join(_headline(one) for one in page.headlines))
    for warning in page.warnings:
        parts.append(f"> {tables.escape_markdown(warning)}")
    for section in page.sections:
        parts.append(f"## {tables.escape_markdown(section.title)}")
        parts += [tables.escape_markdown(section.text)] if section.text else []
        for block in section.blocks:
            parts.append(
                block.to_markdown() if isinstance(block, Table) else _image(block)
            )
    return "\n\n".join(parts) + "\n"


def _headline(one: Headline) -> str:
    mark = f" ({tables.SYNTHETIC})" if one.is_synthetic else ""
    return (
        f"- **{one.value}** {tables.escape_markdown(f'{one.what}; {one.beside}')}{mark}"
    )


def _image(picture: Picture) -> str:
    mark = f" ({tables.SYNTHETIC})" if picture.is_synthetic else ""
    title = f"{tables.escape_markdown(picture.title)}{mark}"
    caption = tables.escape_markdown(picture.caption)
    return f"![{title}]({picture.name}.png)\n\n*{title}.* {caption}"
