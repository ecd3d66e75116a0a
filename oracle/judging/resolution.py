"""What a pass could have missed: the smallest errors of a gradient that would have been noticed.

An entry's error is noticed, whatever rounding adds to it, if it is twice what the error budget allows the entry; from half of
that on it may be. So the numbers here are what is allowed: an error of twice their size is always noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from oracle.differences.thresholds import COARSE, SIXTEEN_BITS
from oracle.judging.comparison import reported_scale
from oracle.judging.error_budget import SAFETY, computes_narrower, truncation_and_noise
from oracle.judging.evidence import Array, Evidence, Swept
from oracle.measures import EPSILON

__all__ = ["Resolution", "allowed", "in_words", "inner_dtype", "resolution"]

LEAST_FLOAT32 = COARSE * EPSILON["float32"]
"""The eps, as a share of the largest value, below which it is not said to be that of float32: what is rounded may be a small
term, or what is left when large terms cancel in float64. The measured eps of values that are rounded to float32 is 1/16 to 64
times its own."""


class Resolution(NamedTuple):
    """The smallest errors that would have been noticed, relative to the largest entry; None where that is unknown."""

    of_entry: float | None
    """Of a single entry, whichever it is."""
    of_row: float | None
    """Of all entries of one row (along the last axis), by the same number."""
    of_factor: float | None
    """Of a common factor: its distance from 1."""


def resolution(e: Evidence) -> Resolution:
    """For the gradient of one argument."""
    scale = reported_scale(e)
    if not scale or not e.analytic.size:
        return Resolution(None, None, None)
    limits = _allowed_of_each(e)
    groups = [allowed(s, e.budget.without_u) for s in e.directions.swept]
    seen = bool(groups) and not any(s.blind.any() for s in e.directions.swept)
    by_groups = (
        max(float(a.max(initial=0.0)) / s.least for a, s in zip(groups, e.directions.swept, strict=True)) if seen else np.inf
    )
    entry = min(float(limits.max()), by_groups)
    rows = limits.reshape(e.parameter.shape).min(axis=-1) if e.parameter.shape else limits
    # In a narrow dtype the tolerance comes from rounding, so that an error bar that is small by chance does not lower it.
    exact = e.parameter.dtype.name == "float64" and not computes_narrower(e.budget)
    factors = [(_usual_factor if exact else _least_factor)(limits, e.analytic)]
    factors += [_least_factor(a, s.value) for a, s in zip(groups, e.directions.swept, strict=True) if seen]
    factors += [_least_factor(np.array([limit]), np.array([value])) for _, _, value, limit in _slopes(e)]
    return Resolution(*(_finite(x) for x in (entry / scale, min(float(rows.max()), by_groups) / scale, min(factors))))


def in_words(e: Evidence, noticed: Resolution) -> str:
    """What a pass of a function that computes in a narrower dtype inside could have missed; empty for any other."""
    inside = inner_dtype(e)
    if not inside or noticed.of_entry is None:
        return ""
    if noticed.of_entry <= 1:
        return f"computed in {inside} inside: errors above {noticed.of_entry:.0e} of the largest entry would have been noticed"
    missed = f"computed in {inside} inside: a single entry is as small as what rounding moves, and was not tested alone"
    if noticed.of_factor is None or noticed.of_factor > 1:
        return missed
    return f"{missed}; a common factor would have been noticed from {noticed.of_factor:.0e} on"


def inner_dtype(e: Evidence) -> str:
    """The dtype in which the forward or the backward pass computes inside, if it is narrower than float64; else empty.

    Where larger terms cancel, a computation in float32 has no more digits than one in 16 bits: then the jumps of the values
    must show which of them it is.
    """
    if not computes_narrower(e.budget) or e.parameter.dtype.name != "float64":
        return ""
    eps = max(e.budget.eps, e.budget.inside / e.budget.scale / (2 * SAFETY) if e.budget.scale else 0.0)
    if eps <= SIXTEEN_BITS:
        return "float32" if eps >= LEAST_FLOAT32 else "fewer digits than float64 has"
    forward_is_wide = e.budget.eps <= EPSILON["float64"]  # then the backward pass alone has so few digits
    return "16 bits" if e.values.sixteen_bits or forward_is_wide else "a narrower dtype"


def _allowed_of_each(e: Evidence) -> Array:
    """What each entry may be off without being noticed; infinite where nothing covers it."""
    limits = np.full(e.analytic.size, np.inf if e.autodiff is None else e.budget.against_reference)
    smooth = ~e.estimate.kink
    index = e.estimate.index[smooth]
    limits[index] = np.minimum(limits[index], e.budget.against_differences(e.estimate.uncertainty[smooth]))
    for index, direction, _, limit in _slopes(e):
        limits[index] = np.minimum(limits[index], limit / np.abs(direction))
    return limits


def _slopes(e: Evidence) -> Iterator[tuple[Array, Array, float, float]]:
    """The slopes along directions: which entries move, by how much, the slope, and what it may be off without being noticed."""
    along, found = e.directions.along, []
    if along is not None:
        found += [(b.index, along.direction[b.index], b.value, b.uncertainty) for b in along.blocks if not b.blind]
    for slope in e.directions.fitted:
        moved = np.flatnonzero(slope.direction)
        found.append((moved, slope.direction[moved], slope.value, slope.uncertainty))
    for index, direction, value, uncertainty in found:
        yield index, direction, value, truncation_and_noise(uncertainty) + e.budget.without_u * float(np.linalg.norm(direction))


def _least_factor(limits: Array, values: Array) -> float:
    """The smallest distance of a common factor from 1 that shows in one of these values."""
    known = values != 0
    return float((limits[known] / np.abs(values[known])).min(initial=np.inf))


def _usual_factor(limits: Array, values: Array) -> float:
    """The distance of a common factor from 1 that shows in half of these entries.

    The error bar of the best of many entries may be small by chance. If that entry is in doubt, it is measured again, and its
    error bar grows.
    """
    known = values != 0
    return float(np.median(limits[known] / np.abs(values[known]))) if known.any() else np.inf


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def allowed(s: Swept, entry: float) -> Array:
    """How far the gradient may be from the slope of each group, if each of its entries may be off by `entry`."""
    return np.asarray(truncation_and_noise(s.uncertainty) + entry * s.norm)
