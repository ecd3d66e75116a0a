"""What the search for a lost path or a wrong slope says of one use of a number, and what it may get instead (see `held`)."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oracle.diagnosis.words import Array

__all__ = [
    "COURSE",
    "Along",
    "Bent",
    "Operand",
    "Ordered",
    "Part",
    "Sloped",
    "Use",
    "is_small_constant",
    "line_of",
    "number_of_line",
]

NOTEBOOK = "ipykernel_"
"""How the folder begins into which Jupyter writes each cell as a file whose name is a number."""
SHOWN = 60
"""The length of a line of source from which on it is cut."""

SMALL = 1e-2
"""The largest constant that may be there only to keep a logarithm or a quotient finite. Larger ones change the function."""

COURSE = "the forward pass takes another course at the displaced point"


def _check_shape(displaced: Any, value: Array) -> None:
    """Raise unless what a function gets at the displaced point has the shape of what it got."""
    if np.shape(displaced) != value.shape:
        raise ValueError(COURSE)


def is_small_constant(given: Any) -> bool:
    """Whether this is one small number, as a number of Python or NumPy or in an array."""
    if not isinstance(given, float | np.floating | np.ndarray) or not np.size(given):
        return False
    if isinstance(given, np.ndarray) and given.dtype.kind != "f":
        return False
    first = np.ravel(given)[0]
    return bool(0 < abs(first) <= SMALL and np.all(given == first))


def line_of(place: tuple[str, int]) -> str:
    """The number of a line, and its source if it can be read."""
    source = linecache.getline(*place).strip()
    shown = source if len(source) <= SHOWN else source[:SHOWN] + "..."
    return number_of_line(place) + (f" (`{shown}`)" if shown else "")


def number_of_line(place: tuple[str, int]) -> str:
    """The number of a line, and its file."""
    file, number = place
    path = Path(file)
    name = "the cell" if path.parent.name.startswith(NOTEBOOK) else path.name
    return f"line {number} of {name}"


@dataclass(frozen=True)
class Use:
    """One operand of one function of a forward pass."""

    number: int
    """Its place in the order in which operands are used."""
    function: str
    position: int | None
    """Its place among the operands of the function; None if it is the only one."""
    place: tuple[str, int]
    """The file and the line that call the function."""
    value: Any
    """What the function got."""
    constant: bool
    """Whether it is a small constant, which does not depend on the argument."""
    call: int = 1
    """Which call of the function in this line it is, counted from 1 and without those that the argument does not reach: a loop
    runs a line many times."""
    repeated: bool = False
    """Whether that line calls the function more than once with something that depends on the argument."""
    other: Any = None
    """The other operand of a function of two; None for other functions."""
    beside: int | None = None
    """The place of that operand."""
    site: tuple[int, ...] = ()
    """Where in the code the function is called: the same for each step of a loop, another for each call in a line."""

    @property
    def line(self) -> str:
        """The number of the line, and its source if it can be read."""
        return line_of(self.place)

    def __str__(self) -> str:
        call = f" (call {self.call} of that line that the argument reaches)" if self.repeated else ""
        return f"{self.anywhere}{call}"

    @property
    def anywhere(self) -> str:
        """What is said of this use and of those in the same place at other steps of a loop."""
        which = {None: "what enters", 0: "the first operand of", 1: "the second operand of"}
        return f"{which.get(self.position, f'operand {(self.position or 0) + 1} of')} `{self.function}` in {self.line}"


@dataclass(frozen=True)
class Part:
    """The entries of adjacent indices of an axis, held at what a use got, while the other entries move."""

    value: Array
    axis: int
    start: int
    stop: int

    def within(self, plain: Any) -> Array:
        """What the function gets."""
        _check_shape(plain, self.value)
        there = (slice(None),) * self.axis + (slice(self.start, self.stop),)
        mixed = np.array(plain)
        mixed[there] = self.value[there]
        return mixed


@dataclass(frozen=True)
class Ordered:
    """What a use got, and its displacement with the entries in another order."""

    value: Array
    order: Callable[[Array], Array]

    def within(self, plain: Any) -> Array:
        """What the function gets."""
        _check_shape(plain, self.value)
        return np.asarray(self.value + self.order(plain - self.value))


@dataclass(frozen=True)
class Sloped:
    """A use by which the function has another slope."""

    value: Array
    """What it got."""
    change: Array
    """The other slope less the right one. A quotient of both has no number where the right one is 0, as in a ReLU."""
    shift: Any = 0.0
    """What is added to the value itself, on which the slopes of later functions depend."""

    def moves(self, plain: Any) -> Any:
        """By how much more the function moves."""
        _check_shape(plain, self.value)
        return self.change * (plain - self.value) + self.shift


@dataclass(frozen=True)
class Operand:
    """A use as one factor of a product, or as what is divided, whose displacement meets another operand beside it."""

    use: Use
    instead: Any

    def moves(self, function: Callable[..., Any], operands: Sequence[Any]) -> Any:
        """By how much more the function moves, which is called with the operands in a list."""
        position, beside = self.use.position or 0, self.use.beside
        assert beside is not None
        _check_shape(operands[position], self.use.value)
        moved = operands[position] - self.use.value
        if self.use.function == "divide":
            return moved * (1 / self.instead - 1 / self.use.other)
        given = list(operands)
        given[position], given[beside] = moved, self.instead - self.use.other
        return function(given)


@dataclass(frozen=True)
class Along:
    """A use of a reduction whose displacement is reduced along another axis."""

    value: Array
    """What it got."""
    axis: int
    keeps: bool
    """Whether that axis stays, with length 1, whatever becomes of the right one."""
    shares: bool = False
    """Whether each displacement is divided by the right reduction before, and multiplied by it after: a softmax works with its
    probabilities, in which the sum is contained already."""

    def of(self, reduction: Callable[..., Any], moved: Any, keywords: Mapping[str, Any]) -> Any:
        """What the reduction gives."""
        if self.shares:
            there, along = reduction(self.value, **keywords), {**keywords, "axis": self.axis, "keepdims": True}
            if np.ndim(there) != self.value.ndim:
                raise ValueError(COURSE)
            return there + there * reduction((moved - self.value) / there, **along)
        elsewhere = {**keywords, "axis": self.axis, **({"keepdims": True} if self.keeps else {})}
        return reduction(self.value, **keywords) + reduction(moved, **elsewhere) - reduction(self.value, **elsewhere)


@dataclass(frozen=True)
class Bent:
    """A function, made of one call or several, that is another linear one instead; a straight line of each entry, mostly."""

    start: int
    """The number of the array that enters it."""
    end: int
    """The number of the array that it gives."""
    entering: Array
    """What enters it at the given point."""
    value: Array
    """What it gives there."""
    slope: Array | Callable[[Array], Array]
    """The factor of each entry of a displacement, or what becomes of all of it."""

    def at(self, moved: Any) -> Array:
        """What it gives."""
        _check_shape(moved, self.value)
        by = moved - self.entering
        return np.asarray(self.value + (self.slope(by) if callable(self.slope) else self.slope * by))
