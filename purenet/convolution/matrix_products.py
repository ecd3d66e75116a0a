"""One form, linear in weights, input and output, and its three derivatives.

    F(w, x, y) = sum of y[n, o, p] w[o, c, t] x[n, c, stride p + dilation t - low]

over images n, channels o and c of the same group, windows p and taps t. A convolution is its derivative in y (`outputs`), a
transposed convolution its derivative in x (`inputs`), and each is a part of the other's pullback; both need that in w
(`weights`).

All three are products of matrices, one of which has a column for each window: the entries under its taps. Two layouts:

- Columns of few entries (images of few channels, depthwise filters) are made image by image, as im2col makes them.
- Others would be most of the memory and of the time. They leave the taps of the first axis out: the columns of these are the
  same ones, read some rows further on. And the batch is their last axis: the windows of a row of all images are one run of
  memory, and there is one product for the whole batch.

Matrices are contiguous, however the arguments lie in memory: BLAS sums in another order where they are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from purenet.convolution.unfolding import columns, cropped, fold, image, padded, unfold
from purenet.op import Array
from purenet.windows import Axis

__all__ = ["inputs", "outputs", "weights"]

FEW = 32  # entries of a column without the first axis; with fewer, what a product of matrices gains is lost in copies


def outputs(x: Array, w: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    """The derivative in y: x (N, C, sizes), w (O, C / groups, windows) -> (N, O, outs)."""
    outs = tuple(a.out for a in axes)
    if _few(w.shape):
        products = np.matmul(_filters(w, groups), _columns(columns(x, axes), groups, math.prod(outs)))
        return np.asarray(products).reshape(len(x), w.shape[0], *outs)
    rows = _Rows(axes, groups, x.shape[1], len(x))
    first, *others = zip(_slices(w, groups), rows.parts(rows.columns(x)), strict=True)
    y = np.matmul(*first)
    product = np.empty_like(y)
    for matrix, part in others:
        np.matmul(matrix, part, out=product)
        y += product
    y = y.reshape(w.shape[0], *outs, len(x))
    return np.ascontiguousarray(y.transpose(-1, *range(y.ndim - 1)))


def inputs(y: Array, w: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    """The derivative in x: y (N, O, outs), w (O, C / groups, windows) -> (N, C, sizes)."""
    channels = groups * w.shape[1]
    if _few(w.shape):
        windows = np.matmul(_filters(w, groups).swapaxes(1, 2), _columns(y, groups, math.prod(y.shape[2:])))
        return image(windows.reshape(len(y), channels, *w.shape[2:], *y.shape[2:]), axes)
    rows = _Rows(axes, groups, channels, len(y))
    windows = np.zeros(rows.shape, y.dtype)
    values = _batch_last(y, groups)
    product = np.empty((groups, w.shape[1] * math.prod(w.shape[3:]), values.shape[2]), y.dtype)
    for matrix, part in zip(_slices(w, groups), rows.views(windows), strict=True):
        part += np.matmul(matrix.swapaxes(1, 2), values, out=product).reshape(part.shape)
    return rows.image(windows)


def weights(x: Array, y: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    """The derivative in w: x (N, C, sizes), y (N, O, outs) -> (O, C / groups, windows)."""
    shape = (y.shape[1], x.shape[1] // groups, *(a.window for a in axes))
    if _few(shape):
        values, entries = (_columns(a, groups, math.prod(y.shape[2:])) for a in (y, columns(x, axes)))
        return np.asarray(np.matmul(values, entries.swapaxes(2, 3)).sum(axis=0)).reshape(shape)
    rows = _Rows(axes, groups, x.shape[1], len(x))
    values = _batch_last(y, groups)
    taps = [values @ part.swapaxes(1, 2) for part in rows.parts(rows.columns(x))]
    w = np.stack(taps).reshape(shape[2], *shape[:2], math.prod(shape[3:]))
    return np.ascontiguousarray(w.transpose(1, 2, 0, 3)).reshape(shape)


def _few(shape: tuple[int, ...]) -> bool:
    return shape[1] * math.prod(shape[3:]) < FEW


def _filters(w: Array, groups: int) -> Array:
    """The weights as matrices: (groups, O / groups, entries of a column)."""
    return np.ascontiguousarray(w).reshape(groups, w.shape[0] // groups, math.prod(w.shape[1:]))


def _columns(a: Array, groups: int, windows: int) -> Array:
    """What each image has for each of its windows as matrices: (N, groups, entries of a column, windows)."""
    return np.ascontiguousarray(a).reshape(len(a), groups, math.prod(a.shape[1:]) // (groups * windows), windows)


def _slices(w: Array, groups: int) -> Array:
    """The weights of each tap of the first axis as matrices: (taps, groups, O / groups, entries of a column)."""
    entries = math.prod(w.shape[3:])
    slices = w.reshape(*w.shape[:3], entries).transpose(2, 0, 1, 3)
    return np.ascontiguousarray(slices).reshape(w.shape[2], groups, w.shape[0] // groups, w.shape[1] * entries)


def _batch_last(y: Array, groups: int) -> Array:
    """Matrices (groups, O / groups, windows of the whole batch)."""
    values = np.ascontiguousarray(y.transpose(*range(1, y.ndim), 0))
    return values.reshape(groups, y.shape[1] // groups, math.prod(y.shape[2:]) * len(y))


class _Rows(NamedTuple):
    """Columns of the inner axes only: (groups, channels of a group, taps, phases, rows, what is left of outs and batch).

    A tap of the first axis is a number of rows further on, in one of `stride` phases.
    """

    axes: tuple[Axis, ...]
    groups: int
    channels: int
    batch: int

    def columns(self, x: Array) -> Array:
        """The entries of x (N, C, sizes) under the taps of the inner axes."""
        entries = padded(np.moveaxis(x, 0, -1), self.axes, self._lengths, 1).reshape(self._entries)
        k = len(self.axes) - 1
        windows = unfold(entries, self.axes[1:], 3).transpose(0, *range(3, 3 + k), 2, 1, *range(3 + k, 4 + 2 * k))
        return np.ascontiguousarray(windows).reshape(self.shape)

    def image(self, windows: Array) -> Array:
        """The adjoint of `columns`: each entry of x is the sum of all its copies."""
        outer, *inner = self.axes
        k = len(inner)
        taps, outs = (a.window for a in inner), (a.out for a in inner)
        windows = windows.reshape(self.channels, *taps, outer.stride, self.rows, *outs, self.batch)
        entries = np.zeros(self._entries, windows.dtype)
        fold(windows.transpose(0, k + 2, k + 1, *range(1, k + 1), *range(k + 3, 2 * k + 4)), self.axes[1:], entries, 3)
        return cropped(np.moveaxis(entries.reshape(self.channels, *self._lengths, self.batch), -1, 0), self.axes, 2)

    def views(self, windows: Array) -> Iterator[Array]:
        """The columns of each tap of the first axis, in place."""
        outer = self.axes[0]
        for tap in range(outer.window):
            first, phase = divmod(tap * outer.dilation, outer.stride)
            yield windows[:, :, :, phase, first : first + outer.out]

    def parts(self, windows: Array) -> Iterator[Array]:
        """The columns as matrices: (groups, entries of a column, windows of the whole batch)."""
        for view in self.views(windows):
            groups, channels, taps, out, rest = view.shape
            yield view.reshape(groups, channels * taps, out * rest)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the columns."""
        inner = self.axes[1:]
        taps, outs = math.prod(a.window for a in inner), math.prod(a.out for a in inner)
        return (self.groups, self.channels // self.groups, taps, self.axes[0].stride, self.rows, outs * self.batch)

    @property
    def rows(self) -> int:
        """The number of rows of each phase that the windows touch."""
        return -(-self.axes[0].extent // self.axes[0].stride)

    @property
    def _lengths(self) -> tuple[int, ...]:
        """Of the padded axes."""
        return (self.rows * self.axes[0].stride, *(a.extent for a in self.axes[1:]))

    @property
    def _entries(self) -> tuple[int, ...]:
        """The padded axes, the first one in rows and phases."""
        return (self.channels, self.rows, self.axes[0].stride, *(a.extent for a in self.axes[1:]), self.batch)
