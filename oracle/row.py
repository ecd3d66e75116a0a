"""One row of a report: the result for one parameter of one case, and the data of its figures.

Rows hold only small tuples of plain numbers and texts, because they are sent between processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

__all__ = ["VALUES", "Descent", "Details", "ErrorMap", "Explanation", "Parting", "Row", "StepCurve", "Verdict", "worst_first"]

VALUES = "forward pass"
"""The evidence of a row about the values of the forward pass."""


class Verdict(StrEnum):
    """The result of comparing a gradient with the finite differences and the reference. `PASS`, `KINK` and `ACCEPTED` pass."""

    PASS = "PASS"  # noqa: S105 - not a password
    KINK = "KINK"
    ACCEPTED = "ACCEPTED"
    FAIL = "FAIL"
    VACUOUS = "VACUOUS"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"

    @property
    def passes(self) -> bool:
        return self in (Verdict.PASS, Verdict.KINK, Verdict.ACCEPTED)


@dataclass(frozen=True)
class ErrorMap:
    """A map of the error of one gradient. Dimensions that it does not show are fixed at the index of the worst entry."""

    ratios: tuple[tuple[float, ...], ...]
    """Signed errors divided by the tolerance, the worst of each cell; NaN for entries that were not tested."""
    worst: tuple[int, int]
    """The cell of the worst entry: its row and column."""
    down: tuple[int, ...]
    """The dimensions that run down the map, the outer one first. Two of them make tiles."""
    across: tuple[int, ...]
    """The dimensions that run across."""
    shape: tuple[int, ...]
    """The shape of the whole gradient."""
    index: tuple[int, ...]
    """The index of the worst entry in the gradient."""
    cell: tuple[int, int]
    """The number of entries that one cell stands for, down and across."""
    multiples: tuple[tuple[float, ...], ...] = ()
    """The gradient divided by the true one, as `ratios`; NaN where that is nearly zero. Empty if all are near 1."""


@dataclass(frozen=True)
class StepCurve:
    """The finite differences of one entry with every step, and the derivative by other ways."""

    steps: tuple[float, ...]
    differences: tuple[float, ...]
    """The plain central differences, one for each step, before extrapolation."""
    extrapolated: float
    uncertainty: float
    """The error bar of `extrapolated`."""
    analytic: float
    """The hand-written value."""
    autodiff: float | None
    """JAX's value; None without a reference."""
    scale: float
    """The largest entry of the gradient. Errors are drawn relative to it."""


@dataclass(frozen=True)
class Descent:
    """The loss before each step of an optimizer, in the tested run and in the reference's.

    If all steps use the same data, the loss after the last step is added.
    """

    ours: tuple[float, ...]
    theirs: tuple[float, ...]


@dataclass(frozen=True)
class Parting:
    """The distance of a training from the reference's after each step."""

    parameters: tuple[float, ...]
    """The largest difference of a parameter, relative to its largest entry so far."""
    used: tuple[float, ...]
    """The largest difference of the loss, the parameters and the optimizer's state, divided by the tolerance."""


@dataclass(frozen=True)
class Explanation:
    """How a verdict arose: the entry that decided, its error budget and its comparisons. Errors are absolute."""

    reason: str
    """The name of the reason, see `oracle.judging.reasons`."""
    entry: str
    """The entry by its name; empty where no single entry decided."""
    scale: float
    """The roundoff scale of the gradient."""
    analytic: float | None
    numerical: float | None
    autodiff: float | None
    steps: tuple[float, ...]
    """The steps of the differences at that entry."""
    terms: dict[str, float]
    """The terms of the error budget, by their letters."""
    comparisons: dict[str, tuple[float, float]]
    """For each comparison that was made its error and what is allowed."""
    measurements: tuple[str, ...]
    """The further measurements that were made, in order."""
    exact: bool = False
    """Whether an exact derivative stands for the differences of that entry."""


