"""The report as a JSON document, its environment, and how files are written: all of them completely, or none."""

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

from oracle.row import Details, Row, Verdict

__all__ = ["check_writable", "document", "environment", "larger", "packed", "read", "row_of", "to_json", "to_line", "write"]

SCHEMA = 2
"""The version of the JSON document. A field that goes or changes its meaning makes it 3; a new field does not. It is 2 since
`verdict` may be ACCEPTED."""

TEXTS = ("family", "op", "case", "dtype", "parameter", "reference", "evidence", "diagnosis", "note", "reason", "size", "part")
PACKAGES = ("purenet", "numpy", "scipy", "optree", "jax", "jaxlib", "optax", "equinox")
PLAIN = frozenset({str, int, bool, type(None)})
"""The types of most values of a row, which are written as they are."""


def environment(command: str, seed: int) -> dict[str, Any]:
    """What the numbers may depend on: command, seed, platform, libraries and their versions."""
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
    """`{"schema": 2, "passed": ..., "environment": ..., "totals": ..., "rows": [...], "seconds": ...}`.

    `passed` tells whether the run was finished and every row passed. Rows have full precision. Only their seconds are
    rounded, to whole ones, so that `diff` shows little for two runs of the same code.
    """
    totals: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for row in rows:
        totals[str(row.verdict)] = totals.get(str(row.verdict), 0) + 1
        seconds[row.family] = seconds.get(row.family, 0.0) + row.seconds
    return {
        "schema": SCHEMA,
        "passed": bool(rows) and "unfinished" not in env and all(row.passed for row in rows),
        "environment": dict(env),
        "totals": totals,
        "rows": [{**row.as_dict(), "seconds": round(row.seconds)} for row in rows],
        "seconds": {family: round(taken, 1) for family, taken in seconds.items()},
    }


def packed(row: Row) -> dict[str, Any]:
    """A whole row as a dict of plain types, which JSON and other processes can hold."""
    details = None if row.details is None else row.details.as_dict()
    return {**row.as_dict(), "verdict": str(row.verdict), "details": details}


def row_of(values: Mapping[str, Any], kind: type[Row] = Row) -> Row:
    """The inverse of `packed`, also for a dict that was JSON in between.

    Raises:
        ValueError, TypeError: for a dict that holds no row.

    """
    read: dict[str, Any] = {}
    for name, value in values.items():
        if name in TEXTS:
            if not isinstance(value, str):
                raise TypeError(f"row: {name} must be text, got {type(value).__name__}")
            read[name] = value
        elif name == "verdict":
            read[name] = Verdict(value)
        elif name == "details":
            read[name] = None if value is None else _details_of(value)
        else:
            read[name] = _numbers(value)
    return kind(**read)


def _details_of(packed: Mapping[str, Any]) -> Details:
    """The details of a row; the explanation is the only part that holds text."""
    explanation = packed.get("explanation")
    numbers = _numbers({name: value for name, value in packed.items() if name != "explanation"})
    if explanation is not None:
        texts = {name: explanation[name] for name in ("reason", "entry")}
        rest = {name: value for name, value in explanation.items() if name not in ("reason", "entry", "measurements")}
        explanation = {**texts, **_numbers(rest), "measurements": tuple(explanation["measurements"])}
    return Details.of({**numbers, "explanation": explanation})


def _numbers(value: Any) -> Any:
    """Turns lists back into tuples, and the strings "nan", "inf" and "-inf" into numbers."""
    if isinstance(value, Mapping):
        return {name: _numbers(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(map(_numbers, value))
    if isinstance(value, str):
        return float(value)
    if value is None or isinstance(value, int | float):
        return value
    raise TypeError(f"row: expected a number, got {type(value).__name__}")


def to_json(value: Any) -> str:
    """Strict JSON. Numbers that are not finite become the strings "nan", "inf" and "-inf"."""
    return json.dumps(_plain(value), indent=1, allow_nan=False) + "\n"


def to_line(value: Any) -> str:
    """The same JSON on one line."""
    return json.dumps(_plain(value), allow_nan=False) + "\n"


def read(text: str) -> Any:
    """The inverse of `to_json`, for documents that oracle wrote."""
    return json.loads(text)


def _plain(value: Any) -> Any:
    if type(value) in PLAIN:
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def larger(folder: Path, cases: int, selection: str) -> str:
    """The reason not to replace the report in `folder`: it has another selection and more cases. Empty if there is none."""
    try:
        found = read((folder / "verification.json").read_text(encoding="utf-8"))
        there = len({(row["op"], row["case"], row["dtype"]) for row in found["rows"]})
        there = max(there, found["environment"].get("cases", 0))
        same = found["environment"].get("selection") == selection
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return ""
    return "" if same or there <= cases else f"{folder} has a report of {there} cases, more than this run"


def check_writable(folder: Path) -> None:
    """Raise an OSError now if `folder` cannot be written to. Called before a long computation."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Replace all files. A reader sees the old or the new version of a file, never a part of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        if (folder / name).is_dir():  # checked before any other file is replaced
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder / name))
    ready: list[tuple[str, Path]] = []
    try:
        for name, content in files.items():
            with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{name}.", delete=False) as file:
                ready.append((file.name, folder / name))
                file.write(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
        for temporary, final in ready:
            Path(temporary).chmod(0o644)
            Path(temporary).replace(final)
    except BaseException:
        for temporary, _ in ready:
            Path(temporary).unlink(missing_ok=True)
        raise
