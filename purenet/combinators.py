"""Ops made of Ops. A combinator is verified once, for any parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import optree

from purenet.op import Op, Residuals, Tree
from purenet.stages import Staged, Wrapped, added, described, takes_data

__all__ = ["chain", "parallel", "residual", "tied"]

SomeOp = TypeVar("SomeOp", bound=Op)
SomeStaged = TypeVar("SomeStaged", bound=Staged)


class Chain(Staged):
    """Stages applied one after the other; made by `chain`."""

    kind, part = "chain", "stage"

    def __init__(self, stages: dict[str, Op]) -> None:
        super().__init__(stages, "The stages {}, in this order.")
        for name in list(stages)[1:]:
            if not takes_data(stages[name]):
                raise ValueError(f"chain: only the first stage may take parameters alone, but {name!r} takes no x")

    def fwd(self, *primals: Any, **options: Any) -> tuple[Any, Residuals]:
        x, differentiated, run = self._open(primals, options)
        saved: dict[str, Residuals] = {}
        varies = 1 in differentiated
        for name in self.stages:
            y, saved[name] = run(name, x, varies)
            x, varies = (y,), bool(saved[name].differentiated)
        last = saved[name]
        return y, Residuals(self.name, saved, last.dtype, last.structure, last.shapes, differentiated)

    def bwd(self, residuals: Residuals, dy: Any) -> tuple[Any, ...]:
        self._check_residuals(residuals)
        grads: dict[str, Any] = {}
        for name in reversed(self.stages):
            dy = self._cotangents(name, residuals, dy, grads)
            if dy is None:  # no stage before this one has anything to differentiate
                break
        cotangents = ({name: grads[name] for name in self.owners if name in grads}, dy)
        return tuple([cotangents[i] for i in residuals.differentiated])


class Parallel(Staged):
    """Branches that see the same x, and whose values are added; made by `parallel`."""

    kind, part = "parallel", "branch"

    def __init__(self, stages: dict[str, Op]) -> None:
        super().__init__(stages, "The sum of the branches {}.")
        for name, op in stages.items():
            if not takes_data(op):
                raise ValueError(f"parallel: every branch must take x, but {name!r} takes parameters alone")

    def fwd(self, *primals: Any, **options: Any) -> tuple[Any, Residuals]:
        x, differentiated, run = self._open(primals, options)
        found = {name: run(name, x, 1 in differentiated) for name in self.stages}
        saved = {name: residuals for name, (_, residuals) in found.items()}
        first = next(iter(saved))
        for name, own in saved.items():
            if own.structure is not None or own.shapes != saved[first].shapes or own.dtype != saved[first].dtype:
                raise ValueError(
                    f"{self.name}: the values of all branches must be arrays of one shape and dtype, but {first} gives "
                    f"{described(saved[first])} and {name} {described(own)}"
                )
        y = added(*(value for value, _ in found.values()))
        return y, Residuals(self.name, saved, saved[first].dtype, None, saved[first].shapes, differentiated)

    def bwd(self, residuals: Residuals, dy: Any) -> tuple[Any, ...]:
        self._check_residuals(residuals)
        grads: dict[str, Any] = {}
        to_x = [self._cotangents(name, residuals, dy, grads) for name in self.stages]
        dparams = {name: grads[name] for name in self.owners if name in grads}
        return tuple(added(*to_x) if i else dparams for i in residuals.differentiated)


class Residual(Wrapped):
    """An Op whose value is added to its last argument; made by `residual`."""

    def __init__(self, op: Op) -> None:
        super().__init__(op, f"residual({op.name})", f"{op.name}, added to its last argument.")

    def fwd(self, *primals: Any, **options: Any) -> tuple[Any, Residuals]:
        last = self.arguments[-1]
        if not primals and last not in options:
            raise TypeError(f"{self.name}: takes {last}, to which the value is added, got none")
        value, inner = self._run(primals, options)
        x: Any = options.get(last, self.bound.get(last, primals[-1] if primals else None))
        shape = np.shape(x) if isinstance(x, float) or hasattr(x, "shape") else None
        if inner.structure is not None or shape != inner.shapes[0]:
            got = "a tree" if shape is None else shape
            raise ValueError(f"{self.name}: the value must have the shape of {last}, but {last} has {got}, {described(inner)}")
        y = added(np.asarray(x), value)
        return y, Residuals(self.name, inner, inner.dtype, None, inner.shapes, inner.differentiated)

    def bwd(self, residuals: Residuals, dy: Any) -> tuple[Any, ...]:
        self._check_residuals(residuals)
        cotangents = self.op.bwd(residuals.saved, dy)
        if len(self.arguments) - 1 not in residuals.differentiated:
            return cotangents
        *others, dx = cotangents
        return (*others, added(dx, np.asarray(dy, dx.dtype)))


def chain(**stages: Op) -> Chain:
    """The composition of Ops, an Op itself: the value of each stage is the last argument of the next.

    Shapes: params {stage: its params}, x as the first stage takes it -> y as the last stage gives it
    Math:
        y = (f_n o ... o f_1)(x);  the cotangents pass through the stages in reverse:
        dparams[i], d_{i-1} = f_i.bwd(d_i),  d_n = dy
    Errors: TypeError for an unknown stage, ValueError where `params` has other keys than the stages with parameters.
    Source: the chain rule. Conventions: a stage whose first argument is `params` finds its own under its name;
        keywords go to stages by name, `net(params, x, loss={"labels": t})`, and so do residuals,
        `residuals["batch_norm1"].mean`. Data given by keyword, `net(params, x=x)`, is a constant: no stage computes its
        cotangent. Where the first stage takes parameters alone, as an embedding does, so does the chain.

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


