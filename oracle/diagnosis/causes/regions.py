"""Causes that are confined to a region: a single entry, a one-hot, a mask, rows along an axis, borders."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from oracle.diagnosis.causes.bisection import beyond_the_sample
from oracle.diagnosis.causes.fits import constant_in, number
from oracle.diagnosis.matching import AGREE, matches
from oracle.diagnosis.sides import side_of
from oracle.diagnosis.view import View, along, errors_stand_out, tensors
from oracle.diagnosis.words import Array, at, indices_of_axis, named_axes, per_unit
from oracle.measures import fit_scale

__all__ = [
    "RIGHT",
    "block",
    "block_explained",
    "borders",
    "borders_explained",
    "constant_missing",
    "mask_not_applied",
    "mistake",
    "one_entry",
    "rows",
    "rows_exchanged",
    "rows_explained",
    "zero_where_it_should_not_be",
]

MOSTLY = 0.5
"""The share of the entries at each index of a block that must be wrong. Smaller, and scattered errors look like a block;
larger, and a block in which a few entries are right by chance is not recognized."""
MOVES = 4
"""Times the tolerance that an exchange of rows or a missing constant must move an entry by. With 1, an error that is hardly
larger than the tolerance is explained by rows that are as close by chance, or by one number for all."""
ZERO = "it is zero"
RIGHT = "it is right"


def one_entry(v: View) -> Iterator[str]:
    """A single entry is wrong."""
    if np.count_nonzero(v.wrong) == 1 and v.index.size > 1 and errors_stand_out(v) and not beyond_the_sample(v):
        i = int(v.wrong.argmax())
        truth = float(v.truth[i]) if abs(v.truth[i]) > v.tolerance[i] else 0.0
        factor = f"{v.ours[i] / truth:.12g}" if truth else "1"
        times = "" if factor == "1" else f", {factor} times the true one"
        unit = v.context.unit
        numbers = f"{v.ours[i] / unit:.17g} instead of {truth / unit:.17g}{per_unit(unit)}"
        yield f"a single entry is wrong: {at(v.e, int(v.index[i]))} is {numbers}{times}"


def constant_missing(v: View) -> Iterator[str]:
    """A few entries lack the same number, or the same multiple of the cotangent of their row."""
    if not v.whole or not 2 <= (count := np.count_nonzero(v.wrong)) < v.index.size:
        return
    wrong, within = v.wrong, 2 * float(v.tolerance.max())
    if not v.ours[wrong].any() or np.ptp(v.truth[wrong]) <= within:  # these entries are zero, or a factor looks the same
        return
    error, axis = v.error[wrong], _one_in_each(v)
    if np.ptp(error) <= within < abs(float(error.mean())) / MOVES:
        missing = -float(error.mean()) / v.context.unit
        lacks = f"the same number, {missing:.6g}{per_unit(v.context.unit)}{_size_named(v, missing)}"
    elif (times := _of_its_row(v, axis)) is not None:
        lacks = f"{number(times)} times the cotangent of the row"
    else:
        return
    rows = f"one in each row along axis {axis}: a one-hot?" if axis is not None else f"first {at(v.e, int(wrong.argmax()))}"
    yield f"a constant is missing: at {count} of {v.index.size} entries {v.name} lacks {lacks} ({rows}); elsewhere {RIGHT}"


def _one_in_each(v: View) -> int | None:
    """The last axis along which exactly one entry of each row is wrong; None if there is no such axis."""
    wrong = v.wrong.reshape(v.shape)
    return next((a for a in reversed(range(len(v.shape))) if len(v.shape) > 1 and (wrong.sum(axis=a) == 1).all()), None)


def _of_its_row(v: View, axis: int | None) -> float | None:
    """The one multiple of the cotangent of its row that each wrong entry lacks; None if there is no such number.

    The value must have the shape of the argument without the axis.
    """
    forward = v.context.forward
    if axis is None or forward is None or forward.call.outputs != v.shape[:axis] + v.shape[axis + 1 :]:
        return None
    dy = forward.call.cotangent
    error = np.where(v.wrong, v.error, 0.0).reshape(v.shape).sum(axis=axis).ravel()
    fit = fit_scale(-error, dy)
    exact = fit is not None and dy.size > 2 and (np.abs(error + fit.scale * dy) <= 2 * v.tolerance.max()).all()
    return fit.scale if fit is not None and exact else None


def _size_named(v: View, number: float) -> str:
    """The name of a known size that equals this number, or whose inverse does; else empty."""
    for name, n in v.context.sizes.items():
        for words, exact in ((f"the {name} ({n})", float(n)), (f"1 / the {name} ({n})", 1 / n)):
            if n > 1 and abs(abs(number) - exact) < AGREE * exact and v.context.unit != 1.0:
                return f", {'-' if number < 0 else ''}{words}"
    return ""


def mask_not_applied(v: View) -> Iterator[str]:
    """The gradient is nonzero where the true one is zero, and the rest is right, or right up to a factor."""
    should_be_zero = np.abs(v.truth) <= v.tolerance
    flows = should_be_zero & v.wrong
    if np.count_nonzero(flows) < 2 or should_be_zero.all() or not errors_stand_out(v):
        return
    where = f"mask not applied: {v.name} is nonzero where the true gradient is zero ({_places(v, flows, flows | ~v.wrong)})"
    yield from _confined(v, where, ~should_be_zero)


def zero_where_it_should_not_be(v: View) -> Iterator[str]:
    """The gradient is zero in some places where the true one is not, and the rest is right, or right up to a factor."""
    none = (v.ours == 0) & v.wrong
    live = np.abs(v.truth) > v.tolerance
    if np.count_nonzero(none) < 2 or none.all():
        return
    where = f"zero where it should not be: {v.name} is zero where the true gradient is not ({_places(v, none, live)})"
    yield from _confined(v, where, ~none)


# ----------------------------------------------------------------------------------------------- along one axis


def rows_exchanged(v: View) -> Iterator[str]:
    """The entries of one index of an axis stand at another index."""
    if not v.whole or len(v.shape) < 2:
        return
    for axis in range(len(v.shape)):
        wrong = _indices_of(v, v.wrong, axis)
        instead = _rows_of_others(v, axis, wrong) if wrong.any() else ""
        if instead:
            rest = "" if wrong.all() else f"; elsewhere {RIGHT}"
            yield f"one sample for another: along axis {axis} of {v.name}, {instead}{rest}"


def block_explained(v: View) -> Iterator[str]:
    """One of several equal blocks of an axis is wrong, and its entries are zero or a multiple of the true ones."""
    for where, wrong in _blocks(v):
        there = mistake(v, wrong)
        if there:
            yield _with_description(where, there)


def block(v: View) -> Iterator[str]:
    """One of several equal blocks of an axis is wrong, without a known reason: a gate, a head or a group."""
    for where, _ in _blocks(v):
        yield where


def _blocks(v: View) -> Iterator[tuple[str, Array]]:
    """The one wrong block of an axis, in words, and a mask of its entries."""
    for axis, wrong in _wrong_rows(v):
        n, those = wrong.size, np.flatnonzero(wrong)
        width = int(those[-1]) + 1 - int(those[0])
        if (
            axis > 0
            and 1 < width == those.size
            and n % width == those[0] % width == 0
            and (_by_index(v.wrong.reshape(v.shape), axis).mean(axis=1)[wrong] > MOSTLY).all()
        ):
            which = f"the {_ordinal(int(those[0]) // width)} of {n // width} equal blocks"
            where = f"one block: {v.name} is wrong only at {_indices(wrong, axis)}, {which} (a gate, a head, a group?)"
            yield where, along(v, axis, wrong)


def _ordinal(i: int) -> str:
    return {0: "first", 1: "second", 2: "third"}.get(i, f"{i + 1}th")


def rows_explained(v: View) -> Iterator[str]:
    """Only some indices of one axis are wrong, and the entries there are zero or a multiple of the true ones."""
    for axis, wrong in _wrong_rows(v):
        if axis > 0 and _ends(wrong):
            continue  # `borders_explained` describes these
        there = mistake(v, along(v, axis, wrong))
        forward = v.context.forward
        if there == ZERO and forward is not None and (axis > 0 or forward.call.outputs[:1] != v.shape[:1]):
            yield f"zero where it should not be: {v.name} is zero at {_indices(wrong, axis)}; elsewhere {RIGHT}"
        if there:
            yield _with_description(_only_at(v, axis, wrong), there)


def rows(v: View) -> Iterator[str]:
    """Only some indices of one axis are wrong, without a known reason."""
    for axis, wrong in _wrong_rows(v):
        yield _only_at(v, axis, wrong)


def _only_at(v: View, axis: int, wrong: Array) -> str:
    return f"only some samples: {v.name} is wrong only at {_indices(wrong, axis)}"


def _wrong_rows(v: View) -> Iterator[tuple[int, Array]]:
    """The axes along which all wrong entries are at a minority of the indices, fewest indices first, with these indices."""
    if not v.whole or np.count_nonzero(v.wrong) < 2 or not errors_stand_out(v):
        return
    found = []
    for axis, n in enumerate(v.shape):
        wrong = _indices_of(v, v.wrong, axis)
        # An index at which the true gradient is zero is no evidence that the rest is right.
        live = wrong | _indices_of(v, np.abs(v.truth) > v.tolerance, axis)
        # In a vector each index has a single entry, which may be right or wrong by chance: that is no row.
        if v.index.size > n and wrong.sum() < live.sum() and 3 * wrong.sum() <= 2 * live.sum():
            found.append((wrong.sum() / n, axis, wrong))
    yield from ((axis, wrong) for _, axis, wrong in sorted(found, key=lambda f: f[:2]))


def _indices_of(v: View, mask: Array, axis: int) -> Array:
    """A mask of the indices of an axis at which any entry of a flat mask is set."""
    return np.asarray(_by_index(mask.reshape(v.shape), axis).any(axis=1))


def _rows_of_others(v: View, axis: int, wrong: Array) -> str:
    """`index 1 holds the entries of 0` for each wrong index; empty unless each holds those of another."""
    ours, truth = (_by_index(t, axis) for t in tensors(v))
    tolerance = _by_index(v.tolerance.reshape(v.shape), axis)
    exchanged = []
    for i in np.flatnonzero(wrong):
        apart = np.abs(truth - ours[i])
        j = int(apart.max(axis=1).argmin())
        moves = apart[i].max() > MOVES * (tolerance[i] + tolerance[j]).max()
        if not truth[i].size > 1 or j == i or not moves or (apart[j] > tolerance[i] + tolerance[j]).any() or not ours[i].any():
            return ""
        exchanged.append(f"index {i} holds the entries of {j}")
    return ", ".join(exchanged[:4]) + (f", ... ({len(exchanged)} of them)" if len(exchanged) > 4 else "")


# ----------------------------------------------------------------------------------------------- near the ends


def borders_explained(v: View) -> Iterator[str]:
    """Only entries near the ends of some axes are wrong, and they are zero or a multiple of the true ones."""
    for words, where in _borders(v):
        there = mistake(v, where)
        if there:
            yield _with_description(words, there)


def borders(v: View) -> Iterator[str]:
    """Only entries near the ends of some axes are wrong, without a known reason."""
    for words, _ in _borders(v):
        yield words


def _borders(v: View) -> Iterator[tuple[str, Array]]:
    """The fewest axes near whose ends all wrong entries lie, in words, and a mask of the wrong entries."""
    if not v.whole or np.count_nonzero(v.wrong) < 2 or not errors_stand_out(v):
        return
    wrong = v.wrong.reshape(v.shape)
    # On a short axis, wrong entries are near the ends by chance.
    spatial = [a for a, n in enumerate(v.shape) if (a > 0 and n > 3) or (len(v.shape) == 1 and n > 7)]
    for count in range(1, len(spatial) + 1):
        for axes in combinations(spatial, count):
            for width in range(1, max(v.shape[a] for a in axes) // (4 if len(v.shape) == 1 else 3) + 1):
                border, outermost = (_near(v, axes, w) for w in (width, 1))
                if (
                    not (np.abs(v.truth) > v.tolerance)[~border].any()
                    or (v.wrong & ~border).any()
                    or not (v.wrong & outermost).any()
                ):
                    continue
                sides = [_side(wrong, a, axes, width) for a in axes]
                if all(side.any() for side in sides):
                    shown = "; ".join(_indices(side, a) for side, a in zip(sides, axes, strict=True))
                    yield f"borders: {v.name} is wrong only near the ends of {named_axes(axes)} ({shown})", v.wrong
                    return


def _near(v: View, axes: tuple[int, ...], width: int) -> Array:
    """A flat mask of the entries less than `width` from an end of any of these axes."""
    return np.asarray(np.logical_or.reduce([along(v, a, _distance(v.shape[a]) < width) for a in axes]))


def _distance(n: int) -> Array:
    """The distance of each index of an axis of length n from the nearer end."""
    return np.minimum(np.arange(n), np.arange(n)[::-1])


def _side(wrong: Array, axis: int, axes: tuple[int, ...], width: int) -> Array:
    """A mask of the indices of an axis with wrong entries that are not near the ends of the other axes."""
    for other in axes:
        if other != axis:
            wrong = np.take(wrong, range(width, wrong.shape[other] - width), axis=other)
    return np.asarray(_by_index(wrong, axis).any(axis=1))


# ----------------------------------------------------------------------------------------------- tensors and words


def _by_index(tensor: Array, axis: int) -> Array:
    """The tensor as a matrix, with one row for each index of an axis."""
    return np.moveaxis(tensor, axis, 0).reshape(tensor.shape[axis], -1)


def _with_description(where: str, there: str) -> str:
    """The sentence about a region, with a description of its entries if there is one."""
    return f"{where}; there {there}" if there else where


def _confined(v: View, where: str, rest: Array) -> Iterator[str]:
    """The sentence about a region, if the rest of the gradient is right, zero, or a multiple of the true one."""
    elsewhere = mistake(v, rest) or ("" if v.wrong[rest].any() else RIGHT)
    if elsewhere:
        yield f"{where}; elsewhere {elsewhere}"


def mistake(v: View, where: Array) -> str:
    """`it is zero` or `it is 2 times the true one`, if that holds for these entries; else empty."""
    ours, truth = v.ours[where], v.truth[where]
    if not ours.any() and truth.any():
        return ZERO
    fit = fit_scale(ours, truth)
    if fit is not None and np.count_nonzero(truth) > 1 and matches(v, fit.scale * truth, where):
        sign = ", the sign is wrong" if abs(fit.scale + 1) < 1e-6 else ""
        name = constant_in(v, fit.scale, where)
        return f"it is {number(fit.scale)} times the true one{sign}" + (f" ({name})" if name else "")
    return ""


def _where(v: View, mask: Array) -> str:
    """The entries of a mask: the indices of an axis if the mask is whole rows, else their number and the first one."""
    if v.whole and v.index.size > 1 and len(v.shape) > 1:
        for axis, n in enumerate(v.shape):
            rows_of_mask = _by_index(mask.reshape(v.shape), axis)
            some = np.asarray(rows_of_mask.any(axis=1))
            if np.array_equal(some, rows_of_mask.all(axis=1)) and n > 1:
                return _indices(some, axis)
    return f"{np.count_nonzero(mask)} of {mask.size} entries, first {at(v.e, int(v.index[mask.argmax()]))}"


def _places(v: View, mask: Array, among: Array) -> str:
    """As `_where`, and the side of a number that these entries are on, as against the others of `among`."""
    side = side_of(v, mask, among)
    return _where(v, mask) + (f", all where {side}" if side else "")


def _ends(wrong: Array) -> bool:
    """Whether all wrong indices are near the ends of an axis that is long enough to have an inside."""
    return wrong.size > 3 and bool((_distance(wrong.size)[wrong] < wrong.size // 3).all())


def _indices(chosen: Array, axis: int) -> str:
    return indices_of_axis(np.flatnonzero(chosen), axis)
