"""Arrays with margins."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import choice, integers
from purenet.op import Array, Op
from purenet.random.checks import checked_parameter
from purenet.shaping.selection import along, choosing

__all__ = ["pad"]

MODES = ("constant", "reflect", "edge", "wrap")


@Op
def pad(x: Array, *, pad_width: Any, mode: str = "constant", constant_values: float = 0.0) -> tuple[Array, Any]:
    """The array x with margins before and after it along each axis, which hold a constant or repeat entries of x.

    `pad_width` is an integer for all margins, a pair (before, after) for all axes, or a tuple with a pair for each. `mode` is
    "constant", "reflect" (a b c d | c b a), "edge" (a b c d | d d d) or "wrap" (a b c d | a b c).

    Shapes: x (n, ...) -> y (before + n + after, ...)
    Math:
        y[i] = x[i - before] inside; outside it constant_values, or the entry of x that the mode repeats there
        dx   = for each entry of x the sum of the dy of all its copies
    Errors: TypeError unless the margins are integers and `constant_values` is a number; ValueError for a negative margin,
        another number of pairs, an unknown mode, or an axis without entries that has to be repeated.
    Source: jax.numpy.pad. Conventions: margins wider than x repeat it as often as needed, torch and ONNX refuse some of
        these. torch names the axes from the last one on, and calls the modes constant, reflect, replicate and circular.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.pad, np.array([1.0, 2.0, 3.0]), pad_width=(2, 1), mode="reflect")
    >>> y, pullback(np.ones(6))[0]
    (array([3., 2., 1., 2., 3., 2.]), array([1., 3., 2.]))
    """
    choice("pad", "mode", mode, MODES)
    margins = _margins(pad_width, x.ndim)
    fill = checked_parameter("pad", "constant_values", constant_values, (), x.dtype)
    if mode == "constant":
        y = np.full([before + n + after for n, (before, after) in zip(x.shape, margins, strict=True)], fill, x.dtype)
        y[_inside(x.shape, margins)] = x
        return y, (mode, x.shape, margins)
    if any(n == 0 and max(margin) for n, margin in zip(x.shape, margins, strict=True)):
        raise ValueError(f"pad: an axis without entries can only be padded with a constant, got x {x.shape} and mode {mode!r}")
    entries = [_entries(n, margin, mode) for n, margin in zip(x.shape, margins, strict=True)]
    return np.asarray(x[np.ix_(*entries)]), (mode, x.shape, margins)


@pad.pullback
def pad_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    mode, shape, margins = residuals
    if mode == "constant":
        return (dy[_inside(shape, margins)].copy(),)
    for axis, (n, margin) in enumerate(zip(shape, margins, strict=True)):
        if max(margin):
            dy = along(choosing(_entries(n, margin, mode), n, dy.dtype).T, dy, axis)
    return (dy.copy(),)


def _inside(shape: tuple[int, ...], margins: list[tuple[int, int]]) -> tuple[slice, ...]:
    return tuple(slice(before, before + n) for n, (before, _) in zip(shape, margins, strict=True))


def _entries(n: int, margin: tuple[int, int], mode: str) -> Array:
    """Which entry of an axis of size n stands at each place, margins included."""
    i = np.arange(-margin[0], n + margin[1])
    if mode == "edge":
        return i.clip(0, n - 1)
    if mode == "wrap":
        return i % n
    period = max(2 * (n - 1), 1)
    return np.asarray(n - 1 - np.abs(i % period - (n - 1)))


def _margins(pad_width: Any, ndim: int) -> list[tuple[int, int]]:
    """A pair (before, after) for each axis."""
    pairs = pad_width if isinstance(pad_width, tuple | list) else (pad_width, pad_width)
    if not any(isinstance(pair, tuple | list) for pair in pairs):
        pairs = (pairs,) * ndim
    if len(pairs) == 1:
        pairs = tuple(pairs) * ndim
    if len(pairs) != ndim or any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
        raise ValueError(f"pad: pad_width must be an integer, a pair, or a pair for each of {ndim} axes, got {pad_width}")
    return [(before, after) for before, after in (integers("pad", "pad_width", pair, 2, low=0) for pair in pairs)]
