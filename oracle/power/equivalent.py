"""The list of equivalent mutants, which no test can tell from the right code, with a reason for each: `equivalent.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from oracle.power.mutants import Fate, Mutant, Outcome

__all__ = ["judged", "key", "reasons"]

Key = tuple[str, str, str]


@cache
def reasons() -> Mapping[Key, str]:
    """The reason why each listed mutant is equivalent, by its function, original lines and changed lines."""
    tables = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    found: dict[Key, str] = {}
    for function, entries in tables.items():
        for entry in entries:
            for becomes in entry["becomes"]:
                name = (function, entry["was"], becomes)
                if name in found:
                    raise ValueError(f"{function}: two reasons for {becomes!r}")
                found[name] = entry["why"]
    return found


def key(mutant: Mutant) -> Key:
    """The key of a mutant in `reasons`."""
    return (mutant.function, *mutant.lines)


def judged(fate: Fate) -> Fate:
    """The fate, with a survivor that is listed as equivalent marked as such."""
    why = reasons().get(key(fate.mutant)) if fate.outcome is Outcome.SURVIVED else None
    return fate if why is None else replace(fate, outcome=Outcome.EQUIVALENT, said=why)
