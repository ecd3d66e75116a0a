"""The input of the checks of the contract, a `Setting`, and their output, `Breach`es."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import Leaf, leaves_of
from oracle.contract.rounding import Rounding
from oracle.judging.point import Point
from oracle.subject import Subject, on_copies, sheltered

__all__ = [
    "GLOBAL",
    "IGNORED",
    "ONCE",
    "OPTION",
    "SHARED",
    "WRITES",
    "Breach",
    "Setting",
    "array_bits",
    "copied",
    "gradient",
    "same_bits",
    "undisturbed",
]

Array = NDArray[Any]

WRITES = "writes to"
OPTION = f"the op {WRITES} its keyword argument"
GLOBAL = "changes global state"
SHARED = "shared buffer"
IGNORED = "dy ignored"
ONCE = "bwd can be called only once"


class Breach(NamedTuple):
    """A breach of the contract."""

    parameter: str
    """The path of the argument or cotangent concerned, or '' for the op as a whole."""
    what: str
    """What the op did, as a sentence."""


@dataclass(frozen=True)
class Setting:
    """What the checks compare: a point with the value and the cotangents that the op returned there, and what is declared."""

    point: Point
    views: bool
    """Whether the user has declared that the value may be a view of an argument."""
    aliases: bool = False
    """Whether the user has declared that a cotangent may share memory with dy, an argument or another cotangent."""

    @cached_property
    def rounding(self) -> Rounding:
        return Rounding(self.point)

    def leaves(self, trees: Sequence[Any]) -> list[Leaf]:
        """The arrays of arguments or cotangents, by name."""
        return leaves_of(self.point.subject.names(len(self.point.primals)), trees)

    def results(self) -> tuple[Any, list[Leaf]]:
        """The value and each cotangent. The arguments keep their memory layout, because a matrix product rounds accordingly."""
        y, residuals = self.point.subject.fwd(*self.point.primals)
        return copied(y), self.leaves(copied(self.point.subject.bwd(residuals, self.point.dy)))


def gradient(subject: Subject, primals: Sequence[Any], dy: Any) -> tuple[Any, ...]:
    """The cotangents of a forward and a backward pass."""
    _, residuals = subject.fwd(*primals)
    return tuple(subject.bwd(residuals, dy))


def undisturbed(subject: Subject, breaches: Sequence[Breach]) -> Subject:
    """The subject for the measurements: arguments, values and settings stay as they are, whatever it does to them."""
    writes = any(WRITES in breach.what or SHARED in breach.what for breach in breaches)
    subject = on_copies(subject) if writes else subject
    return sheltered(subject) if any(GLOBAL in breach.what for breach in breaches) else subject


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
