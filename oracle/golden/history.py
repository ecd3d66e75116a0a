"""Published bugs of backward passes, and the cases that catch each: the table `history.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

__all__ = ["Bug", "bugs", "flags"]


@dataclass(frozen=True)
class Bug:
    """A wrong gradient that somebody published."""

    name: str
    source: str
    """The thread, as owner/repository#number, or where it is described."""
    what: str
    """What was wrong, in one sentence."""
    cases: tuple[tuple[str, str], ...]
    """Ops and cases of the catalogue whose golden gradients such a bug misses."""


@cache
def bugs() -> tuple[Bug, ...]:
    """All that the table has."""
    text = (resources.files("oracle.golden") / "history.toml").read_text(encoding="utf-8")
    return tuple(
        Bug(one["name"], one["source"], one["what"], tuple((op, case) for op, case in one["cases"]))
        for one in tomllib.loads(text)["bug"]
    )


def flags(op: str, case: str) -> list[dict[str, str]]:
    """A flag for each bug that this case catches. A case that has the name of a bug is of that bug's own function."""
    return [
        {"name": bug.name, "meaning": f"a published bug: {bug.what}", "catches": bug.source}
        for bug in bugs()
        if (op, case) in bug.cases or case == bug.name
    ]
