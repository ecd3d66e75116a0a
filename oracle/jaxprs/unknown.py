"""What is raised for a primitive that has no function here."""

from __future__ import annotations

__all__ = ["Unknown"]


class Unknown(NotImplementedError):
    """A primitive, or one of its options, that is not evaluated here, with its name."""
