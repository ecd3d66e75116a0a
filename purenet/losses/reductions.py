"""What all losses end with: their terms as they are, summed, or averaged."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet.op import Array

__all__ = ["REDUCTIONS", "product", "reduce", "spread"]

REDUCTIONS = ("mean", "sum", "none")


def reduce(terms: Array, reduction: str, total: Any) -> Array:
    """The terms, their sum, or their sum over `total` (their number or their total weight), which is 0 where `total` is."""
    if reduction == "none":
        return terms
    value = np.sum(terms)
    if reduction == "mean":
        value = value / total if total > 0 else np.zeros_like(value)
    return np.asarray(value)


def spread(dy: Array, reduction: str, total: Any) -> Array:
    """The cotangent of each term (or the one of all of them), given that of the reduced value."""
    if reduction == "mean":
        return np.asarray(dy / total if total > 0 else np.zeros_like(dy))
    return dy


def product(weights: Array, x: Array) -> Array:
    """The product weights * x, 0 where a weight is 0 whatever x is: what does not count may be infinite."""
    out = np.zeros(np.broadcast_shapes(weights.shape, x.shape), x.dtype)
    np.multiply(weights, x, where=weights != 0, out=out)
    return out
