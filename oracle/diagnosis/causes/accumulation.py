"""Causes in which an entry that several outputs use gets only some of their contributions. All use the Jacobian."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations

import numpy as np

from oracle.diagnosis.causes.cotangents import NONZERO, contributions
from oracle.diagnosis.matching import matches_sample
from oracle.diagnosis.sample import Sample
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array, at, counted
from oracle.measures import largest

__all__ = ["overwritten", "partly_lost"]

MANY = 12
"""The largest number of uses of one entry of which all subsets are tried; each further use doubles their number."""
MOST = 64
"""The largest number of uses of one entry of which any one, or any two, may be the only ones that count."""
CHANCE = 1e-9
"""The probability above which a match of sums of contributions may be chance. Larger, and lost contributions are reported for
unrelated errors; smaller, and more wrong entries are needed."""


def overwritten(v: View) -> Iterator[str]:
    """An entry that is used several times gets the contribution of only one use, or the mean of all."""
    if v.sample is None:
        return
    for size, uses, used in _uses(v.sample, alike=True):
        times = used.sum(axis=1)
        first, last = used.argmax(axis=1), used.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
        for which, place in (("last", last), ("first", first)):
            counted_ones = np.unravel_index(place[times > 0], size)
            if any(n > 1 and np.unique(i).size == 1 for n, i in zip(size, counted_ones, strict=True)):
                continue  # only one sample or one step contributes, which is another cause
            if matches_sample(v, uses[np.arange(len(uses)), place]):
                yield _overwritten_words(v, times > 1, f"only the {which} of their contributions")
        if matches_sample(v, uses.sum(axis=1) / np.maximum(times, 1)):
            yield _overwritten_words(v, times > 1, "the mean of their contributions instead of the sum")


def _overwritten_words(v: View, several: Array, kept: str) -> str:
    assert v.sample is not None
    entries = v.sample.entries[several]
    shown = ", ".join(at(v.e, int(i)) for i in entries[:3]) + (", ..." if entries.size > 3 else "")
    return f"overwritten instead of accumulated: entries that are used several times ({shown}) get {kept}"


def partly_lost(v: View) -> Iterator[str]:
    """Each wrong entry lacks the sum of some of its contributions, but not of all."""
    if v.sample is None:
        return
    error, wrong = v.error[v.sample.where], v.wrong[v.sample.where]
    if np.count_nonzero(wrong) < 2:
        return
    within = v.tolerance[v.sample.where] + v.sample.forward.sound * largest(v.truth)
    for size, uses, used in _uses(v.sample):
        if not ((used.sum(axis=1)[wrong] > 1) & (used.sum(axis=1)[wrong] <= MOST)).all():
            continue
        lost = np.zeros(used.shape, bool)
        chance = 1.0
        for i in np.flatnonzero(wrong):
            those = np.flatnonzero(used[i])
            which = _selections(those.size)
            off = np.abs(which @ uses[i, those] + error[i])
            lost[i, those[which[off.argmin()] == 1]] = True
            chance *= min(len(which) * 2 * within[i] / np.abs(uses[i]).sum(), 1.0) if off.min() <= within[i] else np.inf
        if chance < CHANCE and matches_sample(v, (uses * ~lost).sum(axis=1)):
            yield _lost_words(v, v.sample, size, used, lost)


@cache
def _selections(count: int) -> Array:
    """The subsets of `count` uses that may be lost, one row for each: all proper ones, or for many uses all but one or two."""
    if count <= MANY:
        return np.arange(1, 2**count - 1)[:, None] >> np.arange(count) & 1
    kept = [*combinations(range(count), 1), *combinations(range(count), 2)]
    lost = np.ones((len(kept), count), np.int64)
    for selection, those in zip(lost, kept, strict=True):
        selection[list(those)] = 0
    return lost


def _uses(sample: Sample, *, alike: bool = False) -> Iterator[tuple[list[int], Array, Array]]:
    """Ways to split the contributions to each entry into uses: by output, or by the index of the output along some axes.

    Each is (the lengths of these axes, the contributions with one column for each use, a mask of those that are nonzero). A
    way in which all entries have the same number of uses is included only if `alike`.
    """
    outputs = sample.forward.call.outputs
    each = contributions(sample)
    for count in range(len(outputs), 0, -1):
        for kept in combinations(range(1, len(outputs) + 1), count):
            summed = each.sum(axis=tuple(a for a in range(1, len(outputs) + 1) if a not in kept))
            uses = summed.reshape(len(summed), -1)
            used = np.abs(uses) > NONZERO * np.abs(uses).max(initial=0.0)
            times = used.sum(axis=1)
            if times.size < 3 or times.max() < 2 or not (alike or np.unique(times[times > 0]).size > 1):
                continue  # if all entries have as many uses, other causes give the same sums
            yield [outputs[a - 1] for a in kept], uses, used


def _lost_words(v: View, sample: Sample, size: list[int], used: Array, lost: Array) -> str:
    entries, rows = sample.entries, np.flatnonzero(lost.any(axis=1))
    shown = ", ".join(f"{at(v.e, int(entries[i]))} lacks {lost[i].sum()} of {used[i].sum()}" for i in rows[:3])
    what = f"contributions lost: entries of {v.name} lack some of their contributions ({shown}{', ...' * (rows.size > 3)})"
    for common in range(min(len(size), len(v.shape)), 0, -1):
        gone, kept = (_offsets(v, entries, size, mask, common) for mask in (lost, used & ~lost))
        # An offset that contributions have which are not lost says nothing: those of all other rows, along an axis of features.
        if gone.shape[1] == 1 and lost.sum() > 2 and not (kept == gone).all(axis=0).any():
            offset = counted(gone[:, 0])
            return f"{what}, always the one from the output at offset {offset} (is a part of a window left out?)"
    for axis in range(min(len(size), len(v.shape))):
        place = np.unravel_index(np.arange(used.shape[1]), size)[axis]
        own = np.unravel_index(entries[rows], v.shape)[axis]
        for side, towards in (("after", 1), ("before", -1)):
            farthest = np.where(used[rows] & ~lost[rows], towards * place, -np.inf).max(axis=1)
            beyond = (np.where(lost[rows], towards * place, np.inf).min(axis=1) > farthest).all()
            ends = np.unique(farthest)
            if beyond and 2 * ends.size <= np.unique(own).size:  # many entries share an end, as those of one block do
                end = counted(np.sort(towards * ends).astype(np.intp))
                return f"{what}: those from outputs {side} index {end} of axis {axis} (is the carry between blocks lost?)"
    return f"{what} and get the others (+= at repeated indices, which keeps only the last?)"


def _offsets(v: View, entries: Array, size: list[int], mask: Array, common: int) -> Array:
    """The offsets from entries to those of their uses in a mask, along the last common axes: one column for each offset."""
    entry, use = np.nonzero(mask)
    places, origins = np.stack(np.unravel_index(use, size)), np.stack(np.unravel_index(entries[entry], v.shape))
    return np.unique(places[-common:] - origins[-common:], axis=1)
