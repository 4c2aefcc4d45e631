"""A figure in the style of the page, bright and dark: PNG files' bytes."""

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from gpt1_jax.reporting import tables

_BRIGHT = {
    "figure.facecolor": "#ffffff",
    "axes.facecolor": "#ffffff",
    "text.color": "#1c1e21",
    "axes.labelcolor": "#1c1e21",
    "xtick.color": "#55585e",
    "ytick.color": "#55585e",
    "axes.edgecolor": "#9a9da3",
    "grid.color": "#e6e7ea",
    "patch.edgecolor": "#6b6f76",  # what is the paper's
}
_DARK = {
    "figure.facecolor": "#16181c",
    "axes.facecolor": "#16181c",
    "text.color": "#e6e7ea",
    "axes.labelcolor": "#e6e7ea",
    "xtick.color": "#b3b6bc",
    "ytick.color": "#b3b6bc",
    "axes.edgecolor": "#6b6f76",
    "grid.color": "#2c2f35",
    "patch.edgecolor": "#9a9da3",
}
# Wong 2011, told apart by the colour-blind; bright enough for a dark page.
_BRIGHT_COLORS = ("#0072b2", "#d55e00", "#009e73", "#b8579a", "#a67c00", "#3aa0d8")
_DARK_COLORS = ("#56b4e9", "#f08a4b", "#2fc795", "#e08cc2", "#e3b341", "#8fb8ff")
_WARNING = {"bright": "#a14a00", "dark": "#f0a35e"}
_SHARED = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure: name without .png, caption, and the file's bytes for both pages."""

    name: str
    title: str
    caption: str
    bright: bytes
    dark: bytes
    is_synthetic: bool = False


def picture(
    name: str,
    title: str,
    caption: str,
    draw: Callable[[Figure], None],
    *,
    size: tuple[float, float] = (7.6, 4.2),
    is_synthetic: bool = False,
) -> Picture:
    """`draw` on an empty figure, twice. A synthetic one says so within the image."""

    def render(style: Mapping, colors: Sequence[str], page: str) -> bytes:
        settings: Any = {**_SHARED, **style, "axes.prop_cycle": cycler(color=colors)}
        with matplotlib.rc_context(settings):
            figure = Figure(figsize=size, layout="constrained")
            draw(figure)
            if is_synthetic:
                figure.suptitle(
                    tables.SYNTHETIC,
                    x=0.99,
                    ha="right",
                    fontsize=9,
                    weight="bold",
                    color=_WARNING[page],
                )
            FigureCanvasAgg(figure)
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
            return file.getvalue()

    suffix = "-synthetic" if is_synthetic else ""
    return Picture(
        f"{name}{suffix}",
        title,
        caption,
        render(_BRIGHT, _BRIGHT_COLORS, "bright"),
        render(_DARK, _DARK_COLORS, "dark"),
        is_synthetic,
    )
