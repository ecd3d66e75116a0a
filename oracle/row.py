"""One line of a report: what was found about one parameter of one case, and the data of its figures.

All are small tuples of plain numbers, which cross between processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

__all__ = ["Descent", "ErrorMap", "Exhibit", "Explanation", "Parting", "Row", "StepCurve", "Verdict", "worst_first"]


class Verdict(StrEnum):
    """What the witnesses say together. Only `PASS` and `KINK` are passes."""

    PASS = "PASS"  # noqa: S105 - not a password
    KINK = "KINK"
    FAIL = "FAIL"
    VACUOUS = "VACUOUS"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"

    @property
    def passes(self) -> bool:
        return self in (Verdict.PASS, Verdict.KINK)


@dataclass(frozen=True)
class ErrorMap:
    """Where the error of one gradient sits. Dimensions that are not laid out are fixed where the worst element is."""

    ratios: tuple[tuple[float, ...], ...]
    """Signed errors as multiples of what is allowed, the worst of each cell; NaN where the gradient was not differentiated."""
    worst: tuple[int, int]
    """The cell of the worst element."""
    down: tuple[int, ...]
    """The dimensions along the rows, the outer one first; two of them make tiles."""
    across: tuple[int, ...]
    """The same along the columns."""
    shape: tuple[int, ...]
    """Of the whole gradient."""
    index: tuple[int, ...]
    """Of the worst element."""
    cell: tuple[int, int]
    """How many entries of the gradient one cell stands for: down and across."""


@dataclass(frozen=True)
class StepCurve:
    """The differences at one element at every step, and what came of them. Everything but `scale` is a derivative or a step."""

    steps: tuple[float, ...]
    differences: tuple[float, ...]
    """The plain central differences, before extrapolation."""
    extrapolated: float
    uncertainty: float
    analytic: float
    autodiff: float | None
    scale: float
    """The largest entry of the gradient, in units of which errors are reported."""


@dataclass(frozen=True)
class Descent:
    """The loss before each step of an optimizer: of our run and of the reference's.

    Where all steps are on the same data, it ends with the loss after the last.
    """

    ours: tuple[float, ...]
    theirs: tuple[float, ...]


@dataclass(frozen=True)
class Parting:
    """How far a training is from the reference's after each step."""

    parameters: tuple[float, ...]
    """The largest difference of any parameter, relative to its largest entry so far."""
    used: tuple[float, ...]
    """The largest of all that is compared, as a fraction of what is allowed."""


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
    """The four terms of the error budget, by name."""
    comparisons: dict[str, tuple[float, float]]
    """For each comparison that was made its error and what is allowed."""
    measurements: tuple[str, ...]
    """The further measurements that were made, in order."""


@dataclass(frozen=True)
class Exhibit:
    """All that there is to draw and to explain of one row."""

    error_map: ErrorMap | None = None
    step_curve: StepCurve | None = None
    descent: Descent | None = None
    parting: Parting | None = None
    explanation: Explanation | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, packed: Mapping[str, Any]) -> Exhibit:
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
    """Where the second witness comes from, or `none`."""
    evidence: str
    """Which witnesses spoke and how many elements they saw, such as `numerical 12/12, autodiff 12/12`."""
    verdict: Verdict
    diagnosis: str
    """The cause, with its evidence; for a passing row, empty or what is special about it."""
    forward_error: float | None = None
    numerical_error: float | None = None
    numerical_uncertainty: float | None = None
    autodiff_error: float | None = None
    autodiff_ulp: float | None = None
    used: float | None = None
    """Its error as a fraction of what is allowed; no entry uses more."""
    reason: str = ""
    """Why the verdict is what it is, see `oracle.judging.reasons`; empty where the contract or an exception decided."""
    resolution: float | None = None
    """The smallest error of a single entry that would have been noticed; of an argument too large to be seen entry by entry."""
    peak_memory: int | None = None
    """The most bytes that the process has held so far, where an argument is that large."""
    compared: int = 0
    """Smooth entries of a float64 gradient about which both the differences and JAX have spoken."""
    understated: int = 0
    """Those of them at which the differences are further from JAX than they state (and than JAX may round)."""
    worst_index: tuple[int, ...] | None = None
    analytic: float | None = None
    numerical: float | None = None
    autodiff: float | None = None
    fitted_scale: float | None = None
    seconds: float = 0.0
    exhibit: Exhibit | None = field(default=None, repr=False, compare=False)
    """What the HTML report draws."""

    @property
    def passed(self) -> bool:
        return self.verdict.passes

    @property
    def label(self) -> str:
        """`affine / batch of 3 / params.w`, the breadcrumb of every message."""
        return " / ".join(part for part in (self.op, self.case, self.parameter) if part)

    def as_dict(self) -> dict[str, Any]:
        """All but the exhibit, which is to be seen, not read."""
        fields = asdict(replace(self, exhibit=None))
        del fields["exhibit"]
        return fields


def worst_first(rows: Iterable[Row]) -> list[Row]:
    """Failures first, and each kind by how much of its allowance was used."""
    order = [Verdict.ERROR, Verdict.FAIL, Verdict.VACUOUS, Verdict.INCONCLUSIVE]
    return sorted(rows, key=lambda row: (4 if row.passed else order.index(row.verdict), -(row.used or 0.0)))
