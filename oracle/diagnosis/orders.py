"""The true entries in another order: transposed, reversed, shifted, reshaped, or permuted otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations, product

import numpy as np

from oracle.diagnosis.fits import number
from oracle.diagnosis.situation import LEFT, Array, View, along, named_axes
from oracle.measures import eps_of, fit_scale

__all__ = ["reversed_or_shifted", "transposed", "transposed_and_scaled"]

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


def _may_be_moved(v: View, few: Array, axes: tuple[int, ...], by: tuple[int, ...]) -> bool:
    """Whether a few of our entries leave no more unexplained than all may; those that came in at an end say nothing."""
    places = np.stack(np.unravel_index(few, v.shape))
    origin = places.copy()
    origin[list(axes)] -= np.array(by)[:, None]
    inside = ((origin >= 0) & (origin < np.array(v.shape)[:, None])).all(axis=0)
    left = v.ours[few[inside]] - v.truth[np.ravel_multi_index(tuple(origin[:, inside]), v.shape)]
    return bool(np.linalg.norm(left) <= max(LEFT, eps_of(v.e.dtype)) * np.linalg.norm(v.error))


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
