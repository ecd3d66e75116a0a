"""Causes that show in what our gradient depends on: it is right for some outputs only, or does not read a part of an argument.

They run our backward pass again, for a part of dy or at other arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import comb

import numpy as np
import optree

from oracle.diagnosis.causes.cotangents import AXIS, NONZERO, contributions
from oracle.diagnosis.jacobian import leaves_in
from oracle.diagnosis.sample import Sample, gradient_with
from oracle.diagnosis.view import View, errors_stand_out
from oracle.diagnosis.words import Array, indices_of_axis
from oracle.measures import largest

__all__ = ["part_unread", "right_for_some_arrays", "right_for_some_outputs"]

OTHER = 1.25
"""Times a part of an argument: far enough that a gradient which reads this part changes by more than rounding."""

CHANCE = 1e-4
"""The largest probability at which scattered errors may leave out all that is right."""
TWO = 2
"""The number of entries that must be right before a part of the value counts as right. With one, each entry of an elementwise
function that is right shows such a part, which says no more than where the gradient is right."""
SEVERAL = 8
"""The number of sampled entries that must be right before a part of the value counts as right, if others are not sampled. With
fewer, a part with some wrong entries counts as right by chance."""


def right_for_some_arrays(v: View) -> Iterator[str]:
    """What flows back from one array of the value is right, and what flows back from another is wrong."""
    if v.sample is None:
        return
    value = v.sample.forward.call.value
    names = [accessor.codify("the value") for accessor in optree.tree_accessors(value)]
    part = np.repeat(np.arange(len(names)), [np.size(leaf) for leaf in optree.tree_leaves(value)])
    right = _right_parts(v, v.sample, part == np.arange(len(names))[:, None], few=True) if len(names) > 1 else None
    if right is not None:
        yield _words(v, right, lambda some: " and ".join(names[i] for i in some))


def right_for_some_outputs(v: View) -> Iterator[str]:
    """What flows back from some indices of the value is right, and what flows back from the others is wrong."""
    if v.sample is None or not errors_stand_out(v):
        return
    outputs = v.sample.forward.call.outputs
    for axis, n in enumerate(outputs):
        if not 1 < n <= AXIS:
            continue
        place = np.indices(outputs)[axis].ravel()
        right = _right_parts(v, v.sample, place == np.arange(n)[:, None], few=False)
        if right is not None:
            yield _words(v, right, partial(_indices, axis))


def _words(v: View, right: Array, name: Callable[[Sequence[int] | Array], str]) -> str:
    rest, wrong = name(np.flatnonzero(right)), name(np.flatnonzero(~right))
    return f"right for some outputs: what flows back to {v.name} from {rest} is right, from {wrong} it is wrong"


def _indices(axis: int, some: Sequence[int] | Array) -> str:
    return f"{indices_of_axis(some, axis)} of the value"


def _right_parts(v: View, s: Sample, masks: Array, *, few: bool) -> Array | None:
    """Which parts of the outputs have the right gradient; None if all or none have, or if that is not known.

    Of many parts some are right by chance if errors are scattered; where the parts are `few`, that is not asked.
    """
    dy = s.forward.call.cotangent
    ours = []
    for mask in masks:
        gradient = s.forward.pull(dy=dy * mask)
        if gradient is None:
            return None
        ours.append(gradient[s.entries])
    truth = contributions(s).reshape(s.entries.size, -1) @ masks.T
    allowed = v.tolerance[s.where] + s.forward.sound * largest(v.truth)
    if (np.abs(np.sum(ours, axis=0) - v.ours[s.where]) > allowed).any():
        return None  # our backward pass is not linear in dy
    error = np.abs(np.stack(ours, axis=1) - truth) > allowed[:, None]
    contributes = (np.abs(truth) > NONZERO * largest(truth)) | error  # what contributes nothing is no evidence
    wrong, live = error.any(axis=0), np.count_nonzero(contributes, axis=0)
    right = ~wrong & (live > 0)
    enough = live >= (TWO if s.entries.size == v.e.analytic.size else SEVERAL)
    if not wrong.any() or not right.any() or not enough[right].all():
        return None
    alone = (1 - error.sum() / contributes.sum()) ** int(live[right].sum())  # that scattered errors leave these out
    return ~wrong if few or comb(wrong.size, int(right.sum())) * alone <= CHANCE else None


def part_unread(v: View) -> Iterator[str]:
    """Our gradient does not depend on some indices of another argument, although the true one does."""
    if v.sample is None or v.sample.few.size < 2:
        return
    s = v.sample
    leaves, structure = leaves_in(s.forward.call.primals)
    here = s.forward.pull()  # in float64, as everything that is compared with it

    def point(which: int, where: Array) -> object:
        return structure.unflatten([np.where(where, OTHER * a, a) if i == which else a for i, a in enumerate(leaves)])

    for i, (path, x) in enumerate(zip(s.forward.call.paths, leaves, strict=True)):
        for axis, n in enumerate(x.shape if i != s.forward.leaf else ()):
            if not 1 < n <= AXIS:
                continue
            place = np.indices(x.shape)[axis]
            moved = [s.forward.pull(point(i, place == k)) for k in range(n)]
            unread = np.array([m is not None and here is not None and np.array_equal(m, here) for m in moved])
            if not 0 < np.count_nonzero(unread) < n:
                continue
            there = gradient_with(s, point(i, np.isin(place, np.flatnonzero(unread))), s.forward.call.options)
            if there is not None and largest((there - s.here)[s.few]) > s.forward.sound * largest(v.truth):
                part = indices_of_axis(np.flatnonzero(unread), axis)
                yield f"a part of {path} is not used: {v.name} does not depend on its {part}, but the true gradient does"
