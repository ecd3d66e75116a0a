"""Finds the functions that run in a backward pass and their local names, and replaces the code of one for a backward pass."""

from __future__ import annotations

import ast
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import permutations
from types import CodeType, FrameType, FunctionType
from typing import Any

import numpy as np

from oracle.arrays import random_cotangent
from oracle.power.edits import CHECKING, Alike, function_of, parsed
from oracle.spec import Spec
from purenet import Op

__all__ = ["Reached", "compiled", "function_named", "pullback_of", "reached", "source_of", "with_backward", "with_code"]

PLUMBING = ("purenet.op", "purenet.arrays", "purenet.checks", "purenet.scipy_parts")
"""The protocol and its error messages, which other tests cover, and the import of SciPy, which only the first call needs."""

Kinds = Mapping[str, tuple[Any, ...]]


class Reached:
    """A function that ran in a backward pass, and the kind (type and shape) of each local name in each of its runs."""

    def __init__(self, name: str, function: FunctionType) -> None:
        self.name = name
        self.function = function
        self.runs: set[frozenset[tuple[str, tuple[Any, ...]]]] = set()
        self.different: set[tuple[str, str]] = set()
        """Pairs of names that stood for different objects of the same kind in some run."""

    def ran(self, names: Mapping[str, Any]) -> None:
        """Records a run that ended with these local names."""
        known = _with_fields(names)
        kinds = {name: _kind(value) for name, value in known.items()}
        self.runs.add(frozenset(kinds.items()))
        of_kind: dict[tuple[Any, ...], list[str]] = {}
        for name, kind in kinds.items():
            of_kind.setdefault(kind, []).append(name)
        pairs = (pair for several in of_kind.values() for pair in permutations(several, 2))
        self.different |= {(one, two) for one, two in pairs if known[one] is not known[two]}

    def join(self, other: Reached) -> None:
        """Adds the runs of the same function by another op."""
        self.runs |= other.runs
        self.different |= other.different

    def alike(self) -> Alike:
        """A function from a name and a line to the names that a mistake may have put in its place.

        Such a name had the same kind in every run that had both names, and is bound before that line.
        """
        runs: list[Kinds] = [dict(run) for run in self.runs]
        first = _first_lines(source_of(self.name), self.name.split(":")[1])

        def others(name: str, line: int) -> list[str]:
            with_it = [run for run in runs if name in run]
            known = sorted({other for run in with_it for other in run if first.get(other.split(".")[0], line) < line})
            return [
                other
                for other in known
                if (name, other) in self.different and all(run.get(other, run[name]) == run[name] for run in with_it)
            ]

        return others


def reached(spec: Spec) -> dict[str, Reached]:
    """The functions of the op's package that run in the backward passes of the op's cases, by `module:qualified name`."""
    found: dict[str, Reached] = {}
    root = str(spec.forward.__module__).split(".")[0]
    op: Any = spec.op
    for case in spec.cases:
        arguments, options = case.draw(spec.name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            y, residuals = forward(op)(*arguments, **options)
            _forget(root)
            with _watched(lambda frame: _note(frame, root, found)):
                backward(op)(residuals, random_cotangent(y))
    return found


def forward(op: Any) -> Callable[..., Any]:
    function: Callable[..., Any] = op.fwd if isinstance(op, Op) else op[0]
    return function


def backward(op: Any) -> Callable[..., Any]:
    function: Callable[..., Any] = op.bwd if isinstance(op, Op) else op[1]
    return function


def pullback_of(spec: Spec) -> Callable[..., Any]:
    """The function that is written as the pullback; for a combinator, its method."""
    return spec.backward or backward(spec.op)


@contextmanager
def _watched(ends: Callable[[FrameType], None]) -> Iterator[None]:
    """Calls `ends` with the frame of every Python function that returns within this block."""
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: ends(frame) if event == "return" else None)
    try:
        yield
    finally:
        sys.setprofile(before)


