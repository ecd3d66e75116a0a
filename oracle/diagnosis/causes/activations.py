"""Causes in which the slope of an activation is wrong or forgotten, however the activation is spelled.

A ReLU may be one call or a product with a mask, a sigmoid four calls. What they share is that each entry of what they give is a
function of one entry of what enters, between two steps that mix entries, such as products of matrices. The activation is then
a straight line with another slope (see `Bent`), so that its right slope need not be known.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from oracle.arrays import quiet
from oracle.diagnosis.call import Call
from oracle.diagnosis.causes.slopes import explains_slopes
from oracle.diagnosis.held import Recording, recorded
from oracle.diagnosis.sample import Sample
from oracle.diagnosis.screening import Screening, at_steps, screened
from oracle.diagnosis.uses import Bent, Use, line_of
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array

__all__ = ["wrong_activation"]

MOST = 8
"""The largest number of activations. Each costs about 25 evaluations: with 32, an error without a known cause may spend a fifth
of the budget here; with 2, the first layers of a net are left out."""
SCALED = {"add", "subtract", "multiply", "divide", "copy"}
"""What may be done before an activation and belongs to what enters it: a bias is added, scores are scaled."""
BENT = -1
"""The key of what is bent, which is the number of no use. What is bent at other steps of a loop has lower ones."""
STEP = 2.0**-17
"""The step of the differences by which an activation is differentiated at its own value. Smaller, and rounding loses more than
the half of its digits; larger, and so does truncation."""


class _Activation(NamedTuple):
    """A function of each entry."""

    start: int
    end: int
    first: Use
    """The first use of what enters it."""
    function: str
    """The last call in it."""
    place: tuple[str, int]
    value: Array
    site: tuple[int, ...]


def wrong_activation(v: View) -> Iterator[str]:
    """An activation has another slope."""
    yield from screened(v, _wrong_activation)


def _wrong_activation(v: View, s: Sample, screening: Screening) -> Iterator[str]:
    forward = s.forward
    if not forward.share.pay(forward.cost):
        return
    groups: dict[object, list[_Activation]] = {}
    for one in _activations(recorded(forward.call, forward.leaf)):
        groups.setdefault((one.first.site, one.first.function, one.function, one.site), []).append(one)
    for group in islice(groups.values(), MOST):
        first = group[0]
        slopes = [dict(_slopes(forward.call, forward.leaf, one, at_value=len(group) == 1)) for one in group]
        for words in [one for one in slopes[0] if all(one in others for others in slopes)]:
            held = {
                BENT - i: Bent(one.start, one.end, one.first.value, one.value, others[words])
                for i, (one, others) in enumerate(zip(group, slopes, strict=True))
            }
            if explains_slopes(v, s, screening, held):
                forgotten = " (is the slope forgotten?)" if words == "1" else ""
                steps = at_steps([one.first for one in group])
                yield f"wrong slope: {v.name} is the gradient with {words} for dh/dz, {_place(first)}{steps}{forgotten}"


def _place(one: _Activation) -> str:
    """What z and h are."""
    there = line_of(one.place)
    if one.first.line != there:
        return f"where z enters `{one.first.function}` in {one.first.line} and h is the value of `{one.function}` in {there}"
    if one.first.function != one.function:
        return f"where z enters `{one.first.function}` and h is the value of `{one.function}` in {there}"
    return f"where z enters `{one.function}` and h is its value in {there}"


def _activations(run: Recording) -> Iterator[_Activation]:
    """The functions of each entry, in the order of what they give."""
    for end in sorted(run.ends | (run.shared & run.made.keys())):
        made = run.made.get(end)
        if made is None or made.root == end:
            continue
        start = _start(run, made.root)
        first = run.first.get(start)
        if start != end and first is not None and first.value.shape == made.value.shape and made.value.size > 1:
            yield _Activation(start, end, first, made.function, made.place, made.value, made.site)


def _start(run: Recording, root: int) -> int:
    """The number of what enters an activation: what is added to its root, or multiplied, belongs to that."""
    used = run.ends.union(*(made.operands for made in run.made.values()))
    start = root
    while True:
        takers = [number for number, made in run.made.items() if start in made.operands and number in used]
        made = run.made[takers[0]] if len(takers) == 1 else None
        alone = made is not None and made.function in SCALED and sum(n is not None for n in made.operands) == 1
        below = made is not None and made.function in {"subtract", "divide"} and made.operands[0] != start
        if made is None or not alone or below or made.root != root:
            return start
        start = takers[0]


def _slopes(call: Call, leaf: int, one: _Activation, *, at_value: bool) -> Iterator[tuple[str, Array]]:
    """What is written for the slope of an activation by mistake, each once; also its slope where its value enters it."""
    z, h = one.first.value, one.value
    seen: list[Array] = []
    with quiet():
        written = {
            "1": np.ones_like(h),
            "h * (1 - h)": h * (1 - h),
            "1 - h**2": 1 - h * h,
            "1 - h": 1 - h,
            "z * (1 - z)": z * (1 - z),
            "1 - z**2": 1 - z * z,
            "z > 0": np.where(z > 0, 1.0, 0.0),
            "h > 0": np.where(h > 0, 1.0, 0.0),
            "h": h,
            "z": z,
            "the slope at h": _slope_at_value(call, leaf, one) if at_value else None,
        }
    for words, slope in written.items():
        if slope is not None and np.isfinite(slope).all() and not any(np.array_equal(slope, other) for other in seen):
            seen.append(slope)
            yield words, slope


def _slope_at_value(call: Call, leaf: int, one: _Activation) -> Array | None:
    """The slope of an activation where what it gives enters it."""
    step = STEP * max(1.0, float(np.abs(one.value).max()))
    values = []
    for by in (step, -step):
        made = recorded(call, leaf, (one.start, one.value + by)).made.get(one.end)
        values.append(None if made is None or made.value.shape != one.value.shape else made.value)
    above, below = values
    return None if above is None or below is None else (above - below) / (2 * step)
