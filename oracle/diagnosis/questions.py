"""What the gradient would be if: the forward pass is differentiated elsewhere, or its outputs count otherwise.

Plain central differences, extrapolated once, are exact enough to recognize a gradient, and the same with and without JAX. The
number of entries that they take is bounded by the size of what the forward pass works on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import optree

from oracle.diagnosis.situation import Array
from oracle.measures import EPSILON
from oracle.probe import quiet, size_of, vector

__all__ = ["Questions", "Supposed"]

MOST = 256  # entries of an argument about which anything is asked
FEW = 32  # of these, about which other points and keywords are asked
GLANCE = 4  # by which most others are seen to be none of ours
FAR = 0.05  # of their size
FEWEST = 3
QUESTIONS = 24  # of one kind
WORK = 2**22  # numbers that may go in and out of the forward pass for one question
NEARBY = 2.0**-16  # of each entry: more than float32 rounds, and for a smooth function next to nothing
STEP = EPSILON["float64"] ** 0.2  # in units of an entry: truncation and rounding are then alike


class Supposed(NamedTuple):
    """What may have been done instead, in words, and the gradient that it would give at the entries asked about."""

    words: str
    gradient: Array


def _answered(ask: Callable[[Questions], Iterator[Supposed]]) -> cached_property[tuple[Supposed, ...]]:
    """The first answers to questions of one kind, kept for causes that look again."""

    def answers(self: Questions) -> tuple[Supposed, ...]:
        return tuple(islice(ask(self), QUESTIONS))

    answers.__doc__ = ask.__doc__
    return cached_property(answers)


@dataclass(frozen=True)
class Questions:
    """About argument number `leaf` of `function(*primals, **options)`, all in float64, with the cotangent `dy`."""

    function: Callable[..., Any]
    primals: tuple[Any, ...]
    paths: Sequence[str]
    leaf: int
    dy: Any
    options: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Of all keywords that have one."""

    pull: Callable[[Any], Array] | None = None
    """What the pullback itself gives for this argument at a point, flat."""

    entries: Array = field(default_factory=lambda: np.zeros(0, np.intp))
    """Those in question, in order: of which the true gradient is known."""
    doubtful: Array = field(default_factory=lambda: np.zeros(0, np.intp))
    """Those among them that are wrong."""
    ours: Array = field(default_factory=lambda: np.zeros(0))
    """The gradient that is to be recognized, at those in question."""

    # ----------------------------------------------------------------------------------------------- the point

    @cached_property
    def keywords(self) -> dict[str, Any]:
        """The value of every keyword, given or not."""
        return {**self.defaults, **self.options}

    @cached_property
    def arguments(self) -> list[Array]:
        return _leaves(self.primals)[0]

    @cached_property
    def value(self) -> Any:
        with quiet():
            return self.function(*self.primals, **self.options)

    @cached_property
    def cotangent(self) -> Array:
        return vector(self.dy)

    @property
    def outputs(self) -> tuple[int, ...]:
        """The shape of the value; of several arrays, of all their entries in a row."""
        leaves = optree.tree_leaves(self.value)
        return np.shape(leaves[0]) if len(leaves) == 1 else (self.cotangent.size,)

    def like(self, shape: tuple[int, ...]) -> dict[str, Array]:
        """The arguments, keywords, value and cotangent of this shape, by name."""
        given = dict(zip(self.paths, self.arguments, strict=True))
        given |= {k: np.asarray(o, np.float64) for k, o in self.options.items() if isinstance(o, np.ndarray)}
        if np.size(self.cotangent) == np.prod(self.outputs):
            given |= {"the value": vector(self.value).reshape(self.outputs), "dy": self.cotangent.reshape(self.outputs)}
        return {name: np.asarray(t, np.float64) for name, t in given.items() if np.shape(t) == shape}

    # ----------------------------------------------------------------------------------------------- the entries

    @cached_property
    def asked(self) -> Array:
        """The entries asked about: as many of those in question as the work allows."""
        work = sum(a.size for a in self.arguments) + self.cotangent.size + 1
        most = min(MOST, WORK // (4 * work))
        half = _spread(self.doubtful, most // 2)
        chosen = np.union1d(half, _spread(self.entries, most - half.size))
        return chosen if chosen.size >= min(self.entries.size, FEWEST) else np.zeros(0, np.intp)

    @cached_property
    def picked(self) -> Array:
        """Where among these are the few by which a gradient elsewhere is recognized."""
        half = _spread(np.flatnonzero(np.isin(self.asked, self.doubtful)), FEW // 2)
        return np.union1d(half, _spread(np.arange(self.asked.size), FEW - half.size))

    def sound(self, truth: Array, tolerance: Array) -> Array:
        """Which of the entries asked about have a gradient that is the forward pass's here, without a kink near.

        The truth, and how far it may be off, are given for all entries in question.
        """
        here = self.jacobian
        if here is None:
            return np.zeros(0, np.intp)
        where = np.searchsorted(self.entries, self.asked)
        return np.flatnonzero(np.abs(here @ self.cotangent - truth[where]) <= tolerance[where])

    # ----------------------------------------------------------------------------------------------- the answers

    @cached_property
    def jacobian(self) -> Array | None:
        """The derivative of every output by each entry asked about: one row an entry."""
        return self._derivative(self.leaf, self.primals, self.options, self.asked)

    def _derivative(self, leaf: int, primals: Any, options: Mapping[str, Any], entries: Array) -> Array | None:
        leaves, structure = _leaves(primals)
        x = np.asarray(leaves[leaf], np.float64)
        typical = size_of(x)

        def moved(entry: int, by: float) -> Array:
            copies = [np.array(a) for a in leaves]
            copies[leaf].flat[entry] += by
            return vector(self.function(*structure.unflatten(copies), **options)).copy()

        rows = np.empty((entries.size, self.cotangent.size))
        with quiet():
            try:
                for row, entry in enumerate(entries):
                    h = STEP * max(abs(float(x.flat[entry])), typical)
                    coarse, fine = ((moved(entry, s) - moved(entry, -s)) / (2 * s) for s in (h, h / 2))
                    rows[row] = (4 * fine - coarse) / 3
            except Exception:  # outside the domain, other shapes: no such gradient
                return None
        return rows if entries.size else None

    def _gradient(self, leaf: int, primals: Any, options: Mapping[str, Any]) -> Array | None:
        derivative = self._derivative(leaf, primals, options, self.asked[self.picked])
        return None if derivative is None else derivative @ self.cotangent

    def _candidate(self, leaf: int, primals: Any, options: Mapping[str, Any]) -> Array | None:
        """The gradient, unless a few of its entries show already that no multiple of it is ours."""
        first = _spread(self.asked[self.picked], GLANCE)
        glance = self._derivative(leaf, primals, options, first)
        if glance is None:
            return None
        if self.ours.size:
            wanted, seen = self.ours[np.searchsorted(self.entries, first)], glance @ self.cotangent
            square = float(seen @ seen)
            left = wanted - (float(seen @ wanted) / square if square > 0 else 0.0) * seen
            if not np.linalg.norm(left) <= FAR * np.linalg.norm(wanted):
                return None
        return self._gradient(leaf, primals, options)

    def error_nearby(self) -> Array | None:
        """By how much the pullback is wrong at a point so near that a formula would be as wrong as here."""
        if self.pull is None:
            return None
        generator = np.random.default_rng(0x6E656172)
        leaves, structure = _leaves(self.primals)
        point = structure.unflatten([a * (1 + NEARBY * generator.choice([-1.0, 1.0], a.shape)) for a in leaves])
        there = self._gradient(self.leaf, point, self.options)
        with quiet():
            try:
                return None if there is None else self.pull(point)[self.asked[self.picked]] - there
            except Exception:
                return None

    @_answered
    def of_other_arguments(self) -> Iterator[Supposed]:
        """The gradients of the other arguments of the same shape."""
        shape = self.arguments[self.leaf].shape
        for i, path in enumerate(self.paths):
            if i != self.leaf and self.arguments[i].shape == shape:
                gradient = self._candidate(i, self.primals, self.options)
                if gradient is not None:
                    yield Supposed(path, gradient)

    @_answered
    def at_other_points(self) -> Iterator[Supposed]:
        """The gradients where one argument has the value of something else of its shape, or its own in another order."""
        for i, path in enumerate(self.paths):
            shape = self.arguments[i].shape
            instead = {name: t for name, t in self.like(shape).items() if name != path}
            order = sorted(instead, key=lambda name: name != "the value")
            for name in order:
                yield from self._at(f"{path} is {name}", {i: instead[name]})
            if len(shape) > 1 and shape[-1] == shape[-2]:
                yield from self._at(f"{path} is transposed", {i: np.swapaxes(self.arguments[i], -1, -2)})
            for axes in ((-1,), (-2, -1)):
                if len(shape) >= 1 + len(axes):
                    yield from self._at(
                        f"{path} is reversed along its last axes ({len(axes)})", {i: np.flip(self.arguments[i], axes)}
                    )
            for k in range(i + 1, len(self.paths)):
                if self.arguments[k].shape == shape:
                    yield from self._at(
                        f"{path} and {self.paths[k]} are exchanged", {i: self.arguments[k], k: self.arguments[i]}
                    )

    @_answered
    def at_constants(self) -> Iterator[Supposed]:
        """The gradients where one argument is one, or zero, throughout."""
        for i, path in enumerate(self.paths):
            yield from self._at(f"{path} is 1", {i: np.ones(self.arguments[i].shape)})
            yield from self._at(f"{path} is 0", {i: np.zeros(self.arguments[i].shape)})

    def _at(self, words: str, changed: Mapping[int, Array]) -> Iterator[Supposed]:
        leaves, structure = _leaves(self.primals)
        point = structure.unflatten([np.array(changed.get(i, leaf), np.float64) for i, leaf in enumerate(leaves)])
        gradient = self._candidate(self.leaf, point, self.options)
        if gradient is not None:
            yield Supposed(words, gradient)

    @_answered
    def with_other_options(self) -> Iterator[Supposed]:
        """The gradients with one keyword at another value, or the values of two exchanged."""
        for name, value in self.keywords.items():
            for other in self._instead(name, value):
                shown = "all ones" if isinstance(other, np.ndarray) else repr(other)
                yield from self._with(f"{name} = {shown}", {name: other})

    @_answered
    def with_exchanged_options(self) -> Iterator[Supposed]:
        """The gradients with the values of two keywords exchanged, or those of one reversed."""
        scalars = {k: o for k, o in self.keywords.items() if not isinstance(o, np.ndarray) and not callable(o)}
        for name, value in scalars.items():
            if isinstance(value, tuple | list) and len(value) > 1 and value != value[::-1]:
                yield from self._with(f"{name} = {value[::-1]!r}", {name: value[::-1]})
        for i, (a, one) in enumerate(scalars.items()):
            for b, two in list(scalars.items())[i + 1 :]:
                if type(one) is type(two) and one != two and np.shape(one) == np.shape(two) and not isinstance(one, str):
                    yield from self._with(f"{a} and {b} exchanged", {a: two, b: one})

    def with_number(self, name: str, value: float) -> Array | None:
        """The gradient with one keyword at this value."""
        return self._gradient(self.leaf, self.primals, {**self.options, name: value})

    @property
    def numbers(self) -> dict[str, float]:
        """The keywords that are real numbers."""
        return {k: float(o) for k, o in self.keywords.items() if isinstance(o, float | np.floating)}

    def _instead(self, name: str, value: Any) -> Iterator[Any]:
        """Other values that a backward pass may have assumed for a keyword."""
        default = self.defaults.get(name)
        if name in self.options and name in self.defaults and (default is None or (np.ndim(value) == 0 and default != value)):
            yield default
        if isinstance(value, bool | np.bool_):
            yield not value
        elif isinstance(value, int | np.integer):
            yield from (n for n in (None, 1, 0, int(value) - 1, int(value) + 1) if n is None or n not in (value, default))
        elif isinstance(value, float | np.floating):
            yield from (x for x in (0.0, 1.0) if x not in (value, default))
        elif isinstance(value, np.ndarray) and value.dtype.kind in "bf":
            yield np.ones_like(value)

    def _with(self, words: str, changed: Mapping[str, Any]) -> Iterator[Supposed]:
        gradient = self._candidate(self.leaf, self.primals, {**self.options, **changed})
        if gradient is not None:
            yield Supposed(words, gradient)


def _leaves(tree: Any) -> tuple[list[Array], Any]:
    """The arrays of a tree in float64, and its structure."""
    leaves, structure = optree.tree_flatten(tree)
    return [np.asarray(leaf, np.float64) for leaf in leaves], structure


def _spread(entries: Array, most: int) -> Array:
    """At most so many of the entries, spread evenly."""
    return entries[np.unique(np.linspace(0, entries.size - 1, min(entries.size, max(most, 0))).astype(np.intp))]
