"""One op at one point: its arguments, its value, and the gradient that is verified there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import optree

from oracle.arrays import RAISED, Leaf, flat, leaves_of, narrowed, narrowest, quiet, widened
from oracle.differences.evaluation import Evaluator
from oracle.differences.thresholds import SIXTEEN_BITS
from oracle.judging.conditioning import conditions
from oracle.judging.evidence import Array
from oracle.judging.inner_rounding import inner_noise, keeps_digits
from oracle.measures import largest
from oracle.subject import Subject, many_of

__all__ = ["ComplexValue", "Point", "Trouble", "in_float64", "point_at"]


class Trouble(Exception):
    """What the op or its reference did instead of computing something; `wrong` if the op is wrong, not merely unable."""

    def __init__(self, what: str, *, wrong: bool = False) -> None:
        super().__init__(what)
        self.wrong = wrong


class ComplexValue(Exception):
    """The value of a function of real numbers is complex, so that another engine must judge it."""


@dataclass
class InFloat64:
    """The arguments and the cotangent of a point as they are, in float64, in which the witnesses compute."""

    subject: Subject
    primals: Any
    dy: Any

    @cached_property
    def conditions(self) -> list[Array]:
        """The condition of each entry of each gradient."""
        return conditions(self.subject, self.primals, self.dy)


@dataclass
class Point:
    """The gradient of `subject` at `primals` that its backward pass gave for `dy`."""

    subject: Subject
    primals: tuple[Any, ...]
    y: Any
    dy: Any
    cotangents: tuple[Any, ...]
    narrow: Point | None = None
    """The same point in the dtype of the user's arguments, if this one is its copy in float64. Both have the same evaluator."""
    noise_of: Point | None = None
    """The point that this one has been moved away from, if a gradient without roundings inside there counts as one here."""

    @cached_property
    def leaves(self) -> list[Leaf]:
        """The arrays of the primals, by name."""
        return leaves_of(self.subject.names(len(self.primals)), self.primals)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest of the primals."""
        return narrowest(self.leaves)

    @cached_property
    def gradients(self) -> list[Array]:
        """The cotangents, flat and in float64."""
        return flat(self.cotangents)

    @cached_property
    def wide(self) -> InFloat64:
        """The same numbers in float64, whatever the dtype of the primals is."""
        return InFloat64(self.subject, tuple(widened(self.primals)), widened(self.dy))

    @cached_property
    def evaluator(self) -> Evaluator:
        """The forward pass in float64, contracted with the cotangent: the function that is differentiated."""
        if self.narrow is not None:
            return self.narrow.evaluator
        try:
            return Evaluator(self.subject.value, self.wide.primals, self.wide.dy, many=many_of(self.subject))
        except RAISED as error:
            raise Trouble(f"the forward pass, run again in float64, raised {type(error).__name__}: {error}") from error

    @cached_property
    def inner_noise(self) -> list[float]:
        """How noisy each gradient is because it is computed in a narrower dtype than float64 inside; 0 if it is not."""
        if self.narrow is not None:
            return self.narrow.inner_noise
        if self.noise_of is not None and not any(self.noise_of.inner_noise):
            return [0.0] * len(self.leaves)
        found = inner_noise(self.subject, self.wide.primals, self.wide.dy, len(self.leaves))
        limits = [SIXTEEN_BITS * largest(g) for g in self.gradients]
        small = [noise <= limit for noise, limit in zip(found, limits, strict=True)]
        if all(small) or self.evaluator.rounding.inner_eps > SIXTEEN_BITS or self._floats:
            return found
        return [noise if is_small else 0.0 for noise, is_small in zip(found, small, strict=True)]

    @property
    def _floats(self) -> bool:
        """Whether gradients have a floating point inside: a power of 2 in `dy` changes no digit. In whole numbers it does."""

        def gradient(dy: Any) -> Array:
            return np.concatenate(self.subject.gradients(self.wide.primals, dy))

        with quiet():
            base = gradient(widened(self.wide.dy))
            for factor in (8.0, 0.125):  # a number of 16 bits may overflow, or underflow
                try:
                    if keeps_digits(gradient, self.wide.dy, base, factor):
                        return True
                except RAISED:
                    continue
        return False


def point_at(point: Point, primals: Sequence[Any]) -> Point:
    """The same op and cotangent at other arguments."""
    value, residuals = point.subject.fwd(*primals)
    dy = optree.tree_map(np.array, narrowed(point.wide.dy, value))  # a backward pass may write into it
    cotangents = point.subject.bwd(residuals, dy)
    return Point(point.subject, tuple(primals), value, point.dy, cotangents)


def in_float64(point: Point) -> Point | None:
    """The same point in float64, if it is narrower and the op takes that."""
    if point.dtype.name == "float64" or getattr(point.subject.forward, "of_one_dtype", False):
        return None
    try:
        return replace(point_at(point, point.wide.primals), narrow=point)
    except RAISED:
        return None
