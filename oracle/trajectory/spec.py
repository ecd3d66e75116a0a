"""What is followed step by step: optimizers, schedules and whole trainings, as records; and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from numpy.typing import NDArray

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
"""What a loss is asked about at one step: x, and options."""
Gradient = Callable[[Tree, Any, Mapping[str, Any]], Tree]
"""`gradient(params, x, options)` with respect to the parameters, NumPy in and out."""
Both = Callable[[Tree, Any, Mapping[str, Any]], tuple[Any, Tree]]


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
    """By other means."""


@dataclass(frozen=True)
class TrajectorySpec:
    """An optimizer, what it must agree with, and where."""

    family: ClassVar[str] = "optimizers"
    name: str
    optimizer: GradientTransformation
    reference: Reference
    slots: Mapping[str, Callable[[Any], Tree]]
    """For each slot of our state (`mu`; `1.mu` in a chain) the tree it must equal, out of the state of the reference."""
    problem: Problem
    tier: int = 1


@dataclass(frozen=True)
class ScheduleSpec:
    """A schedule and the function of the count that it must equal."""

    family: ClassVar[str] = "schedules"
    name: str
    schedule: Callable[[int], float]
    reference: Callable[[int], float]
    source: Source
    size: float = 0.0
    """Of what is rounded, where a rate is a small difference of large numbers, as at the end of a cosine."""
    tier: int = 1


@dataclass(frozen=True)
class TrainingSpec:
    """A net with its loss, an optimizer, what both must agree with, and on what."""

    family: ClassVar[str] = "models"
    name: str
    case: str
    """On what and how it is trained."""
    goal: Op | tuple[Callable[..., Any], Callable[..., Any]]
    """A loss of (params, *arguments) and options: an Op, or a pair (fwd, bwd) that follows its protocol."""
    draw: Callable[[Draw, int], tuple[Tree, Sequence[Batch]]]
    """The initial parameters, and the (arguments, options) of so many steps."""
    optimizer: GradientTransformation
    value_and_gradient: Both
    """Of (params, arguments, options) by other means: the loss and its gradient with respect to the parameters."""
    reference: Reference
    """The optimizer of another library."""
    slots: Mapping[str, Callable[[Any], Tree]]
    """For each slot of our state the tree it must equal, out of the state of the reference."""
    source: Source
    steps: int = 100
    tier: int = 2


@dataclass(frozen=True)
class SlotRow(Row):
    """The evidence about one slot, over all steps. Values and index are from the step where it used most of its allowance."""

    steps: int = 0
    first_numerical: int | None = None
    """The first step at which it differs from the run with central differences by more than is allowed."""
    first_autodiff: int | None = None
    """The same for the reference. Steps count from 1, and a schedule's counts from 0."""


@dataclass(frozen=True)
class Trajectory:
    """What came of the runs, a row for each slot."""

    name: str
    rows: tuple[SlotRow, ...]
    first: tuple[int, str] | None
    """The first step at which a slot is off, and that slot."""
    diagnosis: str

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)
