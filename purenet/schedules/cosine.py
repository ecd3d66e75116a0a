"""Rates along a cosine: once, after a warm-up, and again and again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from purenet.checks import number
from purenet.schedules.decay import linear_schedule
from purenet.schedules.rates import Schedule, join_schedules, positive

__all__ = ["cosine_decay_schedule", "sgdr_schedule", "warmup_cosine_decay_schedule"]


def cosine_decay_schedule(init_value: float, decay_steps: float, alpha: float = 0.0, exponent: float = 1.0) -> Schedule:
    """From a rate to the fraction alpha of it, along half a period of a cosine.

    Math, with t brought to at most decay_steps:
        c = (1 + cos(pi t / decay_steps)) / 2
        rate(t) = init_value ((1 - alpha) c^exponent + alpha)
    Errors: TypeError for what is not a number; ValueError unless all are finite, decay_steps positive, exponent not negative.
    Source: Loshchilov and Hutter (2017); optax.cosine_decay_schedule. Conventions: the rate stays where it has come to;
        torch's CosineAnnealingLR rises again after T_max, and has a smallest rate where this has a fraction.

    >>> import purenet as pn
    >>> rate = pn.schedules.cosine_decay_schedule(2.0, decay_steps=4, alpha=0.5)
    >>> [round(rate(count), 6) for count in (0, 2, 4, 9)]
    [2.0, 1.5, 1.0, 1.0]
    """
    return _cosine("cosine_decay_schedule", init_value, decay_steps, alpha, exponent)


def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: float,
    decay_steps: float,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    """Up to the peak in a straight line, then down along half a period of a cosine.

    Math, for t < warmup_steps:
        rate(t) = init_value + (peak_value - init_value) t / warmup_steps
    and from then on `cosine_decay_schedule` from peak_value to end_value in decay_steps - warmup_steps steps.
    Errors: TypeError for what is not a number; ValueError unless all are finite, warmup_steps and exponent not negative, and
        decay_steps more than warmup_steps.
    Source: Goyal et al. (2017) for the warm-up; optax.warmup_cosine_decay_schedule. Conventions: as in optax decay_steps is
        the length of both parts. A peak of 0 stays 0.

    >>> import purenet as pn
    >>> rate = pn.schedules.warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=2, decay_steps=6)
    >>> [round(rate(count), 6) for count in (0, 1, 2, 4, 6)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    who = "warmup_cosine_decay_schedule"
    low, peak = number(who, "init_value", init_value), number(who, "peak_value", peak_value)
    warmup, end = number(who, "warmup_steps", warmup_steps, 0), number(who, "end_value", end_value)
    total = number(who, "decay_steps", decay_steps)
    if total <= warmup:
        raise ValueError(f"{who}: decay_steps must be more than the warmup_steps {warmup}, which it includes, got {total}")
    down = _cosine(who, peak, total - warmup, end / peak if peak else 0.0, exponent)
    return join_schedules([linear_schedule(low, peak, warmup), down], [warmup]) if warmup else down


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> Schedule:
    """Cosines with restarts: one `warmup_cosine_decay_schedule` after the other, each of decay_steps.

    Math, with B_i the sum of the decay_steps of the first i:
        rate(t) = that of the last i with B_i <= t, at t - B_i
    Errors: ValueError without a cycle; TypeError for what is not a dict or has unknown keys; as warmup_cosine_decay_schedule.
    Source: Loshchilov and Hutter (2017), "SGDR"; optax.sgdr_schedule. Conventions: torch's CosineAnnealingWarmRestarts goes
        on forever, with cycles T_mult times as long each; here the last cycle ends at its end_value.

    >>> import purenet as pn
    >>> cycle = {"init_value": 1.0, "peak_value": 1.0, "warmup_steps": 0}
    >>> rate = pn.schedules.sgdr_schedule([{**cycle, "decay_steps": 2}, {**cycle, "decay_steps": 4}])
    >>> [round(rate(count), 6) for count in (0, 1, 2, 4, 6)]
    [1.0, 0.5, 1.0, 0.5, 0.0]
    """
    cycles = list(cosine_kwargs)
    if not cycles:
        raise ValueError("sgdr_schedule: cosine_kwargs must have at least one cycle")
    for i, cycle in enumerate(cycles):
        if not isinstance(cycle, Mapping):
            raise TypeError(f"sgdr_schedule: cosine_kwargs[{i}] must be a dict, got {type(cycle).__name__}")
    schedules = [warmup_cosine_decay_schedule(**cycle) for cycle in cycles]
    boundaries = [sum(cycle["decay_steps"] for cycle in cycles[: i + 1]) for i in range(len(cycles) - 1)]
    return join_schedules(schedules, boundaries)


def _cosine(who: str, init: float, steps: float, alpha: float, exponent: float) -> Schedule:
    init, alpha = number(who, "init_value", init), number(who, "alpha", alpha)
    exponent = number(who, "exponent", exponent, above=0)
    (steps,) = positive(who, decay_steps=steps)

    def schedule(count: int) -> float:
        share = 0.5 * (1 + math.cos(math.pi * min(count, steps) / steps))
        return float(init * ((1 - alpha) * share**exponent + alpha))

    return schedule
