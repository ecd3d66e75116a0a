"""One run of a net of `purenet`: every call of an op inside its chains, branches and residuals, and these themselves."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

from oracle.arrays import RAISED
from oracle.locating.calls import WHOLE, Call, Record, called_back
from purenet import Op

__all__ = ["record"]


def record(net: Op, primals: tuple[Any, ...], options: Mapping[str, Any], dy: Any, seed: int) -> Record:
    """The calls of a run; `dy` is a function of the value."""
    run = _Run(seed)
    y, residuals = run.observed(net, "").fwd(*primals, **options)
    given = dy(y)
    try:
        run.observer.bwd(residuals, given)
    except RAISED as error:  # a composition that fails: its stages get random upstream gradients
        run.note = f"the backward pass of the net raised {type(error).__name__}: {error}"
    return Record([call for call in run.calls if call.primals], run.compositions, run.note)


class _Run:
    """The calls that a run has made so far."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.calls: list[Call] = []
        self.compositions: list[Call] = []
        self.by_residuals: dict[int, tuple[Any, Call]] = {}
        self.note = ""
        self.observer: Op

    def observed(self, op: Op, path: str) -> Op:
        """The op, with every op inside of it replaced by one that records its calls."""
        inner, stages = getattr(op, "op", None), getattr(op, "stages", None)
        if isinstance(inner, Op):  # a wrapper, such as `residual`, whose parameters have the names of those of the op inside
            made = copy(op)
            vars(made)["op"] = self.observed(inner, path)
        elif stages:
            made = copy(op)
            parts = {name: self.observed(stage, f"{path}.{name}".strip(".")) for name, stage in dict(stages).items()}
            vars(made)["stages"] = parts
        else:
            made = None
        self.observer = _Observed(op, path, made, self)
        return self.observer


class _Observed(Op):
    """An op that works like another one and records the calls. A composition runs a copy whose parts are observed, too."""

    def __init__(self, op: Op, path: str, inner: Op | None, run: _Run) -> None:
        self.__dict__.update(op.__dict__)
        for own in ("fwd", "bwd"):  # an op may have a pass of its own, beside that of its class
            self.__dict__.pop(own, None)
            if inner is not None:
                vars(inner).pop(own, None)
        self.observed, self.path, self.inner, self.run = op, path, inner, run

    def fwd(self, *primals: Any, **options: Any) -> tuple[Any, Any]:
        y, residuals = (self.inner or self.observed).fwd(*primals, **options)
        call = Call(self.path or WHOLE, self.observed, options, primals, y)
        (self.run.calls if self.inner is None else self.run.compositions).append(call)
        self.run.by_residuals[id(residuals)] = (residuals, call)
        return y, residuals

    def bwd(self, residuals: Any, dy: Any) -> tuple[Any, ...]:
        call = self.run.by_residuals[id(residuals)][1]
        if self.inner is None:
            return called_back(call, self.observed.bwd, residuals, dy, self.run.seed)
        call.backward.dy, call.backward.cotangents = dy, self.inner.bwd(residuals, dy)
        return tuple(call.backward.cotangents)
