"""Published bugs of backward passes, and the cases of the catalogue that catch each."""

from __future__ import annotations

__all__ = ["flags"]


def flags(op: str, case: str) -> list[dict[str, str]]:
    return []
