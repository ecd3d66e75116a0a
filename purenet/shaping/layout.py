"""The same entries in another shape or order, and a check of the shape."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import empty

from purenet.checks import axes as checked_axes
from purenet.checks import integers, one_axis
from purenet.op import Array, Op

__all__ = [
    "ensure_shape",
    "expand_dims",
    "flatten",
    "flip",
    "new_axes",
    "pixel_shuffle",
    "reshape",
    "transpose",
]


@Op
def reshape(x: Array, *, shape: int | tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """The entries of x in another shape, in the same order (the last axis runs fastest); one size may be -1, to be inferred.

    Shapes: x (...) -> y `shape`
    Math:
        y  = the entries of x
        dx = the entries of dy, in the shape of x
    Errors: TypeError unless `shape` is an integer or a tuple of them; ValueError where x has another number of entries, or no
        one size follows from it.
    Source: jax.numpy.reshape. Conventions: y is a view of x where NumPy can give one. Without entries a -1 beside a 0 could
        be anything and raises.

    >>> import numpy as np, purenet as pn
    >>> pn.reshape(np.array([1.0, 2.0, 3.0, 4.0]), shape=(2, -1))
    array([[1., 2.],
           [3., 4.]])
    """
    sizes = list(integers("reshape", "shape", shape, len(shape) if isinstance(shape, tuple | list) else 1, low=-1))
    known = math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) == 1 and known and x.size % known == 0:
        sizes[sizes.index(-1)] = x.size // known
    if -1 in sizes or math.prod(sizes) != x.size:
        raise ValueError(f"reshape: shape must hold the {x.size} entries of x {x.shape}, got {shape}")
    return x.reshape(sizes), x.shape


@reshape.pullback
def reshape_bwd(shape: tuple[int, ...], dy: Array) -> tuple[Array]:
    return (dy.reshape(shape, copy=True),)


@Op
def ensure_shape(x: Array, *, shape: tuple[int | None, ...]) -> tuple[Array, None]:
    """The array x itself, if it has this shape; None stands for any size.

    Shapes: x (...) -> y (...)
    Math:
        y  = x
        dx = dy
    Errors: ValueError where x has another number of axes or another size than `shape` says; TypeError unless that is a tuple of
        integers and None.
    Source: tf.ensure_shape; keras.Input. Conventions: the first stage of a net that would take images of another size for its
        own. y is a view of x.

    >>> import numpy as np, purenet as pn
    >>> pn.ensure_shape(np.zeros((2, 3)), shape=(None, 4))
    Traceback (most recent call last):
    ValueError: ensure_shape: x must have shape (any, 4), got (2, 3)
    """
    whole = (int, np.integer, type(None))
    if not isinstance(shape, tuple | list) or not all(isinstance(n, whole) and not isinstance(n, bool) for n in shape):
        raise TypeError(f"ensure_shape: shape must be a tuple of integers and None, got {shape!r}")
    if any(n is not None and n < 0 for n in shape):
        raise ValueError(f"ensure_shape: shape must hold no size below 0, got {shape!r}")
    if len(shape) != x.ndim or any(n not in (None, m) for n, m in zip(shape, x.shape, strict=True)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise ValueError(f"ensure_shape: x must have shape ({wanted}{',' * (len(shape) == 1)}), got {x.shape}")
    return x.view(), None


@ensure_shape.pullback
def ensure_shape_bwd(_: None, dy: Array) -> tuple[Array]:
    return (dy.copy(),)


@Op
def flatten(x: Array, *, start_dim: int = 1, end_dim: int = -1) -> tuple[Array, tuple[int, ...]]:
    """The axes from `start_dim` to `end_dim` as one, the last of them running fastest: images to rows, by default.

    Shapes: x (N, ...) -> y (N, the product of the others), or x (..., S, ..., E, ...) -> y (..., S ... E, ...)
    Math:
        y  = the entries of x
        dx = the entries of dy, in the shape of x
    Errors: ValueError where x has no such axis, or start_dim comes after end_dim; TypeError unless both are integers.
    Source: torch.nn.Flatten. Conventions: torch.flatten, the function, starts at axis 0, as jax.numpy.ravel does. y is a view
        of x where NumPy can give one.

    >>> import numpy as np, purenet as pn
    >>> pn.flatten(np.array([[[1.0, 2.0], [3.0, 4.0]]]))
    array([[1., 2., 3., 4.]])
    """
    start, end = one_axis("flatten", start_dim, x, "start_dim"), one_axis("flatten", end_dim, x, "end_dim")
    if start > end:
        raise ValueError(f"flatten: start_dim must not come after end_dim in x {x.shape}, got {start_dim} and {end_dim}")
    return x.reshape(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]), x.shape


@flatten.pullback
def flatten_bwd(shape: tuple[int, ...], dy: Array) -> tuple[Array]:
    return reshape_bwd(shape, dy)


@Op
def expand_dims(x: Array, *, axis: int | tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """The array x with new axes of size 1, which are `axis` (an integer or several) of the result.

    Shapes: x (...) -> y (..., 1, ...)
    Math:
        y  = the entries of x
        dx = the entries of dy, in the shape of x
    Errors: TypeError unless `axis` is an integer or a tuple of them; ValueError where the result has no such axis, or one is
        named twice.
    Source: jax.numpy.expand_dims. Conventions: as torch.unsqueeze, which adds one axis; ONNX's Unsqueeze is the same. y is a
        view of x.

    >>> import numpy as np, purenet as pn
    >>> pn.expand_dims(np.array([1.0, 2.0]), axis=(0, -1)).shape
    (1, 2, 1)
    """
    return np.expand_dims(x, new_axes("expand_dims", axis, x.ndim)), x.shape


@expand_dims.pullback
def expand_dims_bwd(shape: tuple[int, ...], dy: Array) -> tuple[Array]:
    return reshape_bwd(shape, dy)


@Op
def transpose(x: Array, *, axes: tuple[int, ...] | None = None) -> tuple[Array, tuple[int, ...]]:
    """The array x with its axes in another order, by default reversed: axis i of the result is axis axes[i] of x.

    Shapes: x (n_0, n_1, ...) -> y (n_axes[0], n_axes[1], ...)
    Math:
        y[i_axes[0], i_axes[1], ...] = x[i_0, i_1, ...]
        dx = dy in the inverse order
    Errors: TypeError unless `axes` are integers; ValueError unless they name each axis of x once.
    Source: jax.numpy.transpose. Conventions: as torch.permute and ONNX's Transpose; torch.transpose swaps two axes. y is a
        view of x.

    >>> import numpy as np, purenet as pn
    >>> pn.transpose(np.zeros((2, 3, 4)), axes=(0, 2, 1)).shape
    (2, 4, 3)
    """
    order = tuple(reversed(range(x.ndim)))
    if axes is not None:
        order = checked_axes("transpose", tuple(axes) if isinstance(axes, list) else axes, x, "axes")
    if len(order) != x.ndim:
        raise ValueError(f"transpose: axes must name each of the {x.ndim} axes of x {x.shape} once, got {axes}")
    return x.transpose(order), order


@transpose.pullback
def transpose_bwd(order: tuple[int, ...], dy: Array) -> tuple[Array]:
    return (_copied(dy.transpose(np.argsort(order))),)


STRIP = 8
"""Columns that are copied at a time: numbers side by side in memory that then share the lines of the cache. For 1,024 x 1,024
numbers of float32 it takes 0.3 of the time of one copy, in float64 0.6; with 32 columns 0.6 in both."""

LONG = 256
"""Numbers of a column from which on a strip of them takes longer than its call."""


def _copied(a: Array) -> Array:
    """A copy of a transposed array in the usual order."""
    if a.ndim < 2 or a.strides[-1] == a.itemsize or a.size < LONG * a.shape[-1]:
        return a.copy()
    y = empty(a.shape, a.dtype)
    for i in range(0, a.shape[-1], STRIP):
        y[..., i : i + STRIP] = a[..., i : i + STRIP]
    return y


@Op
def flip(x: Array, *, axis: int | tuple[int, ...] | None = None) -> tuple[Array, tuple[int, ...]]:
    """The array x in reverse order along `axis` (an integer, several, or None for all).

    Shapes: x (...) -> y (...)
    Math:
        y[..., i, ...] = x[..., n - 1 - i, ...]
        dx = dy, reversed
    Errors: TypeError for another `axis`; ValueError where x has no such axis, or one is named twice.
    Source: jax.numpy.flip. Conventions: torch calls `axis` dims. y is a view of x; torch copies.

    >>> import numpy as np, purenet as pn
    >>> pn.flip(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    array([[3., 4.],
           [1., 2.]])
    """
    reversed_axes = checked_axes("flip", axis, x)
    return np.flip(x, reversed_axes), reversed_axes


@flip.pullback
def flip_bwd(reversed_axes: tuple[int, ...], dy: Array) -> tuple[Array]:
    return (np.flip(dy, reversed_axes).copy(),)


@Op
def pixel_shuffle(x: Array, *, upscale_factor: int) -> tuple[Array, int]:
    """Every r^2 channels as one image r times as high and wide, with r = `upscale_factor`: each pixel becomes r x r pixels.

    Shapes: x (..., C r^2, H, W) -> y (..., C, H r, W r)
    Math:
        y[..., c, h r + i, w r + j] = x[..., (c r + i) r + j, h, w]
        dx[..., (c r + i) r + j, h, w] = dy[..., c, h r + i, w r + j]
    Errors: ValueError unless x has a number of channels that r^2 divides, or r is less than 1; TypeError unless r is an
        integer.
    Source: Shi et al., Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
        network (2016). Conventions: as torch, and ONNX's DepthToSpace in the mode CRD; its default DCR, which is
        TensorFlow's, has the channels of a pixel in another order.

    >>> import numpy as np, purenet as pn
    >>> pn.pixel_shuffle(np.array([[[1.0]], [[2.0]], [[3.0]], [[4.0]]]), upscale_factor=2)
    array([[[1., 2.],
            [3., 4.]]])
    """
    (r,) = integers("pixel_shuffle", "upscale_factor", upscale_factor, 1)
    if x.ndim < 3 or x.shape[-3] % r**2:
        raise ValueError(f"pixel_shuffle: x must have shape (..., a multiple of {r**2}, H, W), got {x.shape}")
    *batch, c, h, w = x.shape
    blocks = x.reshape(*batch, c // r**2, r, r, h, w)
    i = blocks.ndim - 4
    return blocks.transpose(*range(i), i + 2, i, i + 3, i + 1).reshape(*batch, c // r**2, h * r, w * r, copy=True), r


@pixel_shuffle.pullback
def pixel_shuffle_bwd(r: int, dy: Array) -> tuple[Array]:
    *batch, c, h, w = dy.shape
    blocks = dy.reshape(*batch, c, h // r, r, w // r, r)
    i = blocks.ndim - 4
    return (blocks.transpose(*range(i), i + 1, i + 3, i, i + 2).reshape(*batch, c * r**2, h // r, w // r, copy=True),)


def new_axes(op: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """`axis`, an integer or a tuple of them, as axes of an array that has them beside its `ndim` others."""
    given = axis if isinstance(axis, tuple) else (axis,)
    total = ndim + len(given)
    for a in given:
        if isinstance(a, bool) or not isinstance(a, int | np.integer):
            raise TypeError(f"{op}: axis must be an integer or a tuple of integers, got {axis!r}")
        if not -total <= a < total:
            raise ValueError(f"{op}: axis must be one of the {total} axes of the result, got {axis}")
    named = tuple(int(a) % total for a in given)
    if len(set(named)) != len(named):
        raise ValueError(f"{op}: axis must name each axis once, got {axis}")
    return named
