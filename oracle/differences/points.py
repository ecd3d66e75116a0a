"""Many points of a function at once: one call of JAX or torch costs a millisecond, whether it has one point or sixty-four."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED
from oracle.effort import BATCH, SAMPLES
from oracle.measures import EPSILON, largest

__all__ = ["LEAST_PAIRS", "Points"]

Array = NDArray[Any]

LEAST_PAIRS = 2 * SAMPLES
"""The least number of differences, of two points each, for which an evaluation of all points of a `BATCH` is worth its price.
With fewer, small arguments wait for a compiler; with more, arguments of a few elements are evaluated point by point."""
MOST_NUMBERS = 2**22
"""The largest number of elements, of the argument or of the values, that one evaluation holds: 32 MB. With more, arguments for
which batches gain nothing take gigabytes; with less, arguments of some thousand elements are evaluated point by point."""
REORDERED = 64.0
"""Roundings of the largest value by which a value may differ that is computed with others, as its sums may have another order.
With many more, a function that rounds otherwise in a batch passes; with fewer, long sums are evaluated point by point."""


class Points:
    """A function that can evaluate many points at once: `many(leaf, primals)`, whose argument `leaf` has them along axis 0.

    It is used where many equal points give equal values, to the last bit and wherever they are in the batch, and the same as
    a single call gives up to rounding.
    """

    def __init__(self, many: Callable[..., Any], origin: Sequence[Array], structure: Any) -> None:
        self._many = many
        self._origin = origin
        self._structure = structure
        self._values: dict[int, Array | None] = {}

    def value(self, leaf: int, alone: Array) -> Array | None:
        """The value at the origin, as an evaluation of many points gives it; None if there is none that can be used."""
        if leaf not in self._values:
            fits = 2 * BATCH * max(self._origin[leaf].size, alone.size) <= MOST_NUMBERS
            nothing = np.zeros(0, np.intp)
            self._values[leaf] = None
            found = self.at(leaf, nothing, np.zeros(0)) if fits else None
            if found is not None and found.shape == (2 * BATCH, alone.size):
                equal = np.array_equal(found, np.broadcast_to(found[0], found.shape), equal_nan=True)
                apart = np.abs(found[0] - alone)[found[0] != alone]
                if equal and bool((apart <= REORDERED * EPSILON["float64"] * largest(alone)).all()):
                    self._values[leaf] = found[0]
        return self._values[leaf]

    def at(self, leaf: int, index: Array, places: Array) -> Array | None:
        """The values at points where one element each is at another place; the rest of the batch is the origin."""
        x = self._origin[leaf]
        batch = np.repeat(x.reshape(1, -1), 2 * BATCH, axis=0)
        batch[np.arange(len(index)), index] = places
        primals = [origin.copy() for origin in self._origin]
        primals[leaf] = batch.reshape(-1, *x.shape)
        try:
            value = optree.tree_leaves(self._many(leaf, self._structure.unflatten(primals)))
            parts = [np.asarray(part, np.float64).reshape(2 * BATCH, -1) for part in value]
        except RAISED:  # it cannot be transformed, or it refuses one of the points
            return None
        return np.concatenate(parts, axis=1)
