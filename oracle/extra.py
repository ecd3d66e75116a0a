"""The packages that `oracle` needs beside `purenet`, and the message if one is missing. Imports none of them."""

from __future__ import annotations

import sys
from collections.abc import Collection
from importlib.util import find_spec

__all__ = ["OF_JAX", "REQUIRED", "check", "line", "missing"]

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

OF_JAX = ("jax", "jaxlib", "optax", "equinox")
"""Those that only references of JAX need."""


def missing(without: Collection[str] = ()) -> str:
    """One line that names the required modules that are not installed, and how to install them; empty if none is missing.

    Those in `without` may be missing.
    """
    absent = [name for name in REQUIRED if name not in without and not _is_there(name)]
    return line(*absent) if absent else ""


def line(*absent: str) -> str:
    """The message for these missing modules."""
    return f'oracle needs its extra: pip install "purenet[oracle]" (missing: {", ".join(absent)})'


def check(without: Collection[str] = ()) -> None:
    """Raise an ImportError with that message if a module is missing, except those in `without`."""
    if message := missing(without):
        raise ImportError(message)


def _is_there(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None  # Python refuses to import a module whose entry is None
    return find_spec(name) is not None
