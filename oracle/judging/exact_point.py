"""The exact witness at one point: derivatives by the entries of one argument, if they are those of the function in float64."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import optree

from oracle.arrays import RAISED, quiet
from oracle.double_backward import jax_gradients
from oracle.effort import ONE_BY_ONE
from oracle.exact import Kink, NotExact
from oracle.judging.error_budget import SAFETY, SAMPLED_SAFETY
from oracle.judging.evidence import Array
from oracle.judging.point import Point
from oracle.measures import EPSILON
from oracle.streams import Stream
from oracle.subject import on_copies

__all__ = ["CONFIRMED", "Answer", "ExactPoint", "Refused", "unrounded"]

WORK = 400_000
"""Scalar operations after which nothing more is asked about an argument; one takes about 5 microseconds. They are counted, so
that a verdict does not depend on the load of the machine. With a quarter, a relu of 2,500 entries is not decided; with four
times as many, a gradient may take ten seconds."""
SECONDS = 10.0
"""After which nothing more is asked either, for functions that are slow by themselves: the differences call them hundreds of
times. With 1, verdicts would depend on the load of the machine."""

CONFIRMED = 2
"""Times that something must be seen at other points: entries with contradicting differences, whose values are compared where
these were taken, and roundings of the arguments, at which the error of a gradient is evaluated again. With one, values may fit
by chance and a spread is often missed; with four, each gradient in doubt costs as many evaluations more."""


class Refused(Exception):
    """The exact derivative is not known, or is not that of the function in float64; `kinks` were proved before."""

    def __init__(self, reason: str, kinks: tuple[Kink, ...] = ()) -> None:
        super().__init__(reason)
        self.kinks = kinks


class Answer(NamedTuple):
    """An exact derivative, rounded to float64."""

    value: float
    uncertainty: float
    sides: tuple[float, float] | None
    """From behind and ahead, if they differ."""


class ExactPoint:
    """Exact derivatives of a function at a point, contracted with a cotangent, by the entries of argument `leaf`."""

    def __init__(self, point: Point, leaf: int, seed: int) -> None:
        self.point = point
        self.leaf = leaf
        self.kinks: dict[Kink, None] = {}
        """The kinks that were proved, where the slopes of both sides differ."""
        self._subject = on_copies(point.subject)
        self._seed = seed
        self._fits = False
        self._left = WORK
        self._ends = time.monotonic() + SECONDS

    def is_late(self, *, half: bool = False) -> bool:
        """Whether the work, or half of it, is done, or the time is over."""
        return self._left < (WORK / 2 if half else 0) or time.monotonic() > self._ends

    def partial(self, index: int) -> Answer:
        """The derivative by one entry."""
        direction = np.zeros(np.size(self._leaves[self.leaf]))
        direction[index] = 1.0
        return self.along(direction)

    def along(self, direction: Array) -> Answer:
        """The derivative along a direction of the entries."""
        return self.along_all(self._of_this(direction))

    def along_all(self, directions: Sequence[Array]) -> Answer:
        """The derivative along a direction of all arguments."""
        enclosure = self.enclosure(directions)
        parted = enclosure.sides is not None
        self.kinks.update(dict.fromkeys(kink for kink in enclosure.kinks if kink.proved and parted))
        value, radius = enclosure.nearest, float(enclosure.error(enclosure.nearest))
        sides = None if enclosure.sides is None else (float(enclosure.sides[1].mid()), float(enclosure.sides[0].mid()))
        return Answer(value, radius, sides)

    def enclosure(self, directions: Sequence[Array]) -> Any:
        """The derivative along a direction of all arguments with all its digits, see `oracle.exact.witness.Enclosure`."""
        enclosure = self._enclosed(directions, self.point.wide.primals, self.point.wide.dy)
        if not self._fits and not self._is_value(enclosure.distances, self.point.wide.primals):
            raise Refused("its values are not those of the function in float64")
        self._fits = True
        return enclosure

    def spread(self, direction: Array, ours: float) -> float:
        """How far ours may be off by rounding: by the condition of the derivative, or by as much as its own error moves.

        How far that moves when the arguments and the cotangent are rounded is sampled, and so is the condition by many numbers.
        It is 0 where it is unknown: at the end of the domain, or where all points nearby are kinks.
        """
        here = self.along(direction).value
        errors, slopes = [0.0], [0.0]
        for primals, dy in self._rounded():
            try:
                there = self._enclosed(self._of_this(direction), primals, dy).nearest
                gradient = _quietly(lambda: self._subject.gradients(primals, dy)[self.leaf])  # noqa: B023 (used at once)
            except Refused:
                continue
            errors.append(abs((float(gradient @ direction) - there) - (ours - here)))
            slopes.append(abs(there - here))
        known = sum(np.size(leaf) for leaf in self._leaves) <= ONE_BY_ONE
        sampled = SAMPLED_SAFETY / SAFETY * np.nan_to_num([max(errors), max(slopes)])
        return float(max(self.condition(direction) if known else sampled[1], sampled[0]))

    def condition(self, direction: Array) -> float:
        """How far the derivative moves at most when each number of the arguments and of the cotangent moves by one ULP."""
        return float(np.abs(direction) @ self.point.wide.conditions[self.leaf])

    def is_the_function_at(self, index: int, steps: Sequence[float]) -> bool:
        """Whether the values are those of the function in float64 where the entry is displaced by these steps."""
        seen = False
        for there in self._displaced(index, steps):
            try:
                enclosure = self._enclosed([np.zeros(np.size(leaf)) for leaf in self._leaves], there, self.point.wide.dy)
            except Refused:
                continue
            if not self._is_value(enclosure.distances, there):
                return False
            seen = True
        return seen

    def is_flat_at(self, index: int, steps: Sequence[float]) -> bool:
        """Whether the derivative by the entry is 0, also where the entry is displaced by these steps: a step function's is."""
        direction = np.zeros(np.size(self._leaves[self.leaf]))
        direction[index] = 1.0
        for there in (self.point.wide.primals, *self._displaced(index, steps)):
            try:
                if self._enclosed(self._of_this(direction), there, self.point.wide.dy).nearest != 0:
                    return False
            except Refused:
                continue
        return True

    def _rounded(self) -> Iterator[tuple[Any, Any]]:
        """Arguments and cotangents that rounding cannot tell from these."""
        generator, eps = np.random.default_rng([self._seed, Stream.EXACT]), EPSILON["float64"]
        given: Any = (self.point.wide.primals, self.point.wide.dy)
        for _ in range(CONFIRMED):
            there: Any = optree.tree_map(lambda a: a * (1 + eps * generator.choice([-1.0, 1.0], np.shape(a))), given)
            yield there

    def _displaced(self, index: int, steps: Sequence[float]) -> Iterator[Any]:
        for step in (s * sign for s in steps for sign in (1, -1)):
            leaves = [np.array(leaf) for leaf in self._leaves]
            leaves[self.leaf].reshape(-1)[index] += step
            yield self._structure.unflatten(leaves)

    @cached_property
    def _forward(self) -> Callable[..., Any]:
        """The forward pass on balls: a function of NumPy is called as it is, one of JAX or torch runs by its trace."""
        library, function = _traceable(self.point)
        if function is None:
            return self._subject.value
        return _traced(library, function, self.point.wide.primals, self.point.subject.options)

    @property
    def _leaves(self) -> list[Array]:
        leaves: list[Any] = optree.tree_leaves(self.point.wide.primals)
        return leaves

    @property
    def _structure(self) -> Any:
        return optree.tree_structure(self.point.wide.primals)

    def _of_this(self, direction: Array) -> list[Array]:
        """The direction, with zeros for the other arguments."""
        return [direction if k == self.leaf else np.zeros(np.size(leaf)) for k, leaf in enumerate(self._leaves)]

    def _enclosed(self, directions: Sequence[Array], primals: Any, dy: Any) -> Any:
        from oracle.exact.witness import directional

        along = [np.reshape(d, np.shape(leaf)) for d, leaf in zip(directions, self._leaves, strict=True)]
        tangents = self._structure.unflatten(along)
        enclosure = _quietly(lambda: directional(self._forward, primals, {}, tangents, dy))
        self._left -= enclosure.operations
        return enclosure

    def _is_value(self, distances: Sequence[Array], primals: Any) -> bool:
        """Whether the exact values are as near to those in float64 as rounding allows: measured here, or bounded."""
        apart = np.concatenate([d.reshape(-1) for d in distances])
        evaluator = self.point.evaluator
        weights = np.abs(evaluator.cotangent)
        noise = np.divide(evaluator.noise, weights, out=np.zeros(weights.shape), where=weights > 0)
        if (apart <= SAMPLED_SAFETY * noise).all():
            return True
        from oracle.exact.witness import roundings

        try:
            bounds = _quietly(lambda: roundings(self._forward, primals, {}, self.point.wide.dy))
        except Refused:
            return False
        return bool((apart <= np.concatenate([b.reshape(-1) for b in bounds]) + SAMPLED_SAFETY * noise).all())


