"""Many verifications in spawned processes, each with one thread of BLAS and of XLA.

A task is a name, not an object: a worker finds the Spec again, so nothing but names and rows crosses between processes.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

from tqdm import tqdm

from oracle.contract.process_state import apart, preserved
from oracle.row import Row, Verdict
from oracle.running import workers
from oracle.running.workers import Died, Lost, TimedOut, deaf_to_interrupts, said
from oracle.spec import Spec
from oracle.text import command_line, plain

__all__ = [
    "DTYPES",
    "Task",
    "dtypes_of",
    "each",
    "executor",
    "few_threads",
    "perform",
    "progress",
    "run",
    "spec_of",
    "specs_in",
    "tasks_of",
]

T = TypeVar("T")

DTYPES = ("float64", "float32", "float16", "bfloat16")

CONDUCT = "contract: conduct"

XLA_IN_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def environment(threads: int) -> dict[str, str]:
    """What pools of threads read when they are imported.

    The pools of several processes fight over the cores; and a matrix of a few hundred elements gains nothing from threads.
    """
    of_blas = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return {**of_blas, "JAX_PLATFORMS": "cpu", **({"XLA_FLAGS": XLA_IN_ONE_THREAD} if threads == 1 else {})}


@dataclass(frozen=True)
class Task:
    """One case of one op in one dtype; `module` is that of someone else's op, empty for the catalogue."""

    module: str
    op: str
    case: str
    dtype: str
    seed: int = 0

    def __str__(self) -> str:
        return plain(" / ".join(part for part in (self.op, self.case, self.dtype) if part))

    @property
    def name(self) -> str:
        """The op, as the command line names it."""
        return f"{self.module}:{self.op}" if self.module else self.op

    @property
    def command(self) -> str:
        """What verifies it again."""
        parts = ["oracle", "verify", self.name]
        if self.case:
            parts += ["--case", self.case]
        if self.dtype != "float64":
            parts += ["--dtype", self.dtype]
        if self.seed:
            parts += ["--seed", str(self.seed)]
        return command_line(parts)


def dtypes_of(record: Any) -> tuple[str, ...]:
    """The dtypes that a record is verified in: all for an op; what is followed step by step, in float64.

    Nets at their real size are trained in float64 and float32; on some convolutions in bfloat16 XLA aborts (jaxlib 0.10.2).
    """
    if not isinstance(record, Spec):
        return DTYPES[:1]
    return DTYPES[:2] if record.on_request else DTYPES


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


def run(
    tasks: Sequence[Task],
    jobs: int,
    *,
    quiet: bool = False,
    timeout: float | None = None,
    threads: int = 1,
    arrived: Callable[[Task, tuple[Row, ...], Lost | None], object] = lambda task, rows, lost: None,
) -> list[Row]:
    """The rows of all tasks, in the order of the tasks. Each process has `threads` of BLAS and of XLA.

    `arrived` is told of the rows of each task as soon as they are there; and how its own were lost, if they were: to the
    clock, or with the process. Another time they may be found.
    """

    def told(task: Task, result: tuple[Row, ...] | BaseException) -> None:
        arrived(task, _rows(task, result), result if isinstance(result, Lost) else None)

    found = each(perform, tasks, jobs, "verify", "case", quiet=quiet, timeout=timeout, threads=threads, arrived=told)
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
    """`work` of each item, or what it raised, in order. `jobs` processes; with 1 and no time limit, this process does it all.

    `timeout` is how many seconds each may take; only another process can be ended when they are over. `arrived` is told of
    each item and its result as soon as it is there, in whatever order.
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
    """Its result, or what it raised. What it prints goes where that of other processes goes."""
    try:
        with redirect_stdout(sys.stderr):
            return work()
    except (Exception, SystemExit) as error:
        return error


def perform(task: Task) -> tuple[Row, ...]:
    """One task, in whichever process."""
    from oracle import trajectory, verification  # a worker imports JAX, the command line need not
    from oracle.trajectory import training
    from oracle.trajectory.spec import TrainingSpec

    record = spec_of(task)
    if getattr(record, "reference", None) is not None:
        import_module("oracle.autodiff")
    workers.alive()  # what takes long to import is imported
    with preserved():
        if isinstance(record, trajectory.TrajectorySpec):
            return trajectory.run(record, seed=task.seed).rows
        if isinstance(record, trajectory.ScheduleSpec):
            return trajectory.run_schedule(record).rows
        if isinstance(record, TrainingSpec):
            return training.run(record, seed=task.seed).rows
        with apart(whole_process=multiprocessing.parent_process() is not None) as conduct:
            rows = verification.verify_case(record, record.case(task.case), dtype=task.dtype, seed=task.seed).rows
    return (*(_failed(task, what, rows[0]) for what in conduct.side_effects()), *rows)


def conducts(row: Row) -> bool:
    """Whether a row is about what an op did beside computing, which only a whole process shows."""
    return row.evidence == CONDUCT


def _failed(task: Task, what: str, like: Row) -> Row:
    """The row of an op that does what no function of its arguments does."""
    return replace(_row(task, Verdict.FAIL, what), family=like.family, reference=like.reference, evidence=CONDUCT)


def spec_of(task: Task) -> Any:
    """The record that a task names."""
    if not task.module:
        from oracle import catalogue

        return catalogue.find(task.op)
    named = [spec for spec in specs_in(import_module(task.module)) if spec.name == task.op]
    return next(spec for spec in named if not task.case or any(case.name == task.case for case in spec.cases))


def _rows(task: Task, result: tuple[Row, ...] | BaseException) -> tuple[Row, ...]:
    """The rows of a task, also of one that raised (its arguments are none to verify at, say) or was lost: the rest goes on."""
    if not isinstance(result, BaseException):
        return result
    what = {Died: "the worker died, twice: ", TimedOut: ""}.get(type(result), "cannot be verified: ")
    return (_row(task, Verdict.ERROR, f"{what}{said(result)}"),)


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
        with deaf_to_interrupts():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def few_threads(threads: int = 1) -> Iterator[None]:
    """The environment of workers, but for what is set already; pools read it when they are imported."""
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
