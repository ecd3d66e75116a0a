"""Transposed convolutions in one, two and three dimensions: the adjoint of a convolution as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.checks import fields, integers
from purenet.convolution.conv2d import Convolved, check_filters
from purenet.convolution.matrix_products import inputs, outputs, weights
from purenet.op import Array, Op
from purenet.windows import Axis, check_image, pad_pairs

__all__ = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


@Op
def conv_transpose2d(
    params: dict[str, Array], x: Array, *, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> tuple[Array, Convolved]:  # fmt: skip
    """The adjoint of conv2d as a layer: every entry of x writes a filter times itself, `stride` apart, and these add up.

    Options are one integer, or one for each of H and W; `padding`, which may also hold pairs (before, after), is that of the
    convolution it is the adjoint of, so it is cut from the output; `output_padding` is added at the end of the output.

    Shapes: params.w (I, O / groups, KH, KW), params.b (O,), x (N, I, H, W) -> y (N, O, OH, OW),
        OH = stride (H - 1) - before - after + dilation (KH - 1) + 1 + output_padding
    Math, with h(i, k) = stride i + dilation k - before, v(j, l) alike, and c over the channels of o's group:
        y[n, o, h, v]  = b[o] + sum of x[n, c, i, j] w[c, o, k, l] over all c, i, j, k, l with h(i, k) = h and v(j, l) = v
        dx             = conv2d(dy) with the same weights and options, without bias
        dw[c, o, k, l] = sum_nij x[n, c, i, j] dy[n, o, h(i, k), v(j, l)]
        db[o]          = sum_nhv dy[n, o, h, v]
    Errors: TypeError for options that are not integers; ValueError where channels do not match or `groups` does not divide I,
        unless output_padding is smaller than the stride or the dilation, where the padding leaves nothing, and for options
        that are negative, zero (padding may be) or of another length.
    Source: Zeiler et al., Deconvolutional networks (2010); Dumoulin and Visin, A guide to convolution arithmetic (2016).
        Conventions: torch's, also for the padding; the explicit padding of jax.lax.conv_transpose is put around its dilated
        input instead (unless use_consistent_padding), and keras has filters (KH, KW, O, I).

    >>> import numpy as np, purenet as pn
    >>> x = np.array([[[[1.0, 2.0]]]])
    >>> pn.conv_transpose2d({"w": np.array([[[[1.0, 10.0, 100.0]]]])}, x, stride=(1, 2))
    array([[[[  1.,  10., 102.,  20., 200.]]]])
    """
    return transpose("conv_transpose2d", params, x, 2, stride, padding, output_padding, dilation, groups)


@conv_transpose2d.pullback
def conv_transpose2d_bwd(residuals: Convolved, dy: Array) -> tuple[dict[str, Array], Array]:
    return transpose_bwd(residuals, dy)


@Op
def conv_transpose1d(
    params: dict[str, Array], x: Array, *, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> tuple[Array, Convolved]:  # fmt: skip
    """The adjoint of conv1d as a layer; options as conv_transpose2d, for one axis.

    Shapes: params.w (I, O / groups, K), params.b (O,), x (N, I, L) -> y (N, O, OL)
    Math:
        y[n, o, h] = b[o] + sum of x[n, c, i] w[c, o, k] over all c, i, k with h = stride i + dilation k - before
        dw, dx, db  as conv_transpose2d
    Errors: as conv_transpose2d.
    Source: as conv_transpose2d. Conventions: torch's.

    >>> import numpy as np, purenet as pn
    >>> pn.conv_transpose1d({"w": np.array([[[1.0, 10.0]]])}, np.array([[[1.0, 2.0, 3.0]]]))
    array([[[ 1., 12., 23., 30.]]])
    """
    return transpose("conv_transpose1d", params, x, 1, stride, padding, output_padding, dilation, groups)


@conv_transpose1d.pullback
def conv_transpose1d_bwd(residuals: Convolved, dy: Array) -> tuple[dict[str, Array], Array]:
    return transpose_bwd(residuals, dy)


@Op
def conv_transpose3d(
    params: dict[str, Array], x: Array, *, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> tuple[Array, Convolved]:  # fmt: skip
    """The adjoint of conv3d as a layer; options as conv_transpose2d, for three axes.

    Shapes: params.w (I, O / groups, KD, KH, KW), params.b (O,), x (N, I, D, H, W) -> y (N, O, OD, OH, OW)
    Math: as conv_transpose2d, with a sum over the taps of three axes.
    Errors: as conv_transpose2d.
    Source: as conv_transpose2d. Conventions: torch's.

    >>> import numpy as np, purenet as pn
    >>> pn.conv_transpose3d({"w": np.ones((1, 1, 1, 1, 2))}, np.ones((1, 1, 1, 2, 2)))
    array([[[[[1., 2., 1.],
              [1., 2., 1.]]]]])
    """
    return transpose("conv_transpose3d", params, x, 3, stride, padding, output_padding, dilation, groups)


@conv_transpose3d.pullback
def conv_transpose3d_bwd(residuals: Convolved, dy: Array) -> tuple[dict[str, Array], Array]:
    return transpose_bwd(residuals, dy)


def transpose(
    op: str, params: Any, x: Array, n: int, stride: Any, padding: Any, output_padding: Any, dilation: Any, groups: Any
) -> tuple[Array, Convolved]:
    """The transposed convolution over n axes, for ops of any name."""
    w, b = fields(op, params, "w", optional=("b",))
    sizes = check_image(op, x, n)
    (groups,) = integers(op, "groups", groups, 1)
    check_filters(op, "w", w, b, n, groups, transposed=True)
    if x.shape[1] != w.shape[0]:
        raise ValueError(f"{op}: x has {x.shape[1]} channels, w expects {w.shape[0]} (params.w {w.shape})")
    strides, dilations = integers(op, "stride", stride, n), integers(op, "dilation", dilation, n)
    extra, pairs = integers(op, "output_padding", output_padding, n, 0), pad_pairs(op, padding, n)
    axes = []
    for size, k, s, d, (low, high), e in zip(sizes, w.shape[2:], strides, dilations, pairs, extra, strict=True):
        if e >= max(s, d):
            raise ValueError(f"{op}: output_padding must be smaller than the stride or the dilation, got {output_padding!r}")
        out = s * (size - 1) - low - high + d * (k - 1) + 1 + e
        if min(size, out) < 1:
            raise ValueError(f"{op}: nothing is left of x {x.shape} with params.w {w.shape} and the padding {tuple(pairs)}")
        axes.append(Axis(out, size, k, s, d, low, high))
    y = inputs(x, w, tuple(axes), groups)
    if b is not None:
        y += b.reshape(-1, *[1] * n)
    return y, Convolved(x, w, tuple(axes), groups, b is not None)


def transpose_bwd(residuals: Convolved, dy: Array) -> tuple[dict[str, Array], Array]:
    """The cotangents of the parameters and of x."""
    x, w, axes, groups, has_bias = residuals
    dparams = {"w": weights(dy, x, axes, groups)}
    if has_bias:
        dparams["b"] = np.ascontiguousarray(dy).sum(axis=(0, *range(2, dy.ndim)))
    return dparams, outputs(dy, w, axes, groups)
