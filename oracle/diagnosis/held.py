"""The forward pass with one of its uses of a number held fixed, for gradients that lack one path through it.

The array of the argument is replaced by one that sees every NumPy function it enters, and so does all that is made of it. What
a function gets is a *use*: one operand of one function. If a use is held, the function gets what it got at the given point,
however the argument moves: the derivative then lacks the paths through this use. A backward pass that forgets a path, or treats
a mean as a constant, computes this derivative.

What is copied by `np.asarray` or leaves NumPy is not seen any more, so that fewer uses are tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optree

from oracle.arrays import quiet
from oracle.diagnosis.call import Call
from oracle.diagnosis.jacobian import leaves_in
from oracle.diagnosis.sites import caller, site_of_call
from oracle.diagnosis.uses import COURSE, Along, Bent, Operand, Ordered, Part, Sloped, Use, is_small_constant
from oracle.diagnosis.words import Array

__all__ = ["Made", "Recording", "forgotten", "holding", "recorded", "uses_of"]

REDUCTIONS = {"add.reduce": "sum", "multiply.reduce": "prod", "maximum.reduce": "max", "minimum.reduce": "min"}
"""What users call the reductions of NumPy. A mean is a sum and a division."""


EACH = {np.where, np.clip}
"""The functions of NumPy that give each entry as a function of one entry, besides those that are ufuncs."""


@dataclass(frozen=True)
class Made:
    """One array that a function of the forward pass gives."""

    function: str
    operands: tuple[int | None, ...]
    """The numbers of the arrays that enter it; None for what does not depend on the argument."""
    root: int
    """The number of the array of which each entry of this one is a function; its own if there is none."""
    place: tuple[str, int]
    value: Array
    site: tuple[int, ...] = ()
    """Where in the code the function is called."""


@dataclass
class _Tape:
    """The uses of one run of the forward pass, in their order."""

    held: Mapping[int, Any]
    """What certain uses get instead of what they are given, by their number."""
    uses: list[Use] = field(default_factory=list)
    recording: bool = False
    count: int = 0
    more: Any = None
    """By how much more the function that is called now moves: it has another slope."""
    factor: Operand | None = None
    """What the displacement of an operand meets in the function that is called now."""
    along: Along | None = None
    """Along which other axis the reduction that is called now reduces a displacement."""
    arrays: int = 0
    """How many arrays have a number so far."""
    made: dict[int, Made] = field(default_factory=dict)
    first: dict[int, Use] = field(default_factory=dict)
    """The first use of each array, by its number."""
    ends: set[int] = field(default_factory=set)
    """The numbers of the arrays that enter something that is not a function of each entry."""
    bent: Sequence[Bent] = ()
    moved: dict[int, Array] = field(default_factory=dict)
    """What enters the bent functions, by its number."""
    placed: tuple[int, Array] | None = None
    """The number of an array, and what is there instead of it."""

    def operand(self, given: Any, function: str, position: int | None, other: Any = None, beside: int | None = None) -> Any:
        """What a function gets as this operand; `other` is the one beside it, in the place `beside`."""
        traced = isinstance(given, _Traced)
        plain = given.view(np.ndarray) if isinstance(given, _Traced) else given
        constant = not traced and is_small_constant(given)
        if traced and self.placed is not None and given.number == self.placed[0]:
            plain = self.placed[1]
        if self.bent and traced and any(given.number == one.start for one in self.bent):
            self.moved.setdefault(given.number, np.array(plain))
        if not constant and not (traced and plain.dtype.kind == "f"):
            return plain
        number, self.count = self.count, self.count + 1
        if self.recording:
            there = None if other is None else np.array(_plain(other))
            use = Use(
                number, function, position, caller(), np.array(plain), constant, other=there, beside=beside, site=site_of_call()
            )
            self.uses.append(use)
            if traced:
                self.first.setdefault(given.number, use)
        if number not in self.held:
            return plain
        held = self.held[number]
        if isinstance(held, Sloped):
            self.more = held.moves(plain)
            return plain
        if isinstance(held, Operand):
            self.factor = held
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

    def also(self, result: Any, function: Callable[..., Any], operands: Sequence[Any]) -> Any:
        """What a function gives that moves by more than what is called, with the operands in a list."""
        (more, self.more), (factor, self.factor) = (self.more, None), (self.factor, None)
        if factor is not None:
            more = factor.moves(function, operands)
        return result if more is None else result + more

    def numbered(self) -> int:
        """A number for an array."""
        self.arrays += 1
        return self.arrays

    def gives(self, array: Any, function: str, operands: Sequence[Any], *, each: bool) -> None:
        """A function gives an array; `each` if each of its entries may be a function of one entry of its operands."""
        if not self.recording and not self.bent and self.placed is None:
            return  # nobody asks for numbers of arrays
        entering = [operand for operand in operands if isinstance(operand, _Traced)]
        roots = {operand.root for operand in entering}
        alike = each and len(roots) == 1 and all(operand.shape == array.shape for operand in entering)
        numbers = tuple(operand.number if isinstance(operand, _Traced) else None for operand in operands)
        if not alike:
            self.ends.update(operand.number for operand in entering)
        array.number = self.numbered()
        array.root = roots.pop() if alike else array.number
        if self.recording:
            self.made[array.number] = Made(function, numbers, array.root, caller(), np.array(_plain(array)), site_of_call())
        for one in self.bent:
            if array.number == one.end:
                if one.start not in self.moved:
                    raise ValueError(COURSE)
                _plain(array)[...] = one.at(self.moved[one.start])

    def returned(self, given: Any) -> Any:
        """A part of the value of the forward pass."""
        if isinstance(given, _Traced):
            self.ends.add(given.number)
        return _plain(given)


class _Traced(np.ndarray):
    """An array whose uses a tape sees, and those of all that is made of it."""

    tape: _Tape
    number: int
    root: int
    """The number of the array of which each entry of this one is a function."""

    def __array_finalize__(self, origin: Any) -> None:
        if isinstance(origin, _Traced):
            self.tape = origin.tape
            self.number = self.root = self.tape.numbered()

    def __array_ufunc__(self, ufunc: np.ufunc, method: Any, *inputs: Any, **keywords: Any) -> Any:
        name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        name = REDUCTIONS.get(name, name)
        pair = len(inputs) == 2
        operands = [
            self.tape.operand(operand, name, i if len(inputs) > 1 else None, *((inputs[1 - i], 1 - i) if pair else ()))
            for i, operand in enumerate(inputs)
        ]
        out = keywords.pop("out", None)
        if out is not None:
            keywords["out"] = tuple(_plain(o) for o in out)
        keywords = {name: _plain(option) for name, option in keywords.items()}
        call = getattr(ufunc, method)
        given = [np.array(operand) for operand in operands] if self.tape.factor is not None and out is not None else operands
        plain = self.tape.reduced(call, operands, keywords)
        result = self.tape.also(plain, lambda those: call(*those, **{k: o for k, o in keywords.items() if k != "out"}), given)
        if result is not plain and out is not None:
            _plain(out[0])[...] = result
        each = method == "__call__" and ufunc.signature is None
        if out is None:
            return self._given(result, name, inputs, each=each)
        if len(out) == 1 and isinstance(out[0], _Traced):
            self.tape.gives(out[0], name, inputs, each=each)
        return out[0] if len(out) == 1 else out

    def __array_function__(self, function: Any, types: Any, args: Any, keywords: Any) -> Any:
        given: Any = (args, keywords)
        leaves, structure = optree.tree_flatten(given)
        arrays = [i for i, leaf in enumerate(leaves) if isinstance(leaf, np.ndarray)]
        beside = {arrays[0]: arrays[1], arrays[1]: arrays[0]} if len(arrays) == len("ab") else {}
        operands = [
            self.tape.operand(
                leaf,
                function.__name__,
                i if len(arrays) > 1 else None,
                *((leaves[beside[i]], beside[i]) if i in beside else ()),
            )
            for i, leaf in enumerate(leaves)
        ]

        def called(those: Any) -> Any:
            args, keywords = structure.unflatten(those)
            return function(*args, **keywords)

        args, keywords = structure.unflatten(operands)
        result = self.tape.also(self.tape.reduced(function, args, keywords), called, operands)
        return self._given(result, function.__name__, leaves, each=function in EACH)

    def __setitem__(self, key: Any, value: Any) -> None:
        before = self.view()
        before.number, before.root = self.number, self.root
        super().__setitem__(_plain(key), _plain(value))
        self.tape.gives(self, "setitem", (before, key, value), each=True)

    def astype(self, *args: Any, **keywords: Any) -> Any:
        """A copy in another dtype, whose entries are functions of the same array."""
        return self._copied(super().astype(*args, **keywords))

    def copy(self, *args: Any, **keywords: Any) -> Any:
        """A copy, whose entries are functions of the same array."""
        return self._copied(super().copy(*args, **keywords))

    def _copied(self, array: Any) -> Any:
        self.tape.gives(array, "copy", (self,), each=True)
        return array

    def _given(self, result: Any, name: str, operands: Sequence[Any], *, each: bool) -> Any:
        """The arrays in the result of a function, seen by the same tape."""
        if isinstance(result, tuple | list):
            items = (self._given(item, name, operands, each=False) for item in result)
            return type(result)(items) if type(result) in {tuple, list} else result
        if not isinstance(result, np.ndarray | np.floating):
            return result
        traced = _traced(result, self.tape)
        self.tape.gives(traced, name, operands, each=each)
        return traced


def _traced(array: Any, tape: _Tape) -> _Traced:
    traced = np.asarray(array).view(_Traced)
    traced.tape = tape
    traced.number = traced.root = tape.numbered()
    return traced


def _plain(given: Any) -> Any:
    if isinstance(given, tuple):
        return tuple(map(_plain, given))
    return given.view(np.ndarray) if isinstance(given, _Traced) else given


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


@dataclass(frozen=True)
class Recording:
    """The arrays of one run of the forward pass, by their numbers."""

    made: Mapping[int, Made]
    first: Mapping[int, Use]
    """The first use of each array."""
    ends: set[int]
    """The numbers of the arrays that enter something that is not a function of each entry, or are returned."""

    @property
    def shared(self) -> set[int]:
        """The numbers of the arrays that enter more than one call."""
        taken = Counter(operand for made in self.made.values() for operand in made.operands if operand is not None)
        return {number for number, times in taken.items() if times > 1}


def recorded(call: Call, leaf: int | None, placed: tuple[int, Array] | None = None) -> Recording:
    """The arrays that are made of argument number `leaf`; with others instead of array number `placed[0]` where it is used.

    Those that are made of any argument, if `leaf` is None.

    Empty if the forward pass does not run on such arrays.
    """
    tape = _Tape({}, recording=True, placed=placed)
    with quiet():
        try:
            _run(call, call.primals, call.options, leaf, tape)
        except Exception:  # the forward pass does not take such arrays
            return Recording({}, {}, set())
    return Recording(tape.made, tape.first, tape.ends)


def _counted(uses: list[Use]) -> list[Use]:
    """The uses with the number of each call among those of its line."""
    where = [(use.function, use.position, use.place) for use in uses]
    return [replace(use, call=where[: i + 1].count(where[i]), repeated=where.count(where[i]) > 1) for i, use in enumerate(uses)]


def holding(call: Call, leaf: int, held: Mapping[int, Any]) -> Callable[..., Any]:
    """The forward pass as a function that holds some uses of argument number `leaf` at these values.

    Bent functions may have any numbers.
    """
    bent = [one for one in held.values() if isinstance(one, Bent)]
    return lambda *primals, **options: _run(call, primals, options, leaf, _Tape(held, bent=bent))


def _run(call: Call, primals: Any, options: Mapping[str, Any], leaf: int | None, tape: _Tape) -> Any:
    leaves, structure = leaves_in(primals)
    arrays: list[Array] = [_traced(a, tape) if leaf is None or i == leaf else a for i, a in enumerate(leaves)]
    return optree.tree_map(tape.returned, call.function(*structure.unflatten(arrays), **options))


@contextmanager
def forgotten(call: Call) -> Iterator[None]:
    """Runs the forward pass once more in the end, so that a layer that stores its arrays keeps none that a tape sees."""
    try:
        yield
    finally:
        with quiet(), suppress(Exception):
            call.function(*call.primals, **call.options)
