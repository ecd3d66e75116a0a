"""One run of a list of layers: objects with `forward(x)` and `backward(dout)`, Ops and pairs of functions, one after the other.

A layer of a class is adapted as `verify` adapts it (`adapters.classes`): each evaluation has a copy of its own. Its arrays are
in float64 here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree

from oracle.adapters import adapted
from oracle.adapters.calling import inputs_of
from oracle.adapters.classes import is_layer, layer_in_float64
from oracle.arrays import widened
from oracle.locating.calls import Call, Record, called_back, signed
from oracle.subject import Subject
from purenet import Op

__all__ = ["SEEDS", "record"]

SEEDS = 2**32
"""How many seeds the global generator of NumPy takes."""


@dataclass
class _Link:
    """A stage of the list, as a pair whose last argument is x."""

    path: str
    name: str
    op: Any
    params: Any
    """None for a stage without parameters."""
    options: Mapping[str, Any]
    is_loss: bool = False
    """Whether it is the last one and of a class, so that it gets no other upstream gradient than 1 if its value is a number."""
    has_x: bool = False
    """Whether it holds an x that is no array of floats itself, such as the numbers of words."""
    unseen: tuple[str, ...] = ()


def record(
    net: Any,
    primals: tuple[Any, ...],
    options: Mapping[str, Any],
    dy: Callable[[Any], Any],
    seed: int,
    *,
    alone: bool = False,
) -> Record:
    """The calls of a run; `dy` is a function of the value. The one stage of a net `alone` takes all primals as they are."""
    stages = dict(net) if isinstance(net, Mapping) else {str(i): stage for i, stage in enumerate(net)}
    names = list(map(str, stages))
    if not names:
        raise ValueError("locate: the net has no layers")
    if unknown := [name for name in options if name not in names]:
        raise TypeError(f"locate: options go to layers by name, and none is named {unknown[0]!r} (layers: {', '.join(names)})")
    if not primals:
        raise ValueError("locate: the net got no x")
    x, *extra = primals
    calls: list[tuple[Call, Any]] = []
    for i, (name, stage) in enumerate(zip(names, stages.values(), strict=True)):
        last = i == len(names) - 1
        given = tuple(widened(primals)) if alone else ()
        link = _link(name, stage, x, tuple(extra) if last and not alone else (), options.get(name, {}), seed, last=last)
        if not alone:
            given = (() if link.params is None else (link.params,)) + ((widened(x),) if _floats(x) else ())
        op, taken = (link.op, link.options) if alone or link.has_x or _floats(x) else _with_constant(link, x)
        call = Call(name, op, taken, given, None, link.name, unseen=link.unseen)
        y, residuals = call.subject.fwd(*given) if given or link.has_x else _constant(link, x)
        call.fixed = link.is_loss and np.ndim(y) == 0
        call.y = x = y
        calls.append((call, residuals))
    return _back([pair for pair in calls if pair[0].primals], dy(x), seed)


def _back(calls: list[tuple[Call, Any]], dy: Any, seed: int) -> Record:
    upstream = dy
    for call, residuals in reversed(calls):
        upstream = called_back(call, call.subject.bwd, residuals, upstream, seed)[-1]
    return Record([call for call, _ in calls], [])


def _constant(link: _Link, x: Any) -> tuple[Any, Any]:
    """The value of a stage without anything to differentiate."""
    value, residuals = Subject.of(link.op, link.options).fwd(x)
    return value, residuals


def _with_constant(link: _Link, x: Any) -> tuple[Any, Mapping[str, Any]]:
    """The stage as a pair of its parameters alone, since its x is no array of floats, such as the numbers of words."""
    if link.params is None:
        return link.op, link.options
    if isinstance(link.op, Op):  # an embedding takes its words by the one keyword that it requires
        named = link.op.arguments[-1] if len(link.op.arguments) > 1 else next(iter(link.op.required), "x")
        return link.op, {**link.options, named: x}
    subject = Subject.of(link.op, link.options)

    def fwd(params: Any) -> Any:
        return subject.fwd(params, x)

    def bwd(residuals: Any, dy: Any) -> Any:
        return tuple(subject.bwd(residuals, dy))[:1]

    signed(fwd, link.name, ["params"])
    return (fwd, bwd), {}


def _link(path: str, stage: Any, x: Any, extra: tuple[Any, ...], options: Mapping[str, Any], seed: int, *, last: bool) -> _Link:
    """The stage, and how it is called."""
    params = None
    op: Any = stage if is_layer(stage) and not isinstance(stage, Op) else adapted(stage) or stage
    if isinstance(op, tuple) and len(op) == 2 and not all(map(callable, op)):
        op, params = adapted(op[0]) or op[0], widened(op[1])
    if isinstance(op, Op) or (isinstance(op, tuple) and len(op) == 2 and all(map(callable, op))):
        if extra:
            raise TypeError(
                f"locate: the last layer {path!r} is no object with forward and backward; give what else it takes by "
                f"options={{{path!r}: {{...}}}}"
            )
        return _Link(path, Subject.of(op, options).name, op, params, options)
    if not is_layer(op) or params is not None:
        what = "an object with forward and backward, an Op, a pair (fwd, bwd), or one of the last two with its parameters"
        raise TypeError(f"locate: the layer {path!r} must be {what}, got {type(stage).__name__}")
    return _of_object(path, op, x, extra, options, seed, last=last)


def _of_object(
    path: str, layer: Any, x: Any, extra: tuple[Any, ...], options: Mapping[str, Any], seed: int, *, last: bool
) -> _Link:
    """A layer of a class. What its forward pass takes beside an x of floats is constant."""
    names = inputs_of(layer.forward)
    constants = dict(zip(names[1:], extra, strict=False)) if _floats(x) else dict(zip(names, (x, *extra), strict=False))
    made, unseen = layer_in_float64(
        layer, options={**options, **constants}, seed=seed % SEEDS, who=f"locate: the layer {path!r}"
    )
    params = made.primals[0] if made.primals else None
    return _Link(path, type(layer).__name__, made.pair, params, {}, last, not _floats(x), unseen)


def _floats(x: Any) -> bool:
    return all(np.asarray(leaf).dtype.kind == "f" for leaf in optree.tree_leaves(x))
