"""Where it is wrong: single entries, those of a one-hot, those of a mask, rows along an axis, borders."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from oracle.diagnosis.causes.bisection import beyond_the_sample
from oracle.diagnosis.causes.fits import constant_in, number
from oracle.diagnosis.view import AGREE, View, along
from oracle.diagnosis.words import Array, at, counted, named_axes
from oracle.measures import fit_scale

__all__ = [
    "borders",
    "borders_explained",
    "constant_missing",
    "mask_not_applied",
    "one_entry",
    "rows",
    "rows_exchanged",
    "rows_explained",
    "zero_where_it_should_not_be",
]

MOSTLY = 0.5  # of the entries of a block
ZERO = "it is zero"


def one_entry(v: View) -> Iterator[str]:
    """One entry alone."""
    if np.count_nonzero(v.wrong) == 1 and v.index.size > 1 and not beyond_the_sample(v):
        i = int(v.wrong.argmax())
        truth = float(v.truth[i]) if abs(v.truth[i]) > v.tolerance[i] else 0.0
        factor = f"{v.ours[i] / truth:.12g}" if truth else "1"
        times = "" if factor == "1" else f", {factor} times the true one"
        numbers = f"{v.ours[i] / v.unit:.17g} instead of {truth / v.unit:.17g}{v.per_unit}"
        yield f"a single entry is wrong: {at(v.e, int(v.index[i]))} is {numbers}{times}"


def constant_missing(v: View) -> Iterator[str]:
    """One and the same number is missing at few entries, or that number times the cotangent of their row."""
    if not v.whole or not 2 <= (count := np.count_nonzero(v.wrong)) <= v.index.size // 2:
        return
    wrong, within = v.wrong, 2 * float(v.tolerance.max())
    if not v.ours[wrong].any() or np.ptp(v.truth[wrong]) <= within:  # nothing flows there, or a factor looks the same
        return
    error, axis = v.error[wrong], _one_in_each(v)
    if np.ptp(error) <= within:
        missing = -float(error.mean())
        name = _size_named(v, missing / v.unit)
        what = f"a constant is missing: at {count} of {v.index.size} entries"
        said = f"{v.name} lacks one and the same number, {missing / v.unit:.6g}{v.per_unit}{name}"
    elif (times := _of_its_row(v, axis)) is not None:
        what = f"a constant is missing: at {count} of {v.index.size} entries"
        said = f"{v.name} lacks {number(times)} times the cotangent of the row"
    else:
        return
    rows = f"one in each row along axis {axis}: a one-hot?" if axis is not None else f"first {at(v.e, int(wrong.argmax()))}"
    yield f"{what} {said} ({rows}), and it is right elsewhere"


def _one_in_each(v: View) -> int | None:
    """The axis along which exactly one entry is wrong wherever one looks, the last if there are several."""
    wrong = v.wrong.reshape(v.shape)
    return next((a for a in reversed(range(len(v.shape))) if len(v.shape) > 1 and (wrong.sum(axis=a) == 1).all()), None)


def _of_its_row(v: View, axis: int | None) -> float | None:
    """What each wrong entry lacks in units of the cotangent at its place beside that axis, if it is one number."""
    forward = v.context.forward
    if axis is None or forward is None or forward.outputs != v.shape[:axis] + v.shape[axis + 1 :]:
        return None
    dy = forward.cotangent
    error = np.where(v.wrong, v.error, 0.0).reshape(v.shape).sum(axis=axis).ravel()
    fit = fit_scale(-error, dy)
    exact = fit is not None and dy.size > 2 and (np.abs(error + fit.scale * dy) <= 2 * v.tolerance.max()).all()
    return fit.scale if fit is not None and exact else None


def _size_named(v: View, number: float) -> str:
    """Which known size it is, or one over which."""
    for name, n in v.context.sizes.items():
        for said, exact in ((f"the {name} ({n})", float(n)), (f"1 / the {name} ({n})", 1 / n)):
            if n > 1 and abs(abs(number) - exact) < AGREE * exact and v.unit != 1.0:
                return f", {'-' if number < 0 else ''}{said}"
    return ""


def mask_not_applied(v: View) -> Iterator[str]:
    """Something flows where nothing should, and the rest is right, or right up to a factor."""
    should_be_zero = np.abs(v.truth) <= v.tolerance
    flows = should_be_zero & v.wrong
    if np.count_nonzero(flows) < 2 or should_be_zero.all():
        return
    rest = _what(v, ~should_be_zero)
    if not v.wrong[~should_be_zero].any() or rest:
        what = f"mask not applied: {v.name} is nonzero where the true gradient is zero ({_where(v, flows)})"
        yield f"{what}, and elsewhere {rest}" if rest else f"{what}, and right elsewhere"


def zero_where_it_should_not_be(v: View) -> Iterator[str]:
    """Nothing flows in some places, and the rest is right, or right up to a factor."""
    none = (v.ours == 0) & v.wrong
    if np.count_nonzero(none) < 2 or none.all():
        return
    rest = _what(v, ~none)
    if not v.wrong[~none].any() or rest:
        what = f"zero where it should not be: {v.name} is zero in {_where(v, none)}, the true gradient is not"
        yield f"{what}; elsewhere {rest}" if rest else f"{what}; right elsewhere"


# ----------------------------------------------------------------------------------------------- along one axis


def rows_exchanged(v: View) -> Iterator[str]:
    """What belongs at one index of an axis stands at another."""
    if not v.whole or len(v.shape) < 2:
        return
    for axis in range(len(v.shape)):
        wrong = _indices_of(v, v.wrong, axis)
        instead = _rows_of_others(v, axis, wrong) if wrong.any() else ""
        if instead:
            rest = "" if wrong.all() else "; right elsewhere"
            yield f"one sample for another: along axis {axis} of {v.name}, {instead}{rest}"


def block(v: View) -> Iterator[str]:
    """One of several equal blocks of an axis is wrong: of a gate, a head, a group."""
    for axis, wrong in _wrong_rows(v):
        n, those = wrong.size, np.flatnonzero(wrong)
        width = int(those[-1]) + 1 - int(those[0])
        if (
            axis > 0
            and 1 < width == those.size
            and n % width == those[0] % width == 0
            and (_share(v, axis)[wrong] > MOSTLY).all()
        ):
            there = _what(v, along(v, axis, wrong))
            which = f"the {_ordinal(int(those[0]) // width)} of {n // width} equal blocks of axis {axis}"
            said = f"one block: {v.name} is wrong only at {_indices(wrong)}, {which} (a gate, a head, a group?)"
            yield f"{said}: there {there}" if there else f"{said}, and right elsewhere"


def _share(v: View, axis: int) -> Array:
    """The share of the entries at each index of an axis that is wrong."""
    return np.asarray(v.wrong.reshape(v.shape).mean(axis=tuple(a for a in range(len(v.shape)) if a != axis)))


def _ordinal(i: int) -> str:
    return {0: "first", 1: "second", 2: "third"}.get(i, f"{i + 1}th")


def rows_explained(v: View) -> Iterator[str]:
    """Only some indices of one axis are wrong, and there it is known what."""
    for axis, wrong in _wrong_rows(v):
        if axis > 0 and _ends(wrong):
            continue  # a border
        there = _what(v, along(v, axis, wrong))
        forward = v.context.forward
        if there == ZERO and forward is not None and (axis > 0 or forward.outputs[:1] != v.shape[:1]):
            yield f"zero where it should not be: {v.name} is zero at {_indices(wrong)} of axis {axis}; right elsewhere"
        if there:
            yield f"only some samples: {v.name} is wrong only at {_indices(wrong)} of axis {axis}: there {there}"


def rows(v: View) -> Iterator[str]:
    """Only some indices of one axis are wrong."""
    for axis, wrong in _wrong_rows(v):
        yield f"only some samples: {v.name} is wrong only at {_indices(wrong)} of axis {axis}, and right elsewhere"


def _wrong_rows(v: View) -> Iterator[tuple[int, Array]]:
    """The axes of which at most half of the indices hold everything that is wrong, the fewest first."""
    if not v.whole or np.count_nonzero(v.wrong) < 2:
        return
    found = []
    for axis, n in enumerate(v.shape):
        wrong = _indices_of(v, v.wrong, axis)
        # Where most entries of a vector could be wrong by chance, no row is.
        live = wrong | _indices_of(v, np.abs(v.truth) > v.tolerance, axis)  # where nothing flows nothing is right
        if v.index.size > n and wrong.sum() < live.sum() and 3 * wrong.sum() <= 2 * live.sum():
            found.append((wrong.sum() / n, axis, wrong))
    yield from ((axis, wrong) for _, axis, wrong in sorted(found, key=lambda f: f[:2]))


def _indices_of(v: View, mask: Array, axis: int) -> Array:
    """Which indices of an axis hold something of a flat mask."""
    return np.asarray(mask.reshape(v.shape).any(axis=tuple(a for a in range(len(v.shape)) if a != axis)))


def _rows_of_others(v: View, axis: int, wrong: Array) -> str:
    """Which other row is in the place of each wrong one, if all of them are."""
    ours, truth = (np.moveaxis(t, axis, 0).reshape(wrong.size, -1) for t in v.tensors)
    tolerance = v.tolerance.max()
    said = []
    for i in np.flatnonzero(wrong):
        apart = np.abs(truth - ours[i]).max(axis=1)
        if not truth[i].size > 1 or not apart.min() <= tolerance or not ours[i].any():
            return ""
        said.append(f"{i} has what belongs at {int(apart.argmin())}")
    return ", ".join(said[:4]) + (f", ... ({len(said)} of them)" if len(said) > 4 else "")


# ----------------------------------------------------------------------------------------------- near the ends


def borders_explained(v: View) -> Iterator[str]:
    """Wrong near the ends of some axes only, and there it is known what."""
    for words, where in _borders(v):
        there = _what(v, where)
        if there:
            yield f"{words}: there {there}"


def borders(v: View) -> Iterator[str]:
    """Wrong near the ends of some axes only."""
    for words, _ in _borders(v):
        yield f"{words}, and right inside"


def _borders(v: View) -> Iterator[tuple[str, Array]]:
    """The fewest trailing axes near whose ends everything lies that is wrong, from the very end on."""
    if not v.whole or np.count_nonzero(v.wrong) < 2:
        return
    wrong = v.wrong.reshape(v.shape)
    # Of few numbers in a row some lie near the ends by chance.
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
                    shown = "; ".join(f"{_indices(side)} of axis {a}" for side, a in zip(sides, axes, strict=True))
                    yield f"borders: {v.name} is wrong only near the ends of {named_axes(axes)} ({shown})", v.wrong
                    return


def _near(v: View, axes: tuple[int, ...], width: int) -> Array:
    """The entries less than `width` from an end of any of these axes, flat."""
    return np.asarray(np.logical_or.reduce([along(v, a, _distance(v.shape[a]) < width) for a in axes]))


def _distance(n: int) -> Array:
    """Of each index of an axis to the nearer end."""
    return np.minimum(np.arange(n), np.arange(n)[::-1])


def _side(wrong: Array, axis: int, axes: tuple[int, ...], width: int) -> Array:
    """Which indices of this axis are wrong where the other axes are inside."""
    for other in axes:
        if other != axis:
            wrong = np.take(wrong, range(width, wrong.shape[other] - width), axis=other)
    return np.asarray(wrong.any(axis=tuple(a for a in range(wrong.ndim) if a != axis)))


# ----------------------------------------------------------------------------------------------- in words


def _what(v: View, where: Array) -> str:
    """What our entries are beside the true ones in some places: zero, or a multiple; empty if nothing simple."""
    ours, truth = v.ours[where], v.truth[where]
    if not ours.any() and truth.any():
        return ZERO
    fit = fit_scale(ours, truth)
    if fit is not None and np.count_nonzero(truth) > 1 and v.fits(fit.scale * truth, where):
        sign = ", the sign is wrong" if abs(fit.scale + 1) < 1e-6 else ""
        name = constant_in(v, fit.scale, where)
        return f"it is {number(fit.scale)} times the true one{sign}" + (f" ({name})" if name else "")
    return ""


def _where(v: View, mask: Array) -> str:
    """Which entries: whole rows of one axis by their index, or how many and the first."""
    if v.whole and v.index.size > 1:
        tensor = mask.reshape(v.shape)
        for axis, n in enumerate(v.shape):
            rest = tuple(a for a in range(len(v.shape)) if a != axis)
            if rest and np.array_equal(tensor.any(axis=rest), tensor.all(axis=rest)) and n > 1:
                return f"{_indices(np.asarray(tensor.any(axis=rest)))} of axis {axis}"
    return f"{np.count_nonzero(mask)} of {mask.size} entries, first {at(v.e, int(v.index[mask.argmax()]))}"


def _ends(wrong: Array) -> bool:
    """Whether the wrong indices are those near the ends, of an axis that is long enough to have an inside."""
    return wrong.size > 3 and bool((_distance(wrong.size)[wrong] < wrong.size // 3).all())


def _indices(chosen: Array) -> str:
    return counted(np.flatnonzero(chosen))
