"""Linear maps."""

from __future__ import annotations

import math
from typing import Any

from purenet.checks import fields
from purenet.op import Array, Op

__all__ = ["affine"]


@Op
def affine(params: dict[str, Array], x: Array) -> tuple[Array, Any]:
    """The affine map y = x @ w + b, over any number of leading dimensions; without `b` it is linear.

    Shapes: w (I, O), b (O,), x (..., I) -> y (..., O)
    Math:
        y  = x w + b
        dx = dy w^T,  dw = sum over the leading dimensions of x^T dy,  db = sum over the leading dimensions of dy
    Errors: ValueError where the last dimension of x is not I, or w or b has another shape.
    Source: Rumelhart, Hinton, Williams (1986). Conventions: weights are [in, out] as in flax; torch and ONNX Gemm
        store [out, in].

    >>> import numpy as np, purenet as pn
    >>> params = {"w": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([0.5, -0.5])}
    >>> pn.affine(params, np.array([[1.0, 1.0]]))
    array([[4.5, 5.5]])
    """
    w, b = fields("affine", params, "w", optional=("b",))
    if w.ndim != 2:
        raise ValueError(f"affine: params.w must have shape (in, out), got {w.shape}")
    if x.ndim < 1 or x.shape[-1] != w.shape[0]:
        raise ValueError(f"affine: x must have shape (..., {w.shape[0]}) to match params.w {w.shape}, got {x.shape}")
    if b is not None and b.shape != (w.shape[1],):
        raise ValueError(f"affine: params.b must have shape ({w.shape[1]},) to match params.w {w.shape}, got {b.shape}")
    y = x @ w
    if b is not None:
        y += b
    return y, (x, w, b is not None)


@affine.pullback
def affine_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array], Array]:
    x, w, has_bias = residuals
    rows = math.prod(x.shape[:-1])  # not -1, which a width of 0 leaves open
    rows_x, rows_dy = x.reshape(rows, w.shape[0]), dy.reshape(rows, w.shape[1])
    dparams = {"w": rows_x.T @ rows_dy}
    if has_bias:
        dparams["b"] = rows_dy.sum(axis=0)
    return dparams, dy @ w.T
