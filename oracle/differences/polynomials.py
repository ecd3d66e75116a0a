"""Polynomials that are fitted to the odd and to the even part of a function at equally spaced steps, by least squares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.differences.evaluation import Difference
from oracle.differences.richardson import LEVELS
from oracle.differences.thresholds import CONTRADICTION
from oracle.effort import REPEATS

__all__ = ["EVEN", "ODD", "POINTS", "Part"]

Array = NDArray[Any]

# The steps of one fit, as shares of its reach.
POINTS = np.arange(1, REPEATS + 1) / REPEATS


class Part:
    """The odd or the even part of s, and the polynomial that is fitted to it."""

    def __init__(self, of: Callable[[Difference], float], powers: Sequence[int], wider: Part | None = None) -> None:
        self.of = of
        self.powers = np.array(powers)
        self.matrix = POINTS[:, None] ** self.powers
        self.solution = np.linalg.pinv(self.matrix)
        self.slope = self.solution[powers.index(1)]
        self.spread = float(np.linalg.norm(self.slope))
        """The standard deviation of the slope, for noise of 1 in this part and a reach of 1."""
        self.wider = wider
        """The same with one more power, the last, that this part has at no smooth point."""

    def at(self, share: float, taken: Array) -> float:
        """The polynomial at this share of the reach, fitted to these numbers."""
        return float(share**self.powers @ (self.solution @ taken))

    def left_over(self, taken: Array) -> Array:
        """What the polynomial leaves over of these numbers. Its norm is the standard deviation of their noise."""
        left = taken - self.matrix @ (self.solution @ taken)
        return np.asarray(left / np.sqrt(len(taken) - self.matrix.shape[1]))

    def excess(self, taken: Array) -> tuple[float, bool]:
        """What the power of `wider` in these numbers adds to the slope, and whether chance may explain it."""
        if self.wider is None:
            return 0.0, True
        of_power = self.wider.solution[-1]
        noise = float(np.linalg.norm(self.wider.left_over(taken)) * np.linalg.norm(of_power))
        found = abs(float(of_power @ taken))
        return found * abs(float(self.slope @ self.wider.matrix[:, -1])), found <= CONTRADICTION * noise


# As `ODD`, with a term in h |h|: where the second derivative jumps, as that of the softsign does at 0.
BENT = Part(lambda d: d.both / 2, (*range(1, 2 * LEVELS, 2), 2))
# The odd powers, as many as a tableau has steps. With three, the truncation error of exp over the longest reach shows in the
# left over; with five, the error of the slope is 1.4 times as large.
ODD = Part(lambda d: d.both / 2, range(1, 2 * LEVELS, 2), BENT)
# As exact for a smooth function. The constant is the rounding of s(0), and the term in h is the kink's.
EVEN = Part(lambda d: d.ahead - d.both / 2, (0, 1, *range(2, 2 * LEVELS - 2, 2)))
