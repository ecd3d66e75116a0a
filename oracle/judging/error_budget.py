"""How far rounding lets a gradient be off, and the constants of what is forgiven.

The unit is the roundoff scale of a gradient: its largest entry at the point or on the ray to the origin. A saturated function
has a gradient far below the rounding of its own intermediate values; it is not judged by digits that nobody can compute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.measures import EPSILON

__all__ = ["AUTODIFF_ROUNDING", "KNOWN", "MULTIPLE", "NUMERICALLY_ZERO", "ROUNDING", "ErrorBudget"]

Array = NDArray[Any]

MULTIPLE = 4.0  # of the stated uncertainty; the true error was within 2 of it in every function tried
ROUNDING = 16.0  # ULP of the roundoff scale that the differences and the gradient may be apart beside that
AUTODIFF_ROUNDING = 1024.0  # ULP of the roundoff scale that JAX may be apart: two routes to the same number, long sums
NARROW = 8.0  # ULP, and times what the arguments' own rounding does, for a dtype below float64 without a reference
NUMERICALLY_ZERO = 64.0  # ULP of the value over the argument: what is left of terms of that size when they cancel
KNOWN = 0.1  # of an error: what is known better than that speaks against it


@dataclass(frozen=True)
class ErrorBudget:
    """What rounding alone may do, as absolute errors, against each witness."""

    numerical: float
    autodiff: float

    @classmethod
    def of(cls, dtype: np.dtype[Any], scale: float, by_jax: float | None = None, condition: float | None = None) -> ErrorBudget:
        """For a dtype narrower than float64: as accurate as JAX, which is off `by_jax` there, and as the arguments are exact.

        `condition` is how far the gradient moves when they move by their rounding; None if that is not known.
        """
        eps = EPSILON["float64"]
        if dtype.name == "float64":
            return cls(ROUNDING * eps * scale, AUTODIFF_ROUNDING * eps * scale)
        ulp = EPSILON[dtype.name] * scale
        alone = 64 * ulp if condition is None else NARROW * (condition + ulp)
        narrow = alone if by_jax is None else max(4 * (by_jax + ulp), NARROW / 2 * (condition or 0.0))
        return cls(narrow, narrow)

    def with_condition(self, condition_error: float) -> ErrorBudget:
        """The same, and the rounding that the arguments themselves carry into the gradient."""
        return ErrorBudget(self.numerical + condition_error, self.autodiff + condition_error)
