"""Ops made of Ops. A combinator is verified once, for any parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optree

from purenet.op import Op, Residuals, Tree

__all__ = ["chain"]


class Chain(Op):
    """Stages applied one after the other; made by `chain`."""

    def __init__(self, stages: dict[str, Op]) -> None:
        def forward(params: Tree, x: Tree) -> tuple[Any, Any]:  # the signature that users and tools see
            raise NotImplementedError

        forward.__doc__ = "The stages " + ", ".join(f"{n}: {op.name}" for n, op in stages.items()) + ", in this order."
        super().__init__(forward, name=f"chain({', '.join(stages)})")
        self.stages = stages
        self.keywords = tuple(stages)
        self.parameterized = tuple(n for n, op in stages.items() if _has_parameters(op))

    @property
    def takes_params(self) -> bool:
        return True

    def fwd(self, *primals: Any, **options: Any) -> tuple[Any, Residuals]:
        if len(primals) != 2:
            raise TypeError(f"{self.name}: takes 2 positional arguments (params, x), got {len(primals)}")
        params, x = primals
        self._check_keywords(options)
        options = self._merge(options)
        self._check_params(params)
        saved: dict[str, Residuals] = {}
        y = x
        for name, op in self.stages.items():
            primals = (params.get(name, {}), y) if op.takes_params else (y,)
            try:
                y, saved[name] = op.fwd(*primals, **options.get(name, {}))
            except (TypeError, ValueError) as error:
                error.add_note(f"in the stage {name!r} of {self.name}")
                raise
        last = saved[name]
        return y, Residuals(self.name, saved, last.dtype, last.structure, last.shapes, (0, 1))

    def bwd(self, residuals: Residuals, dy: Any) -> tuple[Any, ...]:
        if not isinstance(residuals, Residuals) or residuals.op != self.name:
            raise TypeError(f"{self.name}: residuals must be those of {self.name}.fwd, got {type(residuals).__name__}")
        grads: dict[str, Any] = {}
        for name, op in reversed(self.stages.items()):
            cotangents = op.bwd(residuals.saved[name], dy)
            dy = cotangents[-1]
            if name in self.parameterized:
                grads[name] = cotangents[0]
        return {name: grads[name] for name in self.parameterized}, dy

    def _merge(self, options: Mapping[str, Any]) -> dict[str, Any]:
        merged = dict(self.bound)
        for name, given in options.items():
            if not isinstance(given, Mapping):
                raise TypeError(f"{self.name}: {name} must be a dict of the keywords of that stage, got {type(given).__name__}")
            merged[name] = {**merged.get(name, {}), **given}
        return merged

    def _check_keywords(self, options: Mapping[str, Any]) -> None:
        for name in options:
            if name not in self.stages:
                raise TypeError(f"{self.name}: no stage is named {name!r} (stages: {', '.join(self.stages)})")

    def _check_params(self, params: Tree) -> None:
        expected = ", ".join(self.parameterized) or "none"
        if not isinstance(params, Mapping):
            raise TypeError(f"{self.name}: params must be a dict by stage name ({expected}), got {type(params).__name__}")
        if set(params) != set(self.parameterized):
            got = ", ".join(map(str, params)) or "none"
            raise ValueError(f"{self.name}: params must hold the stages {expected}, got {got}")


def _has_parameters(op: Op) -> bool:
    return bool(op.parameterized) if isinstance(op, Chain) else op.takes_params


def chain(**stages: Op) -> Chain:
    """The composition of Ops, an Op itself: the value of each stage is the last argument of the next.

    Shapes: params {stage: its params}, x as the first stage takes it -> y as the last stage gives it
    Math:
        y = (f_n o ... o f_1)(x);  the cotangents pass through the stages in reverse:
        dparams[i], d_{i-1} = f_i.bwd(d_i),  d_n = dy
    Errors: TypeError for an unknown stage, ValueError where `params` has other keys than the stages with parameters.
    Source: the chain rule. Conventions: a stage whose first argument is `params` finds its own under its name;
        keywords go to stages by name, `net(params, x, loss={"labels": t})`, and so do residuals,
        `residuals["batch_norm1"].mean`.

    >>> import numpy as np, purenet as pn
    >>> net = pn.chain(affine=pn.affine, relu=pn.relu)
    >>> net({"affine": {"w": np.array([[1.0, -1.0]])}}, np.array([[3.0]]))
    array([[3., 0.]])
    """
    if not stages:
        raise ValueError("chain: at least one stage is needed")
    for name, op in stages.items():
        if not isinstance(op, Op):
            raise TypeError(f"chain: the stage {name!r} must be an Op, got {type(op).__name__}")
    return Chain(stages)


def parameter_count(params: Tree) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(leaf.size for leaf in optree.tree_leaves(params))
