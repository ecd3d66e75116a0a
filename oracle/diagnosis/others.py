"""The gradient of something else: of other outputs, another argument, another keyword, another point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from oracle.diagnosis.fits import explain_factor, number
from oracle.diagnosis.questions import Questions, Supposed
from oracle.diagnosis.situation import AGREE, Array, Asked, View, at, counted, explains
from oracle.measures import eps_of, fit_scale

__all__ = [
    "at_constants",
    "at_other_points",
    "diagonal",
    "ignored_cotangent",
    "of_another_argument",
    "other_cotangents",
    "overwritten",
    "scaled",
    "some_outputs",
    "untransposed",
    "weighted_outputs",
    "with_other_options",
]

KINDS = {
    "arguments": ("of_other_arguments", "arguments swapped: this is the gradient of {}"),
    "exchanged": ("with_exchanged_options", "options swapped: this is the gradient with {}"),
    "options": ("with_other_options", "option ignored: this is the gradient with {}"),
    "points": ("at_other_points", "wrong point: this is the gradient where {}"),
    "constants": ("at_constants", "wrong point: this is the gradient where {}: is it forgotten?"),
}
ITERATIONS = 10  # towards the value of a keyword
NONZERO = 1e-9  # of the largest: contributions below are noise of the differences
AXIS = 256  # the longest axis of the value whose indices are taken one by one


def ignored_cotangent(v: View) -> Iterator[str]:
    """The cotangent changes nothing."""
    if v.situation.ignores_cotangent:
        as_sum = False
        if v.asked is not None:
            ones = _jacobian(v.asked).sum(axis=1)
            as_sum = explains(ones, v.ours[v.asked.where], v.truth[v.asked.where], v.e.dtype)
        yield "cotangent ignored: bwd(2 dy) is bwd(dy)" + ("; this is the gradient of the sum of the outputs" if as_sum else "")


def of_another_argument(v: View) -> Iterator[str]:
    """The cotangents of two arguments stand in each other's place."""
    yield from _recognized(v, ["arguments"])


def with_other_options(v: View) -> Iterator[str]:
    """Forward and backward pass disagree about a keyword."""
    yield from _recognized(v, ["exchanged", "options"])
    if v.asked is not None:
        q = v.asked.questions
        for name, value in q.numbers.items():
            found = _fitted_number(v, q, name, value)
            if found is not None:
                yield f"option ignored: this is the gradient with {name} = {found:.6g}; the forward pass has {value!r}"


def at_other_points(v: View) -> Iterator[str]:
    """The right formula with a wrong residual."""
    yield from _recognized(v, ["points"])


def at_constants(v: View) -> Iterator[str]:
    """A factor or a path is missing that is there unless an argument is one, or zero."""
    yield from _recognized(v, ["constants"])


def scaled(v: View) -> Iterator[str]:
    """Any of these, times a factor that means something."""
    yield from _recognized(v, ["arguments", "exchanged", "options", "points"], by_factor=True)


def _recognized(v: View, kinds: Sequence[str], *, by_factor: bool = False) -> Iterator[str]:
    """What is ours among the gradients of these kinds, in words."""
    if v.asked is None or v.asked.few.size < (5 if by_factor else 3):
        return
    q = v.asked.questions
    for kind in kinds:
        asked, words = KINDS[kind]
        answers: tuple[Supposed, ...] = getattr(q, asked)
        for said, gradient in answers:
            if not by_factor and v.is_instead(gradient):
                yield words.format(said) + (_given(q, said) if kind == "options" else "")
            elif by_factor:
                fit = fit_scale(v.ours[v.asked.few_where], gradient[v.asked.few])
                named = "" if fit is None else _named(v, fit.scale)
                if fit is not None and named and v.is_instead(fit.scale * gradient):
                    yield f"{words.format(said)}, times {number(fit.scale)} ({named})"


def _named(v: View, scale: float) -> str:
    return explain_factor(scale, v.situation.sizes, max(AGREE, eps_of(v.e.dtype)), v.situation.numbers)


