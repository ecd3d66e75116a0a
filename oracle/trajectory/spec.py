"""The specifications of optimizers, schedules and whole trainings that are compared step by step, and the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

from oracle.report.table import render
from oracle.row import Row
from oracle.spec import Draw, Source
from purenet.op import Op
from purenet.optimizers import GradientTransformation

__all__ = [
    "Batch",
    "Both",
    "Gradient",
    "Problem",
    "Reference",
    "ScheduleSpec",
    "SlotRow",
    "TrainingSpec",
    "Trajectory",
    "TrajectorySpec",
]

Array = NDArray[Any]
Tree = Any

Batch = tuple[Any, Mapping[str, Any]]
"""The arguments of a loss at one step: x and the options."""
Gradient = Callable[[Tree, Any, Mapping[str, Any]], Tree]
"""`gradient(params, x, options)` with respect to the parameters, NumPy in and out."""
Both = Callable[[Tree, Any, Mapping[str, Any]], tuple[Any, Tree]]
"""`both(params, x, options)` gives the loss and its gradient with respect to the parameters."""


@dataclass(frozen=True)
class Reference:
    """An optimizer of another library, NumPy in and out: `step(grads, state, params)` gives the next (params, state)."""

    source: Source
    init: Callable[[Tree], Any]
    step: Callable[[Tree, Any, Tree], tuple[Tree, Any]]


@dataclass(frozen=True)
class Problem:
    """A loss to be minimized, a function of (params, x) and options, and JAX's gradient of the same loss."""

    name: str
    loss: Op | tuple[Callable[..., Any], Callable[..., Any]]
    """An Op, or a pair (fwd, bwd) that follows its protocol."""
    draw: Callable[[Draw], tuple[Tree, Array, Mapping[str, Any]]]
    """The initial parameters, x and the options."""
    gradient: Gradient
    """JAX's gradient of an independently written version of the loss."""


@dataclass(frozen=True)
class TrajectorySpec:
    """An optimizer, the optimizer of another library that it must agree with, and the problem on which they are compared."""

    family: ClassVar[str] = "optimizers"
    name: str
    optimizer: GradientTransformation
    reference: Reference
    slots: Mapping[str, Callable[[Any], Tree]]
    """For each slot of our state (`mu`; `1.mu` in a chain), a function that finds its equal in the state of the reference."""
    problem: Problem
    tier: int = 1
    constant: frozenset[str] = frozenset()
    """The slots of our state that never change by right, such as the first parameters: they are not vacuous."""


@dataclass(frozen=True)
class ScheduleSpec:
    """A schedule and the function that it must equal; both map the count of steps to a rate."""

    family: ClassVar[str] = "schedules"
    name: str
    schedule: Callable[[int], float]
    reference: Callable[[int], float]
    source: Source
    size: float = 0.0
    """The size of the rounded numbers, if a rate is a small difference of larger numbers, as at the end of a cosine."""
    tier: int = 1


@dataclass(frozen=True)
class TrainingSpec:
    """A net with its loss, an optimizer, the references that both must agree with, and the data."""

    family: ClassVar[str] = "models"
    name: str
    case: str
    """A description of the data and of the training."""
    goal: Op | tuple[Callable[..., Any], Callable[..., Any]]
    """A loss of (params, *arguments) and options: an Op, or a pair (fwd, bwd) that follows its protocol."""
    draw: Callable[[Draw, int], tuple[Tree, Sequence[Batch]]]
    """Draws the initial parameters, and the (arguments, options) of as many steps as the second argument says."""
    optimizer: GradientTransformation
    value_and_gradient: Both
    """JAX's loss and gradient, from an independently written version of the loss."""
    reference: Reference
    """The optimizer of another library."""
    slots: Mapping[str, Callable[[Any], Tree]]
    """For each slot of our state, a function that finds its equal in the state of the reference."""
    source: Source
    steps: int = 100
    tier: int = 2


@dataclass(frozen=True)
class SlotRow(Row):
    """The evidence about one slot over all steps. Values and index are from the step `at_step`."""

    steps: int = 0
    at_step: int = 0
    """The step that used most of its tolerance; of a user's optimizer, the first one that differs by more, if there is one."""
    first_numerical: int | None = None
    """The first step at which it differs from the run with central differences by more than the tolerance."""
    first_autodiff: int | None = None
    """The same for the reference. Steps are numbered from 1, the counts of a schedule from 0."""


@dataclass(frozen=True)
class Trajectory:
    """The result of the runs: a row for each slot."""

    name: str
    rows: tuple[SlotRow, ...]
    first: tuple[int, str] | None
    """The first step at which a slot exceeds its tolerance, and that slot."""
    diagnosis: str

    @property
    def passed(self) -> bool:
        """Whether every row passes."""
        return all(row.passed for row in self.rows)

    def __bool__(self) -> bool:
        """As `passed`, so that `assert verify_optimizer(...)` means what it says."""
        return self.passed

    def __str__(self) -> str:
        return render(self.rows)

    def raise_for_failures(self) -> None:
        """An AssertionError that carries the table, unless everything passed."""
        if not self.passed:
            raise AssertionError(f"not every step is right\n{self}")
