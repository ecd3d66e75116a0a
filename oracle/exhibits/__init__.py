"""What a report draws of one row: small tuples of plain numbers, which cross between processes with the row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Descent", "ErrorMap", "Exhibit", "Parting", "StepCurve"]


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
class Exhibit:
    """All that there is to draw of one row."""

    error_map: ErrorMap | None = None
    step_curve: StepCurve | None = None
    descent: Descent | None = None
    parting: Parting | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, packed: Mapping[str, Any]) -> Exhibit:
        """The inverse of `as_dict`."""
        kinds = {"error_map": ErrorMap, "step_curve": StepCurve, "descent": Descent, "parting": Parting}
        parts = {name: packed[name] for name in kinds}
        return cls(**{name: None if part is None else kinds[name](**part) for name, part in parts.items()})
