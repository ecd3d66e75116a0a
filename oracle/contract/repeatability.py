"""The first check: whether each pass is a function of its arguments at all.

A pass that draws random numbers, or keeps something between its calls that changes its results, has no derivative to compare
with. Every other finding would only be a consequence, so this one stands alone, and the numbers are not judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.arrays import RAISED, leaves_of, quiet, random_cotangent, vector
from oracle.contract.process_state import preserved
from oracle.contract.setting import Breach, Setting, copied
from oracle.contract.state import State
from oracle.effort import REPEATS, SAMPLES
from oracle.judging.error_budget import GROSS, REORDERED_TERMS, SHORT_SUM, roundoff
from oracle.measures import EPSILON, largest
from oracle.subject import Subject, on_copies

__all__ = ["alike", "call_elsewhere", "not_a_function", "smaller"]

Array = NDArray[Any]


class _Result(NamedTuple):
    """The result of a call of both passes."""

    y: Any
    cotangents: Any

    def of(self, name: str) -> Array:
        """What one pass returned, as a vector."""
        return vector(self.y if name == "fwd" else self.cotangents)


def smaller(a: Array) -> Array:
    """Other numbers of the same shape that are as usual as these: in another order, and a quarter smaller."""
    return np.asarray(np.flip(a) * 0.75, a.dtype)


def larger(a: Array) -> Array:
    """The same, half as large again: a maximum over all calls so far grows."""
    return np.asarray(np.flip(a) * 1.5, a.dtype)


def alike(a: Array) -> Array:
    """The same numbers in another order, but for the first and the last: with the same sum, the same extremes and dtype."""
    flat = np.ravel(a)
    return np.concatenate([flat[:1], flat[-2:0:-1], flat[-1:]]).reshape(np.shape(a)) if flat.size > 1 else a


def call_elsewhere(subject: Subject, primals: Sequence[Any], seed: int, other: Callable[[Array], Array] = smaller) -> None:
    """Calls both passes with other arguments of the same shape, which an op that keeps its first call then keeps."""
    with quiet():
        try:
            y, residuals = on_copies(subject).fwd(*copied(tuple(primals), other))
            subject.bwd(residuals, random_cotangent(y, seed + 1))
        except RAISED:  # these arguments may be outside its domain
            return


def not_a_function(s: Setting, state: State, seed: int, *, few: bool) -> list[Breach]:
    """One breach if a pass is no function of its arguments; none otherwise. `few` calls are made for very large arguments."""
    subject = on_copies(s.point.subject)

    def call() -> _Result:
        y, residuals = subject.fwd(*s.point.primals)
        return _Result(y, copied(tuple(subject.bwd(residuals, copied(s.point.dy)))))

    first = _Result(s.point.y, s.point.cotangents)
    before = state.positions()
    try:
        with quiet(), preserved() as changed:
            again = [call()]
            if not few:
                call_elsewhere(s.point.subject, s.point.primals, seed, larger)
                again.append(call())
            drawn = state.positions() != before or any("generator" in name for name in changed())
            while drawn and not few and len(again) < REPEATS and not _parted(s, [first, *again]):
                again.append(call())
            name = _parted(s, [first, *again])
            if name:
                return [_described(s, name, [call() for _ in range(1 if few else SAMPLES)], drawn=drawn)]
            return _of_memory(s, state, first)
    except RAISED:  # the other checks say which call raises what
        return []


def _parted(s: Setting, results: Sequence[_Result]) -> str:
    """The pass that returned different results for equal arguments; empty if each always returned the same."""
    first, *others = results
    if any(not _close(first.of("fwd"), other.of("fwd"), s) for other in others):
        return "fwd"
    return "bwd" if any(_names_apart(s, first, other) for other in others) else ""


def _close(one: Array, two: Array, s: Setting) -> bool:
    """Whether two values are equal up to the rounding of another order of operations."""
    if one.shape != two.shape:
        return False
    differ = (one != two) & ~(np.isnan(one) & np.isnan(two))
    dtypes = {np.asarray(leaf.array).dtype.name for leaf in leaves_of(("y",), (s.point.y,))}
    rounding = max((roundoff(largest(one), REORDERED_TERMS, name) for name in dtypes & EPSILON.keys()), default=0.0)
    return not largest(one[differ] - two[differ]) > rounding


def _names_apart(s: Setting, one: _Result, two: _Result) -> list[str]:
    """The arguments whose gradients differ by more than rounding."""

    def apart(i: int, a: Array, b: Array) -> bool:
        return not np.array_equal(a, b, equal_nan=True) and not s.rounding.is_close(i, a, b)

    pairs = zip(s.leaves(one.cotangents), s.leaves(two.cotangents), strict=True)
    return [a.path for i, (a, b) in enumerate(pairs) if apart(i, np.asarray(a.array), np.asarray(b.array))]


def _described(s: Setting, name: str, results: Sequence[_Result], *, drawn: bool) -> Breach:
    """The breach, with the kind of state as the results of equal consecutive calls show it."""
    found = [np.nan_to_num(result.of(name)) for result in results]
    same_shape = all(a.shape == found[0].shape for a in found)
    steps = [b - a for a, b in pairwise(found)] if same_shape else []
    remedy = (
        "fix the seed, or pass the mask or the key as an option"
        if name == "fwd"
        else "bwd must use the numbers that fwd drew: save them among the residuals"
    )
    if drawn:
        what = f"it draws random numbers ({remedy})"
    elif name == "bwd" and hasattr(s.point.subject.bwd, "unrepeatable"):
        what = s.point.subject.bwd.unrepeatable  # the adapter knows why
    elif len(steps) > 1 and all(_same(steps[0], step) for step in steps[1:]):
        what = "it adds to what an earlier call left: the results of equal calls grow by equal amounts (a buffer not zeroed?)"
    elif steps and not any(step.any() for step in steps):
        what = "its result depends on what ran before: after other calls, the same call returns something else"
    elif len(steps) > 1 and (_is_geometric(steps) or _has_settled(steps, largest(found[-1]))):
        what = "it mixes what an earlier call left into its result"
    else:
        what = f"equal calls return different results, without a pattern, as random numbers are ({remedy})"
    return _breach(s, name, what)


def _breach(s: Setting, name: str, what: str) -> Breach:
    return Breach("", f"{name} is not a function of its arguments: {what}; its gradients were not judged")


def _same(one: Array, two: Array) -> bool:
    # Sums that have grown a million times larger lose that many digits; random numbers are never so near to each other.
    size = max(largest(one), largest(two))
    return size > 0 and bool(largest(one - two) <= GROSS * size)


def _has_settled(steps: Sequence[Array], size: float) -> bool:
    """Whether the steps have shrunk to the last digits of the results, as those of a mean over calls do. Chance never does."""
    return bool(largest(*steps) <= roundoff(size, SHORT_SUM))


def _is_geometric(steps: Sequence[Array]) -> bool:
    """Whether each step is the same multiple of the one before."""
    first, second, third = steps[0], steps[1], steps[-1]
    ratio = float(first @ second / (first @ first)) if first.any() else 0.0
    return _same(ratio * first, second) and (len(steps) < SAMPLES - 1 or _same(ratio * second, third))


def _of_memory(s: Setting, state: State, first: _Result) -> list[Breach]:
    """A breach if a twin, whose state is from before the first call, returns something else for the same arguments."""
    twin = state.twin
    if twin is None:
        return []
    call: Callable[..., Any] = on_copies(twin).fwd
    try:
        y, residuals = call(*s.point.primals)
        fresh = _Result(y, copied(tuple(twin.bwd(residuals, copied(s.point.dy)))))
    except RAISED:  # a copy of a function may lack what the original finds
        return []
    name = _parted(s, [first, fresh])
    if not name:
        return []
    return [
        _breach(
            s,
            name,
            "it remembers an earlier call: after a call with other arguments of the same shape, it returns something else (is "
            "a cache keyed by the shape, or by a part of the arguments?)",
        )
    ]
