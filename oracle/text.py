"""Writes numbers, counts, names and commands for a terminal and a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

__all__ = ["command_line", "count", "digits", "listed", "plain"]

UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that move the cursor, end a line or turn the direction of writing, and codes that are no characters."""


def plain(text: str, keep: str = "") -> str:
    """A name from a user's module, with escapes for control characters, so that it cannot disturb a terminal."""
    return UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def command_line(parts: Sequence[str]) -> str:
    """A command of these parts on one line, quoted for a shell."""
    return " ".join(shlex.quote(part) if plain(part) == part else f"$'{_escaped(part)}'" for part in parts)


def _escaped(part: str) -> str:
    return plain(part.replace("\\", "\\\\").replace("'", "\\'"))


def count(n: int, one: str, many: str = "") -> str:
    """`1 case`, `2 cases`."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """`x`, `x and y`, `x, y and z`."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def digits(value: float | None) -> str:
    """An error with two digits, or `-` for None."""
    return "-" if value is None else "0" if value == 0 else f"{value:.1e}"