@dataclass(frozen=True)
class Details:
    """All that there is to draw and to explain of one row."""

    error_map: ErrorMap | None = None
    step_curve: StepCurve | None = None
    descent: Descent | None = None
    parting: Parting | None = None
    explanation: Explanation | None = None

    @property
    def has_figures(self) -> bool:
        return any((self.error_map, self.step_curve, self.descent, self.parting))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, packed: Mapping[str, Any]) -> Details:
        """The inverse of `as_dict`."""
        kinds = {
            "error_map": ErrorMap,
            "step_curve": StepCurve,
            "descent": Descent,
            "parting": Parting,
            "explanation": Explanation,
        }
        parts = {name: packed.get(name) for name in kinds}
        return cls(**{name: None if part is None else kinds[name](**part) for name, part in parts.items()})


@dataclass(frozen=True)
class Row:
    """The evidence about one parameter, and the verdict. Errors are relative to the tensor's largest entry.

    The numbers are those of one entry, the one that decided: its error against each witness, the error estimate of the
    differences there, and its value by each. Where a direction of many entries decided, they are those of the direction.
    """

    family: str
    op: str
    case: str
    dtype: str
    parameter: str
    shape: tuple[int, ...]
    reference: str
    """The source of the reference, or `none`."""
    evidence: str
    """How many entries were compared with the finite differences and the reference: `numerical 12/12, autodiff 12/12`."""
    verdict: Verdict
    diagnosis: str
    """The cause of a failure, with its evidence. For a passing row: a remark, or nothing."""
    note: str = ""
    """What is to be known about the op or its reference, such as that it promotes; empty for most rows."""
    size: str = ""
    """How large the error is, in words; empty for a row without an error, or whose error is no number."""
    forward_error: float | None = None
    numerical_error: float | None = None
    numerical_uncertainty: float | None = None
    autodiff_error: float | None = None
    autodiff_ulp: float | None = None
    used: float | None = None
    """Its error as a fraction of what is allowed, in the comparison that decided."""
    reason: str = ""
    """Why the verdict is what it is, see `oracle.judging.reasons`; empty where the contract or an exception decided."""
    resolution: float | None = None
    """The smallest error of a single entry that would have been noticed, relative to the largest entry; twice that, always."""
    resolution_of_row: float | None = None
    """The same for an error of all entries of one row, by the same number."""
    resolution_of_factor: float | None = None
    """The same for a common factor: its distance from 1."""
    peak_memory: int | None = None
    """The most bytes that the process has held so far. Only for such large arguments."""
    compared: int = 0
    """Entries of a float64 gradient, not at a corner, that have both a finite difference and a value of JAX."""
    understated: int = 0
    """Those of them at which the two differ by more than the error bar and JAX's rounding."""
    worst_index: tuple[int, ...] | None = None
    part: str = ""
    """The part of a complex entry to which the numbers belong: `real` or `imag`."""
    analytic: float | None = None
    numerical: float | None = None
    autodiff: float | None = None
    fitted_scale: float | None = None
    seconds: float = 0.0
    order: int = 1
    """2 for a row about the backward pass of the backward pass."""
    details: Details | None = field(default=None, repr=False, compare=False)
    """The data of the figures in the HTML report."""

    @property
    def passed(self) -> bool:
        return self.verdict.passes

    @property
    def label(self) -> str:
        """The name of the row in messages, such as `affine / batch of 3 / params.w`."""
        return " / ".join(part for part in (self.op, self.case, self.parameter) if part)

    def as_dict(self) -> dict[str, Any]:
        """All fields but the details, which only the HTML report needs. None of them can change, so they are not copied."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "details"}


def worst_first(rows: Iterable[Row]) -> list[Row]:
    """Sort rows by verdict, failures first.

    Of rows with the same verdict, those of order 1 come before those of order 2, and those about numbers before breaches of the
    contract, sorted by how much of the tolerance was used.
    """
    order = {Verdict.ERROR: 0, Verdict.FAIL: 1, Verdict.VACUOUS: 2, Verdict.INCONCLUSIVE: 3, Verdict.ACCEPTED: 4}
    return sorted(
        rows, key=lambda row: (order.get(row.verdict, len(order)), row.order, row.evidence == "contract", -(row.used or 0.0))
    )
