"""Computes the data of a row's figures from its evidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.diagnosis.context import Context
from oracle.diagnosis.view import view_of
from oracle.differences.richardson import RATIO
from oracle.judging.evidence import Evidence
from oracle.judging.reasons import Reason
from oracle.judging.verdict import Judgement
from oracle.measures import largest
from oracle.report.explanation import explanation_of
from oracle.row import Descent, Details, ErrorMap, StepCurve

__all__ = ["descent_of", "details_of"]

Array = NDArray[Any]

SIDE = 64  # cells of an error map, down and across; with more the page grows, with fewer a single wrong entry hardly shows
NEARLY_ZERO = 2.0**-20  # share of the largest true entry below which a quotient by an entry says nothing
VISIBLE = 0.01  # least difference of a quotient from 1 that a colour shows
BY_DIFFERENCES = (Reason.NOT_THE_FORWARD_PASS, Reason.DIFFERENCES_CONTRADICT)
"""Reasons for which the error is not that against the reference."""


def details_of(e: Evidence, judgement: Judgement, reason: Reason, before: tuple[str, ...] = ()) -> Details:
    """Where a failing gradient is wrong, the differences at its worst element, and how the verdict arose."""
    worst, explanation = judgement.worst, explanation_of(e, judgement, reason, before)
    if worst is None:
        return Details(explanation=explanation)
    error_map = None if judgement.verdict.passes or not e.parameter.shape else _error_map(e, judgement.reason, worst)
    return Details(error_map, _step_curve(e, worst), explanation=explanation)


def descent_of(loss: Callable[[Any], Any], ours: Sequence[Any], theirs: Sequence[Any]) -> Details:
    """The loss of both runs at each of their steps. It may be NaN or infinite, because a run may diverge."""
    with np.errstate(all="ignore"):
        curves = (tuple(float(loss(record)) for record in run) for run in (ours, theirs))
        return Details(descent=Descent(*curves))


# ------------------------------------------------------------------------------------------------- the steps


def _step_curve(e: Evidence, worst: int) -> StepCurve | None:
    at = np.flatnonzero(e.estimate.index == worst)
    if not at.size:
        return None
    row = int(at[0])
    plain = e.estimate.differences[row]
    if not np.nan_to_num(plain).any() and e.analytic[worst] == 0:
        return None  # all values are 0: the curve would be empty
    steps = e.estimate.step[row] / RATIO ** np.arange(plain.size)
    taken = np.isfinite(plain)
    extrapolated = e.estimate.value
    return StepCurve(
        steps=_floats(steps[taken]),
        differences=_floats(plain[taken]),
        extrapolated=float(extrapolated[row]),
        uncertainty=float(e.estimate.uncertainty[row]),
        analytic=float(e.analytic[worst]),
        autodiff=None if e.autodiff is None else float(e.autodiff[worst]),
        scale=largest(e.autodiff if e.autodiff is not None else extrapolated) or largest(e.analytic) or e.budget.scale or 1.0,
    )


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


# ------------------------------------------------------------------------------------------------- the map


def _error_map(e: Evidence, reason: Reason, worst: int) -> ErrorMap | None:
    view = view_of(replace(e, autodiff=None) if reason in BY_DIFFERENCES else e, Context())
    if view is None:
        return None
    ratios = np.full(e.analytic.size, np.nan)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios[view.index] = np.where(view.error == 0, 0.0, view.error / view.tolerance)
    ratios[view.index[~np.isfinite(view.ours)]] = np.inf  # NaN stands for entries that were not tested
    multiples = np.full(e.analytic.size, np.nan)
    known = np.abs(view.truth) > NEARLY_ZERO * largest(view.truth)
    multiples[view.index[known]] = view.ours[known] / view.truth[known]
    if not (np.abs(ratios) > 1).any():
        return None
    index = tuple(int(i) for i in np.unravel_index(worst, e.parameter.shape))
    down, across = _laid_out(e.parameter.shape)
    fixed = tuple(slice(None) if d in (*down, *across) else i for d, i in enumerate(index))
    kept = sorted((*down, *across))
    order = [kept.index(d) for d in (*down, *across)]
    place = _place(index, e.parameter.shape, down), _place(index, e.parameter.shape, across)
    rows, columns = (math.prod(e.parameter.shape[d] for d in dims) for dims in (down, across))
    planes = [a.reshape(e.parameter.shape)[fixed].transpose(order).reshape(rows, columns) for a in (ratios, multiples)]
    (cells, times), cell = _coarse(planes, place)
    apart = bool((np.abs(np.nan_to_num(times, nan=1.0) - 1) > VISIBLE).any())
    return ErrorMap(
        ratios=tuple(_floats(row) for row in cells),
        worst=(place[0] // cell[0], place[1] // cell[1]),
        down=down,
        across=across,
        shape=e.parameter.shape,
        index=index,
        cell=cell,
        multiples=tuple(_floats(row) for row in times) if apart else (),
    )


def _laid_out(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The dimensions that run down and across the map: four or three of them as tiles if they fit, else the last two."""
    last = len(shape) - 1
    if last == 0:
        return (), (0,)
    down, across = (last - 1,), (last,)
    if last >= 3 and shape[last - 3] * shape[last - 1] <= SIDE and shape[last - 2] * shape[last] <= SIDE:
        return (last - 3, last - 1), (last - 2, last)
    if last >= 2 and shape[last - 2] * shape[last - 1] <= SIDE:
        return (last - 2, last - 1), across
    return down, across


def _place(index: tuple[int, ...], shape: tuple[int, ...], dims: tuple[int, ...]) -> int:
    place = 0
    for d in dims:
        place = place * shape[d] + index[d]
    return place


def _coarse(planes: Sequence[Array], worst: tuple[int, int]) -> tuple[list[Array], tuple[int, int]]:
    """At most SIDE cells each way. A cell shows the entry of its block that is furthest off, or the worst entry of all.

    The first plane has the errors. The others show the same entries.
    """
    height, width = (max(1, math.ceil(n / SIDE)) for n in planes[0].shape)
    padding = [(0, -n % size) for n, size in zip(planes[0].shape, (height, width), strict=True)]
    blocks = []
    for plane in planes:
        padded = np.pad(plane, padding, constant_values=np.nan)
        tiles = padded.reshape(padded.shape[0] // height, height, padded.shape[1] // width, width).swapaxes(1, 2)
        blocks.append(tiles.reshape(tiles.shape[0], tiles.shape[1], height * width))
    furthest = np.where(np.isnan(blocks[0]), -1.0, np.abs(blocks[0])).argmax(axis=2)
    cells = [np.take_along_axis(block, furthest[..., None], axis=2)[..., 0] for block in blocks]
    for plane, shown in zip(planes, cells, strict=True):
        shown[worst[0] // height, worst[1] // width] = plane[worst]
    return cells, (height, width)