def _given(q: Questions, said: str) -> str:
    """The value of the keyword in the forward pass."""
    value = q.keywords[said.split(" = ", maxsplit=1)[0]]
    return "" if isinstance(value, np.ndarray) else f"; the forward pass has {value!r}"


def _fitted_number(v: View, q: Questions, name: str, value: float) -> float | None:
    """The value of a keyword at which the gradient is ours, by the secant method."""
    assert v.asked is not None
    if value == 0 or v.asked.few.size < 4:
        return None
    goal = v.ours[v.asked.few_where]
    before, here = q.with_number(name, value), q.with_number(name, 1.01 * value)
    last, x = value, 1.01 * value
    for _ in range(ITERATIONS):
        if before is None or here is None or not np.isfinite(here).all():
            return None
        slope = (here - before)[v.asked.few] / (x - last)
        size = float(slope @ slope)
        if size == 0 or not np.isfinite(size):
            return None
        step = float(slope @ (goal - here[v.asked.few])) / size
        while value * (x + step) <= 0:  # the other side of zero is another function
            step /= 2
        last, x = x, x + step
        before, here = here, q.with_number(name, x)
        if x == last:
            return None
        if here is not None and v.is_instead(here):
            return x
    return None


# ------------------------------------------------------------------------------------------- from the Jacobian alone


def _jacobian(asked: Asked) -> Array:
    """One row for each entry, one column for each output."""
    jacobian = asked.questions.jacobian
    assert jacobian is not None
    return jacobian[asked.rows]


def diagonal(v: View) -> Iterator[str]:
    """Each output by its own entry only."""
    if v.asked is None or v.asked.questions.outputs != v.shape:
        return
    jacobian, entries = _jacobian(v.asked), v.asked.questions.asked[v.asked.rows]
    own = jacobian[np.arange(entries.size), entries] * v.asked.questions.cotangent[entries]
    if v.asked.rows.size > 2 and v.fits_asked(own):
        yield f"term missing: {v.name} is what each output owes to its own entry; what it owes to the others is missing"


def untransposed(v: View) -> Iterator[str]:
    """The Jacobian for its transpose: a gather for a scatter, an order that is not reversed."""
    if v.asked is None or v.asked.rows.size != v.e.analytic.size or np.prod(v.asked.questions.outputs) != v.e.analytic.size:
        return
    if v.asked.rows.size > 2 and v.fits_asked(v.asked.questions.cotangent @ _jacobian(v.asked)):
        yield f"transposed: {v.name} is the Jacobian times the cotangent, not its transpose (a gather for a scatter?)"


def overwritten(v: View) -> Iterator[str]:
    """Of several uses of an entry one counts."""
    if v.asked is None:
        return
    outputs = v.asked.questions.outputs
    contributions = (_jacobian(v.asked) * v.asked.questions.cotangent).reshape(-1, *outputs)
    for count in range(len(outputs), 0, -1):
        for kept in combinations(range(1, len(outputs) + 1), count):
            summed = contributions.sum(axis=tuple(a for a in range(1, len(outputs) + 1) if a not in kept))
            uses = summed.reshape(len(summed), -1)
            used = np.abs(uses) > NONZERO * np.abs(uses).max(initial=0.0)
            times = used.sum(axis=1)
            if np.unique(times[times > 0]).size < 2 or times.size < 3:
                continue  # where all are used alike, other causes look the same
            size = [outputs[a - 1] for a in kept]
            first, last = used.argmax(axis=1), used.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
            for which, place in (("last", last), ("first", first)):
                counted_ones = np.unravel_index(place[times > 0], size)
                if any(n > 1 and np.unique(i).size == 1 for n, i in zip(size, counted_ones, strict=True)):
                    continue  # a single sample or step is all that counts
                if v.fits_asked(uses[np.arange(len(uses)), place]):
                    yield _overwritten_words(v, times > 1, f"the {which} of their contributions")
            if v.fits_asked(uses.sum(axis=1) / np.maximum(times, 1)):
                yield _overwritten_words(v, times > 1, "the mean of their contributions, not the sum")


