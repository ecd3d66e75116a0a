"""Hypotheses: gradients that a wrong pullback may have computed instead, kind by kind, likely ones first.

These are gradients of the forward pass by another argument, at another point or with another keyword. When the budget of
`forward_pass` is spent, the rest is not evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from itertools import combinations, islice
from typing import Any

import numpy as np

from oracle.diagnosis.forward_pass import ForwardPass, Supposed
from oracle.diagnosis.jacobian import leaves_in
from oracle.diagnosis.words import Array, named_axes

__all__ = [
    "at_constants",
    "at_other_points",
    "multiplied_too_late",
    "of_other_arguments",
    "with_exchanged_options",
    "with_other_options",
]

MOST = 24
"""The largest number of hypotheses of one kind. With more, a single kind could spend the whole budget."""


def _remembered(kind: Callable[[ForwardPass], Iterator[Supposed]]) -> Callable[[ForwardPass], tuple[Supposed, ...]]:
    """The first hypotheses of one kind. They are stored, because several causes use them."""

    @wraps(kind)
    def hypotheses(forward: ForwardPass) -> tuple[Supposed, ...]:
        if kind.__name__ not in forward.tested:
            forward.tested[kind.__name__] = tuple(islice(kind(forward), MOST))
        return forward.tested[kind.__name__]

    return hypotheses


@_remembered
def of_other_arguments(forward: ForwardPass) -> Iterator[Supposed]:
    """The gradients by the other arguments that have the same shape."""
    shape = forward.arguments[forward.leaf].shape
    for i, path in enumerate(forward.paths):
        if i != forward.leaf and forward.arguments[i].shape == shape:
            yield from (Supposed(path, gradient) for _, gradient in forward.candidates(i, forward.primals, forward.options))


@_remembered
def at_other_points(forward: ForwardPass) -> Iterator[Supposed]:
    """The gradients after one argument is replaced by another tensor of its shape, or its own entries are reordered."""
    for i in sorted(range(len(forward.paths)), key=lambda i: i != forward.leaf):
        path, shape = forward.paths[i], forward.arguments[i].shape
        instead = {name: t for name, t in forward.like(shape).items() if name != path}
        order = sorted(instead, key=lambda name: name != "the value")
        for name in order:
            shown = "the function's value" if name == "the value" else name
            yield from _at(forward, f"{path} replaced by {shown}", {i: instead[name]})
        for a, b in combinations(range(len(shape)), 2):
            if shape[a] == shape[b] > 1:
                transposed = "transposed" if len(shape) == 2 else f"transposed (axes {a} and {b})"
                yield from _at(forward, f"{path} {transposed}", {i: np.swapaxes(forward.arguments[i], a, b)})
        for axes in _reversible(shape):
            yield from _at(forward, f"{path} reversed along {named_axes(axes)}", {i: np.flip(forward.arguments[i], axes)})
        for axis, n in enumerate(shape):
            for by in (k for k in range(2, n // 2 + 1) if n % k == 0):
                words = f"axis {axis} of {path} read as {by} interleaved parts"
                yield from _at(forward, words, {i: _deinterleaved(forward.arguments[i], axis, by)})
        for k in range(i + 1, len(forward.paths)):
            if forward.arguments[k].shape == shape:
                yield from _at(
                    forward, f"{path} and {forward.paths[k]} exchanged", {i: forward.arguments[k], k: forward.arguments[i]}
                )


@_remembered
def at_constants(forward: ForwardPass) -> Iterator[Supposed]:
    """The gradients where all entries of one argument are one, or all are zero."""
    for i, path in enumerate(forward.paths):
        yield from _at(forward, f"{path} = 1", {i: np.ones(forward.arguments[i].shape)})
        yield from _at(forward, f"{path} = 0", {i: np.zeros(forward.arguments[i].shape)})


@_remembered
def multiplied_too_late(forward: ForwardPass) -> Iterator[Supposed]:
    """The gradients where all entries of a smaller argument are one, times that argument."""
    shape = forward.arguments[forward.leaf].shape
    for i, path in enumerate(forward.paths):
        if 1 < forward.arguments[i].size < forward.arguments[forward.leaf].size and _broadcasts(
            forward.arguments[i].shape, shape
        ):
            times = np.broadcast_to(forward.arguments[i], shape).ravel()
            yield from _at(forward, path, {i: np.ones(forward.arguments[i].shape)}, times)


def _at(forward: ForwardPass, words: str, changed: Mapping[int, Array], times: Array | None = None) -> Iterator[Supposed]:
    leaves, structure = leaves_in(forward.primals)
    point = structure.unflatten([np.array(changed.get(i, leaf), np.float64) for i, leaf in enumerate(leaves)])
    found = forward.candidates(forward.leaf, point, forward.options, times)
    yield from (Supposed(words, gradient) for _, gradient in found)


@_remembered
def with_other_options(forward: ForwardPass) -> Iterator[Supposed]:
    """The gradients for another value of one keyword."""
    for name, value in forward.keywords.items():
        for other in _instead(forward, name, value):
            shown = "all ones" if isinstance(other, np.ndarray) else repr(other)
            yield from _with(forward, f"{name} = {shown}", {name: other})


@_remembered
def with_exchanged_options(forward: ForwardPass) -> Iterator[Supposed]:
    """The gradients after the values of two keywords are exchanged, or the elements of one are reversed."""
    scalars = {k: o for k, o in forward.keywords.items() if not isinstance(o, np.ndarray) and not callable(o)}
    for name, value in scalars.items():
        if isinstance(value, tuple | list) and len(value) > 1 and value != value[::-1]:
            yield from _with(forward, f"{name} = {value[::-1]!r}", {name: value[::-1]})
    for i, (a, one) in enumerate(scalars.items()):
        for b, two in list(scalars.items())[i + 1 :]:
            if type(one) is type(two) and one != two and np.shape(one) == np.shape(two) and not isinstance(one, str):
                yield from _with(forward, f"{a} and {b} exchanged", {a: two, b: one})


def _instead(forward: ForwardPass, name: str, value: Any) -> Iterator[Any]:
    """Other values that a backward pass may have used for a keyword."""
    default = forward.defaults.get(name)
    if name in forward.options and name in forward.defaults and (default is None or (np.ndim(value) == 0 and default != value)):
        yield default
    if isinstance(value, bool | np.bool_):
        yield not value
    elif isinstance(value, int | np.integer):
        yield from (n for n in (None, 1, 0, int(value) - 1, int(value) + 1) if n is None or n not in (value, default))
    elif isinstance(value, float | np.floating):
        yield from (x for x in (0.0, 1.0) if x not in (value, default))
    elif isinstance(value, np.ndarray) and value.dtype.kind in "bf":
        yield np.ones_like(value)


def _with(forward: ForwardPass, words: str, changed: Mapping[str, Any]) -> Iterator[Supposed]:
    found = forward.candidates(forward.leaf, forward.primals, {**forward.options, **changed})
    yield from (Supposed(words + where, gradient) for where, gradient in found)


def _reversible(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The last axis, the last two (those of a kernel), the last three, ..., and each other axis alone."""
    long = [a for a, n in enumerate(shape) if n > 1]
    return [tuple(long[-count:]) for count in range(1, len(long) + 1)] + [(a,) for a in long[:-1]]


def _deinterleaved(tensor: Array, axis: int, by: int) -> Array:
    """The axis with every `by`-th entry side by side, as after a reshape in another order."""
    n = tensor.shape[axis]
    return np.take(tensor, np.arange(n).reshape(n // by, by).T.ravel(), axis)


def _broadcasts(shape: tuple[int, ...], onto: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, onto) == onto
    except ValueError:
        return False
