"""Limits and guards of the process of a submission. They are set before its code runs, and last until the process ends.

What the kernel enforces: memory, processor time, the size of a file, no further process or thread, no file beyond the libraries
(Landlock), no connection, no signal to other processes, and another user where the grader is root. What Python enforces (an
audit hook, which cannot be removed): no import beyond the listed modules, no other program, no foreign code by ctypes. Where
the kernel cannot do its part, `confine` says so.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

__all__ = ["MODULES", "confine", "preload"]

MODULES = (
    "__future__", "abc", "bisect", "builtins", "collections", "contextlib", "copy", "copyreg", "dataclasses",
    "decimal", "enum", "fractions", "functools", "heapq", "itertools", "json", "math", "numbers", "operator", "os",
    "os.path", "pprint", "random", "re", "reprlib", "statistics", "string", "sys", "textwrap", "time", "types",
    "typing", "warnings", "weakref",
)  # fmt: skip
"""The modules of the standard library that a submission may import."""
EARLY = ("numpy.linalg", "numpy.fft", "numpy.random", "numpy.polynomial", "numpy.ma", "numpy.lib.stride_tricks", "linecache")
"""Loaded before the guards, as they would be loaded at their first use, when their files may be out of reach."""
NEVER = frozenset({
    "ctypes", "_ctypes", "multiprocessing", "subprocess", "_posixsubprocess", "socket", "_socket", "ssl", "http",
    "urllib", "ftplib",
})  # fmt: skip
"""Modules of the standard library that lead out of the process."""
FORBIDDEN = (
    "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "subprocess.", "pty.", "os.kill",
    "os.killpg", "socket.", "ctypes.dlopen", "ctypes.dlsym", "ctypes.call_function", "ctypes.cdata",
    "ctypes.string_at", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod",
    "os.chown", "os.truncate", "os.utime", "os.setxattr", "shutil.", "gc.", "mmap.", "signal.", "sys._current_frames",
)  # fmt: skip
"""Audit events that a submission must not cause; a name that ends in a dot stands for all that begin with it."""
NOBODY = 65534
"""The number of the user without rights."""
LARGEST_FILE = 1 << 20
"""Bytes that the process may write to a file, such as that of its printed text."""

Hook = Callable[[str, tuple[Any, ...]], None]


def preload(packages: Iterable[str]) -> None:
    """Import what a submission may import."""
    for name in (*MODULES, *EARLY, *packages):
        with suppress(ImportError):
            import_module(name)


def confine(memory: int, seconds: int, folders: Sequence[str], packages: Iterable[str], tried: list[str]) -> list[str]:
    """Set all limits; returns those that this system cannot set. `tried` gets the names of what is refused later."""
    failed: list[str] = []
    folders = [os.path.realpath(folder) for folder in folders]

    def attempt(name: str, limit: Callable[[], None]) -> None:
        try:
            limit()
        except (OSError, ValueError, ImportError, AttributeError):
            failed.append(name)

    rules, taken = _rules(folders), _memory_taken()  # opened and read while the process may still do so
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        attempt("another user", _become_nobody)
    attempt("the end with the grader", _end_with_the_parent)
    attempt("files out of reach", lambda: _landlock(rules))
    limits = {"CORE": 0, "FSIZE": LARGEST_FILE, "CPU": seconds, "NPROC": 0, "AS": taken + memory}
    for name, most in limits.items():
        attempt(f"the limit RLIMIT_{name}", partial(_limit, f"RLIMIT_{name}", most))
    tops = frozenset(name.partition(".")[0] for name in packages)
    sys.addaudithook(_hook(tops, tuple(f"{folder}{os.sep}" for folder in folders), tried))
    return failed


def _memory_taken() -> int:
    """Bytes of address space that the process has, or 1 GB where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - few modules are loaded here
            return int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 1 << 30


def _limit(name: str, most: int) -> None:
    # A process gets a signal that tells the limit one second before it is ended without one.
    resource.setrlimit(getattr(resource, name), (most, most + 1 if name == "RLIMIT_CPU" else most))


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _called(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused by the kernel")
    return result


def _end_with_the_parent() -> None:
    _called(_libc().prctl(1, 9, 0, 0, 0))  # PR_SET_PDEATHSIG, SIGKILL


# ------------------------------------------------------------------------------------------------------- Landlock

CREATE, ADD, RESTRICT = 444, 445, 446  # numbers of the system calls, the same on all processors
READ = 1 << 2 | 1 << 3  # files and folders
OF_VERSION = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many rights on files each version knows


def _rules(folders: Sequence[str]) -> list[int]:
    """Descriptors of what may be read: these folders without installed packages among them."""
    if not sys.platform.startswith("linux"):
        return []
    found = []
    for folder in folders:
        with suppress(OSError):
            inside = sorted(os.listdir(folder))  # noqa: PTH208 - few modules are loaded here
            parts = [name for name in inside if name not in ("site-packages", "dist-packages")]
            names = [folder] if parts == inside else [f"{folder}{os.sep}{name}" for name in parts]
            found += [os.open(name, os.O_PATH) for name in names]
    return found


def _landlock(rules: Sequence[int]) -> None:
    """From here on the process reads what the rules name, writes nothing, connects to nothing and signals nobody outside."""
    if not sys.platform.startswith("linux"):
        raise OSError("no Landlock")
    libc = _libc()
    version = _called(libc.syscall(CREATE, None, 0, 1))
    rights = (1 << OF_VERSION.get(version, 16)) - 1
    attributes = struct.pack("=QQQ", rights, 3, 3)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _called(libc.syscall(CREATE, attributes, len(attributes), 0))
    for descriptor in rules:
        folder = os.fstat(descriptor).st_mode & 0o170000 == 0o040000
        _called(libc.syscall(ADD, ruleset, 1, struct.pack("=Qi", READ if folder else 1 << 2, descriptor), 0))
        os.close(descriptor)
    _called(libc.prctl(38, 1, 0, 0, 0))  # PR_SET_NO_NEW_PRIVS
    _called(libc.syscall(RESTRICT, ruleset, 0))
    os.close(ruleset)


# ------------------------------------------------------------------------------------------------------ audit hook


def _hook(packages: frozenset[str], folders: tuple[str, ...], tried: list[str]) -> Hook:
    """The hook. It holds all that it uses, so that a submission that patches modules does not change it."""
    whole = frozenset(name for name in FORBIDDEN if not name.endswith("."))
    prefixes = tuple(name for name in FORBIDDEN if name.endswith("."))
    importable = (frozenset(sys.stdlib_module_names) | packages) - NEVER
    real, writing = os.path.realpath, os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    text, error = (str, bytes), PermissionError

    def refused(what: str) -> PermissionError:
        if len(tried) < 20:
            tried.append(what)
        return error(f"{what} is not allowed in a submission")

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if event == "import":
            top = details[0].partition(".")[0]
            if top not in importable:
                refused(f"import {top[:40]}")
                raise ImportError(f"import {top[:40]} is not allowed in a submission")
        elif event == "open":
            path, _, flags = details
            if isinstance(path, text):
                name = path if isinstance(path, str) else path.decode(errors="replace")
                place = real(name)
                inside = [place[len(folder) :] for folder in folders if place.startswith(folder)]
                if flags & writing or all("-packages" in rest for rest in inside):
                    raise refused(f"opening a file{' for writing' if flags & writing else ''}")
        elif event in whole or event.startswith(prefixes):
            raise refused(event)

    return hook
