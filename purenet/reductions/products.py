"""Products. The gradient of a factor is the product of the others, computed without a quotient, so that zeros are allowed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet.checks import axes
from purenet.op import Array, Op
from purenet.reductions.over import Axis, in_a_row, reduced, spread
from purenet.reductions.runs import sums_of_rest

__all__ = ["cumprod", "prod"]

PLAIN = 100
"""Entries up to which the gradient of cumprod is computed as it stands. The measured time, in units of that of `sums_of_rest`:
1.0 for 32 entries, 1.2 for 400, 2 to 3.5 for 65,000 and more. The bound is low so that the catalogue's cases take both ways."""


@Op
def prod(x: Array, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Any]:
    """The product over `axis` (an integer, several, or None for all); with `keepdims` these stay, with size 1.

    Shapes: x (A, n, B) -> y (A, B), or (A, 1, B), with the axis of n entries between any axes A and B
    Math:
        y    = prod_i x_i
        dx_i = dy prod_{j != i} x_j, from products of two, of four, ... of the others
    Errors: TypeError for another `axis`; ValueError where x has no such axis, or one is named twice.
    Source: jax.numpy.prod. Conventions: torch takes one axis. An empty product is 1. What is too large for its dtype is
        infinite.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.prod, np.array([[2.0, 3.0, 5.0], [2.0, 0.0, 5.0]]), axis=1)
    >>> y, pullback(np.ones(2))[0]
    (array([30.,  0.]), array([[15., 10.,  6.],
           [ 0., 10.,  0.]]))
    """
    along = axes("prod", axis, x)
    with np.errstate(over="ignore"):
        y = np.prod(x, along, keepdims=True)
    return reduced(y, along, keepdims), (x, along)


@prod.pullback
def prod_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    x, along = residuals
    order = (*(i for i in range(x.ndim) if i not in along), *along)
    last = x.transpose(order)
    rows = last.reshape(*last.shape[: x.ndim - len(along)], math.prod(x.shape[i] for i in along))
    with np.errstate(over="ignore"):
        others = _others(rows).reshape(last.shape).transpose(np.argsort(order))
        return (spread(dy, x.shape, along) * others,)


@Op
def cumprod(x: Array, *, axis: int | None = None) -> tuple[Array, Any]:
    """The products of the first entries along an axis: of one, of two, ..., of all. Without `axis`, along all entries in a row.

    Shapes: x (..., n, ...) -> y (..., n, ...); without `axis` x (...) -> y (the number of entries,)
    Math:
        y_k  = prod_{i <= k} x_i
        dx_i = prod_{j < i} x_j r_i,  r_i = sum_{k >= i} dy_k prod_{i < j <= k} x_j = dy_i + x_{i+1} r_{i+1}
    Errors: TypeError unless `axis` is an integer or None, ValueError where x has no such axis.
    Source: jax.numpy.cumprod. Conventions: torch wants an axis. What is too large for its dtype is infinite.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.cumprod, np.array([2.0, 0.0, 5.0]))
    >>> y, pullback(np.ones(3))[0]
    (array([2., 0., 0.]), array([ 1., 12.,  0.]))
    """
    row, along = in_a_row("cumprod", x, axis)
    with np.errstate(over="ignore"):
        y = np.cumprod(row, along)
    return y, (row, y, along, x.shape)


@cumprod.pullback
def cumprod_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    row, y, along, shape = residuals
    x, d = np.moveaxis(row, along, -1), np.moveaxis(dy, along, -1)
    r = sums_of_rest(x, d) if x.size > PLAIN else None
    with np.errstate(over="ignore"):
        if r is None:
            r, factors, step = d.copy(), x[..., 1:], 1
            # r_i = (a sum of the next dy) + (the product of the next x) r_{i + step}, for twice the step each time.
            while step < r.shape[-1]:
                r[..., :-step] += factors * r[..., step:]
                factors = factors[..., :-step] * factors[..., step:]
                step *= 2
        r[..., 1:] *= np.moveaxis(y, along, -1)[..., :-1]  # the product of those before
    return (np.moveaxis(r, -1, along).reshape(shape),)


def _others(rows: Array) -> Array:
    """For each entry of the last axis the product of all others, from the products of pairs, of pairs of pairs, and so on."""
    products = [rows]
    for _ in range((rows.shape[-1] - 1).bit_length()):  # until one is left
        if products[-1].shape[-1] % 2:
            products[-1] = np.concatenate([products[-1], np.ones_like(rows[..., :1])], axis=-1)
        products.append(products[-1][..., ::2] * products[-1][..., 1::2])
    others = np.ones_like(products[-1])
    for pairs in reversed(products[:-1]):  # what is not in a pair, times its other half
        outside, others = others[..., : pairs.shape[-1] // 2], np.empty_like(pairs)
        np.multiply(outside, pairs[..., 1::2], out=others[..., ::2])
        np.multiply(outside, pairs[..., ::2], out=others[..., 1::2])
    return others[..., : rows.shape[-1]]
