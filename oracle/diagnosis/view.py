"""The view that every cause gets: our gradient beside the true one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from oracle.diagnosis.context import Context
from oracle.diagnosis.sample import Sample, sample_of
from oracle.diagnosis.words import Array
from oracle.judging.evidence import Evidence
from oracle.measures import largest

__all__ = ["Cause", "View", "along", "errors_stand_out", "tensors", "view_of"]

FAR = 32
"""Times the tolerance that the median error of the wrong entries must be, unless they stand apart. With 8, the entries at which
an error of 1e-5 of a float32 kernel can be seen count as a region; with 100, regions in 16 bits get no cause."""
APART = 4
"""Times the largest error of the right entries that each wrong one must be to stand apart. With 2, a smooth error often has
such a gap by chance; with 10, regions in 16 bits get no cause."""


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

    @cached_property
    def error(self) -> Array:
        return np.asarray(self.ours - self.truth)

    @cached_property
    def wrong(self) -> Array:
        """Which of the known entries are wrong."""
        return np.abs(self.error) > self.tolerance

    @cached_property
    def sample(self) -> Sample | None:
        """The entries at which other gradients are evaluated; None if there are none."""
        if self.context.forward is None:
            return None
        close = self.context.forward.sound * largest(self.truth) + self.tolerance
        return sample_of(self.context.forward, self.index, self.wrong, self.ours, self.truth, close)


Cause: TypeAlias = Callable[[View], Iterator[str]]
"""A kind of cause: yields a sentence for each way in which it explains the error."""


def view_of(e: Evidence, context: Context) -> View | None:
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
    return View(e, context, index, e.analytic[index], truth, tolerance) if index.size else None


def errors_stand_out(v: View) -> bool:
    """Whether the wrong entries stand out, so that what is said of the others holds: that they are right.

    The errors of a wrong formula may lie on both sides of the tolerance. Which entries count as wrong is chance then.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(np.abs(v.error) / v.tolerance, posinf=np.inf)
    wrong, right = ratio[v.wrong], ratio[~v.wrong]
    return bool(wrong.size and (np.median(wrong) > FAR or wrong.min() > APART * right.max(initial=0.0)))


def tensors(v: View) -> tuple[Array, Array]:
    """Our gradient and the true one as tensors; only if every entry is known."""
    return v.ours.reshape(v.shape), v.truth.reshape(v.shape)


def along(v: View, axis: int, chosen: Array) -> Array:
    """For each entry, flat, the element of `chosen` at its index along an axis."""
    shape = [1] * len(v.shape)
    shape[axis] = -1
    return np.broadcast_to(chosen.reshape(shape), v.shape).ravel()
