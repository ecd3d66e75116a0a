"""What a note's replay has to say, for a terminal of 80 columns and as markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from oracle.report.markdown import escape

__all__ = ["WIDTH", "Claim", "Quote", "Section", "Table", "page", "text"]

WIDTH = 80


@dataclass(frozen=True)
class Table:
    """Cells as they are to be printed; a line break in a header is kept in the terminal alone."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Quote:
    """A message of ours, word for word."""

    words: str


@dataclass(frozen=True)
class Claim:
    """Something that was checked, in words."""

    words: str
    holds: bool


@dataclass(frozen=True)
class Section:
    """One system of the notes: what it gives, and what we claim of it. The white space of prose does not matter."""

    title: str
    parts: tuple[str | Table | Quote, ...]
    claims: tuple[Claim, ...]

    @property
    def passed(self) -> bool:
        return bool(self.claims) and all(claim.holds for claim in self.claims)


def text(sections: Sequence[Section]) -> str:
    """For a terminal."""
    blocks = []
    for section in sections:
        blocks.append(f"{section.title}\n{'=' * len(section.title)}")
        blocks += [_text(part) for part in section.parts]
        blocks.append("\n".join(_filled(c.words, "holds  " if c.holds else "FALSE  ") for c in section.claims))
    return "\n\n".join([*blocks, _totals(sections)])


def page(sections: Sequence[Section]) -> str:
    """As markdown."""
    blocks = ["# The published notes", _totals(sections)]
    for section in sections:
        blocks.append(f"## {escape(section.title)}")
        blocks += [_page(part) for part in section.parts]
        blocks.append("\n".join(f"- {'holds' if c.holds else '**false**'}: {escape(c.words)}" for c in section.claims))
    return "\n\n".join(blocks) + "\n"


def _text(part: str | Table | Quote) -> str:
    if isinstance(part, Table):
        align = ["left", *["right"] * (len(part.headers) - 1)]
        return tabulate(part.rows, part.headers, tablefmt="simple", colalign=align, disable_numparse=True)
    return _filled(part.words, "  | ", "  | ") if isinstance(part, Quote) else _filled(part, "")


def _filled(words: str, first: str, rest: str | None = None) -> str:
    indent = " " * len(first) if rest is None else rest
    return textwrap.fill(" ".join(words.split()), WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)


def _page(part: str | Table | Quote) -> str:
    if isinstance(part, Table):
        headers = [escape(header.replace("-\n", "")) for header in part.headers]
        align = ["left", *["right"] * (len(headers) - 1)]
        rows = [[escape(cell) for cell in row] for row in part.rows]
        return tabulate(rows, headers, tablefmt="pipe", colalign=align, disable_numparse=True)
    return f"> {escape(part.words)}" if isinstance(part, Quote) else escape(" ".join(part.split()))


def _totals(sections: Sequence[Section]) -> str:
    claims = [claim for section in sections for claim in section.claims]
    false = sum(not claim.holds for claim in claims)
    return f"{len(claims)} claims about the published notes: " + (f"{false} do not hold" if false else "all hold")
