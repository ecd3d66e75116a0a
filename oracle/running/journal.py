"""The journal of a run: a file with the rows of each finished case, from which an interrupted run can be continued.

Each line is JSON. The first line identifies the versions and sources that the run used; every other line has a task and its
rows. Reading the file executes nothing. Lines that cannot be read, such as one that a power failure cut, are skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oracle.report import document
from oracle.row import Row
from oracle.running.tasks import Task
from oracle.sources import own_modules
from oracle.trajectory.spec import SlotRow

__all__ = ["Journal", "key"]

EVERY = 1.0  # seconds between two calls of fsync: a power failure loses this much at most; calling it for each case is slow
FORMAT = 1  # a journal with another number is not resumed


def key(environment: Mapping[str, Any]) -> dict[str, Any]:
    """All that a result depends on: library versions, platform and source files. A journal is resumed only if it is equal."""
    return {"format": FORMAT, "sources": _sources(), **{k: environment[k] for k in ("python", "platform", "blas", "packages")}}


def _sources() -> str:
    """A hash of all source files of purenet and oracle, and of every imported module that is not an installed package."""
    files = {path for name in ("purenet", "oracle") for path in Path(str(sys.modules[name].__file__)).parent.rglob("*.py")}
    files.update(own_modules().values())
    digest = hashlib.sha256()
    for path in sorted(path.resolve() for path in files):
        try:
            content = path.read_bytes()
        except OSError:  # for example a module inside an archive: only its name is hashed
            content = b""
        digest.update(f"{path}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()


class Journal:
    """The rows of a run so far, in a file beside its report."""

    def __init__(self, path: Path, of: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self.reason = ""
        """Why no rows are reused although `resume` is set; empty if there is no reason."""
        first = json.dumps(of, sort_keys=True) + "\n"
        lines = self._read(first) if resume else {}
        self.known = {task: rows for task, (rows, _) in lines.items()}
        document.write(path.parent, {path.name: first + "".join(line for _, line in lines.values())})
        self.file = path.open("a", encoding="utf-8")
        self.written = time.monotonic()

    def _read(self, first: str) -> dict[Task, tuple[tuple[Row, ...], str]]:
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            self.reason = "there is no interrupted run to resume"
            return {}
        head, *lines = text.splitlines(keepends=True) or [""]
        if head != first:
            self.reason = "source files or library versions have changed since the interrupted run"
            return {}
        found = {}
        for line in lines:
            try:
                values = json.loads(line)
                rows = tuple(document.row_of(row, SlotRow if "steps" in row else Row) for row in values["rows"])
                found[_task(values["task"])] = rows, line.rstrip("\n") + "\n"
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue
        return found

    def add(self, task: Task, rows: Sequence[Row]) -> None:
        """Save the rows of a finished task."""
        self.known[task] = tuple(rows)
        values = {"task": asdict(task), "rows": [document.packed(row) for row in rows]}
        self.file.write(document.to_line(values))
        self.file.flush()
        if time.monotonic() - self.written > EVERY:
            os.fsync(self.file.fileno())
            self.written = time.monotonic()

    def close(self) -> None:
        """Close the file. It stays for `--resume`, unless it has no rows."""
        self.file.close()
        if not self.known:
            self.path.unlink(missing_ok=True)

    def finish(self) -> None:
        """Remove the file, because the report is written."""
        self.known.clear()
        self.close()


def _task(values: Mapping[str, Any]) -> Task:
    task = Task(**values)
    texts = (task.module, task.op, task.case, task.dtype, task.made, task.effort)
    if not all(isinstance(text, str) for text in texts) or type(task.seed) is not int or type(task.exact) is not bool:
        raise TypeError(f"a task must have four texts and an integer seed, got {dict(values)}")
    return task
