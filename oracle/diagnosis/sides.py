"""Which side of a number the wrong entries are on: `x < 0`, `x is 1.12 or more`, in terms of a tensor that the call uses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb

import numpy as np

from oracle.diagnosis.call import Call, tensors_of_shape
from oracle.diagnosis.view import View
from oracle.diagnosis.words import Array

__all__ = ["SELDOM", "UNLIKELY", "side_of"]

UNLIKELY = 100
"""How many times more sets of as many entries there must be than sides that are tried. With fewer, entries that are wrong for
another reason lie on one side of something by chance, about once in this number."""
SELDOM = 20
"""The same where something else is known of these entries already: that they all are one multiple of the true ones."""
ANYWHERE = 10
"""Times that, for sides of a number other than 0, which nothing else distinguishes."""


def side_of(v: View, chosen: Array, among: Array, odds: int = UNLIKELY) -> str:
    """`x < 0`, if exactly these of some known entries are on that side; empty if there is no such side, or by chance.

    The sides of 0 come first, then those of other numbers.
    """
    forward = v.context.forward
    count, total = np.count_nonzero(chosen & among), np.count_nonzero(among)
    if forward is None or not 1 < count < total - 1:
        return ""
    tensors = {name: t.ravel()[v.index] for name, t in _candidates(forward.call, v.shape).items()}
    sets = comb(total, count)
    yes, no = chosen & among, ~chosen & among
    if sets >= 2 * odds * len(tensors):
        for name, t in tensors.items():
            for words in _of_zero(name, t[yes], t[no]):
                return words
    if sets >= 4 * ANYWHERE * odds * len(tensors):
        for name, t in tensors.items():
            for words in (*_of_number(name, t[yes], t[no]), *_of_number(f"|{name}|", abs(t[yes]), abs(t[no]))):
                return words
    return ""


def _candidates(call: Call, shape: tuple[int, ...]) -> dict[str, Array]:
    """The tensors of this shape, and the differences of two arguments or keywords, as a loss compares."""
    known = tensors_of_shape(call, shape)
    given = {name: t for name, t in known.items() if name not in ("the value", "dy")}
    differences = {f"({a} - {b})": given[a] - given[b] for a, b in combinations(given, 2)}
    return given | differences | {name: t for name, t in known.items() if name not in given}


def _of_zero(name: str, yes: Array, no: Array) -> Iterator[str]:
    if yes.max() <= 0 <= no.min() and (yes.max() < 0 or no.min() > 0):
        yield f"{name} < 0" if yes.max() < 0 else f"{name} <= 0"
    elif yes.min() >= 0 >= no.max() and (yes.min() > 0 or no.max() < 0):
        yield f"{name} > 0" if yes.min() > 0 else f"{name} >= 0"


def _of_number(name: str, yes: Array, no: Array) -> Iterator[str]:
    if yes.min() > no.max():
        yield f"{name} is {yes.min():.4g} or more (in the others it is {no.max():.4g} or less)"
    elif yes.max() < no.min():
        yield f"{name} is {yes.max():.4g} or less (in the others it is {no.min():.4g} or more)"
