"""Images whose last axis holds windows in place of entries: the entries under each of its taps are channels of their own.

A convolution of them has one tap along that axis, so that the windows of an image are one run of memory without gaps between
its rows. A product of matrices sums over more channels at once, writes nothing that is cut off, and reads the taps of the other
axes where they lie.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy import empty

from purenet.op import Array
from purenet.windows import Axis

__all__ = ["Lines", "backwards", "flipped", "lines"]

FEWEST = 6
"""Channels of a group from which on the copies pay. Measured, in units of the time without them, for windows of 3 x 3: 1.15 for
3 channels, 0.8 for 6 and for 16."""

BLOCK = 2**21
"""Bytes of copies at a time, which the second-level cache holds."""


class Lines(NamedTuple):
    """How the entries under the taps of the last axis become channels."""

    axes: tuple[Axis, ...]
    """Of the windows on these channels."""
    taps: tuple[tuple[slice, slice], ...]
    """For each tap of the last axis the windows in which it is no padding, and their entries."""
    inside: tuple[slice, ...]
    """The part of the other axes, padded, that holds the image."""
    source: tuple[slice, ...]
    """The part of the image that they hold."""

    def channels(self, x: Array) -> Array:
        """The images x (N, C, sizes) with their channels under each tap: (N, C taps, padded sizes, windows)."""
        sizes = tuple(a.size for a in self.axes)
        y = empty((*x.shape[:2], len(self.taps), *sizes), x.dtype)
        inside: tuple[Any, ...] = (slice(None), slice(None), *self.inside)
        from_x = x[(slice(None), slice(None), *self.source)]
        for tap, (windows, entries) in enumerate(self.taps):
            own = y[:, :, tap]
            if sizes[-1] == x.shape[-1]:
                _shift(from_x, own[inside], windows.start, entries.start)
            else:
                own[(*inside, windows)] = from_x[..., entries]
            _clear(own, own.ndim - 1, windows, sizes[-1])
        for i, (part, size) in enumerate(zip(self.inside, sizes, strict=False)):
            _clear(y, 3 + i, part, size)
        return y.reshape(len(x), x.shape[1] * len(self.taps), *sizes)

    def filters(self, w: Array) -> Array:
        """The weights w (O, C, windows) for these channels: (O, C taps, other windows, 1)."""
        own = np.ascontiguousarray(w.transpose(0, 1, -1, *range(2, w.ndim - 1)))
        return own.reshape(len(w), w.shape[1] * len(self.taps), *own.shape[3:], 1)

    def weights(self, filters: Array) -> Array:
        """The inverse of `filters`."""
        own = filters.reshape(len(filters), filters.shape[1] // len(self.taps), len(self.taps), *filters.shape[2:-1])
        return np.ascontiguousarray(own.transpose(0, 1, *range(3, own.ndim), 2))

    def blocks(self, x: Array) -> Iterator[slice]:
        """Some images at a time; without images nothing once."""
        each = math.prod((x.shape[1], len(self.taps), *(a.size for a in self.axes))) * x.itemsize
        count = max(1, BLOCK // each)
        for begin in range(0, max(len(x), 1), count):
            yield slice(begin, begin + count)


def lines(axes: tuple[Axis, ...], channels: int) -> Lines | None:
    """The lines of these windows on images with so many channels in a group; None where they are not worth the copies."""
    if channels < FEWEST or len(axes) == 1 or axes[-1].window == 1 or any(a.stride > 1 for a in axes):
        return None
    return _lines(axes)


@lru_cache(maxsize=256)
def _lines(axes: tuple[Axis, ...]) -> Lines:
    *outer, last = axes
    parts = [_reached(a.extent, a.size, -a.low) for a in outer]
    taps = [_reached(last.out, last.size, last.dilation * tap - last.low) for tap in range(last.window)]
    flat = (*(a._replace(size=a.extent, low=0, high=0) for a in outer), Axis(last.out, last.out, 1, 1, 1, 0, 0))
    return Lines(flat, tuple(taps), tuple(inside for inside, _ in parts), tuple(source for _, source in parts))


def flipped(w: Array, groups: int) -> Array:
    """The weights (O, C / groups, windows) of the adjoint of a convolution with a stride of 1: (C, O / groups, windows)."""
    own = w.reshape(groups, len(w) // groups, *w.shape[1:]).swapaxes(1, 2)
    reverse: tuple[Any, ...] = (..., *[slice(None, None, -1)] * (w.ndim - 2))
    return np.asarray(own[reverse]).reshape(groups * w.shape[1], len(w) // groups, *w.shape[2:])


def backwards(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """The windows of the adjoint of a convolution with a stride of 1: it is one itself, which reads the taps backwards."""
    return tuple(Axis(a.out, a.size, a.window, 1, a.dilation, a.dilation * (a.window - 1) - a.low, 0) for a in axes)


def _reached(windows: int, size: int, shift: int) -> tuple[slice, slice]:
    """The windows whose entry, window + shift, lies on an axis of this size, and these entries."""
    begin, end = max(0, -shift), min(windows, size - shift)
    return (slice(begin, end), slice(begin + shift, end + shift)) if begin < end else (slice(0, 0), slice(0, 0))


def _shift(x: Array, y: Array, windows: int, entries: int) -> None:
    """Copies rows of x, from these entries on, to rows of y of the same length, from these windows on.

    All rows are copied as one run of memory, in 0.7 of the time of row after row. So what begins or ends a row of x may get to
    the next row of y, or to the last one, into windows in which this tap is padding: these are cleared later.
    """
    count = x.shape[-2] * x.shape[-1]
    from_x, to_y = (a.reshape(*a.shape[:-2], count) for a in (x, y))
    count -= max(windows, entries)
    to_y[..., windows : windows + count] = from_x[..., entries : entries + count]


def _clear(y: Array, axis: int, part: slice, size: int) -> None:
    """Writes zeros to what is not in this part of an axis."""
    everything = (slice(None),) * axis
    if part.start:
        y[(*everything, slice(part.start))] = 0
    if part.stop < size:
        y[(*everything, slice(part.stop, None))] = 0
