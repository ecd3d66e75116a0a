"""What is known about the gradient of one parameter, how far rounding lets it be off, and how the witnesses compare.

Rounding is measured in units of the gradient's natural scale: its largest entry here or on the way to the origin, so that a
saturated function, whose gradient is far below the rounding of its own intermediate values, is not judged by digits that
nobody can compute. An entry that is right by that scale alone, and not by its own size, has not been seen: it is hidden.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.differences.directional import Directional
from oracle.differences.partials import Estimate
from oracle.measures import EPSILON, differences, largest
from oracle.spec import Flag
from oracle.subject import BLURRING

__all__ = [
    "AUTODIFF_ROUNDING",
    "MULTIPLE",
    "NOTHING",
    "Allowance",
    "Comparison",
    "Elsewhere",
    "Evidence",
    "Swept",
    "best_known",
    "doubted",
    "hidden",
    "ratio",
    "reported_scale",
]

Array = NDArray[Any]

MULTIPLE = 4.0  # of the stated uncertainty; the true error was within 2 of it in every function tried
ROUNDING = 16.0  # ULP of the natural scale that the differences and the gradient may be apart beside that
AUTODIFF_ROUNDING = 1024.0  # ULP of the natural scale that JAX may be apart: two routes to the same number, long sums
NARROW = 8.0  # ULP, and times what the arguments' own rounding does, for a dtype below float64 without a reference
NOTHING = 64.0  # ULP of the value over the argument: what is left of terms of that size when they cancel
KNOWN = 0.1  # of an error: what is known better than that speaks against it


@dataclass(frozen=True)
class Allowance:
    """What rounding alone may do, as absolute errors, against each witness."""

    numerical: float
    autodiff: float

    @classmethod
    def of(cls, dtype: np.dtype[Any], scale: float, by_jax: float | None = None, moved: float | None = None) -> Allowance:
        """For a dtype narrower than float64: as accurate as JAX, which is off `by_jax` there, and as the arguments are exact.

        `moved` is how far the gradient moves when they move by their rounding; nothing of it may be known.
        """
        eps = EPSILON["float64"]
        if dtype.name == "float64":
            return cls(ROUNDING * eps * scale, AUTODIFF_ROUNDING * eps * scale)
        ulp = EPSILON[dtype.name] * scale
        alone = 64 * ulp if moved is None else NARROW * (moved + ulp)
        narrow = alone if by_jax is None else max(4 * (by_jax + ulp), NARROW / 2 * (moved or 0.0))
        return cls(narrow, narrow)

    def beside(self, blur: float) -> Allowance:
        """The same, and the rounding that the arguments themselves carry into the gradient."""
        return Allowance(self.numerical + blur, self.autodiff + blur)


@dataclass(frozen=True)
class Evidence:
    """All that is known about the gradient of one parameter; arrays are flat and float64."""

    parameter: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    analytic: Array
    autodiff: Array | None
    estimate: Estimate
    along: Directional | None
    scale: float
    allowance: Allowance
    resolution: float
    """The largest uncertainty, in units of `scale`, that still decides anything: about half the digits of the function."""
    value_error: float | None = None
    """Between our values and the reference's, in units of what is allowed."""
    flags: frozenset[Flag] = frozenset()
    rounding: float = 0.0
    """Gradients of this size are zero but for rounding, where terms as large as the value cancel."""
    joint: float = 0.0
    """At ties: how far the tied entries' sum is from the slope along all of them, in units of what is allowed."""
    excess: float = 0.0
    """At kinks: how far all entries together are from any gradient, as a share of the slopes of the two sides."""
    blurred: float = 0.0
    """How far JAX's own gradient may be off by the rounding of the arguments, where it contradicts the others."""
    tied: Array = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """Flat indices of the elements at kinks that are equal to another such element."""
    overflows: bool = False
    """Whether the value itself is not finite somewhere."""
    elsewhere: Elsewhere | None = None
    swept: tuple[Swept, ...] = ()
    """Of an argument that is too large to be seen entry by entry."""
    link: str = ""
    """The stage of a chain that hands back a wrong cotangent, of which this gradient is made; empty if none does."""

    @property
    def nothing(self) -> bool:
        """Whether the gradient, by all that speak of it, is zero but for rounding; unless JAX has the very same digits."""
        seen = ~self.estimate.kink
        slopes, spread = self.estimate.value[seen], self.estimate.uncertainty[seen]
        size = max(largest(self.analytic), largest(self.autodiff))
        if not (self.dtype.name == "float64" and 0 < size <= self.rounding):
            return False
        if not (np.isfinite(self.analytic).all() and np.isfinite(slopes).all() and np.isfinite(spread).all()):
            return False
        if (
            self.autodiff is not None
            and not (differences(self.analytic, self.autodiff) > AUTODIFF_ROUNDING * EPSILON["float64"] * size).any()
        ):
            return False
        return bool((np.abs(slopes) <= self.rounding + MULTIPLE * spread).all())


@dataclass(frozen=True)
class Swept:
    """Slopes along one direction of all entries, one for each group of outputs, beside those that the gradient says."""

    ours: Array
    value: Array
    uncertainty: Array
    norm: Array
    """Of the direction in each group."""
    least: float
    """The smallest displacement of an entry that takes part."""
    blind: Array
    """Where there are kinks on the way, so that little is known."""
    usual: bool
    """Whether the entries are not 0, where kinks are mostly."""


