"""Where a token stands: rotations of queries and keys, vectors to be added, learned or of sinusoids, and biases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet.attention.masks import sizes
from purenet.checks import array_of, boolean, fields, integer, number
from purenet.op import Array, Op

__all__ = [
    "alibi_bias",
    "alibi_slopes",
    "frequencies_of",
    "learned_positions",
    "rotary_embedding",
    "rotate",
    "rotate_back",
    "rotated",
    "sinusoidal_positions",
]


@Op
def rotary_embedding(x: Array, *, positions: Any = None, base: float = 10000.0, interleaved: bool = False) -> tuple[Array, Any]:
    """Queries or keys rotated by their position, so that a product of two depends on the distance between them.

    Shapes: x (..., T, N, H), H even, positions that broadcast to (..., T), 0..T-1 if none are given -> y (..., T, N, H)
    Math, with the angle a = position base^(-2i/H) of the pair i, (x_i, x_(i + H/2)) or, interleaved, (x_2i, x_(2i+1)):
        y  = (x_1 cos a - x_2 sin a, x_2 cos a + x_1 sin a)
        dx = (dy_1 cos a + dy_2 sin a, dy_2 cos a - dy_1 sin a), the rotation by -a
    Errors: ValueError where H is odd, `positions` do not broadcast, `base` is not positive, or `interleaved` is not True or
        False; TypeError unless `positions` are real numbers.
    Source: Su et al., RoFormer (2021). Conventions: the paper interleaves; the default pairs the two halves, as GPT-NeoX, Llama
        in transformers, and equinox, whose base is named theta. Angles are computed in float64.

    >>> import numpy as np, purenet as pn
    >>> x = np.array([[[1.0, 0.0]], [[1.0, 0.0]]])
    >>> pn.rotary_embedding(x, positions=np.array([0.0, np.pi / 2])).round(12)[:, 0]
    array([[1., 0.],
           [0., 1.]])
    """
    return rotate("rotary_embedding", x, positions=positions, base=base, interleaved=interleaved)


@rotary_embedding.pullback
def rotary_embedding_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    return (rotate_back(residuals, dy),)


@Op
def learned_positions(params: dict[str, Array], x: Array) -> tuple[Array, Any]:
    """A learned vector for each position, added to x.

    Shapes: w (P, D), x (..., T, D), T at most P -> y (..., T, D)
    Math, with t the position:
        y_t  = x_t + w_t
        dx_t = dy_t,  dw_t = the sum of dy_t over the leading dimensions, 0 for the positions from T on
    Errors: ValueError where x has more positions than w, or another width.
    Source: Gehring et al. (2017); Radford et al., GPT-2 (2019). Conventions: the first token stands at position 0.

    >>> import numpy as np, purenet as pn
    >>> w = np.array([[1.0], [2.0], [3.0]])
    >>> y, pullback = pn.vjp(pn.learned_positions, {"w": w}, np.array([[[10.0], [20.0]], [[30.0], [40.0]]]))
    >>> y[..., 0], pullback(y)[0]["w"][:, 0]
    (array([[11., 22.],
           [31., 42.]]), array([42., 64.,  0.]))
    """
    op = "learned_positions"
    (w,) = fields(op, params, "w")
    if w.ndim != 2:
        raise ValueError(f"{op}: params.w must have shape (positions, width), got {w.shape}")
    if x.ndim < 2 or x.shape[-1] != w.shape[1] or x.shape[-2] > len(w):
        wanted = f"(..., T, {w.shape[1]}) with T at most {len(w)}"
        raise ValueError(f"{op}: x must have shape {wanted} to match params.w {w.shape}, got {x.shape}")
    return x + w[: x.shape[-2]], w.shape


@learned_positions.pullback
def learned_positions_bwd(shape: tuple[int, ...], dy: Array) -> tuple[dict[str, Array], Array]:
    dw = np.zeros(shape, dy.dtype)
    dw[: dy.shape[-2]] = dy.reshape(math.prod(dy.shape[:-2]), *dy.shape[-2:]).sum(axis=0)
    return {"w": dw}, dy.copy()


def rotate(op: str, x: Array, *, positions: Any = None, base: float = 10000.0, interleaved: bool = False) -> tuple[Array, Any]:
    """`x` rotated by its positions, for any op that has these options."""
    if x.ndim < 3 or x.shape[-1] % 2:
        raise ValueError(f"{op}: x must have shape (..., T, N, H) with an even H, got {x.shape}")
    boolean(op, "interleaved", interleaved)
    frequencies = frequencies_of(op, x.shape[-1], base)
    places = np.arange(x.shape[-3]) if positions is None else array_of(op, "positions", positions)
    if places.dtype.kind not in "iuf":
        raise TypeError(f"{op}: positions must be real numbers, got {places.dtype}")
    if not np.isfinite(places).all():
        raise ValueError(f"{op}: positions must be finite, got {places[~np.isfinite(places)][0]}")
    try:
        np.broadcast_to(places, x.shape[:-2])
    except ValueError:
        raise ValueError(f"{op}: positions must have a shape that broadcasts to {x.shape[:-2]}, got {places.shape}") from None
    angles = places.astype(np.float64)[..., None, None] * frequencies
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    return rotated(x, cos, sin, interleaved), (cos, sin, interleaved)


def rotate_back(residuals: Any, dy: Array) -> Array:
    """The cotangent of the x of `rotate`."""
    cos, sin, interleaved = residuals
    return rotated(dy, cos, -sin, interleaved)


def rotated(x: Array, cos: Array, sin: Array, interleaved: bool) -> Array:
    """`x` with its pairs rotated by angles of these cosines and sines."""
    y = np.empty(x.shape, x.dtype)
    one, two = _pairs(x, interleaved)
    first, second = _pairs(y, interleaved)
    first[...] = one * cos - two * sin
    second[...] = two * cos + one * sin
    return y


def _pairs(x: Array, interleaved: bool) -> tuple[Array, Array]:
    """The first and the second entries of all pairs, as views."""
    half = x.shape[-1] // 2
    return (x[..., ::2], x[..., 1::2]) if interleaved else (x[..., :half], x[..., half:])


def sinusoidal_positions(
    length: int, width: int, *, base: float = 10000.0, interleaved: bool = True, dtype: Any = np.float64
) -> Array:
    """Sines and cosines (length, width) of the positions, to be added to embeddings: Vaswani et al. (2017), section 3.5.

    Column 2i is the sine and column 2i + 1 the cosine of position / base^(2i / width), as in the paper; without `interleaved`
    all sines come first, as in tensor2tensor.

    >>> import purenet as pn
    >>> pn.sinusoidal_positions(2, 4).round(4)
    array([[0.    , 1.    , 0.    , 1.    ],
           [0.8415, 0.5403, 0.01  , 1.    ]])
    """
    op = "sinusoidal_positions"
    rows, columns = integer(op, "length", length, 0), integer(op, "width", width, 0)
    if columns % 2:
        raise ValueError(f"{op}: width must be even, got {width}")
    boolean(op, "interleaved", interleaved)
    angles = np.arange(rows)[:, None] * frequencies_of(op, columns, base)
    y = np.empty((rows, columns), dtype)
    first, second = _pairs(y, interleaved)
    first[...], second[...] = np.sin(angles), np.cos(angles)
    return y


def alibi_slopes(heads: int) -> Array:
    """The slope of each head (N,): a geometric sequence from 2^(-8/N) to 2^-8, for N a power of 2. Press et al. (2022).

    For another N, as in the authors' code, the slopes of the next lower power of 2 come first, and then every other slope of
    the next higher one.

    >>> import purenet as pn
    >>> pn.alibi_slopes(4)
    array([0.25      , 0.0625    , 0.015625  , 0.00390625])
    """
    count = integer("alibi_slopes", "heads", heads, 1)
    lower = 2 ** int(math.log2(count))
    exponents = [-8 * (i + 1) / lower for i in range(lower)] + [-4 * (2 * i + 1) / lower for i in range(count - lower)]
    return np.asarray(np.exp2(exponents))


def alibi_bias(heads: int, queries: int, keys: int | None = None, *, offset: int = 0, dtype: Any = np.float64) -> Array:
    """The bias (N, T, S) of attention with linear biases: each head's slope times minus the distance of query and key.

    Query t stands at position t + offset, as in causal_mask, which it usually goes with: without it, keys behind the query
    count by their distance too.

    >>> import purenet as pn
    >>> pn.alibi_bias(8, 3)[0]
    array([[ 0. , -0.5, -1. ],
           [-0.5,  0. , -0.5],
           [-1. , -0.5,  0. ]])
    """
    slopes = alibi_slopes(heads)
    rows, columns = sizes("alibi_bias", queries, keys)
    shift = integer("alibi_bias", "offset", offset)
    ahead = np.arange(columns) - np.arange(rows)[:, None] - shift
    return np.asarray((slopes[:, None, None] * -np.abs(ahead)).astype(dtype))


def frequencies_of(op: str, width: int, base: Any) -> Array:
    """The angle between neighbouring positions in radians, for each of width / 2 pairs."""
    value = number(op, "base", base, above=0)
    return np.asarray(value ** (-np.arange(0, width, 2) / max(width, 1)))
