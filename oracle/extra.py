"""What `oracle` needs beside `purenet`, and what is said where it is missing. Imports nothing that may be missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

__all__ = ["REQUIRED", "check", "line", "missing"]

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


def missing() -> str:
    """One line that says which of the required modules cannot be imported, and how to install them; empty if all can."""
    absent = [name for name in REQUIRED if not _is_there(name)]
    return line(*absent) if absent else ""


def line(*absent: str) -> str:
    """What is said where these modules are missing."""
    return f'oracle needs its extra: pip install "purenet[oracle]" (missing: {", ".join(absent)})'


def check() -> None:
    """Raise an ImportError with that line where anything is missing."""
    if said := missing():
        raise ImportError(said)


def _is_there(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None  # Python does not import a module for which None stands there
    return find_spec(name) is not None
