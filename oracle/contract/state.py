"""What a function can keep between its calls: a twin that starts from the same state, and the random generators within reach.

State is reached through closures, the global names that the code uses, defaults, attributes, and objects of the user's own
classes. What C code or another library keeps is out of reach.
"""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

import numpy as np

from oracle.subject import Subject
from purenet import Op

__all__ = ["State"]

MOST_BYTES = 2**26
"""Of arrays that are copied for a twin. Twice as much only takes longer; with much less, layers with weights have no twin."""
GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)


@dataclass
class State:
    """What a subject can reach: copies of it, by the identity of the original, and random generators."""

    package: str
    """The first part of the module's name: functions and classes from elsewhere are not looked into."""
    generators: list[Any] = field(default_factory=list)
    twin: Subject | None = None
    """The subject with a copy of its state; None if something cannot be copied."""
    _copies: dict[int, Any] = field(default_factory=dict)
    _globals: dict[int, dict[str, Any]] = field(default_factory=dict)
    _bytes: int = 0

    @classmethod
    def of(cls, subject: Subject) -> State:
        """The state as it is now, before the calls that may change it."""
        state = cls((subject.module or "").partition(".")[0])
        if state.package == "purenet":  # its ops are verified by the numbers, and keep nothing
            return state
        owner = getattr(subject.forward, "__self__", None)
        try:
            if type(owner) is Op:
                op = object.__new__(Op)
                op.__dict__.update(vars(owner), forward=state._copy(owner.forward), backward=state._copy(owner.backward))
                state.twin = replace(subject, forward=op.fwd, bwd=op.bwd)
            elif not isinstance(owner, Op):
                state.twin = replace(subject, forward=state._copy(subject.forward), bwd=state._copy(subject.bwd))
        except Exception:
            state.twin = None
        return state

    def positions(self) -> list[bytes]:
        """Where each generator is in its sequence of numbers."""
        return [pickle.dumps(generator) for generator in self.generators]

    def _copy(self, value: Any) -> Any:
        """A copy of what can change, and the value itself of what cannot, or is not the user's."""
        known = self._copies.get(id(value))
        if known is not None:
            return known
        made = self._made(value)
        self._copies[id(value)] = made
        return made

    def _made(self, value: Any) -> Any:
        if isinstance(value, GENERATORS):
            self.generators.append(value)
            return copy.deepcopy(value)
        if isinstance(value, np.ndarray):
            self._bytes += value.nbytes
            if self._bytes > MOST_BYTES:
                raise MemoryError(f"more than {MOST_BYTES} bytes of state")
            return value.copy()
        if isinstance(value, FunctionType):
            return self._function(value) if self._is_own(value) else value
        if isinstance(value, MethodType):
            return MethodType(self._copy(value.__func__), self._copy(value.__self__))
        if isinstance(value, partial):
            return partial(self._copy(value.func), *self._copy(value.args), **self._copy(value.keywords))
        if type(value) is tuple:
            return tuple(self._copy(part) for part in value)
        if isinstance(value, dict | list | set):
            return self._container(value)
        if not isinstance(value, type) and self._is_own(type(value)) and hasattr(value, "__dict__"):
            made = copy.copy(value)
            return value if made is value else self._filled(value, made)
        return value

    def _container(self, value: Any) -> Any:
        made = self._copies[id(value)] = copy.copy(value)  # known before its contents, which may lead back to it
        if isinstance(value, dict):
            for key, part in value.items():
                made[key] = self._copy(part)
        elif isinstance(value, list):
            made[:] = [self._copy(part) for part in value]
        return made

    def _filled(self, value: Any, made: Any) -> Any:
        self._copies[id(value)] = made
        for name, part in vars(value).items():
            made.__dict__[name] = self._copy(part)
        return made

    def _function(self, function: FunctionType) -> FunctionType:
        names = self._globals.setdefault(id(function.__globals__), dict(function.__globals__))
        cells = tuple(self._cell(cell) for cell in function.__closure__ or ())
        made = FunctionType(function.__code__, names, function.__name__, None, cells)
        self._copies[id(function)] = made
        made.__defaults__ = self._copy(function.__defaults__)
        made.__kwdefaults__ = self._copy(function.__kwdefaults__)
        made.__dict__.update(self._copy(vars(function)))
        for name in _names_used(function.__code__):
            if name in function.__globals__:
                names[name] = self._copy(function.__globals__[name])
        return made

    def _cell(self, cell: CellType) -> CellType:
        if id(cell) not in self._copies:
            made = self._copies[id(cell)] = CellType()
            try:
                contents = cell.cell_contents
            except ValueError:  # an empty cell: a name that is bound later
                return made
            made.cell_contents = self._copy(contents)
        found: CellType = self._copies[id(cell)]
        return found

    def _is_own(self, what: Callable[..., Any]) -> bool:
        return (getattr(what, "__module__", None) or "").partition(".")[0] == self.package


def _names_used(code: CodeType) -> Iterator[str]:
    """The names that the code, and functions written inside it, look up."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_used(constant)
