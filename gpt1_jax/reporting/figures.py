"""Figures in one style, as PNG files, and what several of them draw alike."""

import dataclasses
import functools
import io
import textwrap
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from gpt1_jax.reporting import paper, tables
from gpt1_jax.reporting.groups import Cell

# The colour of each row of Table 5 in every figure, and the style of the paper's
# results. Curves of one variant differ by their line style and marker.
COLORS = {variant: f"C{place}" for place, variant in enumerate(paper.ABLATIONS)}
PAPER: Any = {"color": "#6b6f76"}
HOLLOW: Any = PAPER | {"fillstyle": "none"}
LINE_STYLES = ("-", "--", ":", "-.")
MARKERS = "os^vDP"
# Labels on a logarithmic axis are at least this ratio apart.
LEAST_RATIO = 1.3
# Training losses are smoothed over this share of a run's rows.
_SMOOTHED_SHARE = 0.05
_WARNING_COLOR = "#a14a00"
# Wong 2011: colours that the colour-blind can tell apart.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#b8579a", "#a67c00", "#3aa0d8")
_STYLE: Any = {
    "axes.prop_cycle": cycler(color=_COLORS),
    "text.color": "#1c1e21",
    "axes.labelcolor": "#1c1e21",
    "xtick.color": "#55585e",
    "ytick.color": "#55585e",
    "axes.edgecolor": "#9a9da3",
    "grid.color": "#e6e7ea",
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
    """A figure that `draw` draws; `name` is that of its PNG file."""

    name: str
    title: str
    caption: str
    draw: Callable[[Figure], None]
    size: tuple[float, float] = (7.6, 4.2)
    is_synthetic: bool = False
    was_run: ClassVar[bool] = True

    @functools.cached_property
    def png(self) -> bytes:
        """The bytes of the PNG file; synthetic data is marked in the image."""
        with matplotlib.rc_context(_STYLE):
            figure = Figure(figsize=self.size, layout="constrained")
            self.draw(figure)
            if self.is_synthetic:
                style: Any = {"ha": "right", "fontsize": 9, "weight": "bold"}
                figure.suptitle(tables.SYNTHETIC, x=0.99, color=_WARNING_COLOR, **style)
            FigureCanvasAgg(figure)
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=160, metadata={"Software": None})
        return file.getvalue()


def smoothed(
    steps: Sequence[float] | np.ndarray, values: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the moving mean over a twentieth of the values, an odd number of them."""
    width = 1 + 2 * round(len(values) * _SMOOTHED_SHARE / 2)
    middle = np.asarray(steps)[width // 2 : len(steps) - width // 2]
    return middle, np.convolve(values, np.full(width, 1 / width), mode="valid")


def errorbar(
    axes: Axes, places: Sequence[float], cells: Collection[Cell], **style: Any
) -> None:
    """Draws medians in percent with bars from the lowest to the highest value.

    Args: style: as of Axes.errorbar; `is_horizontal`: scores are on the x axis.
    """
    medians = [100 * cell.median for cell in cells]
    below = [100 * (cell.median - min(cell.values)) for cell in cells]
    above = [100 * (max(cell.values) - cell.median) for cell in cells]
    style = {"capsize": 3, "elinewidth": 1} | style
    if style.pop("is_horizontal", False):
        axes.errorbar(medians, places, xerr=[below, above], **style)
    else:
        axes.errorbar(places, medians, yerr=[below, above], **style)


def legend_below(figure: Figure, *entries: Sequence, columns: int = 2) -> None:
    """Puts a legend below the axes, with long labels on several lines."""
    legend = figure.legend(*entries, loc="outside lower center", ncols=columns)
    for text in legend.get_texts():
        text.set_text(textwrap.fill(text.get_text(), 96 // columns))
