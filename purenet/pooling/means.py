"""Average pools: windows, all of an image, or a given number of nearly equal parts, in any dimensions.

avg_pool2d with small windows adds up their entries; with larger windows, and in other dimensions, an axis is pooled at a time
(see `axis_by_axis`), which gives the same means but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import Any, NamedTuple

import numpy as np

from purenet.axis_products import multiplied
from purenet.op import Array, Op
from purenet.pooling.axis_by_axis import box_sums, interval_sums
from purenet.pooling.parts import check_entries, members, parts
from purenet.windows import Axis, check_image, slide

__all__ = ["adaptive_avg_pool", "avg_pool1d", "avg_pool2d", "avg_pool3d", "global_avg_pool"]


PLAIN = 4
"""Up to this many entries in a window, avg_pool2d adds them one by one.

Measured, in units of what an axis at a time takes, for images of any size: 1.0 for windows of 2 x 2, 1.4 for 3 x 3, 2.4 for
7 x 7.
"""


class Averaged(NamedTuple):
    """Residuals of every average over windows."""

    axes: tuple[Axis, ...]
    counts: Array
    """The number of entries that each window counts."""


@Op
def avg_pool2d(
    x: Array, *, window: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, Averaged]:  # fmt: skip
    """The mean of each window of an image.

    Options as max_pool2d, but the padding is of zeros, which the mean counts unless `count_include_pad` is false. What a window
    of `ceil_mode` has behind the padding never counts.

    Shapes: x (N, C, H, W), window (KH, KW) -> y (N, C, OH, OW), as max_pool2d
    Math, with h(i, k) and v(j, l) as in max_pool2d, and m(i, j) entries counted in a window:
        y[n, c, i, j]  = sum_kl x[n, c, h(i, k), v(j, l)] / m(i, j)
        dx[n, c, h, v] = sum of dy[n, c, i, j] / m(i, j) over the windows that hold this entry
    Errors: TypeError for options that are not integers; ValueError unless x has four axes, where no window fits or one has
        nothing to count, and for options that are negative, zero (padding may be) or of another length.
    Source: LeCun et al. (1989). Conventions: torch's; ONNX's count_include_pad is false unless given; flax's and equinox's
        stride is 1 unless given, and they divide by the whole window.

    >>> import numpy as np, purenet as pn
    >>> pn.avg_pool2d(np.array([[[[1.0, 2.0, 5.0, 0.0], [4.0, 3.0, 5.0, 6.0]]]]), window=2)
    array([[[[2.5, 4. ]]]])
    """
    axes = slide("avg_pool2d", check_image("avg_pool2d", x, 2), window, stride, padding, dilation, ceil_mode=ceil_mode)
    m = _counts("avg_pool2d", x, axes, count_include_pad, window, padding)
    if axes[0].window * axes[1].window > PLAIN:
        return box_sums(x, axes) / m, Averaged(axes, m)
    y = np.zeros((*x.shape[:2], *m.shape), x.dtype)
    for i, h in axes[0].taps():  # for each k the windows i with h(i, k) in the image, and these h; x is 0 outside
        for j, v in axes[1].taps():
            y[:, :, i, j] += x[:, :, h, v]
    return y / m, Averaged(axes, m)


@avg_pool2d.pullback
def avg_pool2d_bwd(residuals: Averaged, dy: Array) -> tuple[Array]:
    axes, m = residuals
    if axes[0].window * axes[1].window > PLAIN:
        return (box_sums(dy / m, axes, adjoint=True),)
    share = dy / m
    dx = np.zeros((*dy.shape[:2], axes[0].size, axes[1].size), dy.dtype)
    for i, h in axes[0].taps():
        for j, v in axes[1].taps():
            dx[:, :, h, v] += share[:, :, i, j]
    return (dx,)


@Op
def avg_pool1d(
    x: Array, *, window: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, Averaged]:  # fmt: skip
    """The mean of each window of a sequence; options as avg_pool2d, for one axis.

    Shapes: x (N, C, L) -> y (N, C, OL)
    Math: as avg_pool2d, for one axis.
    Errors: as avg_pool2d.
    Source: as avg_pool2d. Conventions: as avg_pool2d.

    >>> import numpy as np, purenet as pn
    >>> pn.avg_pool1d(np.array([[[1.0, 3.0, 5.0]]]), window=2, padding=1, count_include_pad=False)
    array([[[1., 4.]]])
    """
    return avg_pool("avg_pool1d", x, 1, window, stride, padding, dilation, ceil_mode, count_include_pad)


@avg_pool1d.pullback
def avg_pool1d_bwd(residuals: Averaged, dy: Array) -> tuple[Array]:
    return avg_pool_bwd(residuals, dy)


@Op
def avg_pool3d(
    x: Array, *, window: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, Averaged]:  # fmt: skip
    """The mean of each window of a volume; options as avg_pool2d, for three axes.

    Shapes: x (N, C, D, H, W) -> y (N, C, OD, OH, OW)
    Math: as avg_pool2d, for three axes.
    Errors: as avg_pool2d.
    Source: as avg_pool2d. Conventions: as avg_pool2d.

    >>> import numpy as np, purenet as pn
    >>> pn.avg_pool3d(np.arange(16.0).reshape(1, 1, 2, 2, 4), window=2)
    array([[[[[6.5, 8.5]]]]])
    """
    return avg_pool("avg_pool3d", x, 3, window, stride, padding, dilation, ceil_mode, count_include_pad)


@avg_pool3d.pullback
def avg_pool3d_bwd(residuals: Averaged, dy: Array) -> tuple[Array]:
    return avg_pool_bwd(residuals, dy)


@Op
def global_avg_pool(x: Array, *, keepdims: bool = False) -> tuple[Array, tuple[int, ...]]:
    """The mean of each channel, over all the axes behind it.

    Shapes: x (N, C, ...) -> y (N, C), or (N, C, 1, ...) with keepdims
    Math, with M entries in a channel:
        y[n, c]     = sum_p x[n, c, p] / M
        dx[n, c, p] = dy[n, c] / M
    Errors: ValueError unless x has an axis behind the channels, and for one without entries.
    Source: Lin, Chen, Yan, Network in network (2013). Conventions: keras's shapes; torch's adaptive_avg_pool and ONNX keep
        the axes.

    >>> import numpy as np, purenet as pn
    >>> pn.global_avg_pool(np.array([[[1.0, 3.0, 2.0], [-1.0, -5.0, 0.0]]]))
    array([[ 2., -2.]])
    """
    sizes = check_entries("global_avg_pool", x)
    return x.mean(axis=tuple(range(2, x.ndim)), keepdims=bool(keepdims)), sizes


@global_avg_pool.pullback
def global_avg_pool_bwd(sizes: tuple[int, ...], dy: Array) -> tuple[Array]:
    share = dy.reshape(*dy.shape[:2], *[1] * len(sizes)) / math.prod(sizes)
    return (np.array(np.broadcast_to(share, (*dy.shape[:2], *sizes))),)


@Op
def adaptive_avg_pool(x: Array, *, size: Any) -> tuple[Array, tuple[list[tuple[Array, Array]], Array]]:
    """The means of `size` nearly equal parts of each axis behind the channels, whatever their size.

    Part i of an axis of H entries cut into OH is floor(i H / OH) <= h < ceil((i + 1) H / OH): parts share entries where
    OH does not divide H.

    Shapes: x (N, C, ...), size one integer or one for each axis -> y (N, C, *size)
    Math, with m(i) entries in part i:
        y[n, c, i]  = sum of x[n, c, p] over part i / m(i)
        dx[n, c, p] = sum of dy[n, c, i] / m(i) over the parts that hold p, which are neighbours, too
    Errors: TypeError for sizes that are not integers; ValueError unless x has an axis behind the channels and each has
        entries, and for sizes below 1 or of another number.
    Source: He et al., Spatial pyramid pooling (2014). Conventions: torch's adaptive_avg_pool1d, 2d and 3d in one, by the
        axes of x; the parts of equinox never overlap, the first ones being longer.

    >>> import numpy as np, purenet as pn
    >>> pn.adaptive_avg_pool(np.array([[[1.0, 4.0, 2.0, 3.0, 1.0]]]), size=2).round(4)
    array([[[2.3333, 2.    ]]])
    """
    cut = parts("adaptive_avg_pool", x, size)
    sums = multiplied(x, [members(n, len(starts), x.dtype) for n, (starts, _) in zip(x.shape[2:], cut, strict=True)])
    if sums is None:
        sums = x
        for axis, (starts, ends) in zip(range(-len(cut), 0), cut, strict=True):
            sums = interval_sums(sums, starts, ends, axis)
    counts = counted([ends - starts for starts, ends in cut], x.dtype)
    return sums / counts, (cut, counts)


@adaptive_avg_pool.pullback
def adaptive_avg_pool_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    cut, counts = residuals
    dx = dy / counts
    product = multiplied(dx, [members(int(ends[-1]), len(ends), dy.dtype).T for _, ends in cut])
    if product is not None:
        return (product,)
    for axis, (starts, ends) in zip(range(-len(cut), 0), cut, strict=True):
        entries = np.arange(ends[-1])  # each is in the parts from the first that ends behind it to the last that has started
        dx = interval_sums(dx, np.searchsorted(ends, entries, "right"), np.searchsorted(starts, entries, "right"), axis)
    return (dx,)


def avg_pool(
    op: str,
    x: Array,
    n: int,
    window: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    count_include_pad: bool,
) -> tuple[Array, Averaged]:
    """The average pool over n axes, for ops of any name."""
    axes = slide(op, check_image(op, x, n), window, stride, padding, dilation, ceil_mode=ceil_mode)
    m = _counts(op, x, axes, count_include_pad, window, padding)
    return box_sums(x, axes) / m, Averaged(axes, m)


def avg_pool_bwd(residuals: Averaged, dy: Array) -> tuple[Array]:
    """The cotangent of x."""
    axes, counts = residuals
    return (box_sums(dy / counts, axes, adjoint=True),)


def _counts(op: str, x: Array, axes: tuple[Axis, ...], count_include_pad: bool, window: Any, padding: Any) -> Array:
    """The number of entries that each window counts, which must be at least one."""
    counts = _counts_of(axes, bool(count_include_pad), x.dtype)
    if counts is None:
        raise ValueError(f"{op}: a window holds nothing but padding: x {x.shape}, window {window!r}, padding {padding!r}")
    return counts


@lru_cache(maxsize=256)
def _counts_of(axes: tuple[Axis, ...], count_include_pad: bool, dtype: np.dtype[Any]) -> Array | None:
    """The number of entries that each window counts; None if one counts none."""
    counts = []
    for a in axes:
        before, after = (a.low, a.high) if count_include_pad else (0, 0)
        counts.append(((a.entries >= -before) & (a.entries < a.size + after)).sum(axis=1))
        if not counts[-1].all():
            return None
    number = counted(counts, dtype)
    number.flags.writeable = False  # it is kept for the next call
    return number


def counted(counts: Sequence[Array], dtype: np.dtype[Any]) -> Array:
    """The number of entries that a box counts, from the number along each axis."""
    return np.asarray(reduce(np.multiply.outer, counts).astype(dtype))
