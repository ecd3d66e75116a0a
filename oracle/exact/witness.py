"""The exact witness: a forward function evaluated on balls, at a precision at which the answer is certain to all its digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optree
from flint import arb, ctx
from numpy.typing import NDArray

from oracle.arrays import RAISED, quiet
from oracle.exact.array import BallArray, lifted
from oracle.exact.balls import Ball
from oracle.exact.kinks import MOST, WORK, Kink, NotExact, Undecided
from oracle.exact.stand_ins import LOCK, stand_ins

__all__ = ["Enclosure", "directional", "partial", "roundings"]

Array = NDArray[Any]

FIRST_BITS = 128
"""Precision of the first evaluation: Arb rounds to words of 64 bits, and with one word most results are not certain to the 60
bits that are asked for."""
MOST_BITS = 4096
"""Highest precision. A product of two float64 numbers has its bits between 2^-2148 and 2^2048: what cancels in sums of such
products, cancels exactly with 4,196 bits. Higher, and an evaluation in vain takes seconds."""
MOST_WORK = 8 * MOST * FIRST_BITS
"""Operations times bits above which the precision is not raised again: a large function would take minutes at 4,096 bits."""
CERTAIN = 2.0**-70
"""The radius of an answer, as a share of it: an error of 1e-17 of a gradient is 2^-56. Larger, and that error is not visible;
smaller, and functions that cancel are evaluated once more than needed."""
SHOWN = 200
"""Characters of an exception's message that a reason repeats: the repr of an array of balls fills pages."""
ROUNDED_BITS = 48
"""Precision at which an evaluation on balls bounds the rounding of float64: 16 times coarser, as special functions are right to
about 16 ulp. With 53 bits a function that calls them is refused; with 40 another function would be taken for rounding."""
FORCED = (256, MOST_BITS)
"""Precisions at which a comparison that is not decided is tried both ways: a sum that is 1 by construction is never decided."""
NOTHING = arb(2) ** -1100
"""A radius below every float64 number: where the answer is zero, no radius is small beside it."""


@dataclass(frozen=True)
class Enclosure:
    """The exact derivative along a direction, to all digits of `derivative` that its radius leaves."""

    derivative: Any
    """sum(weights * dy), an `arb`: the exact derivative lies in this ball. At kinks that part, one of its two sides."""
    values: tuple[Array, ...]
    """The leaves of the value: arrays of `arb`."""
    distances: tuple[Array, ...]
    """How far each entry of the value that the function computes in float64 is at most from the exact one."""
    kinks: tuple[Kink, ...]
    """The ties of comparisons that were met."""
    bits: int
    """The precision of the evaluation."""
    operations: int
    """Scalar operations of one evaluation."""
    sides: tuple[Any, Any] | None = field(default=None)
    """If a tie parts along the direction: the derivatives along it and from behind, each an `arb`; None if they are equal."""

    def error(self, claimed: float) -> float:
        """An upper bound of |claimed - derivative|, rounded to float64 only at the end."""
        with _Precision(self.bits):
            return float((arb(float(claimed)) - self.derivative).abs_upper())

    def least_error(self, gradient: Sequence[Any], direction: Sequence[float]) -> float:
        """A lower bound of |sum(gradient * direction) - derivative|, for a gradient in balls; 0 if the two may be equal."""
        with _Precision(self.bits):
            claimed = sum((g * float(d) for g, d in zip(gradient, direction, strict=True) if d), arb(0))
            return float((claimed - self.derivative).abs_lower())

    def relative_error(self, claimed: float) -> float:
        """An upper bound of the error as a share of the derivative; inf where that is 0 and the claimed number is not."""
        with _Precision(self.bits):
            difference = (arb(float(claimed)) - self.derivative).abs_upper()
            size = self.derivative.abs_lower()
            return float(difference / size) if size > 0 else 0.0 if difference < NOTHING else float("inf")

    @property
    def nearest(self) -> float:
        """The float64 number nearest to the derivative."""
        return float(self.derivative.mid())

    @property
    def misfit(self) -> float:
        """The largest distance beside the largest entry of its leaf: the rounding of float64, or another function."""
        worst = 0.0
        for exact, distance in zip(self.values, self.distances, strict=True):
            size = max([abs(float(e.mid())) for e in exact.flat], default=0.0)
            away = float(distance.max(initial=0.0))
            worst = max(worst, away / size if size > 0 else away and float("inf"))
        return worst


