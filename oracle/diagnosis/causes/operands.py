"""Causes in which a product, or a quotient, was differentiated with another operand: x.T @ dy with the activations for x.

What stands beside the argument in a product is its slope. The arrays that the forward pass makes, and the arguments, are tried
instead of it: first those that are made of it, or of which it is made. In a loop this is asked of all steps at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from oracle.diagnosis.call import Call
from oracle.diagnosis.causes.slopes import explains_slopes
from oracle.diagnosis.held import Made, Recording, recorded
from oracle.diagnosis.sample import Sample
from oracle.diagnosis.screening import Screening, at_steps, groups_in, priced, screened
from oracle.diagnosis.uses import Operand, Use, number_of_line
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array

__all__ = ["operand_forgotten", "wrong_operand"]

PRODUCTS = {"multiply", "matmul", "dot", "inner", "outer", "einsum", "tensordot", "kron", "vecdot", "matvec", "vecmat"}
"""The functions that are linear in each of two operands."""
MOST = 12
"""The largest number of arrays that are tried instead of one operand, two evaluations each. With 48, the products of a norm may
spend a share of the budget; with 3, only what is made of the right operand is tried."""


def wrong_operand(v: View) -> Iterator[str]:
    """One product has another operand beside what depends on the argument."""
    yield from screened(v, partial(_wrong_operand, forgotten=False))


def operand_forgotten(v: View) -> Iterator[str]:
    """One product has no other operand. That of an argument has causes of its own, which come before."""
    yield from screened(v, partial(_wrong_operand, forgotten=True))


def _wrong_operand(v: View, s: Sample, screening: Screening, *, forgotten: bool) -> Iterator[str]:
    call = s.forward.call
    groups = [group for group in groups_in(v) if _has_factor(group[0])]
    if not groups or not s.forward.share.pay(s.forward.cost):
        return
    screening = priced(screening, groups)
    run = recorded(call, None)
    arrays = [made for made in run.made.values() if made.value.dtype.kind == "f"]
    for group in groups:
        ones = [("ones (is it forgotten?)", [np.ones_like(use.other) for use in group])]
        for words, instead in ones if forgotten else islice(_candidates(call, run, arrays, group), MOST):
            if explains_slopes(v, s, screening, {use.number: Operand(use, a) for use, a in zip(group, instead, strict=True)}):
                yield (
                    f"wrong operand: {v.name} is the gradient with {words} for {_right(call, arrays, group, instead)}, beside "
                    f"{group[0].anywhere}{at_steps(group)}"
                )


def _right(call: Call, arrays: Sequence[Made], group: Sequence[Use], instead: Sequence[Any]) -> str:
    """The name of what stands beside a group, if these arrays do not."""
    if len(group) > 1 and np.array_equal(group[1].other, instead[0]):
        return "that of the step before"
    if len(group) > 1 and np.array_equal(group[0].other, instead[1]):
        return "that of the step after"
    return _named(call, arrays, group[-1].other) or "the other operand"


def _has_factor(use: Use) -> bool:
    """Whether the slope by this use is the other operand, or one over it."""
    linear = use.function in PRODUCTS or (use.function == "divide" and use.position == 0)
    return linear and use.other is not None and np.asarray(use.other).dtype.kind == "f"


def _candidates(call: Call, run: Recording, arrays: Sequence[Made], group: Sequence[Use]) -> Iterator[tuple[str, list[Any]]]:
    """What may be written for the other operands of a group by mistake, each once, and its name."""
    others = [np.asarray(use.other) for use in group]
    seen = [others]
    for words, instead in (*_reordered(call, arrays, others), *_arguments(call, others), *_made(run, others)):
        fits = all(np.shape(a) == other.shape and np.isfinite(a).all() for a, other in zip(instead, others, strict=True))
        zero = group[0].function == "divide" and not all(np.all(a) for a in instead)
        known = fits and any(all(map(np.array_equal, instead, other)) for other in seen)
        if fits and not zero and not known:
            seen.append(instead)
            yield words, instead


def _reordered(call: Call, arrays: Sequence[Made], others: list[Array]) -> Iterator[tuple[str, list[Array]]]:
    """The other operand transposed."""
    name = _named(call, arrays, others[-1]) or "the other operand"
    if others[0].ndim > 1:
        yield f"the transpose of {name} (a .T forgotten, or one too many?)", [np.swapaxes(other, -1, -2) for other in others]


def _arguments(call: Call, others: list[Array]) -> Iterator[tuple[str, list[Array]]]:
    """The arguments."""
    yield from ((path, [a] * len(others)) for path, a in zip(call.paths, call.arguments, strict=True))


def _made(run: Recording, others: list[Array]) -> Iterator[tuple[str, list[Array]]]:
    """The arrays that the forward pass makes at as many steps.

    First those that are made of the right ones, or of which these are made; then those that are used more than once, or that
    enter a product of matrices, since other code reads these too.
    """
    read = run.ends | run.shared
    sites: dict[tuple[Any, ...], list[int]] = {}
    for number, made in run.made.items():
        if made.value.dtype.kind == "f":
            sites.setdefault((made.site, made.function), []).append(number)
    steps = [[n] for there in sites.values() for n in there] if len(others) == 1 else list(sites.values())
    right = next((n for n, made in run.made.items() if np.array_equal(made.value, others[-1])), None)
    kin = set() if right is None else {right, *run.made[right].operands}

    def distance(there: list[int]) -> tuple[int, int]:
        last = there[-1]
        near = last in kin or right in run.made[last].operands
        return (0 if near else 1 if last in read else 2), abs(last - (right or 0))

    for there in sorted(steps, key=distance):
        if len(there) == len(others):
            first = run.made[there[0]]
            words = f"what `{first.function}` gives in {number_of_line(first.place)}"
            yield words, [run.made[n].value for n in there]


def _named(call: Call, arrays: Sequence[Made], value: Any) -> str:
    """The name of an argument, or what makes this array; empty if neither is known."""
    for path, argument in zip(call.paths, call.arguments, strict=True):
        if np.array_equal(argument, value):
            return path
    made = next((one for one in arrays if np.array_equal(one.value, value)), None)
    return "" if made is None else f"what `{made.function}` gives in {number_of_line(made.place)}"
