"""Max pools, and max_unpool: windows, all of an image, or a given number of nearly equal parts, in any dimensions.

What is kept for the pullbacks is where in the image each value came from. max_pool2d of few entries looks at every entry of
every window; larger calls and other dimensions pool an axis at a time (see `axis_by_axis`), which gives the same entries.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from purenet.checks import array_of, integers
from purenet.op import Array, Op
from purenet.pooling.axis_by_axis import largest
from purenet.pooling.box_by_box import MOST, largest_in_boxes
from purenet.pooling.parts import check_entries, parts
from purenet.windows import Axis, check_image, slide

__all__ = ["adaptive_max_pool", "global_max_pool", "max_pool1d", "max_pool2d", "max_pool3d", "max_unpool"]

PLAIN = 500
"""Up to this many entries under all taps of all windows, max_pool2d compares them one by one.

The measured time, in units of that of one axis at a time: 0.7 to 0.9 up to 13,000 entries, 1.3 to 3 from 400,000 on. The bound
is low so that small cases of the catalogue check both ways.
"""


class Pooled(NamedTuple):
    """Residuals of every max pool."""

    indices: Array
    """Of the largest entries, in the order of memory of the spatial axes: what max_unpool takes."""
    size: tuple[int, ...]
    """Of the spatial axes."""


@Op
def max_pool2d(
    x: Array, *, window: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> tuple[Array, Pooled]:
    """The largest entry of each window of an image.

    Options are one integer, or one for each of H and W; `stride` is the window unless given. `padding` is of -inf; it may also
    hold pairs (before, after), or be "VALID", "SAME" or "SAME_LOWER", as in conv2d. With `ceil_mode` a last window may end
    behind the padding, but not begin there. `residuals.indices` is what max_unpool takes.

    Shapes: x (N, C, H, W), window (KH, KW) -> y (N, C, OH, OW),
        OH = (H + before + after - dilation (KH - 1) - 1) / stride + 1, rounded down, or up with ceil_mode
    Math, with h(i, k) = stride i + dilation k - before, and v(j, l) alike:
        y[n, c, i, j]  = x[n, c, h*, v*], the largest x[n, c, h(i, k), v(j, l)] over k, l
        dx[n, c, h, v] = sum of dy[n, c, i, j] over the windows whose h*, v* are h, v
    Errors: TypeError for options that are not integers; ValueError unless x has four axes, where no window fits or one would
        hold only padding, and for options that are negative, zero (padding may be) or of another length.
    Source: Zhou and Chellappa (1988); LeCun et al. (1998). Conventions: torch's. The first of equal entries, row by row, gets
        the whole gradient, as in torch and jax.lax.reduce_window; a window with NaN gives NaN (the gradient goes to the
        first NaN, in torch to the last; JAX may give it to a number). torch has -inf for a window of padding alone. flax's
        and equinox's stride is 1 unless given.

    >>> import numpy as np, purenet as pn
    >>> pn.max_pool2d(np.array([[[[1.0, 2.0, 5.0, 0.0], [4.0, 3.0, 5.0, 6.0]]]]), window=2)
    array([[[[4., 6.]]]])
    """
    axes = slide("max_pool2d", check_image("max_pool2d", x, 2), window, stride, padding, dilation, ceil_mode=ceil_mode)
    h, v = _touched("max_pool2d", x, axes, window, padding)
    n, c, height, width = x.shape
    if n * c * h.size * v.size > PLAIN:
        return _by_axis(x, axes, [h, v])
    places = (h[:, None, :, None] * width + v[None, :, None, :]).reshape(len(h), len(v), -1)  # of the taps k, l of window i, j
    seen = x.reshape(n, c, height * width)[:, :, places]
    best = seen.argmax(axis=-1, keepdims=True)  # the first of equal entries; NaN is larger than any number
    y = np.take_along_axis(seen, best, axis=-1)[..., 0]
    indices = np.take_along_axis(places[None, None], best, axis=-1)[..., 0]
    return y, Pooled(indices.astype(np.min_scalar_type(height * width)), (height, width))


@max_pool2d.pullback
def max_pool2d_bwd(residuals: Pooled, dy: Array) -> tuple[Array]:
    return (scattered(residuals, dy),)


@Op
def max_pool1d(
    x: Array, *, window: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> tuple[Array, Pooled]:
    """The largest entry of each window of a sequence; options as max_pool2d, for one axis.

    Shapes: x (N, C, L) -> y (N, C, OL)
    Math: as max_pool2d, for one axis.
    Errors: as max_pool2d.
    Source: Collobert et al. (2011). Conventions: as max_pool2d.

    >>> import numpy as np, purenet as pn
    >>> pn.max_pool1d(np.array([[[1.0, 3.0, 2.0, 0.0, 7.0]]]), window=2, ceil_mode=True)
    array([[[3., 2., 7.]]])
    """
    return max_pool("max_pool1d", x, 1, window, stride, padding, dilation, ceil_mode)


@max_pool1d.pullback
def max_pool1d_bwd(residuals: Pooled, dy: Array) -> tuple[Array]:
    return (scattered(residuals, dy),)


@Op
def max_pool3d(
    x: Array, *, window: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> tuple[Array, Pooled]:
    """The largest entry of each window of a volume; options as max_pool2d, for three axes.

    Shapes: x (N, C, D, H, W) -> y (N, C, OD, OH, OW)
    Math: as max_pool2d, for three axes.
    Errors: as max_pool2d.
    Source: Tran et al. (2015). Conventions: as max_pool2d.

    >>> import numpy as np, purenet as pn
    >>> pn.max_pool3d(np.arange(16.0).reshape(1, 1, 2, 2, 4), window=2)
    array([[[[[13., 15.]]]]])
    """
    return max_pool("max_pool3d", x, 3, window, stride, padding, dilation, ceil_mode)


@max_pool3d.pullback
def max_pool3d_bwd(residuals: Pooled, dy: Array) -> tuple[Array]:
    return (scattered(residuals, dy),)


@Op
def global_max_pool(x: Array, *, keepdims: bool = False) -> tuple[Array, Pooled]:
    """The largest entry of each channel, over all the axes behind it.

    Shapes: x (N, C, ...) -> y (N, C), or (N, C, 1, ...) with keepdims
    Math:
        y[n, c]       = x[n, c, p*], the largest x[n, c, p] over all p
        dx[n, c, p*]  = dy[n, c], and 0 elsewhere
    Errors: ValueError unless x has an axis behind the channels, and for one without entries.
    Source: Oquab et al. (2015). Conventions: keras's shapes; torch's adaptive_max_pool and ONNX keep the axes. The first of
        equal entries gets the whole gradient (jax.numpy.max divides it); NaN stays NaN.

    >>> import numpy as np, purenet as pn
    >>> pn.global_max_pool(np.array([[[1.0, 3.0, 2.0], [-1.0, -5.0, -1.0]]]))
    array([[ 3., -1.]])
    """
    sizes = check_entries("global_max_pool", x)
    flat = x.reshape(*x.shape[:2], math.prod(sizes))
    indices = flat.argmax(axis=-1, keepdims=True)
    y = np.take_along_axis(flat, indices, axis=-1)
    shape = (*x.shape[:2], *[1] * len(sizes)) if keepdims else x.shape[:2]
    return y.reshape(shape), Pooled(indices.reshape(shape), sizes)


@global_max_pool.pullback
def global_max_pool_bwd(residuals: Pooled, dy: Array) -> tuple[Array]:
    return (scattered(residuals, dy),)


@Op
def adaptive_max_pool(x: Array, *, size: Any) -> tuple[Array, Pooled]:
    """The largest entries of `size` nearly equal parts of each axis behind the channels, whatever their size.

    Part i of an axis of H entries cut into OH is floor(i H / OH) <= h < ceil((i + 1) H / OH): parts share entries where
    OH does not divide H.

    Shapes: x (N, C, ...), size one integer or one for each axis -> y (N, C, *size)
    Math:
        y[n, c, i]  = x[n, c, p*], the largest x[n, c, p] over part i
        dx[n, c, p] = sum of dy[n, c, i] over the parts whose p* is p
    Errors: TypeError for sizes that are not integers; ValueError unless x has an axis behind the channels and each has
        entries, and for sizes below 1 or of another number.
    Source: He et al., Spatial pyramid pooling (2014). Conventions: torch's adaptive_max_pool1d, 2d and 3d in one, by the
        axes of x; the parts of equinox never overlap, the first ones being longer. Equal entries and NaN as max_pool2d.

    >>> import numpy as np, purenet as pn
    >>> pn.adaptive_max_pool(np.array([[[1.0, 4.0, 2.0, 3.0, 0.0]]]), size=2)
    array([[[4., 3.]]])
    """
    cuts = parts("adaptive_max_pool", x, size)
    if math.prod(len(starts) for starts, _ in cuts) <= MOST:
        y, indices = largest_in_boxes(x, cuts)
        return y, Pooled(indices, x.shape[2:])
    places = []
    for starts, ends in cuts:
        # A part that has no such tap repeats its last one, which changes no maximum.
        taps = [np.minimum(starts + t, ends - 1) for t in range(int((ends - starts).max()))]
        places.append((starts, [(slice(None), tap) for tap in taps]))
    y, indices = largest(x, places)
    return y, Pooled(indices, x.shape[2:])


@adaptive_max_pool.pullback
def adaptive_max_pool_bwd(residuals: Pooled, dy: Array) -> tuple[Array]:
    return (scattered(residuals, dy),)


@Op
def max_unpool(x: Array, *, indices: Any, size: Any) -> tuple[Array, Any]:
    """The entries of x at their `indices` in an image of `size`, with zeros between them: a partial inverse of max pools.

    `indices` is the `residuals.indices` of a max pool, and count the places of a channel in the order of memory. Where one is
    repeated, the last entry is kept.

    Shapes: x (N, C, ...), indices like x, size one integer for each axis behind the channels -> y (N, C, *size)
    Math:
        y[n, c, p]  = x[n, c, i] where indices[n, c, i] = p (the last such i), 0 where there is none
        dx[n, c, i] = dy[n, c, indices[n, c, i]], 0 for an entry that was not kept
    Errors: TypeError for indices or sizes that are not integers; ValueError for indices of another shape than x or outside
        the image, and for sizes below 1 or of another number.
    Source: Zeiler, Taylor, Fergus (2011). Conventions: torch's max_unpool1d, 2d and 3d in one, by the axes of x, with the
        size given instead of the window; repeated indices are undefined there. ONNX counts indices through all of x.

    >>> import numpy as np, purenet as pn
    >>> y, residuals = pn.max_pool1d.fwd(np.array([[[1.0, 3.0, 2.0, 0.0]]]), window=2)
    >>> pn.max_unpool(y, indices=residuals.indices, size=4)
    array([[[0., 3., 2., 0.]]])
    """
    sizes = integers("max_unpool", "size", size, len(check_image("max_unpool", x)))
    indices = array_of("max_unpool", "indices", indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"max_unpool: indices must be integers, got {indices.dtype}")
    if indices.shape != x.shape:
        raise ValueError(f"max_unpool: indices must have the shape of x {x.shape}, got {indices.shape}")
    wrong = (indices < 0) | (indices >= math.prod(sizes))
    if wrong.any():
        raise ValueError(f"max_unpool: indices must be in 0..{math.prod(sizes) - 1}, got {indices[wrong][0]}")
    places = _places(indices, sizes)
    owner = np.full((*x.shape[:2], *sizes), -1, np.intp)
    owner.reshape(-1)[places] = np.arange(x.size)
    y = np.zeros(owner.shape, x.dtype)
    y.reshape(-1)[places] = x.reshape(-1)
    return y, (places, owner.reshape(-1)[places] == np.arange(x.size), x.shape)


@max_unpool.pullback
def max_unpool_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    places, kept, shape = residuals
    return (np.where(kept, dy.reshape(-1)[places], 0).reshape(shape),)


def max_pool(
    op: str, x: Array, n: int, window: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Array, Pooled]:
    """The max pool over n axes, for ops of any name."""
    axes = slide(op, check_image(op, x, n), window, stride, padding, dilation, ceil_mode=ceil_mode)
    return _by_axis(x, axes, _touched(op, x, axes, window, padding))


def _by_axis(x: Array, axes: tuple[Axis, ...], touched: list[Array]) -> tuple[Array, Pooled]:
    y, indices = largest(x, [(entries[:, 0], _taps(a)) for entries, a in zip(touched, axes, strict=True)])
    return y, Pooled(indices, x.shape[2:])


def _touched(op: str, x: Array, axes: tuple[Axis, ...], window: Any, padding: Any) -> list[Array]:
    """For each axis the entry of each window and tap; a tap on padding repeats the window's first, which changes no maximum."""
    touched = []
    for a in axes:
        entries = _touched_along(a)
        if entries is None:
            raise ValueError(f"{op}: a window holds nothing but padding: x {x.shape}, window {window!r}, padding {padding!r}")
        touched.append(entries)
    return touched


