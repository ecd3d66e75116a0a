"""Ops with parts: how parameters, keywords, residuals and cotangents of a part go by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import reduce
from typing import Any, Self

import numpy as np
import optree

from purenet.arrays import Tree
from purenet.op import Op, Residuals, sign

__all__ = ["Staged", "Wrapped", "added", "described", "takes_data"]


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
        self.__module__ = type(self).__module__
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
        params_vary = 0 in differentiated

        def run(name: str, x: tuple[Any, ...], x_varies: bool) -> tuple[Any, Residuals]:
            """The value and the residuals of a stage; what does not vary goes in by keyword, as a constant."""
            op, keywords = self.stages[name], options.get(name, {})
            positional = (params.get(self.ties.get(name, name), {}), *x) if op.takes_params else x
            if not (x_varies and params_vary):
                positional, keywords = _parted(op, positional, (params_vary, x_varies), keywords)
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
                grads[owner] = added(grads[owner], found) if owner in grads else found
        return cotangents[-1] if cotangents else None

    def _merge(self, options: Mapping[str, Any]) -> dict[str, Any]:
        merged = dict(self.bound)
        for name, given in options.items():
            if type(given) is not dict and not isinstance(given, Mapping):
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
        if type(params) is dict and tuple(params) == self.owners:  # the order in which `init` makes them
            return
        expected = ", ".join(self.owners) or "none"
        if not isinstance(params, Mapping):
            raise TypeError(f"{self.name}: params must be a dict by {self.part} name ({expected}), got {type(params).__name__}")
        if set(params) != set(self.owners):
            got = ", ".join(map(str, params)) or "none"
            raise ValueError(f"{self.name}: params must hold the {_plural(self.part)} {expected}, got {got}")


class Wrapped(Op):
    """An Op around another, with the arguments, parameters and keywords of that one, whose residuals read like its own."""

    def __init__(self, op: Op, name: str, doc: str) -> None:
        super().__init__(op.forward, name=name)
        self.__module__ = type(self).__module__
        self.__doc__ = doc
        self.arguments, self.keywords, self.required, self.bound = op.arguments, op.keywords, op.required, op.bound
        self.takes_params, self.every, self.named = op.takes_params, op.every, op.named
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


def takes_data(op: Op) -> bool:
    """Whether an Op has an argument beside its parameters: an embedding has none, its ids are not differentiated."""
    return len(op.arguments) > op.takes_params


def _parted(
    op: Op, values: Sequence[Any], vary: tuple[bool, bool], keywords: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Those arguments of a stage that vary, which are positional, and its keywords with those that are constant.

    `vary` says it of the parameters, which come first if the stage has some, and of x.
    """
    free: Sequence[str] = op.arguments
    if keywords or op.bound:
        free = [argument for argument in op.arguments if argument not in keywords and argument not in op.bound]
    if not free:
        return tuple(values), dict(keywords)
    positional, named = [], dict(keywords)
    for i, value in enumerate(values):
        of_params = i == 0 and op.takes_params
        if vary[0 if of_params else 1]:
            positional.append(value)
        else:
            named[free[0 if of_params else -1]] = value
    return tuple(positional), named


def _made_up(op: Op) -> str:
    """The name of an Op if it only lists its parts, so that error messages leave it out; else empty."""
    return op.name if "(" in op.name else ""


def _has_parameters(op: Op) -> bool:
    if isinstance(op, Wrapped):
        return _has_parameters(op.op)
    return bool(op.parameterized) if isinstance(op, Staged) else op.takes_params


def added(*trees: Tree) -> Tree:
    """The sum of trees of one structure, leaf by leaf."""
    with np.errstate(over="ignore"):  # what a dtype cannot hold is inf
        return optree.tree_map(lambda *leaves: np.asarray(reduce(np.add, leaves)), *trees)


def described(residuals: Residuals) -> str:
    """The description of the value that these residuals belong to."""
    return "a tree" if residuals.structure is not None else f"{residuals.dtype} {residuals.shapes[0]}"


def _plural(word: str) -> str:
    return f"{word}es" if word.endswith("ch") else f"{word}s"
