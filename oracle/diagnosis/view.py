"""The view that every cause gets: our gradient beside the true one, and other gradients at a sample of its entries."""

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


LEFT = 1e-3
"""A cause explains an error if it leaves less than this share of it. Larger, and a wrong cause explains errors by chance;
smaller, and the rounding of a fit hides a right one."""
AGREE = 1e-6
"""The relative distance at which a fitted number counts as a known one. Larger, and numbers get names by chance; smaller, and
the error of the fit hides the name."""
SOUND = 1e-6
"""How close the differences of a diagnosis must come to the true gradient, as a fraction of its largest entry. Entries where
they do not, for example near a kink, are not used at other points."""
ENOUGH = 3
"""The smallest number of entries by which another gradient is recognized. With fewer, gradients agree by chance."""


@dataclass(frozen=True)
class View:
    """Our gradient of one argument beside the true one, at the entries where the true one is known."""

    e: Evidence
    context: Context
    index: Array
    """The flat indices of the known entries: all of them with a reference or for a small tensor."""
    ours: Array
    """Our gradient at these entries."""
    truth: Array
    """The true gradient at these entries."""
    tolerance: Array
    """The largest error at which each of these entries still counts as right."""

    @classmethod
    def of(cls, e: Evidence, context: Context) -> View | None:
        """The view with the reference's gradient as the true one, or the differences if there is no reference.

        None if no entry is known.
        """
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
        """Our gradient and the true one as tensors; only if every entry is known."""
        return self.ours.reshape(self.shape), self.truth.reshape(self.shape)

    @cached_property
    def unit(self) -> float:
        """The cotangent if the value is a scalar, because then every gradient is a multiple of it; else 1."""
        forward = self.context.forward
        one = forward is not None and forward.cotangent.size == 1 and np.isfinite(forward.cotangent).all()
        return float(forward.cotangent[0]) or 1.0 if forward is not None and one else 1.0

    @property
    def for_dy(self) -> str:
        """A note that names the cotangent, for numbers that cannot be divided by it, such as a limit."""
        return "" if self.unit == 1.0 else f" (for dy = {self.unit:.6g})"

    @property
    def per_unit(self) -> str:
        """A note for numbers that were divided by the cotangent."""
        return "" if self.unit == 1.0 else " for dy = 1"

    @cached_property
    def error(self) -> Array:
        return np.asarray(self.ours - self.truth)

    @cached_property
    def wrong(self) -> Array:
        """Which of the known entries are wrong."""
        return np.abs(self.error) > self.tolerance

    def explained_by(self, supposed: Array, where: Array | None = None) -> bool:
        """Whether a supposed gradient, given at the known entries or at those in `where`, explains the error."""
        where = np.ones(self.ours.shape, bool) if where is None else where
        return explains(supposed, self.ours[where], self.truth[where], self.e.parameter.dtype)

    def fits(self, supposed: Array, where: Array | None = None, uncertainty: float = 0.0) -> bool:
        """As `explained_by`, and each of our entries is closer to the supposed gradient, where it differs from the true one.

        `uncertainty` is the largest error of the supposed gradient.
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
        """Whether our gradient is this one at the few entries; False if there are fewer than `ENOUGH`."""
        if self.sampled is None or self.sampled.few.size < ENOUGH:
            return False
        return self.fits(supposed[self.sampled.few], self.sampled.few_where, SOUND * largest(self.truth))

    def fits_sampled(self, supposed: Array) -> bool:
        """Whether our gradient is this one, computed from the Jacobian, at the sampled entries with sound differences."""
        return (
            self.sampled is not None
            and supposed.size > 1
            and self.fits(supposed, self.sampled.where, SOUND * largest(self.truth))
        )


class Sampled(NamedTuple):
    """The entries at which the differences of the forward pass are sound, in the numbering of each array that holds them."""

    forward: ForwardPass
    rows: Array
    """Their rows in the Jacobian."""
    where: Array
    """A mask of them over the known entries."""
    few: Array
    """The positions of the few among them in a hypothetical gradient."""
    few_where: Array
    """A mask of these few over the known entries."""


Cause: TypeAlias = Callable[[View], Iterator[str]]
"""A kind of cause: yields a sentence for each way in which it explains the error."""


def explains(supposed: Array, ours: Array, truth: Array, dtype: np.dtype[Any]) -> bool:
    """Whether the distance of our gradient from the supposed one is a tiny share of its distance from the true one."""
    size = largest(ours, truth, supposed)
    if size == 0 or not (np.isfinite(ours).all() and np.isfinite(supposed).all()):
        return False
    left, error = np.linalg.norm((ours - supposed) / size), np.linalg.norm((ours - truth) / size)
    return bool(left < max(LEFT, eps_of(dtype)) * error)


def along(v: View, axis: int, chosen: Array) -> Array:
    """For each entry, flat, the element of `chosen` at its index along an axis."""
    shape = [1] * len(v.shape)
    shape[axis] = -1
    return np.broadcast_to(chosen.reshape(shape), v.shape).ravel()
