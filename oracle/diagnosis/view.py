"""What a cause may look at: the gradient and the true one, and other gradients at a sample of its entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from oracle.diagnosis.context import Context
from oracle.diagnosis.forward_pass import ForwardPass
from oracle.diagnosis.words import Array
from oracle.judging.evidence import Evidence
from oracle.measures import eps_of, largest

__all__ = ["AGREE", "LEFT", "Cause", "View", "along", "explains"]


LEFT = 1e-3  # a cause explains an error if it leaves less than this share of it
AGREE = 1e-6  # how exactly a fitted number must be a known one

SOUND = 1e-6  # of the largest entry: how near plain differences must come to the true gradient to be taken at other points
ENOUGH = 3  # entries by which another gradient is recognized


@dataclass(frozen=True)
class View:
    """The gradient of one argument beside the true one, as far as that is known."""

    e: Evidence
    context: Context
    index: Array
    """The flat indices of the entries that are known; all of them if JAX is there or the tensor is small."""
    ours: Array
    truth: Array
    tolerance: Array
    """How far each entry may be off and still be right."""

    @classmethod
    def of(cls, e: Evidence, context: Context) -> View | None:
        """JAX's gradient is the true one, or else the differences, where they were taken; None where nothing is known."""
        if e.autodiff is not None:
            index, truth = np.arange(e.analytic.size), e.autodiff
            tolerance = np.full(truth.shape, e.budget.against_reference)
        else:
            # At a kink any value between the slopes of the two sides is true.
            low, high = np.minimum(e.estimate.left, e.estimate.right), np.maximum(e.estimate.left, e.estimate.right)
            between = np.clip(e.analytic[e.estimate.index], low, high)
            value = np.where(e.estimate.kink, between, e.estimate.value)
            known = np.isfinite(value)
            index, truth = e.estimate.index[known], value[known]
            spread = np.where(e.estimate.kink, e.estimate.slope_uncertainty, e.estimate.uncertainty)[known]
            with np.errstate(over="ignore"):
                tolerance = e.budget.against_reference + 4 * np.nan_to_num(spread, nan=np.inf)
        return cls(e, context, index, e.analytic[index], truth, tolerance) if index.size else None

    @property
    def name(self) -> str:
        return self.e.parameter.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.e.parameter.shape

    @property
    def whole(self) -> bool:
        """Whether every entry is known."""
        return self.index.size == self.e.analytic.size

    @property
    def tensors(self) -> tuple[Array, Array]:
        """Ours and the true one, in their shape; for whole ones."""
        return self.ours.reshape(self.shape), self.truth.reshape(self.shape)

    @cached_property
    def unit(self) -> float:
        """The cotangent of a scalar, of which every number is a multiple; else 1."""
        forward = self.context.forward
        one = forward is not None and forward.cotangent.size == 1 and np.isfinite(forward.cotangent).all()
        return float(forward.cotangent[0]) or 1.0 if forward is not None and one else 1.0

    @property
    def for_dy(self) -> str:
        """Of which cotangent a number is that cannot be divided by it: a limit."""
        return "" if self.unit == 1.0 else f" (for dy = {self.unit:.6g})"

    @property
    def per_unit(self) -> str:
        """In what unit a number is said that was divided by it."""
        return "" if self.unit == 1.0 else " for dy = 1"

    @cached_property
    def error(self) -> Array:
        return np.asarray(self.ours - self.truth)

    @cached_property
    def wrong(self) -> Array:
        """Which of the known entries are wrong."""
        return np.abs(self.error) > self.tolerance

    def explained_by(self, supposed: Array, where: Array | None = None) -> bool:
        """Whether a supposed gradient (at some of the known entries) leaves next to nothing of the error."""
        where = np.ones(self.ours.shape, bool) if where is None else where
        return explains(supposed, self.ours[where], self.truth[where], self.e.parameter.dtype)

    def fits(self, supposed: Array, where: Array | None = None, uncertainty: float = 0.0) -> bool:
        """As `explained_by`, and every single entry is nearer to the supposed one than to the true one, where they differ.

        `uncertainty` is how far off the supposed one may be.
        """
        where = np.ones(self.ours.shape, bool) if where is None else where
        if not self.explained_by(supposed, where):
            return False
        ours, truth = self.ours[where], self.truth[where]
        differ = np.abs(supposed - truth) > self.tolerance[where] + uncertainty
        return not bool((np.abs(ours - supposed) > np.abs(ours - truth))[differ].any())

    @cached_property
    def sampled(self) -> Sampled | None:
        """The entries at which other gradients are evaluated; None if there are none."""
        forward = self.context.forward
        if forward is None:
            return None
        forward = replace(forward, entries=self.index, doubtful=self.index[self.wrong], ours=self.ours)
        rows = forward.sound(self.truth, SOUND * largest(self.truth) + self.tolerance)
        where = np.isin(self.index, forward.sampled[rows])
        few = np.flatnonzero(np.isin(forward.picked, rows))
        few_where = np.isin(self.index, forward.sampled[forward.picked[few]])
        return Sampled(forward, rows, where, few, few_where) if rows.size else None

    def is_instead(self, supposed: Array) -> bool:
        """Whether ours is this gradient at the few entries sampled, if they are enough to tell."""
        if self.sampled is None or self.sampled.few.size < ENOUGH:
            return False
        return self.fits(supposed[self.sampled.few], self.sampled.few_where, SOUND * largest(self.truth))

    def fits_sampled(self, supposed: Array) -> bool:
        """Whether ours is what is made of the Jacobian, for the sound entries only."""
        return (
            self.sampled is not None
            and supposed.size > 1
            and self.fits(supposed, self.sampled.where, SOUND * largest(self.truth))
        )


class Sampled(NamedTuple):
    """Which rows of the Jacobian, and of an answer about another gradient, are about which of the known entries."""

    forward: ForwardPass
    rows: Array
    where: Array
    few: Array
    few_where: Array


Cause: TypeAlias = Callable[[View], Iterator[str]]
"""The causes of one kind that explain what is seen, in words."""


def explains(supposed: Array, ours: Array, truth: Array, dtype: np.dtype[Any]) -> bool:
    """Whether a supposed gradient lies so much nearer to ours than the true one that it leaves next to nothing to explain."""
    size = largest(ours, truth, supposed)
    if size == 0 or not (np.isfinite(ours).all() and np.isfinite(supposed).all()):
        return False
    left, error = np.linalg.norm((ours - supposed) / size), np.linalg.norm((ours - truth) / size)
    return bool(left < max(LEFT, eps_of(dtype)) * error)


def along(v: View, axis: int, chosen: Array) -> Array:
    """The entries at these indices of an axis, flat."""
    shape = [1] * len(v.shape)
    shape[axis] = -1
    return np.broadcast_to(chosen.reshape(shape), v.shape).ravel()
