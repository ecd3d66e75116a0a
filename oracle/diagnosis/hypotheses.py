"""Hypotheses: gradients that a wrong pullback may have computed instead, kind by kind, likely ones first.

These are gradients of the forward pass by another argument, at another point or with another keyword. When the budget is
spent, the rest is not evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import wraps
from itertools import combinations, islice
from typing import Any, NamedTuple

import numpy as np
import optree

from oracle.diagnosis.call import Call, keywords_of, tensors_of_shape
from oracle.diagnosis.jacobian import Derivative, leaves_in, placed
from oracle.diagnosis.sample import Sample, spread_evenly
from oracle.diagnosis.words import Array, named_axes

__all__ = [
    "Supposed",
    "at_constants",
    "at_other_points",
    "multiplied_too_late",
    "of_other_arguments",
    "with_exchanged_options",
    "with_other_options",
]

MOST = 24
"""The largest number of hypotheses of one kind. With more, a single kind could spend the whole budget."""
SCREENED = (2, 4)
"""How many entries are evaluated first. If a hypothesis does not resemble our gradient there, it is given up: most already at
two entries, since one says nothing of a multiple; a second look at four costs less than a whole gradient by chance."""
FAR = 0.05
"""The distance, as a fraction of our gradient, up to which a hypothesis resembles it. It is loose, because the screening is not
extrapolated: smaller, and right hypotheses are given up; larger, and more of the budget is spent."""
PLACES = {"": False, " and dy in the middle of the value": True}
"""Where a cotangent may lie in a value of another shape, and whether that is the middle."""


class Supposed(NamedTuple):
    """A hypothesis: a description of the mistake, and the gradient that it would give at the picked entries."""

    words: str
    gradient: Array


def _remembered(kind: Callable[[Sample], Iterator[Supposed]]) -> Callable[[Sample], tuple[Supposed, ...]]:
    """The first hypotheses of one kind. They are stored, because several causes use them.

    Each kind may spend half of what is left: a net with many arguments has hundreds of hypotheses, and other causes come later.
    """

    @wraps(kind)
    def hypotheses(s: Sample) -> tuple[Supposed, ...]:
        if kind.__name__ not in s.tested:
            half = replace(s, forward=replace(s.forward, share=s.forward.share.half()))
            s.tested[kind.__name__] = tuple(islice(kind(half), MOST))
        return s.tested[kind.__name__]

    return hypotheses


@_remembered
def of_other_arguments(s: Sample) -> Iterator[Supposed]:
    """The gradients by the other arguments that have the same shape."""
    call, leaf = s.forward.call, s.forward.leaf
    shape = call.arguments[leaf].shape
    for i, path in enumerate(call.paths):
        if i != leaf and call.arguments[i].shape == shape:
            yield from (Supposed(path, gradient) for _, gradient in _candidates(s, call.primals, call.options, by=i))


@_remembered
def at_other_points(s: Sample) -> Iterator[Supposed]:
    """The gradients after one argument is replaced by another tensor of its shape, or its own entries are reordered."""
    call, leaf = s.forward.call, s.forward.leaf
    for i in sorted(range(len(call.paths)), key=lambda i: i != leaf):
        path, shape = call.paths[i], call.arguments[i].shape
        instead = {name: t for name, t in tensors_of_shape(call, shape).items() if name != path}
        order = sorted(instead, key=lambda name: name != "the value")
        for name in order:
            shown = "the function's value" if name == "the value" else name
            yield from _at(s, f"{path} replaced by {shown}", {i: instead[name]})
        yield from _at(s, f"{path} replaced by -{path}", {i: -call.arguments[i]})
        for a, b in combinations(range(len(shape)), 2):
            if shape[a] == shape[b] > 1:
                transposed = "transposed" if len(shape) == 2 else f"transposed (axes {a} and {b})"
                yield from _at(s, f"{path} {transposed}", {i: np.swapaxes(call.arguments[i], a, b)})
        for axes in _reversible(shape):
            yield from _at(s, f"{path} reversed along {named_axes(axes)}", {i: np.flip(call.arguments[i], axes)})
        for axis, n in enumerate(shape):
            for by in (k for k in range(2, n // 2 + 1) if n % k == 0):
                words = f"axis {axis} of {path} read as {by} interleaved parts"
                yield from _at(s, words, {i: _deinterleaved(call.arguments[i], axis, by)})
        for k in range(i + 1, len(call.paths)):
            if call.arguments[k].shape == shape:
                yield from _at(s, f"{path} and {call.paths[k]} exchanged", {i: call.arguments[k], k: call.arguments[i]})


@_remembered
def at_constants(s: Sample) -> Iterator[Supposed]:
    """The gradients where all entries of one argument are one, or all are zero."""
    call = s.forward.call
    for i, path in enumerate(call.paths):
        yield from _at(s, f"{path} = 1", {i: np.ones(call.arguments[i].shape)})
        yield from _at(s, f"{path} = 0", {i: np.zeros(call.arguments[i].shape)})


@_remembered
def multiplied_too_late(s: Sample) -> Iterator[Supposed]:
    """The gradients where all entries of a smaller argument are one, times that argument."""
    call, leaf = s.forward.call, s.forward.leaf
    shape = call.arguments[leaf].shape
    for i, path in enumerate(call.paths):
        if 1 < call.arguments[i].size < call.arguments[leaf].size and _broadcasts(call.arguments[i].shape, shape):
            times = np.broadcast_to(call.arguments[i], shape).ravel()
            yield from _at(s, path, {i: np.ones(call.arguments[i].shape)}, times)


def _at(s: Sample, words: str, changed: Mapping[int, Array], times: Array | None = None) -> Iterator[Supposed]:
    call = s.forward.call
    leaves, structure = leaves_in(call.primals)
    point = structure.unflatten([np.array(changed.get(i, leaf), np.float64) for i, leaf in enumerate(leaves)])
    found = _candidates(s, point, call.options, times)
    yield from (Supposed(words, gradient) for _, gradient in found)


@_remembered
def with_other_options(s: Sample) -> Iterator[Supposed]:
    """The gradients for another value of one keyword."""
    call = s.forward.call
    for name, value in keywords_of(call).items():
        for other in _instead(call, name, value):
            shown = "all ones" if isinstance(other, np.ndarray) else repr(other)
            yield from _with(s, f"{name} = {shown}", {name: other})


@_remembered
def with_exchanged_options(s: Sample) -> Iterator[Supposed]:
    """The gradients after the values of two keywords are exchanged, or the elements of one are reversed."""
    call = s.forward.call
    scalars = {k: o for k, o in keywords_of(call).items() if not _holds_array(o) and not callable(o)}
    for name, value in scalars.items():
        if isinstance(value, tuple | list) and len(value) > 1 and value != value[::-1]:
            yield from _with(s, f"{name} = {value[::-1]!r}", {name: value[::-1]})
    for i, (a, one) in enumerate(scalars.items()):
        for b, two in list(scalars.items())[i + 1 :]:
            if type(one) is type(two) and one != two and np.shape(one) == np.shape(two) and not isinstance(one, str):
                yield from _with(s, f"{a} and {b} exchanged", {a: two, b: one})


def _holds_array(value: Any) -> bool:
    """Whether it is or contains an array, so that two of its kind cannot be compared with `!=`."""
    return any(isinstance(leaf, np.ndarray) or getattr(leaf, "ndim", 0) for leaf in optree.tree_leaves(value))


def _instead(call: Call, name: str, value: Any) -> Iterator[Any]:
    """Other values that a backward pass may have used for a keyword."""
    default = call.defaults.get(name)
    if name in call.options and name in call.defaults and (default is None or (np.ndim(value) == 0 and default != value)):
        yield default
    if isinstance(value, bool | np.bool_):
        yield not value
    elif isinstance(value, int | np.integer):
        yield from (n for n in (None, 1, 0, int(value) - 1, int(value) + 1) if n is None or n not in (value, default))
    elif isinstance(value, float | np.floating):
        yield from (x for x in (0.0, 1.0) if x not in (value, default))
    elif isinstance(value, np.ndarray) and value.dtype.kind in "bf":
        yield np.ones_like(value)


def _with(s: Sample, words: str, changed: Mapping[str, Any]) -> Iterator[Supposed]:
    call = s.forward.call
    found = _candidates(s, call.primals, {**call.options, **changed})
    yield from (Supposed(words + where, gradient) for where, gradient in found)


def _candidates(
    s: Sample, primals: Any, options: Mapping[str, Any], times: Array | None = None, by: int | None = None
) -> list[Supposed]:
    """The gradients by argument number `by`, or by the argument of the sample, times `times` if it is given.

    The list is empty if a first few entries show that our gradient is no multiple of them.
    """
    leaf = s.forward.leaf if by is None else by
    factors = 1.0 if times is None else times[s.picked]
    for count in SCREENED:
        first = spread_evenly(np.arange(s.picked.size), count)
        screened = s.forward.derivative(leaf, primals, options, s.picked[first], roughly=True)
        few = 1.0 if times is None else times[s.picked[first]]
        if screened is None or not any(_resembles(s.ours[first], few * g) for _, g in _pulled(s.forward.call, screened)):
            return []
    derivative = s.forward.derivative(leaf, primals, options, s.picked)
    return [] if derivative is None else [Supposed(words, factors * g) for words, g in _pulled(s.forward.call, derivative)]


def _pulled(call: Call, derivative: Derivative) -> list[Supposed]:
    """The gradients for our cotangent: one for each place that it may have in the value.

    There is a single place, except where a keyword has changed the shape of the value.
    """
    size = derivative.rows.shape[1]
    if size == call.cotangent.size:
        return [Supposed("", derivative.rows @ call.cotangent)]
    shape, outputs = derivative.shape, call.outputs
    if shape is None or len(shape) != len(outputs) or not size:
        return []
    dy = call.cotangent.reshape(outputs)
    pulled = {words: derivative.rows @ placed(dy, shape, middle=middle).ravel() for words, middle in PLACES.items()}
    return [Supposed(words, gradient) for words, gradient in pulled.items()]


def _resembles(ours: Array, gradient: Array) -> bool:
    """Whether our gradient may be a multiple of this one."""
    square = float(gradient @ gradient)
    left = ours - (float(gradient @ ours) / square if square > 0 else 0.0) * gradient
    return bool(np.linalg.norm(left) <= FAR * np.linalg.norm(ours))


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
