"""The derivative of the forward pass for a diagnosis: plain differences of few entries, within a budget.

Central differences, extrapolated once, are exact enough to recognize a gradient, and the same with and without JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import optree

from oracle.arrays import quiet, size_of, vector
from oracle.diagnosis.words import Array
from oracle.measures import EPSILON

__all__ = ["Budget", "Derivative", "differentiated", "leaves_in", "placed"]

BUDGET = 2**12  # evaluations of a small forward pass for all diagnoses of one verification
STEP = EPSILON["float64"] ** 0.2  # in units of an entry: truncation and rounding are then alike


@dataclass
class Budget:
    """What diagnoses may still ask of the forward pass, shared by all arguments of one verification.

    Each argument may take an equal share of what is left, for itself and those still to come: a wrong gradient at the end
    of a long chain makes all of them wrong, and every one of them would ask hundreds of questions. Evaluations are counted,
    not timed, so that the same is said on every machine.
    """

    left: int = BUDGET

    def reserved(self, others: int) -> int:
        """What must be left for so many others."""
        return self.left - self.left // (others + 1)

    def pay(self, price: int, reserved: int) -> bool:
        """Whether there is enough."""
        if self.left - price < reserved:
            return False
        self.left -= price
        return True


class Derivative(NamedTuple):
    """One row an entry, one column an output; and the shape of the value, if it is one array."""

    rows: Array
    shape: tuple[int, ...] | None


def differentiated(
    function: Callable[..., Any], primals: Any, options: Mapping[str, Any], leaf: int, entries: Array, *, roughly: bool
) -> Derivative | None:
    """By these entries of argument number `leaf`, if the function has values there; `roughly` is not extrapolated."""
    leaves, structure = leaves_in(primals)
    x = np.asarray(leaves[leaf], np.float64)
    typical = size_of(x)
    steps = (1.0,) if roughly else (1.0, 0.5)
    value: Any = None

    def moved(entry: int, by: float) -> Array:
        nonlocal value
        copies = [np.array(a) for a in leaves]
        copies[leaf].flat[entry] += by
        value = function(*structure.unflatten(copies), **options)
        return vector(value).copy()

    rows = []
    with quiet():
        try:
            for entry in entries:
                h = STEP * max(abs(float(x.flat[entry])), typical)
                slopes = [(moved(entry, s * h) - moved(entry, -s * h)) / (2 * s * h) for s in steps]
                rows.append(slopes[0] if roughly else (4 * slopes[1] - slopes[0]) / 3)
            values = optree.tree_leaves(value)
            return Derivative(np.stack(rows), np.shape(values[0]) if len(values) == 1 else None)
        except Exception:  # outside the domain, other shapes: no such derivative
            return None


def placed(dy: Array, shape: tuple[int, ...], *, middle: bool) -> Array:
    """The cotangent in a value of another shape: from the beginning on, or in the middle; what does not fit is cut off."""
    there = np.zeros(shape)
    fitting = [min(n, m) for n, m in zip(dy.shape, shape, strict=True)]
    at, of = (
        tuple(slice(start := (n - k) // 2 * middle, start + k) for n, k in zip(sizes, fitting, strict=True))
        for sizes in (shape, dy.shape)
    )
    there[at] = dy[of]
    return there


def leaves_in(tree: Any) -> tuple[list[Array], Any]:
    """The arrays of a tree in float64, and its structure."""
    leaves, structure = optree.tree_flatten(tree)
    return [np.asarray(leaf, np.float64) for leaf in leaves], structure
