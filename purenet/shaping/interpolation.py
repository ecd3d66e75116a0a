"""Images resampled on another grid. The map is separable: one matrix for each axis, with few entries that are not 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from purenet.axis_products import DENSE, multiplied
from purenet.checks import choice, integers, number
from purenet.op import Array, Op
from purenet.shaping.selection import along, weighing
from purenet.windows import check_image

__all__ = ["interpolate"]

MODES = {"nearest": None, "nearest-exact": None, "area": None, "linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}

CUBIC = -0.75
"""The slope of the cubic kernel at distance 1, as in torch, OpenCV and ONNX; jax.image and Pillow have -0.5."""


class Grid(NamedTuple):
    """How an axis is resampled: what `_matrix` needs."""

    n: int
    m: int
    """Its new size."""
    step: float
    mode: str
    align_corners: bool
    dtype: Any


@Op
def interpolate(
    x: Array, *, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
) -> tuple[Array, Any]:
    """Images resampled to `size`, or to `scale_factor` times their size (rounded down): numbers, or one for each axis.

    `mode` is "nearest", "nearest-exact" or "area" for images of any number of axes, "linear" for one, "bilinear" or "bicubic"
    for two, "trilinear" for three. Where several samples of x count, each counts the more the nearer it is.

    Shapes: x (N, C, n, ...), size (m, ...) -> y (N, C, m, ...)
    Math, along each axis, with the step r = n / m, or 1 / scale_factor if that is given:
        y_i  = x_k, k = floor(r i) for nearest, floor(r (i + 1/2)) for nearest-exact
        y_i  = the mean of x_k for floor(n i / m) <= k < ceil(n (i + 1) / m) for area
        y_i  = (1 - t) x_k + t x_{k+1}, k = floor(u), t = u - k, for the linear ones, where
        u    = r (i + 1/2) - 1/2, kept within 0 and n - 1; with align_corners u = i (n - 1) / (m - 1), or 0 for m = 1
        y_i  = sum of c(|u - k|) x_k over the four nearest k for bicubic, with u not kept, beyond an end the last x_k, and
        c(d) = (a + 2) d^3 - (a + 3) d^2 + 1 for d <= 1, a (d^3 - 5 d^2 + 8 d - 4) for 1 < d <= 2, with a = -3/4
        dx_k = the sum of the dy_i that x_k is part of, with the same weights
    Errors: TypeError unless `size` is integers, `scale_factor` numbers; ValueError unless one of both is given, for an x
        without an image, an unknown mode or one for another number of axes, a result without entries, or align_corners with
        nearest or area.
    Source: torch.nn.functional.interpolate. Conventions: pixels are areas, whose centers lie at i + 1/2; with align_corners
        they are points, and the outermost ones stay where they are. jax.image.resize's nearest is nearest-exact here, its
        linear smooths before it shrinks unless antialias=False, which is this. ONNX's Resize: asymmetric with floor for
        nearest, half_pixel for linear. A scale_factor counts exactly, even where it leaves the size as it is or doubles
        it; torch's nearest then returns x, or takes each pixel twice.

    >>> import numpy as np, purenet as pn
    >>> x = np.array([[[1.0, 3.0]]])
    >>> pn.interpolate(x, size=4, mode="linear"), pn.interpolate(x, size=3, mode="linear", align_corners=True)
    (array([[[1. , 1.5, 2.5, 3. ]]]), array([[[1., 2., 3.]]]))
    """
    sizes = check_image("interpolate", x)
    choice("interpolate", "mode", mode, tuple(MODES))
    if MODES[mode] not in (None, len(sizes)):
        raise ValueError(f"interpolate: mode {mode!r} is for images of {MODES[mode]} axes, x {x.shape} has {len(sizes)}")
    if align_corners and MODES[mode] is None:
        raise ValueError(f"interpolate: align_corners is for linear, bilinear, trilinear and bicubic, got mode {mode!r}")
    if min(sizes) < 1:
        raise ValueError(f"interpolate: x must have entries to interpolate between, got {x.shape}")
    grids = tuple(
        Grid(n, m, step, mode, align_corners, x.dtype)
        for n, (m, step) in zip(sizes, _grids(sizes, size, scale_factor), strict=True)
    )
    return _resampled(x, grids), grids


@interpolate.pullback
def interpolate_bwd(grids: tuple[Grid, ...], dy: Array) -> tuple[Array]:
    return (_resampled(dy, grids, adjoint=True),)


def _resampled(x: Array, grids: tuple[Grid, ...], *, adjoint: bool = False) -> Array:
    """The product of each axis of the images with the matrix of its grid, or with the transposed one."""
    if all(_repeats(grid) for grid in grids):
        return (_summed if adjoint else _repeated)(x, [grid.m // grid.n for grid in grids])
    if all(max(grid.n, grid.m) <= DENSE for grid in grids):
        whole = (_whole_matrix(grid) for grid in grids)
        y = multiplied(x, [matrix.T if adjoint else matrix for matrix in whole])
        if y is not None:
            return y
    for axis, grid in enumerate(grids, start=2):
        matrix = _matrix(grid)
        x = along(matrix.T if adjoint else matrix, x, axis)
    return x


def _repeats(grid: Grid) -> bool:
    """Whether each entry of the axis is repeated the same number of times."""
    return grid.mode in ("nearest", "nearest-exact") and grid.m % grid.n == 0 and grid.step == grid.n / grid.m


def _repeated(x: Array, counts: Sequence[int]) -> Array:
    """Images in which each entry of the axes from the third on is repeated."""
    y = x.copy()
    for axis in reversed(range(2, x.ndim)):  # the last axis, of single numbers, while there are few of them
        y = np.repeat(y, counts[axis - 2], axis)
    return y


def _summed(dy: Array, counts: Sequence[int]) -> Array:
    """The sums of what `_repeated` makes of each entry; whole rows are added first."""
    dx = np.empty((*dy.shape[:2], *(m // count for m, count in zip(dy.shape[2:], counts, strict=True))), dy.dtype)
    for image, out in zip(dy, dx, strict=True):  # an image and its sums stay in the cache
        for axis, count in enumerate(counts, start=1):
            before = (slice(None),) * axis
            image = sum((image[*before, slice(j, None, count)] for j in range(1, count)), image[*before, ::count])
        out[...] = image
    return dx


def _grids(sizes: tuple[int, ...], size: Any, scale_factor: Any) -> list[tuple[int, float]]:
    """For each axis the size of the result, and the step between its entries in units of those of x."""
    axes = len(sizes)
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: either size or scale_factor must be given, got {size} and {scale_factor}")
    if scale_factor is None:
        return [(m, n / m) for n, m in zip(sizes, integers("interpolate", "size", size, axes), strict=True)]
    given = tuple(scale_factor) if isinstance(scale_factor, tuple | list) else (scale_factor,) * axes
    factors = [number("interpolate", "scale_factor", f, low=0) for f in given]
    if len(factors) != axes or any(n * f < 1 for n, f in zip(sizes, factors, strict=True)):
        raise ValueError(
            f"interpolate: scale_factor must be a number, or one for each of {axes} axes, that leaves entries of {sizes}, "
            f"got {scale_factor}"
        )
    return [(math.floor(n * f), 1 / f) for n, f in zip(sizes, factors, strict=True)]


@lru_cache(maxsize=256)
def _whole_matrix(grid: Grid) -> Array:
    """The matrix that takes an axis of n entries to one of m, with its zeros."""
    entries, weights = _parts(grid)
    matrix = np.zeros((grid.m, grid.n), grid.dtype)
    np.add.at(matrix, (np.arange(grid.m)[:, None], entries), weights)
    matrix.flags.writeable = False  # it is kept for the next call
    return matrix


@lru_cache(maxsize=256)
def _matrix(grid: Grid) -> Any:
    """The same as a sparse matrix."""
    matrix = weighing(*_parts(grid), grid.n)
    matrix.sum_duplicates()  # at an end the weights 1 and 0 of the same entry are 1: 0 times infinity is no number
    return matrix


def _parts(grid: Grid) -> tuple[Array, Array]:
    """For each entry of the result those that it is made of, and their weights; an entry with the weight 0 may be any."""
    n, m, step, mode, align_corners, dtype = grid
    i = np.arange(m)
    if mode == "area":
        first, count = i * n // m, -(-(i + 1) * n // m) - i * n // m
        place = np.arange(count.max())
        shares = np.where(place < count[:, None], 1 / count[:, None], 0).astype(dtype)
        return np.minimum(first[:, None] + place, n - 1), shares
    if mode == "bicubic":
        source = i * ((n - 1) / max(m - 1, 1)) if align_corners else (i + 0.5) * step - 0.5
        entries = np.floor(source).astype(np.intp)[:, None] + np.arange(-1, 3)
        return np.clip(entries, 0, n - 1), _cubic(np.abs(source[:, None] - entries)).astype(dtype)
    if MODES[mode] is None:
        place = i if mode == "nearest" else i + 0.5
        # Products before quotients: n i / m is exact where it is an integer, and must not be rounded to below it.
        source = place * n / m if step == n / m else place * step
        return source.astype(np.intp)[:, None], np.ones((m, 1), dtype)
    source = i * ((n - 1) / max(m - 1, 1)) if align_corners else np.clip((i + 0.5) * step - 0.5, 0, n - 1)
    entries = source.astype(np.intp)
    part = source - entries
    weights = np.stack([1 - part, part], axis=1).astype(dtype)
    return np.stack([entries, np.minimum(entries + 1, n - 1)], axis=1), weights


def _cubic(d: Array) -> Array:
    """The weight of an entry at distance d."""
    near = ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1
    return np.where(d <= 1, near, CUBIC * (((d - 5) * d + 8) * d - 4))
