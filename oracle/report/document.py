"""The report as one JSON document, its environment, and files that are replaced whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from oracle.row import Row

__all__ = ["check_writable", "document", "environment", "read", "to_json", "write"]

PACKAGES = ("purenet", "numpy", "scipy", "optree", "jax", "jaxlib", "optax", "equinox")


def environment(command: str, seed: int) -> dict[str, Any]:
    """What the numbers may depend on."""
    build: Any = np.show_config(mode="dicts")
    blas = build["Build Dependencies"]["blas"]
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "command": command,
        "seed": seed,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "blas": f"{blas.get('name')} {blas.get('version')}",
        "float64_digits": sys.float_info.dig,
        "packages": versions,
    }


def document(rows: Sequence[Row], env: Mapping[str, Any]) -> dict[str, Any]:
    """`{"environment": ..., "totals": ..., "rows": [...]}`, the rows in full precision."""
    totals: dict[str, int] = {}
    for row in rows:
        totals[str(row.verdict)] = totals.get(str(row.verdict), 0) + 1
    return {"environment": dict(env), "totals": totals, "rows": [row.as_dict() for row in rows]}


def to_json(value: Any) -> str:
    """Strict JSON: what is not finite becomes the strings "nan", "inf" and "-inf"."""
    return json.dumps(_plain(value), indent=1, allow_nan=False) + "\n"


def read(text: str) -> Any:
    """The inverse of `to_json`, for documents that we wrote."""
    return json.loads(text)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def check_writable(folder: Path) -> None:
    """Raise the OSError of writing to `folder` before anything long is computed for it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write all files, each at once: whoever reads sees the old one or the new one, whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        if (folder / name).is_dir():  # found now, not when the other files are already replaced
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / name))
    ready: list[tuple[str, Path]] = []
    try:
        for name, text in files.items():
            with tempfile.NamedTemporaryFile("w", dir=folder, prefix=f".{name}.", delete=False, encoding="utf-8") as file:
                ready.append((file.name, folder / name))
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for temporary, final in ready:
            Path(temporary).chmod(0o644)
            Path(temporary).replace(final)
    except BaseException:
        for temporary, _ in ready:
            Path(temporary).unlink(missing_ok=True)
        raise