def _note(frame: FrameType, root: str, found: dict[str, Reached]) -> None:
    module = str(frame.f_globals.get("__name__"))
    code = frame.f_code
    if module.split(".", maxsplit=1)[0] != root or module in PLUMBING or "<" in code.co_qualname:
        return
    if code.co_name.startswith(CHECKING):
        return
    name = f"{module}:{code.co_qualname}"
    if name not in found:
        found[name] = Reached(name, function_named(name))
    found[name].ran(frame.f_locals)


def _with_fields(names: Mapping[str, Any]) -> dict[str, Any]:
    """The values by name, with the fields of named tuples by their paths; without those that are None."""
    known = dict(names)
    for name, value in names.items():
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            known |= {f"{name}.{field}": getattr(value, field) for field in value._fields}
    return {name: value for name, value in known.items() if value is not None}


def _kind(value: Any) -> tuple[Any, ...]:
    if isinstance(value, np.ndarray):
        return ("array", value.shape, value.dtype.kind)
    return (type(value).__name__, len(value)) if isinstance(value, tuple | list) else (type(value).__name__,)


def _first_lines(source: str, function: str) -> dict[str, int]:
    """The line at which each name of a function is first bound, and 0 for its arguments."""
    node = function_of(parsed(source), function)
    first = {argument.arg: 0 for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    for name in ast.walk(node):
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
            first[name.id] = min(first.get(name.id, name.lineno), name.lineno)
    return first


# ----------------------------------------------------------------------------------------- functions and their code


@cache
def source_of(name: str) -> str:
    """The source of the module of `module:qualified name`."""
    return inspect.getsource(sys.modules[name.split(":", maxsplit=1)[0]])


def function_named(name: str) -> FunctionType:
    """The function of `module:qualified name`, taken out of an Op, a property or a method if necessary."""
    module, path = name.split(":")
    value: Any = sys.modules[module]
    for part in path.split("."):
        value = inspect.getattr_static(value, part)
    for wrapper in ("forward", "fget", "__func__", "__wrapped__"):
        value = value if isinstance(value, FunctionType) else getattr(value, wrapper, value)
    if not isinstance(value, FunctionType):
        raise TypeError(f"{name} is no function but {type(value).__name__}")
    return value


def compiled(source: str, name: str) -> CodeType:
    """The code of one function of a module's source. Its file name is made up, so that no traceback shows wrong lines."""
    path = name.split(":")[1]

    def within(code: CodeType) -> Iterator[CodeType]:
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                if constant.co_qualname == path:
                    yield constant
                yield from within(constant)

    return next(within(compile(source, f"<{name}, changed>", "exec", dont_inherit=True)))


def with_code(op: Any, function: FunctionType, code: CodeType) -> Any:
    """The op with this code of the function in its backward passes; its forward passes do not change."""
    right, root = backward(op), function.__module__.split(".")[0]

    def bwd(residuals: Any, dy: Any) -> Any:
        before, function.__code__ = function.__code__, code
        _forget(root)
        try:
            return right(residuals, dy)
        finally:
            function.__code__ = before
            _forget(root)

    return with_backward(op, bwd)


def _forget(root: str) -> None:
    """Empties the caches of this package's functions.

    What a cached function has computed in a forward pass would hide a mistake in it, or in what it calls, from every backward
    pass; what it has computed with a mistake must not reach the next forward pass.
    """
    for cached in _caches(root):
        cached.cache_clear()


@cache
def _caches(root: str) -> list[Any]:
    """The functions of the loaded modules of this package that keep their results."""
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == root]
    return [value for module in modules for value in vars(module).values() if hasattr(value, "cache_clear")]


def with_backward(op: Any, bwd: Callable[[Any, Any], Any]) -> Any:
    """The op with another backward pass."""
    if not isinstance(op, Op):
        return op[0], bwd
    other = op.bind()
    vars(other)["bwd"] = bwd
    return other
