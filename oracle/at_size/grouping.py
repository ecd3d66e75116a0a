"""Many elements of a large argument at a time: those that change different outputs, separated output by output.

An entry of a bias changes one column of a value, an entry of a matrix one column, an entry of a batch one row. Entries that
change different outputs can be displaced together, and each has its difference in its own outputs: so a whole bias costs as
many evaluations as one of its entries (Curtis, Powell, Reid, "On the estimation of sparse Jacobian matrices", 1974). Where many
entries change the same outputs, one random direction of all of them gives one slope for each group of outputs.

Which outputs an entry changes is found by displacing a few entries. It must follow from the entry's index: along some axes of
the value the outputs have the same index as the entry has along some axes of the argument. These axes are called kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import size_of
from oracle.differences.evaluation import Evaluator
from oracle.differences.richardson import FIRST_STEP
from oracle.effort import AGREEING

__all__ = ["ATTEMPTS", "FEW_GROUPS", "GROUPS", "Reading", "reading_of", "rounds", "without_keys"]

Array = NDArray[np.float64]

# The groups of outputs, and of sampled entries, at most. With fewer, the sum over a group hides the error of one entry; with
# more, the tables of a displacement take more memory and find little more.
GROUPS = 4096

# The same where evaluations are saved at every size. With four times as many, the tables of a cheap function of 10^4 entries
# take longer than its evaluations; with a quarter, an error of one entry must be twice as large.
FEW_GROUPS = 256

# Attempts, at most: displacements in search of entries that change an output, random draws of an entry with a gradient, and
# displacements of entries that change the same outputs. With fewer, sparse gradients such as those of an embedding are sampled
# where they are 0; more attempts cost evaluations of a large function.
ATTEMPTS = 8


@dataclass(frozen=True)
class Reading:
    """Which outputs the entries of one argument change: those that have the same index along the kept axes.

    Entries with the same index along the kept axes have the same key and change the same outputs. Neighbouring keys make up a
    group.
    """

    shape: tuple[int, ...]
    """Of the argument."""
    kept: tuple[int, ...]
    """Its axes along which an entry changes only outputs at its own index."""
    values: tuple[tuple[int, ...], ...]
    """The shapes of the value's arrays."""
    at: tuple[tuple[int, ...], ...]
    """For each of these arrays, the axes that correspond to the kept ones."""
    most: int = GROUPS
    """The groups, at most; and the keys of which an entry is sampled."""

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        return tuple(self.shape[a] for a in self.kept)

    @cached_property
    def keys(self) -> int:
        """The number of keys, and so of disjoint sets of outputs."""
        return prod(self._sizes)

    @cached_property
    def _width(self) -> int:
        """The neighbouring keys of one group, so that there are at most `most` groups."""
        return max(1, -(-self.keys // self.most))

    @cached_property
    def groups(self) -> int:
        return -(-self.keys // self._width)

    def by_key(self, outputs: Array) -> Array:
        """The sum of the outputs of each key."""
        total, start = np.zeros(self.keys), 0
        for shape, axes in zip(self.values, self.at, strict=True):
            part = outputs[start : start + prod(shape)].reshape(shape)
            start += prod(shape)
            if self.kept and not axes:
                continue  # no entry changes anything in this array
            rest = tuple(a for a in range(len(shape)) if a not in axes)
            summed = part.sum(axis=rest)
            order = np.argsort(np.argsort(axes))
            total += summed.transpose(order).reshape(-1)
        return total

    def by_group(self, outputs: Array) -> Array:
        """The sum of the outputs of each group."""
        return self._folded(self.by_key(outputs))

    def of_entries(self, entries: Array) -> Array:
        """The sum of the entries of each group."""
        rest = tuple(a for a in range(len(self.shape)) if a not in self.kept)
        return self._folded(entries.reshape(self.shape).sum(axis=rest).reshape(-1))

    def spread(self, per_group: Array) -> Array:
        """A number for each group, as an array that broadcasts to the argument."""
        per_key = np.repeat(per_group, self._width)[: self.keys].reshape(self._sizes)
        return per_key.reshape([n if a in self.kept else 1 for a, n in enumerate(self.shape)])

    def of_keys(self, per_key: NDArray[Any], shape: tuple[int, ...], axes: tuple[int, ...]) -> NDArray[Any]:
        """A number for each key, as an array that broadcasts to one of this shape whose `axes` are the kept ones."""
        order = np.argsort(axes)
        return per_key.reshape(self._sizes).transpose(order).reshape([n if a in axes else 1 for a, n in enumerate(shape)])

    def keys_of(self, index: NDArray[np.intp]) -> NDArray[np.intp]:
        """The keys of entries, given by their flat indices."""
        if not self.kept:
            return np.zeros(index.shape, np.intp)
        place = np.unravel_index(index, self.shape)
        return np.asarray(np.ravel_multi_index([place[a] for a in self.kept], self._sizes), np.intp)

    def _folded(self, per_key: Array) -> Array:
        if self._width == 1:
            return np.asarray(per_key)
        return np.asarray(np.add.reduceat(per_key, np.arange(0, self.keys, self._width)))

    def entry(self, keys: NDArray[np.intp], generator: np.random.Generator) -> NDArray[np.intp]:
        """For each of these keys the flat index of a random entry that has it."""
        at = dict(zip(self.kept, np.unravel_index(keys, self._sizes), strict=True)) if self.kept else {}
        place = [at[a] if a in at else generator.integers(0, n, keys.size) for a, n in enumerate(self.shape)]
        return np.asarray(np.ravel_multi_index(place, self.shape) if place else np.zeros(keys.size), np.intp)


def without_keys(reading: Reading) -> Reading:
    """The same where the index of an entry says nothing about the outputs that it changes."""
    return replace(reading, kept=(), at=tuple(() for _ in reading.at))


def reading_of(
    evaluator: Evaluator, leaf: int, shape: tuple[int, ...], candidates: NDArray[np.intp], most: int = GROUPS
) -> Reading:
    """Which outputs entries change, by displacing a few of `candidates`; no axis is kept where the index does not show it."""
    x = evaluator.origin[leaf].reshape(-1)
    size = size_of(x[candidates]) if candidates.size else 1.0
    common_axes: set[tuple[int, int, int]] | None = None
    changed: set[int] = set()
    effective = 0
    for i in candidates[:ATTEMPTS].tolist():
        touched = _by_array(evaluator, evaluator.touched(leaf, i, FIRST_STEP * max(abs(float(x[i])), size)))
        axes = _axes_with_own_index(touched, np.unravel_index(i, shape), shape)
        now = {k for k, part in enumerate(touched) if part.any()}
        if now:
            changed |= now
            effective += 1
            common_axes = axes if common_axes is None else common_axes & axes
        if effective == AGREEING:
            break
    if effective < min(AGREEING, prod(shape)) or _others_change_more(evaluator, leaf, changed, size):
        common_axes = None
    pairs = {k: _paired({(b, a) for of, b, a in common_axes or () if of == k and shape[a] > 1}) for k in changed}
    kept = tuple(sorted(set.intersection(*(set(pair.values()) for pair in pairs.values())))) if pairs else ()
    at = tuple(
        tuple({a: b for b, a in pairs[k].items()}[a] for a in kept) if k in pairs else () for k in range(len(evaluator.shapes))
    )
    reading = Reading(shape, kept, evaluator.shapes, at, most)
    if reading.keys > 1 and not _separates(evaluator, leaf, reading, size):  # where axes are short, entries agree by chance
        return without_keys(reading)
    return reading


def _separates(evaluator: Evaluator, leaf: int, reading: Reading, size: float) -> bool:
    """Whether all entries of half of the keys change outputs of these keys alone, and those of the other half of the others."""
    x = evaluator.origin[leaf].reshape(-1)
    steps = FIRST_STEP * np.maximum(np.abs(x), size)
    half = np.arange(reading.keys) < (reading.keys + 1) // 2
    half = np.random.default_rng([leaf, reading.keys]).permutation(half)
    for keys in (half, ~half):
        some = np.broadcast_to(reading.of_keys(keys, reading.shape, reading.kept), reading.shape).reshape(-1)
        touched = _by_array(evaluator, evaluator.touched(leaf, slice(None), np.where(some, steps, 0.0), beyond_noise=True))
        for part, axes in zip(touched, reading.at, strict=True):
            if (part & ~reading.of_keys(keys, part.shape, axes) if axes else part).any():
                return False
    return True


def _by_array(evaluator: Evaluator, touched: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The changed outputs, for each array of the value."""
    ends = accumulate(prod(shape) for shape in evaluator.shapes)
    return [touched[end - prod(shape) : end].reshape(shape) for end, shape in zip(ends, evaluator.shapes, strict=True)]


def _axes_with_own_index(
    touched: list[NDArray[np.bool_]], where: tuple[Any, ...], shape: tuple[int, ...]
) -> set[tuple[int, int, int]]:
    """Number k of an array, axis b of it, axis a of the argument: all changed outputs have the entry's index along a in b."""
    return {
        (k, b, a)
        for k, part in enumerate(touched)
        if part.ndim and part.any()
        for (b, at), a in product(enumerate(np.nonzero(part)), range(len(shape)))
        if part.shape[b] == shape[a] and (at == where[a]).all()
    }


def _others_change_more(evaluator: Evaluator, leaf: int, changed: set[int], size: float) -> bool:
    """Whether all entries together change an array of the value that a few of them did not change."""
    if len(changed) == len(evaluator.shapes):
        return False
    x = evaluator.origin[leaf].reshape(-1)
    touched = _by_array(evaluator, evaluator.touched(leaf, slice(None), FIRST_STEP * np.maximum(np.abs(x), size)))
    return any(part.any() for k, part in enumerate(touched) if k not in changed)


def _paired(pairs: set[tuple[int, int]]) -> dict[int, int]:
    """Axes of the value to axes of the argument, each once: the last axes first, as in broadcasting."""
    chosen: dict[int, int] = {}
    for b, a in sorted(pairs, key=lambda pair: (-pair[1], -pair[0])):
        if b not in chosen and a not in chosen.values():
            chosen[b] = a
    return chosen


def rounds(reading: Reading, index: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    """The entries in as few parts as possible, so that no two of one part change the same outputs; the first come first."""
    while index.size:
        _, first = np.unique(reading.keys_of(index), return_index=True)
        yield index[np.sort(first)]
        index = np.delete(index, first)