def unrounded(point: Point) -> tuple[list[Array], list[Array]]:
    """The gradients that the backward pass gives without rounding, in balls; and how far each entry in float64 is off."""
    from oracle.exact.witness import directional

    subject, given = on_copies(point.subject), (*point.wide.primals, point.wide.dy)
    cotangents: Any = point.cotangents
    library, function = _traceable(point)
    if library == "jax" and function is not None:  # its backward pass is called with arrays of JAX
        backward = _traced(library, partial(jax_gradients, partial(function, **subject.options)), given, {})
    else:

        def backward(*given: Any) -> Any:
            *primals, dy = given
            return subject.bwd(subject.fwd(*primals)[1], dy)

    def gradients(*given: Any) -> list[Any]:
        return optree.tree_leaves(backward(*given))

    tree: Any = (given, optree.tree_leaves(cotangents))
    nothing: Any = optree.tree_map(lambda leaf: np.zeros(np.shape(leaf)), tree)
    enclosure = _quietly(lambda: directional(gradients, given, {}, *nothing))
    return [v.reshape(-1) for v in enclosure.values], [d.reshape(-1) for d in enclosure.distances]


def _traceable(point: Point) -> tuple[str, Callable[..., Any] | None]:
    """The function of JAX or torch behind a forward pass, which has a trace; None for one of NumPy, which is called itself."""
    found: tuple[str, Callable[..., Any] | None] = getattr(point.subject.forward, "traceable", ("", None))
    return found


def _traced(library: str, function: Callable[..., Any], given: Sequence[Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """The function as one of balls, by its trace."""
    if library == "jax":
        from oracle.exact.jaxpr import forward_of
    else:
        from oracle.exact.fx import forward_of
    traced: Callable[..., Any] = _quietly(lambda: forward_of(function, given, options))
    return traced


def _quietly(evaluate: Callable[[], Any]) -> Any:
    """What the evaluation returns; whatever it raises means that nothing is known. What it prints was printed before."""
    try:
        with quiet(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            return evaluate()
    except NotExact as reason:
        raise Refused(str(reason), tuple(kink for kink in reason.kinks if kink.proved)) from reason
    except RAISED as error:
        raise Refused(f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]) from error
