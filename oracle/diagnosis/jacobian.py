"""The derivative of the forward pass for a diagnosis: central differences of a few entries, within a budget.

Differences that are extrapolated once are exact enough to recognize a gradient, and they do not depend on JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import optree

from oracle.arrays import quiet, size_of, vector
from oracle.diagnosis.words import Array

__all__ = ["Budget", "Derivative", "Share", "differentiated", "leaves_in", "placed", "step_of"]

BUDGET = 2**12
"""Evaluations of a small forward pass for all diagnoses of one verification. With fewer, later causes are not tried; with more,
a verification with many wrong gradients takes longer."""


def step_of(eps: float) -> float:
    """The step as a fraction of an entry, for a function whose values are rounded by this fraction of themselves.

    Here truncation and rounding are of the same size: a larger step adds truncation, a smaller one adds rounding.
    """
    return float(eps**0.2)


@dataclass
class Budget:
    """How many evaluations of the forward pass are left for the diagnoses of one verification.

    Each argument may use an equal share: what is left, divided by the number of arguments still to come, itself included.
    Without shares the first ones would use it all: one wrong gradient at the end of a long chain makes the gradients of all
    arguments wrong, and each diagnosis may need hundreds of evaluations. The budget counts evaluations instead of seconds, so
    that every machine prints the same causes.
    """

    left: int = BUDGET

    def share(self, others: int) -> Share:
        """The share of one argument, when this many others are still to come."""
        return Share(self, self.left - self.left // (others + 1))


@dataclass(frozen=True)
class Share:
    """What one argument may spend of a budget."""

    budget: Budget
    reserved: int
    """How many evaluations must be left for the arguments still to come."""

    @property
    def left(self) -> int:
        return self.budget.left - self.reserved

    def half(self) -> Share:
        """A share of half of what is left, which counts for this one, too."""
        return Share(self.budget, self.budget.left - self.left // 2)

    def pay(self, price: int) -> bool:
        """Spends `price` evaluations and returns True, unless more than the share would be spent."""
        if price > self.left:
            return False
        self.budget.left -= price
        return True


class Derivative(NamedTuple):
    """The derivative of every output by some entries of an argument."""

    rows: Array
    """One row for each entry, one column for each output."""
    shape: tuple[int, ...] | None
    """The shape of the value, or None if the value is several arrays."""


def differentiated(
    function: Callable[..., Any],
    primals: Any,
    options: Mapping[str, Any],
    leaf: int,
    entries: Array,
    step: float,
    *,
    roughly: bool,
) -> Derivative | None:
    """The derivative by these entries of argument number `leaf`; not extrapolated if `roughly`.

    `step` is a fraction of an entry.
    None if the function raises at a displaced point.
    """
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
                h = step * max(abs(float(x.flat[entry])), typical)
                slopes = [(moved(entry, s * h) - moved(entry, -s * h)) / (2 * s * h) for s in steps]
                rows.append(slopes[0] if roughly else (4 * slopes[1] - slopes[0]) / 3)
            values = optree.tree_leaves(value)
            return Derivative(np.stack(rows), np.shape(values[0]) if len(values) == 1 else None)
        except Exception:  # the displaced point is outside the domain, or the shapes do not fit
            return None


def placed(dy: Array, shape: tuple[int, ...], *, middle: bool) -> Array:
    """The cotangent in an array of another shape, at its beginning or in its middle; entries that do not fit are cut off."""
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
