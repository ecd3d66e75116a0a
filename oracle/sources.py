"""The user's own modules: imported modules that do not belong to an installed package."""

from __future__ import annotations

import sys
import sysconfig
from functools import cache
from pathlib import Path

__all__ = ["file_of", "folder_of", "own_modules", "written"]


@cache
def _installed() -> tuple[str, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in names)


def own_modules(folder: Path | None = None) -> dict[str, Path]:
    """The file of each of the user's own modules, by the name of the module; only those below `folder` if it is given."""
    found = {}
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if isinstance(place, str) and (folder is None or place.startswith(str(folder))):
            file = Path(place).resolve()
            if not str(file).startswith(_installed()):
                found[name] = file
    return found


def folder_of(module: str) -> Path:
    """The folder of Python's path that contains this imported module."""
    top = sys.modules[module.partition(".")[0]]
    place = next(iter(top.__path__)) if hasattr(top, "__path__") else top.__file__
    return Path(place or ".").resolve().parent


def written(module: str) -> str:
    """How the user writes a module: by its name where it is found from the current folder, otherwise by its file."""
    if module not in sys.modules:
        return module
    file = file_of(module)
    here = Path.cwd()
    if file is None or folder_of(module) == here:
        return module
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def file_of(module: str) -> Path | None:
    """The file of one of the user's own modules; None for an installed module, or one without a file."""
    place = getattr(sys.modules[module], "__file__", None)
    file = Path(place).resolve() if isinstance(place, str) else None
    return None if file is None or str(file).startswith(_installed()) else file
