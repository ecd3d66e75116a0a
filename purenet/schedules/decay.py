"""Rates that fall, or rise, once and for all."""

from __future__ import annotations

import math
from collections.abc import Mapping

from purenet.checks import boolean, number
from purenet.schedules.rates import Schedule, positive

__all__ = [
    "exponential_decay",
    "inverse_time_decay",
    "linear_schedule",
    "noam_schedule",
    "piecewise_constant_schedule",
    "polynomial_schedule",
]


def exponential_decay(
    init_value: float,
    transition_steps: float,
    decay_rate: float,
    transition_begin: float = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """The rate is multiplied by `decay_rate` over every `transition_steps` updates.

    Math, with p = (t - transition_begin) / transition_steps, rounded down if `staircase`:
        rate(t) = init_value                      while t <= transition_begin
                = init_value * decay_rate^p       after it
        and never below `end_value` if decay_rate < 1, never above it otherwise.
    Errors: TypeError for what is not a number; ValueError unless all are finite, transition_steps and decay_rate
        positive and transition_begin not negative.
    Source: optax.exponential_decay. Conventions: where this raises, optax logs a line and returns a constant schedule (no
        steps, decay_rate 0) or begins at 0. Keras's ExponentialDecay has no beginning and no end; torch's ExponentialLR
        and StepLR are transition_steps=1 and staircase=True. A growing rate beyond the largest float is inf.

    >>> import purenet as pn
    >>> rate = pn.schedules.exponential_decay(1.0, transition_steps=2, decay_rate=0.25)
    >>> [rate(count) for count in range(5)]
    [1.0, 0.5, 0.25, 0.125, 0.0625]
    >>> stairs = pn.schedules.exponential_decay(1.0, transition_steps=2, decay_rate=0.25, staircase=True, end_value=0.125)
    >>> [stairs(count) for count in range(5)]
    [1.0, 1.0, 0.25, 0.25, 0.125]
    """
    who = "exponential_decay"
    init_value = number(who, "init_value", init_value)
    transition_steps = number(who, "transition_steps", transition_steps)
    decay_rate = number(who, "decay_rate", decay_rate)
    transition_begin = number(who, "transition_begin", transition_begin, 0)
    if end_value is not None:
        end_value = number(who, "end_value", end_value)
    boolean(who, "staircase", staircase)
    if transition_steps <= 0 or decay_rate <= 0:
        raise ValueError(f"{who}: transition_steps and decay_rate must be positive, got {transition_steps} and {decay_rate}")

    def schedule(count: int) -> float:
        elapsed = count - transition_begin
        periods = elapsed / transition_steps
        if staircase:
            periods = math.floor(periods)
        value = init_value if elapsed <= 0 else init_value * _power(decay_rate, periods)
        if end_value is None:
            return value
        return max(value, end_value) if decay_rate < 1 else min(value, end_value)

    return schedule


def piecewise_constant_schedule(init_value: float, boundaries_and_scales: Mapping[int, float] | None = None) -> Schedule:
    """The rate is multiplied by a factor at each boundary.

    Math:
        rate(t) = init_value * product of boundaries_and_scales[b] over all b <= t
    Errors: TypeError for what is not a number or, for the boundaries, not a dict; ValueError unless all are finite and the
        factors not negative.
    Source: optax.piecewise_constant_schedule. Conventions: torch's MultiStepLR has one factor for all its milestones.
        Keras's PiecewiseConstantDecay has values instead of factors, and the old value still at the boundary itself.

    >>> import purenet as pn
    >>> rate = pn.schedules.piecewise_constant_schedule(1.0, {2: 0.5, 3: 0.5})
    >>> [rate(count) for count in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """
    who = "piecewise_constant_schedule"
    value, steps = number(who, "init_value", init_value), scales(who, boundaries_and_scales)

    def schedule(count: int) -> float:
        return math.prod((factor for boundary, factor in steps if boundary <= count), start=value)

    return schedule


def polynomial_schedule(
    init_value: float, end_value: float, power: float, transition_steps: float, transition_begin: float = 0
) -> Schedule:
    """From one rate to another along a power of what remains.

    Math, with p = 1 - (t - transition_begin) / transition_steps, brought to [0, 1]:
        rate(t) = (init_value - end_value) p^power + end_value
    Errors: TypeError for what is not a number; ValueError unless all are finite, transition_begin not negative, and power and
        transition_steps positive.
    Source: optax.polynomial_schedule. Conventions: without steps, optax logs a line and stays at init_value. Keras's
        PolynomialDecay and torch's PolynomialLR are this with no beginning, and torch's without an end_value.

    >>> import purenet as pn
    >>> rate = pn.schedules.polynomial_schedule(9.0, 1.0, power=2, transition_steps=2)
    >>> [rate(count) for count in range(4)]
    [9.0, 3.0, 1.0, 1.0]
    """
    return _polynomial("polynomial_schedule", init_value, end_value, power, transition_steps, transition_begin)


def linear_schedule(init_value: float, end_value: float, transition_steps: float, transition_begin: float = 0) -> Schedule:
    """From one rate to another in a straight line.

    Math, with p = (t - transition_begin) / transition_steps, brought to [0, 1]:
        rate(t) = init_value + (end_value - init_value) p
    Errors: as `schedules.polynomial_schedule`.
    Source: optax.linear_schedule. Conventions: torch's LinearLR has factors of the optimizer's rate instead of values.

    >>> import purenet as pn
    >>> rate = pn.schedules.linear_schedule(1.0, 2.0, transition_steps=4, transition_begin=1)
    >>> [rate(count) for count in range(6)]
    [1.0, 1.0, 1.25, 1.5, 1.75, 2.0]
    """
    return _polynomial("linear_schedule", init_value, end_value, 1, transition_steps, transition_begin)


def inverse_time_decay(init_value: float, decay_steps: float, decay_rate: float, staircase: bool = False) -> Schedule:
    """The rate falls as the inverse of time.

    Math, with p = t / decay_steps, rounded down if `staircase`:
        rate(t) = init_value / (1 + decay_rate * p)
    Errors: TypeError for what is not a number; ValueError unless all are finite, decay_steps positive and decay_rate not
        negative.
    Source: Robbins and Monro (1951). Conventions: Keras's InverseTimeDecay. optax has none. It is the lr_decay of torch's
        Adagrad and ASGD and the decay_factor of ONNX's, with decay_steps=1.

    >>> import purenet as pn
    >>> rate = pn.schedules.inverse_time_decay(1.0, decay_steps=2, decay_rate=2.0)
    >>> rate(0), rate(1), rate(3)
    (1.0, 0.5, 0.25)
    """
    who = "inverse_time_decay"
    value, rate = number(who, "init_value", init_value), number(who, "decay_rate", decay_rate, 0)
    (steps,) = positive(who, decay_steps=decay_steps)
    boolean(who, "staircase", staircase)
    return lambda count: value / (1 + rate * (math.floor(count / steps) if staircase else count / steps))


def noam_schedule(d_model: float, warmup_steps: float, factor: float = 1.0) -> Schedule:
    """The rate of the first Transformer: up in a straight line, then down as the inverse root of the step.

    Math, with s = t + 1:
        rate(t) = factor * d_model^(-1/2) * min(s^(-1/2), s * warmup_steps^(-3/2))
    Errors: TypeError for what is not a number; ValueError unless all are finite, d_model and warmup_steps positive and
        factor not negative.
    Source: Vaswani et al. (2017), equation 3. Conventions: steps count from 1 there. optax and torch have none.

    >>> import purenet as pn
    >>> rate = pn.schedules.noam_schedule(d_model=4, warmup_steps=4)
    >>> rate(0), rate(3), rate(15)
    (0.0625, 0.25, 0.125)
    """
    who = "noam_schedule"
    width, warmup = positive(who, d_model=d_model, warmup_steps=warmup_steps)
    scale = number(who, "factor", factor, 0) / math.sqrt(width)
    return lambda count: scale * min((count + 1) ** -0.5, (count + 1) * warmup**-1.5)


# ------------------------------------------------------------------------------------------------------ the parts


def scales(who: str, boundaries_and_scales: Mapping[int, float] | None) -> list[tuple[float, float]]:
    """The boundaries and the factors at them, in order."""
    given = {} if boundaries_and_scales is None else boundaries_and_scales
    if not isinstance(given, Mapping):
        raise TypeError(f"{who}: boundaries_and_scales must be a dict, got {type(given).__name__}")
    return sorted(
        (number(who, "a boundary", boundary, 0), number(who, f"boundaries_and_scales[{boundary!r}]", factor, 0))
        for boundary, factor in given.items()
    )


def _polynomial(who: str, init: float, end: float, power: float, steps: float, begin: float) -> Schedule:
    init, end = number(who, "init_value", init), number(who, "end_value", end)
    power, begin = number(who, "power", power, above=0), number(who, "transition_begin", begin, 0)
    (steps,) = positive(who, transition_steps=steps)

    def schedule(count: int) -> float:
        elapsed = min(max(count - begin, 0.0), steps)
        return float((init - end) * ((steps - elapsed) / steps) ** power + end)

    return schedule


def _power(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf
