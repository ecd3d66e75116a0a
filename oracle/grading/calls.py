"""How a submission of each style is called: forward, then backward; and what a call must not do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oracle.grading.assignment import Functions, Layer, Part, Style, Whole
from oracle.grading.candidate import Answer, Candidate, Kept, Raised
from oracle.grading.hints import without_numbers

__all__ = ["Calls", "Passed", "Wrong", "said", "top"]

RECOMPUTED = 1
"""Calls of its own forward function that a backward pass may make. One computes again what was not saved; differences take at
least two."""

DIFFERENCES = "differences of the forward pass are no backward pass"
MANY = 100
"""Calls of one function of the assignment during one call of another. The largest right number is that of steps times samples,
40; differences of the smallest net take 300."""


class Wrong(Exception):
    """A call that failed or must not count. The text is for the student."""


@dataclass(frozen=True)
class Passed:
    """A forward pass: its value, and what its backward pass needs."""

    value: Any
    name: str
    """Of what the process keeps."""
    gradients: Any = None
    """Those of a function that returns both."""


def top(style: Style) -> str:
    """The name that a submission in this style defines."""
    return style.forward if isinstance(style, Functions) else style.name


def said(raised: Raised) -> str:
    """An exception as the student may read it."""
    where = f" in line {raised.line}" if raised.line else ""
    message = without_numbers(raised.message)
    if message.endswith(("destination is read-only", "array is read-only")):
        return f"it writes to one of its arguments{where}; copy the array first"
    if not raised.type:
        return message
    return f"it raised {raised.type}{where}{f': {message}' if message else ''}"


class Calls:
    """Calls the functions of one part, in the style of the submission."""

    def __init__(self, candidate: Candidate, part: Part, style: Style) -> None:
        self.candidate = candidate
        self.style = style
        self.gradients = tuple(part.points)
        self.forwards = True
        """Whether the last call was a forward pass."""

    def forward(self, arguments: Mapping[str, Any], name: str, *, fresh: bool) -> Passed:
        """A forward pass; with `fresh` the process first forgets what it has kept."""
        self.forwards = True
        match self.style:
            case Functions(forward):
                answer = self._called(forward, *arguments.values(), split=name, drop=fresh)
                return Passed(answer.value, name)
            case Layer(of, _, holds):
                self._called(of, *(arguments[one] for one in holds), keep=name, drop=fresh)
                rest = [value for one, value in arguments.items() if one not in holds]
                return Passed(self._called("forward", *rest, of=name, counted=f"{of}.forward").value, name)
            case Whole(function):
                value = self._called(function, *arguments.values(), drop=fresh).value
                if not isinstance(value, tuple) or len(value) != 2:
                    raise Wrong(f"{function} must return its value and its gradients")
                return Passed(value[0], name, value[1])

    def backward(self, passed: Passed, upstream: tuple[Any, ...]) -> Any:
        """The gradients for these upstream gradients."""
        self.forwards = False
        match self.style:
            case Functions(forward, backward):
                return self._called(backward, *upstream, Kept(passed.name), counted=forward, most=RECOMPUTED).value
            case Layer(of, attributes, holds):
                found = self._called(
                    "backward",
                    *upstream,
                    of=passed.name,
                    attributes=[attributes[one] for one in self.gradients if one in holds],
                    counted=f"{of}.forward",
                    most=RECOMPUTED,
                ).value
                return self._sorted(found, holds)
            case Whole():
                return passed.gradients

    def _sorted(self, found: Any, holds: tuple[str, ...]) -> Any:
        """The gradients that `backward` returned and those from attributes, in the order of the points."""
        held = [name for name in self.gradients if name in holds]
        if not isinstance(found, tuple) or len(found) != 1 + len(held):
            raise Wrong("backward must return gradients, and leave those of what the object holds in attributes")
        returned, *attributes = found
        others = [name for name in self.gradients if name not in holds]
        parts = returned if isinstance(returned, tuple) else (returned,)
        if others and len(parts) != len(others):
            raise Wrong(f"backward must return {len(others)} gradients ({', '.join(others)}), got {len(parts)}")
        return dict(zip([*others, *held], [*parts[: len(others)], *attributes], strict=True))

    def _called(self, function: str, *arguments: Any, counted: str = "", most: int = 1, **options: Any) -> Answer:
        counted = counted or function
        answer = self.candidate.call(function, *arguments, **options)
        times = answer.calls.get(counted, 0)
        if times > most:
            during = "itself" if counted == function or self.forwards else f"{counted} {times} times during one backward pass"
            raise Wrong(f"it calls {during}: {DIFFERENCES}")
        often = next((name for name, n in answer.calls.items() if n > MANY), None)
        if often is not None:
            raise Wrong(f"it calls {often} {answer.calls[often]} times during one call, as differences do")
        if answer.raised is not None:
            raise Wrong(said(answer.raised))
        return answer