def tied(op: SomeStaged, **ties: str) -> SomeStaged:
    """A chain (or parallel) in which stages share parameters: `tied(net, head="embedding")`.

    Shapes: params {stage: its params} without the stages named in `ties`, x -> y, as `op`
    Math, with stage j tied to stage i:
        y = op({..., i: params_i, j: params_i}, x)
        dparams_i = the sum of what op gives for i and for j,  dx as op
    Errors: TypeError unless `op` is a chain or parallel; ValueError for a stage that it does not have, has no parameters or
        is tied itself.
    Source: Press and Wolf, Using the output embedding to improve language models (2017). Conventions: both stages get the same
        dict of parameters, so they need the same keys and shapes.

    >>> import numpy as np, purenet as pn
    >>> net = pn.tied(pn.chain(once=pn.affine, twice=pn.affine), twice="once")
    >>> y, pullback = pn.vjp(net, {"once": {"w": np.array([[3.0]])}}, np.array([[1.0]]))
    >>> y, pullback(np.array([[1.0]]))[0]
    (array([[9.]]), {'once': {'w': array([[6.]])}})
    """
    if not isinstance(op, Staged):
        raise TypeError(f"tied: op must be a chain or parallel, got {type(op).__name__}")
    merged = {**op.ties, **ties}
    for name in (*ties, *ties.values()):
        if name not in op.parameterized:
            raise ValueError(
                f"tied: {op.name} has no {op.part} {name!r} with parameters (it has {', '.join(op.parameterized)})"
            )
    for name, owner in merged.items():
        if owner in merged:
            raise ValueError(f"tied: {name!r} cannot have the parameters of {owner!r}, which has those of {merged[owner]!r}")
    return op.tie(merged)


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


def named(op: SomeOp, maker: Callable[..., Any], name: str | None = None) -> SomeOp:
    """`op` with the name (unless another is given), the module and the docstring of the function that makes it.

    Reports and error messages say by them what it is.
    """
    op.name = op.__name__ = op.__qualname__ = name or maker.__name__
    op.__module__ = maker.__module__
    op.__doc__ = maker.__doc__
    return op


def parameter_count(params: Tree) -> int:
    """The number of entries of all arrays in a tree of parameters."""
    return sum(leaf.size for leaf in optree.tree_leaves(params))
