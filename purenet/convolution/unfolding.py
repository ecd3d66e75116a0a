"""The windows of images as columns of numbers, and the sum of columns at their places: each the adjoint of the other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from purenet.op import Array
from purenet.windows import Axis

__all__ = ["columns", "cropped", "fold", "image", "padded", "unfold"]


def columns(x: Array, axes: tuple[Axis, ...]) -> Array:
    """The entries of x (N, C, sizes) under all taps of all windows: (N, C, taps, outs)."""
    return unfold(padded(x, axes, [a.extent for a in axes], 2), axes, 2).copy()


def image(windows: Array, axes: tuple[Axis, ...]) -> Array:
    """The adjoint of `columns`: each entry of x is the sum of all its copies."""
    entries = np.zeros((*windows.shape[:2], *(a.extent for a in axes)), windows.dtype)
    fold(windows, axes, entries, 2)
    return cropped(entries, axes, 2)


def unfold(entries: Array, axes: tuple[Axis, ...], at: int) -> Array:
    """A view of all windows on padded entries: the axes from `at` on become (taps, windows)."""
    k = len(axes)
    steps = entries.strides[at : at + k]
    shape = (*entries.shape[:at], *(a.window for a in axes), *(a.out for a in axes), *entries.shape[at + k :])
    between_taps = (a.dilation * step for a, step in zip(axes, steps, strict=True))
    between_windows = (a.stride * step for a, step in zip(axes, steps, strict=True))
    strides = (*entries.strides[:at], *between_taps, *between_windows, *entries.strides[at + k :])
    return as_strided(entries, shape, strides, writeable=False)


def fold(windows: Array, axes: tuple[Axis, ...], entries: Array, at: int) -> None:
    """The adjoint of `unfold`, added to `entries`."""
    everything: tuple[Any, ...] = (slice(None),) * at
    for tap in itertools.product(*(range(a.window) for a in axes)):
        entries[(*everything, *(a.padded_tap(t) for a, t in zip(axes, tap, strict=True)))] += windows[(*everything, *tap)]


def padded(x: Array, axes: tuple[Axis, ...], lengths: Sequence[int], at: int) -> Array:
    """The entries that windows touch, contiguous: the axes from `at` on, padded with zeros (or cut) to these lengths."""
    shape = (*x.shape[:at], *lengths, *x.shape[at + len(axes) :])
    if shape == x.shape and not any(a.low for a in axes):
        return np.ascontiguousarray(x)
    entries = np.zeros(shape, x.dtype)
    inside, source = _overlap(axes, tuple(lengths), at)
    entries[inside] = x[source]
    return entries


def cropped(entries: Array, axes: tuple[Axis, ...], at: int) -> Array:
    """The adjoint of `padded`, if these axes are the last ones: without the padding, and zero where no window reached."""
    x = np.zeros((*entries.shape[:at], *(a.size for a in axes)), entries.dtype)
    inside, source = _overlap(axes, entries.shape[at:], at)
    x[source] = entries[inside]
    return x


@lru_cache(maxsize=512)
def _overlap(axes: tuple[Axis, ...], lengths: tuple[int, ...], at: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The slices of the padded axis that hold entries of x, and the slices of x that they hold."""
    ends = [min(a.size, max(length - a.low, 0)) for a, length in zip(axes, lengths, strict=True)]
    source = tuple(slice(end) for end in ends)
    inside = tuple(slice(a.low, a.low + end) for a, end in zip(axes, ends, strict=True))
    everything = (slice(None),) * at
    return everything + inside, everything + source
