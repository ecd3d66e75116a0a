"""One run of `oracle verify`: the rows of its tasks, saved as they arrive, until the last task or an interrupt."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from oracle.counterexamples import folder, shrink
from oracle.row import Row
from oracle.running import campaign
from oracle.running.journal import Journal, key
from oracle.running.selection import cannot_write
from oracle.running.tasks import Task
from oracle.running.workers import Lost
from oracle.text import count

__all__ = ["Run"]


class Run:
    """The rows of each task so far. As a context manager it closes the journal, which `--resume` reads.

    `finish` removes the journal, because a finished run needs none.
    """

    def __init__(self, tasks: Sequence[Task], jobs: int, timeout: float | None, *, quiet: bool, threads: int = 1) -> None:
        self.tasks = tasks
        self._jobs = jobs
        self._threads = threads
        self._timeout = timeout
        self._quiet = quiet
        self.found: dict[Task, tuple[Row, ...]] = {}
        self._lost: dict[Task, Lost] = {}
        """The tasks that took too long or whose process ended, and the error of each. `found` has an ERROR row for them."""
        self._journal: Journal | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._journal is not None:
            self._journal.close()

    @property
    def interrupted(self) -> bool:
        return len(self.found) < len(self.tasks)

    @property
    def rows(self) -> list[Row]:
        """All rows, in the order of the tasks."""
        return [row for task in self.tasks for row in self.found.get(task, ())]

    def keep(self, path: Path, environment: Mapping[str, Any], *, resume: bool) -> None:
        """Save rows in a journal at `path` from now on. With `resume`, first take over those of an interrupted run."""
        self._journal = Journal(path, key(environment), resume=resume)
        self.found = {task: self._journal.known[task] for task in self.tasks if task in self._journal.known}
        if resume:
            resumed = f"resumed: {len(self.found)} of {count(len(self.tasks), 'case')} were finished before"
            print(f"verify: {f'not resumed: {self._journal.reason}' if self._journal.reason else resumed}", file=sys.stderr)

    def perform(self) -> None:
        """Run all tasks that have no rows yet."""

        def arrived(task: Task, rows: tuple[Row, ...], lost: Lost | None) -> None:
            self.found[task] = rows
            if lost is not None:
                self._lost[task] = lost
            elif self._journal is not None:
                try:
                    self._journal.add(task, rows)
                except OSError as error:
                    raise cannot_write(self._journal.path.parent, error) from None

        left = [task for task in self.tasks if task not in self.found]
        with suppress(KeyboardInterrupt):
            campaign.run(left, self._jobs, quiet=self._quiet, timeout=self._timeout, threads=self._threads, arrived=arrived)

    def programs(self, root: Path, *, whole: bool) -> list[Path]:
        """Write a program for each failure into a folder of `root`, and remove the folders of earlier failures.

        If the report is replaced as a `whole`, all earlier folders go; otherwise only those of the same cases.
        """
        failing = shrink.failing(self.found, self._lost)
        files = shrink.programs(failing, self._jobs, quiet=self._quiet, timeout=self._timeout)
        written = []
        for case, program in zip(failing, files, strict=True):
            name = folder.folder_name(case.task.op, case.task.case, case.task.dtype)
            written.append(folder.write(root, name, program, case.task.command))
        folder.prune(root, written, None if whole else [task.command for task in self.found])
        return written

    def finish(self) -> None:
        """Remove the journal. Called when the report is written, so that nothing is left to resume."""
        if self._journal is not None:
            self._journal.finish()
