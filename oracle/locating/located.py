"""The result of `locate`: a row for each stage in the order of the backward pass, as a table and one sentence."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tabulate import tabulate

from oracle.row import Verdict
from oracle.text import count, digits, listed, plain

__all__ = ["Located", "StageRow"]

MANY = 48
"""Rows from which on passing stages that follow one another share one line, so that the table does not fill the screen."""


@dataclass(frozen=True)
class StageRow:
    """What was found about one stage."""

    stage: str
    op: str
    shape: tuple[int, ...]
    """Of its input."""
    verdict: Verdict
    error: float | None = None
    """Of the gradient, relative: along a random direction, or at the worst entry if `verify` has judged."""
    uncertainty: float | None = None
    """The error estimate of the differences, relative to the same."""
    cause: str = ""
    note: str = ""
    parameter: str = ""
    """Of the stage: whose gradient is wrong."""
    verification: Any = field(default=None, repr=False, compare=False)
    """The `Verification` of the stage, if one was needed."""

    @property
    def passed(self) -> bool:
        return self.verdict.passes

    @property
    def wrong(self) -> bool:
        return self.verdict in (Verdict.FAIL, Verdict.ERROR)


@dataclass(frozen=True)
class Located:
    """The stages of a net in the order of the backward pass, the last one first, and what combines them."""

    net: str
    rows: tuple[StageRow, ...]
    between: StageRow | None = None
    """The innermost composition that is wrong although all its stages are right, or else the whole net; None if a stage is
    wrong, so that nothing can be said, or where nothing but `locate` itself composes the stages."""
    note: str = ""

    @property
    def wrong(self) -> tuple[StageRow, ...]:
        """The wrong stages, the first one in the order of the backward pass first."""
        return tuple(row for row in self.rows if row.wrong)

    @property
    def first_wrong(self) -> StageRow | None:
        """The first wrong stage, or the composition that is wrong; None if neither is."""
        composed = (self.between,) if self.between is not None and self.between.wrong else ()
        return next(iter((*self.wrong, *composed)), None)

    @property
    def passed(self) -> bool:
        """Whether every stage passes and so does the whole."""
        rows = self.rows if self.between is None else (*self.rows, self.between)
        return bool(self.rows) and all(row.passed for row in rows)

    def __bool__(self) -> bool:
        return self.passed

    def raise_for_failures(self) -> None:
        """An AssertionError that carries the table, unless everything passed."""
        if not self.passed:
            raise AssertionError(f"a stage of the net is wrong\n{self}")

    def __str__(self) -> str:
        width = shutil.get_terminal_size((100, 24)).columns
        told = [f"{plain(row.stage)}: {plain(row.cause)}" for row in self._doubtful if row.cause]
        told += [f"note: {plain(row.stage)}: {plain(row.note)}" for row in self.rows if row.note]
        told += [f"note: {plain(self.note)}"] if self.note else []
        parts = [self._table(width), *(textwrap.fill(line, width, subsequent_indent="      ") for line in told)]
        return "\n\n".join([*parts, textwrap.fill(self.sentence, width)])

    @property
    def _doubtful(self) -> list[StageRow]:
        rows = self.rows if self.between is None else (*self.rows, self.between)
        return [row for row in rows if not row.passed]

    @property
    def sentence(self) -> str:
        """The answer in a sentence or two."""
        first = self.first_wrong
        if first is None:
            open_ones = [plain(row.stage) for row in self._doubtful]
            if open_ones:
                return f"No stage is known to be wrong; undecided: {listed(open_ones)}."
            whole = ", and so is the whole net" if self.between is not None else ""
            accepted = sum(row.verdict is Verdict.ACCEPTED for row in self.rows)
            known = f" ({accepted} with a deviation that is accepted)" if accepted else ""
            return f"{self.net}: {count(len(self.rows), 'stage')}, all right{known}{whole}."
        if first is self.between:
            return f"All {count(len(self.rows), 'stage')} are right: the mistake is between the stages of {plain(first.stage)}."
        others = [plain(row.stage) for row in self.wrong[1:]]
        text = f"The first wrong stage in the order of the backward pass is {plain(first.stage)} ({plain(first.op)})."
        if others:
            text += f" {listed(others)} {'is' if len(others) == 1 else 'are'} wrong, too."
        return text

    def _table(self, width: int) -> str:
        lines = [_line(row, row is self.first_wrong) for row in self.rows]
        if len(lines) > MANY:
            lines = list(_shortened(self.rows, lines))
        if self.between is not None:
            lines.append(_line(self.between, self.between is self.first_wrong, "between the stages of "))
        headers = ("stage", "op", "input", "error", "+-", "verdict")
        columns = list(zip(headers, *lines, strict=True))
        room = width - sum(max(map(len, column)) for column in columns[2:]) - 2 * len(headers)
        limits = (max(room * 2 // 3, 16), max(room // 3, 12))
        clipped = [[*(_clip(cell, limit) for cell, limit in zip(line, limits, strict=False)), *line[2:]] for line in lines]
        align = ("left", "left", "right", "right", "right", "left")
        return tabulate(clipped, headers, tablefmt="simple", colalign=align, disable_numparse=True)


def _line(row: StageRow, first: bool, before: str = "") -> list[str]:
    shape = "x".join(map(str, row.shape)) or "scalar"
    verdict = f"{row.verdict}  <- first" if first else str(row.verdict)
    return [before + plain(row.stage), plain(row.op), shape, digits(row.error), digits(row.uncertainty), verdict]


def _shortened(rows: Sequence[StageRow], lines: Sequence[list[str]]) -> Iterator[list[str]]:
    """The lines, with one for each run of three or more passing stages."""
    run: list[int] = []
    for i in range(len(rows) + 1):
        if i < len(rows) and rows[i].passed:
            run.append(i)
            continue
        if len(run) < 3:
            yield from (lines[k] for k in run)
        else:
            worst, known = (max((getattr(rows[k], n) or 0.0 for k in run), default=0.0) for n in ("error", "uncertainty"))
            name = f"{plain(rows[run[0]].stage)} ... {plain(rows[run[-1]].stage)}"
            yield [name, count(len(run), "stage"), "", digits(worst), digits(known), str(Verdict.PASS)]
        run = []
        if i < len(rows):
            yield lines[i]


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."
