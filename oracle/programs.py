"""Compiled references and their values on disk: they are loaded in some milliseconds, and made in up to a hundred.

The environment variable ORACLE_CACHE names the folder; without it nothing is kept. A program belongs to the sources of the
catalogue, the versions of the libraries and the processor that it was compiled for: when one of them changes, so does its name.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import pickle
import platform
import sys
import tempfile
import zlib
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import CellType, FunctionType
from typing import Any

import numpy as np

__all__ = ["FOLDER", "load", "name_of", "store"]

FOLDER = "ORACLE_CACHE"
PACKAGES = ("jax", "jaxlib", "numpy", "optax", "equinox")
PLAIN = (bool, int, float, complex, str, bytes, np.ndarray, np.generic, np.dtype, type(None))


def name_of(parts: Any, call: Any) -> str | None:
    """The name of the program that these parts (a reference, its options) make for a call (shapes, dtypes); None if not kept.

    Only functions that are written in the catalogue, in JAX, optax or equinox have a name, with all that they enclose: they
    mean the same in every run of the same sources and versions.
    """
    if not os.environ.get(FOLDER):
        return None
    try:
        what = repr((_identity(parts), _identity(call))).encode()  # a pickle tells whether equal parts are one object
    except Exception:  # something of the user's
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
    """Whatever tells a value from all others, in every run; TypeError for what another run may define otherwise."""
    kind = type(value)
    if isinstance(value, PLAIN):
        return kind.__name__, pickle.dumps(value)
    if kind in (tuple, list):
        return kind.__name__, [_identity(item) for item in value]
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return kind.__module__, kind.__qualname__, [_identity(item) for item in value]
    if kind is dict:
        return [(_identity(key), _identity(item)) for key, item in value.items()]
    if isinstance(value, partial):
        return "partial", _identity(value.func), _identity(value.args), _identity(value.keywords)
    if isinstance(value, FunctionType) and _is_ours(value.__code__.co_filename):
        within = [_enclosed(cell) for cell in value.__closure__ or ()]
        defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        # Later formats than 2 tell which constants have other users at that moment.
        return value.__module__, value.__qualname__, marshal.dumps(value.__code__, 2), _identity([*within, *defaults])
    if isinstance(value, type) and _is_ours(getattr(sys.modules.get(value.__module__), "__file__", None) or ""):
        return str(value.__module__), str(value.__qualname__)
    if kind.__module__.partition(".")[0] in ("jax", "jaxlib"):  # a function that JAX has jitted, or given a rule
        module, name = str(getattr(value, "__module__", "")), str(getattr(value, "__name__", ""))
        if module.partition(".")[0] == "jax" and getattr(sys.modules.get(module), name, None) is value:
            return "in JAX", module, name
        parts = {name: part for name, part in vars(value).items() if callable(part)}
        if parts:
            return kind.__name__, [(name, _identity(part)) for name, part in sorted(parts.items())]
    raise TypeError(f"{value!r} may mean something else in the next run")


def _enclosed(cell: CellType) -> Any:
    """What a variable of an enclosing function holds; a variable that has no value yet differs from all that have one."""
    try:
        return cell.cell_contents
    except ValueError:
        return "a variable", "without", "a value"


@cache
def _is_ours(file: str) -> bool:
    """Whether a file belongs to the catalogue or to a library whose version is part of the name."""
    folders = [
        Path(__file__).parent / "catalogue",
        *(Path(spec.origin).parent for p in PACKAGES if (spec := find_spec(p)) and spec.origin),
    ]
    return any(Path(file).is_relative_to(folder) for folder in folders)


@cache
def _environment() -> bytes:
    """A hash of everything else that a compiled program depends on."""
    found = hashlib.sha256(sys.version.encode())
    for package in PACKAGES:
        with suppress(Exception):
            found.update(f"{package} {version(package)}".encode())
    found.update(platform.machine().encode() + _processor())
    root = Path(__file__).parent
    folders = root / "catalogue", root / "jaxprs"
    for path in sorted([*(p for folder in folders for p in folder.rglob("*.py")), root / "autodiff.py", root / "compiling.py"]):
        found.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return found.digest()


def _processor() -> bytes:
    """What the processor can do, for which a program is compiled."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.encode() for line in lines if line.startswith(("flags", "Features"))), b"")
    return platform.processor().encode()
