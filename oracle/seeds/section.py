"""The results of the experiments as text for a terminal of 80 columns, and as Markdown with pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tabulate import tabulate

from oracle.report.markdown import escape
from oracle.text import count

__all__ = ["WIDTH", "Claim", "Picture", "Quote", "Section", "Table", "below", "page", "pictures", "text"]

WIDTH = 80
UNDECIDED = "not decided at this size"


@dataclass(frozen=True)
class Table:
    """A table of printed cells. A line break in a header counts only in the terminal."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Quote:
    """A message of the checker, quoted literally."""

    words: str


@dataclass(frozen=True)
class Picture:
    """A drawing in its own file. The page shows it; the text for a terminal leaves it out."""

    name: str
    """The name of the file without a folder: `valley.svg`."""
    words: str
    """A description."""
    draw: Callable[[], str] = field(repr=False)
    """Returns the SVG. It takes a second, so it is called only if the page is written."""


@dataclass(frozen=True)
class Claim:
    """A claim that the run has checked."""

    words: str
    holds: bool | None
    """None if the run is too small to decide."""
    published: str = ""
    """The published result."""
    measured: str = ""
    """Our result."""
    because: str = ""
    """Why a published claim does not hold here. Only a claim without such a reason makes the run fail."""

    @property
    def passed(self) -> bool:
        return self.holds is None or bool(self.holds) or bool(self.because)

    @property
    def status(self) -> str:
        if self.holds is None:
            return UNDECIDED
        if self.holds:
            return "holds"
        return f"does not hold here, because {self.because}" if self.because else "FALSE"


@dataclass(frozen=True)
class Section:
    """The results of one experiment and the claims about them. White space in prose does not matter."""

    title: str
    parts: tuple[str | Table | Quote | Picture, ...]
    claims: tuple[Claim, ...]

    @property
    def passed(self) -> bool:
        return bool(self.claims) and all(claim.passed for claim in self.claims)


def below(error: float, bound: float) -> str:
    """`error`, or `< bound` if it is smaller, because the digits of rounding errors differ between machines and runs."""
    return f"< {bound:g}" if error < bound else f"{error:.1e}"


def text(sections: Sequence[Section]) -> str:
    """The sections as text for a terminal."""
    blocks = []
    for section in sections:
        blocks.append(f"{section.title}\n{'=' * len(section.title)}")
        blocks += [_text(part) for part in section.parts if not isinstance(part, Picture)]
        blocks.append("\n".join(_claim_text(claim) for claim in section.claims))
    return "\n\n".join([*blocks, _filled(_totals(sections), "")])


def page(sections: Sequence[Section], folder: str = "seeds") -> str:
    """The sections as Markdown. The page expects the pictures in `folder`, next to it."""
    blocks = ["# The published notes", _totals(sections)]
    for section in sections:
        blocks.append(f"## {escape(section.title)}")
        blocks += [_page(part, folder) for part in section.parts]
        blocks.append("\n".join(_claim_page(claim) for claim in section.claims))
    return "\n\n".join(blocks) + "\n"


def pictures(sections: Sequence[Section]) -> dict[str, str]:
    """The SVG of each picture, by the name of its file."""
    found = [part for section in sections for part in section.parts if isinstance(part, Picture)]
    return {picture.name: picture.draw() for picture in found}


def _claim_text(claim: Claim) -> str:
    lines = [_filled(f"Claim: {claim.words}", "", "  ")]
    lines += [_filled(words, "  ") for words in (*_details(claim), f"result: {claim.status}")]
    return "\n".join(lines)


def _claim_page(claim: Claim) -> str:
    status = "**false**" if claim.status == "FALSE" else escape(claim.status)
    return f"- {status}: {escape('; '.join((claim.words, *_details(claim))))}"


def _details(claim: Claim) -> list[str]:
    named = (("the notes say", claim.published), ("measured here", claim.measured))
    return [f"{name}: {words}" for name, words in named if words]


def _text(part: str | Table | Quote) -> str:
    if isinstance(part, Table):
        align = ["left", *["right"] * (len(part.headers) - 1)]
        return tabulate(part.rows, part.headers, tablefmt="simple", colalign=align, disable_numparse=True)
    return _filled(part.words, "  | ", "  | ") if isinstance(part, Quote) else _filled(part, "")


def _filled(words: str, first: str, rest: str | None = None) -> str:
    indent = " " * len(first) if rest is None else rest
    return textwrap.fill(" ".join(words.split()), WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)


def _page(part: str | Table | Quote | Picture, folder: str) -> str:
    if isinstance(part, Table):
        headers = [escape(header.replace("-\n", "")) for header in part.headers]
        align = ["left", *["right"] * (len(headers) - 1)]
        rows = [[escape(cell) for cell in row] for row in part.rows]
        return tabulate(rows, headers, tablefmt="pipe", colalign=align, disable_numparse=True)
    if isinstance(part, Picture):
        return f"![{escape(part.words)}]({folder}/{part.name})"
    return f"> {escape(part.words)}" if isinstance(part, Quote) else escape(" ".join(part.split()))


def _totals(sections: Sequence[Section]) -> str:
    claims = [claim for section in sections for claim in section.claims]
    results = (
        (sum(bool(claim.holds) for claim in claims), "holds", "hold"),
        (
            sum(claim.passed and claim.holds is not None and not claim.holds for claim in claims),
            "does not hold here, for a reason that is given",
            "do not hold here, for reasons that are given",
        ),
        (sum(claim.holds is None for claim in claims), UNDECIDED, UNDECIDED),
        (sum(not claim.passed for claim in claims), "is FALSE", "are FALSE"),
    )
    words = "; ".join(f"{n} {one if n == 1 else many}" for n, one, many in results if n)
    return f"{count(len(claims), 'claim')} of the published notes checked: {words or 'none holds'}"
