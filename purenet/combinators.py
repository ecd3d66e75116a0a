"""Ops made of Ops. A combinator is verified once, for any parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeVar

import numpy as np
import optree

from purenet.op import Op, Residuals, Tree

__all__ = ["chain", "parallel", "residual"]

SomeOp = TypeVar("SomeOp", bound=Op)


class Staged(Op):
    """Ops by name: parameters, keywords and residuals of each go by its name."""

    kind = ""
    """What makes it, and what its parts are called."""
    part = ""

    def __init__(self, stages: dict[str, Op], doc: str) -> None:
        def forward(params: Tree, x: Tree) -> tuple[Any, Any]:  # the signature that users and tools see
            raise NotImplementedError

        if not stages:
            raise ValueError(f"{self.kind}: at least one {self.part} is needed")
        for name, op in stages.items():
            if not isinstance(op, Op):
                raise TypeError(f"{self.kind}: the {self.part} {name!r} must be an Op, got {type(op).__name__}")
        forward.__doc__ = doc.format(", ".join(f"{n}: {op.name}" for n, op in stages.items()))
        super().__init__(forward, name=f"{self.kind}({', '.join(stages)})")
        self.stages = stages
        self.keywords = tuple(stages)
        self.parameterized = tuple(n for n, op in stages.items() if _has_parameters(op))

    @property
    def takes_params(self) -> bool:
        return True

    def _open(self, primals: tuple[Any, ...], options: dict[str, Any]) -> Callable[[str, Any], tuple[Any, Residuals]]:
        """After what can be wrong with the arguments: the function that gives the value of a stage and its residuals."""
        if len(primals) != 2:
            raise TypeError(f"{self.name}: takes 2 positional arguments (params, x), got {len(primals)}")
        params = primals[0]
        self._check_keywords(options)
        options = self._merge(options)
        self._check_params(params)

        def run(name: str, x: Any) -> tuple[Any, Residuals]:
            op = self.stages[name]
            try:
                return op.fwd(*((params.get(name, {}), x) if op.takes_params else (x,)), **options.get(name, {}))
            except (TypeError, ValueError) as error:
                error.add_note(f"in the {self.part} {name!r} of {self.name}")
                raise

        return run

    def _check_residuals(self, residuals: Residuals) -> None:
        if not isinstance(residuals, Residuals) or residuals.op != self.name:
            raise TypeError(f"{self.name}: residuals must be those of {self.name}.fwd, got {type(residuals).__name__}")

    def _merge(self, options: Mapping[str, Any]) -> dict[str, Any]:
        merged = dict(self.bound)
        for name, given in options.items():
            if not isinstance(given, Mapping):
                what = f"a dict of the keywords of that {self.part}"
                raise TypeError(f"{self.name}: {name} must be {what}, got {type(given).__name__}")
            merged[name] = {**merged.get(name, {}), **given}
        return merged

    def _check_keywords(self, options: Mapping[str, Any]) -> None:
        for name in options:
            if name not in self.stages:
                known = f"{_plural(self.part)}: {', '.join(self.stages)}"
                raise TypeError(f"{self.name}: no {self.part} is named {name!r} ({known})")

    def _check_params(self, params: Tree) -> None:
        expected = ", ".join(self.parameterized) or "none"
        if not isinstance(params, Mapping):
            raise TypeError(f"{self.name}: params must be a dict by {self.part} name ({expected}), got {type(params).__name__}")
        if set(params) != set(self.parameterized):
            got = ", ".join(map(str, params)) or "none"
            raise ValueError(f"{self.name}: params must hold the {_plural(self.part)} {expected}, got {got}")


class Chain(Staged):
    """Stages applied one after the other; made by `chain`."""

    kind, part = "chain", "stage"

    def __init__(self, stages: dict[str, Op]) -> None:
        super().__init__(stages, "The stages {}, in this order.")

    def fwd(self, *primals: Any, **options: Any) -> tuple[Any, Residuals]:
        run = self._open(primals, options)
        saved: dict[str, Residuals] = {}
        y = primals[1]
        for name in self.stages:
            y, saved[name] = run(name, y)
        last = saved[name]
        return y, Residuals(self.name, saved, last.dtype, last.structure, last.shapes, (0, 1))

    def bwd(self, residuals: Residuals, dy: Any) -> tuple[Any, ...]:
        self._check_residuals(residuals)
        grads: dict[str, Any] = {}
        for name, op in reversed(self.stages.items()):
            cotangents = op.bwd(residuals.saved[name], dy)
            dy = cotangents[-1]
            if name in self.parameterized:
                grads[name] = cotangents[0]
        return {name: grads[name] for name in self.parameterized}, dy


class Parallel(Staged):
    """Branches that see the same x, and whose values are added; made by `parallel`."""

    kind, part = "parallel", "branch"

    def __init__(self, stages: dict[str, Op]) -> None:
        super().__init__(stages, "The sum of the branches {}.")

    def fwd(self, *primals: Any, **options: Any) -> tuple[Any, Residuals]:
        run = self._open(primals, options)
        found = {name: run(name, primals[1]) for name in self.stages}
        saved = {name: residuals for name, (_, residuals) in found.items()}
        first = next(iter(saved))
        for name, own in saved.items():
            if own.structure is not None or own.shapes != saved[first].shapes or own.dtype != saved[first].dtype:
                raise ValueError(
                    f"{self.name}: the values of all branches must be arrays of one shape and dtype, but {first} gives "
                    f"{_told(saved[first])} and {name} {_told(own)}"
                )
        y = _sum(*(value for value, _ in found.values()))
        return y, Residuals(self.name, saved, saved[first].dtype, None, saved[first].shapes, (0, 1))

    def bwd(self, residuals: Residuals, dy: Any) -> tuple[Any, ...]:
        self._check_residuals(residuals)
        cotangents = {name: op.bwd(residuals.saved[name], dy) for name, op in self.stages.items()}
        return {name: cotangents[name][0] for name in self.parameterized}, _sum(*(c[-1] for c in cotangents.values()))


class Residual(Op):
    """An Op whose value is added to its last argument; made by `residual`."""

    def __init__(self, op: Op) -> None:
        super().__init__(op.forward, name=f"residual({op.name})")
        self.__module__ = __name__
        self.__doc__ = f"{op.name}, added to its last argument."
        self.arguments, self.keywords, self.required, self.bound = op.arguments, op.keywords, op.required, op.bound
        self.stages = {"op": op}

    @property
    def op(self) -> Op:
        return self.stages["op"]

    def bind(self, **options: Any) -> Residual:
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound.stages = {"op": self.op.bind(**options)}
        bound.bound = bound.op.bound
        return bound

    def fwd(self, *primals: Any, **options: Any) -> tuple[Any, Residuals]:
        last = self.arguments[-1]
        if last in options or last in self.bound:
            raise TypeError(f"{self.name}: {last} must be positional, because the value is added to it")
        value, inner = self.op.fwd(*primals, **options)
        shape = np.shape(primals[-1]) if isinstance(primals[-1], float) or hasattr(primals[-1], "shape") else None
        if inner.structure is not None or shape != inner.shapes[0]:
            got = "a tree" if shape is None else shape
            raise ValueError(f"{self.name}: the value must have the shape of {last}, but {last} has {got}, {_told(inner)}")
        y = _sum(np.asarray(primals[-1]), value)
        return y, Residuals(self.name, inner, inner.dtype, None, inner.shapes, inner.differentiated)

    def bwd(self, residuals: Residuals, dy: Any) -> tuple[Any, ...]:
        if not isinstance(residuals, Residuals) or residuals.op != self.name:
            raise TypeError(f"{self.name}: residuals must be those of {self.name}.fwd, got {type(residuals).__name__}")
        *others, dx = self.op.bwd(residuals.saved, dy)
        return (*others, _sum(dx, np.asarray(dy, dx.dtype)))


def _has_parameters(op: Op) -> bool:
    if isinstance(op, Residual):
        return _has_parameters(op.op)
    return bool(op.parameterized) if isinstance(op, Staged) else op.takes_params


def _sum(*trees: Tree) -> Tree:
    with np.errstate(over="ignore"):  # what a dtype cannot hold is inf
        return optree.tree_map(lambda *leaves: np.asarray(reduce(np.add, leaves)), *trees)


def _told(residuals: Residuals) -> str:
    """What is known of the value that these residuals belong to."""
    return "a tree" if residuals.structure is not None else f"{residuals.dtype} {residuals.shapes[0]}"


def _plural(word: str) -> str:
    return f"{word}es" if word.endswith("ch") else f"{word}s"


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
    return Chain(stages)


def parallel(**branches: Op) -> Parallel:
    """The sum of Ops of one x, an Op itself.

    Shapes: params {branch: its params}, x as every branch takes it -> y, the shape of each branch's value
    Math:
        y  = f_1(x) + ... + f_n(x)
        dparams[i], d_i = f_i.bwd(dy),  dx = d_1 + ... + d_n
    Errors: TypeError for an unknown branch, ValueError where `params` has other keys than the branches with parameters, or the
        values of the branches differ in shape.
    Source: the chain rule. Conventions: parameters, keywords and residuals go by the names of the branches, as in `chain`.

    >>> import numpy as np, purenet as pn
    >>> layer = pn.parallel(straight=pn.affine, bent=pn.relu)
    >>> layer({"straight": {"w": np.array([[10.0]])}}, np.array([[3.0], [-1.0]]))
    array([[ 33.],
           [-10.]])
    """
    return Parallel(branches)


def residual(op: Op) -> Residual:
    """An Op around which its last argument passes: x + f(x), or x + f(params, x).

    Shapes: params and x as `op` takes them -> y, the shape of x
    Math:
        y = x + f(params, x)
        dparams, d = f.bwd(dy),  dx = dy + d
    Errors: TypeError unless `op` is an Op; ValueError where its value has another shape than x.
    Source: He, Zhang, Ren, Sun, Deep residual learning for image recognition (2016). Conventions: parameters, keywords and
        residuals are those of `op`: `residual(chain(norm=..., net=...))(params, x, net={...})`.

    >>> import numpy as np, purenet as pn
    >>> x = np.array([3.0, -1.0])
    >>> y, residuals = pn.residual(pn.relu).fwd(x)
    >>> y, pn.residual(pn.relu).bwd(residuals, np.ones(2))[0]
    (array([ 6., -1.]), array([2., 1.]))
    """
    if not isinstance(op, Op):
        raise TypeError(f"residual: op must be an Op, got {type(op).__name__}")
    return Residual(op)


def named(op: SomeOp, maker: Callable[..., Any]) -> SomeOp:
    """`op` with the name, the place and the docstring of the function that makes it: reports and errors say what it is."""
    op.name = op.__name__ = op.__qualname__ = maker.__name__
    op.__module__ = maker.__module__
    op.__doc__ = maker.__doc__
    return op


def parameter_count(params: Tree) -> int:
    """How many numbers a tree of parameters holds."""
    return sum(leaf.size for leaf in optree.tree_leaves(params))
