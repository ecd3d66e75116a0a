"""Causes in which the gradient belongs to other inputs: another argument, another keyword, another point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from oracle.arrays import vector
from oracle.diagnosis import hypotheses
from oracle.diagnosis.causes.fits import explain_factor, number
from oracle.diagnosis.forward_pass import ForwardPass
from oracle.diagnosis.view import AGREE, SOUND, View
from oracle.measures import distance, eps_of, fit_scale, largest

__all__ = [
    "at_constants",
    "at_other_points",
    "multiplied_too_late",
    "of_another_argument",
    "of_another_value",
    "scaled",
    "with_other_options",
]

KINDS = {
    "arguments": (hypotheses.of_other_arguments, "arguments swapped: this is the gradient of {}"),
    "exchanged": (hypotheses.with_exchanged_options, "options swapped: this is the gradient with {}"),
    "options": (hypotheses.with_other_options, "option ignored: this is the gradient for {}"),
    "points": (hypotheses.at_other_points, "wrong point: this is the gradient with {}"),
    "late": (
        hypotheses.multiplied_too_late,
        "wrong point: this is {0} times the gradient for {0} = 1 (multiplied by {0} after a sum instead of before it?)",
    ),
    "constants": (hypotheses.at_constants, "wrong point: this is the gradient for {} (is that argument left out?)"),
}
ITERATIONS = 10
"""Steps of the secant method towards the value of a keyword. It doubles its digits about every second step, so fewer may stop
short of the value, and more cost evaluations."""


def of_another_argument(v: View) -> Iterator[str]:
    """The gradient is that of another argument."""
    yield from _recognized(v, ["arguments"])


def of_another_value(v: View) -> Iterator[str]:
    """The forward pass of a rule of another library computes another function than the one that is called."""
    forward = v.context.forward
    if forward is None or forward.other_value is None:
        return
    called, by_rule = vector(forward.value), vector(forward.other_value)
    if called.size != by_rule.size:
        yield (
            f"another forward pass: the function returns {called.size} numbers, "
            f"but the forward pass of its rule returns {by_rule.size}"
        )
        return
    apart = distance(by_rule, called)
    if not (apart > SOUND * largest(called)).any():
        return
    i = int(apart.argmax())
    numbers = f"{by_rule[i]:.6g} instead of {called[i]:.6g} at output {i}"
    gradient = None if v.sampled is None else v.sampled.forward.of_the_other_value()
    fits = gradient is not None and v.is_instead(gradient)
    right = "; the gradient is right for the forward pass of the rule" if fits else ""
    yield f"another forward pass: the forward pass of the rule returns other values than the function ({numbers}){right}"


def with_other_options(v: View) -> Iterator[str]:
    """The backward pass uses another value of a keyword than the forward pass."""
    yield from _recognized(v, ["exchanged", "options"])
    if v.sampled is not None:
        forward = v.sampled.forward
        for name, value in forward.numbers.items():
            found = _fitted_number(v, forward, name, value)
            if found is not None:
                yield f"option ignored: this is the gradient for {name} = {found:.6g}, but the forward pass uses {value!r}"


def at_other_points(v: View) -> Iterator[str]:
    """The formula is right, but it is evaluated with a wrong residual."""
    yield from _recognized(v, ["points"])


def multiplied_too_late(v: View) -> Iterator[str]:
    """The backward pass multiplies by an argument after a sum instead of before it."""
    yield from _recognized(v, ["late"])


def at_constants(v: View) -> Iterator[str]:
    """The backward pass leaves an argument out: its gradient is right if that argument is all ones, or all zeros."""
    yield from _recognized(v, ["constants"])


def scaled(v: View) -> Iterator[str]:
    """The gradient for other inputs, times a factor that has a name."""
    yield from _recognized(v, ["arguments", "exchanged", "options", "points"], by_factor=True)


def _recognized(v: View, kinds: Sequence[str], *, by_factor: bool = False) -> Iterator[str]:
    """A sentence for each hypothesis of these kinds that gives our gradient, or a multiple of it with a name if `by_factor`."""
    if v.sampled is None or v.sampled.few.size < (5 if by_factor else 3):
        return
    forward = v.sampled.forward
    for kind in kinds:
        hypotheses_of_kind, sentence = KINDS[kind]
        for words, gradient in hypotheses_of_kind(forward):
            if not by_factor and v.is_instead(gradient):
                yield sentence.format(words) + (_given(forward, words) if kind == "options" else "")
            elif by_factor:
                fit = fit_scale(v.ours[v.sampled.few_where], gradient[v.sampled.few])
                named = "" if fit is None else _named(v, fit.scale)
                if fit is not None and named and v.is_instead(fit.scale * gradient):
                    yield f"{sentence.format(words)}, times {number(fit.scale)} ({named})"


def _named(v: View, scale: float) -> str:
    return explain_factor(scale, v.context.sizes, max(AGREE, eps_of(v.e.parameter.dtype)), v.context.numbers)


def _given(forward: ForwardPass, words: str) -> str:
    """The end of a sentence: the value of the keyword in the forward pass; `words` begin with the name of the keyword."""
    value = forward.keywords[words.split(" = ", maxsplit=1)[0]]
    return "" if isinstance(value, np.ndarray) else f", but the forward pass uses {value!r}"


def _fitted_number(v: View, forward: ForwardPass, name: str, value: float) -> float | None:
    """The value of a keyword that gives our gradient, by the secant method; None if it finds none."""
    assert v.sampled is not None
    if value == 0 or v.sampled.few.size < 4:
        return None
    goal = v.ours[v.sampled.few_where]
    before, here = forward.here, forward.with_number(name, 1.01 * value)
    last, x = value, 1.01 * value
    for _ in range(ITERATIONS):
        if before is None or here is None or not np.isfinite(here).all():
            return None
        slope = (here - before)[v.sampled.few] / (x - last)
        size = float(slope @ slope)
        if size == 0 or not np.isfinite(size):
            return None
        step = float(slope @ (goal - here[v.sampled.few])) / size
        while value * (x + step) <= 0:  # with the other sign the keyword may mean something else
            step /= 2
        last, x = x, x + step
        before, here = here, forward.with_number(name, x)
        if x == last:
            return None
        if here is not None and v.is_instead(here):
            return x
    return None
