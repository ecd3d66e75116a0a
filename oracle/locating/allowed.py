"""Stages whose gradient is no derivative on purpose: a straight-through estimator, a gradient that is clipped or reversed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import optree

from oracle.arrays import widened
from oracle.locating.calls import WHOLE, Call, Record, signed
from oracle.locating.judging import judged
from oracle.locating.located import StageRow
from oracle.row import Verdict
from oracle.text import listed

__all__ = ["NOT_COMPARED", "Allowed", "judged_as_meant", "names_of", "without_allowed"]

Allowed = Mapping[str, Callable[..., Any] | None]
"""For each stage that is allowed the function whose derivative its gradient is meant to be; None if it is that of none."""

NOT_COMPARED = "its gradient is no derivative, as allowed: only its form is checked"


def names_of(allows: Any) -> Allowed:
    """What the user allows: names of stages, or a dict that gives a function for each."""
    if isinstance(allows, str) or not isinstance(allows, Collection):
        raise TypeError(f"locate: allows must be names of stages, or a dict from names to functions, got {allows!r}")
    given: Allowed = dict(allows) if isinstance(allows, Mapping) else dict.fromkeys(allows)
    for name, function in given.items():
        if not isinstance(name, str):
            raise TypeError(f"locate: allows must name stages by their names in the table, got {name!r}")
        if function is not None and not callable(function):
            raise TypeError(f"locate: allows[{name!r}] must be a function of the stage's arguments or None, got {function!r}")
    return given


def _is_within(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


def without_allowed(record: Record, allowed: Allowed) -> Record:
    """The record without those compositions that contain a stage which is no derivative: neither are they."""
    unknown = [name for name in allowed if not any(_is_within(call.path, name) for call in record.calls)]
    if unknown:
        stages = listed([call.path for call in record.calls])
        raise ValueError(f"locate: allows names {listed(unknown)}, but the stages are {stages}")
    paths = [call.path for call in record.calls if _meant(call, allowed)]

    def contains(composition: Call) -> bool:
        return composition.path == WHOLE or any(_is_within(path, composition.path) for path in paths)

    kept = record.compositions if not paths else [c for c in record.compositions if not contains(c)]
    return Record(record.calls, kept, record.note)


def _meant(call: Call, allowed: Allowed) -> str | None:
    """The name by which this stage is allowed."""
    return next((name for name in allowed if _is_within(call.path, name)), None)


def judged_as_meant(call: Call, allowed: Allowed, seed: int, accept: float) -> StageRow:
    """The row of a stage. One that is allowed is judged as the derivative of what it is meant to be, or by its form alone."""
    name = _meant(call, allowed)
    if name is None or call.backward.trouble:
        return judged(call, seed, accept)
    function = allowed[name]
    if function is None:
        return StageRow(call.path, call.name, call.shape, Verdict.ACCEPTED, note=NOT_COMPARED)
    return judged(_as_derivative_of(function, call, name), seed, accept)


def _as_derivative_of(function: Callable[..., Any], call: Call, name: str) -> Call:
    """The stage with its own backward pass, and another function as its forward pass."""
    subject = call.subject

    def fwd(*primals: Any) -> Any:
        _, residuals = subject.fwd(*primals)
        return widened(function(*primals)), residuals

    y, _ = fwd(*call.primals)
    wanted, got = ([np.shape(leaf) for leaf in optree.tree_leaves(tree)] for tree in (call.y, y))
    if wanted != got:
        raise ValueError(f"locate: allows[{name!r}] must return what the stage {call.path} does, {wanted}, got {got}")
    signed(fwd, call.name, [argument.replace(" ", "_") for argument in call.names])
    return replace(call, op=(fwd, subject.bwd), options={}, y=y)
