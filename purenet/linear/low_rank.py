"""Affine maps with an update of low rank."""

from __future__ import annotations

import math
from typing import Any

from purenet.checks import array_of, fields, number
from purenet.op import Array, Op

__all__ = ["lora_affine"]


@Op
def lora_affine(
    params: dict[str, Array], x: Array, *, w: Array, b: Array | None = None, scale: float = 1.0
) -> tuple[Array, Any]:
    """An affine map with frozen weights and an update of low rank R, which is learned: x @ (w + scale down up) + b.

    w and b are keywords, so that they have no gradient. The product down up is never formed.

    Shapes: down (I, R), up (R, O), x (..., I), w (I, O), b (O,) -> y (..., O)
    Math, sums over the leading dimensions in dup and ddown:
        y     = x w + b + scale (x down) up
        dup   = scale (x down)^T dy,  ddown = scale x^T (dy up^T)
        dx    = dy w^T + scale (dy up^T) down^T
    Errors: ValueError where the shapes do not match, or for a negative scale; TypeError unless `w` and `b` are real numbers.
    Source: Hu et al., LoRA: Low-rank adaptation of large language models (2021). Conventions: weights are [in, out] as in
        affine; down is A^T and up is B^T of the paper, where up begins with zeros, so that y begins as affine. scale is
        lora_alpha / R of peft. For dropout on the path of the update alone, add the op with w = 0 to affine.

    >>> import numpy as np, purenet as pn
    >>> params = {"down": np.array([[1.0], [1.0]]), "up": np.array([[0.5, 0.0]])}
    >>> pn.lora_affine(params, np.array([[1.0, 3.0]]), w=np.eye(2), scale=2.0)
    array([[5., 3.]])
    """
    op = "lora_affine"
    down, up = fields(op, params, "down", "up")
    scale = number(op, "scale", scale, 0)
    if down.ndim != 2 or x.ndim < 1 or x.shape[-1] != len(down):
        raise ValueError(f"{op}: x must have shape (..., I) and params.down (I, R), got {x.shape} and {down.shape}")
    if up.ndim != 2 or len(up) != down.shape[1]:
        raise ValueError(
            f"{op}: params.up must have shape ({down.shape[1]}, O) to match params.down {down.shape}, got {up.shape}"
        )
    weights = _constant(op, "w", w, (len(down), up.shape[1]), x.dtype)
    y = x @ weights
    if b is not None:
        y += _constant(op, "b", b, (up.shape[1],), x.dtype)
    y += scale * (x @ down @ up)
    return y, (x, weights, down, up, scale)


@lora_affine.pullback
def lora_affine_bwd(residuals: Any, dy: Array) -> tuple[dict[str, Array], Array]:
    x, w, down, up, scale = residuals
    rows = math.prod(x.shape[:-1])  # not -1, which a width of 0 leaves open
    rows_x, rows_dy = x.reshape(rows, len(down)), dy.reshape(rows, up.shape[1])
    dup = scale * (rows_x @ down).T @ rows_dy
    ddown = scale * rows_x.T @ (rows_dy @ up.T)
    return {"down": ddown, "up": dup}, dy @ w.T + scale * (dy @ up.T @ down.T)


def _constant(op: str, name: str, value: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """`value` as an array of real numbers of this shape and dtype."""
    array = array_of(op, name, value)
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{op}: {name} must be an array of real numbers, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{op}: {name} must have shape {shape} to match params.down and params.up, got {array.shape}")
    return array.astype(dtype)
