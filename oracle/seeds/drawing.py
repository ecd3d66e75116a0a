"""Pictures of the experiments, each an SVG file of its own. The same numbers give the same bytes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.seeds.section import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = ["Panel", "curves", "drawing", "grid", "histograms", "images", "smoothed", "written"]

Array = NDArray[Any]

RULES: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "oracle",
    "font.family": "sans-serif",
    "font.size": 8.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "text.parse_math": False,
    "path.simplify_threshold": 0.3,
}
POINTS = 120  # the largest number of points of a line; more are not visible and make the file larger
DIGITS = 3  # significant digits of drawn numbers; further digits may be rounding, and would change the file without need
BINS = 30  # bins of a histogram
PANEL = (2.6, 2.0)  # width and height of a panel in inches


class Panel(NamedTuple):
    """A frame with some lines. `lines` has the x and y values of each line by its name."""

    title: str
    lines: Mapping[str, tuple[Any, Any]]
    x_label: str = ""
    y_label: str = ""
    log_x: bool = False
    log_y: bool = False
    limits: tuple[float, float] | None = None
    """The lower and upper end of the y axis."""


@contextmanager
def drawing() -> Iterator[None]:
    """Applies our settings of matplotlib instead of those of the process. Every picture is made inside."""
    import matplotlib.style  # imported here, because it takes half a second that only pages with pictures need

    with matplotlib.style.context(["default", RULES]):
        yield


def curves(name: str, words: str, panels: Sequence[Panel], *, columns: int = 3, size: tuple[float, float] = PANEL) -> Picture:
    """Panels with lines in rows and columns; a single legend if all panels have the same lines."""
    return Picture(name, words, partial(_curves, list(panels), columns, size))


def _curves(panels: Sequence[Panel], columns: int, size: tuple[float, float]) -> str:
    with drawing():
        figure, frames = grid(len(panels), columns, size)
        for axes, panel in zip(frames, panels, strict=True):
            for label, (x, y) in panel.lines.items():
                few = _spread(len(x))
                axes.plot(_rounded(x)[few], _rounded(y)[few], label=label, marker="." if len(x) <= 12 else "")
            axes.set_title(panel.title)
            axes.set_xlabel(panel.x_label)
            axes.set_ylabel(panel.y_label)
            if panel.limits:
                axes.set_ylim(*panel.limits)
            axes.set_xscale("log" if panel.log_x else "linear")
            axes.set_yscale("log" if panel.log_y else "linear")
            _scaled(axes.xaxis, logarithmic=panel.log_x, integer=True)
            _scaled(axes.yaxis, logarithmic=panel.log_y, integer=False)
        names = [list(panel.lines) for panel in panels]
        same = all(own == names[0] for own in names)
        for axes in frames[:1] if same else frames:
            if len(axes.lines) > 1:
                axes.legend()
        return written(figure)


def _scaled(axis: Axis, *, logarithmic: bool, integer: bool) -> None:
    """Sets few ticks with plain numbers."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

    if not logarithmic:
        axis.set_major_locator(MaxNLocator(5, integer=integer))
        return
    low, high = axis.get_data_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 100 * low else (1.0,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def histograms(name: str, words: str, rows: Mapping[str, Sequence[Array]], limits: tuple[float, float]) -> Picture:
    """A row of histograms for each name, one for each layer. Values outside the limits count in the first or last bin."""
    heights = {label: [np.histogram(np.clip(a, *limits), BINS, limits)[0] for a in arrays] for label, arrays in rows.items()}
    return Picture(name, words, partial(_histograms, heights, limits))


def _histograms(rows: Mapping[str, Sequence[Array]], limits: tuple[float, float]) -> str:
    with drawing():
        figure, frames = grid(len(rows), 1, (6.0, 0.9))
        count = max(map(len, rows.values()))
        across = np.linspace(0, 0.9, BINS + 1)
        for axes, (label, heights) in zip(frames, rows.items(), strict=True):
            for place, height in enumerate(heights):
                axes.stairs(_rounded(height / height.max()), place + across, fill=True, color=f"C{place}")
            axes.set_yticks([])
            axes.set_ylabel(label, rotation=0, horizontalalignment="right", verticalalignment="center")
            axes.set_xticks([])
        ends = [place + end for place in range(count) for end in (0.0, 0.9)]
        frames[-1].set_xticks(ends, [f"{limit:g}" for limit in limits] * count)
        for place in range(count):
            frames[0].text(place + 0.45, 1.05, f"layer {place + 1}", horizontalalignment="center")
        return written(figure)


def images(name: str, words: str, rows: Mapping[str, Array], *, columns: int = 15) -> Picture:
    """A mosaic of small grey images (N, H, W) for each name. The minimum of each image is black, and its maximum white."""
    return Picture(name, words, partial(_images, dict(rows), columns))


def _images(rows: Mapping[str, Array], columns: int) -> str:
    with drawing():
        figure, frames = grid(len(rows), 1, (5.0, 1.0))
        for axes, (label, stack) in zip(frames, rows.items(), strict=True):
            axes.imshow(_mosaic(stack, columns), cmap="gray", interpolation="none", vmin=0.0, vmax=1.0)
            axes.set_title(label)
            axes.set_axis_off()
        return written(figure)


def written(figure: Figure) -> str:
    """The figure as SVG without a date, with coordinates rounded to a hundredth of a point."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = re.sub(r"font-family: [^;]*;", "font-family: sans-serif;", stream.getvalue())
    text = re.sub(r"-?\d+\.\d{3,}", _hundredths, text)
    return "\n".join(line.strip() for line in text.splitlines()) + "\n"


def smoothed(losses: Any, window: int) -> Array:
    """The mean of the last `window` losses at each step, or of all so far if there are fewer."""
    total = np.cumsum(np.concatenate([[0.0], np.asarray(losses, np.float64)]))
    end = np.arange(1, total.size)
    start = np.maximum(end - window, 0)
    return np.asarray((total[end] - total[start]) / (end - start))


def grid(count: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure and its frames, row by row. `size` is the width and height of a frame in inches."""
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure((columns * size[0], rows * size[1]), layout="constrained", facecolor="white")
    frames = [figure.add_subplot(rows, columns, i + 1) for i in range(count)]
    return figure, frames


def _mosaic(stack: Array, columns: int) -> Array:
    count, height, width = stack.shape
    rows = math.ceil(count / columns)
    mosaic = np.ones((rows * (height + 1) - 1, columns * (width + 1) - 1))
    for i, image in enumerate(stack):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        low, high = float(image.min()), float(image.max())
        mosaic[top : top + height, left : left + width] = np.round((image - low) / (high - low or 1.0), 2)
    return mosaic


def _spread(count: int) -> Array:
    """At most POINTS of `count` indices, spread evenly, including the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int))


def _rounded(values: Any) -> Array:
    """The values rounded to a few significant digits; values that are not finite become NaN, which is not drawn."""
    array = np.asarray(values, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        place = np.floor(np.log10(np.abs(array)))
    scale = 10.0 ** np.where(np.isfinite(place), DIGITS - 1 - place, 0.0)
    return np.where(np.isfinite(array), np.round(array * scale) / scale, np.nan)


def _hundredths(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
