"""Pictures as inline SVG. They have the colours of the page, and the same numbers give the same bytes.

Pictures hold no name from a user's module. Such names stand in captions, which the page escapes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray

from oracle.row import Descent, ErrorMap, Parting, StepCurve
from oracle.text import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["calibration", "descent", "drawing", "error_map", "multiple_map", "parting", "step_curve", "ulp_histogram"]

# Placeholders, replaced in the SVG by colours of the style sheet, which has a light and a dark version.
INK, FAINT, UNKNOWN, OURS, DIFFERENCES, JAX = (f"#0102{n:02x}" for n in range(6))
STYLES = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    UNKNOWN: "var(--unknown)",
    OURS: "var(--ours)",
    DIFFERENCES: "var(--differences)",
    JAX: "var(--jax)",
}
RULES: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "oracle",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "lines.linewidth": 1.5,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
}
WIDTH = 4.4  # inches of a picture, 422 pixels; wider ones are shrunk on a phone until their text is too small to read
SMALL = 3.0  # inches of a picture in a row of many
DIVERGING = "RdBu_r"  # a ColorBrewer map that colour-blind people can read; its ends are cut off, as both are almost black
TIMES = 2.0  # the quotients 1 - TIMES to 1 + TIMES have colours of their own: a lost factor of 2 and a lost sign are among them
SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
DRAWN = ("d", "x", "y", "width", "height", "transform", "points")


@contextmanager
def drawing() -> Iterator[None]:
    """A context with matplotlib's settings for all pictures. The settings of the process are neither used nor changed."""
    import matplotlib.style  # imported here: it takes half a second, and only a page with pictures needs it

    with matplotlib.style.context(["default", RULES]):
        yield


def error_map(m: ErrorMap, name: str) -> str:
    """A heat map of the error of each entry. `name` must be unique in the page."""
    scaled = _signed_log(np.array(m.ratios))
    decades = max(1, math.ceil(float(np.abs(scaled[np.isfinite(scaled)]).max(initial=1.0)) - 1))
    top = 1.0 + decades
    half = decades // 2
    ticks = {0.0: "0", top: f"1e{decades}", -top: f"-1e{decades}"}
    if half:
        ticks |= {1.0 + half: f"1e{half}", -1.0 - half: f"-1e{half}"}
    shown = np.where(np.isinf(scaled), np.copysign(top, scaled), scaled)
    return _heat_map(m, shown, top, ticks, name, f"heat map of the error; the worst entry is at index {list(m.index)}")


def multiple_map(m: ErrorMap, name: str) -> str:
    """A heat map of the gradient divided by the true one: 1 is in the middle."""
    shown = np.clip(np.array(m.multiples) - 1, -TIMES, TIMES)
    ticks = {0.0: "1", -1.0: "0", TIMES: f"{1 + TIMES:g}", -TIMES: f"{1 - TIMES:g}"}
    return _heat_map(m, shown, TIMES, ticks, name, "heat map of the gradient divided by the true one")


def _heat_map(m: ErrorMap, shown: NDArray[Any], top: float, ticks: Mapping[float, str], name: str, label: str) -> str:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    rows, columns = shown.shape
    wide = WIDTH - 1.55
    high = min(max(wide * rows / columns, 0.45), 3.6)
    figure, axes = _axes(high + 0.75, left=0.65, bottom=0.55, right=0.9, top=0.2)
    colours = ListedColormap(colormaps[DIVERGING](np.linspace(0.1, 0.9, 257)))
    axes.set_facecolor(UNKNOWN)
    axes.spines[["top", "right"]].set_visible(True)
    size = (rows * m.cell[0], columns * m.cell[1])
    axes.imshow(
        shown,
        cmap=colours,
        vmin=-top,
        vmax=top,
        aspect="auto",
        interpolation="none",
        extent=(-0.5, size[1] - 0.5, size[0] - 0.5, -0.5),
    )
    row, column = ((place + 0.5) * cell - 0.5 for place, cell in zip(m.worst, m.cell, strict=True))
    for colour, width in (("white", 3.5), ("black", 1.5)):
        half_width, half_height = m.cell[1] / 2, m.cell[0] / 2
        xs = column + half_width * np.array([-1, 1, 1, -1, -1])
        ys = row + half_height * np.array([-1, -1, 1, 1, -1])
        axes.plot(xs, ys, color=colour, linewidth=width, clip_on=False, gid=f"worst-{colour}")
    _name_axis(axes, m, m.across, vertical=False)
    _name_axis(axes, m, m.down, vertical=True)
    bar = figure.add_axes((1 - 0.75 / WIDTH, axes.get_position().y0, 0.12 / WIDTH, axes.get_position().height))
    bar.imshow(
        np.linspace(top, -top, 129)[:, None], cmap=colours, aspect="auto", interpolation="none", extent=(0, 1, -top, top)
    )
    kept = ticks if high > 1 else {place: text for place, text in ticks.items() if place in (0.0, top, -top)}
    bar.set_yticks(list(kept), list(kept.values()))
    bar.yaxis.tick_right()
    bar.set_xticks([])
    return _svg(figure, name, label)


