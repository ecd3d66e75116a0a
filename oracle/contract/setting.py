"""The input of the checks of the contract, a `Setting`, and their output, `Breach`es."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, Leaf, flat, leaves_of, narrowest, vector, widened
from oracle.judging.conditioning import roundoff_scales, spreads
from oracle.judging.error_budget import REORDERED_TERMS, SAMPLED_SAFETY, SHORT_SUM, conditioning, roundoff
from oracle.measures import largest
from oracle.subject import Subject

__all__ = [
    "GLOBAL",
    "IGNORED",
    "ONCE",
    "SHARED",
    "WRITES",
    "Breach",
    "Setting",
    "array_bits",
    "copied",
    "same_bits",
]

Array = NDArray[Any]

WRITES = "writes to"
GLOBAL = "changes global state"
SHARED = "shared buffer"
IGNORED = "cotangent ignored"
ONCE = "bwd can be called only once"
NARROW_MOST_FORGIVEN = 2.0**-8
"""The largest condition error that is forgiven in a narrow dtype, as a fraction of the gradient's roundoff scale. Larger, and
wrong gradients at ill-conditioned points pass; smaller, and right ones fail."""
FAR = {"float64": 60, "float32": 20}
"""The exponents of the powers of 2 by which dy is multiplied and divided. Clipping and comparisons with a fixed number show
there. Smaller, and some thresholds are not reached; larger, and gradients may over- or underflow."""


class Breach(NamedTuple):
    """A breach of the contract."""

    parameter: str
    """The path of the argument or cotangent concerned, or '' for the op as a whole."""
    what: str
    """What the op did, as a sentence."""


@dataclass(frozen=True)
class Setting:
    """The subject at a point, with a cotangent of its value, and the value and the cotangents that it returned there."""

    subject: Subject
    primals: tuple[Any, ...]
    dy: Any
    y: Any
    cotangents: tuple[Any, ...]
    views: bool
    """Whether the user has declared that the value may be a view of an argument."""
    aliases: bool = False
    """Whether the user has declared that a cotangent may share memory with dy, an argument or another cotangent."""

    @property
    def names(self) -> tuple[str, ...]:
        return self.subject.names(len(self.primals))

    def gradient(self, primals: Sequence[Any], dy: Any) -> tuple[Any, ...]:
        _, residuals = self.subject.fwd(*primals)
        return tuple(self.subject.bwd(residuals, dy))

    def leaves(self, trees: Sequence[Any]) -> list[Leaf]:
        return leaves_of(self.names, trees)

    def results(self) -> tuple[Any, list[Leaf]]:
        """The value and each cotangent. The arguments keep their memory layout, because a matrix product rounds accordingly."""
        y, residuals = self.subject.fwd(*self.primals)
        return copied(y), self.leaves(copied(self.subject.bwd(residuals, self.dy)))

    @cached_property
    def sizes(self) -> list[float]:
        """The roundoff scale of each cotangent: its rounding errors are a few ulps of this."""
        return roundoff_scales(self.subject, self.primals, self.dy, self.y, self.cotangents)[1]

    @cached_property
    def spreads(self) -> list[float]:
        """How far each cotangent moves when the arguments are rounded; 0 if the op does not accept float64."""

        def gradient(primals: Any) -> list[Array]:
            return flat(self.gradient(primals, widened(self.dy)))

        try:
            moved = spreads(gradient, widened(self.primals), dtype=narrowest(self.leaves(self.primals)).name)
        except RAISED:
            return [0.0] * len(self.sizes)
        return [largest(m) for m in moved]

    def forgiven(self, i: int) -> float:
        """How far two gradients of argument `i` may be apart by the rounding of the arguments, as by another order of sums.

        Where terms as large as the value cancel, the gradient is tiny and that is a large share of it.
        """
        spread, size = self.spreads[i], self.sizes[i]
        cancelled = min(SAMPLED_SAFETY * spread, self.rounding[i])
        if narrowest(self.leaves(self.primals)).name == "float64":
            return max(cancelled, float(conditioning(spread, size)))
        return max(cancelled, min(SAMPLED_SAFETY * spread, NARROW_MOST_FORGIVEN * size))

    def is_close(self, i: int, one: Array, two: Array) -> bool:
        """Whether two gradients of argument `i` are equal up to the rounding of another order of operations."""
        a, b = np.asarray(one, np.float64), np.asarray(two, np.float64)
        if a.shape != b.shape or largest(a, b) <= self.rounding[i]:
            return a.shape == b.shape
        return self.forgives(i, largest(a - b), roundoff(max(self.sizes[i], largest(a)), REORDERED_TERMS, one.dtype.name))

    def forgives(self, i: int, apart: float, allowed: float) -> bool:
        """Whether rounding, of the gradients or of the arguments, explains this distance of two gradients of argument `i`."""
        return not apart > allowed or not apart > allowed + self.forgiven(i)

    @property
    def far(self) -> tuple[float, ...]:
        """The large and the small factor of dy for the test of linearity, according to the dtype of the value."""
        dtypes = [np.asarray(leaf).dtype.name for leaf in optree.tree_leaves(self.dy)]
        power = min((FAR.get(dtype, 0) for dtype in dtypes), default=0)
        return (2.0**power, -(2.0**-power)) if power else ()

    @cached_property
    def rounding(self) -> list[float]:
        """For each argument, the size up to which a gradient is numerically zero: the rounding of terms as large as the value.

        Terms of that size may cancel in the gradient.
        """
        value = largest(vector(self.y))
        return [
            roundoff(value / (largest(np.asarray(leaf.array, np.float64)) or 1.0), SHORT_SUM, np.asarray(leaf.array).dtype.name)
            for leaf in self.leaves(self.primals)
        ]


def same_bits(one: Any, two: Any) -> bool:
    """Whether two trees hold the same bits. Contiguous arrays are not copied."""
    ones, twos = ([np.asarray(a) for a in optree.tree_leaves(tree)] for tree in (one, two))
    if [(a.shape, a.dtype) for a in ones] != [(a.shape, a.dtype) for a in twos]:
        return False
    return all(np.array_equal(_bytes(a), _bytes(b)) for a, b in zip(ones, twos, strict=True))


def _bytes(a: Array) -> Array:
    return np.ascontiguousarray(a).reshape(-1).view(np.uint8)


def array_bits(option: Any) -> list[bytes]:
    """The bytes of every array in an option, to be compared before and after a call."""
    return [leaf.tobytes() for leaf in optree.tree_leaves(option) if isinstance(leaf, np.ndarray)]


def copied(tree: Any, change: Callable[[Array], Array] = lambda a: a.copy()) -> Any:
    """The tree with each array replaced by a copy, or by `change(array)`."""
    return optree.tree_map(lambda a: change(np.asarray(a)), tree)
