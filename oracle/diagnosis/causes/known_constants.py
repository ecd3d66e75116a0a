"""Named constants that a derivative may lack, or contain once too often."""

from __future__ import annotations

from math import e, log, pi, sqrt

import numpy as np

__all__ = ["EXACTLY", "named_constant"]

EXACTLY = 1e-9
"""The relative distance at which a number counts as a constant. Larger, and numbers get names by chance: with this many
constants, one lies within a thousandth of most numbers. Smaller, and rounding hides the right one."""

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
    """The name, such as `ln 10` or `-1 / pi`, of a number that is a known constant or the inverse of one; else empty."""
    for name, value in _KNOWN.items():
        for words, exact in ((name, value), (_INVERSES.get(name, f"1 / {_bracketed(name)}"), 1 / value)):
            rounded = float(np.float32(exact))  # a program in float32 holds the constant in this form
            if min(abs(abs(number) - exact), abs(abs(number) - rounded)) <= within * exact:
                return words if number > 0 else f"-{words}" if " " not in words or words.startswith("1 / ") else f"-({words})"
    return ""


def _bracketed(name: str) -> str:
    """The name as a denominator: a product gets brackets."""
    return f"({name})" if name[0].isdigit() else name
