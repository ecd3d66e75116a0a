"""Trees of arrays: their leaves with names, as vectors and in other dtypes; a random cotangent for a tree of values."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.measures import eps_of
from oracle.streams import Stream

__all__ = [
    "RAISED",
    "Leaf",
    "cast",
    "copied_arrays",
    "dtype_named",
    "flat",
    "leaves_of",
    "mapped",
    "narrowed",
    "narrowest",
    "native",
    "quiet",
    "random_cotangent",
    "size_of",
    "unvector",
    "vector",
    "widened",
]

Array = NDArray[Any]

RAISED = (Exception, SystemExit)  # what a user's function may raise; a KeyboardInterrupt is meant for us and passes through
SAMPLED = 2**16
"""The number of elements from which the typical size of a larger array is estimated."""
UNLIKE = 2.0**10
"""If an array of a value is this many times smaller than another, its cotangent is scaled up. Smaller, and more cotangents are
scaled than necessary; larger, and errors in small arrays of a value vanish beside large ones."""


@dataclass(frozen=True)
class Leaf:
    """One array among the arguments, and its path, such as `params.w`."""

    path: str
    array: Array


def leaves_of(names: Sequence[str], trees: Sequence[Any]) -> list[Leaf]:
    """All arrays of the trees, in order, each with its path."""
    leaves = []
    for name, tree in zip(names, trees, strict=True):
        if isinstance(tree, np.ndarray):
            leaves.append(Leaf(name, tree))
            continue
        arrays, structure = optree.tree_flatten(tree)
        leaves += map(Leaf, _paths(name, structure), arrays)
    return leaves


@lru_cache(maxsize=64)
def _paths(name: str, structure: optree.PyTreeSpec) -> list[str]:
    """The path of each leaf of a tree of that structure; a verification asks for the same ones in every check."""

    def part(entry: Any) -> str:
        return str(getattr(entry, "field", entry.entry))  # fields of a NamedTuple have names

    return [".".join((name, *map(part, accessor))) for accessor in structure.accessors()]


def flat(tree: Any) -> list[Array]:
    """The leaves of a tree as flat float64 arrays."""
    return [np.asarray(leaf, np.float64).ravel() for leaf in optree.tree_leaves(tree)]


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with the function of each leaf.

    Most trees are one array or a tuple of arrays, and `optree.tree_map` takes longer than what is done to a small array.
    """
    if type(tree) is np.ndarray:
        return function(tree)
    if type(tree) is tuple and all(type(leaf) is np.ndarray for leaf in tree):
        return tuple([function(leaf) for leaf in tree])
    return optree.tree_map(function, tree)


def widened(tree: Any) -> Any:
    """The tree in float64."""
    return optree.tree_map(lambda a: np.asarray(a, np.float64), tree)


def narrowed(tree: Any, like: Any) -> Any:
    """The tree in the dtypes of another tree of the same structure."""
    if type(tree) is type(like) is np.ndarray:
        return np.asarray(tree, like.dtype)
    return optree.tree_map(lambda a, b: np.asarray(a, np.asarray(b).dtype), tree, like)


def narrowest(leaves: Iterable[Leaf]) -> np.dtype[Any]:
    """The dtype with the fewest digits among these arrays. It limits the precision of the gradients of all of them."""
    return max((np.asarray(leaf.array).dtype for leaf in leaves), key=eps_of)


def native(array: Any) -> Any:
    """The same in the byte order of this machine, in which every gradient comes: another order is another dtype."""
    return array if not isinstance(array, np.ndarray) or array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def copied_arrays(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with copies of their arrays."""
    if not options:
        return {}
    tree: Any = dict(options)
    copies: Any = optree.tree_map(lambda leaf: leaf.copy() if isinstance(leaf, np.ndarray) else leaf, tree)
    return dict(copies)


def dtype_named(name: str) -> np.dtype[Any]:
    """The dtype of that name; NumPy itself does not know bfloat16."""
    if name == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


def cast(array: Any, dtype: str) -> Array:
    """The array in the dtype of that name, or in complex numbers whose parts have it."""
    array = np.asarray(array)
    if array.dtype.kind != "c":
        return np.asarray(array.astype(dtype_named(dtype)))
    if dtype not in ("float64", "float32"):
        raise TypeError(f"verify: there are no complex numbers of {dtype}")
    return np.asarray(array.astype(np.result_type(dtype, np.complex64)))


def vector(tree: Any) -> Array:
    """All leaves of a tree in one float64 vector."""
    if isinstance(tree, np.ndarray):
        return np.asarray(tree, np.float64).reshape(-1)
    leaves = [np.asarray(leaf, np.float64).reshape(-1) for leaf in optree.tree_leaves(tree)]
    return np.concatenate(leaves) if leaves else np.zeros(0)


def unvector(flat: Array, like: Any) -> Any:
    """The inverse of `vector`: a float64 tree of the structure and shapes of `like`."""
    leaves, structure = optree.tree_flatten(like)
    ends = np.cumsum([np.size(leaf) for leaf in leaves])[:-1]
    return structure.unflatten([part.reshape(np.shape(leaf)) for part, leaf in zip(np.split(flat, ends), leaves, strict=True)])


def size_of(x: Array) -> float:
    """The typical size of an argument, 1 if it is all zeros. Elements at 0 are displaced by a fraction of this."""
    if x.size > SAMPLED:  # some thousands of elements are enough to estimate it
        some = x.reshape(-1)[:: x.size // SAMPLED]
        x = some if some.any() else x
    magnitudes = np.abs(x[x != 0])
    return float(np.median(magnitudes)) if magnitudes.size else 1.0


def random_cotangent(y: Any, seed: int = 0) -> Any:
    """A tree like `y` of random numbers with magnitudes between 1/2 and 3/2 and random signs: no zeros, no ones, none equal."""
    generator = np.random.default_rng([seed, Stream.COTANGENT])

    def draw(leaf: Any) -> Array:
        leaf = np.asarray(leaf)
        sign = generator.choice([-1.0, 1.0], size=leaf.shape)
        return np.asarray((sign * generator.uniform(0.5, 1.5, size=leaf.shape)).astype(leaf.dtype))

    return _balanced(optree.tree_map(draw, y), y)


def _balanced(cotangent: Any, y: Any) -> Any:
    """The cotangent, scaled up for arrays of the value that are much smaller than others.

    Without this their contributions to the gradient would vanish beside those of the larger arrays.
    """
    leaves, structure = optree.tree_flatten(cotangent)
    values = [np.asarray(leaf) for leaf in optree.tree_leaves(y)]
    if len(leaves) < 2 or any(value.dtype != np.float64 for value in values):
        return cotangent
    sizes = [size_of(value) for value in values]
    if not np.isfinite(sizes).all():
        return cotangent
    ratios = [max(sizes) / size for size in sizes]
    factors = [2.0 ** np.round(np.log2(ratio)) if UNLIKE < ratio < UNLIKE**8 else 1.0 for ratio in ratios]
    return structure.unflatten([np.asarray(leaf * factor) for leaf, factor in zip(leaves, factors, strict=True)])


@contextmanager
def quiet() -> Iterator[None]:
    """Ignores warnings and floating-point errors: a step may leave the domain of a function, and is then shortened."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
