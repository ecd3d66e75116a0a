"""What a run has found so far, on the disk as it comes: so that a run that was interrupted can be continued.

A file of lines of JSON. The first says of which versions and sources it is; each other one has a task and its rows. Reading
it executes nothing, and what cannot be read (the end of a line that a power failure has cut) is passed over.
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
from oracle.running.campaign import Task
from oracle.sources import own_modules
from oracle.trajectory.spec import SlotRow

__all__ = ["NAME", "Journal", "key"]

NAME = "unfinished.jsonl"
EVERY = 1.0  # seconds after which what is written is sure to be on the disk
FORMAT = 1


def key(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same for a result to be the same: versions, and all sources that may have a say in it."""
    return {"format": FORMAT, "sources": _sources(), **{k: environment[k] for k in ("python", "platform", "blas", "packages")}}


def _sources() -> str:
    """A hash of purenet and oracle, and of all that is imported from outside the installed packages."""
    files = {path for name in ("purenet", "oracle") for path in Path(str(sys.modules[name].__file__)).parent.rglob("*.py")}
    files.update(own_modules().values())
    digest = hashlib.sha256()
    for path in sorted(path.resolve() for path in files):
        try:
            content = path.read_bytes()
        except OSError:  # inside an archive, say: its name must do
            content = b""
        digest.update(f"{path}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()


class Journal:
    """The results so far of a run, in a file beside its report."""

    def __init__(self, path: Path, of: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self.reason = ""
        """Why nothing is taken over, though that was wanted."""
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
            self.reason = "no run was interrupted here"
            return {}
        head, *lines = text.splitlines(keepends=True) or [""]
        if head != first:
            self.reason = "the interrupted run was of other sources or versions"
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
        """These rows are found."""
        self.known[task] = tuple(rows)
        values = {"task": asdict(task), "rows": [document.packed(row) for row in rows]}
        self.file.write(document.to_line(values))
        self.file.flush()
        if time.monotonic() - self.written > EVERY:
            os.fsync(self.file.fileno())
            self.written = time.monotonic()

    def close(self) -> None:
        """It stays, for a run that continues this one; unless nothing was found."""
        self.file.close()
        if not self.known:
            self.path.unlink(missing_ok=True)

    def finish(self) -> None:
        """It is not needed any more: the report is written."""
        self.known.clear()
        self.close()


def _task(values: Mapping[str, Any]) -> Task:
    task = Task(**values)
    texts = (task.module, task.op, task.case, task.dtype)
    if not all(isinstance(text, str) for text in texts) or type(task.seed) is not int:
        raise TypeError("a task is four names and a number")
    return task
