"""The function under test: an `Op`, or a pair of functions (fwd, bwd) with the same protocol."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.adapters import adapted, refusal
from oracle.arrays import Leaf, copied_arrays, flat, leaves_of, mapped
from oracle.measures import EPSILON
from purenet import Op
from purenet.optimizers import GradientTransformation

__all__ = [
    "Subject",
    "check_primals",
    "defaults_of",
    "many_of",
    "note_of",
    "on_copies",
    "sheltered",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class Subject:
    """A forward pass `fwd(*primals) -> (y, residuals)` and its backward pass `bwd(residuals, dy) -> cotangents`.

    The options of the call are bound to it.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    forward: Callable[..., tuple[Any, Any]]
    bwd: Callable[[Any, Any], Any]
    options: Mapping[str, Any]
    second: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    """The pair of its backward pass, see `oracle.double_backward`; None if there is none."""

    @classmethod
    def of(cls, op: Any, options: Mapping[str, Any]) -> Subject:
        op = adapted(op) or op
        if isinstance(op, Op):
            if op.backward is None and not hasattr(op, "stages"):
                raise TypeError(f"verify: {op.name} has no pullback")
            name, module, forward, backward = op.name, op.__module__, op.fwd, op.bwd
            arguments = tuple(n for n in op.arguments if n not in options and n not in op.bound)
        elif isinstance(op, GradientTransformation):
            raise TypeError("verify: an optimizer has no pullback; it is followed step by step (`oracle verify adam`)")
        elif isinstance(op, tuple) and len(op) == 2 and all(map(callable, op)):
            forward, backward = op
            name = getattr(forward, "__name__", type(forward).__name__).removesuffix("_fwd")
            module = getattr(forward, "__module__", None) or "__main__"
            arguments = _positional(forward, options)
        else:
            raise TypeError(f"verify: {refusal(op)}")
        return cls(name, module, arguments, forward, backward, options, getattr(op, "second", None))

    def fwd(self, *primals: Any) -> tuple[Any, Any]:
        return _pair(self.name, self.forward(*primals, **self.options))

    def value(self, *primals: Any) -> Any:
        return self.fwd(*primals)[0]

    def gradients(self, primals: Sequence[Any], dy: Any) -> list[NDArray[Any]]:
        """The cotangents at these arguments, flat and in float64."""
        return flat(self.bwd(self.fwd(*primals)[1], dy))

    def names(self, count: int) -> tuple[str, ...]:
        """A name for each of `count` positional arguments."""
        return self.arguments[:count] if len(self.arguments) >= count else tuple(f"argument {i}" for i in range(count))


def defaults_of(subject: Subject, count: int) -> dict[str, Any]:
    """The defaults of all parameters that have one, except the first `count` positional arguments."""
    owner = getattr(subject.forward, "__self__", None)
    try:
        parameters = inspect.signature(owner if isinstance(owner, Op) else subject.forward).parameters.values()
    except (TypeError, ValueError):
        return {}
    bound = owner.bound if isinstance(owner, Op) else {}
    taken = subject.names(count)
    named = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return {
        p.name: p.default for p in parameters if p.default is not p.empty and p.kind in named and p.name not in taken
    } | bound


def many_of(subject: Subject) -> Callable[..., Any] | None:
    """The values at many points at once: `many(i, primals)`, where leaf `i` of the primals has the points along axis 0."""
    many = getattr(subject.forward, "many", None)
    return None if many is None else partial(many, **subject.options)


def note_of(subject: Subject) -> str:
    """What the adapter of another library has to say about it; empty for most."""
    return str(getattr(subject.forward, "note", str)())


def on_copies(subject: Subject) -> Subject:
    """The same subject with copies of all arrays that go in or come out, so that it can change no others."""

    def forward(*primals: Any, **options: Any) -> tuple[Any, Any]:
        copies = mapped(partial(np.array, subok=True), primals)
        y, residuals = _pair(subject.name, subject.forward(*copies, **copied_arrays(options)))
        return mapped(np.array, y), residuals

    def bwd(residuals: Any, dy: Any) -> Any:
        return subject.bwd(residuals, mapped(np.array, dy))

    return replace(subject, forward=forward, bwd=bwd)


def sheltered(subject: Subject) -> Subject:
    """The same subject, but `np.seterr` inside a call has no effect after the call."""

    def forward(*primals: Any, **options: Any) -> Any:
        with np.errstate():
            return subject.forward(*primals, **options)

    def bwd(residuals: Any, dy: Any) -> Any:
        with np.errstate():
            return subject.bwd(residuals, dy)

    return replace(subject, forward=forward, bwd=bwd)


def _pair(name: str, result: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:  # an array of two rows would unpack silently
        got = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
        raise TypeError(
            f"{name}: the forward function must return a tuple (value, residuals), got {got} (a function and its derivative, "
            "without dy, go through oracle.adapters.of_derivative)"
        )
    return result


def _positional(function: Callable[..., Any], options: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return ()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in parameters if p.kind in kinds and p.name not in options)


def check_primals(subject: Subject, primals: Sequence[Any]) -> np.dtype[Any]:
    """The dtype of the primals. Raises an error for arguments at which nothing can be verified, such as integers or NaN."""
    if not primals:
        raise ValueError(f"verify: {subject.name} got no arguments to differentiate")
    first: Leaf | None = None
    for leaf in leaves_of(subject.names(len(primals)), primals):
        where = f"verify: {leaf.path} of {subject.name}"
        if isinstance(leaf.array, np.ma.MaskedArray) or not (isinstance(leaf.array, float) or hasattr(leaf.array, "dtype")):
            raise TypeError(f"{where} must be a floating-point array, got {type(leaf.array).__name__}")
        array = np.asarray(leaf.array)
        if array.dtype.name not in EPSILON:
            hint = f"x + h would be truncated (what is not differentiated goes into options={{{leaf.path!r}: ...}})"
            why = f"; {hint}" if array.dtype.kind in "iu" else ""
            raise TypeError(f"{where} must be a floating-point array ({', '.join(EPSILON)}), got {array.dtype}{why}")
        if not np.isfinite(array.astype(np.float64)).all():
            what = "NaN" if np.isnan(array.astype(np.float64)).any() else "infinity"
            raise ValueError(f"{where} holds {what}: no gradient can be verified there")
        first = first or leaf
    if first is None:
        raise ValueError(f"verify: the arguments of {subject.name} hold no arrays")
    return np.result_type(*(np.asarray(leaf.array).dtype for leaf in leaves_of(subject.names(len(primals)), primals)))
