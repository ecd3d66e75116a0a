"""Parts of the engine are switched off one at a time, and those that a run does without are told.

A target is `module:qualified.name`. A function is switched off by a lambda with the same parameters, written as text: its
names are looked up in the module of the target. It replaces the code of the function, so every module that has imported the
function sees the change. A constant is switched off by another value, in the named module alone.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from types import CodeType, FrameType, FunctionType
from typing import Any

__all__ = ["IS_A_FUNCTION", "NO_BREACH", "Mechanism", "MissingTargetError", "in_use", "switched_off"]

NO_BREACH = "lambda s: iter(())"
IS_A_FUNCTION = "lambda s, state, seed, *, few: []"
"""What stands for a check of the contract that is off: it finds nothing."""


class MissingTargetError(LookupError):
    """The engine has no such part, or its function takes other parameters: the table must be adapted."""


@dataclass(frozen=True)
class Mechanism:
    """A part of the engine: its name, one sentence on its purpose, and what stands at each target when it is off."""

    name: str
    purpose: str
    off: Mapping[str, Any]


@contextmanager
def switched_off(mechanism: Mechanism) -> Iterator[None]:
    """Without this mechanism; afterwards everything is as before."""
    with ExitStack() as restored:
        for target, instead in mechanism.off.items():
            restored.enter_context(_replaced(target, instead))
        yield


@contextmanager
def in_use(mechanisms: Sequence[Mechanism]) -> Iterator[list[Mechanism]]:
    """Those of the mechanisms without which what runs inside might end otherwise; filled when it has ended.

    A function that is not called changes nothing, and a check of the contract that finds nothing does not, either. A constant
    might always.
    """
    targets = {_function(t, _found(t)[2]).__code__: o for m in mechanisms for t, o in m.off.items() if isinstance(o, str)}
    reached: set[CodeType] = set()
    used: list[Mechanism] = []

    def noted(frame: FrameType, event: str, found: object) -> None:
        if frame.f_code in targets:
            checks = targets[frame.f_code] in (NO_BREACH, IS_A_FUNCTION)
            if not checks or (event == "return" and found):  # what a generator yields counts as returned
                reached.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(noted)
    try:
        yield used
    finally:
        sys.setprofile(before)
    for mechanism in mechanisms:
        codes = [_function(t, _found(t)[2]).__code__ for t, o in mechanism.off.items() if isinstance(o, str)]
        if len(codes) < len(mechanism.off) or reached & set(codes):
            used.append(mechanism)


@contextmanager
def _replaced(target: str, instead: Any) -> Iterator[None]:
    owner, name, value = _found(target)
    if isinstance(instead, str):
        function = _function(target, value)
        before, function.__code__ = function.__code__, _code(target, function, instead)
        try:
            yield
        finally:
            function.__code__ = before
    else:
        setattr(owner, name, instead)
        try:
            yield
        finally:
            setattr(owner, name, value)


def _found(target: str) -> tuple[Any, str, Any]:
    """Where a target is defined, its last name, and what it is now."""
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    try:
        owner: Any = import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        return owner, name, inspect.getattr_static(owner, name)
    except (ImportError, AttributeError) as error:
        raise MissingTargetError(f"the engine has no {target} ({error}): adapt oracle.power.mechanisms") from error


def _function(target: str, value: Any) -> FunctionType:
    """The function itself, also of a property."""
    if isinstance(value, cached_property):
        value = value.func
    value = value.fget if isinstance(value, property) else value
    if not isinstance(value, FunctionType):
        raise MissingTargetError(f"{target} is no function but {type(value).__name__}: adapt oracle.power.mechanisms")
    return value


def _code(target: str, function: FunctionType, instead: str) -> CodeType:
    """The code of a lambda, which must take the same parameters; their defaults stay those of the function."""
    (code,) = (c for c in compile(instead, f"<{target}, off>", "eval").co_consts if isinstance(c, CodeType))
    was = function.__code__
    ours, theirs = (c.co_varnames[: c.co_argcount + c.co_kwonlyargcount] for c in (code, was))
    if ours != theirs or code.co_argcount != was.co_argcount or was.co_freevars:
        raise MissingTargetError(f"{target} takes {theirs}, what stands for it takes {ours}: adapt oracle.power.mechanisms")
    return code
