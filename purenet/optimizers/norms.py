"""Lengths of arrays and trees that neither overflow nor underflow where the square of an entry does."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from purenet.op import Array, Tree
from purenet.optimizers.transformation import leaves_of, working_dtype

__all__ = ["global_norm", "norm_of", "norm_of_all", "norms_along", "times"]


def global_norm(tree: Tree) -> float:
    """The Euclidean norm of all entries of all arrays of a tree.

    Math:
        sqrt(sum of the squares of all entries)
    Errors: TypeError for leaves that are not floating-point arrays.
    Source: optax.global_norm, torch.nn.utils.get_total_norm. Conventions: the result is a number. Squares are of entries over
        the largest, so that they do not overflow; 16-bit arrays are taken in float32.

    >>> import numpy as np, purenet as pn
    >>> pn.optimizers.global_norm({"w": np.array([3.0]), "b": np.array([4.0])})
    5.0
    """
    leaves = leaves_of("global_norm", "tree", tree)[0]
    return norm_of_all(leaf.astype(working_dtype(leaf.dtype), copy=False) for leaf in leaves)


def norms_along(array: Array, axes: tuple[int, ...]) -> Array:
    """The Euclidean norms over these axes, which stay with length 1; NaN and inf as they are."""
    largest = np.max(np.abs(array), axis=axes, keepdims=True, initial=0.0)
    unit = np.where((largest > 0) & (largest < np.inf), largest, array.dtype.type(1))
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(unit * np.sqrt(np.sum(np.square(array / unit), axis=axes, keepdims=True, dtype=np.float64)))


def norm_of(array: Array) -> float:
    """The Euclidean norm of an array."""
    return float(norms_along(array, tuple(range(array.ndim))).reshape(()))


def norm_of_all(arrays: Iterable[Array]) -> float:
    """The Euclidean norm of all entries of all arrays."""
    return math.hypot(*map(norm_of, arrays))


def times(array: Array, factor: Any) -> Array:
    """The product, a new array; inf * 0 is NaN without a warning, as for gradients that are not finite."""
    with np.errstate(invalid="ignore"):
        return np.asarray(array * factor).astype(array.dtype, copy=False)
