"""One form, linear in weights, input and output, and its three derivatives.

    F(w, x, y) = sum of y[n, o, p] w[o, c, t] x[n, c, stride p + dilation t - low]

over images n, channels o and c of the same group, windows p and taps t. A convolution is its derivative in y (`outputs`), a
transposed convolution its derivative in x (`inputs`), and each is a part of the other's pullback; both need that in w
(`weights`).

The entries under a tap in all windows are one run of memory (see `runs`), which a product of matrices reads where it lies. So
each tap is a product of its own, and these add up. Where a tap has few channels, several taps are put below each other first.

Images, and groups of channels, are taken some at a time, so that what is computed of them stays in the cache. Matrices lie
alike, however the arguments lie in memory: BLAS sums in another order where they are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from purenet.convolution.lines import backwards, flipped, lines
from purenet.convolution.runs import Runs, runs
from purenet.convolution.unfolding import columns, image
from purenet.op import Array
from purenet.windows import Axis

__all__ = ["inputs", "inputs_and_weights", "outputs", "weights"]

BLOCK = 2**22
"""Bytes that are computed at a time: what a processor's share of the last cache holds. With a quarter of them a depthwise
convolution of 16 images takes a third longer, because of the calls of NumPy."""

NEAR = 2**21
"""Bytes of sums that are added up at a time: of a large image some windows after the other. With the whole image, 4.7 MB, a
convolution of 32 volumes of 32^3 entries takes 1.8 times as long, because the sums do not stay in the cache."""

FEWEST = 4096
"""Windows for which a product of matrices is worth its call. With half as many a convolution of 64 channels takes 1.3 times as
long."""

SMALL = 10**6
"""Multiplications up to which OpenBLAS takes matrices as they lie; larger ones it rearranges first. A convolution of 32
channels takes 0.85 of the time if its products have at most so many; with twice as many nothing is gained."""

THIN = 64
"""Windows of a product that is cut for this: with fewer, the calls take what is gained."""

FEW = 48
"""Rows of a matrix that is summed over: a tap with fewer channels is put below others. With half as many a convolution of 16
channels takes a tenth longer, because more products are added up; twice as many change nothing."""

NARROW = 16
"""The same for the product that has the taps as rows of its result, the derivative in w. With twice as many that of 16
channels takes two thirds longer, because of the copies; with half as many that of one channel takes a fifth longer. With more
channels, lines would only cost copies: that of 32 takes a quarter longer."""

LYING = 4800
"""Bytes of a product up to which OpenBLAS takes a transposed matrix as it lies. In float32 these are its 1,200 entries: with
more it takes 1.7 times as long. In float64 it allows as many, but with more than half of them a copy gains a twentieth."""

MORE = 2
"""Up to so many times as many filters as channels the derivative in x is itself a convolution, whose matrices have a row for
each channel. Measured for 16 filters, in units of the other way: 1.3 for 6 channels, 0.8 for 16."""


def outputs(x: Array, w: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    """The derivative in y: x (N, C, sizes), w (O, C / groups, windows) -> (N, O, outs)."""
    y = np.empty((len(x), len(w), *(a.out for a in axes)), x.dtype)
    by_line = lines(axes, w.shape[1])
    if by_line is None:
        _outputs(x, w, axes, groups, y)
        return y
    filters = by_line.filters(w)
    for some in by_line.blocks(x):
        _outputs(by_line.channels(x[some]), filters, by_line.axes, groups, y[some])
    return y


def _outputs(x: Array, w: Array, axes: tuple[Axis, ...], groups: int, y: Array) -> None:
    """The same, to y, without lines."""
    places, matrices = runs(axes), _by_tap(w, groups)
    for some, own, of_x, of_y in _blocks(len(x), w.shape, groups, places, x.itemsize):
        views = _views(_grouped(places.entries(x[some, of_x]), matrices[own]), places)
        target = y[some, of_y]
        if places.exact:
            _add_up(matrices[own], views, _grouped(target.reshape(*target.shape[:2], places.windows), matrices[own]))
        else:
            run = np.empty((*target.shape[:2], places.room), x.dtype)
            _add_up(matrices[own], views, _grouped(run, matrices[own])[..., : places.windows])
            target[...] = places.values(run)


def inputs(y: Array, w: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    """The derivative in x: y (N, O, outs), w (O, C / groups, windows) -> (N, C, sizes)."""
    if not np.isfinite(w).all():
        return _inputs_by_columns(y, w, axes, groups)
    if _is_convolution(w, axes, groups):
        return outputs(y, flipped(w, groups), backwards(axes), groups)
    places, by_tap = runs(axes), _by_tap(w, groups)
    add = _scatter if w.shape[1] * groups < len(w) else _gather
    x = np.empty((len(y), groups * w.shape[1], *(a.size for a in axes)), y.dtype)
    for some, own, of_x, of_y in _blocks(len(y), w.shape, groups, places, y.itemsize):
        target = x[some, of_x]
        shape = (*target.shape[:2], len(places.phases), places.length)
        entries = target.reshape(shape) if places.whole else np.empty(shape, y.dtype)
        add(by_tap[own], y[some, of_y], places, _grouped(entries, by_tap[own]))
        if not places.whole:
            target[...] = places.image(entries)
    return x


def weights(x: Array, y: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    """The derivative in w: x (N, C, sizes), y (N, O, outs) -> (O, C / groups, windows)."""
    channels = x.shape[1] // groups
    by_line = lines(axes, channels) if channels <= NARROW else None
    if by_line is None:
        w = _weights(x, y, axes, groups)
    else:
        parts = [_weights(by_line.channels(x[some]), y[some], by_line.axes, groups) for some in by_line.blocks(x)]
        w = by_line.weights(sum(parts[1:], start=parts[0]))
    return w if np.isfinite(w).all() else _weights_by_columns(x, y, axes, groups)


def inputs_and_weights(x: Array, w: Array, y: Array, axes: tuple[Axis, ...], groups: int) -> tuple[Array, Array]:
    """The derivatives in x and in w. If that in x is a convolution of y with few channels, both read the same lines of y."""
    back = backwards(axes)
    by_line = lines(back, len(w) // groups) if len(w) // groups <= NARROW else None
    if by_line is None or not (_is_convolution(w, axes, groups) and np.isfinite(w).all()):
        return inputs(y, w, axes, groups), weights(x, y, axes, groups)
    dx, filters, parts = np.empty(x.shape, x.dtype), by_line.filters(flipped(w, groups)), []
    for some in by_line.blocks(y):
        channels = by_line.channels(y[some])
        _outputs(channels, filters, by_line.axes, groups, dx[some])
        parts.append(_weights(channels, x[some], by_line.axes, groups))
    dw = np.ascontiguousarray(flipped(by_line.weights(sum(parts[1:], start=parts[0])), groups))
    return dx, dw if np.isfinite(dw).all() else weights(x, y, axes, groups)


def _is_convolution(w: Array, axes: tuple[Axis, ...], groups: int) -> bool:
    """Whether the derivative in x is best computed as a convolution, which has lines itself."""
    few = len(w) <= MORE * groups * w.shape[1] and lines(axes, w.shape[1]) is not None
    return few and lines(backwards(axes), len(w) // groups) is not None


def _weights(x: Array, y: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    """The same, without lines."""
    shape = (y.shape[1], x.shape[1] // groups, *(a.window for a in axes))
    places = runs(axes)
    w = np.zeros((groups, len(places.taps), shape[1], shape[0] // groups), y.dtype)
    for some, own, of_x, of_y in _blocks(len(x), shape, groups, places, y.itemsize):
        values = _grouped(places.run(y[some, of_y]), w[own]).swapaxes(2, 3)
        views = _views(_grouped(places.entries(x[some, of_x]), w[own]), places)
        ends = _ends(len(views), shape[1], NARROW)
        if ends[1] * shape[1] * w.shape[3] * w.itemsize > LYING:
            values = np.ascontiguousarray(values)
        windows = _cut(ends[1] * shape[1] * w.shape[3], places.windows)
        for begin, end in pairwise(ends):
            below = _below(views[begin:end])
            for start in range(0, places.windows, windows):
                part = slice(start, start + windows)
                with np.errstate(invalid="ignore"):  # see `_weights_by_columns`
                    products = np.matmul(below[..., part], values[:, :, part]).sum(axis=0)
                w[own, begin:end] += products.reshape(len(products), end - begin, *w.shape[2:])
    return np.ascontiguousarray(w.transpose(0, 3, 2, 1)).reshape(shape)


def _gather(by_tap: Array, y: Array, places: Runs, entries: Array) -> None:
    """For each entry the sum over taps of what the windows give that have the entry under this tap, to `entries`."""
    reach = max(first for _, first in places.taps)
    run = _grouped(places.run(y, reach), by_tap)
    for phase in range(len(places.phases)):
        taps = [(i, reach - first) for i, (own, first) in enumerate(places.taps) if own == phase]
        views = [run[..., start : start + places.length] for _, start in taps]
        _add_up(by_tap.swapaxes(1, 3)[:, :, [i for i, _ in taps]], views, entries[:, :, :, phase])


def _scatter(by_tap: Array, y: Array, places: Runs, entries: Array) -> None:
    """For each tap what the windows give to the entries under it, to `entries`: for channels that are fewer than filters."""
    entries[...] = 0
    run = _grouped(places.run(y), by_tap)
    groups, filters, count, channels = by_tap.shape
    views = _views(entries, places)
    for begin, end in pairwise(_ends(count, channels, FEW)):
        matrix = by_tap[:, :, begin:end].reshape(groups, filters, (end - begin) * channels)
        products = np.matmul(matrix.swapaxes(1, 2), run).reshape(*run.shape[:2], end - begin, channels, places.windows)
        for i, view in enumerate(views[begin:end]):
            view += products[:, :, i]


def _add_up(matrices: Array, views: Sequence[Array], y: Array) -> None:
    """The sum over taps of matrices (groups, rows, taps, channels) times views (N, groups, channels, windows), to `y`."""
    ends = _ends(len(views), matrices.shape[3], FEW)
    terms = [
        (matrices[:, :, begin:end].reshape(*matrices.shape[:2], (end - begin) * matrices.shape[3]), views[begin:end])
        for begin, end in pairwise(ends)
    ]
    bytes_each = math.prod(y.shape[:2]) * (2 * y.shape[2] + terms[0][0].shape[2]) * y.itemsize
    windows = _cut(math.prod(terms[0][0].shape[1:]), max(NEAR // bytes_each, FEWEST))
    for start in range(0, y.shape[3], windows):
        part = y[..., start : start + windows]
        product = None
        for i, (matrix, taps) in enumerate(terms):
            below = _below([tap[..., start : start + windows] for tap in taps])
            if i == 0:
                np.matmul(matrix, below, out=part)
            else:
                product = np.matmul(matrix, below, out=product)
                part += product


def _cut(each: int, most: int) -> int:
    """The windows that a product takes at a time, if each of them has so many multiplications: `most`, or fewer."""
    few = SMALL // each
    return min(few, most) if few >= THIN else most


def _below(views: Sequence[Array]) -> Array:
    """Views of some taps below each other: (N, groups, taps x channels, windows)."""
    return views[0] if len(views) == 1 else np.concatenate(views, axis=2)


def _ends(taps: int, channels: int, rows: int) -> list[int]:
    """The taps between which one product ends and the next one begins, each with about so many rows."""
    count = -(-taps // min(taps, -(-rows // channels)))
    return [i * taps // count for i in range(count + 1)]


def _views(entries: Array, places: Runs) -> list[Array]:
    """The entries (N, groups, C / groups, phases, length) under each tap: (N, groups, C / groups, windows)."""
    return [entries[:, :, :, phase, first : first + places.windows] for phase, first in places.taps]


def _blocks(
    batch: int, shape: tuple[int, ...], groups: int, places: Runs, itemsize: int
) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Some images and some groups at a time, and the channels and filters of these groups."""
    filters, channels = shape[0] // groups, shape[1]
    rows = channels * len(places.phases) + 2 * filters + min(FEW, len(places.taps) * max(channels, filters))
    at_once = max(1, BLOCK // (rows * places.length * itemsize))
    images, parts = max(1, at_once // groups), min(groups, at_once)
    for i in range(0, batch, images):
        for g in range(0, groups, parts):
            own = slice(g, min(g + parts, groups))
            of_x, of_y = (slice(own.start * n, own.stop * n) for n in (channels, filters))
            yield slice(i, i + images), own, of_x, of_y


def _by_tap(w: Array, groups: int) -> Array:
    """The weights (groups, O / groups, taps, C / groups)."""
    flat = w.reshape(groups, w.shape[0] // groups, w.shape[1], math.prod(w.shape[2:]))
    return np.ascontiguousarray(flat.swapaxes(2, 3))


def _grouped(a: Array, like: Array) -> Array:
    """The axis of channels (or filters) of a block as two, the first of which are the groups that `like` begins with."""
    return a.reshape(len(a), len(like), a.shape[1] // len(like), *a.shape[2:])


def _inputs_by_columns(y: Array, w: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    """As `inputs`, for weights that are not finite: without 0 times infinity, where no window begins."""
    windows = np.matmul(_filters(w, groups).swapaxes(1, 2), _matrices(y, groups, math.prod(y.shape[2:])))
    return image(windows.reshape(len(y), groups * w.shape[1], *w.shape[2:], *y.shape[2:]), axes)


def _weights_by_columns(x: Array, y: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    """As `weights`, for x and y that are not finite: without 0 times infinity, where no window begins."""
    columns_x, columns_y = (_matrices(a, groups, math.prod(y.shape[2:])) for a in (columns(x, axes), y))
    found = np.matmul(columns_y, columns_x.swapaxes(2, 3)).sum(axis=0)
    return np.asarray(found).reshape(y.shape[1], x.shape[1] // groups, *(a.window for a in axes))


def _filters(w: Array, groups: int) -> Array:
    """The weights as matrices: (groups, O / groups, entries of a column)."""
    return np.ascontiguousarray(w).reshape(groups, w.shape[0] // groups, math.prod(w.shape[1:]))


def _matrices(a: Array, groups: int, windows: int) -> Array:
    """What each image has for each of its windows as matrices: (N, groups, entries of a column, windows)."""
    return np.ascontiguousarray(a).reshape(len(a), groups, math.prod(a.shape[1:]) // (groups * windows), windows)