def step_curve(c: StepCurve, name: str) -> str:
    """Errors at one entry: of plain finite differences with each step, of the extrapolated and of the hand-written value."""
    truth = c.extrapolated if c.autodiff is None else c.autodiff
    levels = [abs(d - truth) / c.scale for d in c.differences]
    lines = [
        (abs(c.analytic - truth) / c.scale, "hand-written", OURS, "-"),
        (c.uncertainty / c.scale, "error bar", INK, ":"),
    ]
    if c.autodiff is not None:
        lines.append((abs(c.extrapolated - truth) / c.scale, "extrapolated", DIFFERENCES, "--"))
    decades = _Decades.of([*levels, *(line[0] for line in lines)])
    figure, axes = _axes(3.1, left=0.7, bottom=0.5, right=0.15, top=0.5)
    for value, label, colour, style in lines:
        if math.isfinite(value):
            axes.axhline(decades(value), label=label, color=colour, linestyle=style)
    if c.steps:
        heights = [decades(level) for level in levels]
        axes.plot(np.log10(c.steps), heights, "o-", markersize=4, label="finite differences", color=DIFFERENCES)
    _logarithmic(axes, decades)
    some = c.steps[:: len(c.steps) // 6 + 1]
    axes.set_xticks(np.log10(some), [re.sub(r"e\+?(-?)0?", r"e\1", f"{step:.1e}") for step in some])
    axes.set_xlabel("step h")
    axes.set_ylabel(f"error against {'the extrapolated value' if c.autodiff is None else 'JAX'}")
    figure.legend(loc="upper center", ncols=2, handlelength=2.4, borderaxespad=0.1)
    return _svg(figure, name, "error of the finite differences against their step")


def ulp_histogram(ulps: Sequence[float], name: str) -> str:
    """A histogram of distances from JAX in units in the last place: a bar for 0, one for up to 1, up to 2, up to 4, ..."""
    from matplotlib.ticker import MaxNLocator

    edges = [0.0, *(2.0**k for k in range(13)), math.inf]
    labels = ["0", *(f"{edge:.0f}" for edge in edges[1:-1]), "more"]
    bins = np.searchsorted(edges, np.nan_to_num(np.asarray(ulps, np.float64), nan=math.inf))
    counts = np.bincount(bins, minlength=len(edges))
    figure, axes = _axes(2.8, left=0.6, bottom=0.7, right=0.1, top=0.2)
    bars = axes.bar(range(len(edges)), counts, color=DIFFERENCES)
    axes.bar_label(bars, [str(n) if n else "" for n in counts], fontsize=7, padding=1)
    axes.set_xticks(range(len(edges)), labels, rotation=45)
    axes.set_xlabel("at most this many units in the last place")
    axes.set_ylabel("gradients")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return _svg(figure, name, f"histogram of {count(len(ulps), 'error')} in units in the last place")


def calibration(passing: Sequence[tuple[float, float]], failing: Sequence[tuple[float, float]], name: str) -> str:
    """A mark for each gradient: across the error bar of the finite differences, up the error against them."""
    decades = _Decades.of([number for pair in (*passing, *failing) for number in pair])
    figure, axes = _axes(3.6, left=0.7, bottom=0.5, right=0.15, top=0.4)
    for pairs, label, style, size in ((passing, "pass", "o", 3), (failing, "no pass", "X", 6)):
        if pairs:
            uncertainty, error = ([decades(number) for number in some] for some in zip(*pairs, strict=True))
            colour = DIFFERENCES if pairs is passing else OURS
            axes.plot(uncertainty, error, style, markersize=size, color=colour, label=label, alpha=0.6, markeredgewidth=0)
    axes.plot(decades[:2], decades[:2], color=INK, linewidth=1, label="error = error bar")
    _logarithmic(axes, decades)
    axes.xaxis.set_major_locator(axes.yaxis.get_major_locator())
    axes.xaxis.set_major_formatter(axes.yaxis.get_major_formatter())
    axes.set_xlabel("error bar of the finite differences")
    axes.set_ylabel("error against the finite differences")
    figure.legend(loc="upper center", ncols=3, handlelength=1.6, borderaxespad=0.1)
    return _svg(figure, name, f"error against error bar of {count(len(passing) + len(failing), 'gradient')}")


def descent(d: Descent, name: str, *, small: bool = False) -> str:
    """The loss at each step: the tested run as a thin line on the wide line of the reference."""
    figure, axes = _axes(1.9, left=0.6, bottom=0.45, right=0.1, top=0.1, width=SMALL if small else WIDTH)
    for losses, colour, width, alpha in ((d.theirs, JAX, 4, 0.5), (d.ours, OURS, 1.2, 1.0)):
        there = np.nan_to_num(losses, nan=math.nan, posinf=math.nan, neginf=math.nan)
        axes.plot(np.clip(there, -1e100, 1e100), color=colour, linewidth=width, alpha=alpha, solid_capstyle="butt")
    axes.margins(x=0.02)
    axes.locator_params(nbins=5)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    return _svg(figure, name, "loss at each step, of the tested run and of the reference")


def parting(p: Parting, name: str) -> str:
    """The distance of a training from the reference's after each step."""
    decades = _Decades.of([*p.parameters, *p.used])
    figure, axes = _axes(2.4, left=0.7, bottom=0.45, right=0.1, top=0.35)
    steps = range(1, len(p.parameters) + 1)
    for numbers, label, colour, style in ((p.parameters, "difference", OURS, "-"), (p.used, "used", DIFFERENCES, "--")):
        axes.plot(steps, [decades(number) for number in numbers], style, color=colour, label=label)
    _logarithmic(axes, decades)
    axes.set_xlabel("step")
    figure.legend(loc="upper center", ncols=2, handlelength=2.4, borderaxespad=0.1)
    return _svg(figure, name, f"difference from the reference's run after each of {count(len(p.parameters), 'step')}")


# ------------------------------------------------------------------------------------------------- axes


def _axes(height: float, *, left: float, bottom: float, right: float, top: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """A figure with these margins, in inches."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    box = (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    return figure, figure.add_axes(box)


class _Decades(NamedTuple):
    """Logarithms of numbers that are not negative. A 0 is drawn a decade below all others, infinity a decade above."""

    low: int
    high: int

    @classmethod
    def of(cls, numbers: Sequence[float]) -> _Decades:
        logarithms = [math.log10(number) for number in numbers if 0 < number < math.inf] or [-16.0]
        return cls(math.floor(min(logarithms)) - 1, math.ceil(max(logarithms)) + 1)

    def __call__(self, number: float) -> float:
        return math.nan if math.isnan(number) else self.low if number <= 0 else min(math.log10(number), self.high)


def _logarithmic(axes: Axes, decades: _Decades) -> None:
    """Scale and grid of the vertical axis, which shows logarithms of errors."""
    from matplotlib.ticker import MaxNLocator

    axes.set_ylim(decades.low - 0.4, decades.high)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: f"1e{value:.0f}")
    axes.grid(visible=True, color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)


def _name_axis(axes: Axes, m: ErrorMap, dims: tuple[int, ...], *, vertical: bool) -> None:
    """Label and ticks of one axis of an error map. If it shows two dimensions as tiles, the outer one has the ticks."""
    from matplotlib.ticker import MaxNLocator

    axis = axes.yaxis if vertical else axes.xaxis
    set_label = axes.set_ylabel if vertical else axes.set_xlabel
    if not dims:
        axis.set_ticks([])
        return
    end = math.prod(m.shape[d] for d in dims) - 0.5
    (axes.set_ylim if vertical else axes.set_xlim)((end, -0.5) if vertical else (-0.5, end))
    if len(dims) == 1:
        axis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        axis.set_major_formatter(lambda value, _: f"{value:.0f}" if -0.5 < value < end else "")
        set_label(f"axis {dims[0]}")
        return
    tiles, size = m.shape[dims[0]], m.shape[dims[1]]
    every = math.ceil(tiles / 16)
    axis.set_ticks([tile * size + (size - 1) / 2 for tile in range(0, tiles, every)], list(map(str, range(0, tiles, every))))
    for tile in range(1, tiles):
        (axes.axhline if vertical else axes.axvline)(tile * size - 0.5, color="black", linewidth=0.6)
    set_label(f"axis {dims[0]}, and axis {dims[1]} in each tile")


def _signed_log(ratios: NDArray[Any]) -> NDArray[Any]:
    """Linear up to the tolerance, which is 1, and logarithmic beyond. A decade is as wide as the tolerance."""
    sizes = np.abs(ratios)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sizes <= 1, ratios, np.sign(ratios) * (1 + np.log10(sizes)))


# ------------------------------------------------------------------------------------------------- SVG


def _svg(figure: Figure, name: str, label: str) -> str:
    """The picture as an element of a page: its identifiers are unique there, and its colours are those of the style sheet."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ET.fromstring(stream.getvalue())  # noqa: S314 - written above
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    written = ET.tostring(root, encoding="unicode")
    used = set(re.findall(r'href="#([^"]+)"', written)) | set(re.findall(r"url\(#([^)]+)\)", written))
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        _tidy(element, name, used)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return ET.tostring(root, encoding="unicode")


def _tidy(element: ET.Element, name: str, used: set[str]) -> None:
    attributes = element.attrib
    if (identifier := attributes.pop("id", "")) in used:
        attributes["id"] = f"{name}-{identifier}"
    elif identifier.startswith("worst-"):
        attributes["class"] = identifier
    if (target := attributes.pop(HREF, attributes.pop("href", ""))).startswith("#"):
        target = f"#{name}-{target[1:]}"
    if target:
        attributes["href"] = target
    for key, value in list(attributes.items()):
        if key in DRAWN:
            attributes[key] = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
        if key in ("style", "clip-path"):
            value = value.replace("url(#", f"url(#{name}-")
            value = re.sub("|".join(STYLES), lambda colour: STYLES[colour[0]], value)
            attributes[key] = re.sub(r" font-family: [^;]*;", "", value)
    element.text, element.tail = ((text or "").strip() for text in (element.text, element.tail))
