"""Numbers that have a name: those that a derivative forgets, or has once too often."""

from __future__ import annotations

from math import e, log, pi, sqrt

import numpy as np

__all__ = ["EXACTLY", "named_constant"]

EXACTLY = 1e-9  # how near a number must come: of so many, one lies within a thousandth of any other

_KNOWN: dict[str, float] = {
    "ln 2": log(2),
    "ln 10": log(10),
    "log10(2)": log(2) / log(10),
    "pi / 180": pi / 180,
    "pi": pi,
    "2 pi": 2 * pi,
    "4 pi": 4 * pi,
    "pi / 2": pi / 2,
    "pi^2": pi**2,
    "sqrt(pi)": sqrt(pi),
    "sqrt(pi) / 2": sqrt(pi) / 2,
    "sqrt(2)": sqrt(2),
    "sqrt(3)": sqrt(3),
    "sqrt(2 pi)": sqrt(2 * pi),
    "sqrt(pi / 2)": sqrt(pi / 2),
    "e": e,
}
_INVERSES = {"pi / 180": "180 / pi", "sqrt(pi) / 2": "2 / sqrt(pi)", "sqrt(pi / 2)": "sqrt(2 / pi)", "pi / 2": "2 / pi"}
_INVERSES |= {"log10(2)": "log2(10)"}


def named_constant(number: float, within: float = EXACTLY) -> str:
    """Its name, as `ln 10` or `-1 / pi`, if it is a known constant, or the inverse of one; else empty."""
    for name, value in _KNOWN.items():
        for said, exact in ((name, value), (_INVERSES.get(name, f"1 / {_bracketed(name)}"), 1 / value)):
            rounded = float(np.float32(exact))  # as it stands in a narrower program
            if min(abs(abs(number) - exact), abs(abs(number) - rounded)) <= within * exact:
                return said if number > 0 else f"-{said}" if " " not in said or said.startswith("1 / ") else f"-({said})"
    return ""


def _bracketed(name: str) -> str:
    """For a denominator: a product needs brackets there."""
    return f"({name})" if name[0].isdigit() else name
