"""What the checks look at, and what they return: breaches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, Leaf, flat, leaves_of, narrowest, vector, widened
from oracle.judging.conditioning import roundoff_scales, spreads
from oracle.judging.error_budget import SAMPLED_SAFETY, conditioning
from oracle.measures import eps_of, largest
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
    "tolerant",
]

Array = NDArray[Any]

WRITES = "writes to"
GLOBAL = "changes what is global"
SHARED = "shared buffer"
IGNORED = "cotangent ignored"
ONCE = "bwd can be called only once"
NARROW_MOST_FORGIVEN = 2.0**-8  # of a gradient's size: no more is forgiven in a narrow dtype
FAR = {"float64": 60, "float32": 20}  # powers of 2 times dy: what is clipped, or below a threshold, shows there


class Breach(NamedTuple):
    """`parameter` is the path of the argument or cotangent concerned, or '' for the op as a whole."""

    parameter: str
    what: str


@dataclass(frozen=True)
class Setting:
    """What the checks look at: the subject at a point, with the cotangent and what it gave."""

    subject: Subject
    primals: tuple[Any, ...]
    dy: Any
    y: Any
    cotangents: tuple[Any, ...]
    views: bool
    """Whether the value may be a view of an argument, by declaration."""
    aliases: bool = False
    """Whether a cotangent may share memory with dy, an argument or another, by declaration."""

    @property
    def names(self) -> tuple[str, ...]:
        return self.subject.names(len(self.primals))

    def gradient(self, primals: Sequence[Any], dy: Any) -> tuple[Any, ...]:
        _, residuals = self.subject.fwd(*primals)
        return tuple(self.subject.bwd(residuals, dy))

    def leaves(self, trees: Sequence[Any]) -> list[Leaf]:
        return leaves_of(self.names, trees)

    def results(self) -> tuple[Any, list[Leaf]]:
        """The value and each cotangent. The layout of the arguments is kept: a matrix product rounds by it."""
        y, residuals = self.subject.fwd(*self.primals)
        return copied(y), self.leaves(copied(self.subject.bwd(residuals, self.dy)))

    @cached_property
    def sizes(self) -> list[float]:
        """The roundoff scale of each cotangent: what its rounding is measured by."""
        return roundoff_scales(self.subject, self.primals, self.dy, self.y, self.cotangents)[1]

    @cached_property
    def condition_error(self) -> list[float]:
        """How far each cotangent moves with the rounding of the arguments, if little: so may another order of sums."""

        def gradient(primals: Any) -> list[Array]:
            return flat(self.gradient(primals, widened(self.dy)))

        dtype = narrowest(self.leaves(self.primals)).name
        try:
            moved = spreads(gradient, widened(self.primals), dtype=dtype)
        except RAISED:  # it does not take float64
            return [0.0] * len(self.sizes)
        if dtype == "float64":
            return [float(conditioning(largest(m), size)) for m, size in zip(moved, self.sizes, strict=True)]
        return [
            min(SAMPLED_SAFETY * largest(m), NARROW_MOST_FORGIVEN * size) for m, size in zip(moved, self.sizes, strict=True)
        ]

    def is_close(self, i: int, one: Array, two: Array) -> bool:
        """Whether two gradients of argument `i` are the same but for the order of operations."""
        a, b = np.asarray(one, np.float64), np.asarray(two, np.float64)
        if a.shape != b.shape or largest(a, b) <= self.rounding[i]:
            return a.shape == b.shape
        return self.forgives(i, largest(a - b), 256 * eps_of(one.dtype) * max(self.sizes[i], largest(a)))

    def forgives(self, i: int, apart: float, allowed: float) -> bool:
        """Whether two gradients of argument `i` may be so far apart: by their own rounding, or by that of the arguments."""
        return not apart > allowed or not apart > allowed + self.condition_error[i]

    @property
    def far(self) -> tuple[float, ...]:
        """Factors of dy, in the dtype of the value."""
        dtypes = [np.asarray(leaf).dtype.name for leaf in optree.tree_leaves(self.dy)]
        power = min((FAR.get(dtype, 0) for dtype in dtypes), default=0)
        return (2.0**power, -(2.0**-power)) if power else ()

    @cached_property
    def rounding(self) -> list[float]:
        """Gradients of this size are zero but for rounding, where terms as large as the value cancel."""
        value = largest(vector(self.y))
        return [
            64 * eps_of(np.asarray(leaf.array).dtype) * value / (largest(np.asarray(leaf.array, np.float64)) or 1.0)
            for leaf in self.leaves(self.primals)
        ]


def same_bits(one: Any, two: Any) -> bool:
    """Whether two trees hold the same bits, without a copy of them."""
    ones, twos = ([np.asarray(a) for a in optree.tree_leaves(tree)] for tree in (one, two))
    if [(a.shape, a.dtype) for a in ones] != [(a.shape, a.dtype) for a in twos]:
        return False
    return all(np.array_equal(_bytes(a), _bytes(b)) for a, b in zip(ones, twos, strict=True))


def _bytes(a: Array) -> Array:
    return np.ascontiguousarray(a).reshape(-1).view(np.uint8)


def array_bits(option: Any) -> list[bytes]:
    """The bytes of every array in an option, by which it is seen whether they have changed."""
    return [leaf.tobytes() for leaf in optree.tree_leaves(option) if isinstance(leaf, np.ndarray)]


def copied(tree: Any, change: Callable[[Array], Array] = lambda a: a.copy()) -> Any:
    """The same tree with each array copied, or changed by `change`."""
    return optree.tree_map(lambda a: change(np.asarray(a)), tree)


@contextmanager
def tolerant() -> Iterator[None]:
    """Within it, floating-point errors and warnings are nobody's concern."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
