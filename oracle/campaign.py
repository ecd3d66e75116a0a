"""Many verifications on an executor of spawned processes, each with one thread of BLAS and of XLA.

A task is a name, not an object: a worker finds the Spec again, so nothing but names and rows crosses between processes.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from tqdm import tqdm

from oracle.row import Row, Verdict
from oracle.spec import Spec

__all__ = [
    "DTYPES",
    "Task",
    "dtypes_of",
    "each",
    "executor",
    "one_thread_each",
    "perform",
    "progress",
    "run",
    "spec_of",
    "specs_in",
    "tasks_of",
]

T = TypeVar("T")

DTYPES = ("float64", "float32", "float16", "bfloat16")

# Two thread pools fight over the cores; and a matrix of a few hundred elements gains nothing from threads.
ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}


@dataclass(frozen=True)
class Task:
    """One case of one op in one dtype; `module` is that of someone else's op, empty for the catalogue."""

    module: str
    op: str
    case: str
    dtype: str
    seed: int = 0


def dtypes_of(record: Any) -> tuple[str, ...]:
    """The dtypes that a record is verified in: all for an op; trajectories and schedules are followed in float64."""
    return DTYPES if isinstance(record, Spec) else DTYPES[:1]


def tasks_of(record: Any, dtypes: Sequence[str], seed: int = 0, module: str = "") -> list[Task]:
    """All cases of a Spec, in all these dtypes; all steps of what is followed step by step."""
    cases = [case.name for case in record.cases] if isinstance(record, Spec) else [""]
    chosen = [dtype for dtype in dtypes if dtype in dtypes_of(record)]
    return [Task(module, record.name, case, dtype, seed) for dtype in chosen for case in cases]


def specs_in(module: ModuleType) -> list[Spec]:
    """The Specs that a module of someone else's holds, alone or in tuples and lists."""
    found: list[Spec] = []
    for value in vars(module).values():
        several = value if isinstance(value, tuple | list) else (value,)
        found += [spec for spec in several if isinstance(spec, Spec) and not any(spec is known for known in found)]
    return found


def run(tasks: Sequence[Task], jobs: int, *, quiet: bool = False) -> list[Row]:
    """The rows of all tasks, in the order of the tasks."""
    found = each(perform, tasks, jobs, "verify", "case", quiet=quiet)
    rows = [
        (_lost(task, result),) if isinstance(result, BaseException) else result
        for task, result in zip(tasks, found, strict=True)
    ]
    return [row for several in rows for row in several]


def each(
    work: Callable[[Any], T],
    items: Sequence[Any],
    jobs: int,
    what: str,
    unit: str,
    *,
    quiet: bool = False,
    arrived: Callable[[Any, T | BaseException], object] = lambda item, result: None,
) -> list[T | BaseException]:
    """`work` of each item, or what it raised, in order. `jobs` processes; with 1, this process does it all.

    `arrived` is told of each item and its result as soon as it is there, in whatever order.
    """
    results: dict[int, T | BaseException] = {}
    with progress(len(items), what, unit, quiet=quiet) as advance:

        def done(i: int, result: T | BaseException) -> None:
            results[i] = result
            arrived(items[i], result)
            advance()

        if jobs == 1:
            for i, item in enumerate(items):
                with redirect_stdout(sys.stderr):  # as in the other processes
                    result = _attempt(partial(work, item))
                done(i, result)
        else:
            with one_thread_each():
                _in_processes(work, items, jobs, done)
    return [results[i] for i in range(len(items))]


def _in_processes(
    work: Callable[[Any], T], items: Sequence[Any], jobs: int, done: Callable[[int, T | BaseException], object]
) -> None:
    """Where a process dies, nobody knows of which item: all that were under way are tried once more, each in a new process."""
    waiting = deque(range(len(items)))
    while waiting:
        with executor(min(jobs, len(waiting))) as pool:
            suspects = _until_one_dies(pool, work, items, jobs, waiting, done)
        if suspects:
            print(f"a process died; what it and the others were at ({len(suspects)}) is tried once more", file=sys.stderr)
        for i in suspects:
            with executor(1) as pool:
                future = pool.submit(work, items[i])
                done(i, _attempt(future.result))


