"""Sliding windows along the axes of an image: how many there are, and which entries each of their taps touches.

Convolution and pooling share this. Window o of an axis, tap t, is entry  stride * o + dilation * t - low  of that axis; what
lies outside the axis is padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from purenet.checks import integers
from purenet.op import Array

__all__ = ["LETTERS", "Axis", "along", "check_image", "pad_pairs", "slide"]

LETTERS = {1: "L", 2: "H, W", 3: "D, H, W"}
PLAIN_OPTIONS = {int, str, type(None)}
"""The types of options of which equal ones mean the same, by which windows are kept: True is equal to 1, but an error."""
PADDINGS = ("VALID", "SAME", "SAME_LOWER")


class Axis(NamedTuple):
    """The windows along one axis."""

    size: int
    """Of the axis, without padding."""
    out: int
    """The number of windows."""
    window: int
    """The number of taps of each window."""
    stride: int
    dilation: int
    low: int
    """The padding before the first entry."""
    high: int
    """The requested padding after the last entry. Windows may end before the end of it or, with ceil_mode, behind it."""

    @property
    def extent(self) -> int:
        """How many padded entries there are from the first tap of the first window to the last tap of the last."""
        return self.stride * (self.out - 1) + self.dilation * (self.window - 1) + 1

    @property
    def entries(self) -> Array:
        """The entry of each window and tap, (out, window); below 0 or from `size` on it is padding."""
        first = self.stride * np.arange(self.out) - self.low
        return np.asarray(first[:, None] + self.dilation * np.arange(self.window))

    def padded_tap(self, tap: int) -> slice:
        """The entries of one tap in all windows, counted from the first tap of the first window."""
        start = self.dilation * tap
        return slice(start, start + self.stride * (self.out - 1) + 1, self.stride)

    def taps(self) -> list[tuple[slice, slice]]:
        """For each tap, the windows in which it is no padding, and their entries there."""
        pairs = []
        for tap in range(self.window):
            shift = self.dilation * tap - self.low
            begin = max(0, -(shift // self.stride))
            end = min(self.out, (self.size - 1 - shift) // self.stride + 1)
            if begin < end:
                entry = self.stride * begin + shift
                last = self.stride * (end - 1) + shift
                pairs.append((slice(begin, end), slice(entry, last + 1, self.stride)))
        return pairs


def slide(
    op: str, sizes: Sequence[int], window: Any, stride: Any, padding: Any, dilation: Any, *, ceil_mode: bool = False
) -> tuple[Axis, ...]:
    """The windows along axes of these sizes; options are one integer for all axes or one for each, no stride is the window."""
    known = PLAIN_OPTIONS.issuperset(map(type, (window, stride, padding, dilation)))
    return (_kept if known else _slide)(op, tuple(sizes), window, stride, padding, dilation, ceil_mode)


def _slide(
    op: str, sizes: Sequence[int], window: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Axis, ...]:
    n = len(sizes)
    windows = integers(op, "window", window, n)
    strides = windows if stride is None else integers(op, "stride", stride, n)
    dilations = integers(op, "dilation", dilation, n)
    spans = [d * (k - 1) + 1 for k, d in zip(windows, dilations, strict=True)]
    pairs = _named(padding, sizes, spans, strides) if isinstance(padding, str) else pad_pairs(op, padding, n)
    if pairs is None:
        raise ValueError(f"{op}: padding must be numbers or one of {', '.join(map(repr, PADDINGS))}, got {padding!r}")
    axes = []
    for size, k, span, s, d, (low, high) in zip(sizes, windows, spans, strides, dilations, pairs, strict=True):
        room = size + low + high - span
        out = room // s + 1
        if ceil_mode and room % s and s * out < size + low:  # a last window ends behind the padding, but begins before it
            out += 1
        if out < 1 or size < 1:
            raise ValueError(
                f"{op}: no window fits: it spans {_tuple(spans)} entries, x has {_tuple(sizes)} and the padding {tuple(pairs)}"
            )
        axes.append(Axis(size, out, k, s, d, low, high))
    return tuple(axes)


_kept = lru_cache(maxsize=1024)(_slide)


def pad_pairs(op: str, padding: Any, n: int) -> list[tuple[int, int]]:
    """An integer, or for each of n axes an integer or a pair (before, after), as pairs."""
    given = padding if isinstance(padding, tuple | list) else (padding,) * n
    if len(given) != n:
        raise ValueError(f"{op}: padding must be an integer or have an integer or a pair for each of {n} axes, got {padding!r}")
    pairs = [integers(op, "padding", p, 2, 0) for p in given]
    return [(before, after) for before, after in pairs]


def check_image(op: str, x: Array, n: int | None = None) -> tuple[int, ...]:
    """The sizes of the axes behind the batch and the channels, of which there must be n, or any number from 1 on."""
    if x.ndim - 2 < 1 or (n is not None and x.ndim != n + 2):
        raise ValueError(f"{op}: x must have shape (N, C, {LETTERS[n] if n else '...'}), got {x.shape}")
    return x.shape[2:]


def along(axis: int, index: slice | Array) -> tuple[Any, ...]:
    """The index of one axis, counted from the last."""
    return (..., index, *[slice(None)] * (-axis - 1))


def _named(name: str, sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]] | None:
    """The padding that a name stands for; with SAME there are ceil(size / stride) windows, the odd entry after (before) x."""
    if name.upper() not in PADDINGS:
        return None
    if name.upper() == "VALID":
        return [(0, 0)] * len(sizes)
    totals = [max(0, (math.ceil(size / s) - 1) * s + span - size) for size, span, s in zip(sizes, spans, strides, strict=True)]
    less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return list(zip(less, more, strict=True) if name.upper() == "SAME" else zip(more, less, strict=True))


def _tuple(values: Sequence[int]) -> str:
    return " x ".join(map(str, values))