def directional(
    forward: Callable[..., Any],
    primals: Sequence[Any],
    options: Mapping[str, Any],
    tangents: Sequence[Any],
    weights: Any,
    *,
    limit: int = MOST,
) -> Enclosure:
    """The exact derivative of sum(weights * forward(*primals, **options)) along `tangents`.

    `forward` returns the value alone, a tree of arrays. `tangents` is a tree like `primals`, `weights` one like the value.
    Raises `NotExact` with the reason if the function cannot be evaluated exactly, or only with more than `limit` scalar
    operations.
    """
    problem = _Problem(forward, primals, options, tangents, weights, limit)
    _check_alike("tangents", tuple(tangents), "the arguments", tuple(primals))
    with LOCK:
        value = problem.in_float64()  # first: what the function caches must not hold balls
        _check_alike("weights", weights, "the value", value)
        try:
            return problem.at_sufficient_precision(value)
        finally:
            with suppress(NotExact):
                problem.in_float64()  # and last, if it remembers its last call


def partial(
    forward: Callable[..., Any], primals: Sequence[Any], options: Mapping[str, Any], argument: int, index: int, weights: Any
) -> Enclosure:
    """The same along one entry: number `index` of leaf number `argument` of the primals."""
    tree: Any = tuple(primals)
    leaves, structure = optree.tree_flatten(tree)
    tangents = [np.zeros(np.shape(leaf)) for leaf in leaves]
    tangents[argument].reshape(-1)[index] = 1.0
    along: Any = structure.unflatten(tangents)
    return directional(forward, primals, options, along, weights)


def roundings(forward: Callable[..., Any], primals: Sequence[Any], options: Mapping[str, Any], value: Any) -> tuple[Array, ...]:
    """How far rounding may move each entry of the value, a tree like `value`, when it is computed in float64.

    These are the radii of an evaluation on balls of so few bits. Raises `NotExact` if a comparison is not decided with them.
    """
    tree: Any = (tuple(primals), value)
    nothing: Any = optree.tree_map(lambda leaf: np.zeros(np.shape(leaf)), tree)
    problem = _Problem(forward, primals, options, nothing[0], nothing[1], MOST)
    with LOCK, _Precision(ROUNDED_BITS):
        try:
            _, values = problem.evaluated(0, 0)
        except Undecided as undecided:
            raise NotExact(f"not decided with {ROUNDED_BITS} bits: {undecided.kink}") from None
        finally:
            with suppress(NotExact):
                problem.in_float64()
    return tuple(np.asarray(RADIUS(leaf), np.float64) for leaf in values)


def _check_alike(name: str, tree: Any, of: str, like: Any) -> None:
    shapes, wanted = (optree.tree_map(np.shape, t) for t in (tree, like))
    if shapes != wanted:
        raise ValueError(f"directional: the {name} must have the shapes of {of}, {wanted}, got {shapes}")


class _Precision:
    """Arb's precision within a block."""

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def __enter__(self) -> None:
        self.before, ctx.prec = ctx.prec, self.bits

    def __exit__(self, *_: object) -> None:
        ctx.prec = self.before


@dataclass(frozen=True)
class _Problem:
    """The function, the point and the direction."""

    forward: Callable[..., Any]
    primals: Sequence[Any]
    options: Mapping[str, Any]
    tangents: Sequence[Any]
    weights: Any
    limit: int

    def at_sufficient_precision(self, value: Any) -> Enclosure:
        bits = FIRST_BITS
        while True:
            try:
                with _Precision(bits):
                    enclosure = self.enclosed(bits, value)
                    if enclosure is not None:
                        return enclosure
                    reason = f"the enclosure stays wide with {bits} bits: an infinite slope, or digits that cancel"
            except Undecided as undecided:
                reason = f"not decided with {bits} bits: {undecided.kink}"
                if bits in FORCED and (enclosure := self.either_way(bits, value)) is not None:
                    return enclosure
            spent = WORK.limit - WORK.left
            if bits >= MOST_BITS or spent * bits > MOST_WORK:
                raise NotExact(reason, tuple(WORK.kinks))
            bits *= 2

    def enclosed(self, bits: int, value: Any, forced: int = 0) -> Enclosure | None:
        """The answer at this precision; None if it is not certain to enough digits."""
        derivative, values = self.evaluated(0, forced)
        kinks, operations = tuple(WORK.kinks), WORK.limit - WORK.left
        sides = None
        if any(kink.parts and kink.proved for kink in kinks):
            ahead, behind = self.evaluated(1, forced), self.evaluated(-1, forced)
            if not all(_overlap(values, side[1]) for side in (ahead, behind)):
                raise NotExact(f"the function jumps: {kinks[0]}", kinks)
            derivative = ahead[0]
            if not _is_certain(behind[0], ()):
                return None
            sides = None if ahead[0].overlaps(behind[0]) else (ahead[0], behind[0])
        if not _is_certain(derivative, values):
            return None
        return Enclosure(derivative, values, _distances(value, values), kinks, bits, operations, sides)

    def either_way(self, bits: int, value: Any) -> Enclosure | None:
        """The answer if it is the same however the comparisons that are not decided turn out."""
        with _Precision(bits):
            try:
                one, other = self.enclosed(bits, value, 1), self.enclosed(bits, value, -1)
            except (NotExact, Undecided):
                return None
            if one is None or other is None or not _overlap(one.values, other.values):
                return None
            same = one.derivative.overlaps(other.derivative) and one.sides is None and other.sides is None
            return replace(one, derivative=one.derivative.union(other.derivative)) if same else None

    def in_float64(self) -> Any:
        """The value of the function at copies of the arguments."""
        tree: Any = tuple(self.primals)
        try:
            with quiet():
                value = self.forward(*optree.tree_map(lambda leaf: np.array(leaf, np.float64), tree), **self.options)
                return optree.tree_map(np.array, value)
        except RAISED as error:
            raise NotExact(f"in float64 the function raises {_in_short(error)}") from error

    def evaluated(self, side: int, forced: int) -> tuple[Any, tuple[Array, ...]]:
        WORK.begin(self.limit, side, forced)
        tree: Any = tuple(self.primals)
        leaves, structure = optree.tree_flatten(tree)
        along: Any = tuple(self.tangents)
        directions = structure.flatten_up_to(along)
        balls = structure.unflatten([_balls(leaf, direction) for leaf, direction in zip(leaves, directions, strict=True)])
        drawn = _global_state()
        try:
            with stand_ins(self.forward), quiet():
                value = self.forward(*balls, **self.options)
        except (NotExact, Undecided):
            raise
        except RAISED as error:
            raise WORK.refused or NotExact(f"the function raised {_in_short(error)}") from error
        if WORK.refused is not None:  # the function has caught it
            raise WORK.refused
        if _global_state() != drawn:
            raise NotExact("draws random numbers")
        return _contracted(value, self.weights)


