"""Worker processes, each of which works on one item at a time.

A process that takes too long is ended. If a process dies, its item is tried once more. Both are reported. So a user's function
may hang in C code, swallow every exception, exit, fork or close all files, and the other items are not disturbed. A pool of
the standard library is not enough: it does not tell which process works on which item, and cannot end a single process.
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

__all__ = ["Died", "Lost", "Raised", "TimedOut", "ahead", "alive", "described", "interrupts_blocked", "perform"]

T = TypeVar("T")

STARTING = 300.0  # seconds for imports, before the time limit of an item begins; too little makes ERRORs on a slow machine
LOOK = 0.5  # seconds between two looks at silent processes; more delays the end of a hang, less costs processor time
ALONE = 0.5  # seconds for which a run has one process: a few quick items are done before a second one has imported JAX
ENGINE = str(Path(__file__).parent.parent) + os.sep  # the folder of the package `oracle`


class Lost(Exception):
    """An item has no result. `note` is the last note that `alive` sent."""

    def __init__(self, message: str, note: Any = None) -> None:
        super().__init__(message)
        self.note = note


class TimedOut(Lost):
    """The item took longer than `seconds`, and its process was ended."""

    def __init__(self, seconds: float, note: Any = None) -> None:
        super().__init__(f"timed out after {seconds:g} s", note)
        self.seconds = seconds


class Died(Lost):
    """The process of the item ended, and that of the second attempt, too."""


class Raised(Exception):
    """The text of an exception that was raised in a process. The exception itself may not be picklable."""


def described(error: BaseException) -> str:
    """The type of an exception and its message; the type alone if its `__str__` raises."""
    if isinstance(error, Raised | Lost):
        return str(error)
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


# ----------------------------------------------------------------------------------------------------- in a process

_senders: list[Callable[[Any], None]] = []
"""In a worker process: the function that sends a message to the command. Empty in the command's own process."""


def alive(note: Any = None) -> None:
    """Start the time limit of this item anew. The command gets `note` if the item does not end in time or its process dies."""
    for send in _senders:
        send(("alive", note))


def _serve(pipe: connection.Connection, work: Callable[[Any], Any], prepare: Callable[[], object] | None) -> None:
    """The main loop of a process: it works on one item after the other until the pipe is closed."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # so that processes which an op starts can be ended together with this one
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_stay_out)
    standard_error = os.dup(2)
    _senders.append(pipe.send)
    # When JAX traces a function, it makes very many small objects and frees nearly all of them by reference counts. With the
    # default threshold of 700 objects, the search for reference cycles takes a twentieth of the time of a verification.
    gc.set_threshold(50_000, 20, 20)
    if prepare is not None:
        with suppress(Exception):  # what cannot be imported is reported by the item that needs it
            prepare()
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            os._exit(0)
        _reopen(standard_error)
        try:
            result = ("done", work(item))
        except BaseException as error:  # interrupts are blocked here, so even a KeyboardInterrupt was raised by the op
            result = ("raised", described(error))
        try:
            pipe.send(result)
        except OSError:  # the op has closed the pipe
            os._exit(1)
        except Exception as error:
            pipe.send(("raised", f"the result cannot be sent to the command: {described(error)}"))


def _reopen(standard_error: int) -> None:
    """Open standard error again, and send standard output there, because the last op may have closed them."""
    with suppress(OSError):
        os.dup2(standard_error, 2)
        os.dup2(2, 1)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 - a descriptor
    sys.stdout = sys.stderr


def _end_with_the_parent() -> None:
    """End this process when the command has ended, for example by `kill -9`."""
    parent = multiprocessing.parent_process()
    with suppress(OSError, ValueError):
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)


def _stay_out() -> None:
    """Called in a process that an op forks: it ends as soon as it would return into oracle's code."""
    _senders.clear()
    sys.setprofile(_ended_on_return)


def _ended_on_return(frame: FrameType, event: str, _: Any) -> None:
    caller = frame.f_back
    if event == "return" and (caller is None or caller.f_code.co_filename.startswith(ENGINE)):
        os._exit(0)


# ----------------------------------------------------------------------------------------------------- in the command


