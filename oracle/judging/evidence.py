"""What is known about the gradient of one parameter.

An entry that is right by the roundoff scale alone (`error_budget`), and not by its own size, lies below the roundoff floor:
nothing is known of it until it is measured at another point.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.differences.directional import Directional
from oracle.differences.partials import Estimate
from oracle.judging.error_budget import AUTODIFF_ROUNDING, MULTIPLE, ErrorBudget
from oracle.measures import EPSILON, differences, largest
from oracle.spec import Flag

__all__ = [
    "Evidence",
    "OtherPoint",
    "Swept",
]

Array = NDArray[Any]


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
    budget: ErrorBudget
    resolution: float
    """The largest uncertainty, in units of `scale`, that still decides anything: about half the digits of the function."""
    value_error: float | None = None
    """Between our values and the reference's, in units of what is allowed."""
    flags: frozenset[Flag] = frozenset()
    rounding: float = 0.0
    """Gradients of this size are zero but for rounding, where terms as large as the value cancel."""
    tied_slope: float = 0.0
    """At ties: how far the tied entries' sum is from the slope along all of them, in units of what is allowed."""
    excess: float = 0.0
    """At kinks: how far all entries together are from any gradient, as a share of the slopes of the two sides."""
    reference_condition: float = 0.0
    """How far JAX's own gradient may be off by the rounding of the arguments, where it contradicts the others."""
    tied: Array = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """Flat indices of the elements at kinks that are equal to another such element."""
    overflows: bool = False
    """Whether the value itself is not finite somewhere."""
    other_point: OtherPoint | None = None
    swept: tuple[Swept, ...] = ()
    """Of an argument that is too large to be seen entry by entry."""
    link: str = ""
    """The stage of a chain that hands back a wrong cotangent, of which this gradient is made; empty if none does."""

    @property
    def zero_by_right(self) -> bool:
        """Whether a gradient in a narrow dtype is declared to be zero, and is in float64 by JAX, but for rounding.

        What a narrow dtype leaves of terms that cancel is then rounding, of which the differences need not know more.
        """
        declared = Flag.ZERO_GRADIENT in self.flags and self.dtype.name != "float64"
        return declared and self.autodiff is not None and largest(self.autodiff) <= self.rounding

    @property
    def numerically_zero(self) -> bool:
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
class OtherPoint:
    """Entries measured at other arguments: the `evidence` if they are wrong there, else whether they are right."""

    index: Array
    """Flat, of the entries: those that are wrong, or those of which nothing was seen."""
    right: bool
    denied: bool = False
    """Whether the differences here know that they are other numbers."""
    where: str = ""
    evidence: Evidence | None = None
    generic: bool = False
    """Whether they are right at these arguments, which are special, and wrong beside them."""
