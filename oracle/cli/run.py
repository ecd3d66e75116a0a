"""One run of `oracle verify`: what it finds, kept as it comes, until all is done or an interrupt ends it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from oracle.counterexamples import folder, shrink
from oracle.row import Row
from oracle.running import campaign
from oracle.running.campaign import Task
from oracle.running.journal import Journal, key
from oracle.running.selection import cannot_write
from oracle.running.workers import Lost

__all__ = ["Run"]


class Run:
    """The rows of each task so far. As a context it closes the journal, which stays for `--resume` unless `finish` was said."""

    def __init__(self, tasks: Sequence[Task], jobs: int, timeout: float | None, *, quiet: bool, threads: int = 1) -> None:
        self.tasks = tasks
        self.jobs = jobs
        self.threads = threads
        self.timeout = timeout
        self.quiet = quiet
        self.found: dict[Task, tuple[Row, ...]] = {}
        self.lost: dict[Task, Lost] = {}
        """How it was, for those of `found` that were lost to the clock or with their process."""
        self.journal: Journal | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.journal is not None:
            self.journal.close()

    @property
    def interrupted(self) -> bool:
        return len(self.found) < len(self.tasks)

    @property
    def rows(self) -> list[Row]:
        """In the order of the tasks."""
        return [row for task in self.tasks for row in self.found.get(task, ())]

    def keep(self, path: Path, environment: Mapping[str, Any], *, resume: bool) -> None:
        """What is found is kept in a file there; what an interrupted run has found is taken over, if that is wanted."""
        self.journal = Journal(path, key(environment), resume=resume)
        self.found = {task: self.journal.known[task] for task in self.tasks if task in self.journal.known}
        if resume:
            known = f"resumed: {len(self.found)} of {len(self.tasks)} cases are known"
            print(f"verify: {f'not resumed: {self.journal.reason}' if self.journal.reason else known}", file=sys.stderr)

    def perform(self) -> None:
        """All tasks that are not known yet."""

        def arrived(task: Task, rows: tuple[Row, ...], lost: Lost | None) -> None:
            self.found[task] = rows
            if lost is not None:
                self.lost[task] = lost
            elif self.journal is not None:
                try:
                    self.journal.add(task, rows)
                except OSError as error:
                    raise cannot_write(self.journal.path.parent, error) from None

        left = [task for task in self.tasks if task not in self.found]
        with suppress(KeyboardInterrupt):
            campaign.run(left, self.jobs, quiet=self.quiet, timeout=self.timeout, threads=self.threads, arrived=arrived)

    def programs(self, root: Path, *, whole: bool) -> list[Path]:
        """The programs that show the failures, written into folders of `root`; those of earlier failures are removed.

        Of all earlier failures, if the report is replaced (`whole`); else of the same cases alone.
        """
        failing = shrink.failing(self.found, self.lost)
        files = shrink.programs(failing, self.jobs, quiet=self.quiet, timeout=self.timeout)
        written = []
        for case, program in zip(failing, files, strict=True):
            name = folder.folder_name(case.task.op, case.task.case, case.task.dtype)
            written.append(folder.write(root, name, program, case.task.command))
        folder.prune(root, written, None if whole else [task.command for task in self.found])
        return written

    def finish(self) -> None:
        """The report is written: there is nothing to resume."""
        if self.journal is not None:
            self.journal.finish()
