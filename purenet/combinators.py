"""Ops made of Ops. A combinator is verified once, for any parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import reduce
from typing import Any, Self, TypeVar

import numpy as np
import optree

from purenet.op import Op, Residuals, Tree, sign

__all__ = ["chain", "parallel", "residual", "tied"]

SomeOp = TypeVar("SomeOp", bound=Op)
SomeStaged = TypeVar("SomeStaged", bound="Staged")


class Staged(Op):
    """Ops by name: parameters, keywords and residuals of each go by its name."""

    kind = ""
    """The name of the function that makes it, and what its parts are called."""
    part = ""

    def __init__(self, stages: dict[str, Op], doc: str) -> None:
        def forward(params: Tree, x: Tree) -> tuple[Any, Any]:  # the signature that users and tools see
            raise NotImplementedError

        def source(params: Tree) -> tuple[Any, Any]:
            raise NotImplementedError

        if not stages:
            raise ValueError(f"{self.kind}: at least one {self.part} is needed")
        for name, op in stages.items():
            if not isinstance(op, Op):
                raise TypeError(f"{self.kind}: the {self.part} {name!r} must be an Op, got {type(op).__name__}")
            if name in ("params", "x"):
                raise ValueError(f"{self.kind}: no {self.part} may be named {name!r}, which is the name of an argument")
        if takes_data(next(iter(stages.values()))):
            shown: Callable[..., tuple[Any, Any]] = forward
        else:
            shown = source
        shown.__doc__ = doc.format(", ".join(f"{n}: {op.name}" for n, op in stages.items()))
        super().__init__(shown, name=f"{self.kind}({', '.join(stages)})")
        self.stages = stages
        self.keywords = tuple(stages)
        self.ties: dict[str, str] = {}
        self.parameterized = tuple(n for n, op in stages.items() if _has_parameters(op))
        self.owners = self.parameterized
        """The parts that `params` holds the parameters of: those with parameters of their own."""

    def tie(self, ties: dict[str, str]) -> Self:
        """The same Op, in which the first of each pair of parts has the parameters of the second."""
        tied = copy(self)
        tied.ties = ties
        tied.owners = tuple(n for n in self.parameterized if n not in ties)
        return tied

    def _open(self, primals: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, tuple[int, ...], Callable[..., Any]]:
        """Checks the arguments and returns x, what is differentiated, and the function that runs a stage."""
        given = {name: options.pop(name) for name in self.arguments if name in options}
        if options or self.bound:
            self._check_keywords(options)
            options = self._merge(options)
        (params, *data), differentiated = self._arrange(primals, given)
        self._check_params(params)

        def run(name: str, x: tuple[Any, ...], x_varies: bool) -> tuple[Any, Residuals]:
            """The value and the residuals of a stage; what does not vary goes in by keyword, as a constant."""
            op, keywords = self.stages[name], dict(options[name]) if name in options else {}
            free = op.arguments
            if keywords or op.bound:
                free = tuple([argument for argument in free if argument not in keywords and argument not in op.bound])
            positional: list[Any] = []
            if op.takes_params:
                own = params.get(self.ties.get(name, name), {})
                _put(own, free[:1], 0 in differentiated, positional, keywords)
            for value in x:
                _put(value, free[-1:], x_varies, positional, keywords)
            try:
                return op.fwd(*positional, **keywords)
            except (TypeError, ValueError) as error:
                error.add_note(f"in the {self.part} {name!r} of {self.name}")
                sign(error, self.name, _made_up(op))
                raise

        return tuple(data), differentiated, run

    def _cotangents(self, name: str, residuals: Residuals, dy: Any, grads: dict[str, Any]) -> Any:
        """Adds the cotangents of a stage's parameters to `grads`, and gives that of its x; None where x is a constant."""
        op, own = self.stages[name], residuals.saved[name]
        if not own.differentiated:
            return None
        cotangents: Sequence[Any] = op.bwd(own, dy)
        if op.takes_params and own.differentiated[0] == 0:
            found, *cotangents = cotangents
            if name in self.parameterized:
                owner = self.ties.get(name, name)
                grads[owner] = _sum(grads[owner], found) if owner in grads else found
        return cotangents[-1] if cotangents else None

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
        expected = ", ".join(self.owners) or "none"
        if type(params) is dict and tuple(params) == self.owners:  # the order in which `init` makes them
            return
        if not isinstance(params, Mapping):
            raise TypeError(f"{self.name}: params must be a dict by {self.part} name ({expected}), got {type(params).__name__}")
        if set(params) != set(self.owners):
            got = ", ".join(map(str, params)) or "none"
            raise ValueError(f"{self.name}: params must hold the {_plural(self.part)} {expected}, got {got}")


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
        return tuple(cotangents[i] for i in residuals.differentiated)


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
                    f"{_told(saved[first])} and {name} {_told(own)}"
                )
        y = _sum(*(value for value, _ in found.values()))
        return y, Residuals(self.name, saved, saved[first].dtype, None, saved[first].shapes, differentiated)

    def bwd(self, residuals: Residuals, dy: Any) -> tuple[Any, ...]:
        self._check_residuals(residuals)
        grads: dict[str, Any] = {}
        to_x = [self._cotangents(name, residuals, dy, grads) for name in self.stages]
        dparams = {name: grads[name] for name in self.owners if name in grads}
        return tuple(_sum(*to_x) if i else dparams for i in residuals.differentiated)


