"""The pool by a norm, in any dimensions.

The norm of a box is the norm of the norms along each axis, so an axis is pooled at a time; entries are measured by the largest
of their window, so that no power of them overflows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import number
from purenet.op import Array, Op
from purenet.windows import Axis, along, check_image, slide

__all__ = ["lp_pool"]


@Op
def lp_pool(
    x: Array,
    *,
    window: Any,
    p: float = 2.0,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> tuple[Array, Any]:
    """The p-norm of each window, over all the axes behind the channels.

    Options as max_pool2d, for as many axes as x has; the padding is of zeros.

    Shapes: x (N, C, ...) -> y (N, C, ...), sizes as max_pool2d
    Math, over the entries x of one window:
        y  = (sum |x|**p) ** (1 / p)
        dx = sum of dy sign(x) (|x| / y) ** (p - 1) over the windows that hold x, 0 where y = 0
    Errors: TypeError for options that are not numbers; ValueError for p below 1, unless x has an axis behind the channels,
        where no window fits, and for options that are negative, zero (padding may be) or of another length.
    Source: Sermanet, Chintala, LeCun (2012). Conventions: ONNX's LpPool. torch's lp_pool1d, 2d and 3d raise x itself to the
        power p (another value for odd p and negative x) and scale the partial windows of ceil_mode up to whole ones.
        The gradient at x = 0 is 0 for p = 1 too, and where all of a window is 0 (jax: NaN).

    >>> import numpy as np, purenet as pn
    >>> pn.lp_pool(np.array([[[3.0, -4.0, 0.0, 2.0]]]), window=2)
    array([[[5., 2.]]])
    """
    p = number("lp_pool", "p", p, 1)
    axes = slide("lp_pool", check_image("lp_pool", x), window, stride, padding, dilation, ceil_mode=ceil_mode)
    stages = [x]
    for axis, a in zip(range(-len(axes), 0), axes, strict=True):
        stages.append(_norms(stages[-1], a, axis, p))
    return stages[-1], (stages, axes, p)


@lp_pool.pullback
def lp_pool_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    stages, axes, p = residuals
    for axis in range(-1, -len(axes) - 1, -1):
        x, y = stages[axis - 1], stages[axis]
        whole = np.where(y > 0, y, 1)
        dx = np.zeros_like(x)
        for windows, entries in axes[axis].taps():
            part = x[along(axis, entries)]
            share = np.sign(part) * (np.abs(part) / whole[along(axis, windows)]) ** (p - 1)
            dx[along(axis, entries)] += dy[along(axis, windows)] * share
        dy = dx
    return (dy,)


def _norms(x: Array, a: Axis, axis: int, p: float) -> Array:
    """The norm of each window along an axis."""
    shape = list(x.shape)
    shape[axis] = a.out
    most, sums = np.zeros(shape, x.dtype), np.zeros(shape, x.dtype)
    size = np.abs(x)
    for windows, entries in a.taps():
        place = most[along(axis, windows)]
        np.maximum(place, size[along(axis, entries)], out=place)
    most[most == 0] = 1
    np.minimum(most, np.finfo(x.dtype).max, out=most)  # the norm of a window with an infinite entry is infinite
    for windows, entries in a.taps():
        sums[along(axis, windows)] += (size[along(axis, entries)] / most[along(axis, windows)]) ** p
    return np.asarray(most * sums ** (1 / p))
