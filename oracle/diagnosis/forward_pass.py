"""The forward pass within a budget: its Jacobian at a sample of entries, and gradients at other points and keywords.

Where the budget ends (see `Budget`), nothing more is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import optree

from oracle.arrays import quiet, size_of, vector
from oracle.diagnosis.jacobian import Budget, Derivative, differentiated, leaves_in, placed
from oracle.diagnosis.words import Array

__all__ = ["ForwardPass", "Supposed"]

MOST = 256  # entries of an argument that are sampled
FEW = 32  # of these, for other points and keywords
SCREENED = 4  # by which most others are seen to be none of ours
FAR = 0.05  # of their size
FEWEST = 3
SMALL = 2**12  # numbers that go in and out of a forward pass; a larger one costs more in proportion
SHORT = 2.0**-17  # of an element: truncation and rounding of a plain central difference are then alike
DEAR = 16  # evaluations: more is not counted for a slope of a large argument, whose verification has taken thousands
PLACES = {"": False, ", the cotangent in its middle": True}
NEARBY = 2.0**-16  # of each entry: more than float32 rounds, and for a smooth function next to nothing


class Supposed(NamedTuple):
    """What may have been done instead, in words, and the gradient that it would give at the entries sampled."""

    words: str
    gradient: Array


@dataclass(frozen=True)
class ForwardPass:
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

    budget: Budget = field(default_factory=Budget)
    reserved: int = 0
    """What others must find left of it."""
    entries: Array = field(default_factory=lambda: np.zeros(0, np.intp))
    """Those in question, in order: of which the true gradient is known."""
    doubtful: Array = field(default_factory=lambda: np.zeros(0, np.intp))
    """Those among them that are wrong."""
    ours: Array = field(default_factory=lambda: np.zeros(0))
    """The gradient that is to be recognized, at those in question."""
    value_by_rule: Callable[..., Any] | None = None
    """Of a function with a rule of another library: the value that it has while it is differentiated."""
    answers: dict[str, tuple[Supposed, ...]] = field(default_factory=dict, init=False, repr=False)
    """The gradients by the hypotheses that have been looked at, by their names."""

    # ----------------------------------------------------------------------------------------------- the point

    @cached_property
    def keywords(self) -> dict[str, Any]:
        """The value of every keyword, given or not."""
        return {**self.defaults, **self.options}

    @cached_property
    def arguments(self) -> list[Array]:
        return leaves_in(self.primals)[0]

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
    def sampled(self) -> Array:
        """The entries sampled: as many of those in question as half of what may be spent allows."""
        most = min(MOST, (self.budget.left - self.reserved) // (8 * self.cost))
        half = _spread(self.doubtful, most // 2)
        chosen = np.union1d(half, _spread(self.entries, most - half.size))
        return chosen if chosen.size >= min(self.entries.size, FEWEST) else np.zeros(0, np.intp)

    @property
    def cost(self) -> int:
        """Of one evaluation."""
        return 1 + (sum(a.size for a in self.arguments) + self.cotangent.size) // SMALL

    @cached_property
    def picked(self) -> Array:
        """Where among these are the few by which another gradient is recognized."""
        half = _spread(np.flatnonzero(np.isin(self.sampled, self.doubtful)), FEW // 2)
        return np.union1d(half, _spread(np.arange(self.sampled.size), FEW - half.size))

    def sound(self, truth: Array, tolerance: Array) -> Array:
        """Which of the entries sampled have a gradient that is the forward pass's here, without a kink near.

        The truth, and how far it may be off, are given for all entries in question.
        """
        here = self.jacobian
        if here is None:
            return np.zeros(0, np.intp)
        where = np.searchsorted(self.entries, self.sampled)
        return np.flatnonzero(np.abs(here @ self.cotangent - truth[where]) <= tolerance[where])

    # ----------------------------------------------------------------------------------------------- the answers

    @cached_property
    def jacobian(self) -> Array | None:
        """The derivative of every output by each entry sampled: one row an entry."""
        derivative = self._derivative(self.leaf, self.primals, self.options, self.sampled)
        return None if derivative is None else derivative.rows

    @cached_property
    def here(self) -> Array | None:
        """The gradient at the few entries, as it should be."""
        return None if self.jacobian is None else self.jacobian[self.picked] @ self.cotangent

    def slope(self, index: Array, direction: Array) -> tuple[float, Array] | None:
        """The contracted derivative along a direction of these elements alone, by a plain central difference.

        And the direction that was really taken, since x + h is rounded.
        """
        if not self.budget.pay(2 * min(self.cost, DEAR), self.reserved):
            return None
        leaves, structure = leaves_in(self.primals)
        x = leaves[self.leaf].ravel()[index]
        far = SHORT / float(np.linalg.norm(direction / np.maximum(np.abs(x), size_of(leaves[self.leaf]))))
        h = float(2.0 ** np.round(np.log2(far)))

        def moved(by: float) -> tuple[Array, Array]:
            copies = [np.array(leaf) for leaf in leaves]
            copies[self.leaf].reshape(-1)[index] = x + by * direction
            value = vector(self.function(*structure.unflatten(copies), **self.options))
            return value.copy(), copies[self.leaf].reshape(-1)[index]

        with quiet():
            try:
                (above, ahead), (below, behind) = moved(h), moved(-h)
                slope = float(self.cotangent @ (above - below)) / (2 * h)
                return (slope, (ahead - behind) / (2 * h)) if np.isfinite(slope) else None
            except Exception:  # outside the domain
                return None

    def _derivative(
        self, leaf: int, primals: Any, options: Mapping[str, Any], entries: Array, *, roughly: bool = False
    ) -> Derivative | None:
        """None outside the domain, or where it would cost too much."""
        if not entries.size or not self.budget.pay((2 if roughly else 4) * entries.size * self.cost, self.reserved):
            return None
        return differentiated(self.function, primals, options, leaf, entries, roughly=roughly)

    def _pulled(self, derivative: Derivative) -> list[Supposed]:
        """The gradients that it gives: one, unless the value has another shape, in which the cotangent may lie as it likes."""
        size = derivative.rows.shape[1]
        if size == self.cotangent.size:
            return [Supposed("", derivative.rows @ self.cotangent)]
        shape, outputs = derivative.shape, self.outputs
        if shape is None or len(shape) != len(outputs) or not size:
            return []
        dy = self.cotangent.reshape(outputs)
        pulled = {words: derivative.rows @ placed(dy, shape, middle=middle).ravel() for words, middle in PLACES.items()}
        return [Supposed(words, gradient) for words, gradient in pulled.items()]

    def _gradient(self, leaf: int, primals: Any, options: Mapping[str, Any]) -> Array | None:
        derivative = self._derivative(leaf, primals, options, self.sampled[self.picked])
        if derivative is None or derivative.rows.shape[1] != self.cotangent.size:
            return None
        return derivative.rows @ self.cotangent

    def candidates(self, leaf: int, primals: Any, options: Mapping[str, Any], times: Array | None = None) -> list[Supposed]:
        """The gradients, unless a few entries show already that no multiple of them is ours; `times` what is given."""
        chosen = self.sampled[self.picked]
        first = _spread(chosen, SCREENED)
        by, by_first = (1.0, 1.0) if times is None else (times[chosen], times[first])
        screened = self._derivative(leaf, primals, options, first, roughly=True)
        if screened is None or not any(self._resembles(first, by_first * gradient) for _, gradient in self._pulled(screened)):
            return []
        derivative = self._derivative(leaf, primals, options, chosen)
        return [] if derivative is None else [Supposed(words, by * gradient) for words, gradient in self._pulled(derivative)]

    def _resembles(self, entries: Array, seen: Array) -> bool:
        """Whether ours may be a multiple of what is seen at these entries."""
        if not self.ours.size:
            return True
        wanted = self.ours[np.searchsorted(self.entries, entries)]
        square = float(seen @ seen)
        left = wanted - (float(seen @ wanted) / square if square > 0 else 0.0) * seen
        return bool(np.linalg.norm(left) <= FAR * np.linalg.norm(wanted))

    @cached_property
    def other_value(self) -> Any:
        """The value while the function is differentiated, if there is such a one."""
        with quiet():
            return None if self.value_by_rule is None else self.value_by_rule(*self.primals, **self.options)

    def of_the_other_value(self) -> Array | None:
        """The gradient of that, at the few entries."""
        entries = self.sampled[self.picked]
        if self.value_by_rule is None or not self.budget.pay(4 * entries.size * self.cost, self.reserved):
            return None
        found = differentiated(self.value_by_rule, self.primals, self.options, self.leaf, entries, roughly=False)
        return None if found is None or found.rows.shape[1] != self.cotangent.size else found.rows @ self.cotangent

    def error_nearby(self) -> Array | None:
        """By how much the pullback is wrong at a point so near that a formula would be as wrong as here."""
        if self.pull is None:
            return None
        generator = np.random.default_rng(0x6E656172)
        leaves, structure = leaves_in(self.primals)
        point = structure.unflatten([a * (1 + NEARBY * generator.choice([-1.0, 1.0], a.shape)) for a in leaves])
        there = self._gradient(self.leaf, point, self.options)
        with quiet():
            try:
                return None if there is None else self.pull(point)[self.sampled[self.picked]] - there
            except Exception:
                return None

    def with_number(self, name: str, value: float) -> Array | None:
        """The gradient with one keyword at this value."""
        return self._gradient(self.leaf, self.primals, {**self.options, name: value})

    @property
    def numbers(self) -> dict[str, float]:
        """The keywords that are real numbers."""
        return {k: float(o) for k, o in self.keywords.items() if isinstance(o, float | np.floating)}


def _spread(entries: Array, most: int) -> Array:
    """At most so many of the entries, spread evenly."""
    return entries[np.unique(np.linspace(0, entries.size - 1, min(entries.size, max(most, 0))).astype(np.intp))]