class Wrapped(Op):
    """An Op around another, with the arguments, parameters and keywords of that one, whose residuals read like its own."""

    def __init__(self, op: Op, name: str, doc: str) -> None:
        super().__init__(op.forward, name=name)
        self.__module__ = type(self).__module__
        self.__doc__ = doc
        self.arguments, self.keywords, self.required, self.bound = op.arguments, op.keywords, op.required, op.bound
        self.takes_params, self.every = op.takes_params, op.every
        self.op = op

    @property
    def stages(self) -> dict[str, Op]:
        return {"op": self.op}

    def bind(self, **options: Any) -> Self:
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound.op = self.op.bind(**options)
        bound.bound = bound.op.bound
        return bound

    def _run(self, primals: tuple[Any, ...], options: Mapping[str, Any]) -> tuple[Any, Residuals]:
        """The value of the Op and its residuals; an error of it begins with the name of the whole."""
        try:
            return self.op.fwd(*primals, **options)
        except (TypeError, ValueError) as error:
            sign(error, self.name, _made_up(self.op))
            raise


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
            raise ValueError(f"{self.name}: the value must have the shape of {last}, but {last} has {got}, {_told(inner)}")
        y = _sum(np.asarray(x), value)
        return y, Residuals(self.name, inner, inner.dtype, None, inner.shapes, inner.differentiated)

    def bwd(self, residuals: Residuals, dy: Any) -> tuple[Any, ...]:
        self._check_residuals(residuals)
        cotangents = self.op.bwd(residuals.saved, dy)
        if len(self.arguments) - 1 not in residuals.differentiated:
            return cotangents
        *others, dx = cotangents
        return (*others, _sum(dx, np.asarray(dy, dx.dtype)))


def takes_data(op: Op) -> bool:
    """Whether an Op has an argument beside its parameters: an embedding has none, its ids are not differentiated."""
    return len(op.arguments) > op.takes_params


def _put(value: Any, names: Sequence[str], varies: bool, positional: list[Any], keywords: dict[str, Any]) -> None:
    """An argument of a stage that varies is positional; a constant goes in by keyword, so that it is not differentiated."""
    if varies or not names:
        positional.append(value)
    else:
        keywords[names[0]] = value


def _made_up(op: Op) -> str:
    """The name of an Op if it only lists its parts, so that error messages leave it out; else empty."""
    return op.name if "(" in op.name else ""


def _has_parameters(op: Op) -> bool:
    if isinstance(op, Wrapped):
        return _has_parameters(op.op)
    return bool(op.parameterized) if isinstance(op, Staged) else op.takes_params


def _sum(*trees: Tree) -> Tree:
    with np.errstate(over="ignore"):  # what a dtype cannot hold is inf
        return optree.tree_map(lambda *leaves: np.asarray(reduce(np.add, leaves)), *trees)


def _told(residuals: Residuals) -> str:
    """The description of the value that these residuals belong to."""
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
