"""Causes that show in where the gradient is right: from an index on, in a pattern that repeats, at smaller sizes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oracle.diagnosis.sizes import sizes_along
from oracle.diagnosis.view import View, errors_stand_out
from oracle.diagnosis.words import at, counted
from oracle.effort import AGREEING
from oracle.measures import EPSILON, largest

__all__ = ["from_an_index", "only_at_smaller_sizes", "periodic"]

MOSTLY = 0.5
"""The share of the entries of each wrong index that must be wrong. Smaller, and scattered errors make a range."""
LUCK = 1e-2
"""The largest probability at which scattered errors may leave out a range: the errors of each wrong index are dense anyway."""
CHANCE = 1e-4
"""The largest probability at which scattered errors may repeat by chance, for one period that is tried."""
SEEN = 100
"""Times what differences resolve that an error must be before a smaller size counts as right because it is not there."""
LONGEST = 64
"""The longest period that is tried: no block of a kernel that is tested at such sizes is longer."""


def from_an_index(v: View) -> Iterator[str]:
    """The gradient is right from an index of an axis on, or up to it, and wrong at all others."""
    if not v.whole or not errors_stand_out(v):
        return
    live = (v.wrong | (np.abs(v.truth) > v.tolerance)).reshape(v.shape)
    for axis, n in enumerate(v.shape):
        if n < 3 or v.index.size < 2 * n:
            continue  # a vector has one entry at each index, which may be right by chance
        others = tuple(a for a in range(len(v.shape)) if a != axis)
        lives, bad = live.sum(axis=others), v.wrong.reshape(v.shape).sum(axis=others)
        right, wrong = np.flatnonzero((lives > 0) & (bad == 0)), np.flatnonzero(bad)
        chance = 2 * n * (1 - bad.sum() / lives.sum()) ** int(lives[right].sum())  # that scattered errors leave these out
        enough = min(lives[right].sum(), bad.sum()) >= AGREEING and wrong.size > 1 and right.size and chance <= LUCK
        if not enough or (bad[wrong] <= MOSTLY * lives[wrong]).any():
            continue
        if wrong.max() < right.min():
            side = f"from index {right.min()} of axis {axis} on: {v.name} is wrong at each index before it"
        elif right.max() < wrong.min():
            side = f"up to index {right.max()} of axis {axis}: {v.name} is wrong at each index after it"
        else:
            continue
        sizes = _sizes(v, axis)
        yield f"right {side} ({wrong.size} of {n}; the blocks of a scan?)" + (f"; {sizes}" if sizes else "")


def periodic(v: View) -> Iterator[str]:
    """Right and wrong entries repeat along an axis: the same places in each block."""
    if not errors_stand_out(v):
        return
    share = float(v.wrong.mean())
    alike = share**2 + (1 - share) ** 2  # the probability that two entries are both right or both wrong
    known = v.wrong | (np.abs(v.truth) > v.tolerance)
    wrong = v.wrong[known]
    for axis, n in enumerate(v.shape):
        places = np.stack(np.unravel_index(v.index[known], v.shape))
        for period in range(1, min(n // 2, LONGEST) + 1):
            places[axis] %= period
            _, which = np.unique(np.ravel_multi_index(tuple(places), v.shape), return_inverse=True)
            size, count = np.bincount(which), np.bincount(which, weights=wrong)
            same = ((count == 0) | (count == size)).all()
            places = np.stack(np.unravel_index(v.index[known], v.shape))
            if same and (period == 1 or alike ** (wrong.size - size.size) > CHANCE):
                break  # nothing changes along this axis, or too few entries repeat
            if same:
                yield (
                    f"a pattern of period {period} along axis {axis}: {v.name} is wrong at the same places in every "
                    f"{period} indices ({np.count_nonzero(wrong)} of {v.index.size} entries, first "
                    f"{at(v.e, int(v.index[v.wrong.argmax()]))}; blocks of {period}?)"
                )


def only_at_smaller_sizes(v: View) -> Iterator[str]:
    """The gradient is right if the arguments are cut to fewer entries along an axis."""
    for axis in range(len(v.shape)):
        words = _sizes(v, axis)
        if words:
            yield f"right at smaller sizes only: {words}"


def _sizes(v: View, axis: int) -> str:
    """At which smaller sizes of an axis the gradient is right, in words; empty if at none, or if that is not known."""
    forward = v.context.forward
    if forward is None or largest(v.error) < SEEN * forward.sound * largest(v.truth):
        return ""  # where fewer entries are summed up, this error could not be seen
    known = sizes_along(forward, axis)
    right, wrong = ([size for size, is_right in known.items() if is_right is kind] for kind in (True, False))
    if not right:
        return ""
    if forward.eps > EPSILON["float64"] and max(right) > min(wrong, default=np.inf):
        return ""  # noise: some sizes are right by chance
    cut = f"cut to fewer entries along axis {axis}, {v.name} is right at"
    if not wrong:
        return f"{cut} all {len(right)} sizes that were tried, up to {max(right)}"
    if max(right) < min(wrong):
        return f"{cut} {max(right)} entries and fewer, and wrong from {min(wrong)} on"
    return f"{cut} the sizes {counted(right)}, and wrong at {counted(wrong)}"
