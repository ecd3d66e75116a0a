"""The packages that `oracle` needs besides those of `purenet`, and the message if one is missing.

This module imports none of them.
"""

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
    """A line that names the required modules that cannot be imported, and how to install them; empty if all can."""
    absent = [name for name in REQUIRED if not _is_there(name)]
    return line(*absent) if absent else ""


def line(*absent: str) -> str:
    """The message if these modules are missing."""
    return f'oracle needs its extra: pip install "purenet[oracle]" (missing: {", ".join(absent)})'


def check() -> None:
    """Raises an ImportError with that message if a required module is missing."""
    if message := missing():
        raise ImportError(message)


def _is_there(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None  # if None is stored there, Python refuses to import the module
    return find_spec(name) is not None
