"""The true entries in another order: transposed, reversed, shifted, reshaped, or permuted otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations, product

import numpy as np

from oracle.diagnosis.causes.fits import number
from oracle.diagnosis.view import LEFT, View, along
from oracle.diagnosis.words import Array, at, named_axes
from oracle.measures import eps_of, fit_scale

__all__ = ["permuted", "reshaped", "reversed_or_shifted", "transposed", "transposed_and_scaled"]

FEW = 32  # entries by which most shifts are seen to be none


def transposed(v: View) -> Iterator[str]:
    """The true entries, their axes permuted."""
    if not v.whole or not 2 <= len(v.shape) <= 4:
        return
    for axes in permutations(range(len(v.shape))):
        turned = v.tensors[1].transpose(axes)
        if axes != tuple(range(len(v.shape))) and v.explained_by(turned.ravel()):
            how = "transposed" if len(v.shape) == 2 else f"its axes are permuted as {axes}"
            yield f"{how}: the entries are the true ones in another order" + (
                "" if turned.shape == v.shape else f", those of shape {turned.shape} read as {v.shape}"
            )


def transposed_and_scaled(v: View) -> Iterator[str]:
    """The true entries, their axes permuted, times one number."""
    if not v.whole or not 2 <= len(v.shape) <= 4 or v.index.size < 4:
        return
    for axes in permutations(range(len(v.shape))):
        turned = v.tensors[1].transpose(axes).ravel()
        fit = fit_scale(v.ours, turned)
        if axes != tuple(range(len(v.shape))) and fit is not None and v.explained_by(fit.scale * turned):
            how = "transposed" if len(v.shape) == 2 else f"its axes are permuted as {axes}"
            yield f"{how}: the entries are {number(fit.scale)} times the true ones in another order"


def reversed_or_shifted(v: View) -> Iterator[str]:
    """The true entries, in reversed order along some axes, or each one place further along one."""
    if not v.whole or not v.shape:
        return
    truth = v.tensors[1]
    for count in range(1, len(v.shape) + 1):
        for axes in combinations([a for a, n in enumerate(v.shape) if n > 2], count):
            if v.explained_by(np.flip(truth, axes).ravel()):
                yield f"reversed: the entries of {v.name} are the true ones in reversed order along {named_axes(axes)}"
    few = np.argsort(-np.abs(v.ours))[:FEW]
    for axes, by in _shifts(v.shape):
        if not _may_be_moved(v, few, axes, by):
            continue
        moved = np.roll(truth, by, axes).ravel()
        # What falls off one end may come in at the other, or be lost.
        inside = np.logical_and.reduce([along(v, a, _kept(v.shape[a], k)) for a, k in zip(axes, by, strict=True)])
        if v.explained_by(moved) or (max(map(abs, by)) < 3 and inside.sum() > 3 and v.explained_by(moved[inside], inside)):
            how = ", ".join(f"{abs(k)} {'before' if k < 0 else 'after'} along axis {a}" for a, k in zip(axes, by, strict=True))
            yield f"shifted: the entries of {v.name} are the true ones from their place {how}"


def reshaped(v: View) -> Iterator[str]:
    """The true entries in the order of another memory layout: Fortran's read as C's, or the other way round."""
    if not v.whole or not 2 <= len(v.shape) <= 4:
        return
    truth = v.tensors[1]
    for axes in permutations(range(len(v.shape))):
        if axes == tuple(range(len(v.shape))):
            continue
        read = truth.reshape([v.shape[a] for a in axes]).transpose(np.argsort(axes))
        if v.fits(read.ravel()):
            how = (
                "as a reshape with order F instead of C gives them"
                if axes == tuple(range(len(v.shape)))[::-1]
                else f"as if they were written with the axes in the order {axes}"
            )
            yield f"reshaped: the entries of {v.name} are the true ones in another order, {how}"


def permuted(v: View) -> Iterator[str]:
    """The true entries in an order that is none of those above."""
    if not v.whole or np.count_nonzero(v.wrong) < 3:
        return
    ours, truth = np.argsort(v.ours, kind="stable"), np.argsort(v.truth, kind="stable")
    within = 2 * float(v.tolerance.max())
    ordered = v.truth[truth]
    apart = np.diff(ordered, prepend=-np.inf, append=np.inf)
    alone = np.minimum(apart[:-1], apart[1:]) > 4 * within  # the others are at home in several places
    if not (np.abs(v.ours[ours] - ordered) <= within).all() or (alone & v.wrong[truth]).sum() < 3:
        return
    known, from_where = ours[alone], truth[alone]
    some = np.flatnonzero(known != from_where)
    some = some[np.argsort(known[some])][:2]
    shown = ", ".join(f"{at(v.e, int(known[i]))} has what belongs at {at(v.e, int(from_where[i]))}" for i in some)
    places, origins = (np.stack(np.unravel_index(index, v.shape)) for index in (known, from_where))
    still = [a for a in range(len(v.shape)) if len(v.shape) > 1 and np.array_equal(places[a], origins[a])]
    kept = f"; each stays at its index of {named_axes(tuple(still))}" if still else ""
    yield f"permuted: the entries of {v.name} are the true ones in another order: {shown}, ...{kept}"


def _may_be_moved(v: View, few: Array, axes: tuple[int, ...], by: tuple[int, ...]) -> bool:
    """Whether a few of our entries leave no more unexplained than all may; those that came in at an end say nothing."""
    places = np.stack(np.unravel_index(few, v.shape))
    origin = places.copy()
    origin[list(axes)] -= np.array(by)[:, None]
    inside = ((origin >= 0) & (origin < np.array(v.shape)[:, None])).all(axis=0)
    left = v.ours[few[inside]] - v.truth[np.ravel_multi_index(tuple(origin[:, inside]), v.shape)]
    return bool(np.linalg.norm(left) <= max(LEFT, eps_of(v.e.parameter.dtype)) * np.linalg.norm(v.error))


def _shifts(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Along which axes, and how far: any way along one, a little along two."""
    for axis, n in enumerate(shape):
        yield from (((axis,), (k,)) for k in range(-(n // 2), n // 2 + 1) if k)
    for axes in combinations([a for a, n in enumerate(shape) if n > 3], 2):
        yield from ((axes, by) for by in product((-2, -1, 1, 2), repeat=2))


def _kept(n: int, by: int) -> Array:
    """Which places along an axis of n are filled from inside when it is shifted."""
    origin = np.arange(n) - by
    return (origin >= 0) & (origin < n)
