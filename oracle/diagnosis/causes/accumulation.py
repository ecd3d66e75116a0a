"""Entries that several outputs use, of whose contributions one counts, or some are lost. All from the Jacobian."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations

import numpy as np

from oracle.diagnosis.causes.cotangents import contributions
from oracle.diagnosis.view import SOUND, Sampled, View
from oracle.diagnosis.words import Array, at, counted
from oracle.measures import largest

__all__ = ["overwritten", "partly_lost"]

NONZERO = 1e-9  # of the largest: contributions below are noise of the differences
MANY = 12  # uses of one entry of which all selections are tried
MOST = 64  # uses of one entry of which it is tried whether two or one are counted
CHANCE = 1e-9  # that so many sums of some contributions would be found in any error


def overwritten(v: View) -> Iterator[str]:
    """Of several uses of an entry one counts."""
    if v.sampled is None:
        return
    for size, uses, used in _uses(v.sampled, alike=True):
        times = used.sum(axis=1)
        first, last = used.argmax(axis=1), used.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
        for which, place in (("last", last), ("first", first)):
            counted_ones = np.unravel_index(place[times > 0], size)
            if any(n > 1 and np.unique(i).size == 1 for n, i in zip(size, counted_ones, strict=True)):
                continue  # a single sample or step is all that counts
            if v.fits_sampled(uses[np.arange(len(uses)), place]):
                yield _overwritten_words(v, times > 1, f"the {which} of their contributions")
        if v.fits_sampled(uses.sum(axis=1) / np.maximum(times, 1)):
            yield _overwritten_words(v, times > 1, "the mean of their contributions, not the sum")


def _overwritten_words(v: View, several: Array, what: str) -> str:
    assert v.sampled is not None
    entries = v.sampled.forward.sampled[v.sampled.rows][several]
    shown = ", ".join(at(v.e, int(i)) for i in entries[:3]) + (", ..." if entries.size > 3 else "")
    return f"overwritten instead of accumulated: entries that are used several times ({shown}) got {what}"


def partly_lost(v: View) -> Iterator[str]:
    """What each wrong entry lacks is the sum of some of the contributions to it, not of all."""
    if v.sampled is None:
        return
    error, wrong = v.error[v.sampled.where], v.wrong[v.sampled.where]
    if np.count_nonzero(wrong) < 2:
        return
    within = v.tolerance[v.sampled.where] + SOUND * largest(v.truth)
    for size, uses, used in _uses(v.sampled):
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
        if chance < CHANCE and v.fits_sampled((uses * ~lost).sum(axis=1)):
            yield _lost_words(v, v.sampled, size, used, lost)


@cache
def _selections(count: int) -> Array:
    """Which of so many uses may be lost, one row a selection: some of them, or of very many all but two or one."""
    if count <= MANY:
        return np.arange(1, 2**count - 1)[:, None] >> np.arange(count) & 1
    kept = [*combinations(range(count), 1), *combinations(range(count), 2)]
    lost = np.ones((len(kept), count), np.int64)
    for selection, those in zip(lost, kept, strict=True):
        selection[list(those)] = 0
    return lost


def _uses(sampled: Sampled, *, alike: bool = False) -> Iterator[tuple[list[int], Array, Array]]:
    """What is added to each entry, one column a use: by an output, or by all outputs at one index of some of its axes.

    The axes of the uses, each use, and whether there is one; also where all entries are used as often, if `alike`.
    """
    outputs = sampled.forward.outputs
    each = contributions(sampled)
    for count in range(len(outputs), 0, -1):
        for kept in combinations(range(1, len(outputs) + 1), count):
            summed = each.sum(axis=tuple(a for a in range(1, len(outputs) + 1) if a not in kept))
            uses = summed.reshape(len(summed), -1)
            used = np.abs(uses) > NONZERO * np.abs(uses).max(initial=0.0)
            times = used.sum(axis=1)
            if times.size < 3 or times.max() < 2 or not (alike or np.unique(times[times > 0]).size > 1):
                continue  # where all are used alike, other causes look the same as a sum of some
            yield [outputs[a - 1] for a in kept], uses, used


def _lost_words(v: View, sampled: Sampled, size: list[int], used: Array, lost: Array) -> str:
    entries, rows = sampled.forward.sampled[sampled.rows], np.flatnonzero(lost.any(axis=1))
    shown = ", ".join(f"{at(v.e, int(entries[i]))} lacks {lost[i].sum()} of {used[i].sum()}" for i in rows[:3])
    what = (
        f"contributions lost: {v.name} lacks some of what the outputs add to its entries ({shown}{', ...' * (rows.size > 3)})"
    )
    entry, use = np.nonzero(lost)
    places, origins = np.stack(np.unravel_index(use, size)), np.stack(np.unravel_index(entries[entry], v.shape))
    for common in range(min(len(size), len(v.shape)), 0, -1):
        offsets = np.unique(places[-common:] - origins[-common:], axis=1)
        if offsets.shape[1] == 1 and entry.size > 2:
            further = counted(offsets[:, 0])
            return f"{what}, each time that of the output {further} places further: a part of a window left out?"
    return f"{what}, the others are counted: += at repeated indices, which keeps the last one?"
