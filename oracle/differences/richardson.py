"""Richardson extrapolation of differences at shrinking steps, and the error estimate of each entry of its tableau.

The central difference of a smooth s has an error series in even powers of the step, and each column of the tableau removes
one of them:

    D(h) = (s(h) - s(-h)) / 2h = s'(0) + c2 h^2 + c4 h^4 + ...
    T[k, 0] = D(h / 4^k),    T[k, m] = T[k+1, m-1] + (T[k+1, m-1] - T[k, m-1]) / (16^m - 1)

`error_estimate` is the truncation and noise u of an entry: the first term of the error budget.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oracle.differences.thresholds import CHANCE, CONTRADICTION

__all__ = [
    "FIRST_STEP",
    "LEVELS",
    "NOISE_SAFETY",
    "RATIO",
    "SHORTEST_STEP",
    "STEP_DIGITS",
    "Extrapolated",
    "between",
    "error_estimate",
    "extrapolated",
    "most_certain",
    "tableau",
]

Array = NDArray[Any]

# The first step, in units of the argument's typical size. Doubled, the truncation error of functions such as the sigmoid
# exceeds the rounding noise, and they need further steps; halved, the rounding noise of every derivative doubles.
FIRST_STEP = 0.125

# The quotient of two neighbouring steps. With 2 the derivatives take half again as many evaluations, and a full sweep twice as
# many; with 8 the fourth step is 1/512 of the first, and the error estimate of exp is seven times as large. Difference tables
# over longer and longer spacings have the same quotient: with 16, a rounding that jumps at each point of one table may not jump
# at all in the next.
RATIO = 4.0

# The steps of one tableau, so that the error of its last column is of order h^8. With 3 it is of order h^6: the error estimate
# of exp is fourteen times as large. A fifth step costs a tenth more evaluations, and some error estimates become too small.
LEVELS = 4

# The shortest step of the usual control, in units of the element, or of the argument's size for an element at 0. An element
# nearer to a kink than this counts as one at the kink. Shorter, each element in doubt costs further steps, at which rounding
# noise already hides most slopes.
SHORTEST_STEP = 2.0**-30

# The significant binary digits of a step. With more, x + h is rounded for elements that have as many digits; with fewer, the
# lengths of the steps of neighbours are multiples of each other.
STEP_DIGITS = 6

# Multiples of the noise of a slope. A change below this counts as noise: the noise of both slopes is in it. Halved, a full
# sweep rejects the steps that resolve a narrow bump, since their noise counts as a kink; doubled, kinks and errors of twice the
# size are overlooked.
NOISE_SAFETY = CHANCE * CONTRADICTION

# The share of an entry's truncation error that is left, at least, one column further on. Without it, two entries that agree by
# chance have an error estimate near 0; with 2^-8, that of exp is five times as large.
LEAST_LEFT = 2.0**-12


def between(low: float, high: float) -> float:
    """A factor per step that separates quantities like h^low from those like h^high: the geometric mean of both."""
    return float(RATIO ** -((low + high) / 2))


class Extrapolated(NamedTuple):
    """Entries of a tableau, the error estimate of each, and the part of it that is rounding noise."""

    value: Array
    uncertainty: Array
    noise: Array


def error_estimate(truncation: Array, odd_powers: Array, noise: Array) -> Array:
    """The truncation and noise u of entries of the tableau: the first term of the error budget.

    u = max(|T[k, m] - T[k+1, m-1]|, LEAST_LEFT of the same one column before, odd powers) + noise. The last correction is of
    order h^2m and so exceeds the truncation error of the entry itself, of order h^(2m+2); the noise of the differences goes
    through the same linear combination.
    """
    u = np.maximum(truncation, odd_powers) + noise
    u[~np.isfinite(u)] = np.inf
    return np.asarray(u)


def extrapolated(differences: Array, noise: Array, only_consistent: Array) -> Extrapolated:
    """The limit of each row of central differences: the entry with the least error estimate.

    One tableau removes even powers of h. Beside a jump of the second derivative odd powers remain, so a tableau that removes
    all powers competes with it.
    """
    columns = [column for factor in (RATIO**2, RATIO) for column in tableau(differences, noise, factor)]
    return most_certain(columns, only_consistent)


def tableau(differences: Array, noise: Array, factor: float) -> list[Extrapolated]:
    """The columns of Richardson's tableau along axis 1: the last entry of each belongs to the shortest step.

    `factor` is the quotient of the leading error terms at two neighbouring steps: 16 for h^2, 4 for h.
    """
    columns = []
    column, amplified = differences, noise
    truncation = odd_powers = np.zeros(differences.shape)
    for m in range(1, LEVELS):
        weight = 1 / (factor**m - 1)
        coarse, fine = column[:, :-1], column[:, 1:]
        odd_powers = odd_powers[:, 1:]
        if factor > RATIO:
            odd_powers = np.maximum(odd_powers, _odd_powers(fine - coarse, amplified[:, 1:]))
        column = fine + (fine - coarse) * weight
        amplified = amplified[:, 1:] * (1 + weight) + amplified[:, :-1] * weight
        # Neighbours may agree by chance, where powers of h cancel: a share of the error estimates before them remains.
        truncation = np.maximum(np.abs(column - fine), LEAST_LEFT * truncation[:, 1:])
        columns.append(Extrapolated(column, error_estimate(truncation, odd_powers, amplified), amplified))
    return columns


def _odd_powers(changes: Array, noise: Array) -> Array:
    """The error that odd powers of h leave in a tableau of even powers: the limit of a geometric series of such changes.

    A change of order h shrinks to a quarter from step to step, one of order h^2 to a sixteenth.
    """
    change = np.abs(changes)
    odd = (change[:, 1:] > NOISE_SAFETY * noise[:, 1:]) & (change[:, 1:] > between(1, 2) * change[:, :-1])
    left = np.zeros(change.shape)
    left[:, 1:] = np.where(odd, change[:, 1:] / (RATIO - 1), 0.0)
    return left


def most_certain(columns: list[Extrapolated], only_consistent: Array) -> Extrapolated:
    """The entry with the least error estimate of all entries of some tableaux.

    In the rows `only_consistent` an entry that any entry of a shorter step contradicts does not count: over long steps
    entries may agree on a slope of another scale.
    """
    count, length = columns[0].value.shape
    entries = np.full((3, count, len(columns), length), np.inf)
    for k, column in enumerate(columns):  # the last entry of each belongs to the shortest step
        for target, part in zip(entries, column, strict=True):
            target[:, k, length - part.shape[1] :] = part
    value, uncertainty, noise = entries.reshape(3, count, len(columns) * length)
    if only_consistent.any():
        level = np.tile(np.arange(length), len(columns))
        for row in map(int, np.flatnonzero(only_consistent)):  # all pairs of entries, of one derivative at a time
            apart = np.abs(value[row][:, None] - value[row])
            contradicts = apart > CONTRADICTION * (uncertainty[row][:, None] + uncertainty[row])
            uncertainty[row, (contradicts & (level[:, None] < level)).any(axis=1)] = np.inf
    everything, chosen = np.arange(count), uncertainty.argmin(axis=1)
    return Extrapolated(value[everything, chosen], uncertainty[everything, chosen], noise[everything, chosen])
