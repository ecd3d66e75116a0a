"""The global state of the process, which an op must not change: settings, random generators, standard output."""

from __future__ import annotations

import ctypes
import io
import locale
import os
import random
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Conduct", "apart", "preserved"]


class _Setting(NamedTuple):
    """One piece of global state, with functions to read it and to restore it."""

    name: str
    read: Callable[[], Any]
    put: Callable[[Any], object]


@cache
def _signals() -> tuple[int, ...]:
    """The numbers of all signals, as plain integers: making the members of the enum takes longer than reading all handlers."""
    return tuple(sorted(map(int, signal.valid_signals())))


_handler_of: Callable[[int], Any] = getattr(signal.getsignal, "__wrapped__", signal.getsignal)
"""The handler of a signal, without the members of an enum that `signal` makes of two of them: the states of a process are read
some twenty times in a verification."""


def _handlers() -> dict[int, Any]:
    return {number: _handler_of(number) for number in _signals()}


def _put_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None and _handler_of(number) is not handler:
            signal.signal(number, handler)


def _put_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _filters() -> list[Any]:
    return list(warnings.filters)


def _put_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    warnings.simplefilter("default", append=True)  # makes the module notice that its filters have changed
    warnings.filters[:] = filters  # type: ignore[index]


def _numpys_generator() -> tuple[Any, ...]:
    name, key, *rest = np.random.get_state()  # noqa: NPY002 - the global generator is meant
    return name, np.asarray(key).tobytes(), *rest


def _put_numpys_generator(state: tuple[Any, ...]) -> None:
    name, key, *rest = state
    np.random.set_state((name, np.frombuffer(key, np.uint32), *rest))  # noqa: NPY002


def _path() -> list[str]:
    return list(sys.path)


def _put_path(path: list[str]) -> None:
    sys.path[:] = path


def _wide() -> bool:
    """Whether JAX computes in float64 by default. If nothing has imported JAX, nothing can have changed that."""
    jax = sys.modules.get("jax")
    return bool(jax is not None and jax.config.jax_enable_x64)


def _put_wide(wide: bool) -> None:
    jax = sys.modules.get("jax")
    if jax is not None:
        jax.config.update("jax_enable_x64", wide)


SETTINGS = (
    _Setting("np.seterr", np.geterr, lambda found: np.seterr(**found)),
    _Setting("np.set_printoptions", np.get_printoptions, lambda found: np.set_printoptions(**found)),
    _Setting("the warning filters", _filters, _put_filters),
    _Setting("the global generator of np.random", _numpys_generator, _put_numpys_generator),
    _Setting("the global generator of random", random.getstate, random.setstate),
    _Setting("the working directory", os.getcwd, os.chdir),
    _Setting("os.environ", lambda: dict(os.environ), _put_environment),
    _Setting("sys.path", _path, _put_path),
    _Setting("the signal handlers", _handlers, _put_handlers),
    _Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    _Setting("the locale", partial(locale.setlocale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL)),
    _Setting("JAX's default dtype", _wide, _put_wide),
    *(
        _Setting(f"sys.{name}", partial(getattr, sys, name), partial(setattr, sys, name))
        for name in ("stdout", "stderr", "stdin")
    ),
)
"""All pieces of global state that are watched, in the order in which they are restored."""


def _read(setting: _Setting) -> Any:
    with suppress(Exception):  # reading may fail, for example if the working directory was removed
        return setting.read()
    return None


@contextmanager
def preserved() -> Iterator[Callable[[], list[str]]]:
    """Restores the global state at its end. Gives a function that returns the names of the settings changed so far."""
    before = [_read(setting) for setting in SETTINGS]

    def changed() -> list[str]:
        return [setting.name for setting, was in zip(SETTINGS, before, strict=True) if _read(setting) != was]

    try:
        yield changed
    finally:
        for setting, was in zip(SETTINGS, before, strict=True):
            if was is not None and _read(setting) != was:
                with suppress(Exception):  # only the main thread can set signal handlers
                    setting.put(was)


# ----------------------------------------------------------------------------------------------------- conduct


class Conduct:
    """Side effects of an op on its process: what it prints, whether it closes the output, how often it forks."""

    def __init__(self) -> None:
        self.printed = ""
        self.closed = False
        self.forks = 0

    def side_effects(self) -> list[str]:
        """A sentence for each side effect."""
        found = []
        if self.printed:
            line, *more = self.printed.strip("\n").split("\n")
            shown = f"{line[:60]!r}{'...' if more or len(line) > 60 else ''}"
            found.append(f"prints to standard output, where the report goes: {shown}; print to standard error instead")
        if self.closed:
            found.append("closes standard output or standard error")
        if self.forks:
            found.append("forks this process: the child has no other threads, and what they had locked stays locked")
        return found


class _Aside(io.TextIOBase):
    """Stands for standard output while an op runs: it writes to standard error and stores the beginning of the text."""

    encoding = "utf-8"

    def __init__(self, conduct: Conduct) -> None:
        self.conduct = conduct

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.conduct.printed = (self.conduct.printed + text)[:1000]
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()

    def close(self) -> None:
        """Records the call but stays open, because others print later."""
        self.conduct.closed = True

    def __del__(self) -> None:
        """Does nothing, because the method of IOBase would call `close`."""


@contextmanager
def apart(*, whole_process: bool = False) -> Iterator[Conduct]:
    """Keeps standard output free for the report: what an op prints meanwhile goes to standard error, and is recorded.

    With `whole_process`, in a process that only runs the op, this includes what C code writes to descriptor 1.
    """
    conduct = Conduct()
    before, forks = sys.stdout, _forks[0]
    sys.stdout = _Aside(conduct)
    try:
        if whole_process:
            with _descriptor_apart(conduct):
                yield conduct
        else:
            yield conduct
    finally:
        sys.stdout = before
        conduct.closed |= sys.stderr is None or sys.stderr.closed
        conduct.forks = _forks[0] - forks


@contextmanager
def _descriptor_apart(conduct: Conduct) -> Iterator[None]:
    """Sends descriptor 1 to a file. A pipe could become full, and code that holds Python's lock would wait for ever."""
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        try:
            yield
        finally:
            with suppress(OSError, ValueError):  # the op may have closed anything
                _flush_below()
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                text = file.read(1000).decode("utf-8", "replace") if size else ""
                os.dup2(2, 1)
                conduct.printed += text
                sys.stderr.write(text)
                sys.stderr.flush()


def _flush_below() -> None:
    """Flushes the buffers of C and of the original `sys.stdout`."""
    with suppress(Exception):
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
    with suppress(Exception):
        ctypes.CDLL(None).fflush(None)


_forks = [0]


def _count_fork() -> None:
    _forks[0] += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_count_fork)
