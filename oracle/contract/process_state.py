"""What an op shares with everything else in its process, and must leave as it was: settings, generators, the output."""

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
from functools import partial
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Conduct", "apart", "preserved"]


class _Setting(NamedTuple):
    """Something global: how it is read, and how it is put back."""

    name: str
    read: Callable[[], Any]
    put: Callable[[Any], object]


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in sorted(signal.valid_signals())}


def _put_handlers(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _put_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _filters() -> list[Any]:
    return list(warnings.filters)


def _put_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    warnings.simplefilter("default", append=True)  # tells the module that its filters have changed
    warnings.filters[:] = filters  # type: ignore[index]


def _numpys_generator() -> tuple[Any, ...]:
    name, key, *rest = np.random.get_state()  # noqa: NPY002 - the global generator is what is looked at
    return name, np.asarray(key).tobytes(), *rest


def _put_numpys_generator(state: tuple[Any, ...]) -> None:
    name, key, *rest = state
    np.random.set_state((name, np.frombuffer(key, np.uint32), *rest))  # noqa: NPY002


def _path() -> list[str]:
    return list(sys.path)


def _put_path(path: list[str]) -> None:
    sys.path[:] = path


def _wide() -> bool:
    """Whether JAX computes in float64 by default; only whoever has imported JAX can have changed that."""
    jax = sys.modules.get("jax")
    return bool(jax is not None and jax.config.jax_enable_x64)


def _put_wide(wide: bool) -> None:
    jax = sys.modules.get("jax")
    if jax is not None:
        jax.config.update("jax_enable_x64", wide)


SETTINGS = (
    _Setting("np.seterr", np.geterr, lambda found: np.seterr(**found)),
    _Setting("np.set_printoptions", np.get_printoptions, lambda found: np.set_printoptions(**found)),
    _Setting("the filters of warnings", _filters, _put_filters),
    _Setting("the generator of np.random", _numpys_generator, _put_numpys_generator),
    _Setting("the generator of random", random.getstate, random.setstate),
    _Setting("the working directory", os.getcwd, os.chdir),
    _Setting("os.environ", lambda: dict(os.environ), _put_environment),
    _Setting("sys.path", _path, _put_path),
    _Setting("the handlers of signals", _handlers, _put_handlers),
    _Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    _Setting("the locale", partial(locale.setlocale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL)),
    _Setting("JAX's default dtype", _wide, _put_wide),
    *(
        _Setting(f"sys.{name}", partial(getattr, sys, name), partial(setattr, sys, name))
        for name in ("stdout", "stderr", "stdin")
    ),
)
"""In the order in which they are put back."""


def _read(setting: _Setting) -> Any:
    with suppress(Exception):  # a working directory that was removed, say
        return setting.read()
    return None


@contextmanager
def preserved() -> Iterator[Callable[[], list[str]]]:
    """What is global is afterwards as it was before. Gives a function that names what has been changed so far."""
    before = [_read(setting) for setting in SETTINGS]

    def changed() -> list[str]:
        return [setting.name for setting, was in zip(SETTINGS, before, strict=True) if _read(setting) != was]

    try:
        yield changed
    finally:
        for setting, was in zip(SETTINGS, before, strict=True):
            if was is not None and _read(setting) != was:
                with suppress(Exception):  # signals can be handled in the main thread alone
                    setting.put(was)


# ----------------------------------------------------------------------------------------------------- conduct


class Conduct:
    """What was done, meanwhile, that no function of its arguments does."""

    def __init__(self) -> None:
        self.printed = ""
        self.closed = False
        self.forks = 0

    def said(self) -> list[str]:
        """What is wrong with it, in words."""
        found = []
        if self.printed:
            line, *more = self.printed.strip("\n").split("\n")
            shown = f"{line[:60]!r}{'...' if more or len(line) > 60 else ''}"
            found.append(f"prints to standard output, where the report goes: {shown}; print to standard error instead")
        if self.closed:
            found.append("closes standard output, or standard error")
        if self.forks:
            found.append("forks this process, whose other threads are then gone, and with them what they had locked")
        return found


class _Aside(io.TextIOBase):
    """Standard output, while an op runs: it goes to standard error, and is remembered."""

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
        """It stays open: there is a next one who prints."""
        self.conduct.closed = True

    def __del__(self) -> None:
        """Nothing: what IOBase does is to close it."""


@contextmanager
def apart(*, whole_process: bool = False) -> Iterator[Conduct]:
    """Standard output is the command's: what is printed meanwhile goes to standard error, and is told.

    Of a process that does nothing else (`whole_process`) that includes what is written below Python, to descriptor 1.
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
    """Into a file, not a pipe: whoever writes while holding Python's lock would wait for ever once a pipe is full."""
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
    """What C and the original `sys.stdout` have not written yet."""
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
