"""The type of initializers, and the scaling of the numbers that they draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from purenet.random.checks import Shape

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from purenet.op import Array

__all__ = ["Initializer", "scaled"]


class Initializer(Protocol):
    """An initializer: a function of a key, a shape and a dtype. The functions of this package return such functions."""

    def __call__(self, key: Array, shape: Shape, dtype: DTypeLike = np.float64) -> Array:
        """The initial value of a parameter."""


def scaled(op: str, name: str, x: Array, factor: float) -> Array:
    """`x` times `factor`, which is the argument `name`; computed in place, because `x` is a new array."""
    with np.errstate(over="ignore"):
        rounded = np.asarray(factor).astype(x.dtype)
    if not np.isfinite(rounded):
        raise ValueError(f"{op}: {name} must give a factor that is finite in {x.dtype}, got {factor}")
    x *= rounded
    return x
