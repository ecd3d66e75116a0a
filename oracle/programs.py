"""Compiled references on disk: a program is loaded in some milliseconds, and traced and compiled in a hundred.

The environment variable ORACLE_CACHE names the folder; without it nothing is kept. A program belongs to the sources of the
catalogue, the versions of the libraries and the processor that it was compiled for: when one of them changes, so does its name.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import sys
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from types import FunctionType
from typing import Any

__all__ = ["FOLDER", "PURE", "load", "name_of", "store"]

FOLDER = "ORACLE_CACHE"
PACKAGES = ("jax", "jaxlib", "numpy", "optax", "equinox")
PURE = ("oracle.catalogue.", "jax.", "optax.", "equinox.")
"""Modules whose functions mean the same in every run of the same sources and versions."""


def name_of(reference: Callable[..., Any], call: Any) -> str | None:
    """The name of a reference's program for a call (options, shapes, dtypes); None if it cannot be told or is not kept."""
    if not os.environ.get(FOLDER):
        return None
    try:
        what = pickle.dumps((_identity(reference), call))
    except Exception:  # a function of the user, or an option that cannot be pickled
        return None
    return hashlib.sha256(what + _environment()).hexdigest()


def load(name: str) -> bytes | None:
    """The program of that name, if it is there."""
    with suppress(OSError, zlib.error):
        return zlib.decompress((Path(os.environ[FOLDER]) / name[:2] / name).read_bytes())
    return None


def store(name: str, program: bytes) -> None:
    """Write a program; another process may do the same, so the file appears whole. A full disk only costs time."""
    path = Path(os.environ[FOLDER]) / name[:2] / name
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(zlib.compress(program, 1))
        Path(temporary).replace(path)


def _identity(value: Any) -> Any:
    """Whatever tells a function of a pure module from all others of the same sources; TypeError where that is unknown."""
    if not callable(value):
        return pickle.dumps(value)
    if isinstance(value, partial):
        return "partial", _identity(value.func), pickle.dumps((value.args, value.keywords))
    if isinstance(value, type) and f"{value.__module__}.".startswith(PURE):
        return value.__module__, value.__qualname__
    if not isinstance(value, FunctionType):  # a function that JAX has jitted, or given a rule
        return type(value).__name__, _identity(getattr(value, "__wrapped__", None) or vars(value)["fun"])
    if not f"{value.__module__}.".startswith(PURE):
        raise TypeError(f"{value!r} may mean something else in the next run")
    within = [cell.cell_contents for cell in value.__closure__ or ()]
    defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    code = value.__code__
    return value.__module__, value.__qualname__, code.co_firstlineno, code.co_code, [*map(_identity, [*within, *defaults])]


@cache
def _environment() -> bytes:
    """A hash of everything else that a compiled program depends on."""
    found = hashlib.sha256(sys.version.encode())
    for package in PACKAGES:
        with suppress(Exception):
            found.update(f"{package} {version(package)}".encode())
    found.update(platform.machine().encode() + _processor())
    root = Path(__file__).parent
    for path in sorted([*(root / "catalogue").rglob("*.py"), root / "autodiff.py"]):
        found.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return found.digest()


def _processor() -> bytes:
    """What the processor can do, for which a program is compiled."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.encode() for line in lines if line.startswith(("flags", "Features"))), b"")
    return platform.processor().encode()
