"""Causes in which the backward pass uses a wrong cotangent: not all of it, weighted, or in another order.

All of them multiply the Jacobian of the forward pass by another cotangent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import optree

from oracle.diagnosis.causes.fits import number
from oracle.diagnosis.matching import AGREE, explains, matches_sample
from oracle.diagnosis.sample import Sample
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array, counted, named_axes
from oracle.measures import largest

__all__ = [
    "NONZERO",
    "contributions",
    "ignored_cotangent",
    "of_some_arrays",
    "one_for_all",
    "other_cotangents",
    "own",
    "permuted_cotangent",
    "some_outputs",
    "untransposed",
    "weighted_outputs",
]

NONZERO = 1e-9
"""Contributions below this fraction of the largest are noise of the differences and count as zero."""
AXIS = 256
"""The longest axis of the value whose indices are tried one by one. The work grows with the length."""


def ignored_cotangent(v: View) -> Iterator[str]:
    """The backward pass does not use the cotangent."""
    if v.context.ignores_cotangent:
        as_sum = False
        if v.sample is not None:
            ones = v.sample.jacobian.sum(axis=1)
            as_sum = explains(ones, v.ours[v.sample.where], v.truth[v.sample.where], v.e.parameter.dtype)
        yield "dy ignored: bwd(2 dy) is bwd(dy)" + ("; this is the gradient of the sum of the outputs" if as_sum else "")


def own(v: View) -> Iterator[str]:
    """Each entry gets contributions only from outputs at the same index of some axes, or from the same output."""
    if v.sample is None or v.sample.entries.size < 3:
        return
    outputs = v.sample.forward.call.outputs
    each = contributions(v.sample)
    places = np.stack(np.unravel_index(v.sample.entries, v.shape), axis=1)
    common = [a for a in range(min(len(outputs), len(v.shape))) if outputs[a] == v.shape[a] > 1]
    fewest_first = [axes for count in range(1, len(common) + 1) for axes in combinations(common, count)]
    entry_first = [tuple(common)] * (outputs == v.shape)
    for axes in (*entry_first, *fewest_first):
        same = np.ones(each.shape, bool)
        for a in axes:
            same &= np.expand_dims(np.arange(outputs[a]) == places[:, [a]], [b + 1 for b in range(len(outputs)) if b != a])
        flat = (each * same).reshape(len(places), -1)
        # In a gather an entry may contribute nothing at its own index; then this is not the cause.
        if flat.any(axis=1).all() and matches_sample(v, flat.sum(axis=1)):
            same_place = "the same place" if [axes] == entry_first else f"the same index of {named_axes(axes)}"
            yield (
                f"term missing: each entry of {v.name} gets contributions only from outputs at {same_place}; "
                "those from other outputs are missing"
            )


def of_some_arrays(v: View) -> Iterator[str]:
    """The value is several arrays, and the backward pass ignores the cotangent of one, or of all but one."""
    if v.sample is None:
        return
    value = v.sample.forward.call.value
    arrays = list(zip(optree.tree_accessors(value), optree.tree_leaves(value), strict=True))
    if len(arrays) < 2:
        return
    ends = np.cumsum([np.size(array) for _, array in arrays])[:-1]
    each = contributions(v.sample).reshape(len(v.sample.entries), -1)
    parts = np.stack([part.sum(axis=1) for part in np.split(each, ends, axis=1)])
    names = [accessor.codify("the value") for accessor, _ in arrays]
    for name, part in zip(names, parts, strict=True):
        if matches_sample(v, parts.sum(axis=0) - part):
            yield f"dy ignored: nothing flows back from {name}"
    for name, part in zip(names, parts, strict=True):
        if matches_sample(v, part):
            yield f"dy ignored: the gradient flows back only from {name}, not from the other arrays of the value"


def contributions(sample: Sample) -> Array:
    """The contribution of each output to each entry; the first axis counts entries, the others are those of the value."""
    call = sample.forward.call
    return np.asarray((sample.jacobian * call.cotangent).reshape(-1, *call.outputs))


def untransposed(v: View) -> Iterator[str]:
    """The backward pass multiplies by the Jacobian instead of its transpose: it gathers instead of scattering, for example."""
    if v.sample is None or not 2 < v.sample.entries.size == v.e.analytic.size:
        return
    call = v.sample.forward.call
    if np.prod(call.outputs) == v.e.analytic.size and matches_sample(v, call.cotangent @ v.sample.jacobian):
        yield f"transposed: {v.name} is the Jacobian times dy, not its transpose times dy (a gather instead of a scatter?)"


def _along(sample: Sample, axis: int) -> Array:
    """The contribution of each index of an axis of the value to each entry: one column for each index."""
    each = contributions(sample)
    return np.asarray(each.sum(axis=tuple(a for a in range(1, each.ndim) if a != axis + 1)))


def some_outputs(v: View) -> Iterator[str]:
    """Some indices of an axis of the value contribute nothing, or one contributes a multiple."""
    if v.sample is None:
        return
    for axis, n in enumerate(v.sample.forward.call.outputs):
        if not 1 < n <= AXIS:
            continue
        parts = _along(v.sample, axis)
        whole = parts.sum(axis=1)
        for k in (0, n - 1, *range(1, n - 1)):
            if matches_sample(v, parts[:, k]):
                if axis == 0:
                    name = {0: "the first sample", n - 1: "the last sample"}.get(k, f"sample {k} (counted from 0)")
                    yield f"batch sum missing: only {name} of {n} contributes to this gradient"
                yield f"sum missing: only index {k} (of {n}) along axis {axis} of the value contributes to this gradient"
        for k in range(n):
            if matches_sample(v, whole - parts[:, k]):
                yield f"{_kind(axis, n, [k])}: index {k} (of {n}) along axis {axis} of the value contributes nothing"
        weights = _weights(v, parts)
        if weights is None:
            continue
        some = weights > 0.5
        if not some.all() and matches_sample(v, parts @ some):
            kind = _kind(axis, n, np.flatnonzero(~some))
            which = counted(np.flatnonzero(some))
            yield f"{kind}: only the indices {which} (of {n}) along axis {axis} of the value contribute"
        k = int(np.abs(weights - 1).argmax())
        if matches_sample(v, whole + (weights[k] - 1) * parts[:, k]):
            times = number(float(weights[k]))
            yield f"{_kind(axis, n, [k])}: index {k} (of {n}) along axis {axis} of the value contributes {times} times"


def weighted_outputs(v: View) -> Iterator[str]:
    """Each index of an axis of the value contributes with a weight of its own."""
    if v.sample is None:
        return
    for axis, n in enumerate(v.sample.forward.call.outputs):
        if 1 < n <= AXIS and v.sample.entries.size >= 3 * n:
            parts = _along(v.sample, axis)
            weights = _weights(v, parts)
            if weights is not None:
                words = [f"{w:.4g}" if contributes else "any" for w, contributes in zip(weights, _live(parts), strict=True)]
                shown = ", ".join(words[:6]) + (", ..." if n > 6 else "")
                kind = _kind(axis, n, np.flatnonzero(np.abs(weights - 1) > AGREE), "weighted")
                yield f"{kind}: the backward pass multiplies dy by ({shown}) along axis {axis} of the value"


def _kind(axis: int, n: int, indices: Sequence[int] | Array, otherwise: str = "only some samples") -> str:
    """The kind of cause: `borders` if the indices are near the ends of a trailing axis, else `otherwise`."""
    near = all(min(i, n - 1 - i) < max(n // 3, 1) for i in indices)
    return "borders" if axis > 0 and n > 3 and near else otherwise


def _weights(v: View, parts: Array) -> Array | None:
    """The weights with which the contributions add up to our gradient; None if they do not, or are not determined.

    Nothing is known about the weights of outputs that contribute nothing, such as those of masked rows: they are 1.
    """
    assert v.sample is not None
    live = _live(parts)
    count = np.count_nonzero(live)
    if not 1 < count < v.sample.entries.size:
        return None
    weights = np.ones(live.size)
    weights[live], _, rank, _ = np.linalg.lstsq(parts[:, live], v.ours[v.sample.where], rcond=1e-8)
    return weights if rank == count and matches_sample(v, parts @ weights) else None


def _live(parts: Array) -> Array:
    """A mask of the columns that are not zero."""
    return np.asarray((np.abs(parts) > NONZERO * largest(parts)).any(axis=0))


def one_for_all(v: View) -> Iterator[str]:
    """The backward pass reads one entry of dy, and uses it for all."""
    if v.sample is None or v.sample.entries.size < 3:
        return
    call = v.sample.forward.call
    dy = call.cotangent.reshape(call.outputs)
    for axis, n in enumerate(dy.shape):
        for k, which in ((0, "first"), (n - 1, "last")) if n > 1 else ():
            one = np.broadcast_to(np.take(dy, [k], axis), dy.shape)
            if matches_sample(v, v.sample.jacobian @ one.ravel()):
                yield (
                    f"one dy for all: the backward pass uses the {which} entry of dy along axis {axis} of the value "
                    f"at all {n} indices"
                )
    if dy.ndim > 1 and matches_sample(v, v.sample.jacobian @ np.full(dy.size, dy.flat[0])):
        yield "one dy for all: the backward pass uses the first entry of dy in place of every entry"


def other_cotangents(v: View) -> Iterator[str]:
    """The pullback is right, but its cotangent is averaged, or in another order."""
    if v.sample is None or v.sample.entries.size < 3:
        return
    outputs = v.sample.forward.call.outputs
    jacobian, dy = v.sample.jacobian, v.sample.forward.call.cotangent.reshape(outputs)

    def pulled(changed: Array) -> bool:
        return not np.array_equal(changed, dy) and matches_sample(v, jacobian @ np.broadcast_to(changed, outputs).ravel())

    for axis, n in enumerate(outputs):
        if n < 2:
            continue
        mean = dy.mean(axis=axis, keepdims=True)
        if pulled(mean):
            yield f"averaged over axis {axis} of the value: the backward pass uses the mean of dy along that axis"
        if pulled(n * mean):
            yield f"summed over axis {axis} of the value: the backward pass uses the sum of dy along that axis at each index"
        if axis > 0 and n == outputs[axis - 1] and pulled(np.swapaxes(dy, axis - 1, axis)):
            yield f"transposed: the backward pass exchanges axes {axis - 1} and {axis} of dy"
        if pulled(np.flip(dy, axis)):
            yield f"reversed: the backward pass reverses dy along axis {axis}"
        for by in (1, -1):
            if pulled(np.roll(dy, by, axis)) or pulled(_shifted(dy, by, axis)):
                yield f"shifted: the backward pass shifts dy by {by:+d} along axis {axis}"
        for a in (a for a in range(2, n) if n % a == 0):
            if pulled(_interleaved(dy, axis, a)):
                yield (
                    f"interleaved: the backward pass reads axis {axis} of dy ({n} entries) as ({a}, {n // a}) "
                    f"instead of ({n // a}, {a}) (repeat instead of tile, or another memory order?)"
                )
    if dy.size > 1 and (pulled(np.full(outputs, dy.mean())) or pulled(np.full(outputs, dy.sum()))):
        yield "averaged over all outputs: the backward pass uses the mean or the sum of dy in place of every entry"


def permuted_cotangent(v: View) -> Iterator[str]:
    """The pullback is right, but the entries of its cotangent are in any other order that the Jacobian determines."""
    if v.sample is None or not 3 < (count := v.sample.forward.call.cotangent.size) <= v.sample.entries.size:
        return
    jacobian, dy = v.sample.jacobian, v.sample.forward.call.cotangent
    solved, _, rank, _ = np.linalg.lstsq(jacobian, v.ours[v.sample.where], rcond=1e-8)
    places, origins = np.argsort(solved, kind="stable"), np.argsort(dy, kind="stable")
    moved = np.flatnonzero(places != origins)
    pulled = np.empty_like(dy)
    pulled[places] = dy[origins]
    if rank == count and moved.size > 2 and matches_sample(v, jacobian @ pulled):
        outputs = v.sample.forward.call.outputs
        first = moved[np.argsort(places[moved])][:2]
        shown = ", ".join(f"dy{_place(origins[i], outputs)} for dy{_place(places[i], outputs)}" for i in first)
        yield f"permuted: the backward pass uses the entries of dy in another order ({shown}, ...)"


def _place(index: int, shape: tuple[int, ...]) -> str:
    return f"[{', '.join(str(int(i)) for i in np.unravel_index(index, shape))}]"


def _interleaved(dy: Array, axis: int, a: int) -> Array:
    """An axis cut into `a` parts: first the first entry of each part, then the second of each, and so on."""
    parts = dy.reshape(*dy.shape[:axis], a, -1, *dy.shape[axis + 1 :])
    return np.swapaxes(parts, axis, axis + 1).reshape(dy.shape)


def _shifted(dy: Array, by: int, axis: int) -> Array:
    """As `np.roll`, but zeros come in."""
    moved = np.roll(dy, by, axis)
    edge = [slice(None)] * dy.ndim
    edge[axis] = slice(0, 1) if by > 0 else slice(-1, None)
    moved[tuple(edge)] = 0.0
    return moved
