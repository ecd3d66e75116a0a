"""A function at a point, contracted with a cotangent: what is differentiated, element by element."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb, fsum
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, quiet, size_of, vector

__all__ = ["Difference", "Function", "Probe"]

Array = NDArray[Any]
Function = Callable[..., Any]


# Of the displacements that measure noise, in units of each element: some float32 numbers; less; and what moves all values.
PACES = (2.0**-22, 2.0**-36, 2.0**-6)
AT_ZERO = 2.0**-40  # of them, at last, for elements at 0: 1 / (x + 1e-12) bends within any others
STAIRS = 4  # steps of a staircase that make it noise rather than a function with steps
POINTS = 12  # that are looked at with each
FEW_POINTS = 4  # of a staircase that are enough to see it, where evaluations are counted
ORDERS = (4, 8)  # of the differences between them: of lower ones the smooth part is left, of higher ones too few are
FLOAT32 = 2.0**-20  # of a value: coarser than what is computed in float32
CREEPS = 3  # the steps of a staircase, such as a function that computes in float32, can look equal at one pace
SMALLEST = float(np.finfo(np.float64).smallest_subnormal)


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


class Probe:
    """A function at a point, contracted with a cotangent: what is differentiated, element by element.

    Two private copies of the arguments are displaced in place, one for x + h and one for x - h, so that even a function that
    returns a view of its argument is seen right.
    """

    def __init__(self, function: Function, primals: Sequence[Any], cotangent: Any = None, *, creeps: int = CREEPS) -> None:
        self.function = function
        self.creeps = creeps
        tree: Any = tuple(primals)
        leaves, structure = optree.tree_flatten(tree)
        self.origin = [np.array(leaf, order="C") for leaf in leaves]
        self.plus, self.plus_tree = self._copy(structure)
        self.minus, self.minus_tree = self._copy(structure)
        value = function(*structure.unflatten([leaf.copy() for leaf in self.origin]))
        self.shapes = tuple(np.shape(leaf) for leaf in optree.tree_leaves(value))
        self.value = vector(value).copy()
        precision = min((np.asarray(leaf).dtype for leaf in optree.tree_leaves(value)), key=_digits, default=np.dtype(float))
        self.eps = 2.0 ** -_digits(precision)
        if cotangent is None:
            if self.value.size != 1:
                raise ValueError(f"a cotangent is needed: the function has {self.value.size} outputs, not one")
            cotangent = np.ones(self.value.shape)
        self.cotangent = vector(cotangent).copy()
        self.staircase = False
        """Whether some output has whole multiples of a number only, too coarse for rounding: long steps do not see that."""
        self.noise = np.where(np.isfinite(self.value), np.abs(self.cotangent) * self._output_noise(structure), 0.0)

    def _copy(self, structure: Any) -> tuple[list[Array], Any]:
        copies = [leaf.copy() for leaf in self.origin]
        views = [copy.view() for copy in copies]
        for view in views:
            view.flags.writeable = False
        return [copy.reshape(-1) for copy in copies], structure.unflatten(views)

    def _output_noise(self, structure: optree.PyTreeSpec) -> Array:
        """The rounding noise of each output: an ULP, as of a good math library, or more where it jitters.

        Differences of order 4 to 8 over equally spaced points are free of the smooth part and amplify noise by a known
        factor (Hamming; More and Wild, "Estimating computational noise", 2011).
        """
        least: Array = np.where(self.value == 0, 0.0, np.fmax(self.eps * np.abs(self.value), SMALLEST))
        with quiet():
            jitter, _ = self._jitter(structure, PACES[0])
            # Either noise, or a function that bends within these paces. At a shorter pace a smooth function has less;
            # a staircase, which repeats its values there, may be only between two of its steps. From 0 no pace is too short.
            for share in (1.0, AT_ZERO) if any((x == 0).any() for x in self.origin) else (1.0,):
                if (jitter > 2.0**12 * least).any():
                    shorter, repeats = self._jitter(structure, PACES[1], share)
                    jitter = np.where(repeats, jitter, np.fmin(jitter, shorter))
            return np.asarray(np.fmax(np.fmax(least, jitter), self._stairs(structure)))

    def _stairs(self, structure: optree.PyTreeSpec) -> Array:
        """Half of the number of which an output's values are whole multiples: what is left when larger numbers cancel."""
        try:
            points = POINTS if self.creeps == CREEPS else FEW_POINTS
            values = self._creep(structure, np.random.default_rng(0x6E6F), PACES[2], points=points)
        except RAISED:
            return np.zeros(self.value.shape)
        values = np.where(np.isfinite(values), values, 0.0)
        step = _last_bit(values).min(axis=0)
        size = np.abs(values).max(axis=0)
        coarse = (step > STAIRS * self.eps * size) & (np.ptp(values, axis=0) > STAIRS * step)  # than such numbers are
        self.staircase = bool((coarse & (step > FLOAT32 * size)).any())
        return np.where(coarse, step / 2, 0.0)

    def _jitter(self, structure: optree.PyTreeSpec, pace: float, at_zero: float = 1.0) -> tuple[Array, Array]:
        """How much each output jitters, and whether it is the same at two neighbouring points."""
        generator = np.random.default_rng(0x6E6F)
        noise, repeats = np.zeros(self.value.shape), np.zeros(self.value.shape, dtype=bool)
        for _ in range(self.creeps):
            try:
                table = self._creep(structure, generator, pace, at_zero)
            except RAISED:  # the end of the function's domain: nothing can be measured there
                return noise, np.ones_like(repeats)
            repeats |= (np.diff(table, axis=0) == 0).any(axis=0)
            jitter = np.full(self.value.shape, np.inf)
            for order in range(1, ORDERS[1] + 1):
                table = np.diff(table, axis=0)
                if order >= ORDERS[0]:  # noise shows alike in all of them, what is left of the smooth part in the lowest
                    jitter = np.fmin(jitter, np.sqrt((table**2).mean(axis=0) / comb(2 * order, order)))
            noise = np.fmax(noise, np.where(np.isfinite(jitter), jitter, 0.0))
        return noise, repeats

    def _creep(
        self, structure: Any, generator: np.random.Generator, pace: float, at_zero: float = 1.0, points: int = POINTS
    ) -> Array:
        """The outputs at equally spaced points, each argument at its own pace: some units in its last place.

        Elements at 0 go at a share of it.
        """
        # Where evaluations are counted the largest arguments stay where they are: the others move every output as well.
        most = max(x.size for x in self.origin)
        still = most if self.creeps < CREEPS and any(0 < x.size < most for x in self.origin) else np.inf
        moved = [x.size < still for x in self.origin]
        paces = [
            np.where(x == 0, at_zero * size_of(x), np.abs(x))
            * generator.choice([-1, 1], x.shape)
            * generator.uniform(0.5, 1, x.shape)
            * pace
            if moves
            else np.zeros(())
            for x, moves in zip(self.origin, moved, strict=True)
        ]
        paces = [(x + p) - x if moves else p for x, p, moves in zip(self.origin, paces, moved, strict=True)]
        places = (
            [np.asarray(x + j * p, x.dtype) if moves else x for x, p, moves in zip(self.origin, paces, moved, strict=True)]
            for j in range(points)
        )
        return np.stack([vector(self.function(*structure.unflatten(place))) for place in places])

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


def _last_bit(a: Array) -> Array:
    """The value of the last bit that is set, infinite for 0."""
    fraction, exponent = np.frexp(a)
    digits = np.abs(np.ldexp(fraction, 53)).astype(np.int64)
    return np.where(digits == 0, np.inf, np.ldexp((digits & -digits).astype(np.float64), exponent - 53))


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


def _digits(dtype: np.dtype[Any]) -> int:
    """Bits of the significand after the leading one."""
    return {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}.get(dtype.name, 52)
