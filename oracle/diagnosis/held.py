"""The forward pass with one of its uses of a number held fixed, for gradients that lack one path through it.

The array of the argument is replaced by one that sees every NumPy function it enters, and so does all that is made of it. What
a function gets is a *use*: one operand of one function. If a use is held, the function gets what it got at the given point,
however the argument moves: the derivative then lacks the paths through this use. A backward pass that forgets a path, or treats
a mean as a constant, computes this derivative.

What is copied by `np.asarray` or leaves NumPy is not seen any more, so that fewer uses are tried.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import optree

from oracle.arrays import quiet
from oracle.diagnosis.call import Call
from oracle.diagnosis.jacobian import leaves_in
from oracle.diagnosis.words import Array

__all__ = ["Along", "Ordered", "Part", "Sloped", "Use", "forgotten", "holding", "uses_of"]

SMALL = 1e-2
"""The largest constant that may be there only to keep a logarithm or a quotient finite. Larger ones change the function."""
NOTEBOOK = "ipykernel_"
"""How the folder begins into which Jupyter writes each cell as a file whose name is a number."""
SHOWN = 60
"""The length of a line of source from which on it is cut."""

COURSE = "the forward pass takes another course at the displaced point"

REDUCTIONS = {"add.reduce": "sum", "multiply.reduce": "prod", "maximum.reduce": "max", "minimum.reduce": "min"}
"""What users call the reductions of NumPy. A mean is a sum and a division."""


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

    @property
    def line(self) -> str:
        """The number of the line, and its source if it can be read."""
        file, number = self.place
        source = linecache.getline(file, number).strip()
        shown = source if len(source) <= SHOWN else source[:SHOWN] + "..."
        path = Path(file)
        name = "the cell" if path.parent.name.startswith(NOTEBOOK) else path.name
        return f"line {number} of {name}" + (f" (`{shown}`)" if shown else "")

    def __str__(self) -> str:
        which = {None: "what enters", 0: "the first operand of", 1: "the second operand of"}
        call = f" (call {self.call} of that line that the argument reaches)" if self.repeated else ""
        return f"{which.get(self.position, f'operand {(self.position or 0) + 1} of')} `{self.function}` in {self.line}{call}"


@dataclass(frozen=True)
class Part:
    """The entries of adjacent indices of an axis, held at what a use got, while the other entries move."""

    value: Array
    axis: int
    start: int
    stop: int

    def within(self, plain: Any) -> Array:
        """What the function gets."""
        if np.shape(plain) != self.value.shape:
            raise ValueError(COURSE)
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
        if np.shape(plain) != self.value.shape:
            raise ValueError(COURSE)
        return np.asarray(self.value + self.order(plain - self.value))


@dataclass(frozen=True)
class Sloped:
    """A use by which the function has another slope."""

    value: Array
    """What it got."""
    ratio: Array
    """The other slope, as a multiple of the right one."""

    def of(self, result: Any, without: Any) -> Any:
        """What the function gives, beside what it gives if this use is held."""
        return result + (self.ratio - 1) * (result - without)


@dataclass(frozen=True)
class Along:
    """A use of a reduction whose displacement is reduced along another axis."""

    value: Array
    """What it got."""
    axis: int
    keeps: bool
    """Whether that axis stays, with length 1, whatever becomes of the right one."""

    def of(self, reduction: Callable[..., Any], moved: Any, keywords: Mapping[str, Any]) -> Any:
        """What the reduction gives."""
        elsewhere = {**keywords, "axis": self.axis, **({"keepdims": True} if self.keeps else {})}
        return reduction(self.value, **keywords) + reduction(moved, **elsewhere) - reduction(self.value, **elsewhere)


@dataclass
class _Tape:
    """The uses of one run of the forward pass, in their order."""

    held: Mapping[int, Any]
    """What certain uses get instead of what they are given, by their number."""
    uses: list[Use] = field(default_factory=list)
    recording: bool = False
    count: int = 0
    sloped: tuple[int, Sloped] | None = None
    """The operand of the function that is called now by which it has another slope."""
    along: Along | None = None
    """Along which other axis the reduction that is called now reduces a displacement."""

    def operand(self, given: Any, function: str, position: int | None, other: Any = None) -> Any:
        """What a function gets as this operand; `other` is the one beside it."""
        traced = isinstance(given, _Traced)
        plain = given.view(np.ndarray) if isinstance(given, _Traced) else given
        constant = not traced and _is_small_constant(given)
        if not constant and not (traced and plain.dtype.kind == "f"):
            return plain
        number, self.count = self.count, self.count + 1
        if self.recording:
            self.uses.append(
                Use(
                    number,
                    function,
                    position,
                    _caller(),
                    np.array(plain),
                    constant,
                    other=None if other is None else np.array(_plain(other)),
                )
            )
        if number not in self.held:
            return plain
        held = self.held[number]
        if isinstance(held, Sloped):
            self.sloped = (position or 0, held)
            return plain
        if isinstance(held, Along):
            self.along = held
            return plain
        if isinstance(held, Part | Ordered):
            return held.within(plain)
        if np.shape(held) != np.shape(plain):
            raise ValueError(COURSE)
        return float(held) if isinstance(plain, float) else held  # a number of Python does not widen a float32 array

    def reduced(self, function: Callable[..., Any], operands: Any, keywords: Mapping[str, Any]) -> Any:
        """What a function gives, or a reduction whose displacement runs along another axis."""
        along, self.along = self.along, None
        return function(*operands, **keywords) if along is None else along.of(function, operands[0], keywords)


def _is_small_constant(given: Any) -> bool:
    """Whether this is one small number, as a number of Python or NumPy or in an array."""
    if not isinstance(given, float | np.floating | np.ndarray) or not np.size(given):
        return False
    if isinstance(given, np.ndarray) and given.dtype.kind != "f":
        return False
    first = np.ravel(given)[0]
    return bool(0 < abs(first) <= SMALL and np.all(given == first))


class _Traced(np.ndarray):
    """An array whose uses a tape sees, and those of all that is made of it."""

    tape: _Tape

    def __array_finalize__(self, origin: Any) -> None:
        if isinstance(origin, _Traced):
            self.tape = origin.tape

    def __array_ufunc__(self, ufunc: np.ufunc, method: Any, *inputs: Any, **keywords: Any) -> Any:
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        name = REDUCTIONS.get(name, name)
        pair = len(inputs) == 2
        operands = [
            self.tape.operand(operand, name, i if len(inputs) > 1 else None, inputs[1 - i] if pair else None)
            for i, operand in enumerate(inputs)
        ]
        out = keywords.pop("out", None)
        if out is not None:
            keywords["out"] = tuple(_plain(o) for o in out)
        keywords = {name: _plain(option) for name, option in keywords.items()}
        result = self.tape.reduced(getattr(ufunc, method), operands, keywords)
        if self.tape.sloped is not None:
            position, sloped = self.tape.sloped
            self.tape.sloped = None
            result = sloped.of(result, ufunc(*operands[:position], sloped.value, *operands[position + 1 :]))
            if out is not None:
                _plain(out[0])[...] = result
        if out is None:
            return self._traced(result)
        return out[0] if len(out) == 1 else out

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        given: Any = (args, keywords)
        leaves, structure = optree.tree_flatten(given)
        alone = sum(isinstance(leaf, np.ndarray) for leaf in leaves) == 1
        operands = [self.tape.operand(leaf, function.__name__, None if alone else i) for i, leaf in enumerate(leaves)]
        args, keywords = structure.unflatten(operands)
        return self._traced(self.tape.reduced(function, args, keywords))

    def _traced(self, result: Any) -> Any:
        """The arrays in the result of a function, seen by the same tape."""
        if isinstance(result, tuple | list):
            return type(result)(map(self._traced, result)) if type(result) in {tuple, list} else result
        return _traced(result, self.tape) if isinstance(result, np.ndarray | np.floating) else result


def _traced(array: Any, tape: _Tape) -> _Traced:
    traced = np.asarray(array).view(_Traced)
    traced.tape = tape
    return traced


def _plain(given: Any) -> Any:
    if isinstance(given, tuple):
        return tuple(map(_plain, given))
    return given.view(np.ndarray) if isinstance(given, _Traced) else given


def _caller() -> tuple[str, int]:
    """The file and the line of the function under test that calls NumPy."""
    frame = sys._getframe(1)
    inside = (str(Path(np.__file__).parent), __file__)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def uses_of(call: Call, leaf: int, most: int) -> list[Use]:
    """The uses of argument number `leaf`, of what is made of it, and the small constants added to these, in their order.

    Empty if there are more than `most`, or if the forward pass does not run on such arrays.
    """
    tape = _Tape({}, recording=True)
    with quiet():
        try:
            _run(call, call.primals, call.options, leaf, tape)
        except Exception:  # the forward pass does not take such arrays
            return []
    return _counted(tape.uses) if len(tape.uses) <= most else []


def _counted(uses: list[Use]) -> list[Use]:
    """The uses with the number of each call among those of its line."""
    where = [(use.function, use.position, use.place) for use in uses]
    return [replace(use, call=where[: i + 1].count(where[i]), repeated=where.count(where[i]) > 1) for i, use in enumerate(uses)]


def holding(call: Call, leaf: int, held: Mapping[int, Any]) -> Callable[..., Any]:
    """The forward pass as a function that holds some uses of argument number `leaf` at these values."""
    return lambda *primals, **options: _run(call, primals, options, leaf, _Tape(held))


def _run(call: Call, primals: Any, options: Mapping[str, Any], leaf: int, tape: _Tape) -> Any:
    leaves, structure = leaves_in(primals)
    arrays: list[Array] = list(leaves)
    arrays[leaf] = _traced(arrays[leaf], tape)
    return optree.tree_map(_plain, call.function(*structure.unflatten(arrays), **options))


@contextmanager
def forgotten(call: Call) -> Iterator[None]:
    """Runs the forward pass once more in the end, so that a layer that stores its arrays keeps none that a tape sees."""
    try:
        yield
    finally:
        with quiet(), suppress(Exception):
            call.function(*call.primals, **call.options)
