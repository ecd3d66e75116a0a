"""Processes that do one thing at a time: what takes too long is ended, what dies is tried once more, and either is told.

Whatever someone else's function does (hang in C, swallow every exception, exit, fork, close all files), it does it in one of
these. A pool of the standard library cannot say which of its processes is at what, nor end one of them.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

__all__ = ["Died", "Lost", "Raised", "TimedOut", "alive", "deaf_to_interrupts", "perform", "said"]

T = TypeVar("T")

STARTING = 300.0  # seconds in which a process must have imported what it needs, before its clock starts: a machine may be slow
LOOK = 0.5  # seconds after which processes are looked at even if they say nothing
ENGINE = str(Path(__file__).parent.parent) + os.sep  # the package `oracle`


class Lost(Exception):
    """There is no result. `note` is the last that `alive` was told."""

    def __init__(self, message: str, note: Any = None) -> None:
        super().__init__(message)
        self.note = note


class TimedOut(Lost):
    """It took longer than `seconds`, and its process was ended."""

    def __init__(self, seconds: float, note: Any = None) -> None:
        super().__init__(f"timed out after {seconds:g} s", note)
        self.seconds = seconds


class Died(Lost):
    """Its process ended, and a second one too."""


class Raised(Exception):
    """What was raised in a process, in words: the object itself may not fit through a pipe."""


def said(error: BaseException) -> str:
    """The type of an exception and its message, whatever its `__str__` does."""
    if isinstance(error, Raised | Lost):
        return str(error)
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


# ----------------------------------------------------------------------------------------------------- in a process

_tell: list[Callable[[Any], None]] = []


def alive(note: Any = None) -> None:
    """Said by what runs in a process: its clock starts here, anew. `note` comes back if it does not end in time."""
    for tell in _tell:
        tell(("alive", note))


def _serve(pipe: connection.Connection, work: Callable[[Any], Any]) -> None:
    """What a process does: one item after the other, until nobody wants more."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # so that what an op starts can be ended with it
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_stay_out)
    standard_error = os.dup(2)
    _tell.append(pipe.send)
    # JAX makes very many small objects when it traces, and frees nearly all of them itself: looking for circles among them, and
    # among all that is imported, after every 700 takes a twentieth of the time of a verification.
    gc.set_threshold(50_000, 20, 20)
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            os._exit(0)
        _reopen(standard_error)
        try:
            result = ("done", work(item))
        except BaseException as error:  # interrupts are blocked here: even a KeyboardInterrupt is the op's own
            result = ("raised", said(error))
        try:
            pipe.send(result)
        except OSError:  # the op has closed what it has not opened
            os._exit(1)
        except Exception as error:
            pipe.send(("raised", f"its result cannot be sent: {said(error)}"))


def _reopen(standard_error: int) -> None:
    """Standard error, and standard output into it, whatever the last op has closed."""
    with suppress(OSError):
        os.dup2(standard_error, 2)
        os.dup2(2, 1)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 - a descriptor
    sys.stdout = sys.stderr


def _end_with_the_parent() -> None:
    """Whatever this process is at, it is not wanted when the command is gone, as after `kill -9`."""
    parent = multiprocessing.parent_process()
    with suppress(OSError, ValueError):
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)


def _stay_out() -> None:
    """A process that an op forks may do what it likes, but not go on for us: it ends where it would return into our code."""
    _tell.clear()
    sys.setprofile(_ended_on_return)


def _ended_on_return(frame: FrameType, event: str, _: Any) -> None:
    caller = frame.f_back
    if event == "return" and (caller is None or caller.f_code.co_filename.startswith(ENGINE)):
        os._exit(0)


# ----------------------------------------------------------------------------------------------------- in the command


class _Worker:
    """A process, and what it is at."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit the threads of JAX and BLAS in an unknown state
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work))
        with deaf_to_interrupts():  # inherited: also by one that still imports
            self.process.start()
        theirs.close()
        self.item: int | None = None
        self.note: Any = None
        self.since = 0.0
        self.seconds = 0.0

    def begin(self, i: int, item: Any, limit: float) -> None:
        self.item, self.note = i, None
        self.since, self.seconds = time.monotonic(), max(limit, STARTING)
        with suppress(OSError):  # it died while it had nothing to do: `heard` will tell
            self.pipe.send(item)

    def heard(self, limit: float) -> tuple[Any] | None:
        """The result, alone in a tuple, or what there is instead; None: not yet."""
        running = self.process.is_alive()
        try:
            while self.pipe.poll():
                kind, what = self.pipe.recv()
                if kind == "done":
                    return (what,)
                if kind == "raised":
                    return (Raised(what),)
                self.note, self.since, self.seconds = what, time.monotonic(), limit
        except (EOFError, OSError):
            running = False
        except Exception as error:  # it cannot be read: its class is not known here, say
            return (Raised(said(error)),)
        if not running:
            return (Died(self._end(), self.note),)
        if time.monotonic() - self.since > self.seconds:
            return (TimedOut(self.seconds, self.note),)
        return None

    def _end(self) -> str:
        """How it ended, in words."""
        self.process.join(LOOK)
        code = self.process.exitcode
        if code is None:
            return "it closed what connects it with the command"
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def end(self) -> None:
        """Ends it, whatever it is at, and what it has started."""
        if hasattr(os, "killpg") and self.process.pid is not None:
            with suppress(OSError):  # there is no such group, if it had no time to make itself one
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.process.close()


def perform(
    work: Callable[[Any], T],
    items: Sequence[Any],
    jobs: int,
    limit: float | None,
    done: Callable[[int, T | BaseException], object],
) -> None:
    """`work` of each item in `jobs` processes, at most `limit` seconds each; `done` is told of each, in whatever order.

    The items and the results must be picklable, and `work` found by its name.
    """
    seconds = float("inf") if limit is None else limit
    waiting = deque(range(len(items)))
    again: set[int] = set()
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.item is not None for worker in workers):
            idle = [worker for worker in workers if worker.item is None]
            while waiting and (idle or len(workers) < jobs):
                if not idle:
                    workers.append(_Worker(work))
                i = waiting.popleft()
                (idle.pop() if idle else workers[-1]).begin(i, items[i], seconds)
            busy = [worker for worker in workers if worker.item is not None]
            connection.wait([end for worker in busy for end in (worker.pipe, worker.process.sentinel)], LOOK)
            for worker in busy:
                heard, item = worker.heard(seconds), worker.item
                if heard is None or item is None:
                    continue
                (result,) = heard
                worker.item = None
                if isinstance(result, Lost):
                    worker.end()
                    workers.remove(worker)
                if isinstance(result, Died) and item not in again:
                    again.add(item)
                    waiting.appendleft(item)
                    print(f"a process died at {items[item]} ({result}); that is tried once more", file=sys.stderr)
                    continue
                done(item, result)
    finally:
        with deaf_to_interrupts():
            for worker in workers:
                worker.end()


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """An interrupt waits until the end of this block. Windows has no signal mask; its workers print their own end."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which starts with the first process, and then hears interrupts again for all of us
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
