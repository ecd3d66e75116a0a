"""conv2d as a whole: its checks, its value, its cotangents. The convolutions of `correlation` use the same checks.

A call of few multiplications takes the sums of the docstring as they stand. A larger one takes the products of matrices of
`matrix_products`, which give the same numbers but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Container
from typing import Any, NamedTuple

import numpy as np

from purenet.checks import fields, integers
from purenet.convolution.matrix_products import inputs_and_weights, outputs, weights
from purenet.op import ALL, Array, Op
from purenet.windows import LETTERS, Axis, check_image, slide

__all__ = ["Convolved", "check_filters", "checked", "conv2d"]

PLAIN = 500
"""Up to this many multiplications conv2d computes its sums one by one.

The measured time forward and backward, in units of that of the products of matrices: 0.7 at 100 multiplications, 0.8 at
2,600, 1.0 at 4,600, 2.6 at 14,000, 7 at 300,000. The bound is low so that the catalogue checks both ways.
"""


class Convolved(NamedTuple):
    """Residuals of every convolution."""

    x: Array
    w: Array
    axes: tuple[Axis, ...]
    groups: int
    has_bias: bool


@Op
def conv2d(
    params: dict[str, Array], x: Array, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[Array, Convolved]:
    """The convolution of images with filters, without a bias if `params` has no `b`.

    `stride`, `padding` and `dilation` are one integer, or one for each of H and W. `padding` may also hold pairs
    (before, after), or be "VALID" (none), "SAME" (ceil(size / stride) windows, the odd entry after the image) or "SAME_LOWER"
    (the odd entry before it). The channels of x and the filters come in `groups`, which do not see each other.

    Shapes: params.w (O, C / groups, KH, KW), params.b (O,), x (N, C, H, W) -> y (N, O, OH, OW),
        OH = (H + before + after - dilation (KH - 1) - 1) // stride + 1
    Math, with h(i, k) = stride i + dilation k - before, v(j, l) alike, c over o's group, and x = 0 outside the image:
        y[n, o, i, j]  = b[o] + sum_ckl w[o, c, k, l] x[n, c, h(i, k), v(j, l)]
        dw[o, c, k, l] = sum_nij dy[n, o, i, j] x[n, c, h(i, k), v(j, l)]
        dx[n, c, h, v] = sum of dy[n, o, i, j] w[o, c, k, l] over all o, i, j, k, l with h(i, k) = h and v(j, l) = v
        db[o]          = sum_nij dy[n, o, i, j]
    Errors: TypeError for options that are not integers; ValueError where the channels do not match or `groups` divides neither
        C nor O, where no window fits, and for options that are negative, zero (padding may be) or of another length.
    Source: LeCun et al., Gradient-based learning applied to document recognition (1998). Conventions: cross-correlation (the
        filter is not flipped), NCHW and OIHW, as torch and jax.lax.conv_general_dilated; keras and flax have NHWC and HWIO.

    >>> import numpy as np, purenet as pn
    >>> x = np.array([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])
    >>> pn.conv2d({"w": np.array([[[[1.0, 0.0], [0.0, 10.0]]]])}, x)
    array([[[[51., 62.]]]])
    """
    w, b, axes, groups = checked("conv2d", params, x, 2, stride, padding, dilation, groups)
    if _multiplications(x, w, axes) <= PLAIN:
        w_g, x_g = _by_group(w, groups), _under_taps(x, axes, groups)
        y = np.einsum("gockl,ngcijkl->ngoij", w_g, x_g).reshape(len(x), len(w), *(a.out for a in axes))
    else:
        y = outputs(x, w, axes, groups)
    if b is not None:
        y += b[:, None, None]
    return y, Convolved(x, w, axes, groups, b is not None)


@conv2d.pullback
def conv2d_bwd(residuals: Convolved, dy: Array, *, wanted: Container[int] = ALL) -> tuple[dict[str, Array], Any]:
    x, w, axes, groups, has_bias = residuals
    if _multiplications(x, w, axes) <= PLAIN:
        w_g, x_g = _by_group(w, groups), _under_taps(x, axes, groups)
        dy_g = np.ascontiguousarray(dy).reshape(len(x), groups, len(w) // groups, *dy.shape[2:])
        dw = np.einsum("ngoij,ngcijkl->gockl", dy_g, x_g).reshape(w.shape)
        dx = _at_their_places(np.einsum("ngoij,gockl->ngcijkl", dy_g, w_g), x, axes) if 1 in wanted else None
    else:
        dx, dw = inputs_and_weights(x, w, dy, axes, groups) if 1 in wanted else (None, weights(x, dy, axes, groups))
    dparams = {"w": dw}
    if has_bias:
        dparams["b"] = np.ascontiguousarray(dy).sum(axis=(0, 2, 3))
    return dparams, dx


# ------------------------------------------------------------------------------------ the indices n, g o, g c, i j, k l


def _by_group(w: Array, groups: int) -> Array:
    """w[g, o, c, k, l]: the filters of each group."""
    return np.ascontiguousarray(w).reshape(groups, len(w) // groups, *w.shape[1:])


def _under_taps(x: Array, axes: tuple[Axis, ...], groups: int) -> Array:
    """x[n, g, c, h(i, k), v(j, l)], of each group: an array with the axes n, g, c, i, j, k, l."""
    padded = np.zeros(_padded_shape(x, axes), x.dtype)
    padded[_image(axes)] = x
    entries = np.asarray(padded[_places(axes)])
    return entries.reshape(len(x), groups, x.shape[1] // groups, *entries.shape[2:])


def _at_their_places(d: Array, x: Array, axes: tuple[Axis, ...]) -> Array:
    """The adjoint of `_under_taps`: the sum of all that the windows give to each entry of x."""
    padded = np.zeros(_padded_shape(x, axes), d.dtype)
    np.add.at(padded, _places(axes), d.reshape(*x.shape[:2], *d.shape[3:]))
    return np.array(padded[_image(axes)])


def _places(axes: tuple[Axis, ...]) -> tuple[Any, ...]:
    """The index (n, c, h(i, k) + before, v(j, l) + before) of the padded image, for all i, j, k, l.

    That is x[n, c, h(i, k), v(j, l)], because each axis of the padded image begins with its own `before` entries of padding.
    """
    h, v = (a.entries + a.low for a in axes)
    return slice(None), slice(None), h[:, None, :, None], v[None, :, None, :]


def _padded_shape(x: Array, axes: tuple[Axis, ...]) -> tuple[int, ...]:
    return *x.shape[:2], *(a.low + a.size + a.high for a in axes)


def _image(axes: tuple[Axis, ...]) -> tuple[Any, ...]:
    """The slices of the padded image that hold x."""
    return slice(None), slice(None), *(slice(a.low, a.low + a.size) for a in axes)


def _multiplications(x: Array, w: Array, axes: tuple[Axis, ...]) -> int:
    """The number of products that a convolution adds: one for each weight, window and image."""
    return math.prod((len(x), *w.shape, *(a.out for a in axes)))


# ------------------------------------------------------------------------------------------------------ what it refuses


def checked(
    op: str, params: Any, x: Array, n: int, stride: Any, padding: Any, dilation: Any, groups: Any, name: str = "w"
) -> tuple[Array, Array | None, tuple[Axis, ...], int]:
    """Weights, bias, windows and groups of a convolution over n axes; `name` is that of its weights."""
    w, b = fields(op, params, "w", optional=("b",))
    sizes = check_image(op, x, n)
    (groups,) = integers(op, "groups", groups, 1)
    check_filters(op, name, w, b, n, groups)
    if x.shape[1] != groups * w.shape[1]:
        raise ValueError(
            f"{op}: x has {x.shape[1]} channels, {name} expects {groups * w.shape[1]} "
            f"(params.{name} {w.shape}, groups {groups})"
        )
    sizes_of_windows = set(w.shape[2:])
    window = w.shape[2] if len(sizes_of_windows) == 1 else w.shape[2:]
    return w, b, slide(op, sizes, window, stride, padding, dilation), groups


def check_filters(op: str, name: str, w: Array, b: Array | None, n: int, groups: int, *, transposed: bool = False) -> None:
    """Raise unless weights and bias have the right axes and come in groups; `transposed` weights have the inputs first."""
    letters = f"({'I, O' if transposed else 'O, C'} / groups, K{LETTERS[n].replace(', ', ', K')})"
    if w.ndim != n + 2 or min(w.shape) < 1:
        raise ValueError(f"{op}: params.{name} must have shape {letters}, none of them 0, got {w.shape}")
    if w.shape[0] % groups:
        raise ValueError(f"{op}: params.{name} {w.shape} must have a multiple of {groups} filters, one for each group")
    channels = groups * w.shape[1] if transposed else w.shape[0]
    if b is not None and b.shape != (channels,):
        raise ValueError(f"{op}: params.b must have shape ({channels},) to match params.{name} {w.shape}, got {b.shape}")
