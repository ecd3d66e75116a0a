"""The finished measurement of one gradient: what a verdict is made of.

An entry that is right by the roundoff scale alone (`error_budget`), and not by its own size, lies below the roundoff floor:
nothing is known about it until it is measured at another point.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.differences.directional import Directional
from oracle.differences.fitted import Slope
from oracle.differences.partials import Estimate
from oracle.judging.error_budget import ErrorBudget
from oracle.spec import Flag

__all__ = [
    "Array",
    "Directions",
    "Evidence",
    "Exact",
    "Kinks",
    "OtherPoint",
    "Parameter",
    "Swept",
    "Values",
    "WrongFormula",
    "deciding",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class Parameter:
    """Whose gradient is measured."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    flags: frozenset[Flag] = frozenset()
    """What is declared about the point."""


@dataclass(frozen=True)
class Swept:
    """Slopes along one direction of all entries, one for each group of outputs, and those that the gradient predicts."""

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


class BiasKind(Enum):
    """What the errors of many entries at many points have in common."""

    FACTOR = "a factor"
    FACTOR_OF_SMALLER_HALF = "a factor of the smaller half of the entries"
    PILED_UP = "roundings that pile up"


class Bias(NamedTuple):
    """What rounding does not explain about a gradient in 16 bits, at this point and nearby."""

    kind: BiasKind
    size: float
    """The mean factor; of errors that pile up, their root mean square in units of what single roundings explain."""
    allowed: float
    """The distance of the factor from 1 that rounding explains; or the largest such number."""
    alike: bool = False
    """Whether the smaller half of the entries is known to have the factor of all of them."""


@dataclass(frozen=True)
class Directions:
    """What is measured of an argument that is too large to be differentiated entry by entry: slopes along directions of many.

    Those of a chain are taken stage by stage.
    """

    along: Directional | None = None
    """One direction in disjoint blocks of entries."""
    swept: tuple[Swept, ...] = ()
    """Directions of all entries, told apart by their outputs."""
    bias: Bias | None = None
    """What rounding does not explain about a gradient in 16 bits that is right entry by entry."""
    factor: Bias | None = None
    """The factor of a gradient in 16 bits that is wrong entry by entry, if nothing else is wrong about it."""
    fitted: tuple[Slope, ...] = ()
    """Directions of all entries, if the function computes in a narrower dtype inside: errors of many entries add up there."""
    wrong_stage: str = ""
    """The stage of a chain that hands back a wrong cotangent, of which this gradient is made; empty if none does."""

    @property
    def any_usual_is_blind(self) -> bool:
        """Whether kinks hide entries that are neither 0 nor equal to another."""
        blocks = self.along.blocks if self.along else ()
        return any(b.blind and b.usual for b in blocks) or any(s.usual and bool(s.blind.any()) for s in self.swept)


@dataclass(frozen=True)
class Values:
    """The value of the op, beside the reference's."""

    error: float | None = None
    """The largest difference, in units of the error budget; None without a reference."""
    overflow: bool = False
    """Whether the value itself is not finite somewhere."""
    varies: bool = False
    """Whether its shape depends on the data: nearby it was another."""
    sixteen_bits: bool = False
    """Whether it is rounded to 16 bits inside."""

    @property
    def differ(self) -> bool:
        return self.error is not None and not self.error <= 1


@dataclass(frozen=True)
class Kinks:
    """Entries at kinks, taken together."""

    tied: Array = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """Flat indices of the elements at kinks that are equal to another such element."""
    tied_slope: float = 0.0
    """How far the tied entries' sum is from the slope along all of them, in units of the error budget."""
    excess: float = 0.0
    """How far all entries together are from any gradient, as a share of the slopes of the two sides."""


@dataclass(frozen=True)
class OtherPoint:
    """Entries measured at other arguments.

    If they are wrong there, `evidence` shows it. Else they are `right`: tested where an error would show; or `contradicted`: no
    point could test them, and the differences at the first point know better; or neither: untested, which is no reason against
    a pass.
    """

    index: Array
    """Flat, of the entries: those that are wrong, or those that no other point could test."""
    right: bool
    contradicted: bool = False
    """Whether the differences at the first point know that these entries are other numbers."""
    where: str = ""
    evidence: Evidence | None = None
    generic: bool = False
    """Whether the entries are right at the given arguments, which are special, and wrong at generic ones nearby."""


class WrongFormula(NamedTuple):
    """An entry that is wrong without its rounding."""

    entry: int
    """Its flat index."""
    error: float
    """At least."""
    allowed: float
    """For the rounding of constants and of arguments."""


@dataclass(frozen=True)
class Exact:
    """What the exact witness has answered: the estimate holds its derivatives of single entries."""

    entries: Array = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """Flat indices of the entries that were asked one by one."""
    slopes: Swept | None = None
    """Along random directions of all entries but those at kinks."""
    kinks: tuple[str, ...] = ()
    """The kinks that it has proved, each with its line."""
    by_own_size: bool = False
    """Whether the entries are right by their own size, not only beside the rounding of larger terms."""
    unrounded: bool = False
    """Whether the gradient was compared without its rounding, all entries together."""
    wrong: WrongFormula | None = None
    """The worst entry, if it was wrong in that comparison."""


@dataclass(frozen=True)
class Evidence:
    """All that was measured about the gradient of one parameter; arrays are flat and float64."""

    parameter: Parameter
    analytic: Array
    """The gradient that is verified."""
    autodiff: Array | None
    """The reference's."""
    estimate: Estimate
    """The differences of single entries."""
    budget: ErrorBudget
    directions: Directions = Directions()
    values: Values = Values()
    kinks: Kinks = Kinks()
    other_point: OtherPoint | None = None
    exact: Exact | None = None
    """The answers of the exact witness, if it was asked."""
    measurements: tuple[str, ...] = ()
    """The further measurements that were made, in words and in order."""

    def after(self, measurement: str, **changes: Any) -> Evidence:
        """The evidence after one more measurement."""
        return replace(self, measurements=(*self.measurements, measurement), **changes)


def deciding(e: Evidence) -> Evidence:
    """The evidence that the verdict is about: that of another point, if the gradient is wrong there."""
    return e if e.other_point is None or e.other_point.evidence is None else e.other_point.evidence