def _overwritten_words(v: View, several: Array, what: str) -> str:
    assert v.asked is not None
    entries = v.asked.questions.asked[v.asked.rows][several]
    shown = ", ".join(at(v.e, int(i)) for i in entries[:3]) + (", ..." if entries.size > 3 else "")
    return f"overwritten instead of accumulated: entries that are used several times ({shown}) got {what}"


def _along(asked: Asked, axis: int) -> Array:
    """What each index of an axis of the value contributes to each entry: one column an index."""
    outputs = asked.questions.outputs
    contributions = (_jacobian(asked) * asked.questions.cotangent).reshape(-1, *outputs)
    return np.asarray(contributions.sum(axis=tuple(a for a in range(1, len(outputs) + 1) if a != axis + 1)))


def some_outputs(v: View) -> Iterator[str]:
    """Some indices of an axis of the value do not count, or one counts otherwise."""
    if v.asked is None:
        return
    for axis, n in enumerate(v.asked.questions.outputs):
        if not 1 < n <= AXIS:
            continue
        parts = _along(v.asked, axis)
        whole = parts.sum(axis=1)
        for k in (0, n - 1, *range(1, n - 1)):
            if v.fits_asked(parts[:, k]):
                if axis == 0:
                    name = {0: "the first of", n - 1: "the last of"}.get(k, f"number {k} (from 0) of")
                    yield f"batch sum missing: this is the gradient of {name} {n} samples alone"
                yield f"sum missing: this is the gradient of index {k} of {n} along axis {axis} of the value alone"
        for k in range(n):
            if v.fits_asked(whole - parts[:, k]):
                yield f"{_kind(axis, n, [k])}: index {k} of {n} along axis {axis} of the value does not count"
        weights = _weights(v, parts)
        if weights is None:
            continue
        some = weights > 0.5
        if not some.all() and v.fits_asked(parts @ some):
            kind = _kind(axis, n, np.flatnonzero(~some))
            yield f"{kind}: of axis {axis} of the value only {counted(np.flatnonzero(some))} count, of {n}"
        k = int(np.abs(weights - 1).argmax())
        if v.fits_asked(whole + (weights[k] - 1) * parts[:, k]):
            times = number(float(weights[k]))
            yield f"{_kind(axis, n, [k])}: index {k} of {n} along axis {axis} of the value counts {times} times"


def weighted_outputs(v: View) -> Iterator[str]:
    """Each index of an axis of the value counts with a weight of its own."""
    if v.asked is None:
        return
    for axis, n in enumerate(v.asked.questions.outputs):
        if 1 < n <= AXIS and v.asked.rows.size >= 3 * n:
            weights = _weights(v, _along(v.asked, axis))
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
    assert v.asked is not None
    count = parts.shape[1]
    if v.asked.rows.size <= count:
        return None
    solved, _, rank, _ = np.linalg.lstsq(parts, v.ours[v.asked.where], rcond=1e-8)
    return solved if rank == count and v.fits_asked(parts @ solved) else None


def other_cotangents(v: View) -> Iterator[str]:
    """The right pullback of another cotangent: in another order, or averaged."""
    if v.asked is None or v.asked.rows.size < 3:
        return
    outputs = v.asked.questions.outputs
    jacobian, dy = _jacobian(v.asked), v.asked.questions.cotangent.reshape(outputs)

    def pulled(changed: Array) -> bool:
        return not np.array_equal(changed, dy) and v.fits_asked(jacobian @ np.broadcast_to(changed, outputs).ravel())

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
    if dy.size > 1 and (pulled(np.full(outputs, dy.mean())) or pulled(np.full(outputs, dy.sum()))):
        yield "averaged over all outputs: the cotangent is one number, its mean or its sum"


def _shifted(dy: Array, by: int, axis: int) -> Array:
    """As `np.roll`, with zeros coming in."""
    moved = np.roll(dy, by, axis)
    edge = [slice(None)] * dy.ndim
    edge[axis] = slice(0, 1) if by > 0 else slice(-1, None)
    moved[tuple(edge)] = 0.0
    return moved
