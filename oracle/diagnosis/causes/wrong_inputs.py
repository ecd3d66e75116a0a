"""Causes in which the gradient belongs to other inputs: another argument, another keyword, another point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from oracle.arrays import quiet, vector
from oracle.diagnosis import hypotheses
from oracle.diagnosis.call import Call, keywords_of, numbers_of
from oracle.diagnosis.causes.fits import explain_factor, number
from oracle.diagnosis.forward_pass import SOUND
from oracle.diagnosis.matching import AGREE, matches_few
from oracle.diagnosis.sample import Sample, gradient_with
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array
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
    "constants": (hypotheses.at_constants, "wrong point: this is the gradient for {}"),
}
ITERATIONS = 10
"""Steps of the secant method towards the value of a keyword. It doubles its digits about every second step, so fewer may stop
short of the value, and more cost evaluations."""


def of_another_argument(v: View) -> Iterator[str]:
    """The gradient is that of another argument."""
    yield from _recognized(v, ["arguments"])


def of_another_value(v: View) -> Iterator[str]:
    """The forward pass of a rule of another library computes another function than the one that is called."""
    call = None if v.context.forward is None else v.context.forward.call
    if call is None or call.value_by_rule is None:
        return
    with quiet():
        value = call.value_by_rule(*call.primals, **call.options)
    if value is None:
        return
    called, by_rule = vector(call.value), vector(value)
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
    gradient = None if v.sample is None else _gradient_by_rule(v.sample)
    fits = gradient is not None and matches_few(v, gradient)
    right = "; the gradient is right for the forward pass of the rule" if fits else ""
    yield f"another forward pass: the forward pass of the rule returns other values than the function ({numbers}){right}"


def _gradient_by_rule(sample: Sample) -> Array | None:
    """The gradient of the rule's forward pass at the picked entries."""
    call = sample.forward.call
    assert call.value_by_rule is not None
    by_rule = replace(sample.forward, call=replace(call, function=call.value_by_rule))
    return gradient_with(replace(sample, forward=by_rule), call.primals, call.options)


def with_other_options(v: View) -> Iterator[str]:
    """The backward pass uses another value of a keyword than the forward pass."""
    yield from _recognized(v, ["exchanged", "options"])
    if v.sample is not None:
        for name, value in numbers_of(v.sample.forward.call).items():
            found = _fitted_number(v, v.sample, name, value)
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
    if v.sample is None or v.sample.few.size < (5 if by_factor else 3):
        return
    for kind in kinds:
        hypotheses_of_kind, sentence = KINDS[kind]
        for words, gradient in hypotheses_of_kind(v.sample):
            if not by_factor and matches_few(v, gradient):
                yield sentence.format(words) + _remark(v.sample.forward.call, v.sample.forward.leaf, kind, words)
            elif by_factor:
                fit = fit_scale(v.ours[v.sample.few_where], gradient[v.sample.few])
                named = "" if fit is None else _named(v, fit.scale)
                if fit is not None and named and matches_few(v, fit.scale * gradient):
                    yield f"{sentence.format(words)}, times {number(fit.scale)} ({named})"


def _named(v: View, scale: float) -> str:
    return explain_factor(scale, v.context.sizes, max(AGREE, eps_of(v.e.parameter.dtype)), v.context.numbers)


def _remark(call: Call, leaf: int, kind: str, words: str) -> str:
    """The end of a sentence. An argument may be left out of the gradients of others; its own may lack a factor of any kind."""
    if kind == "constants":
        return "" if words.startswith(f"{call.paths[leaf]} = ") else " (is that argument left out?)"
    return _given(call, words) if kind == "options" else ""


def _given(call: Call, words: str) -> str:
    """The end of a sentence: the value of the keyword in the forward pass; `words` begin with the name of the keyword."""
    value = keywords_of(call)[words.split(" = ", maxsplit=1)[0]]
    return "" if isinstance(value, np.ndarray) else f", but the forward pass uses {value!r}"


def _fitted_number(v: View, sample: Sample, name: str, value: float) -> float | None:
    """The value of a keyword that gives our gradient, by the secant method; None if it finds none."""
    if value == 0 or sample.few.size < 4:
        return None
    goal = v.ours[sample.few_where]
    before: Array | None = sample.here
    here = _with_number(sample, name, 1.01 * value)
    last, x = value, 1.01 * value
    for _ in range(ITERATIONS):
        if before is None or here is None or not np.isfinite(here).all():
            return None
        slope = (here - before)[sample.few] / (x - last)
        size = float(slope @ slope)
        if size == 0 or not np.isfinite(size):
            return None
        step = float(slope @ (goal - here[sample.few])) / size
        while value * (x + step) <= 0:  # with the other sign the keyword may mean something else
            step /= 2
        last, x = x, x + step
        before, here = here, _with_number(sample, name, x)
        if x == last:
            return None
        if here is not None and matches_few(v, here):
            return x
    return None


def _with_number(sample: Sample, name: str, value: float) -> Array | None:
    """The gradient for this value of one keyword."""
    call = sample.forward.call
    return gradient_with(sample, call.primals, {**call.options, name: value})
