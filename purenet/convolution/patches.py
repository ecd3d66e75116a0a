"""Patches of images as columns, and back: im2col and its adjoint."""

from __future__ import annotations

from typing import Any

from purenet.checks import integers
from purenet.convolution.unfolding import columns, image
from purenet.op import Array, Op
from purenet.windows import Axis, check_image, slide

__all__ = ["col2im", "im2col"]


@Op
def im2col(x: Array, *, window: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> tuple[Array, tuple[Axis, ...]]:
    """Every window of an image as a column of numbers.

    Options are one integer, or one for each of H and W. `padding` may also hold pairs (before, after), or be "VALID" (none),
    "SAME" (ceil(size / stride) windows, the odd entry after the image) or "SAME_LOWER" (the odd entry before it).

    Shapes: x (N, C, H, W), window (KH, KW) -> y (N, C KH KW, OH, OW),
        OH = (H + before + after - dilation (KH - 1) - 1) // stride + 1
    Math, with h(i, k) = stride i + dilation k - before, v(j, l) alike, and x = 0 outside the image:
        y[n, (c, k, l), i, j] = x[n, c, h(i, k), v(j, l)]
        dx                    = col2im(dy): each entry gets the sum of its copies
    Errors: TypeError for options that are not integers; ValueError unless x has four axes and a window fits into it, and for
        options that are negative, zero (padding may be) or of another length.
    Source: Chellapilla, Puri, Simard (2006). Conventions: jax.lax.conv_general_dilated_patches; torch's unfold is the same with
        OH and OW as one axis; the book's im2col has one row for each window, (N OH OW, C KH KW).

    >>> import numpy as np, purenet as pn
    >>> pn.im2col(np.array([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]]), window=2)[0, :, 0]
    array([[1., 2.],
           [2., 3.],
           [4., 5.],
           [5., 6.]])
    """
    axes = slide("im2col", check_image("im2col", x, 2), window, stride, padding, dilation)
    return _flat(columns(x, axes)), axes


@im2col.pullback
def im2col_bwd(axes: tuple[Axis, ...], dy: Array) -> tuple[Array]:
    return (image(_taps(dy, axes), axes),)


@Op
def col2im(
    x: Array, *, size: Any, window: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> tuple[Array, tuple[Axis, ...]]:
    """The sum of columns at their places in an image of `size` (H, W): the adjoint of im2col, with the same options.

    It is no inverse: col2im(im2col(x)) is x times the number of windows that cover each entry, which is 1 only where windows
    neither overlap nor leave gaps.

    Shapes: x (N, C KH KW, OH, OW), size (H, W), window (KH, KW) -> y (N, C, H, W)
    Math, with h(i, k) and v(j, l) as in im2col:
        y[n, c, h, v] = sum of x[n, (c, k, l), i, j] over all i, j, k, l with h(i, k) = h and v(j, l) = v
        dx            = im2col(dy)
    Errors: TypeError for options that are not integers; ValueError unless x is what im2col makes of an image of this size, and
        for options as im2col.
    Source: Chellapilla, Puri, Simard (2006). Conventions: the transpose of jax.lax.conv_general_dilated_patches; torch's fold
        is the same with OH and OW as one axis.

    >>> import numpy as np, purenet as pn
    >>> pn.col2im(pn.im2col(np.ones((1, 1, 4, 4)), window=3), size=(4, 4), window=3)[0, 0]
    array([[1., 2., 2., 1.],
           [2., 4., 4., 2.],
           [2., 4., 4., 2.],
           [1., 2., 2., 1.]])
    """
    axes = slide("col2im", integers("col2im", "size", size, 2), window, stride, padding, dilation)
    kh, kw, oh, ow = (*(a.window for a in axes), *(a.out for a in axes))
    if x.ndim != 4 or x.shape[1] % (kh * kw) or x.shape[2:] != (oh, ow):
        raise ValueError(f"col2im: x must have shape (N, a multiple of {kh * kw}, {oh}, {ow}), got {x.shape}")
    return image(_taps(x, axes), axes), axes


@col2im.pullback
def col2im_bwd(axes: tuple[Axis, ...], dy: Array) -> tuple[Array]:
    return (_flat(columns(dy, axes)),)


def _flat(windows: Array) -> Array:
    """(N, C, KH, KW, OH, OW) as (N, C KH KW, OH, OW)."""
    batch, channels, kh, kw, *outs = windows.shape
    return windows.reshape(batch, channels * kh * kw, *outs)


def _taps(x: Array, axes: tuple[Axis, ...]) -> Array:
    """(N, C KH KW, OH, OW) as (N, C, KH, KW, OH, OW)."""
    kh, kw = (a.window for a in axes)
    return x.reshape(len(x), x.shape[1] // (kh * kw), kh, kw, *x.shape[2:])