def _global_state() -> tuple[Any, ...]:
    """Of NumPy's global random numbers: a function that draws from them is no function."""
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 (user code may still draw there)
    return tuple(part.tobytes() if isinstance(part, np.ndarray) else part for part in state["state"].values())


def _in_short(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


def _balls(leaf: Any, direction: Any) -> BallArray:
    """The numbers as balls of radius 0, which move along the direction."""
    numbers, slopes = np.asarray(leaf, np.float64), np.broadcast_to(np.asarray(direction, np.float64), np.shape(leaf))
    elements = np.empty(numbers.shape, object)
    flat = elements.reshape(-1)
    for i, (number, slope) in enumerate(zip(numbers.flat, slopes.flat, strict=True)):
        flat[i] = Ball(arb(float(number)), arb(float(slope)) if slope else None)
    return BallArray(elements)


def _contracted(value: Any, weights: Any) -> tuple[Any, tuple[Array, ...]]:
    """The sum of the weights times the tangents, and the leaves of the value."""
    leaves, factors = optree.tree_leaves(value), optree.tree_leaves(weights)
    total, values = arb(0), []
    for leaf, factor in zip(leaves, factors, strict=True):
        elements = np.asarray(lifted(leaf), object)
        numbers = np.asarray(factor, np.float64)
        if numbers.shape != elements.shape:
            raise NotExact(f"on balls the value has shape {elements.shape}, in float64 {numbers.shape}")
        exact = np.empty(elements.shape, object)
        for i, (element, weight) in enumerate(zip(elements.flat, numbers.flat, strict=True)):
            is_ball = type(element) is Ball
            exact.reshape(-1)[i] = element.value if is_ball else arb(float(element))
            if not is_ball and np.isnan(element):
                raise NotExact("the value is not a number")
            if is_ball and element.tangent is not None and weight:
                total += float(weight) * element.tangent
        values.append(exact)
    return total, tuple(values)


def _is_certain(derivative: Any, values: Sequence[Array]) -> bool:
    if not _is_small(derivative.rad(), derivative.abs_lower()):
        return False
    for leaf in values:
        size = max([abs(v.mid()) for v in leaf.flat], default=arb(0))
        if not all(_is_small(v.rad(), size) for v in leaf.flat):
            return False
    return True


def _distances(value: Any, exact: Sequence[Array]) -> tuple[Array, ...]:
    leaves = [np.asarray(leaf, np.float64) for leaf in optree.tree_leaves(value)]
    return tuple(np.asarray(DISTANCE(leaf, e), np.float64) for leaf, e in zip(leaves, exact, strict=True))


def _distance(claimed: float, exact: Any) -> float:
    """An upper bound; inf for a number that is infinite or NaN by itself."""
    if not np.isfinite(claimed) or not exact.is_finite():
        return 0.0 if arb(claimed) == exact else float("inf")
    return float((arb(claimed) - exact).abs_upper())


DISTANCE = np.frompyfunc(_distance, 2, 1)
RADIUS = np.frompyfunc(lambda ball: float(ball.rad()), 1, 1)


def _overlap(one: Sequence[Array], other: Sequence[Array]) -> bool:
    return all(x.overlaps(y) for a, b in zip(one, other, strict=True) for x, y in zip(a.flat, b.flat, strict=True))


def _is_small(radius: Any, size: Any) -> bool:
    return bool(radius <= size * CERTAIN) or bool(radius < NOTHING)
