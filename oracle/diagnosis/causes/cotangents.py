"""Outputs that count otherwise: not at all, for others, with the cotangent of others. All from the Jacobian."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import optree

from oracle.diagnosis.causes.fits import number
from oracle.diagnosis.view import AGREE, Sampled, View, explains
from oracle.diagnosis.words import Array, counted

__all__ = [
    "contributions",
    "ignored_cotangent",
    "of_some_arrays",
    "other_cotangents",
    "own",
    "permuted_cotangent",
    "some_outputs",
    "untransposed",
    "weighted_outputs",
]

AXIS = 256  # the longest axis of the value whose indices are taken one by one


def ignored_cotangent(v: View) -> Iterator[str]:
    """The cotangent changes nothing."""
    if v.context.ignores_cotangent:
        as_sum = False
        if v.sampled is not None:
            ones = _jacobian(v.sampled).sum(axis=1)
            as_sum = explains(ones, v.ours[v.sampled.where], v.truth[v.sampled.where], v.e.parameter.dtype)
        yield "cotangent ignored: bwd(2 dy) is bwd(dy)" + ("; this is the gradient of the sum of the outputs" if as_sum else "")


def _jacobian(sampled: Sampled) -> Array:
    """One row for each entry, one column for each output."""
    jacobian = sampled.forward.jacobian
    assert jacobian is not None
    return jacobian[sampled.rows]


def own(v: View) -> Iterator[str]:
    """Each index of an axis, or each entry, has what the same one of the value owes to it, and nothing from the others."""
    if v.sampled is None or v.sampled.rows.size < 3:
        return
    outputs = v.sampled.forward.outputs
    each = contributions(v.sampled)
    places = np.stack(np.unravel_index(v.sampled.forward.sampled[v.sampled.rows], v.shape), axis=1)
    common = [a for a in range(min(len(outputs), len(v.shape))) if outputs[a] == v.shape[a] > 1]
    fewest_first = [axes for count in range(1, len(common) + 1) for axes in combinations(common, count)]
    entry_first = [tuple(common)] * (outputs == v.shape)
    for axes in (*entry_first, *fewest_first):
        same = np.ones(each.shape, bool)
        for a in axes:
            same &= np.expand_dims(np.arange(outputs[a]) == places[:, [a]], [b + 1 for b in range(len(outputs)) if b != a])
        flat = (each * same).reshape(len(places), -1)
        # Where an entry sends nothing to its own place, as in a gather, its place says nothing.
        if flat.any(axis=1).all() and v.fits_sampled(flat.sum(axis=1)):
            it = "entry" if [axes] == entry_first else f"index of axis {counted(axes)}"
            yield f"term missing: {v.name} is what each output owes to its own {it}; what it owes to the others is missing"


def of_some_arrays(v: View) -> Iterator[str]:
    """Of several arrays in the value some send nothing back."""
    if v.sampled is None:
        return
    q = v.sampled.forward
    arrays = list(zip(optree.tree_accessors(q.value), optree.tree_leaves(q.value), strict=True))
    if len(arrays) < 2:
        return
    ends = np.cumsum([np.size(array) for _, array in arrays])[:-1]
    parts = np.stack([p.sum(axis=1) for p in np.split(contributions(v.sampled).reshape(-1, q.cotangent.size), ends, axis=1)])
    names = [accessor.codify("the value") for accessor, _ in arrays]
    for name, part in zip(names, parts, strict=True):
        if v.fits_sampled(parts.sum(axis=0) - part):
            yield f"cotangent ignored: that of {name}, from which nothing flows back"
    for name, part in zip(names, parts, strict=True):
        if v.fits_sampled(part):
            yield f"cotangent ignored: those of all but {name}, from which alone something flows back"


def contributions(sampled: Sampled) -> Array:
    """What each output adds to each entry: the shape of the value behind the entries."""
    return np.asarray((_jacobian(sampled) * sampled.forward.cotangent).reshape(-1, *sampled.forward.outputs))


def untransposed(v: View) -> Iterator[str]:
    """The Jacobian for its transpose: a gather for a scatter, an order that is not reversed."""
    if v.sampled is None or v.sampled.rows.size != v.e.analytic.size or np.prod(v.sampled.forward.outputs) != v.e.analytic.size:
        return
    if v.sampled.rows.size > 2 and v.fits_sampled(v.sampled.forward.cotangent @ _jacobian(v.sampled)):
        yield f"transposed: {v.name} is the Jacobian times the cotangent, not its transpose (a gather for a scatter?)"


def _along(sampled: Sampled, axis: int) -> Array:
    """What each index of an axis of the value contributes to each entry: one column an index."""
    each = contributions(sampled)
    return np.asarray(each.sum(axis=tuple(a for a in range(1, each.ndim) if a != axis + 1)))


def some_outputs(v: View) -> Iterator[str]:
    """Some indices of an axis of the value do not count, or one counts otherwise."""
    if v.sampled is None:
        return
    for axis, n in enumerate(v.sampled.forward.outputs):
        if not 1 < n <= AXIS:
            continue
        parts = _along(v.sampled, axis)
        whole = parts.sum(axis=1)
        for k in (0, n - 1, *range(1, n - 1)):
            if v.fits_sampled(parts[:, k]):
                if axis == 0:
                    name = {0: "the first of", n - 1: "the last of"}.get(k, f"number {k} (from 0) of")
                    yield f"batch sum missing: this is the gradient of {name} {n} samples alone"
                yield f"sum missing: this is the gradient of index {k} of {n} along axis {axis} of the value alone"
        for k in range(n):
            if v.fits_sampled(whole - parts[:, k]):
                yield f"{_kind(axis, n, [k])}: index {k} of {n} along axis {axis} of the value does not count"
        weights = _weights(v, parts)
        if weights is None:
            continue
        some = weights > 0.5
        if not some.all() and v.fits_sampled(parts @ some):
            kind = _kind(axis, n, np.flatnonzero(~some))
            yield f"{kind}: of axis {axis} of the value only {counted(np.flatnonzero(some))} count, of {n}"
        k = int(np.abs(weights - 1).argmax())
        if v.fits_sampled(whole + (weights[k] - 1) * parts[:, k]):
            times = number(float(weights[k]))
            yield f"{_kind(axis, n, [k])}: index {k} of {n} along axis {axis} of the value counts {times} times"


def weighted_outputs(v: View) -> Iterator[str]:
    """Each index of an axis of the value counts with a weight of its own."""
    if v.sampled is None:
        return
    for axis, n in enumerate(v.sampled.forward.outputs):
        if 1 < n <= AXIS and v.sampled.rows.size >= 3 * n:
            weights = _weights(v, _along(v.sampled, axis))
            if weights is not None:
                shown = ", ".join(f"{w:.4g}" for w in weights[:6]) + (", ..." if n > 6 else "")
                kind = _kind(axis, n, np.flatnonzero(np.abs(weights - 1) > AGREE), "weighted")
                yield f"{kind}: the cotangent counts ({shown}) times along axis {axis} of the value"


def _kind(axis: int, n: int, indices: Sequence[int] | Array, otherwise: str = "only some samples") -> str:
    """Near the ends of a trailing axis it is the border that counts otherwise."""
    near = all(min(i, n - 1 - i) < max(n // 3, 1) for i in indices)
    return "borders" if axis > 0 and n > 3 and near else otherwise


def _weights(v: View, parts: Array) -> Array | None:
    """With which weights the contributions add up to ours, if they do and are determined."""
    assert v.sampled is not None
    count = parts.shape[1]
    if v.sampled.rows.size <= count:
        return None
    solved, _, rank, _ = np.linalg.lstsq(parts, v.ours[v.sampled.where], rcond=1e-8)
    return solved if rank == count and v.fits_sampled(parts @ solved) else None


def other_cotangents(v: View) -> Iterator[str]:
    """The right pullback of another cotangent: in another order, or averaged."""
    if v.sampled is None or v.sampled.rows.size < 3:
        return
    outputs = v.sampled.forward.outputs
    jacobian, dy = _jacobian(v.sampled), v.sampled.forward.cotangent.reshape(outputs)

    def pulled(changed: Array) -> bool:
        return not np.array_equal(changed, dy) and v.fits_sampled(jacobian @ np.broadcast_to(changed, outputs).ravel())

    for axis, n in enumerate(outputs):
        if n < 2:
            continue
        mean = dy.mean(axis=axis, keepdims=True)
        if pulled(mean):
            yield f"averaged over axis {axis} of the value: the cotangent is its mean there"
        if pulled(n * mean):
            yield f"summed over axis {axis} of the value: the cotangent is its sum there, for each index"
        if axis > 0 and n == outputs[axis - 1] and pulled(np.swapaxes(dy, axis - 1, axis)):
            yield f"transposed: the cotangent, in axes {axis - 1} and {axis} of the value"
        if pulled(np.flip(dy, axis)):
            yield f"reversed: the cotangent, along axis {axis} of the value"
        for by in (1, -1):
            if pulled(np.roll(dy, by, axis)) or pulled(_shifted(dy, by, axis)):
                yield f"shifted: the cotangent, by {by:+d} along axis {axis} of the value"
        for a in (a for a in range(2, n) if n % a == 0):
            if pulled(_interleaved(dy, axis, a)):
                yield (
                    f"interleaved: the cotangent, whose axis {axis} of {n} is read as ({a}, {n // a}) "
                    f"instead of ({n // a}, {a}): repeated for tiled, or another order of memory?"
                )
    if dy.size > 1 and (pulled(np.full(outputs, dy.mean())) or pulled(np.full(outputs, dy.sum()))):
        yield "averaged over all outputs: the cotangent is one number, its mean or its sum"


def permuted_cotangent(v: View) -> Iterator[str]:
    """The right pullback of the cotangent in any other order, as far as the Jacobian tells the one that was pulled back."""
    if v.sampled is None or not 3 < (count := v.sampled.forward.cotangent.size) <= v.sampled.rows.size:
        return
    jacobian, dy = _jacobian(v.sampled), v.sampled.forward.cotangent
    solved, _, rank, _ = np.linalg.lstsq(jacobian, v.ours[v.sampled.where], rcond=1e-8)
    places, origins = np.argsort(solved, kind="stable"), np.argsort(dy, kind="stable")
    moved = np.flatnonzero(places != origins)
    pulled = np.empty_like(dy)
    pulled[places] = dy[origins]
    if rank == count and moved.size > 2 and v.fits_sampled(jacobian @ pulled):
        outputs = v.sampled.forward.outputs
        first = moved[np.argsort(places[moved])][:2]
        shown = ", ".join(f"that of {_place(origins[i], outputs)} at {_place(places[i], outputs)}" for i in first)
        yield f"permuted: the cotangent, of which each entry counts at the place of another ({shown}, ...)"


def _place(index: int, shape: tuple[int, ...]) -> str:
    return f"[{', '.join(str(int(i)) for i in np.unravel_index(index, shape))}]"


def _interleaved(dy: Array, axis: int, a: int) -> Array:
    """An axis cut into `a` parts, of which the first entries come first, then the second ones."""
    parts = dy.reshape(*dy.shape[:axis], a, -1, *dy.shape[axis + 1 :])
    return np.swapaxes(parts, axis, axis + 1).reshape(dy.shape)


def _shifted(dy: Array, by: int, axis: int) -> Array:
    """As `np.roll`, with zeros coming in."""
    moved = np.roll(dy, by, axis)
    edge = [slice(None)] * dy.ndim
    edge[axis] = slice(0, 1) if by > 0 else slice(-1, None)
    moved[tuple(edge)] = 0.0
    return moved
