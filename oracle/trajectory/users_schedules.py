"""Schedules of users beside another: the rate at each count, and how the counts of a wrong one are meant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from oracle.adapters import name_of
from oracle.measures import largest
from oracle.spec import Source
from oracle.trajectory.optimizers import run_schedule
from oracle.trajectory.spec import ScheduleSpec, Trajectory

__all__ = ["ScheduleCheck", "verify_schedule"]

Array = NDArray[np.float64]
Rates = Callable[[Array], Array]
"""The rates at counts, which need not be integers."""

WHO = "verify_schedule"
SHORTEST, LONGEST = 200, 12_800
"""Counts that are compared at least, and at most, unless the user says how many. Warm-ups of a thousand steps are common, and a
schedule of Python takes a microsecond for each count; with 200 alone, the end of most schedules would not be seen."""
SAME = 1e-9
"""Up to this share of the largest rate two schedules are the same one with other counts. With 1e-3, a cosine and the line
beside it would be; with 1e-14, one that is rounded otherwise would not."""
FURTHEST = 1000
"""Counts by which a schedule is tried to be shifted: a warm-up of a thousand steps may be missing."""


@dataclass(frozen=True)
class ScheduleCheck:
    """A schedule and another that it must equal, both functions of the count; `verify_schedule` explains the arguments."""

    family: ClassVar[str] = "schedules"
    tier: ClassVar[int] = 1
    mine: Callable[[int], Any]
    like: Callable[[int], Any]
    steps: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        for role, given in (("mine", self.mine), ("like", self.like)):
            if not callable(given):
                raise TypeError(f"{WHO}: {role} must be a function of the count of steps, got {type(given).__name__}")
        if self.steps is not None and (type(self.steps) is not int or self.steps < 1):
            raise ValueError(f"{WHO}: steps must be a positive integer, got {self.steps!r}")
        if not self.name:
            object.__setattr__(self, "name", _named(self.mine, "schedule"))

    def verified(self) -> Trajectory:
        """The row, with the first count at which both differ."""
        theirs = _rates_of("like", self.like)
        steps = _horizon(theirs) if self.steps is None else self.steps
        counts = np.arange(steps + 1.0)
        ours, reference = _rates_of("mine", self.mine)(counts), _finite(theirs(counts))
        spec = ScheduleSpec(
            self.name,
            lambda count: float(ours[count]),
            lambda count: float(reference[count]),
            Source("given", _named(self.like, "the reference")),
            largest(reference),
        )
        result = run_schedule(spec, len(counts))
        if result.first is None:
            return result
        diagnosis = f"{_cause(ours, reference, theirs)}; {result.diagnosis}"
        rows = tuple(replace(row, diagnosis=diagnosis) for row in result.rows)
        return replace(result, rows=rows, diagnosis=diagnosis)


def verify_schedule(
    mine: Callable[[int], Any], *, like: Callable[[int], Any], steps: int | None = None, name: str = ""
) -> Trajectory:
    """Whether a schedule gives the same rates as another one, at the counts 0, 1, ..., `steps`.

    Args:
        mine: your schedule, a function of the count.
        like: the one that it must equal, such as `optax.warmup_cosine_decay_schedule(...)`.
        steps: the last count. By default so many that `like` is constant afterwards, between 200 and 12,800.
        name: for the row; by default that of the function.

    Raises:
        TypeError, ValueError: if one is no function, or returns no number.

    >>> import purenet as pn
    >>> like = pn.schedules.linear_schedule(1.0, 0.0, 100)
    >>> print(verify_schedule(lambda count: like(count + 1), like=like).diagnosis.partition(";")[0])
    the schedule is shifted by 1: count c has the value of count c + 1

    """
    return ScheduleCheck(mine, like, steps, name).verified()


def _named(function: Any, otherwise: str) -> str:
    """The name of a function; those that optax and purenet make are all called schedule."""
    name = name_of(function)
    return otherwise if name in ("<lambda>", "schedule") else name


def _rates_of(role: str, function: Callable[..., Any]) -> Rates:
    """The function at an array of counts. One of JAX is evaluated in float64; to integers optax answers in float32."""
    jax = sys.modules.get("jax")

    def number(count: float) -> float:
        try:
            value = function(int(count) if float(count).is_integer() else float(count))
        except Exception as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"{WHO}: {role} is called with the count alone, from 0 on, and raised {type(error).__name__} at count "
                f"{count:g}: {error}"
            ) from error
        try:
            return float(value)
        except (TypeError, ValueError):
            raise TypeError(f"{WHO}: {role} must return a number, got {type(value).__name__} at count {count:g}") from None

    def one_by_one(counts: Array) -> Array:
        return np.array([number(count) for count in counts])

    if jax is None:
        return one_by_one
    try:
        first = function(0)
    except Exception:  # `number` says what it raises
        number(0)
        raise
    if not isinstance(first, jax.Array):
        return one_by_one
    from oracle.autodiff import schedule_values

    return lambda counts: np.asarray(schedule_values(function, counts))


def _finite(rates: Array) -> Array:
    if not np.isfinite(rates).all():
        raise ValueError(f"{WHO}: like must be finite, got {rates[~np.isfinite(rates)][0]}")
    return rates


def _horizon(rates: Rates) -> int:
    """So many counts that the rate stays the same in the second half."""
    steps = SHORTEST
    while steps < LONGEST and np.ptp(_finite(rates(np.arange(steps / 2, steps + 1)))) > 0:
        steps *= 2
    return steps


# ------------------------------------------------------------------------------------------------- causes


def _cause(ours: Array, theirs: Array, rates: Rates) -> str:
    """The mistake that gives these rates, which the reference gives at other counts, or times a factor; else none."""
    if not np.isfinite(ours).all():
        return "the rate is not finite"
    if _same(ours, theirs, theirs):
        return "no known cause"
    return _shifted(ours, theirs) or _with_warmup(ours, theirs, rates) or _scaled(ours, theirs) or "no known cause"


def _same(one: Array, other: Array, theirs: Array) -> bool:
    return bool(np.abs(one - other).max() <= SAME * largest(theirs))


def _shifted(ours: Array, theirs: Array) -> str:
    top = int(np.argmax(theirs))
    for size in range(1, min(FURTHEST, len(theirs) // 2) + 1):
        for k, own, other in ((size, ours[:-size], theirs[size:]), (-size, ours[size:], theirs[:-size])):
            if np.ptp(other) > 0 and _same(own, other, theirs):
                if k == top and k > 1:
                    return f"the schedule lacks its first part, the {k} steps up to its largest value"
                plus = "+" if k > 0 else "-"
                return f"the schedule is shifted by {k}: count c has the value of count c {plus} {size}"
    return ""


def _with_warmup(ours: Array, theirs: Array, rates: Rates) -> str:
    """How the decay after a warm-up counts its steps, if that explains our rates."""
    counts = np.arange(len(theirs), dtype=np.float64)
    changes = np.flatnonzero(np.diff(theirs))
    top, end = int(np.argmax(theirs)), int(changes[-1]) + 1 if changes.size else 0
    if not 0 < top < end:
        return ""
    share = (end - top) / end
    forms: Sequence[tuple[str, Array]] = (
        ("counts from the first step of all, not from its own first step", counts + top),
        ("takes the warm-up's steps for its own: its progress is step / all steps", top + counts * share),
        ("lasts too long: the warm-up's steps are not subtracted from its length", top + (counts - top) * share),
    )
    for words, later in forms:
        if _same(rates(np.where(counts < top, counts, later)), ours, theirs):
            return f"the decay after the warm-up of {top} steps {words}"
    return ""


def _scaled(ours: Array, theirs: Array) -> str:
    moving = np.abs(theirs) > SAME * largest(theirs)
    ratios = ours[moving] / theirs[moving]
    if not ratios.size or np.ptp(ratios) > SAME * np.abs(ratios).max() or not _same(ours, ratios[0] * theirs, theirs):
        return ""
    return f"the rate is multiplied by {ratios[0]:.10g}"
