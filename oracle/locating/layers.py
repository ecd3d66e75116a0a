"""One run of a list of layers: objects with `forward(x)` and `backward(dout)`, Ops and pairs of functions, one after the other.

A layer keeps what its backward pass needs in attributes, and so are its parameters and their gradients. So each evaluation has
a deep copy of the layer of its own, in float64, with the parameters that are asked for; the user's object never changes.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.adapters import adapted, seeded
from oracle.arrays import RAISED, random_cotangent, widened
from oracle.locating.calls import Call, Record, called_back, signed
from oracle.subject import Subject
from purenet import Op

__all__ = ["SEEDS", "is_layer", "record"]

Array = NDArray[Any]

GRADIENTS = ("d{}", "d_{}", "grad_{}", "{}_grad", "{}_gradient", "grad{}", "g{}")
"""How attributes are called that hold the gradient of an attribute."""
TABLES = ("grads", "grad", "gradients")
"""How dicts and lists are called that hold gradients, beside one of parameters."""
SEEDS = 2**32
"""How many seeds the global generator of NumPy takes."""


def is_layer(stage: Any) -> bool:
    """Whether this is an object with a forward and a backward pass."""
    return callable(getattr(stage, "forward", None)) and callable(getattr(stage, "backward", None))


@dataclass
class _Link:
    """A stage of the list, as a pair whose last argument is x."""

    path: str
    name: str
    op: Any
    params: Any
    """None for a stage without parameters."""
    options: Mapping[str, Any]
    fixed: bool = False
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
        op, taken = (link.op, link.options) if alone or _floats(x) else _with_constant(link, x)
        call = Call(name, op, taken, given, None, link.name, fixed=link.fixed, unseen=link.unseen)
        y, residuals = call.subject.fwd(*given) if given else _constant(link, x)
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


# ------------------------------------------------------------------------------------------------ layers of a class


def _of_object(
    path: str, layer: Any, x: Any, extra: tuple[Any, ...], options: Mapping[str, Any], seed: int, *, last: bool
) -> _Link:
    name = type(layer).__name__
    arrays = dict(_arrays(layer))
    narrow = {id(a): a.astype(np.float64) for a in arrays.values() if a.dtype.kind == "f"}

    def anew(params: Mapping[str, Any]) -> Any:
        memo: dict[int, Any] = {place: a.copy() for place, a in narrow.items()}
        memo |= {id(arrays[n]): np.array(a) for n, a in params.items()}
        try:
            return copy.deepcopy(layer, memo)  # every name of an array becomes a name of its replacement
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise TypeError(f"locate: the layer {path!r} ({name}) cannot be copied: {what}") from error

    def run(params: Mapping[str, Any], x: Any) -> tuple[Any, Any]:
        own = anew(params)
        with seeded(seed % SEEDS):
            value = own.forward(np.array(x), *extra, **options)
        return (np.asarray(value, np.float64) if np.ndim(value) == 0 else value), own

    value, tried = run({}, widened(x) if _floats(x) else x)
    fixed = last and np.ndim(value) == 0
    dy = np.ones(()) if fixed else random_cotangent(np.asarray(value, np.float64), seed)
    with suppress(*RAISED):  # one that raises is a row
        _backward(tried, dy)
    places = {n: place for n in arrays if (place := _place(tried, n)) is not None}
    narrow |= {id(a): np.zeros(a.shape) for n, a in arrays.items() if n in _held(places)}  # those that are added to begin at 0
    params = {n: np.asarray(arrays[n], np.float64) for n in places}
    beside = {n for n in arrays if arrays[n].dtype.kind == "f"} - set(places) - _held(places)
    unseen = tuple(sorted(n for n in beside if places and "running" not in n))

    def bwd(kept: Any, dy: Any) -> Any:
        own = copy.deepcopy(kept)  # one that adds to its gradients, or writes over what it kept, can run again
        dx = _backward(own, dy)
        found = {n: _read(own, place) for n, place in places.items()}
        return (found, dx) if params else (dx,)

    def forward(params: Any, x: Any) -> Any:
        return run(params, x)

    def without_params(x: Any) -> Any:
        return run({}, x)

    fwd = forward if params else without_params
    fwd.__module__ = type(layer).__module__
    signed(fwd, name, ["params", "x"] if params else ["x"])
    return _Link(path, name, (fwd, bwd), params or None, {}, fixed, unseen)


def _backward(layer: Any, dy: Any) -> Any:
    """The gradient by x. A loss is often given no upstream gradient at all."""
    try:
        takes = any(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)
                    for p in inspect.signature(layer.backward).parameters.values())  # fmt: skip
    except (TypeError, ValueError):
        takes = True
    return layer.backward(np.array(dy)) if takes else layer.backward()


def _arrays(layer: Any) -> Iterator[tuple[str, Array]]:
    """The arrays that a layer holds: in attributes, and in dicts and lists that are attributes."""
    for name, value in vars(layer).items():
        if isinstance(value, np.ndarray):
            yield name, value
        elif isinstance(value, Mapping):
            yield from ((f"{name}.{key}", own) for key, own in value.items() if isinstance(own, np.ndarray))
        elif isinstance(value, list | tuple):
            yield from ((f"{name}.{i}", own) for i, own in enumerate(value) if isinstance(own, np.ndarray))


def _place(layer: Any, name: str) -> str | None:
    """Where the gradient of this array is, once the backward pass has run; None if it is nowhere."""
    table, _, key = name.rpartition(".")
    held = dict(_arrays(layer)) | {n: a for n, a in vars(layer).items() if isinstance(a, np.generic | float)}
    if table:
        candidates = [f"{other}.{own}" for other in TABLES for own in (key, f"d{key}")]
        if table in TABLES or table.startswith(("d", "grad")):
            return None
    else:
        candidates = [form.format(name) for form in GRADIENTS] + [
            f"{other}.{own}" for other in TABLES for own in (name, f"d{name}")
        ]
    return next((place for place in candidates if place in held and place != name), None)


def _held(places: Mapping[str, str]) -> set[str]:
    return set(places.values())


def _read(layer: Any, place: str) -> Any:
    table, _, key = place.rpartition(".")
    if not table:
        return np.asarray(getattr(layer, place))
    held = getattr(layer, table)
    return np.asarray(held[int(key) if isinstance(held, list | tuple) else key])


def _floats(x: Any) -> bool:
    return all(np.asarray(leaf).dtype.kind == "f" for leaf in optree.tree_leaves(x))
