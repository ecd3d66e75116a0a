"""Mutants that no test can tell from the right code, each with the reason in writing: `equivalent.toml`."""

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
    """Why a mutant is equivalent, by its function, its lines as they were, and as they became."""
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
    """What a reason names a mutant by."""
    return (mutant.function, *mutant.lines)


def judged(fate: Fate) -> Fate:
    """A survivor that is known to be equivalent, as that."""
    why = reasons().get(key(fate.mutant)) if fate.outcome is Outcome.SURVIVED else None
    return fate if why is None else replace(fate, outcome=Outcome.EQUIVALENT, said=why)