@lru_cache(maxsize=256)
def _touched_along(a: Axis) -> Array | None:
    """The entry of each window and tap along an axis; None if a window has none."""
    entries = a.entries
    inside = (entries >= 0) & (entries < a.size)
    if not inside.any(axis=1).all():
        return None
    first = np.take_along_axis(entries, inside.argmax(axis=1)[:, None], axis=1)
    touched = np.where(inside, entries, first)
    touched.flags.writeable = False  # it is kept for the next call
    return touched


@lru_cache(maxsize=256)
def _taps(a: Axis) -> tuple[tuple[slice, slice], ...]:
    return tuple(a.taps())


def scattered(pooled: Pooled, dy: Array) -> Array:
    """An image of zeros with every entry of dy added at its index."""
    shape = (*dy.shape[:2], *pooled.size)
    places = _places(pooled.indices, pooled.size)
    return np.bincount(places, dy.reshape(-1), minlength=math.prod(shape)).astype(dy.dtype, copy=False).reshape(shape)


def _places(indices: Array, sizes: tuple[int, ...]) -> Array:
    """Indices in each channel as indices in all of memory."""
    channels = indices.shape[0] * indices.shape[1]
    rows = np.arange(channels)[:, None] * math.prod(sizes)
    return np.asarray((indices.astype(np.intp).reshape(channels, math.prod(indices.shape[2:])) + rows).reshape(-1))
