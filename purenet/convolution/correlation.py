"""The other convolutions: in one and three dimensions, causal, by channel, separable. See `conv2d` for the sums."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np

from purenet.checks import fields, integers
from purenet.convolution.conv2d import Convolved, checked
from purenet.convolution.matrix_products import inputs_and_weights, outputs, weights
from purenet.op import ALL, Array, Op
from purenet.windows import check_image

__all__ = ["causal_conv1d", "conv1d", "conv3d", "depthwise_conv2d", "separable_conv2d"]


@Op
def conv1d(
    params: dict[str, Array], x: Array, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[Array, Convolved]:
    """The convolution of sequences with filters; options as conv2d, for one axis.

    Shapes: params.w (O, C / groups, K), params.b (O,), x (N, C, L) -> y (N, O, OL)
    Math:
        y[n, o, i]  = b[o] + sum_ck w[o, c, k] x[n, c, stride i + dilation k - before]
        dw, dx, db  as conv2d
    Errors: as conv2d.
    Source: Waibel et al., Phoneme recognition using time-delay neural networks (1989). Conventions: cross-correlation, channels
        before time, as torch; keras and flax have (N, L, C) and (K, C, O).

    >>> import numpy as np, purenet as pn
    >>> pn.conv1d({"w": np.array([[[1.0, -1.0]]])}, np.array([[[1.0, 4.0, 9.0]]]), padding=((1, 0),))
    array([[[-1., -3., -5.]]])
    """
    return convolve("conv1d", params, x, 1, stride, padding, dilation, groups)


@conv1d.pullback
def conv1d_bwd(residuals: Convolved, dy: Array, *, wanted: Container[int] = ALL) -> tuple[dict[str, Array], Any]:
    return convolve_bwd(residuals, dy, wanted)


@Op
def conv3d(
    params: dict[str, Array], x: Array, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[Array, Convolved]:
    """The convolution of volumes, or of videos, with filters; options as conv2d, for three axes.

    Shapes: params.w (O, C / groups, KD, KH, KW), params.b (O,), x (N, C, D, H, W) -> y (N, O, OD, OH, OW)
    Math: as conv2d, with a sum over the taps of three axes.
    Errors: as conv2d.
    Source: Ji et al., 3D convolutional neural networks for human action recognition (2010). Conventions: cross-correlation,
        NCDHW and OIDHW, as torch.

    >>> import numpy as np, purenet as pn
    >>> pn.conv3d({"w": np.ones((1, 1, 2, 2, 2))}, np.ones((1, 1, 2, 3, 2)), padding=(0, 0, 1))
    array([[[[[4., 8., 4.],
              [4., 8., 4.]]]]])
    """
    return convolve("conv3d", params, x, 3, stride, padding, dilation, groups)


@conv3d.pullback
def conv3d_bwd(residuals: Convolved, dy: Array, *, wanted: Container[int] = ALL) -> tuple[dict[str, Array], Any]:
    return convolve_bwd(residuals, dy, wanted)


@Op
def causal_conv1d(
    params: dict[str, Array], x: Array, *, stride: Any = 1, dilation: Any = 1, groups: int = 1
) -> tuple[Array, Convolved]:
    """The convolution of sequences that sees the present and the past only: zeros are put before the beginning.

    Shapes: params.w (O, C / groups, K), params.b (O,), x (N, C, L) -> y (N, O, ceil(L / stride))
    Math:
        y[n, o, i]  = b[o] + sum_ck w[o, c, k] x[n, c, stride i - dilation (K - 1 - k)]
        dw, dx, db  as conv2d
    Errors: as conv2d.
    Source: van den Oord et al., WaveNet (2016). Conventions: keras's padding="causal"; the last tap sees the present.

    >>> import numpy as np, purenet as pn
    >>> pn.causal_conv1d({"w": np.array([[[10.0, 1.0]]])}, np.array([[[1.0, 2.0, 3.0]]]))
    array([[[ 1., 12., 23.]]])
    """
    (w,) = fields("causal_conv1d", params, "w", optional=("b",))[:1]
    (step,) = integers("causal_conv1d", "dilation", dilation, 1)
    past = step * (w.shape[-1] - 1) if w.ndim == 3 else 0
    return convolve("causal_conv1d", params, x, 1, stride, ((past, 0),), dilation, groups)


@causal_conv1d.pullback
def causal_conv1d_bwd(residuals: Convolved, dy: Array) -> tuple[dict[str, Array], Array]:
    return convolve_bwd(residuals, dy)


@Op
def depthwise_conv2d(
    params: dict[str, Array], x: Array, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> tuple[Array, Convolved]:
    """The convolution of each channel with M filters of its own; options as conv2d.

    Shapes: params.w (C M, 1, KH, KW), params.b (C M,), x (N, C, H, W) -> y (N, C M, OH, OW)
    Math:
        y[n, (c, m), i, j] = b[c, m] + sum_kl w[(c, m), k, l] x[n, c, h(i, k), v(j, l)], h and v as in conv2d
        dw, dx, db         as conv2d with groups = C
    Errors: as conv2d; ValueError unless C divides the number of filters.
    Source: Sifre, Rigid-motion scattering for image classification (2014). Conventions: torch's conv2d with groups = C, the
        filters of a channel side by side; keras's depthwise_kernel is (KH, KW, C, M).

    >>> import numpy as np, purenet as pn
    >>> x = np.array([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    >>> pn.depthwise_conv2d({"w": np.array([[[[1.0, 1.0]]], [[[1.0, -1.0]]]])}, x)
    array([[[[ 3.]],
    <BLANKLINE>
            [[-1.]]]])
    """
    check_image("depthwise_conv2d", x, 2)
    return convolve("depthwise_conv2d", params, x, 2, stride, padding, dilation, x.shape[1])


@depthwise_conv2d.pullback
def depthwise_conv2d_bwd(residuals: Convolved, dy: Array) -> tuple[dict[str, Array], Array]:
    return convolve_bwd(residuals, dy)


@Op
def separable_conv2d(
    params: dict[str, Array], x: Array, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1
) -> tuple[Array, tuple[Convolved, Convolved]]:
    """A depthwise convolution, then one with filters of a single entry over all channels; options as conv2d, for the first.

    Shapes: params.wd (C M, 1, KH, KW), params.wp (O, C M, 1, 1), params.b (O,), x (N, C, H, W) -> y (N, O, OH, OW)
    Math:
        y = conv2d({wp, b}, h),  h = depthwise_conv2d({wd}, x)
        dwp, db, dh and dwd, dx  as conv2d
    Errors: as conv2d; ValueError unless C divides the number of depthwise filters and wp has a channel for each of them.
    Source: Chollet, Xception (2017). Conventions: keras's SeparableConv2D: nothing between the two, one bias at the end.

    >>> import numpy as np, purenet as pn
    >>> params = {"wd": np.array([[[[1.0, 1.0]]], [[[1.0, -1.0]]]]), "wp": np.array([[[[1.0]], [[10.0]]]])}
    >>> pn.separable_conv2d(params, np.array([[[[1.0, 2.0]], [[3.0, 4.0]]]]))
    array([[[[-7.]]]])
    """
    name = "separable_conv2d"
    wd, wp, b = fields(name, params, "wd", "wp", optional=("b",))
    check_image(name, x, 2)
    if wp.ndim != 4 or wp.shape[2:] != (1, 1):
        raise ValueError(f"{name}: params.wp must have shape (O, C M, 1, 1), got {wp.shape}")
    h, depthwise = convolve(name, {"w": wd}, x, 2, stride, padding, dilation, x.shape[1], "wd")
    y, pointwise = convolve(name, {"w": wp} if b is None else {"w": wp, "b": b}, h, 2, 1, 0, 1, 1, "wp")
    return y, (depthwise, pointwise)


@separable_conv2d.pullback
def separable_conv2d_bwd(residuals: tuple[Convolved, Convolved], dy: Array) -> tuple[dict[str, Array], Array]:
    depthwise, pointwise = residuals
    last, dh = convolve_bwd(pointwise, dy)
    first, dx = convolve_bwd(depthwise, dh)
    dparams = {"wd": first["w"], "wp": last["w"]}
    return (dparams | {"b": last["b"]} if "b" in last else dparams), dx


def convolve(
    op: str, params: Any, x: Array, n: int, stride: Any, padding: Any, dilation: Any, groups: Any, name: str = "w"
) -> tuple[Array, Convolved]:
    """The convolution over n axes, for ops of any name; `name` is that of their weights."""
    w, b, axes, groups = checked(op, params, x, n, stride, padding, dilation, groups, name)
    y = outputs(x, w, axes, groups)
    if b is not None:
        y += b.reshape(-1, *[1] * n)
    return y, Convolved(x, w, axes, groups, b is not None)


def convolve_bwd(residuals: Convolved, dy: Array, wanted: Container[int] = ALL) -> tuple[dict[str, Array], Any]:
    """The cotangents of the parameters and, if it is wanted, of x."""
    x, w, axes, groups, has_bias = residuals
    dx, dw = inputs_and_weights(x, w, dy, axes, groups) if 1 in wanted else (None, weights(x, dy, axes, groups))
    dparams = {"w": dw}
    if has_bias:
        dparams["b"] = np.ascontiguousarray(dy).sum(axis=(0, *range(2, dy.ndim)))
    return dparams, dx
