"""Systems of linear equations of balls, by Gaussian elimination."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.exact.array import lifted, wrapped
from oracle.exact.elementary import as_ball

__all__ = ["determinant", "inverse", "slogdet", "solve"]


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
    return solve(a, np.eye(a.shape[-1]))


def determinant(a: Any) -> Any:
    elements = np.asarray(lifted(a), object)
    found = np.empty(elements.shape[:-2], object)
    for index in np.ndindex(found.shape):
        found[index] = _eliminated(elements[index], elements[index][:, :0])[1]
    return wrapped(found)


def slogdet(a: Any) -> Any:
    found = determinant(a)
    return np.sign(found), np.log(np.abs(found))
