"""The process of one submission, seen from the grader: it is started, asked, and ended.

The grader never reads more than the frames of `sandbox.wire` from it. An answer counts only if it bears the secret number of
the request, and if it comes after the request; whatever else arrives ends the process.
"""

from __future__ import annotations

import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from oracle.grading.sandbox import wire

__all__ = ["Answer", "Candidate", "Forged", "Kept", "Limits", "Lost", "Raised"]

LOOK = 0.05
"""Seconds between two looks at a process that does not answer; more delays the end of a hang."""
PATIENCE = 5
"""Times the limit of processor time that a call may take by the clock. With 1, a right submission on a busy machine would fail;
with 20, one that sleeps holds up the grader for minutes."""
STARTING = 10
"""Seconds of processor time for Python and NumPy to start."""
SHOWN = 500
"""Letters of what a submission printed that are kept."""
ENVIRONMENT = {"LANG": "C.UTF-8", "PYTHONIOENCODING": "utf-8:backslashreplace"} | dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)
START = "import sys; sys.path.insert(0, sys.argv[1]); from sandbox.worker import main; main(int(sys.argv[2]))"
Clock: TypeAlias = "tuple[float, float | None]"


@dataclass(frozen=True)
class Limits:
    """What a submission may use."""

    seconds: float = 4.0
    """Processor time of one call."""
    total_seconds: float = 30.0
    """Processor time of all calls together."""
    memory: int = 192
    """Megabytes beside those that Python and NumPy take."""

    @property
    def clock_seconds(self) -> float:
        """The most that a grading may take by the clock."""
        return PATIENCE * self.total_seconds + STARTING

    @property
    def in_all(self) -> str:
        """What a submission is told that takes longer."""
        return f"all calls together took more than {self.clock_seconds:g} s"


class Lost(Exception):
    """The process gave no answer. The text says why."""


class Forged(Lost):
    """The process sent what nobody asked for."""


@dataclass(frozen=True)
class Kept:
    """An argument that stays in the process: the cache of an earlier call."""

    name: str


@dataclass(frozen=True)
class Raised:
    """A call that ended in an exception."""

    type: str
    message: str
    line: int | None


@dataclass(frozen=True)
class Answer:
    """What a call returned, or that it raised."""

    value: Any
    raised: Raised | None = None
    calls: dict[str, int] = field(default_factory=dict)
    """How often the watched functions were called meanwhile."""


@dataclass(frozen=True)
class Other:
    """What could not be sent."""

    what: str


