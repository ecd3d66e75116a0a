"""What a course writes: an assignment of parts, each with the model solution, its points, and how hidden cases are drawn."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from oracle.grading.candidate import Limits

__all__ = ["TOLERANCE", "Assignment", "BrokenAssignment", "Functions", "Layer", "Part", "Style", "Whole", "load", "names"]

Array: TypeAlias = NDArray[Any]
Draw: TypeAlias = Callable[[np.random.Generator], dict[str, Any]]
Function: TypeAlias = Callable[..., Any]

READY = Path(__file__).parent / "assignments"
TOLERANCE = 1e-6
"""Of the largest entry of a gradient, in float64. A right formula is off by less than 1e-12 at ordinary cases, and by 1e-8
where the offsets of blind cases cancel; a wrong one by more than 1e-3. With 1e-9 some right formulas would fail there, and with
1e-4 differences would pass."""


class BrokenAssignment(Exception):
    """The file of the course is wrong. The text says where."""


@dataclass(frozen=True)
class Functions:
    """Two functions: `forward(*arguments) -> (value, cache)` and `backward(dout, cache) -> gradients`.

    The gradients are in the order of the points. A forward function with several values returns `(value, another, cache)`; its
    backward function takes a `dout` for each.
    """

    forward: str
    backward: str

    @property
    def watched(self) -> tuple[str, ...]:
        return (self.forward, self.backward)


@dataclass(frozen=True)
class Layer:
    """A class: `Name(*arguments it holds)`, `forward(*the others) -> value`, `backward(dout) -> gradients of the others`.

    `gradients` has, for each argument that the object holds, the attribute in which `backward` leaves its gradient.
    """

    name: str
    gradients: Mapping[str, str] = field(default_factory=dict)
    holds: tuple[str, ...] = ()

    @property
    def watched(self) -> tuple[str, ...]:
        return (f"{self.name}.forward", f"{self.name}.backward")


@dataclass(frozen=True)
class Whole:
    """One function that returns its value and its gradients: `name(*arguments) -> (value, gradients)`.

    The gradients are one array, a tuple in the order of the points, or a dict by the names of the points.
    """

    name: str

    @property
    def watched(self) -> tuple[str, ...]:
        return (self.name,)


Style: TypeAlias = Functions | Layer | Whole


@dataclass(frozen=True)
class Part:
    """A task with points: what is to be written, the model solution, and the cases at which both are compared."""

    name: str
    styles: Sequence[Style]
    """The forms that are taken. The first one that a submission defines counts."""
    truth: tuple[Function, Function] | Function
    """The model solution: `forward(*arguments) -> (value, cache)` with `backward(dout, cache) -> gradients`, or one function
    `(*arguments) -> (value, gradients)` for `Whole`."""
    points: Mapping[str, float]
    """The points of each gradient, in the order in which they are returned."""
    cases: Sequence[Draw]
    """Each draws the arguments of hidden cases, as a dict in the order of the arguments."""
    blind: Sequence[Draw] = ()
    """Cases at which differences are wrong and a formula is right: a huge offset, a kink very near."""
    large: Sequence[Draw] = ()
    """Cases so large that a gradient by differences takes minutes."""
    value: float = 1.0
    """The points of the value."""
    value_tolerance: float = TOLERANCE
    """Of the largest entry of the value."""
    about: str = ""
    """What is to be computed, for the starter file."""

    def __post_init__(self) -> None:
        who = f"Part {self.name!r}"
        if not self.styles or not all(isinstance(style, Functions | Layer | Whole) for style in self.styles):
            raise TypeError(f"{who}: styles must be a list of Functions, Layer or Whole, got {self.styles!r}")
        if not self.cases:
            raise ValueError(f"{who}: cases must have at least one function that draws a case")
        if not self.points or any(isinstance(n, bool) or not isinstance(n, int | float) or n < 0 for n in self.points.values()):
            raise ValueError(f"{who}: points must be a number from 0 for each gradient, got {dict(self.points)!r}")
        whole = any(isinstance(style, Whole) for style in self.styles)
        if whole == isinstance(self.truth, tuple):
            raise TypeError(f"{who}: truth must be {'one function' if whole else 'a pair (forward, backward)'} for this style")

    @property
    def total(self) -> float:
        return self.value + sum(self.points.values())

    @property
    def watched(self) -> tuple[str, ...]:
        """The functions whose calls are counted."""
        return tuple(name for style in self.styles for name in style.watched)


@dataclass(frozen=True)
class Assignment:
    """Parts that are graded together."""

    name: str
    parts: Sequence[Part]
    limits: Limits = field(default_factory=Limits)
    packages: Sequence[str] = ("numpy",)
    """The installed packages that a submission may import, and modules of them that are loaded beforehand."""

    def __post_init__(self) -> None:
        if not self.parts or not all(isinstance(part, Part) for part in self.parts):
            raise TypeError(f"Assignment {self.name!r}: parts must be a list of Part, got {self.parts!r}")
        if len({part.name for part in self.parts}) < len(self.parts):
            raise ValueError(f"Assignment {self.name!r}: two parts have the same name")

    @property
    def total(self) -> float:
        return sum(part.total for part in self.parts)


def names() -> list[str]:
    """The ready assignments."""
    return sorted(path.stem for path in READY.glob("*.py") if not path.stem.startswith("_"))


def load(name: str) -> Assignment:
    """The ready assignment of this name, or the one in the Python file of this path: its variable `assignment`."""
    path = READY / f"{name}.py" if name in names() else Path(name)
    if not path.is_file():
        raise ValueError(f"no assignment is named {name!r}, and there is no such file (ready: {', '.join(names())})")
    found = runpy.run_path(str(path)).get("assignment")
    if not isinstance(found, Assignment):
        raise ValueError(f"{path} has no variable `assignment` that is an oracle.grading.Assignment")
    return found
