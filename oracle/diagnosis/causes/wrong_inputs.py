"""The gradient of something else: of another argument, with another keyword, at another point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from oracle.arrays import vector
from oracle.diagnosis import hypotheses
from oracle.diagnosis.causes.fits import explain_factor, number
from oracle.diagnosis.forward_pass import ForwardPass
from oracle.diagnosis.view import AGREE, SOUND, View
from oracle.measures import differences, eps_of, fit_scale, largest

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
    "options": (hypotheses.with_other_options, "option ignored: this is the gradient with {}"),
    "points": (hypotheses.at_other_points, "wrong point: this is the gradient where {}"),
    "late": (
        hypotheses.multiplied_too_late,
        "wrong point: this is the gradient where {0} is 1, times {0}: multiplied too late?",
    ),
    "constants": (hypotheses.at_constants, "wrong point: this is the gradient where {}: is it forgotten?"),
}
ITERATIONS = 10  # towards the value of a keyword


def of_another_argument(v: View) -> Iterator[str]:
    """The cotangents of two arguments stand in each other's place."""
    yield from _recognized(v, ["arguments"])


def of_another_value(v: View) -> Iterator[str]:
    """What is differentiated is another function than what is called."""
    q = v.context.forward
    if q is None or q.other_value is None:
        return
    called, ruled = vector(q.value), vector(q.other_value)
    if called.size != ruled.size:
        yield f"another forward pass: the rule's own returns {ruled.size} numbers, the function {called.size}"
        return
    apart = differences(ruled, called)
    if not (apart > SOUND * largest(called)).any():
        return
    i = int(apart.argmax())
    there = f"at output {i} it is {ruled[i]:.6g}, the value of the function {called[i]:.6g}"
    gradient = None if v.sampled is None else v.sampled.forward.of_the_other_value()
    right = "; the gradient is that of the former" if gradient is not None and v.is_instead(gradient) else ""
    yield f"another forward pass: the value that the rule's own returns is not that of the function ({there}){right}"


def with_other_options(v: View) -> Iterator[str]:
    """Forward and backward pass disagree about a keyword."""
    yield from _recognized(v, ["exchanged", "options"])
    if v.sampled is not None:
        q = v.sampled.forward
        for name, value in q.numbers.items():
            found = _fitted_number(v, q, name, value)
            if found is not None:
                yield f"option ignored: this is the gradient with {name} = {found:.6g}; the forward pass has {value!r}"


def at_other_points(v: View) -> Iterator[str]:
    """The right formula with a wrong residual."""
    yield from _recognized(v, ["points"])


def multiplied_too_late(v: View) -> Iterator[str]:
    """A factor that stands before a sum should stand behind it."""
    yield from _recognized(v, ["late"])


def at_constants(v: View) -> Iterator[str]:
    """A factor or a path is missing that is there unless an argument is one, or zero."""
    yield from _recognized(v, ["constants"])


def scaled(v: View) -> Iterator[str]:
    """Any of these, times a factor that means something."""
    yield from _recognized(v, ["arguments", "exchanged", "options", "points"], by_factor=True)


def _recognized(v: View, kinds: Sequence[str], *, by_factor: bool = False) -> Iterator[str]:
    """What is ours among the gradients of these kinds, in words."""
    if v.sampled is None or v.sampled.few.size < (5 if by_factor else 3):
        return
    q = v.sampled.forward
    for kind in kinds:
        supposed, words = KINDS[kind]
        for said, gradient in supposed(q):
            if not by_factor and v.is_instead(gradient):
                yield words.format(said) + (_given(q, said) if kind == "options" else "")
            elif by_factor:
                fit = fit_scale(v.ours[v.sampled.few_where], gradient[v.sampled.few])
                named = "" if fit is None else _named(v, fit.scale)
                if fit is not None and named and v.is_instead(fit.scale * gradient):
                    yield f"{words.format(said)}, times {number(fit.scale)} ({named})"


def _named(v: View, scale: float) -> str:
    return explain_factor(scale, v.context.sizes, max(AGREE, eps_of(v.e.parameter.dtype)), v.context.numbers)


def _given(q: ForwardPass, said: str) -> str:
    """The value of the keyword in the forward pass."""
    value = q.keywords[said.split(" = ", maxsplit=1)[0]]
    return "" if isinstance(value, np.ndarray) else f"; the forward pass has {value!r}"


def _fitted_number(v: View, q: ForwardPass, name: str, value: float) -> float | None:
    """The value of a keyword at which the gradient is ours, by the secant method."""
    assert v.sampled is not None
    if value == 0 or v.sampled.few.size < 4:
        return None
    goal = v.ours[v.sampled.few_where]
    before, here = q.here, q.with_number(name, 1.01 * value)
    last, x = value, 1.01 * value
    for _ in range(ITERATIONS):
        if before is None or here is None or not np.isfinite(here).all():
            return None
        slope = (here - before)[v.sampled.few] / (x - last)
        size = float(slope @ slope)
        if size == 0 or not np.isfinite(size):
            return None
        step = float(slope @ (goal - here[v.sampled.few])) / size
        while value * (x + step) <= 0:  # the other side of zero is another function
            step /= 2
        last, x = x, x + step
        before, here = here, q.with_number(name, x)
        if x == last:
            return None
        if here is not None and v.is_instead(here):
            return x
    return None
