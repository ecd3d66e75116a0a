"""Causes that depend on a sign or a threshold: right on one side of a number and wrong on the other, or another mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oracle.diagnosis.causes.regions import RIGHT, mistake
from oracle.diagnosis.sides import SELDOM, side_of
from oracle.diagnosis.view import View, errors_stand_out
from oracle.diagnosis.words import Array, at
from oracle.effort import AGREEING

__all__ = ["another_mask", "factor_on_one_side", "wrong_on_one_side"]


def factor_on_one_side(v: View) -> Iterator[str]:
    """The gradient is right on one side of a number, and one multiple of the true one on the other."""
    side = _wrong_side(v, SELDOM)
    there = mistake(v, v.wrong) if side else ""
    if not there:
        return
    rest = f"({_share(v)}); elsewhere {RIGHT}"
    if "the sign is wrong" in there:
        yield f"sign lost where {side}: there {v.name} is -1 times the true gradient {rest}"
    else:
        yield f"wrong on one side: {v.name} is wrong where {side}; there {there} {rest}"


def wrong_on_one_side(v: View) -> Iterator[str]:
    """The gradient is right on one side of a number, and wrong on the other for no known reason."""
    side = _wrong_side(v)
    if side:
        yield f"wrong on one side: {v.name} is wrong only where {side} ({_share(v)}); elsewhere {RIGHT}"


def _wrong_side(v: View, *odds: int) -> str:
    """The side of a number on which all wrong entries lie, as `x < 0`; empty if there is none."""
    # An entry at which both gradients are zero is no evidence that this side is right.
    return "" if not errors_stand_out(v) else side_of(v, v.wrong, v.wrong | (np.abs(v.truth) > v.tolerance), *odds)


def _share(v: View) -> str:
    return f"{np.count_nonzero(v.wrong)} of {v.index.size} entries"


def another_mask(v: View) -> Iterator[str]:
    """Some entries are zero where the true ones are not, others are not zero where the true ones are; the rest is right."""
    should_be_zero = np.abs(v.truth) <= v.tolerance
    none, flows = (v.ours == 0) & v.wrong, should_be_zero & v.wrong
    rest = ~(none | flows)
    live = np.count_nonzero(rest & ~should_be_zero)
    if not none.any() or not flows.any() or min(np.count_nonzero(~rest), live) < AGREEING:
        return
    elsewhere = RIGHT if not v.wrong[rest].any() else mistake(v, rest)
    if elsewhere:
        yield (
            f"another mask: {v.name} is zero where the true gradient is not ({_counted(v, none)}), and not zero where the "
            f"true gradient is zero ({_counted(v, flows)}); elsewhere {elsewhere}{_moved(v, should_be_zero)}"
        )


def _counted(v: View, mask: Array) -> str:
    """The number of entries, and the first one."""
    number = np.count_nonzero(mask)
    return f"{number} of {mask.size} entries, first {at(v.e, int(v.index[mask.argmax()]))}"


def _moved(v: View, should_be_zero: Array) -> str:
    """How the zeros of ours lie beside those of the true gradient, if one is the other reversed, shifted or transposed."""
    if not v.whole:
        return ""
    ours, truth = ((mask.reshape(v.shape)) for mask in (v.ours == 0, should_be_zero))
    moves = {"transposed": truth.T} if len(v.shape) == 2 else {}
    for axis in range(len(v.shape)):
        moves[f"reversed along axis {axis}"] = np.flip(truth, axis)
        moves |= {f"shifted by {by:+d} along axis {axis}": np.roll(truth, by, axis) for by in (1, -1)}
    how = [words for words, moved in moves.items() if np.array_equal(moved, ours)]
    return f"; its zeros are the true ones {how[0]}" if how else ""
