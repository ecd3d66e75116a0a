"""The forward pass within a budget: its Jacobian at a sample of entries, and gradients at other points and keywords.

When the budget is spent (see `Budget`), nothing more is evaluated.
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

MOST = 256
"""The largest number of sampled entries of one argument. With fewer, causes with many free numbers have too few entries to fit;
with more, the budget ends sooner."""
FEW = 32
"""How many of the sampled entries are evaluated at other points and keywords."""
SCREENED = 4
"""How many entries are evaluated first. If a hypothesis does not resemble our gradient there, it is given up."""
FAR = 0.05
"""The distance, as a fraction of our gradient, up to which a hypothesis resembles it. It is loose, because the screening is not
extrapolated: smaller, and right hypotheses are given up; larger, and more of the budget is spent."""
FEWEST = 3
"""The smallest sample that is worth evaluating."""
SMALL = 2**12
"""A forward pass with up to this many numbers in its arguments and value costs one evaluation; a larger one costs more in
proportion."""
SHORT = 2.0**-17
"""The step of a slope, as a fraction of an element. Here the truncation and rounding of a central difference are of the same
size: a larger step adds truncation, a smaller one adds rounding."""
DEAR = 16
"""The largest price of one evaluation, in evaluations, for a slope of a large argument: its verification has taken thousands
anyway, and at the full price the bisection would end before it finds a place."""
PLACES = {"": False, " and dy in the middle of the value": True}
"""Where a cotangent may lie in a value of another shape, and whether that is the middle."""
NEARBY = 2.0**-16
"""The distance of a nearby point, as a fraction of each entry. It is above the rounding of float32, so rounding errors change
there, and small for a smooth function, so the error of a wrong formula does not."""


class Supposed(NamedTuple):
    """A hypothesis: a description of the mistake, and the gradient that it would give at the few entries."""

    words: str
    gradient: Array


@dataclass(frozen=True)
class ForwardPass:
    """`function(*primals, **options)` in float64 with the cotangent `dy`, and its derivative by argument number `leaf`."""

    function: Callable[..., Any]
    primals: tuple[Any, ...]
    paths: Sequence[str]
    leaf: int
    dy: Any
    options: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """The default values of the keywords."""

    pull: Callable[[Any], Array] | None = None
    """Our pullback's gradient of this argument at a given point, flat."""

    budget: Budget = field(default_factory=Budget)
    reserved: int = 0
    """How many evaluations must be left for the arguments still to come."""
    entries: Array = field(default_factory=lambda: np.zeros(0, np.intp))
    """The flat indices of the entries whose true gradient is known, in increasing order."""
    doubtful: Array = field(default_factory=lambda: np.zeros(0, np.intp))
    """The flat indices of the wrong ones among them."""
    ours: Array = field(default_factory=lambda: np.zeros(0))
    """Our gradient at `entries`."""
    value_by_rule: Callable[..., Any] | None = None
    """For a function with a rule of another library: the forward pass that runs while the function is differentiated."""
    tested: dict[str, tuple[Supposed, ...]] = field(default_factory=dict, init=False, repr=False)
    """The hypotheses evaluated so far, by the name of their kind."""

    # ----------------------------------------------------------------------------------------------- the point

    @cached_property
    def keywords(self) -> dict[str, Any]:
        """The value of every keyword, whether the caller gave it or not."""
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
        """The shape of the value. Several arrays count as one vector of all their entries."""
        leaves = optree.tree_leaves(self.value)
        return np.shape(leaves[0]) if len(leaves) == 1 else (self.cotangent.size,)

    def like(self, shape: tuple[int, ...]) -> dict[str, Array]:
        """Those of the arguments, keywords, value and cotangent that have this shape, by name."""
        given = dict(zip(self.paths, self.arguments, strict=True))
        given |= {k: np.asarray(o, np.float64) for k, o in self.options.items() if isinstance(o, np.ndarray)}
        if np.size(self.cotangent) == np.prod(self.outputs):
            given |= {"the value": vector(self.value).reshape(self.outputs), "dy": self.cotangent.reshape(self.outputs)}
        return {name: np.asarray(t, np.float64) for name, t in given.items() if np.shape(t) == shape}

    # ----------------------------------------------------------------------------------------------- the entries

    @cached_property
    def sampled(self) -> Array:
        """The sampled entries, as many of `entries` as half of the available budget allows; half of them are wrong ones."""
        most = min(MOST, (self.budget.left - self.reserved) // (8 * self.cost))
        half = _spread(self.doubtful, most // 2)
        chosen = np.union1d(half, _spread(self.entries, most - half.size))
        return chosen if chosen.size >= min(self.entries.size, FEWEST) else np.zeros(0, np.intp)

    @property
    def cost(self) -> int:
        """The price of one evaluation, in units of a small forward pass."""
        return 1 + (sum(a.size for a in self.arguments) + self.cotangent.size) // SMALL

    @cached_property
    def picked(self) -> Array:
        """The positions in `sampled` of the few entries at which other gradients are evaluated."""
        half = _spread(np.flatnonzero(np.isin(self.sampled, self.doubtful)), FEW // 2)
        return np.union1d(half, _spread(np.arange(self.sampled.size), FEW - half.size))

    def sound(self, truth: Array, tolerance: Array) -> Array:
        """The positions in `sampled` at which our differences agree with the true gradient, so that no kink is near.

        `truth` and `tolerance` hold the true gradient and its tolerance at `entries`.
        """
        here = self.jacobian
        if here is None:
            return np.zeros(0, np.intp)
        where = np.searchsorted(self.entries, self.sampled)
        return np.flatnonzero(np.abs(here @ self.cotangent - truth[where]) <= tolerance[where])

    # ----------------------------------------------------------------------------------------------- derivatives

    @cached_property
    def jacobian(self) -> Array | None:
        """The derivative of every output by each sampled entry: one row for each entry."""
        derivative = self._derivative(self.leaf, self.primals, self.options, self.sampled)
        return None if derivative is None else derivative.rows

    @cached_property
    def here(self) -> Array | None:
        """The true gradient at the few entries."""
        return None if self.jacobian is None else self.jacobian[self.picked] @ self.cotangent

    def slope(self, index: Array, direction: Array) -> tuple[float, Array] | None:
        """The slope of the contracted value along a direction in these elements alone, by a central difference.

        Also returns the direction that was really taken, since x + h is rounded. None outside the domain, or when the budget
        is spent.
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
        """The derivative by these entries; None outside the domain, or if it would cost more than the budget allows."""
        if not entries.size or not self.budget.pay((2 if roughly else 4) * entries.size * self.cost, self.reserved):
            return None
        return differentiated(self.function, primals, options, leaf, entries, roughly=roughly)

    def _pulled(self, derivative: Derivative) -> list[Supposed]:
        """The gradients for our cotangent: one for each place that it may have in the value.

        There is a single place, except where a keyword has changed the shape of the value.
        """
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
        """The gradients at the few entries, times `times` if it is given.

        The list is empty if a first few entries show that our gradient is no multiple of them.
        """
        chosen = self.sampled[self.picked]
        first = _spread(chosen, SCREENED)
        by, by_first = (1.0, 1.0) if times is None else (times[chosen], times[first])
        screened = self._derivative(leaf, primals, options, first, roughly=True)
        if screened is None or not any(self._resembles(first, by_first * gradient) for _, gradient in self._pulled(screened)):
            return []
        derivative = self._derivative(leaf, primals, options, chosen)
        return [] if derivative is None else [Supposed(words, by * gradient) for words, gradient in self._pulled(derivative)]

    def _resembles(self, entries: Array, gradient: Array) -> bool:
        """Whether our gradient at these entries may be a multiple of this one."""
        if not self.ours.size:
            return True
        ours = self.ours[np.searchsorted(self.entries, entries)]
        square = float(gradient @ gradient)
        left = ours - (float(gradient @ ours) / square if square > 0 else 0.0) * gradient
        return bool(np.linalg.norm(left) <= FAR * np.linalg.norm(ours))

    @cached_property
    def other_value(self) -> Any:
        """The value of the forward pass of a rule of another library, if the function has such a rule."""
        with quiet():
            return None if self.value_by_rule is None else self.value_by_rule(*self.primals, **self.options)

    def of_the_other_value(self) -> Array | None:
        """The gradient of the rule's forward pass at the few entries."""
        entries = self.sampled[self.picked]
        if self.value_by_rule is None or not self.budget.pay(4 * entries.size * self.cost, self.reserved):
            return None
        found = differentiated(self.value_by_rule, self.primals, self.options, self.leaf, entries, roughly=False)
        return None if found is None or found.rows.shape[1] != self.cotangent.size else found.rows @ self.cotangent

    def error_nearby(self) -> Array | None:
        """The error of our pullback at a point so near that a wrong formula has the same error there."""
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
        """The gradient for this value of one keyword."""
        return self._gradient(self.leaf, self.primals, {**self.options, name: value})

    @property
    def numbers(self) -> dict[str, float]:
        """The keywords that are real numbers."""
        return {k: float(o) for k, o in self.keywords.items() if isinstance(o, float | np.floating)}


def _spread(entries: Array, most: int) -> Array:
    """At most `most` of the entries, spread evenly."""
    return entries[np.unique(np.linspace(0, entries.size - 1, min(entries.size, max(most, 0))).astype(np.intp))]
