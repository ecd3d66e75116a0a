"""The values at one point beside the reference's: whether they are those of the same function."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property

import numpy as np

from oracle.arrays import vector
from oracle.judging.error_budget import SAMPLED_SAFETY, SHORT_SUM, ErrorBudget, conditioning, narrow_dtype, roundoff
from oracle.judging.evidence import Array, Values
from oracle.judging.point import Point
from oracle.judging.reference import ReferenceAt
from oracle.judging.rounding import RoundingAt
from oracle.measures import distance, largest, relative
from oracle.spec import Flag

__all__ = ["ValuesAt"]

SMALLEST_NORMAL = float(np.finfo(np.float64).tiny)  # XLA takes smaller values for 0


class ValuesAt:
    """The values at one point, compared with the reference's."""

    def __init__(self, point: Point, reference: ReferenceAt, rounding: RoundingAt, flags: Collection[Flag]) -> None:
        self._point = point
        self._reference = reference
        self._rounding = rounding
        self._flags = flags

    @property
    def error(self) -> float | None:
        """The error of the values, relative to the largest; None without a reference."""
        return self._errors[0]

    @property
    def record(self) -> Values:
        """The value beside the reference's."""
        return Values(self._errors[1], overflow=not np.isfinite(vector(self._point.y)).all())

    @property
    def are_of_another_function(self) -> bool:
        """Whether the reference has another value here, so that its gradient is that of another function."""
        differ = self.record.differ and Flag.NOT_THE_DERIVATIVE not in self._flags
        return differ and not self._reference_loses_its_value

    @property
    def _reference_loses_its_value(self) -> bool:
        """Whether the reference's own value moves as far when its arguments are rounded: it loses these digits itself."""
        if self._reference.pullback is None or self._point.dtype.name != "float64":
            return False
        error = distance(vector(self._point.y), vector(self._reference.pullback.value))
        return bool((error <= SAMPLED_SAFETY * self._rounding.value_spread).all())

    @property
    def reference_is_narrow(self) -> bool:
        """Whether the reference alone computes in float32: its values are such numbers, and ours but for their rounding."""
        if self._reference.pullback is None or self._point.dtype.name != "float64" or not self.record.differ:
            return False
        ours, theirs = vector(self._point.y), vector(self._reference.pullback.value)
        with np.errstate(over="ignore"):
            held, too = (np.array_equal(a.astype(np.float32), a) for a in (theirs, ours))
        return held and not too and largest(distance(ours, theirs)) <= roundoff(largest(theirs), SHORT_SUM, "float32")

    @cached_property
    def _errors(self) -> tuple[float | None, float | None]:
        """The largest difference of our values and the reference's: relative to the largest, and to the error budget."""
        if self._reference.pullback is None:
            return None, None
        ours, theirs = vector(self._point.y), vector(self._reference.pullback.value)
        narrow, dtype = self._reference.in_its_dtype, self._point.dtype
        by_reference = None if narrow is None else largest(distance(vector(narrow.value), theirs))
        if dtype.name != "float64":
            with np.errstate(over="ignore"):
                rounded = theirs.astype(dtype).astype(np.float64)
            theirs = np.where(np.isinf(rounded), rounded, theirs)  # a value that this dtype cannot hold is rightly infinite
        error = distance(ours, theirs)
        if dtype.name == "float64":
            error = np.where(_is_rounded_once(ours, theirs), 0.0, error)
        scale = max(self._rounding.value_scale, largest(theirs))
        budget = ErrorBudget(scale, 0.0, dtype=narrow_dtype(dtype.name, scale, by_reference))
        allowed = budget.against_reference + SMALLEST_NORMAL
        if dtype.name == "float64" or (not largest(error) <= allowed and self._rounding.is_below(dtype.name)):
            allowed += SAMPLED_SAFETY * self._rounding.value_noise
        if dtype.name == "float64" and not largest(error) <= allowed:
            allowed += float(conditioning(self._rounding.value_spread, scale))
        if dtype.name != "float64" and not largest(error) <= allowed:
            # A reference that computes in float32 itself loses nothing in float32. Where terms cancel, both may lose more.
            budget = replace(budget, dtype=narrow_dtype(dtype.name, scale, by_reference, self._rounding.value_moved_in_dtype))
            allowed = max(allowed, budget.against_reference)
        return relative(error, largest(theirs) or scale), relative(error, allowed)


def _is_rounded_once(ours: Array, theirs: Array) -> Array:
    """Which of our values are the reference's, rounded to float32: a constant that is kept in float32 shows no noise."""
    with np.errstate(over="ignore"):
        held = ours.astype(np.float32) == ours
    return np.asarray(held & (distance(ours, theirs) <= roundoff(np.abs(theirs), 0.5, "float32")))
