"""Richardson's tableau at shrinking steps, and the entry that states the least error.

D(h) = (s(h) - s(-h)) / 2h = s'(0) + c2 h^2 + c4 h^4 + ...
T[k, 0] = D(h / 4^k),    T[k, m] = T[k+1, m-1] + (T[k+1, m-1] - T[k, m-1]) / (16^m - 1)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVELS", "RATIO", "Extrapolated", "most_certain", "tableau"]

Array = NDArray[Any]

LEVELS = 4  # steps of one table
RATIO = 4.0  # of two neighbouring steps
CHANCE = 2.0**-12  # the least by which one more column of the table is believed to gain
SHRINKING = 8.0  # times as much as the next: h^2 shrinks to a sixteenth from step to step, h to a quarter


class Extrapolated(NamedTuple):
    """The limits, what each states as its uncertainty, and how much of that is noise."""

    value: Array
    uncertainty: Array
    noise: Array


def tableau(differences: Array, noise: Array, factor: float) -> list[Extrapolated]:
    """The columns of Richardson's table along axis 1: the last entry of each belongs to the shortest step."""
    columns = []
    column, amplified = differences, noise
    before = odd = np.zeros(differences.shape)
    for m in range(1, LEVELS):
        weight = 1 / (factor**m - 1)
        coarse, fine = column[:, :-1], column[:, 1:]
        odd = odd[:, 1:]
        if factor > RATIO:
            odd = np.maximum(odd, _odd(fine - coarse, amplified[:, 1:]))
        column = fine + (fine - coarse) * weight
        amplified = amplified[:, 1:] * (1 + weight) + amplified[:, :-1] * weight
        # Neighbours may agree by chance, where powers of h cancel: they state no less than a share of those before them.
        apart = np.maximum(np.abs(column - fine), CHANCE * before[:, 1:])
        before = apart
        stated = np.maximum(apart, odd) + amplified
        stated[~np.isfinite(stated)] = np.inf
        columns.append(Extrapolated(column, stated, amplified))
    return columns


def _odd(changes: Array, noise: Array) -> Array:
    """What a table that removes powers of h^2 alone leaves of odd ones: these show in changes that shrink as h does."""
    change = np.abs(changes)
    odd = (change[:, 1:] > 8 * noise[:, 1:]) & (change[:, :-1] < SHRINKING * change[:, 1:])
    return np.pad(np.where(odd, change[:, 1:] / (RATIO - 1), 0.0), ((0, 0), (1, 0)))


def most_certain(columns: list[Extrapolated], unrefuted: Array) -> Extrapolated:
    """Of all entries of some tables the one that states the least; where asked, of those that no shorter step contradicts."""
    count, length = columns[0].value.shape
    tables = np.full((3, count, len(columns), length), np.inf)
    for k, column in enumerate(columns):  # the last entry of each belongs to the shortest step
        for table, part in zip(tables, column, strict=True):
            table[:, k, length - part.shape[1] :] = part
    value, stated, amplified = tables.reshape(3, count, len(columns) * length)
    if unrefuted.any():
        shortest = np.tile(np.arange(length), len(columns))
        for row in map(int, np.flatnonzero(unrefuted)):  # the table of all against all, of one element at a time
            apart = np.abs(value[row][:, None] - value[row])
            denied = (apart > 4 * (stated[row][:, None] + stated[row])) & (shortest[:, None] < shortest)
            stated[row, denied.any(axis=1)] = np.inf
    everything, chosen = np.arange(count), stated.argmin(axis=1)
    return Extrapolated(value[everything, chosen], stated[everything, chosen], amplified[everything, chosen])
