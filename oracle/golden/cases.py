"""One case of an op: its arguments and options, what both passes give, and how far another implementation may be from that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import Leaf, cast, leaves_of, quiet, random_cotangent
from oracle.judging.error_budget import REFERENCE_TERMS, ErrorBudget, largest_zero, roundoff
from oracle.measures import distance, largest
from oracle.row import Row
from oracle.spec import Case, Flag, Spec
from oracle.subject import Subject, on_copies

__all__ = [
    "Evaluated",
    "Tolerance",
    "drawn",
    "evaluated",
    "rounded_up",
    "tolerance_of_gradient",
    "tolerance_of_value",
    "witnesses",
    "worst_entry",
]

Array = NDArray[Any]

AGREED = {
    "differences": ("gradient and differences", "slopes along a direction"),
    "reference": ("gradient and reference",),
}
"""The comparisons of a row's explanation in which a witness agrees."""
DIGITS = 3
"""Of a tolerance, rounded up: more say nothing, and the last ones differ from one processor to the next."""


@dataclass(frozen=True)
class Evaluated:
    """A case and what the op gives there. Trees as the op has them."""

    subject: Subject
    primals: tuple[Any, ...]
    options: dict[str, Any]
    value: Any
    cotangent: Any
    cotangents: tuple[Any, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.subject.names(len(self.primals))

    def leaves(self) -> dict[str, list[Leaf]]:
        """The arrays by role."""
        return {
            "value": leaves_of(("value",), (self.value,)),
            "cotangent": leaves_of(("cotangent",), (self.cotangent,)),
            "gradient": leaves_of(self.names, self.cotangents),
        }


@dataclass(frozen=True)
class Tolerance:
    """How far an entry that is right may be off."""

    tolerance: float
    scale: float


def drawn(spec: Spec, case: Case) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments as float64, and the options."""
    primals: Any
    primals, options = case.draw(spec.name)
    return tuple(optree.tree_map(lambda a: np.array(cast(np.asarray(a), "float64")), primals)), options


def evaluated(spec: Spec, primals: tuple[Any, ...], options: dict[str, Any], cotangent: Any = None) -> Evaluated:
    """Both passes of the op at these arguments; with a random cotangent unless one is given."""
    subject = Subject.of(spec.op, options)
    copies = on_copies(subject)
    with quiet():
        value, residuals = copies.fwd(*primals)
        dy = random_cotangent(value) if cotangent is None else cotangent
        cotangents = copies.bwd(residuals, optree.tree_map(np.array, dy))
    return Evaluated(subject, primals, options, value, dy, tuple(optree.tree_map(np.array, cotangents)))


def tolerance_of_value(leaf: Array) -> Tolerance:
    """`R`: the roundings of another route to the same number."""
    scale = largest(np.asarray(leaf, np.float64)[np.isfinite(leaf)])
    return Tolerance(rounded_up(float(roundoff(scale, REFERENCE_TERMS))), scale)


def tolerance_of_gradient(row: Row, flags: frozenset[Flag], case: Evaluated, leaf: Array) -> Tolerance:
    """`R + c + t` of the error budget of this row's gradient, and no less than the rounding of terms that cancel to a zero."""
    explanation = row.details.explanation if row.details is not None else None
    if explanation is None:
        raise ValueError(f"tolerance: {row.label} has no error budget")
    scale, terms = explanation.scale, explanation.terms
    allowed = ErrorBudget(scale, 0.0, terms["c"], terms["t"]).against_reference
    if Flag.ZERO_GRADIENT in flags:
        allowed = max(allowed, largest_zero(ErrorBudget(scale, _secant(case, leaf))))
    return Tolerance(rounded_up(allowed), scale)


def _secant(case: Evaluated, leaf: Array) -> float:
    """The slope that would change the values by their own size: sum |dy y| / max |x|."""
    pairs = zip(optree.tree_leaves(case.cotangent), optree.tree_leaves(case.value), strict=True)
    products = (np.abs(np.asarray(dy) * np.asarray(y)) for dy, y in pairs)
    size = sum(float(product[np.isfinite(product)].sum()) for product in products)
    return size / (largest(np.asarray(leaf)) or 1.0)


def witnesses(row: Row) -> list[str]:
    """Those that were asked about the entry that decided, and agree."""
    explanation = row.details.explanation if row.details is not None else None
    compared = explanation.comparisons if explanation is not None else {}
    return [
        name
        for name, comparisons in AGREED.items()
        if any(compared[one][0] <= compared[one][1] for one in comparisons if one in compared)
    ]


def rounded_up(tolerance: float) -> float:
    """To DIGITS digits."""
    if tolerance == 0:
        return 0.0
    text = f"{tolerance:.{DIGITS - 1}e}"
    return float(text) if float(text) >= tolerance else float(f"{tolerance * (1 + 10.0 ** (1 - DIGITS)):.{DIGITS - 1}e}")


def worst_entry(theirs: Array, ours: Array, tolerance: float) -> tuple[int, ...] | None:
    """The index of the entry that is furthest off, if that is more than the tolerance. NaN equals NaN here."""
    both_nan = np.isnan(theirs) & np.isnan(ours)
    error = np.where(both_nan, 0.0, np.nan_to_num(distance(theirs, ours), nan=np.inf))
    if not (error > tolerance).any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(error)), np.shape(ours)))
