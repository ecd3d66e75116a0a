"""Why an evaluation on balls stops, the comparisons at which a function has a kink, and the state of one evaluation.

A comparison of two balls that do not overlap has one answer. Two equal numbers are a tie: the function may have a kink there,
and the place in the user's code is recorded. Balls that overlap and are not known to be equal raise `Undecided`: the witness
evaluates the function again at a higher precision.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["WORK", "Kink", "NotExact", "Undecided", "place"]

MOST = 100_000
"""Scalar operations of one evaluation, values and tangents counted once. One takes about 2 microseconds at 128 bits; with
twice as many a large function is asked for half a second in vain, with half as many a small network is too large."""

LIBRARIES = frozenset({"numpy", "scipy", "optree", "flint", "jax", "equinox", "optax"})
"""Packages whose lines are not the user's code."""

HERE = str(Path(__file__).parent)


class NotExact(Exception):
    """The function cannot be evaluated exactly, for the reason that the message gives; `kinks` holds the ties met before."""

    def __init__(self, reason: str, kinks: tuple[Kink, ...] = ()) -> None:
        super().__init__(reason)
        self.kinks = kinks


class Undecided(Exception):
    """At this precision two balls overlap that must be compared."""

    def __init__(self, kink: Kink) -> None:
        super().__init__(str(kink))
        self.kink = kink


@dataclass(frozen=True)
class Kink:
    """A comparison of two equal numbers, or of two that could not be told apart."""

    operation: str
    """The operation of the user's code: `maximum`, `<`, `sort`."""
    where: str
    """The file and the line of the user's code, `net.py:12`."""
    line: str
    """The text of that line."""
    proved: bool
    """Whether the numbers are equal; if not, the balls overlap at the highest precision."""
    parts: bool
    """Whether they move apart along the direction, to first order."""

    def __str__(self) -> str:
        how = "a tie" if self.proved else "not decided"
        return f"{self.operation} at {self.where}{self.source}: {how}"

    @property
    def source(self) -> str:
        """The text of the line in parentheses; nothing where there is no source to read it from."""
        return f" ({self.line})" if self.line else ""


class Work:
    """The state of the evaluation that runs: balls are too many to carry a reference to it."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, int]] = []
        """The lines that made the operation of JAX that runs: its Python code does not run any more."""
        self.begin()

    def begin(self, limit: int = MOST, side: int = 0, forced: int = 0) -> None:
        """Start an evaluation.

        `side` says how ties count: 0 as equal, 1 as they part along the direction, -1 against it. `forced` is the answer, 1 or
        -1, to comparisons that are not decided; with 0 they raise `Undecided`.
        """
        self.limit = self.left = limit
        self.side = side
        self.forced = forced
        self.operation = ""
        self.kinks: dict[Kink, None] = {}
        self.refused: NotExact | Undecided | None = None

    def refuse(self, reason: str) -> NotExact:
        """The exception to raise. It is kept: a function that catches it goes on with something else than the exact value."""
        refusal = NotExact(f"{reason} ({place()[0]})", tuple(self.kinks))
        self.refused = self.refused or refusal
        return refusal

    def tie(self, symbol: str, tangent: Any) -> int:
        """The sign of a difference that is 0, from its derivative along the direction."""
        if tangent is None:  # neither number moves: along this direction there is no kink
            return 0
        parts = not tangent.is_zero()
        self.kinks.setdefault(self._kink(symbol, proved=True, parts=parts))
        if not (self.side and parts):
            return 0
        return self.side if tangent > 0 else -self.side if tangent < 0 else self.undecided(symbol)

    def undecided(self, symbol: str, *, forced: bool = True) -> int:
        """The answer to a comparison of balls that overlap."""
        kink = self._kink(symbol, proved=False, parts=True)
        if forced and self.forced:
            self.kinks.setdefault(kink)
            return self.forced
        self.refused = self.refused or Undecided(kink)
        raise self.refused

    def _kink(self, symbol: str, *, proved: bool, parts: bool) -> Kink:
        where, line = place()
        return Kink(self.operation or symbol, where, line, proved, parts)


WORK = Work()


def place() -> tuple[str, str]:
    """The file and line that are being run in the user's code, and the text of that line."""
    file, number = next(((f, n) for f, n in WORK.frames or _running() if not _is_library(f)), ("?", 0))
    return f"{Path(file).name}:{number}", linecache.getline(file, number).strip()


def _running() -> Iterator[tuple[str, int]]:
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back


def _is_library(file: str) -> bool:
    return file.startswith((HERE, "<frozen", "<__array_function__")) or not LIBRARIES.isdisjoint(Path(file).parts)
