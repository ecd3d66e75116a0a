"""The packages that `oracle` needs beside `purenet`, and the message if one is missing. Imports none of them."""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib.util import find_spec

__all__ = ["GRADING", "OF_JAX", "REQUIRED", "check", "line", "missing"]

REQUIRED = (
    "numpy",
    "scipy",
    "optree",
    "jax",
    "jaxlib",
    "optax",
    "equinox",
    "hypothesis",
    "ml_dtypes",
    "tabulate",
    "tqdm",
    "jinja2",
    "matplotlib",
)

GRADING = ("numpy", "scipy", "optree", "ml_dtypes", "tabulate", "tqdm")
"""What `oracle grade` needs: neither JAX nor what draws pages."""

OF_JAX = ("jax", "jaxlib", "optax", "equinox")
"""Those that only references of JAX need."""


def missing(without: Collection[str] = (), *, grading: bool = False) -> str:
    """One line that names the required modules that are not installed, and how to install them; empty if none is missing.

    Those in `without` may be missing; for `oracle grade`, all but `GRADING`.
    """
    required = [name for name in (GRADING if grading else REQUIRED) if name not in without]
    absent = [name for name in required if not _is_there(name)]
    return line(*absent, name="grade" if grading else "oracle") if absent else ""


def line(*absent: str, name: str = "oracle") -> str:
    """The message for these missing modules, which the extra of this name has."""
    return f'oracle needs its extra: pip install "purenet[{name}]" (missing: {", ".join(absent)})'


def check(without: Collection[str] = ()) -> None:
    """Raise an ImportError with that message if a module is missing, except those in `without`."""
    if message := missing(without):
        raise ImportError(message)


def _is_there(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None  # Python refuses to import a module whose entry is None
    return find_spec(name) is not None