@dataclass(frozen=True)
class Elsewhere:
    """What was seen of hidden entries at other arguments: `evidence` if they are wrong there, else whether they are right."""

    index: Array
    """Flat, of the entries: those that are wrong, or those of which nothing was seen."""
    right: bool
    denied: bool = False
    """Whether the differences here know that they are other numbers."""
    where: str = ""
    evidence: Evidence | None = None
    beside: bool = False
    """Whether they are right at these arguments, which are special, and wrong beside them."""


@dataclass(frozen=True)
class Comparison:
    """The elements seen by the differences against the other two."""

    error: Array
    """Against the differences; at a kink, beyond the slopes of both sides."""
    numerical_used: Array
    autodiff_used: Array
    apart: Array
    """The differences against JAX, in units of what is allowed between these two."""
    uncertain: Array

    @classmethod
    def of(cls, e: Evidence) -> Comparison:
        seen = e.estimate
        ours = e.analytic[seen.index]
        spread = np.where(np.isfinite(seen.uncertainty), seen.uncertainty, np.inf)
        allowed = MULTIPLE * spread + e.allowance.numerical
        error = differences(ours, seen.value)
        # At a kink any value between the slopes of the two sides is a gradient.
        low, high = np.minimum(seen.left, seen.right), np.maximum(seen.left, seen.right)
        with np.errstate(invalid="ignore"):
            outside = np.maximum(np.maximum(low - ours, ours - high), 0.0)
        # But among ties, as of sorted numbers, the slopes of one element alone are not all there are: there JAX decides.
        excused = np.isin(seen.index, e.tied) if e.autodiff is not None else np.zeros(seen.index.shape, bool)
        error = np.where(excused, 0.0, np.where(seen.kink, outside, error))
        allowed = np.where(seen.kink, MULTIPLE * seen.slope_uncertainty + e.allowance.numerical, allowed)
        uncertain = ~seen.kink & ~(spread <= e.resolution * e.scale) & (spread > 0)
        if e.autodiff is None:
            none = np.zeros(seen.index.size)
            return cls(error, ratio(error, allowed), none, none, uncertain)
        theirs = e.autodiff[seen.index]
        apart = np.where(seen.kink | excused, 0.0, ratio(differences(theirs, seen.value), allowed + e.allowance.autodiff))
        return cls(error, ratio(error, allowed), ratio(differences(ours, theirs), e.allowance.autodiff), apart, uncertain)


def ratio(error: Array, allowed: Array | float) -> Array:
    """How much of the allowance an error uses: 0 for no error even where nothing is allowed, infinite for NaN."""
    allowed = np.broadcast_to(allowed, error.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / allowed)
    return np.where(np.isnan(ratio), np.where(np.isinf(allowed), 0.0, np.inf), ratio)


def doubted(e: Evidence, *, only_contradicted: bool = False) -> Array:
    """Flat indices about which a witness contradicts the gradient (or knows nothing), the worst first."""
    c = Comparison.of(e)
    used = np.maximum(c.numerical_used, c.autodiff_used)
    doubt = (used > 1) | (c.uncertain & (not only_contradicted))
    order = np.argsort(-np.where(doubt, used, -1.0), kind="stable")[: int(doubt.sum())]
    return np.asarray(e.estimate.index[order])


def hidden(e: Evidence, moved: Array | float = 0.0) -> Array:
    """Flat indices of the entries whose error is too large for their own size, however small beside the natural scale.

    `moved` is how far each entry moves with the rounding of the arguments. An entry is not hidden if the differences know it
    better than that, and agree.
    """
    if e.dtype.name != "float64" or Flag.NOT_THE_DERIVATIVE in e.flags:
        return np.zeros(0, dtype=np.intp)
    seen, eps = e.estimate, EPSILON["float64"]
    own = BLURRING * np.broadcast_to(moved, e.analytic.shape)
    ours = e.analytic[seen.index]
    spread = MULTIPLE * seen.uncertainty + ROUNDING * eps * np.abs(seen.value) + own[seen.index]
    error = differences(ours, seen.value)
    if e.autodiff is None:
        # And where of no entry anything is known but that it is small, of none is known that it is right.
        ignorant = not (spread < KNOWN * np.abs(ours)).any()
        return np.asarray(seen.index[~seen.kink & (error > spread) | (ignorant & (ours != 0))])
    apart = differences(e.analytic, e.autodiff)
    bad = apart > AUTODIFF_ROUNDING * eps * np.abs(e.autodiff) + own
    agree = ~seen.kink & (error <= spread) & (spread < KNOWN * apart[seen.index])
    bad[seen.index[agree | seen.kink]] = False
    return np.flatnonzero(bad)


def reported_scale(e: Evidence) -> float:
    """What a reported error is relative to: the largest entry of the true gradient, as far as it is known."""
    seen = e.estimate.value[np.isfinite(e.estimate.value)]
    return largest(e.autodiff if e.autodiff is not None else seen) or largest(e.analytic) or e.scale


def best_known(e: Evidence) -> Array:
    """The best that is known of each element: what JAX says in float64, or else the differences; NaN where nothing is."""
    if e.autodiff is not None:
        return e.autodiff
    truth = np.full_like(e.analytic, np.nan)
    truth[e.estimate.index] = e.estimate.value
    return truth
