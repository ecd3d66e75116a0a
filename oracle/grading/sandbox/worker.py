"""The process of a submission: it loads the source, calls what it is asked to call, and sends back what that returned.

It knows the arguments of a call when it gets them, and never the expected numbers. Whatever the submission does to this
process, it can change its own answers alone.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from types import CellType, CodeType, FrameType, FunctionType, ModuleType
from typing import Any

from . import guards, wire

__all__ = ["main"]

FILE = "submission.py"
LONGEST = 200
"""Letters of a message."""
EMPTY = CellType()


def main(descriptor: int) -> None:
    """Serve the grader at the other end of this socket until it hangs up."""
    channel = socket.socket(fileno=descriptor)
    os.set_inheritable(descriptor, False)
    setting, _ = _received(channel)
    tried: list[str] = []
    guards.preload(setting["packages"])
    failed = guards.confine(setting["memory"], setting["seconds"], setting["folders"], setting["packages"], tried)
    served = _Served(setting["watched"], tried)
    channel.sendall(wire.framed({"id": setting["id"], "returned": {"value": None}, "failed": failed}))
    while True:
        request, payload = _received(channel)
        answer, blobs = served.load(request["source"]) if "source" in request else served.answer(request, payload)
        channel.sendall(wire.framed({"id": request["id"], **answer, "tried": tried}, blobs))


def _received(channel: socket.socket) -> tuple[wire.Tree, bytes]:
    header, payload = wire.sizes_of(_exactly(channel, wire.HEADER.size))
    return wire.pick(_exactly(channel, header)), _exactly(channel, payload)


def _exactly(channel: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = channel.recv(min(count, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class _Served:
    """The loaded submission, and what its functions have returned for a later call."""

    def __init__(self, watched: Sequence[str], tried: list[str]) -> None:
        self.module = ModuleType("submission")
        self.watched = watched
        self.tried = tried
        self.kept: dict[str, Any] = {}

    def load(self, source: str) -> tuple[wire.Tree, bytes]:
        self.module.__dict__["__file__"] = FILE
        sys.modules["submission"] = self.module  # dataclasses look their module up
        code = compile(source, FILE, "exec")
        answer, blobs = self._calling(lambda: exec(code, self.module.__dict__))  # noqa: S102 - this is what the process is for
        return {**answer, "defined": sorted(name for name in vars(self.module) if isinstance(name, str))[:1000]}, blobs

    def answer(self, request: wire.Tree, payload: bytes) -> tuple[wire.Tree, bytes]:
        arguments = [
            self.kept.get(tree["kept"]) if "kept" in tree else wire.decode(tree, payload) for tree in request["arguments"]
        ]
        if request.get("drop"):
            self.kept.clear()

        def call() -> Any:
            target: Any = self.module
            if "of" in request:
                target = self.kept[request["of"]]
            returned = getattr(target, request["function"])(*arguments)
            if "keep" in request:
                self.kept[request["keep"]] = returned
                return None
            if "split" in request:
                if not isinstance(returned, tuple) or len(returned) < 2:
                    raise _WrongForm(f"it must return its value and a cache, and returned {_kind(returned)}")
                self.kept[request["split"]] = returned[-1]
                return returned[0] if len(returned) == 2 else returned[:-1]
            if "attributes" in request:
                return (returned, *(getattr(target, name) for name in request["attributes"]))
            return returned

        return self._calling(call)

    def _calling(self, call: Callable[[], Any]) -> tuple[wire.Tree, bytes]:
        """What the call returned or raised, and how often watched functions were called meanwhile."""
        calls: Counter[str] = Counter()
        sys.setprofile(_counting(self.module, self.watched, calls))
        try:
            try:
                returned = call()
            finally:
                sys.setprofile(None)
            tree, payload = wire.encode(returned)
        except BaseException as error:  # also SystemExit
            return {"error": _described(error), "calls": calls}, b""
        return {"returned": tree, "calls": calls}, payload


class _WrongForm(Exception):
    pass


def _kind(value: Any) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"an object of type {type(value).__name__[:40]}"


def _described(error: BaseException) -> wire.Tree:
    """The type of an error, its message, and the line of the submission where it arose."""
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == FILE]
    try:
        message = str(error)[:LONGEST]
    except BaseException:
        message = ""
    kind = "" if isinstance(error, _WrongForm) else type(error).__name__[:40]
    return {"type": kind, "message": message, "line": lines[-1] if lines else None}


def _counting(module: ModuleType, watched: Sequence[str], calls: Counter[str]) -> Callable[[FrameType, str, Any], None]:
    """A profiler that counts the calls of these functions and of copies of them, under whatever name."""
    wanted = {_meaning(code): name for name, code in _watched(module, watched).items()}
    known: dict[int, tuple[CodeType, str | None]] = {}

    def profiler(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            found = known.get(id(code))
            if found is None:
                found = known[id(code)] = (code, wanted.get(_meaning(code)))
            if found[1] is not None:
                calls[found[1]] += 1

    return profiler


def _watched(module: ModuleType, names: Sequence[str]) -> dict[str, CodeType]:
    """The code of each of these functions; of what a decorator has wrapped, if several of them have the same wrapper."""
    functions = {}
    for name in names:
        place: Any = module
        for part in name.split("."):
            place = getattr(place, part, None)
        if isinstance(place, FunctionType):
            functions[name] = place
    shared = Counter(_meaning(function.__code__) for function in functions.values())
    found = {}
    for name, function in functions.items():
        if shared[_meaning(function.__code__)] == 1:
            found[name] = function.__code__
        else:
            cells = [cell.cell_contents for cell in function.__closure__ or () if cell != EMPTY]
            inner = [content for content in cells if isinstance(content, FunctionType)]
            if len(inner) == 1:
                found[name] = inner[0].__code__
    return found


def _meaning(code: CodeType) -> tuple[Any, ...]:
    """What a function does: equal for a copy with another name or docstring."""
    constants = tuple(repr(one) for one in code.co_consts if not isinstance(one, str | CodeType))
    return code.co_code, code.co_names, constants
