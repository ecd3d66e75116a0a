"""Systems of linear equations of balls, by Gaussian elimination."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.exact.array import lifted, wrapped
from oracle.exact.elementary import UNARY, as_ball

__all__ = ["cholesky", "determinant", "inverse", "slogdet", "solve"]


def _eliminated(a: Any, b: Any) -> tuple[Any, Any]:
    """a^-1 b and the determinant of one matrix, by elimination; which row is the pivot changes neither."""
    a, b = a.copy(), b.copy()
    n, product = len(a), 1.0
    for k in range(n):
        best = max(range(k, n), key=lambda i: abs(float(as_ball(a[i, k]).value.mid())))
        if best != k:
            a[[k, best]], b[[k, best]], product = a[[best, k]], b[[best, k]], -product
        product, pivot = a[k, k] * product, as_ball(a[k, k])
        for i in range(k + 1, n):
            factor = a[i, k] / pivot
            a[i, k:], b[i] = a[i, k:] - factor * a[k, k:], b[i] - factor * b[k]
    for k in reversed(range(n)):
        b[k] = (b[k] - (a[k, k + 1 :, None] * b[k + 1 :]).sum(axis=0)) / as_ball(a[k, k])
    return b, product


def solve(a: Any, b: Any) -> Any:
    """The solution x of a x = b, for stacks of matrices, as `np.linalg.solve`."""
    a, b = np.asarray(lifted(a), object), np.asarray(lifted(b), object)
    flat = b.ndim == 1
    b = b[:, None] if flat else b
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, (*batch, *a.shape[-2:])), np.broadcast_to(b, (*batch, *b.shape[-2:]))
    x = np.empty(b.shape, object)
    for index in np.ndindex(batch):
        x[index] = _eliminated(a[index], b[index])[0]
    return wrapped(x[..., 0] if flat else x)


def inverse(a: Any) -> Any:
    """The inverse of each matrix of a stack, as `np.linalg.inv`."""
    return solve(a, np.eye(a.shape[-1]))


def determinant(a: Any) -> Any:
    """The determinant of each matrix of a stack, as `np.linalg.det`."""
    elements = np.asarray(lifted(a), object)
    found = np.empty(elements.shape[:-2], object)
    for index in np.ndindex(found.shape):
        found[index] = _eliminated(elements[index], elements[index][:, :0])[1]
    return wrapped(found)


def slogdet(a: Any) -> Any:
    """The sign of each determinant, and the logarithm of its size, as `np.linalg.slogdet`."""
    found = determinant(a)
    return np.sign(found), np.log(np.abs(found))


def cholesky(a: Any, *, upper: bool = False) -> Any:
    """The triangular factor of one or more positive definite matrices."""
    elements = np.asarray(lifted(a), object)
    factors = np.full(elements.shape, 0.0, object)
    n = elements.shape[-1]
    for index in np.ndindex(elements.shape[:-2]):
        matrix, factor = elements[index], factors[index]
        for j in range(n):
            pivot = UNARY["sqrt"](as_ball(matrix[j, j] - (factor[j, :j] ** 2).sum()))
            factor[j, j] = pivot
            for i in range(j + 1, n):
                factor[i, j] = (matrix[i, j] - (factor[i, :j] * factor[j, :j]).sum()) / pivot
    return wrapped(factors.swapaxes(-1, -2) if upper else factors)