class Candidate:
    """A running submission. It may import `packages`, installed ones; calls of the functions in `watched` are counted.

    `until` is the time of the monotonic clock after which no call returns.
    """

    def __init__(
        self, source: str, limits: Limits, packages: Sequence[str], watched: Sequence[str], *, until: float = math.inf
    ) -> None:
        self.limits = limits
        self.until = until
        self.defined: frozenset[str] = frozenset()
        self.failed: tuple[str, ...] = ()
        """The guards that this system cannot set."""
        self.tried: tuple[str, ...] = ()
        """What the submission tried and was refused."""
        places = _places(packages)
        self._folder = tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True)
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process runs
        library = _library(Path(self._folder.name), places)
        self._channel, theirs = socket.socketpair()
        self._process = subprocess.Popen(  # noqa: S603 - our own worker
            [sys.executable, "-I", "-S", "-B", "-u", "-X", "utf8", "-c", START, str(library), str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=self._printed,
            stderr=subprocess.STDOUT,
            cwd=self._folder.name,
            env=ENVIRONMENT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        setting = {
            "watched": list(watched),
            "packages": list(packages),
            "folders": [*map(str, places.values()), *map(sysconfig.get_path, ("stdlib", "platstdlib"))],
            "memory": limits.memory << 20,
            "seconds": int(limits.total_seconds + STARTING),
        }
        try:
            self._asked(setting, b"", STARTING)
            self.loaded = self._asked({"source": source}, b"", limits.seconds)
        except BaseException:
            self.end()
            raise

    def call(self, function: str, *arguments: Any, **options: Any) -> Answer:
        """Call a function of the submission. The options are those of `_Served.answer` in `sandbox.worker`."""
        trees, blobs = [], b""
        for argument in arguments:
            if isinstance(argument, Kept):
                trees.append({"kept": argument.name})
            else:
                tree, blob = wire.encode(argument)
                trees.append(_moved(tree, len(blobs)))
                blobs += blob
        return self._asked({"function": function, "arguments": trees, **options}, blobs, self.limits.seconds)

    def check_silence(self) -> None:
        """Raise if there is an answer before its question: a forged one."""
        self._channel.settimeout(0)
        with suppress(BlockingIOError, ConnectionError):
            if self._channel.recv(1, socket.MSG_PEEK):
                raise Forged("it wrote an answer that nobody asked for into the channel of the grader")

    @property
    def printed(self) -> str:
        """The beginning of what the submission printed."""
        self._printed.seek(0)
        return self._printed.read(SHOWN).decode(errors="replace")

    def end(self) -> None:
        """End the process and all that it has started."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._channel.close()
        self._printed.close()
        self._folder.cleanup()

    # ------------------------------------------------------------------------------------------------- one request

    def _asked(self, request: dict[str, Any], payload: bytes, seconds: float) -> Answer:
        number = secrets.token_hex(16)
        self.check_silence()
        since = self._clock()
        try:
            self._send(wire.framed({"id": number, **request}, payload), since, seconds)
            header, blobs = self._receive(since, seconds)
            return self._understood(wire.pick(header), blobs, number)
        except wire.Malformed as error:
            raise Forged(f"it wrote {error} into the channel of the grader") from None
        except OSError:
            raise Lost(self._how_it_ended()) from None

    def _send(self, frame: bytes, since: Clock, seconds: float) -> None:
        self._channel.settimeout(LOOK)
        rest = memoryview(frame)
        while rest:
            try:
                rest = rest[self._channel.send(rest) :]
            except TimeoutError:
                self._check_time(since, seconds)

    def _receive(self, since: Clock, seconds: float) -> tuple[bytes, bytes]:
        header, payload = wire.sizes_of(self._exactly(wire.HEADER.size, since, seconds))
        return self._exactly(header, since, seconds), self._exactly(payload, since, seconds)

    def _exactly(self, count: int, since: Clock, seconds: float) -> bytes:
        parts = []
        while count:
            try:
                part = self._channel.recv(min(count, 1 << 20))
            except TimeoutError:
                self._check_time(since, seconds)
                continue
            if not part:
                raise ConnectionError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _understood(self, header: dict[str, Any], blobs: bytes, number: str) -> Answer:
        if header.get("id") != number:
            raise Forged("it wrote an answer that nobody asked for into the channel of the grader")
        tried, calls, error = header.get("tried", []), header.get("calls", {}), header.get("error")
        if not _texts(tried) or not isinstance(calls, dict) or any(type(n) is not int for n in calls.values()):
            raise wire.Malformed("an answer of an unknown form")
        self.tried = tuple(tried[:20])
        defined, failed = header.get("defined", []), header.get("failed", [])
        if not _texts(defined) or not _texts(failed):
            raise wire.Malformed("an answer of an unknown form")
        self.defined, self.failed = self.defined | {*defined}, (*self.failed, *failed)
        if error is None:
            return Answer(wire.decode(header.get("returned"), blobs, Other), calls=calls)
        if not isinstance(error, dict) or not _texts([error.get("type"), error.get("message")]):
            raise wire.Malformed("an answer of an unknown form")
        line = error.get("line")
        return Answer(None, Raised(error["type"], error["message"], line if type(line) is int else None), calls)

    # ------------------------------------------------------------------------------------------------------- limits

    def _clock(self) -> Clock:
        return time.monotonic(), self._processor_time()

    def _processor_time(self) -> float | None:
        """Seconds of processor time of the process so far; None where the system does not tell."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return None

    def _check_time(self, since: Clock, seconds: float) -> None:
        clock, used = self._clock()
        if clock > self.until:
            raise Lost(self.limits.in_all)
        if used is not None and since[1] is not None and used - since[1] > seconds:
            raise Lost(f"it took more than {seconds:g} s of processor time")
        if clock - since[0] > (PATIENCE if used is not None else 1) * seconds:
            raise Lost(f"it did not return after {clock - since[0]:.0f} s")

    def _how_it_ended(self) -> str:
        """Why the process is gone, in words."""
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "it closed the channel of the grader"
        if code >= 0:
            return f"it ended its process with exit code {code}"
        name = signal.Signals(-code).name
        limit = self.limits.total_seconds
        return f"it took more than {limit:g} s of processor time" if name == "SIGXCPU" else f"its process was ended by {name}"


def _texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) and len(value) <= 1000 for value in values)


def _moved(tree: dict[str, Any], by: int) -> dict[str, Any]:
    """The tree with its arrays further back in the payload."""
    ((kind, content),) = tree.items()
    if kind == "array":
        return {"array": [*content[:2], content[2] + by]}
    if kind == "items":
        return {"items": [_moved(item, by) for item in content]}
    if kind == "names":
        return {"names": {name: _moved(item, by) for name, item in content.items()}}
    return tree


def _places(packages: Sequence[str]) -> dict[str, Path]:
    """The folders of installed packages and of the libraries that come with them."""
    places = {}
    for name in {package.partition(".")[0] for package in packages}:
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"packages: {name!r} is not installed, or is no package")
        folder = Path(next(iter(spec.submodule_search_locations))).resolve()
        places[name] = folder
        beside = folder.with_name(f"{name}.libs")
        if beside.is_dir():
            places[beside.name] = beside
    return places


def _library(folder: Path, places: dict[str, Path]) -> Path:
    """A folder with links to these packages and to the worker, and to nothing else that is installed."""
    folder.chmod(0o755)  # the process may become another user
    library = folder / "library"
    library.mkdir()
    for name, place in places.items():
        (library / name).symlink_to(place)
    (library / "sandbox").symlink_to(Path(__file__).resolve().parent / "sandbox")
    return library
