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
from oracle.subject import Subject

__all__ = ["ComplexValue", "Point", "Trouble", "in_float64", "point_at"]


class Trouble(Exception):
    """What the op or its reference did instead of computing something; `wrong` if the op is wrong, not merely unable."""

    def __init__(self, what: str, *, wrong: bool = False) -> None:
        super().__init__(what)
        self.wrong = wrong


class ComplexValue(Exception):
    """The value of a function of real numbers is complex, so that another engine must judge it."""


@dataclass
class Point:
    """The gradient of `subject` at `primals` that its backward pass gave for `dy`.

    Witnesses compute in float64 whatever the dtype of the primals is: `wide` has these numbers as they are, in float64.
    """

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
    def wide(self) -> Any:
        return tuple(widened(self.primals))

    @cached_property
    def wide_dy(self) -> Any:
        return widened(self.dy)

    @cached_property
    def evaluator(self) -> Evaluator:
        """The forward pass in float64, contracted with the cotangent: the function that is differentiated."""
        if self.narrow is not None:
            return self.narrow.evaluator
        try:
            return Evaluator(self.subject.value, self.wide, self.wide_dy, many=self.subject.many)
        except RAISED as error:
            raise Trouble(f"the forward pass, run again in float64, raised {type(error).__name__}: {error}") from error

    @property
    def borrows_noise(self) -> bool:
        """Whether no noise of roundings inside is measured here, because there is none at the point that this one is from."""
        return self.noise_of is not None and not any(self.noise_of.inner_noise)

    @cached_property
    def inner_noise(self) -> list[float]:
        """How noisy each gradient is because it is computed in a narrower dtype than float64 inside; 0 if it is not."""
        if self.narrow is not None:
            return self.narrow.inner_noise
        if self.borrows_noise:
            return [0.0] * len(self.leaves)
        found = inner_noise(self.subject, self.wide, self.wide_dy, len(self.leaves))
        limits = [SIXTEEN_BITS * largest(g) for g in self.gradients]
        small = [noise <= limit for noise, limit in zip(found, limits, strict=True)]
        if all(small) or self.evaluator.inner_eps > SIXTEEN_BITS or self._floats:
            return found
        return [noise if is_small else 0.0 for noise, is_small in zip(found, small, strict=True)]

    @cached_property
    def conditions(self) -> list[Array]:
        """The condition of each entry of each gradient."""
        return conditions(self.subject, self.wide, self.wide_dy)

    @property
    def _floats(self) -> bool:
        """Whether gradients have a floating point inside: a power of 2 in `dy` changes no digit. In whole numbers it does."""

        def gradient(dy: Any) -> Array:
            return np.concatenate(self.subject.gradients(self.wide, dy))

        with quiet():
            base = gradient(widened(self.wide_dy))
            for factor in (8.0, 0.125):  # a number of 16 bits may overflow, or underflow
                try:
                    if keeps_digits(gradient, self.wide_dy, base, factor):
                        return True
                except RAISED:
                    continue
        return False


def point_at(point: Point, primals: Sequence[Any]) -> Point:
    """The same op and cotangent at other arguments."""
    value, residuals = point.subject.fwd(*primals)
    dy = optree.tree_map(np.array, narrowed(point.wide_dy, value))  # a backward pass may write into it
    cotangents = point.subject.bwd(residuals, dy)
    return Point(point.subject, tuple(primals), value, point.dy, cotangents)


def in_float64(point: Point) -> Point | None:
    """The same point in float64, if it is narrower and the op takes that."""
    if point.dtype.name == "float64" or getattr(point.subject.forward, "of_one_dtype", False):
        return None
    try:
        return replace(point_at(point, point.wide), narrow=point)
    except RAISED:
        return None
