"""Images sampled at places that are arguments, too: the two halves of a spatial transformer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from purenet.checks import boolean, choice, integers
from purenet.op import Array, Op
from purenet.shaping.selection import weighing

__all__ = ["affine_grid", "grid_sample"]


class _Places(NamedTuple):
    """Along one axis, of every place: the pixel at or before it, its distance from that, and how it moves with the grid."""

    pixel: Array
    part: Array
    slope: Array


@Op
def grid_sample(
    x: Array, grid: Array, *, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = False
) -> tuple[Array, Any]:
    """Images sampled at the places of a grid, between pixels by bilinear interpolation or at the nearest pixel.

    `padding_mode` says what is outside: "zeros", the "border" repeated, or the image's "reflection".

    Shapes: x (N, C, H, W), grid (N, K, L, 2) -> y (N, C, K, L)
    Math, for each place g = grid[n, k, l], whose g_0 is across, and -1 and 1 are the image's ends:
        u    = ((g_0 + 1) W - 1) / 2,  with align_corners (g_0 + 1) (W - 1) / 2;  v from g_1 and H in the same way
        border: u kept within 0 and W - 1;  reflection: u reflected at -1/2 and W - 1/2 (or at 0 and W - 1), then kept
        y    = (1 - t) (1 - s) x[j, i] + t (1 - s) x[j, i+1] + (1 - t) s x[j+1, i] + t s x[j+1, i+1]
               with i = floor(u), t = u - i, j = floor(v), s = v - j;  nearest: x at u and v rounded
        dx[j, i] = the sum of the dy that it is part of, with the same weights
        dg_0 = sum over channels of ((1 - s) (x[j, i+1] - x[j, i]) + s (x[j+1, i+1] - x[j+1, i])) dy  du/dg_0;  nearest: 0
    Errors: ValueError unless x and grid have these shapes, x has pixels and grid finite places, or for an unknown mode.
    Source: Jaderberg et al., Spatial transformer networks (2015); torch.nn.functional.grid_sample. Conventions: at a pixel's
        center, a corner of the function, dg is the slope towards larger g, and where a border or a reflection keeps u at the
        first or last pixel it is 0. Halves are rounded to even. torch's bicubic mode and volumes are not here.

    >>> import numpy as np, purenet as pn
    >>> x = np.array([[[[1.0, 3.0], [5.0, 7.0]]]])
    >>> grid = np.array([[[[0.0, 0.0], [0.25, -1.0], [9.0, 0.0]]]])
    >>> pn.grid_sample(x, grid, align_corners=True), pn.grid_sample(x, grid, padding_mode="border")[0, 0, 0, 2]
    (array([[[[4.  , 2.25, 0.  ]]]]), np.float64(5.0))
    """
    who = "grid_sample"
    choice(who, "mode", mode, ("bilinear", "nearest"))
    choice(who, "padding_mode", padding_mode, ("zeros", "border", "reflection"))
    boolean(who, "align_corners", align_corners)
    if x.ndim != 4 or min(x.shape[2:]) < 1:
        raise ValueError(f"{who}: x must have shape (N, C, H, W) with pixels, got {x.shape}")
    if grid.ndim != 4 or grid.shape[0] != x.shape[0] or grid.shape[3] != 2:
        raise ValueError(f"{who}: grid must have shape ({x.shape[0]}, K, L, 2) for x {x.shape}, got {grid.shape}")
    if not np.isfinite(grid).all():
        raise ValueError(f"{who}: grid must be finite, got {grid[~np.isfinite(grid)][0]}")
    n, c, h, w = x.shape
    across = _places(grid[..., 0].ravel(), w, padding_mode, align_corners, mode)
    down = _places(grid[..., 1].ravel(), h, padding_mode, align_corners, mode)
    # One more row of zeros stands for all pixels outside.
    pixels = np.concatenate([x.transpose(0, 2, 3, 1).reshape(n * h * w, c), np.zeros((1, c), x.dtype)])
    image = np.repeat(np.arange(n), grid.shape[1] * grid.shape[2])
    entries = np.stack([_row(image, down.pixel + j, across.pixel + i, n, h, w) for j in (0, 1) for i in (0, 1)], axis=1)
    weights = np.stack([b * a for b in (1 - down.part, down.part) for a in (1 - across.part, across.part)], axis=1)
    matrix = weighing(entries, weights, len(pixels))
    y = (matrix @ pixels).reshape(*grid.shape[:3], c).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(y), (x.shape, pixels, entries, matrix, across, down)


@grid_sample.pullback
def grid_sample_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    (n, c, h, w), pixels, entries, matrix, across, down = residuals
    rows = dy.transpose(0, 2, 3, 1).reshape(len(entries), c)
    dx = (matrix.T @ rows)[:-1].reshape(n, h, w, c).transpose(0, 3, 1, 2)
    x00, x01, x10, x11 = (np.sum(pixels[corner] * rows, axis=1) for corner in entries.T)
    t, s = across.part, down.part
    du = ((1 - s) * (x01 - x00) + s * (x11 - x10)) * across.slope
    dv = ((1 - t) * (x10 - x00) + t * (x11 - x01)) * down.slope
    return np.ascontiguousarray(dx), np.stack([du, dv], axis=-1).reshape(n, *dy.shape[2:], 2)


def _places(g: Array, size: int, padding_mode: str, align_corners: bool, mode: str) -> _Places:
    """Where the coordinates g are along an axis of so many pixels."""
    scale = (size - 1) / 2 if align_corners else size / 2
    u = (g + 1) * scale - (0 if align_corners else 0.5)
    slope = np.full_like(g, scale)
    if padding_mode == "reflection":
        low, length = (0.0, size - 1.0) if align_corners else (-0.5, float(size))
        period = np.remainder(u - low, 2 * length) if length else np.zeros_like(u)
        u, slope = low + np.minimum(period, 2 * length - period), np.where(period > length, -slope, slope)
    if padding_mode == "zeros":
        u = np.clip(u, -2, size + 1)  # as far outside as anything, but small enough for an integer
    else:
        slope = np.where((u > 0) & (u < size - 1), slope, 0)
        u = np.clip(u, 0, size - 1)
    pixel = np.rint(u) if mode == "nearest" else np.floor(u)
    part = np.zeros_like(u) if mode == "nearest" else u - pixel
    return _Places(pixel.astype(np.intp), part, np.zeros_like(slope) if mode == "nearest" else slope)


def _row(image: Array, j: Array, i: Array, n: int, h: int, w: int) -> Array:
    """The row of pixel (j, i) of these images, or that of zeros."""
    inside = (j >= 0) & (j < h) & (i >= 0) & (i < w)
    return np.where(inside, (image * h + j) * w + i, n * h * w)


@Op
def affine_grid(theta: Array, *, size: Any, align_corners: bool = False) -> tuple[Array, tuple[Array, Array]]:
    """The grid of places to which affine maps take the pixels of an image, for `grid_sample`.

    Shapes: theta (N, 2, 3), size (N, C, H, W) -> y (N, H, W, 2), the grid
    Math, with the pixels' own places a_i = (2 i + 1) / W - 1 and b_j = (2 j + 1) / H - 1, or with align_corners
    a_i = 2 i / (W - 1) - 1 and b_j = 2 j / (H - 1) - 1, which are 0 for an axis of one pixel:
        y[n, j, i] = theta[n] (a_i, b_j, 1)
        dtheta[n]  = sum over j and i of dy[n, j, i] (a_i, b_j, 1)^T
    Errors: ValueError unless theta has this shape, and size is four integers above 0, the first that of theta (which may be
        0); TypeError unless they are integers.
    Source: Jaderberg et al., Spatial transformer networks (2015); torch.nn.functional.affine_grid. Conventions: the map takes
        places of the result to places of the image, so its inverse is what the image seems to undergo.

    >>> import numpy as np, purenet as pn
    >>> theta = np.array([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.25]]])
    >>> pn.affine_grid(theta, size=(1, 1, 1, 2), align_corners=True)
    array([[[[-0.5 ,  0.25],
             [ 1.5 ,  0.25]]]])
    """
    who = "affine_grid"
    n, _, h, w = integers(who, "size", size, 4, 0)
    boolean(who, "align_corners", align_corners)
    if theta.shape != (n, 2, 3):
        raise ValueError(f"{who}: theta must have shape ({n}, 2, 3) for size {size}, got {theta.shape}")
    if min(h, w) < 1:
        raise ValueError(f"{who}: size must have pixels, got {size}")
    a, b = _own_places(w, align_corners, theta.dtype), _own_places(h, align_corners, theta.dtype)
    x, y, one = (part[:, None, None] for part in np.moveaxis(theta, 2, 0))
    return x * a[:, None] + y * b[:, None, None] + one, (a, b)


@affine_grid.pullback
def affine_grid_bwd(places: tuple[Array, Array], dgrid: Array) -> tuple[Array]:
    a, b = places
    da = np.einsum("njik,i->nk", dgrid, a)
    db = np.einsum("njik,j->nk", dgrid, b)
    return (np.stack([da, db, dgrid.sum(axis=(1, 2))], axis=2),)


def _own_places(n: int, align_corners: bool, dtype: Any) -> Array:
    if align_corners:
        return (2 * np.arange(n) / max(n - 1, 1) - (n > 1)).astype(dtype)
    return ((2 * np.arange(n) + 1) / n - 1).astype(dtype)
