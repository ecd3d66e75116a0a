"""Causes in which the true entries stand in another order: transposed, reversed, shifted, reshaped, otherwise permuted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations, product

import numpy as np

from oracle.diagnosis.causes.fits import number
from oracle.diagnosis.matching import LEFT, explained_by, matches
from oracle.diagnosis.view import View, along, tensors
from oracle.diagnosis.words import Array, at, named_axes
from oracle.measures import eps_of, fit_scale

__all__ = ["permuted", "reshaped", "reversed_or_shifted", "transposed", "transposed_and_scaled"]

FEW = 32
"""How many of the largest entries are compared first; most shifts fail there, and the whole tensor is not compared."""


def transposed(v: View) -> Iterator[str]:
    """The true entries with their axes permuted."""
    if not v.whole or not 2 <= len(v.shape) <= 4:
        return
    for axes in permutations(range(len(v.shape))):
        turned = tensors(v)[1].transpose(axes)
        if axes != tuple(range(len(v.shape))) and explained_by(v, turned.ravel()):
            how = "transposed" if len(v.shape) == 2 else f"its axes are permuted as {axes}"
            yield f"{how}: the entries are the true ones in another order" + (
                "" if turned.shape == v.shape else f", where a tensor of shape {turned.shape} is read as {v.shape}"
            )


def transposed_and_scaled(v: View) -> Iterator[str]:
    """The true entries with their axes permuted, times one number."""
    if not v.whole or not 2 <= len(v.shape) <= 4 or v.index.size < 4:
        return
    for axes in permutations(range(len(v.shape))):
        turned = tensors(v)[1].transpose(axes).ravel()
        fit = fit_scale(v.ours, turned)
        if axes != tuple(range(len(v.shape))) and fit is not None and explained_by(v, fit.scale * turned):
            how = "transposed" if len(v.shape) == 2 else f"its axes are permuted as {axes}"
            yield f"{how}: the entries are {number(fit.scale)} times the true ones in another order"


def reversed_or_shifted(v: View) -> Iterator[str]:
    """The true entries, reversed along some axes, or shifted along one or two."""
    if not v.whole or not v.shape:
        return
    truth = tensors(v)[1]
    for count in range(1, len(v.shape) + 1):
        for axes in combinations([a for a, n in enumerate(v.shape) if n > 2], count):
            if explained_by(v, np.flip(truth, axes).ravel()):
                yield f"reversed: the entries of {v.name} are the true ones in reversed order along {named_axes(axes)}"
    few = np.argsort(-np.abs(v.ours))[:FEW]
    for axes, by in _shifts(v.shape):
        if not _may_be_moved(v, few, axes, by):
            continue
        moved = np.roll(truth, by, axes).ravel()
        # The entries that leave at one end either come in at the other, or are lost.
        inside = np.logical_and.reduce([along(v, a, _kept(v.shape[a], k)) for a, k in zip(axes, by, strict=True)])
        if explained_by(v, moved) or (max(map(abs, by)) < 3 and inside.sum() > 3 and explained_by(v, moved[inside], inside)):
            how = " and ".join(f"by {k:+d} along axis {a}" for a, k in zip(axes, by, strict=True))
            yield f"shifted: the entries of {v.name} are the true ones shifted {how}"


def reshaped(v: View) -> Iterator[str]:
    """The true entries in the order of another memory layout: Fortran order read as C order, or the other way round."""
    if not v.whole or not 2 <= len(v.shape) <= 4:
        return
    truth = tensors(v)[1]
    for axes in permutations(range(len(v.shape))):
        if axes == tuple(range(len(v.shape))):
            continue
        read = truth.reshape([v.shape[a] for a in axes]).transpose(np.argsort(axes))
        if matches(v, read.ravel()):
            how = (
                "as after a reshape with order F instead of C"
                if axes == tuple(range(len(v.shape)))[::-1]
                else f"as if the axes had been written in the order {axes}"
            )
            yield f"reshaped: the entries of {v.name} are the true ones in another order, {how}"


def permuted(v: View) -> Iterator[str]:
    """The true entries in an order that the other causes do not describe."""
    if not v.whole or np.count_nonzero(v.wrong) < 3:
        return
    ours, truth = np.argsort(v.ours, kind="stable"), np.argsort(v.truth, kind="stable")
    within = 2 * float(v.tolerance.max())
    ordered = v.truth[truth]
    apart = np.diff(ordered, prepend=-np.inf, append=np.inf)
    alone = np.minimum(apart[:-1], apart[1:]) > 4 * within  # an entry that is not alone could belong in several places
    if not (np.abs(v.ours[ours] - ordered) <= within).all() or (alone & v.wrong[truth]).sum() < 3:
        return
    known, from_where = ours[alone], truth[alone]
    some = np.flatnonzero(known != from_where)
    if some.size < 3:  # the others are where they belong, with a small error
        return
    some = some[np.argsort(known[some])][:2]
    shown = ", ".join(f"{at(v.e, int(known[i]))} holds the entry of {at(v.e, int(from_where[i]))}" for i in some)
    places, origins = (np.stack(np.unravel_index(index, v.shape)) for index in (known, from_where))
    still = [a for a in range(len(v.shape)) if len(v.shape) > 1 and np.array_equal(places[a], origins[a])]
    kept = f"; each entry keeps its index of {named_axes(tuple(still))}" if still else ""
    yield f"permuted: the entries of {v.name} are the true ones in another order: {shown}, ...{kept}"


def _may_be_moved(v: View, few: Array, axes: tuple[int, ...], by: tuple[int, ...]) -> bool:
    """Whether a few of our entries agree with the shifted true ones; entries that came in at an end are left out."""
    places = np.stack(np.unravel_index(few, v.shape))
    origin = places.copy()
    origin[list(axes)] -= np.array(by)[:, None]
    inside = ((origin >= 0) & (origin < np.array(v.shape)[:, None])).all(axis=0)
    left = v.ours[few[inside]] - v.truth[np.ravel_multi_index(tuple(origin[:, inside]), v.shape)]
    return bool(np.linalg.norm(left) <= max(LEFT, eps_of(v.e.parameter.dtype)) * np.linalg.norm(v.error))


def _shifts(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The axes and distances of all shifts that are tried: any distance along one axis, one or two places along two."""
    for axis, n in enumerate(shape):
        yield from (((axis,), (k,)) for k in range(-(n // 2), n // 2 + 1) if k)
    for axes in combinations([a for a, n in enumerate(shape) if n > 3], 2):
        yield from ((axes, by) for by in product((-2, -1, 1, 2), repeat=2))


def _kept(n: int, by: int) -> Array:
    """A mask of the indices of an axis of length n whose entries come from inside the axis after a shift."""
    origin = np.arange(n) - by
    return (origin >= 0) & (origin < n)
