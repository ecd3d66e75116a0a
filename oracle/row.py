"""One line of a report: what was found about one parameter of one case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from oracle.exhibits import Exhibit

__all__ = ["Row", "Verdict", "worst_first"]


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
class Row:
    """The evidence about one parameter, and what follows from it. Errors are relative to the tensor's largest entry."""

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
    """The largest error as a fraction of what is allowed."""
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
