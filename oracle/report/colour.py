"""The colours of verdicts in a terminal: green passes, red does not, yellow is undecided."""

from __future__ import annotations

import os
import re
from typing import TextIO

from oracle.row import Verdict

__all__ = ["painted", "wanted"]

GREEN, RED, YELLOW = "32", "1;31", "33"  # ANSI codes; red is also bold, so that it stands out without colour vision
CODES = {
    Verdict.PASS: GREEN,
    Verdict.KINK: GREEN,
    Verdict.ACCEPTED: GREEN,
    Verdict.FAIL: RED,
    Verdict.ERROR: RED,
    Verdict.VACUOUS: YELLOW,
    Verdict.INCONCLUSIVE: YELLOW,
}
NAMES = "|".join(Verdict)
PLACES = re.compile(rf"^(?:{NAMES})(?=  )|(?<= )(?:{NAMES})$|(?<=\d )(?:{NAMES})\b", re.MULTILINE)
"""Where reports have a verdict: before the name of a row, in the last column of a table, after a number."""


def wanted(stream: TextIO) -> bool:
    """Whether to write colours to this stream. NO_COLOR forbids them, FORCE_COLOR demands them; else terminals get them."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and stream.isatty()


def painted(text: str) -> str:
    """The text with coloured verdicts. Do this last: tables are laid out by the widths of texts without colour codes."""
    return PLACES.sub(lambda found: f"\033[{CODES[Verdict(found[0])]}m{found[0]}\033[0m", text)
