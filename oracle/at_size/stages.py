"""The stages of a chain, each with the arguments and the cotangent that it has in one run of the whole chain.

The gradient of a chain is the product of the Jacobians of its stages. So the chain is right where each stage is right at these
arguments and for this cotangent; and to evaluate a stage takes a fraction of the time that the whole chain takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import optree
from numpy.typing import NDArray

from oracle.arrays import flat
from oracle.judging.conditioning import spreads
from purenet import Op

__all__ = ["Stage", "has_stages", "run"]

Array = NDArray[Any]


@dataclass
class Stage:
    """One call of one op inside a chain."""

    path: str
    route: tuple[tuple[str, int], ...]
    """The path from the whole op to this stage: the kind of each combinator, and the number of its part."""
    op: Op
    primals: tuple[Any, ...]
    options: Mapping[str, Any]
    residuals: Any
    dy: Any = None
    cotangents: tuple[Any, ...] = field(default=())

    def value(self, *primals: Any) -> Any:
        return self.op.fwd(*primals, **self.options)[0]

    @cached_property
    def leaves(self) -> list[Array]:
        """The arrays among its arguments, in order."""
        primals: Any = self.primals
        return optree.tree_leaves(primals)

    @cached_property
    def contributions(self) -> list[Array]:
        """The cotangent of each of them."""
        return flat(self.cotangents)

    def reaches(self, other: Stage) -> bool:
        """Whether the cotangent that this stage returns goes on to `other`: where their paths part, `other` comes before it."""
        for (kind, mine), (_, its) in zip(self.route, other.route, strict=False):
            if mine != its:
                return kind == "chain" and mine > its
        return False


def spread_of_input(stage: Stage, k: int, seed: int) -> float:
    """How far the cotangent of the `k`-th array of a stage moves when the arguments of the stage are rounded."""

    def gradient(given: Any) -> list[Array]:
        primals, dy = given
        return flat(stage.op.bwd(stage.op.fwd(*primals, **stage.options)[1], dy))

    return float(spreads(gradient, (stage.primals, stage.dy), seed)[k].max(initial=0.0))


class _Observed(Op):
    """An op that works like another one and records the calls."""

    def __init__(self, op: Op, path: str, route: tuple[tuple[str, int], ...], calls: list[Stage]) -> None:
        self.__dict__.update(op.__dict__)
        self.observed, self.path, self.route, self.calls = op, path, route, calls

    def fwd(self, *primals: Any, **options: Any) -> tuple[Any, Any]:
        y, residuals = self.observed.fwd(*primals, **options)
        self.calls.append(Stage(self.path, self.route, self.observed, primals, options, residuals))
        return y, residuals

    def bwd(self, residuals: Any, dy: Any) -> tuple[Any, ...]:
        stage = next(call for call in self.calls if call.residuals is residuals)
        stage.dy, stage.cotangents = dy, self.observed.bwd(residuals, dy)
        return tuple(stage.cotangents)


def has_stages(op: Any) -> bool:
    """Whether an op is composed of stages that can be verified one by one."""
    return isinstance(op, Op) and bool(getattr(op, "stages", None))


def run(op: Op, primals: Sequence[Any], options: Mapping[str, Any], dy: Any) -> tuple[list[Stage], tuple[Any, ...]]:
    """Every call of an op inside `op` that a cotangent reaches, in order, and the cotangents of the whole."""
    calls: list[Stage] = []
    observed = _observed(op, "", (), calls)
    _, residuals = observed.fwd(*primals, **options)
    # The pullback of the combinator's class, even where this instance has one of its own.
    cotangents = type(observed).bwd(observed, residuals, dy)
    return [stage for stage in calls if stage.cotangents], cotangents


def _observed(op: Op, path: str, route: tuple[tuple[str, int], ...], calls: list[Stage]) -> Op:
    inner, stages = getattr(op, "op", None), getattr(op, "stages", None)
    if not isinstance(inner, Op) and not stages:
        return _Observed(op, path, route, calls)
    made = copy(op)
    if isinstance(inner, Op):  # a wrapper, such as `residual`, whose parameters have the names of those of the op inside
        vars(made)["op"] = _observed(inner, path, route, calls)
        return made
    kind = getattr(op, "kind", "")
    vars(made)["stages"] = {
        name: _observed(stage, f"{path}.{name}".strip("."), (*route, (kind, i)), calls)
        for i, (name, stage) in enumerate(dict(stages or {}).items())
    }
    return made
