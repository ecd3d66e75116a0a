"""What one run of a net leaves of each stage: its arguments, the upstream gradient that reached it, and its gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optree
from numpy.typing import NDArray

from oracle.arrays import RAISED, random_cotangent
from oracle.contract.form import is_tuple_of, well_formed
from oracle.subject import Subject

__all__ = ["WHOLE", "Backward", "Call", "Record", "called_back", "signed", "usable"]

Array = NDArray[Any]

WHOLE = "the whole net"


@dataclass
class Backward:
    """What the backward pass of the net did at one stage."""

    dy: Any = None
    """The upstream gradient that it delivered; None if it delivered none."""
    cotangents: Any = None
    trouble: str = ""
    """What the stage did instead of returning gradients."""


@dataclass
class Call:
    """One call of one stage in a run of the net. All arrays are float64."""

    path: str
    op: Any
    """An Op, or a pair (fwd, bwd)."""
    options: Mapping[str, Any]
    primals: tuple[Any, ...]
    y: Any
    name: str = ""
    """What the op is called in a table; the name of its function unless given."""
    backward: Backward = field(default_factory=Backward)
    fixed: bool = False
    """Whether this upstream gradient is the only one that the stage ever gets, as the layer of a loss does."""
    unseen: tuple[str, ...] = ()
    """Arrays that may be parameters, but for which no gradient was found."""
    subject: Subject = field(init=False)

    def __post_init__(self) -> None:
        self.subject = Subject.of(self.op, self.options)
        self.name = self.name or self.subject.name

    @property
    def names(self) -> tuple[str, ...]:
        return self.subject.names(len(self.primals))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its input: the last argument, or the first array of it."""
        last: Any = self.primals[-1]
        leaves = optree.tree_leaves(last)
        return np.shape(leaves[0]) if leaves else ()


@dataclass
class Record:
    """One run of a net."""

    calls: list[Call]
    """Of the stages, in the order of the forward pass."""
    compositions: list[Call]
    """Of what composes them: a part before the part that contains it, the whole net last."""
    note: str = ""


def called_back(call: Call, backward: Any, residuals: Any, dy: Any, seed: int) -> tuple[Any, ...]:
    """The gradients of a stage for this upstream gradient, recorded; what is no gradient is replaced by random numbers.

    A stage that raises or returns nonsense must not keep the net's backward pass from reaching the stages before it: each of
    them is judged at any upstream gradient.
    """
    tree: Any = dy
    call.backward.dy = optree.tree_map(np.array, tree)  # the backward pass may write into it
    try:
        call.backward.cotangents = backward(residuals, dy)
    except RAISED as error:
        call.backward.trouble = f"the backward pass raised {type(error).__name__}: {error}"
    else:
        breaches = well_formed(call.backward.cotangents, call.names, call.primals, None)
        call.backward.trouble = "; ".join(f"{b.parameter}: {b.what}" if b.parameter else b.what for b in breaches)
    return usable(call.backward.cotangents, call.primals, seed)


def usable(cotangents: Any, primals: tuple[Any, ...], seed: int) -> tuple[Any, ...]:
    """The cotangents, with random numbers for those that have another form or are not finite."""
    own = cotangents if is_tuple_of(cotangents, len(primals)) else (None,) * len(primals)
    made = []
    for primal, cotangent in zip(primals, own, strict=True):
        substitutes, structure = optree.tree_flatten(random_cotangent(primal, seed))
        given = [None] * len(substitutes)
        if cotangent is not None and optree.tree_structure(cotangent) == structure:
            given = optree.tree_leaves(cotangent)
        leaves = [g if _fits(g, s) else s for g, s in zip(given, substitutes, strict=True)]
        made.append(structure.unflatten(leaves))
    return tuple(made)


def _fits(given: Any, like: Array) -> bool:
    array = np.asarray(given) if given is not None else None
    if array is None or array.shape != like.shape or array.dtype.kind != "f":
        return False
    return bool(np.isfinite(array).all())


def signed(function: Callable[..., Any], name: str, arguments: Sequence[str]) -> None:
    """Gives a function its name, and its arguments theirs, for reports."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__name__ = name
    function.__signature__ = inspect.Signature([inspect.Parameter(argument, kind) for argument in arguments])  # type: ignore[attr-defined]
