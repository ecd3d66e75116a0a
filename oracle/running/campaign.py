"""Many verifications in worker processes, each of which uses one thread of BLAS and of XLA.

Only the names of a task and its rows are sent between processes.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

from tqdm import tqdm

from oracle.contract.process_state import apart, preserved
from oracle.row import Row, Verdict
from oracle.running import workers
from oracle.running.tasks import Task, spec_of
from oracle.running.workers import Died, Lost, TimedOut, described, interrupts_blocked

__all__ = [
    "each",
    "executor",
    "few_threads",
    "perform",
    "progress",
    "run",
]

T = TypeVar("T")

CONDUCT = "contract: conduct"
"""The evidence of rows about what an op does to its process, such as printing."""
XLA_IN_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
WITHOUT_PLACES = {"JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS": "false", "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "0"}
"""Else JAX notes for each operation of a program which lines of source it comes from, which nobody reads: a twentieth of the
time of a verification whose reference is not compiled yet."""


def environment(threads: int) -> dict[str, str]:
    """The environment variables of worker processes: the number of threads, and what JAX need not do.

    BLAS, XLA and JAX read them when they are imported.

    With one thread for each process the processes do not compete for cores, and small matrices gain nothing from threads.
    """
    of_blas = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    of_xla = {"XLA_FLAGS": XLA_IN_ONE_THREAD} if threads == 1 else {}
    return {**of_blas, **WITHOUT_PLACES, **of_xla, "JAX_PLATFORMS": "cpu"}


def run(
    tasks: Sequence[Task],
    jobs: int,
    *,
    quiet: bool = False,
    timeout: float | None = None,
    threads: int = 1,
    arrived: Callable[[Task, tuple[Row, ...], Lost | None], object] = lambda task, rows, lost: None,
) -> list[Row]:
    """The rows of all tasks, in the order of the tasks. Each process has `threads` threads of BLAS and of XLA.

    `arrived` gets each task and its rows as soon as they are there. If the task took too long or its process died, it also
    gets that exception: another run may succeed.
    """

    def finished(task: Task, result: tuple[Row, ...] | BaseException) -> None:
        arrived(task, _rows(task, result), result if isinstance(result, Lost) else None)

    found = each(perform, tasks, jobs, "verify", "case", quiet=quiet, timeout=timeout, threads=threads, arrived=finished)
    return [row for task, result in zip(tasks, found, strict=True) for row in _rows(task, result)]


def each(
    work: Callable[[Any], T],
    items: Sequence[Any],
    jobs: int,
    what: str,
    unit: str,
    *,
    quiet: bool = False,
    timeout: float | None = None,
    threads: int = 1,
    arrived: Callable[[Any, T | BaseException], object] = lambda item, result: None,
) -> list[T | BaseException]:
    """`work` of each item, or the exception that it raised, in the order of the items.

    The items are shared among `jobs` processes. Each may take `timeout` seconds. With one job and no time limit everything
    runs in this process. `arrived` gets each item and its result in the order in which they finish.
    """
    results: dict[int, T | BaseException] = {}
    with progress(len(items), what, unit, quiet=quiet) as advance:

        def done(i: int, result: T | BaseException) -> None:
            results[i] = result
            arrived(items[i], result)
            advance()

        if jobs == 1 and timeout is None:
            for i, item in enumerate(items):
                done(i, _attempt(partial(work, item)))
        else:
            with few_threads(threads):
                workers.perform(work, items, min(jobs, len(items)), timeout, done)
    return [results[i] for i in range(len(items))]


def _attempt(work: Callable[[], T]) -> T | BaseException:
    """The result of `work`, or the exception that it raised. Its output goes to standard error, as in other processes."""
    try:
        with redirect_stdout(sys.stderr):
            return work()
    except (Exception, SystemExit) as error:
        return error


def perform(task: Task) -> tuple[Row, ...]:
    """The rows of one task. Runs in a worker process, or in the process of the command."""
    from oracle import trajectory, verification  # imported here, so that the command itself need not import JAX
    from oracle.trajectory import training
    from oracle.trajectory.spec import TrainingSpec

    record = spec_of(task)
    if getattr(record, "reference", None) is not None:
        import_module("oracle.autodiff")
    workers.alive()  # the slow imports are done: the time limit of the task starts now
    with preserved():
        if isinstance(record, trajectory.TrajectorySpec):
            return trajectory.run(record, seed=task.seed).rows
        if isinstance(record, trajectory.ScheduleSpec):
            return trajectory.run_schedule(record).rows
        if isinstance(record, TrainingSpec):
            return training.run(record, seed=task.seed).rows
        if isinstance(record, trajectory.OptimizerCheck):
            return record.verified(task.seed, (task.dtype,)).rows
        if isinstance(record, trajectory.ScheduleCheck):
            return record.verified().rows
        with apart(whole_process=multiprocessing.parent_process() is not None) as conduct:
            case = record.case(task.case)
            rows = verification.verify_case(
                record, case, dtype=task.dtype, seed=task.seed, exact=task.exact, effort=task.effort
            ).rows
    return (*(_failed(task, what, rows[0]) for what in conduct.side_effects()), *rows)


def conducts(row: Row) -> bool:
    """Whether a row is about what an op did to its process, such as printing or forking."""
    return row.evidence == CONDUCT


def _failed(task: Task, what: str, like: Row) -> Row:
    """The row of an op that did something to its process, which a pure function never does."""
    return replace(_row(task, Verdict.FAIL, what), family=like.family, reference=like.reference, evidence=CONDUCT)


def _rows(task: Task, result: tuple[Row, ...] | BaseException) -> tuple[Row, ...]:
    """The rows of a task. A task that raised, took too long or died has one ERROR row, and the run goes on."""
    if not isinstance(result, BaseException):
        return result
    what = {Died: "its process died twice: ", TimedOut: ""}.get(type(result), "cannot be verified: ")
    return (_row(task, Verdict.ERROR, f"{what}{described(result)}"),)


def _row(task: Task, verdict: Verdict, diagnosis: str) -> Row:
    return Row(
        family=task.module,
        op=task.op,
        case=task.case,
        dtype=task.dtype,
        parameter="",
        shape=(),
        reference="",
        evidence="",
        verdict=verdict,
        diagnosis=diagnosis,
    )


@contextmanager
def executor(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of spawned processes. Forked ones would inherit the thread pools of JAX and BLAS in an unknown state.

    An interrupt ends them at once. They do not get it themselves, so they print nothing about it.
    """
    others = multiprocessing.active_children()
    with _Pool(jobs, multiprocessing.get_context("spawn"), initializer=_print_aside) as pool:
        try:
            yield pool
        except BaseException as error:  # work that has not begun is cancelled
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                for worker in multiprocessing.active_children():
                    if worker not in others:
                        worker.terminate()
            raise


def _print_aside() -> None:
    """Send what an op prints to standard error, because standard output is for the command's report."""
    sys.stdout = sys.stderr


class _Pool(ProcessPoolExecutor):
    """A pool whose processes have interrupts blocked from their start. They are started by `submit` and inherit the mask."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with interrupts_blocked():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def few_threads(threads: int = 1) -> Iterator[None]:
    """Set the environment variables of worker processes inside this block. Variables that are set already stay."""
    wanted = environment(threads)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update({name: value for name, value in wanted.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


@contextmanager
def progress(total: int, what: str, unit: str = "case", *, quiet: bool = False) -> Iterator[Callable[[], object]]:
    """A progress bar on a terminal, otherwise a line after every tenth of the items. Yields the function that counts one."""
    if quiet:
        yield lambda: None
    elif sys.stderr.isatty():
        with tqdm(total=total, desc=what, unit=unit, leave=False) as bar:
            yield bar.update
    else:
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            if done * 10 // total > (done - 1) * 10 // total:
                print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)

        yield advance
