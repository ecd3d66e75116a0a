"""Numbers, counts and names from outside as a terminal and a shell read them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

__all__ = ["command_line", "count", "digits", "plain"]

UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a cursor, ends a line, turns the direction of writing, or is no character at all."""


def plain(text: str, keep: str = "") -> str:
    """What a user's module named, so that a terminal only shows it: control characters as escapes."""
    return UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def command_line(parts: Sequence[str]) -> str:
    """What a shell reads as these parts, on one line."""
    return " ".join(shlex.quote(part) if plain(part) == part else f"$'{_escaped(part)}'" for part in parts)


def _escaped(part: str) -> str:
    return plain(part.replace("\\", "\\\\").replace("'", "\\'"))


def count(n: int, one: str, many: str = "") -> str:
    """`1 case`, `2 cases`."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def digits(value: float | None) -> str:
    """An error in two digits; `-` where there is none."""
    return "-" if value is None else "0" if value == 0 else f"{value:.1e}"
