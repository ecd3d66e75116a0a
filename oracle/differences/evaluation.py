"""A function at a point, contracted with a cotangent: the scalar function that is differentiated, and its noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import fsum
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, size_of, vector
from oracle.differences.points import LEAST_PAIRS, Points
from oracle.differences.richardson import FIRST_STEP, NOISE_SAFETY
from oracle.differences.roundoff import NoisyFunction, ValueRounding, output_noise
from oracle.differences.thresholds import CONTRADICTION
from oracle.effort import AGREEING, BATCH
from oracle.measures import EPSILON

__all__ = ["Difference", "Evaluator", "Function"]

Array = NDArray[Any]
Function = Callable[..., Any]

# Numbers that the outputs at the points of some elements have, for which differences are contracted together. With much less,
# each of them has the cost of a dozen operations of NumPy; with much more, they are no longer in the processor's cache.
TOGETHER = 2**15

# Displacements that change every output of an element, whatever is rounded, in units of the argument's size: the first one that
# is in the function's domain.
FAR = (1.0, FIRST_STEP, FIRST_STEP**2)


class Difference(NamedTuple):
    """The differences <v, f(x+h) - f(x-h)> and <v, f(x+h) - f(x)>, and the errors of both.

    Each field is a number, or an array with an entry for each part of the outputs.
    """

    both: Any
    ahead: Any
    noise: Any
    """The rounding noise at x of the outputs that changed."""
    growth: Any
    """The additional rounding noise because they changed."""
    bend: Any
    """The norm over all outputs of f(x+h) - 2 f(x) + f(x-h); 0 where a single element is displaced."""
    distance: Any
    """How far x was really displaced, in units of h."""
    shift: Any = 0.0
    """How far the middle of both points is from x, since x + h and x - h are rounded; for a single element."""


NO_DIFFERENCE = Difference(float("nan"), float("nan"), 0.0, 0.0, 0.0, 1.0)
"""Where the function has no value."""


class Evaluator:
    """A function at a point, contracted with a cotangent: the scalar function that is differentiated.

    Two private copies of the arguments are displaced in place, one to x + h and one to x - h, so that even a function that
    returns a view of its argument is evaluated correctly.
    """

    def __init__(
        self,
        function: Function,
        primals: Sequence[Any],
        cotangent: Any = None,
        *,
        noise_tables: int = AGREEING,
        many: Function | None = None,
    ) -> None:
        self._function = function
        tree: Any = tuple(primals)
        leaves, structure = optree.tree_flatten(tree)
        self.origin = [np.array(leaf, order="C") for leaf in leaves]
        self._plus, self._plus_tree = self._copy(structure)
        self._minus, self._minus_tree = self._copy(structure)
        value = function(*structure.unflatten([leaf.copy() for leaf in self.origin]))
        self._points = None if many is None else Points(many, self.origin, structure)
        self.shapes = tuple(np.shape(leaf) for leaf in optree.tree_leaves(value))
        self.value = vector(value).copy()
        self.varies = False
        """Whether a value nearby had another number of elements: the shape depends on the data."""
        dtypes = [np.asarray(leaf).dtype.name for leaf in optree.tree_leaves(value)]
        eps = max((EPSILON.get(name, EPSILON["float64"]) for name in dtypes), default=EPSILON["float64"])
        if cotangent is None:
            if self.value.size != 1:
                raise ValueError(f"a cotangent is needed: the function has {self.value.size} outputs, not one")
            cotangent = np.ones(self.value.shape)
        self.cotangent = vector(cotangent).copy()
        noise = output_noise(NoisyFunction(function, self.origin, structure, self.value, eps, noise_tables))
        noisier = bool((noise.of_output > NOISE_SAFETY * eps * np.abs(self.value))[self.value != 0].any())
        self.rounding = ValueRounding(
            max(eps, noise.inner_eps), noise.inner_eps, noise.quantized, noise.sixteen_bits, noisier or noise.inner_eps > 0
        )
        self.noise = np.where(np.isfinite(self.value), np.abs(self.cotangent) * noise.of_output, 0.0)
        self._unmoved = self.noise[noise.narrow].max(initial=0.0, keepdims=True)
        """The noise where no output changes: one that is rounded to a narrower dtype may be on its way to the next number."""
        self._far: dict[tuple[int, Any], Array] = {}
        """Which outputs an element changes if it is displaced far; of those elements where that was asked."""
        self._singly: dict[tuple[int, int, float], Difference] = {}
        """The differences of single elements that were taken, by leaf, element and displacement."""

    def _copy(self, structure: Any) -> tuple[list[Array], Any]:
        copies = [leaf.copy() for leaf in self.origin]
        views = [copy.view() for copy in copies]
        for view in views:
            view.flags.writeable = False
        return [copy.reshape(-1) for copy in copies], structure.unflatten(views)

    def secant(self, leaf: int) -> float:
        """The slope of a function that goes from 0 to the largest value over the size of this argument."""
        finite = self.value[np.isfinite(self.value)]
        return float(np.abs(finite).max(initial=0.0)) / (float(np.abs(self.origin[leaf]).max(initial=0.0)) or 1.0)

    def difference(self, leaf: int, where: Any, displacement: Any) -> Difference:
        """The contracted difference between x + displacement and x - displacement.

        That of a single element is taken once: of doubtful entries the same ones are needed again.
        """
        single = isinstance(where, int) and isinstance(displacement, float)
        if single and (leaf, where, displacement) in self._singly:
            return self._singly[leaf, where, displacement]
        displaced = self._displaced(leaf, where, displacement)
        taken = NO_DIFFERENCE if displaced is None else self._contracted(leaf, where, displacement, *displaced)
        if single:
            self._singly[leaf, where, displacement] = taken
        return taken

    def differences(self, leaf: int, index: Array, displacements: Array) -> Difference:
        """The same for each of several elements, displaced one at a time, by its own displacement."""
        taken: list[Difference] = []
        for some in np.array_split(np.arange(len(index)), range(BATCH, len(index), BATCH)):
            batch = self._batch(leaf, index[some], displacements[some]) if len(some) >= LEAST_PAIRS else None
            taken += [batch] if batch else self._one_by_one(leaf, index[some], displacements[some])
        return Difference(*map(np.concatenate, zip(*taken, strict=True)))

    def _one_by_one(self, leaf: int, index: Array, displacements: Array) -> list[Difference]:
        """The same from two evaluations for each element. What follows them is computed for some elements at a time."""
        together = min(BATCH, max(TOGETHER // max(self.value.size, 1), 1))
        return [
            self._evaluated(leaf, index[k : k + together], displacements[k : k + together])
            for k in range(0, len(index), together)
        ]

    def _evaluated(self, leaf: int, index: Array, displacements: Array) -> Difference:
        origin, plus, minus = self.origin[leaf].reshape(-1), self._plus[leaf], self._minus[leaf]
        here = origin[index]
        ahead, behind = here + displacements.astype(origin.dtype), here - displacements.astype(origin.dtype)
        above, below = np.zeros((2, len(index), self.value.size))
        has_value = np.zeros(len(index), bool)
        for k, i in enumerate(index.tolist()):
            plus[i], minus[i] = ahead[k], behind[k]
            try:
                one, two = vector(self._function(*self._plus_tree)), vector(self._function(*self._minus_tree))
                if one.shape == two.shape == self.value.shape:
                    above[k], below[k], has_value[k] = one, two, True
                else:
                    self.varies = True
            except RAISED:  # a function that refuses arguments outside its domain counts like one that returns NaN there
                pass
            finally:
                plus[i] = minus[i] = here[k]
        taken = self._contracted_each(leaf, index, displacements, (above, below, self.value), (ahead, behind, here))
        if has_value.all():
            return taken
        return Difference(*(np.where(has_value, a, b) for a, b in zip(taken, NO_DIFFERENCE, strict=True)))

    def _batch(self, leaf: int, index: Array, displacements: Array) -> Difference | None:
        """The differences of a few elements from one evaluation of all points; None if the function cannot do that."""
        value = None if self._points is None else self._points.value(leaf, self.value)
        if self._points is None or value is None:
            return None
        here = self.origin[leaf].reshape(-1)[index]
        ahead, behind = here + displacements, here - displacements
        both = self._points.at(leaf, np.concatenate([index, index]), np.concatenate([ahead, behind]))
        if both is None:
            return None
        above, below = both[: len(index)], both[len(index) : 2 * len(index)]
        return self._contracted_each(leaf, index, displacements, (above, below, value), (ahead, behind, here))

    def _contracted_each(
        self,
        leaf: int,
        index: Array,
        displacements: Array,
        values: tuple[Array, Array, Array],
        places: tuple[Array, Array, Array],
    ) -> Difference:
        """The changes of the outputs for each of several elements, contracted with the cotangent, and their noise.

        `values` are those at x + h, at x - h and at x, `places` the element there.
        """
        above, below, value = values
        ahead, behind, here = places
        change, half = _minus(above, below), _minus(above, value)
        touched = (change != 0) | (half != 0)  # at the extremum of an even function both sides are equal
        if self.rounding.inner_eps > 0:
            touched |= np.stack([self._moved_far(leaf, i) for i in index.tolist()])
        moving = touched.any(axis=0)  # of many outputs, few elements mostly change few
        some: Any = moving if 2 * np.count_nonzero(moving) < moving.size else slice(None)
        change, half, touched, v = change[:, some], half[:, some], touched[:, some], self.cotangent[some]
        return Difference(
            both=np.vecdot(change, v),
            ahead=np.vecdot(half, v),
            noise=np.where(touched.any(axis=1), _summed(self.noise[some], touched), self._unmoved.sum()),
            growth=self.rounding.of_change * np.vecdot(_larger(change, half), np.abs(v)),
            bend=np.zeros(len(index)),
            distance=np.asarray(ahead - behind, np.float64) / displacements / 2,
            shift=np.array([fsum((a / 2, b / 2, -x)) for a, b, x in np.stack([ahead, behind, here], axis=1).tolist()]),
        )

    def _contracted(
        self, leaf: int, where: Any, displacement: Any, change: Array, half: Array, width: Array, shift: Any
    ) -> Difference:
        """The change of the outputs, contracted with the cotangent, and its noise."""
        v = self.cotangent
        touched = (change != 0) | (half != 0)  # at the extremum of an even function both sides are equal
        if self.rounding.inner_eps > 0 and np.ndim(where) == 0:
            touched |= self._moved_far(leaf, where)
        rounding = self.noise[touched] if touched.any() else self._unmoved
        return Difference(
            both=float(v @ change),
            ahead=float(v @ half),
            noise=min(float(rounding.sum()), CONTRADICTION * _norm(rounding)),
            growth=self.rounding.of_change * float(np.abs(v) @ _larger(change, half)),
            bend=_norm(np.abs(v * (2 * half - change))) if width.ndim else 0.0,
            distance=float(np.ravel(width / displacement / 2)[0]) if width.size == 1 else 1.0,
            shift=float(shift) if width.ndim == 0 else 0.0,
        )

    def _moved_far(self, leaf: int, where: Any) -> Array:
        """Which outputs this element changes if it is displaced far.

        Where a number is rounded inside, an output that a shorter step does not change may be on its way to the next number.
        """
        if (leaf, where) not in self._far:
            moved = (self.touched(leaf, where, share * size_of(self.origin[leaf])) for share in FAR)
            self._far[leaf, where] = next((outputs for outputs in moved if outputs.any()), np.zeros(self.value.shape, bool))
        return self._far[leaf, where]

    def differences_by_part(
        self, leaf: int, where: Any, displacement: Array, sum_by_part: Callable[[Array], Array], *, one_each: bool
    ) -> Difference:
        """The same, contracted by parts of the outputs: `sum_by_part` adds up the outputs of each part.

        `one_each`: for each part one element is displaced, in the order of the parts.
        """
        displaced = self._displaced(leaf, where, displacement, exact=one_each)
        if displaced is None:
            zeros = np.zeros(sum_by_part(self.noise).shape)
            return Difference(zeros + np.nan, zeros + np.nan, zeros, zeros, zeros, zeros + 1, zeros)
        change, half, width, shift = displaced
        v = self.cotangent
        rounding = np.where((change != 0) | (half != 0), self.noise, 0.0)
        both = sum_by_part(v * change)
        ones, zeros = np.ones(both.shape), np.zeros(both.shape)
        return Difference(
            both=both,
            ahead=sum_by_part(v * half),
            noise=np.fmin(sum_by_part(rounding), CONTRADICTION * np.sqrt(sum_by_part(rounding**2))),
            growth=self.rounding.of_change * sum_by_part(np.abs(v) * _larger(change, half)),
            bend=zeros if one_each else np.sqrt(sum_by_part((v * (2 * half - change)) ** 2)),
            distance=np.where(displacement == 0, 1.0, width / displacement / 2) if one_each else ones,
            shift=shift if one_each else zeros,
        )

    def touched(self, leaf: int, where: Any, displacement: Any, *, beyond_noise: bool = False) -> Array:
        """Which outputs change at all; or by more than their rounding noise."""
        displaced = self._displaced(leaf, where, displacement, exact=False)
        if displaced is None:
            return np.zeros(self.value.shape, bool)
        change, half, *_ = displaced
        if beyond_noise:
            return np.asarray(np.abs(self.cotangent) * _larger(change, half) > NOISE_SAFETY * self.noise)
        return np.asarray((change != 0) | (half != 0))

    def _displaced(
        self, leaf: int, where: Any, displacement: Any, *, exact: bool = True
    ) -> tuple[Array, Array, Array, Array] | None:
        """f(x + d) - f(x - d) and f(x + d) - f(x); if `exact`, the distance of both points, and of their middle from x."""
        origin, plus, minus = self.origin[leaf].reshape(-1), self._plus[leaf], self._minus[leaf]
        here = origin[where]
        plus[where] = here + displacement
        minus[where] = here - displacement
        width = shift = np.zeros(0)
        if exact:
            ahead, behind = plus[where], minus[where]
            width = np.asarray(ahead - behind, np.float64)
            middle = fsum((ahead / 2, behind / 2, -here)) if width.ndim == 0 else ((ahead - here) - (here - behind)) / 2
            shift = np.asarray(middle)
        try:
            above, below = (vector(self._function(*tree)) for tree in (self._plus_tree, self._minus_tree))
            self.varies |= not above.shape == below.shape == self.value.shape
            if not above.shape == below.shape == self.value.shape:
                return None
            change, half = _minus(above, below), _minus(above, self.value)
        except RAISED:  # a function that refuses arguments outside its domain counts like one that returns NaN there
            return None
        finally:
            plus[where] = here
            minus[where] = here
        return change, half, width, shift


def _larger(change: Array, half: Array) -> Array:
    """The larger change of each output, of both sides: that of an even function cancels between them, its rounding does not."""
    with np.errstate(invalid="ignore"):  # of two infinities: `both` is not finite either, so that the difference is not used
        return np.asarray(np.maximum(np.abs(half), np.abs(change - half)))


def _minus(a: Array, b: Array) -> Array:
    """The difference; 0 where both are the same infinity, as in a masked logarithm: an output that stays has slope 0."""
    change = a - b
    if np.isnan(change).any():
        change[np.equal(a, b)] = 0.0
    return change


def _summed(noise: Array, which: Array) -> Array:
    """The noise of a sum of some outputs, for each row of `which`: of sums of independent errors, the smaller bound."""
    taken, size = which.astype(np.float64), noise.max(initial=0.0) or 1.0
    sums = taken @ noise
    norms = size * np.sqrt(taken @ np.square(noise / size))
    # The squares of much smaller numbers underflow: a norm is never less than that of equal numbers with this sum.
    norms = np.fmax(norms, sums / np.sqrt(np.fmax(taken.sum(axis=1), 1.0)))
    return np.asarray(np.fmin(sums, CONTRADICTION * norms))


def _norm(a: Array) -> float:
    """The Euclidean norm, even of numbers whose squares underflow."""
    size = float(a.max(initial=0.0))
    return size * float(np.sqrt(np.square(a / size).sum())) if size > 0 else 0.0
