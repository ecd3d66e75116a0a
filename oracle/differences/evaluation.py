"""A function at a point, contracted with a cotangent: what is differentiated, element by element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import fsum
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, vector
from oracle.differences.roundoff import TABLES, Point, output_noise, significand_bits

__all__ = ["Difference", "Evaluator", "Function"]

Array = NDArray[Any]
Function = Callable[..., Any]


class Difference(NamedTuple):
    """What two displacements show: <v, f(x+h) - f(x-h)> and <v, f(x+h) - f(x)>, and what blurs them.

    Numbers; or arrays of them, where parts are told apart.
    """

    both: Any
    ahead: Any
    noise: Any
    """The rounding noise at x of the outputs that moved."""
    growth: Any
    """What is to be added to it because they moved."""
    bend: Any
    """By how much the outputs rise more ahead than they fell behind: their norm; 0 where a single element is displaced."""
    distance: Any
    """How far x really went, in units of h."""
    shift: Any = 0.0
    """How far the middle between the two points is from x, since x + h and x - h are rounded; of a single element."""


class Evaluator:
    """A function at a point, contracted with a cotangent: what is differentiated, element by element.

    Two private copies of the arguments are displaced in place, one for x + h and one for x - h, so that even a function that
    returns a view of its argument is seen right.
    """

    def __init__(
        self, function: Function, primals: Sequence[Any], cotangent: Any = None, *, noise_tables: int = TABLES
    ) -> None:
        self.function = function
        tree: Any = tuple(primals)
        leaves, structure = optree.tree_flatten(tree)
        self.origin = [np.array(leaf, order="C") for leaf in leaves]
        self.plus, self.plus_tree = self._copy(structure)
        self.minus, self.minus_tree = self._copy(structure)
        value = function(*structure.unflatten([leaf.copy() for leaf in self.origin]))
        self.shapes = tuple(np.shape(leaf) for leaf in optree.tree_leaves(value))
        self.value = vector(value).copy()
        precision = min(
            (np.asarray(leaf).dtype for leaf in optree.tree_leaves(value)), key=significand_bits, default=np.dtype(float)
        )
        self.eps = 2.0 ** -significand_bits(precision)
        if cotangent is None:
            if self.value.size != 1:
                raise ValueError(f"a cotangent is needed: the function has {self.value.size} outputs, not one")
            cotangent = np.ones(self.value.shape)
        self.cotangent = vector(cotangent).copy()
        point = Point(function, self.origin, structure, self.value, self.eps, noise_tables)
        noise, self.quantized = output_noise(point)
        """Whether some output has whole multiples of a number only, too coarse for rounding: long steps do not see that."""
        self.noise = np.where(np.isfinite(self.value), np.abs(self.cotangent) * noise, 0.0)

    def _copy(self, structure: Any) -> tuple[list[Array], Any]:
        copies = [leaf.copy() for leaf in self.origin]
        views = [copy.view() for copy in copies]
        for view in views:
            view.flags.writeable = False
        return [copy.reshape(-1) for copy in copies], structure.unflatten(views)

    def secant(self, leaf: int) -> float:
        """The slope of a function that would go from 0 to our largest value over the size of this argument."""
        finite = self.value[np.isfinite(self.value)]
        return float(np.abs(finite).max(initial=0.0)) / (float(np.abs(self.origin[leaf]).max(initial=0.0)) or 1.0)

    def difference(self, leaf: int, where: Any, displacement: Any) -> Difference:
        """The contracted difference between x + displacement and x - displacement."""
        moved = self._displaced(leaf, where, displacement)
        if moved is None:
            return Difference(float("nan"), float("nan"), 0.0, 0.0, 0.0, 1.0)
        change, half, gone, shift = moved
        v = self.cotangent
        touched = (change != 0) | (half != 0)  # at the tip of an even function both sides are alike
        rounding = self.noise[touched]
        return Difference(
            both=float(v @ change),
            ahead=float(v @ half),
            noise=min(float(rounding.sum()), 4.0 * _norm(rounding)),
            growth=self.eps * float(np.abs(v) @ np.abs(change)),
            bend=_norm(np.abs(v * (2 * half - change))) if gone.ndim else 0.0,
            distance=float(np.ravel(gone / displacement / 2)[0]) if gone.size == 1 else 1.0,
            shift=float(shift) if gone.ndim == 0 else 0.0,
        )

    def readings(
        self, leaf: int, where: Any, displacement: Array, read: Callable[[Array], Array], *, alone: bool
    ) -> Difference:
        """The same, contracted by parts: `read` adds up the outputs of each. Every field is an array, an entry a part.

        `alone` says that of each part one element is displaced, in the order of the parts.
        """
        moved = self._displaced(leaf, where, displacement, exact=alone)
        if moved is None:
            nothing = np.zeros(read(self.noise).shape)
            return Difference(nothing + np.nan, nothing + np.nan, nothing, nothing, nothing, nothing + 1, nothing)
        change, half, gone, shift = moved
        v = self.cotangent
        rounding = np.where((change != 0) | (half != 0), self.noise, 0.0)
        both = read(v * change)
        ones, zeros = np.ones(both.shape), np.zeros(both.shape)
        return Difference(
            both=both,
            ahead=read(v * half),
            noise=np.fmin(read(rounding), 4.0 * np.sqrt(read(rounding**2))),
            growth=self.eps * read(np.abs(v * change)),
            bend=zeros if alone else np.sqrt(read((v * (2 * half - change)) ** 2)),
            distance=np.where(displacement == 0, 1.0, gone / displacement / 2) if alone else ones,
            shift=shift if alone else zeros,
        )

    def touched(self, leaf: int, where: Any, displacement: Any) -> Array:
        """Which outputs change at all."""
        moved = self._displaced(leaf, where, displacement, exact=False)
        return np.zeros(self.value.shape, bool) if moved is None else (moved[0] != 0) | (moved[1] != 0)

    def _displaced(
        self, leaf: int, where: Any, displacement: Any, *, exact: bool = True
    ) -> tuple[Array, Array, Array, Array] | None:
        """f(x + d) - f(x - d), f(x + d) - f(x); if `exact`, how far apart both points are, and their middle is from x."""
        origin, plus, minus = self.origin[leaf].reshape(-1), self.plus[leaf], self.minus[leaf]
        here = origin[where]
        plus[where] = here + displacement
        minus[where] = here - displacement
        gone = shift = np.zeros(0)
        if exact:
            ahead, behind = plus[where], minus[where]
            gone = np.asarray(ahead - behind, np.float64)
            middle = fsum((ahead / 2, behind / 2, -here)) if gone.ndim == 0 else ((ahead - here) - (here - behind)) / 2
            shift = np.asarray(middle)
        try:
            above = vector(self.function(*self.plus_tree))
            change = _minus(above, vector(self.function(*self.minus_tree)))
            half = _minus(above, self.value)
        except RAISED:  # a function that refuses what is outside its domain says as much as one that returns NaN
            return None
        finally:
            plus[where] = here
            minus[where] = here
        return change, half, gone, shift


def _minus(a: Array, b: Array) -> Array:
    """The difference, 0 where both are the same infinity (a masked logarithm): what does not move has no slope."""
    change = a - b
    if np.isnan(change).any():
        change[a == b] = 0.0
    return change


def _norm(a: Array) -> float:
    """The Euclidean norm, even of numbers whose squares are too small to exist."""
    size = float(a.max(initial=0.0))
    return size * float(np.sqrt(np.square(a / size).sum())) if size > 0 else 0.0