def _until_one_dies(
    pool: ProcessPoolExecutor,
    work: Callable[[Any], T],
    items: Sequence[Any],
    jobs: int,
    waiting: deque[int],
    done: Callable[[int, T | BaseException], object],
) -> list[int]:
    """Takes from `waiting` until nothing is left; what was under way when a process died."""
    running: dict[Future[T], int] = {}
    while waiting or running:
        while waiting and len(running) <= jobs:  # one more than there are processes, so that none waits for us
            i = waiting.popleft()
            try:
                running[pool.submit(work, items[i])] = i
            except BrokenExecutor:
                return sorted([i, *running.values()])
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            result = _attempt(future.result)
            if isinstance(result, BrokenExecutor):
                return sorted(running.values())
            done(running.pop(future), result)
    return []


def _attempt(work: Callable[[], T]) -> T | BaseException:
    """Its result, or what it raised."""
    try:
        return work()
    except (Exception, SystemExit) as error:
        return error


def perform(task: Task) -> tuple[Row, ...]:
    """One task, in whichever process."""
    from oracle import trajectory, verification  # a worker imports JAX, the command line need not

    record = spec_of(task)
    if isinstance(record, trajectory.TrajectorySpec):
        return trajectory.run(record, seed=task.seed).rows
    if isinstance(record, trajectory.ScheduleSpec):
        return trajectory.run_schedule(record).rows
    return verification.verify_case(record, record.case(task.case), dtype=task.dtype, seed=task.seed).rows


def spec_of(task: Task) -> Any:
    """The record that a task names."""
    if not task.module:
        from oracle import catalogue

        return catalogue.find(task.op)
    named = [spec for spec in specs_in(importlib.import_module(task.module)) if spec.name == task.op]
    return next(spec for spec in named if not task.case or any(case.name == task.case for case in spec.cases))


def _lost(task: Task, error: BaseException) -> Row:
    """The row of a task that raised (its arguments are none to verify at, say) or whose worker died: the campaign goes on."""
    what = "the worker died, twice" if isinstance(error, BrokenExecutor) else "cannot be verified"
    return Row(
        family=task.module,
        op=task.op,
        case=task.case,
        dtype=task.dtype,
        parameter="",
        shape=(),
        reference="",
        evidence="",
        verdict=Verdict.ERROR,
        diagnosis=f"{what}: {type(error).__name__}: {error}",
    )


@contextmanager
def executor(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Spawned processes: a fork would inherit the thread pools of JAX and BLAS in an unknown state.

    An interrupt ends them at once, whatever they are at; they themselves do not hear it, and so print nothing about it.
    """
    others = multiprocessing.active_children()
    with _Pool(jobs, multiprocessing.get_context("spawn"), initializer=_print_aside) as pool:
        try:
            yield pool
        except BaseException as error:  # what was not begun is not wanted any more
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                for worker in multiprocessing.active_children():
                    if worker not in others:
                        worker.terminate()
            raise


def _print_aside() -> None:
    """Standard output is the command's: what an op prints goes to standard error."""
    sys.stdout = sys.stderr


class _Pool(ProcessPoolExecutor):
    """A pool whose workers, which submitting starts, inherit that interrupts are blocked: also one that still imports."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with _deaf_to_interrupts():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """An interrupt waits until the end of this block. Windows has no signal mask; its workers print their own end."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """The environment of workers; pools read it when they are imported, so it is set before the workers start."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update({name: value for name, value in ONE_THREAD.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


@contextmanager
def progress(total: int, what: str, unit: str = "case", *, quiet: bool = False) -> Iterator[Callable[[], object]]:
    """One progress bar on a terminal, a plain line at every tenth elsewhere."""
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