class _Worker:
    """A process and the item that it works on."""

    def __init__(self, work: Callable[[Any], Any], prepare: Callable[[], object] | None = None) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit the threads of JAX and BLAS in an unknown state
        self.pipe, theirs = context.Pipe()
        self.work = work
        self.process = context.Process(target=_serve, args=(theirs, work, prepare))
        with interrupts_blocked():  # the process inherits this, so an interrupt cannot disturb its imports
            self.process.start()
        theirs.close()
        self.item: int | None = None
        self.note: Any = None
        self.since = 0.0
        self.seconds = 0.0

    def begin(self, i: int, item: Any, limit: float) -> None:
        self.item, self.note = i, None
        self.since, self.seconds = time.monotonic(), max(limit, STARTING)
        with suppress(OSError):  # the process died while it was idle; `outcome` finds that
            self.pipe.send(item)

    def outcome(self, limit: float) -> tuple[Any] | None:
        """The result in a tuple of one, or the exception that stands for it; None as long as there is neither."""
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
        except Exception as error:  # the message cannot be unpickled, for example because its class is not known here
            return (Raised(described(error)),)
        if not running:
            return (Died(self._end(), self.note),)
        if time.monotonic() - self.since > self.seconds:
            return (TimedOut(self.seconds, self.note),)
        return None

    def _end(self) -> str:
        """How the process ended, in words."""
        self.process.join(LOOK)
        code = self.process.exitcode
        if code is None:
            return "it closed its pipe to the command"
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def end(self) -> None:
        """End the process and all processes that it has started."""
        if hasattr(os, "killpg") and self.process.pid is not None:
            with suppress(OSError):  # a process that has just started has no group yet
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.process.close()


_ahead: list[_Worker] = []
"""Processes that have been started before there are items for them."""


@contextmanager
def ahead(work: Callable[[Any], Any], prepare: Callable[[], object]) -> Iterator[None]:
    """Start a process that will `work`, and calls `prepare`, which imports what that needs, while this process goes on.

    The next `perform` of this work takes it. If there is none in this block, the process ends with the block.
    """
    _ahead.append(_Worker(work, prepare))
    try:
        yield
    finally:
        with interrupts_blocked():
            while _ahead:
                _ahead.pop().end()


def perform(
    work: Callable[[Any], T],
    items: Sequence[Any],
    jobs: int,
    limit: float | None,
    done: Callable[[int, T | BaseException], object],
) -> None:
    """Call `work` with each item, in `jobs` processes, for at most `limit` seconds each.

    `done` gets the index and the result of each item, in the order in which they finish. Items and results must be picklable,
    and `work` a function that can be imported by its name.
    """
    seconds = float("inf") if limit is None else limit
    waiting = deque(range(len(items)))
    again: set[int] = set()
    workers = [worker for worker in _ahead if worker.work is work]
    _ahead[:] = [worker for worker in _ahead if worker.work is not work]
    began = time.monotonic()
    try:
        while waiting or any(worker.item is not None for worker in workers):
            idle = [worker for worker in workers if worker.item is None]
            most = jobs if time.monotonic() - began >= ALONE else 1
            while waiting and (idle or len(workers) < most):
                if not idle:
                    workers.append(_Worker(work))
                i = waiting.popleft()
                (idle.pop() if idle else workers[-1]).begin(i, items[i], seconds)
            busy = [worker for worker in workers if worker.item is not None]
            connection.wait([end for worker in busy for end in (worker.pipe, worker.process.sentinel)], LOOK)
            for worker in busy:
                outcome, item = worker.outcome(seconds), worker.item
                if outcome is None or item is None:
                    continue
                (result,) = outcome
                worker.item = None
                if isinstance(result, Lost):
                    worker.end()
                    workers.remove(worker)
                if isinstance(result, Died) and item not in again:
                    again.add(item)
                    waiting.appendleft(item)
                    print(f"the process of {items[item]} died ({result}); trying once more", file=sys.stderr)
                    continue
                done(item, result)
    finally:
        with interrupts_blocked():
            for worker in workers:
                worker.end()


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """An interrupt takes effect at the end of this block. Not on Windows, where workers print that they were interrupted."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # The tracker starts with the first process and unblocks interrupts when it does. So it is started before they are blocked.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
