"""Rates that go up and down: between values at given counts, in one cycle, and in cycles without end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Literal

from purenet.checks import choice, number
from purenet.schedules.decay import scales
from purenet.schedules.rates import Schedule, positive

__all__ = [
    "cosine_onecycle_schedule",
    "cyclic_schedule",
    "linear_onecycle_schedule",
    "piecewise_interpolate_schedule",
]


def piecewise_interpolate_schedule(
    interpolate_type: Literal["linear", "cosine"],
    init_value: float,
    boundaries_and_scales: Mapping[int, float] | None = None,
) -> Schedule:
    """Between values at given counts, along straight lines or half periods of a cosine.

    Math, with the boundaries b_1 < b_2 < ... and b_0 = 0, v_0 = init_value, v_i = v_{i-1} boundaries_and_scales[b_i], for t
    between b_i and b_{i+1} and p = (t - b_i) / (b_{i+1} - b_i):
        linear: rate(t) = v_i + (v_{i+1} - v_i) p          cosine: rate(t) = v_{i+1} + (v_i - v_{i+1}) (1 + cos(pi p)) / 2
    and the last v after the last boundary.
    Errors: TypeError for what is not a number or, for the boundaries, not a dict; ValueError for another type, unless all are
        finite and the factors not negative.
    Source: optax.piecewise_interpolate_schedule.

    >>> import purenet as pn
    >>> rate = pn.schedules.piecewise_interpolate_schedule("linear", 1.0, {2: 3.0, 4: 0.5})
    >>> [rate(count) for count in range(6)]
    [1.0, 2.0, 3.0, 2.25, 1.5, 1.5]
    """
    who = "piecewise_interpolate_schedule"
    choice(who, "interpolate_type", interpolate_type, ("linear", "cosine"))
    steps = scales(who, boundaries_and_scales)
    bounds = [0.0, *(boundary for boundary, _ in steps)]
    values = list(
        accumulate((factor for _, factor in steps), lambda v, f: v * f, initial=number(who, "init_value", init_value))
    )
    spans = list(zip(pairwise(bounds), pairwise(values), strict=True))

    def schedule(count: int) -> float:
        for (start, stop), (old, new) in spans:
            if start <= count < stop:
                part = (count - start) / (stop - start)
                return old + (new - old) * (part if interpolate_type == "linear" else (1 - math.cos(math.pi * part)) / 2)
        return values[-1]

    return schedule


def linear_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    pct_final: float = 0.85,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Up to the peak, down again and further down, each in a straight line.

    Math: straight lines through
        peak_value / div_factor at 0,                            peak_value at pct_start * transition_steps,
        peak_value / div_factor at pct_final * transition_steps, and peak_value / (div_factor final_div_factor) at the end
    with both counts rounded down.
    Errors: TypeError for what is not a number; ValueError unless all are finite, transition_steps, div_factor and
        final_div_factor positive, and the three counts different and in order.
    Source: Smith and Topin (2019); optax.linear_onecycle_schedule.

    >>> import purenet as pn
    >>> rate = pn.schedules.linear_onecycle_schedule(8, 4.0, 0.25, 0.5, div_factor=2.0, final_div_factor=2.0)
    >>> [rate(count) for count in (0, 1, 2, 3, 4, 6, 8)]
    [2.0, 3.0, 4.0, 3.0, 2.0, 1.5, 1.0]
    """
    who = "linear_onecycle_schedule"
    steps, peak, div, final = _cycle(who, transition_steps, peak_value, div_factor, final_div_factor)
    counts = _counts(who, steps, pct_start=pct_start, pct_final=pct_final)
    factors = (div, 1 / div, 1 / final)
    return piecewise_interpolate_schedule("linear", peak / div, dict(zip(counts, factors, strict=True)))


def cosine_onecycle_schedule(
    transition_steps: int,
    peak_value: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> Schedule:
    """Up to the peak and down below the start, each along half a period of a cosine.

    Math: half periods of a cosine through
        peak_value / div_factor at 0, peak_value at pct_start * transition_steps, rounded down,
        and peak_value / (div_factor final_div_factor) at the end
    Errors: as `schedules.linear_onecycle_schedule`.
    Source: Smith and Topin (2019); optax.cosine_onecycle_schedule. Conventions: torch's OneCycleLR reaches the peak one
        step earlier, at pct_start * total_steps - 1, and its end at total_steps - 1.

    >>> import purenet as pn
    >>> rate = pn.schedules.cosine_onecycle_schedule(8, 4.0, pct_start=0.25, div_factor=2.0, final_div_factor=2.0)
    >>> [round(rate(count), 6) for count in (0, 1, 2, 5, 8)]
    [2.0, 3.0, 4.0, 2.5, 1.0]
    """
    who = "cosine_onecycle_schedule"
    steps, peak, div, final = _cycle(who, transition_steps, peak_value, div_factor, final_div_factor)
    counts = _counts(who, steps, pct_start=pct_start)
    factors = (div, 1 / (div * final))
    return piecewise_interpolate_schedule("cosine", peak / div, dict(zip(counts, factors, strict=True)))


def cyclic_schedule(
    init_value: float,
    peak_value: float,
    step_size_up: float,
    step_size_down: float | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: float = 1.0,
) -> Schedule:
    """Up and down in straight lines, again and again.

    Math, with c the number of whole cycles of step_size_up + step_size_down before t and h the height in its own, from 0 up to
    1 in step_size_up steps and down to 0 in step_size_down, which are as many by default:
        rate(t) = init_value + (peak_value - init_value) h s
    where s is 1 for triangular, 2^-c for triangular2 and gamma^t for exp_range.
    Errors: TypeError for what is not a number; ValueError for another mode, unless all are finite, the steps positive and
        gamma in [0, 1].
    Source: Smith (2017). Conventions: torch's CyclicLR, whose base_lr and max_lr are the first two. optax has none.

    >>> import purenet as pn
    >>> rate = pn.schedules.cyclic_schedule(1.0, 3.0, step_size_up=2, mode="triangular2")
    >>> [rate(count) for count in range(8)]
    [1.0, 2.0, 3.0, 2.0, 1.0, 1.5, 2.0, 1.5]
    """
    who = "cyclic_schedule"
    low, peak = number(who, "init_value", init_value), number(who, "peak_value", peak_value)
    up, down = positive(
        who, step_size_up=step_size_up, step_size_down=step_size_up if step_size_down is None else step_size_down
    )
    choice(who, "mode", mode, ("triangular", "triangular2", "exp_range"))
    base = number(who, "gamma", gamma, 0, 1)

    def schedule(count: int) -> float:
        cycle, place = divmod(count, up + down)
        height = place / up if place <= up else (up + down - place) / down
        share = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": base**count}[mode]
        return float(low + (peak - low) * height * share)

    return schedule


def _cycle(who: str, steps: float, peak: float, div: float, final: float) -> tuple[float, float, float, float]:
    div, final = positive(who, div_factor=div, final_div_factor=final)
    (steps,) = positive(who, transition_steps=steps)
    return steps, number(who, "peak_value", peak), div, final


def _counts(who: str, steps: float, **parts: float) -> list[int]:
    """The counts at which the parts end, and the last."""
    counts = [*(int(number(who, name, part, 0, 1) * steps) for name, part in parts.items()), int(steps)]
    if any(later <= earlier for earlier, later in pairwise(counts)):
        raise ValueError(f"{who}: its parts must end one after the other, got {counts} for {', '.join(parts)} and the end")
    return counts
