"""Where functions are written: the file and the line of a backward pass, for reports that point into the source."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from oracle import adapters
from purenet import Op

__all__ = ["Place", "place_of", "place_of_pullback", "step_of"]

RULES = ("backward", "bwd", "gradient")
"""Where an object of another library, or a class, keeps its backward pass."""
ADAPTERS = Path(adapters.__file__).parent


class Place(NamedTuple):
    """A line of a source file."""

    file: Path
    line: int

    def below(self, folder: Path) -> str:
        """The file relative to the folder, or its whole path if it lies elsewhere."""
        for file, root in ((self.file, folder), (self.file.resolve(), folder.resolve())):  # either may be reached by a link
            if file.is_relative_to(root):
                return file.relative_to(root).as_posix()
        return self.file.as_posix()


def place_of(function: Any) -> Place | None:
    """Where a function, or the forward pass of an object, is written; None for what is not written in Python."""
    function = _innermost(function)
    code = getattr(function, "__code__", None)
    if code is None and not isinstance(function, type):
        called = getattr(function, "forward", None) or (type(function).__call__ if callable(function) else None)
        code = getattr(called, "__code__", None)
    if code is None or code.co_filename.startswith("<"):  # such as `<string>`, which is no file
        return None
    return Place(Path(code.co_filename).absolute(), code.co_firstlineno)


def step_of(record: Any) -> Any:
    """What makes a step, or gives a rate, of a record of an optimizer, a schedule or a training; of a user's it is theirs."""
    if hasattr(record, "mine"):
        mine = record.mine[1] if isinstance(record.mine, tuple) else record.mine
        return getattr(mine, "update", mine)
    return record.schedule if hasattr(record, "schedule") else record.optimizer.update


def place_of_pullback(op: Any) -> Place | None:
    """Where the backward pass of anything that `verify` takes is written; None for a chain, which has those of its stages.

    Of what was adapted, such as a `torch.autograd.Function`, it is the rule itself and not the adapter. If there is no rule in
    Python, it is the forward function.
    """
    op = adapters.adapted(op) or op
    if isinstance(op, Op):
        return None if op.backward is None else place_of(op.backward)
    if not isinstance(op, tuple) or len(op) != 2:
        return None
    forward, backward = op
    originals = list(_originals(forward))
    rules = [rule for one in originals for name in RULES if callable(rule := getattr(one, name, None))]
    places = map(place_of, [*rules, backward, *originals, forward])
    return next((place for place in places if place is not None and not place.file.is_relative_to(ADAPTERS)), None)


def _innermost(function: Any) -> Any:
    """Without decorators and partial arguments."""
    while True:
        inner = function.func if isinstance(function, partial) else inspect.unwrap(function) if callable(function) else function
        if inner is function:
            return function
        function = inner


def _originals(forward: Any) -> Iterator[Any]:
    """What this function was made from, step by step."""
    while (forward := getattr(forward, "__wrapped__", None)) is not None:
        yield forward
