"""Pairs of functions: their names and signatures for reports, and those whose object holds the first arguments itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oracle.adapters.places import Places
from oracle.double_backward import Pair

__all__ = ["Bound", "bound", "named", "placed", "settled"]


class Bound(tuple[Any, Any]):
    """A pair whose first arguments are known, such as the parameters of a module. `verify` puts them before the others."""

    pair: Pair
    primals: tuple[Any, ...]
    complete: bool
    """Whether these are all of its arguments, so that it can be verified as it is."""
    settle: Callable[..., Bound | None] | None
    """A function of the other arguments and of the options: the pair as it is at these, or None if it stays as it is."""

    def __new__(cls, pair: Pair, *primals: Any, complete: bool = False, settle: Any = None) -> Bound:
        made = super().__new__(cls, pair)
        made.pair, made.primals, made.complete = pair, primals, complete
        made.settle = settle
        return made


def settled(op: Any, primals: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """The op as it is at these arguments: a layer that updates its weights shows only in a pass which those are."""
    if isinstance(op, Bound) and op.settle is not None:
        return op.settle(primals, options) or op
    return op


def bound(op: Any) -> tuple[Any, ...]:
    """The first arguments of an op that holds them itself; none for any other."""
    return op.primals if isinstance(op, Bound) else ()


def placed(op: Any, primals: Sequence[Any]) -> tuple[Any, Places | None]:
    """The pair for those of these arguments that are differentiated, and the places of the others; None if there are none."""
    op = op.pair if isinstance(op, Bound) else op
    place = getattr(op[0], "place", None) if isinstance(op, tuple) and op else None
    if place is None:
        return op, None
    made, places = place(primals)
    return (op, None) if places.trivial else (made, places)


def named(fwd: Any, bwd: Any, function: Any, places: Places | None = None) -> Pair:
    """The pair with the name and the signature of the function that it adapts, for reports."""
    fwd.__name__ = getattr(function, "__name__", type(function).__name__)
    fwd.__module__ = getattr(function, "__module__", None) or "__main__"
    fwd.__wrapped__ = function  # tells `oracle show` where the function is written
    target = getattr(function, "forward" if isinstance(function, type) else "fun", function)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return fwd, bwd
    parameters = [p for p in signature.parameters.values() if p.name != "ctx"]
    signature = signature.replace(parameters=parameters)
    fwd.__signature__ = signature if places is None else places.named(signature)
    return fwd, bwd
