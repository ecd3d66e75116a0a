"""Which arguments of a call are differentiated, and what stands beside them: integers, masks, None, functions, settings.

torch and JAX take all of these by position, between the arrays to differentiate. `verify` knows only arrays, or trees of them,
that have gradients; so the others are put in their places in each call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import optree

from oracle.tensors import host

__all__ = ["Flatten", "Places", "has_gradient", "places_of", "torchs_leaves"]

Flatten = Callable[[Any], tuple[list[str], list[Any], Callable[[list[Any]], Any]]]
"""For the trees of one library: the paths of the leaves of a tree, the leaves, and what makes the tree again of others."""


@dataclass(frozen=True)
class _Argument:
    """One argument by position."""

    value: Any
    """The primal to differentiate: an array, a tree of arrays, or a dict of those arrays of a tree that are; None for none."""
    filled: Callable[[Any], Any]
    """The argument for a primal like `value`."""


@dataclass(frozen=True)
class Places:
    """All arguments of a call, in order."""

    arguments: tuple[_Argument, ...]

    @property
    def primals(self) -> tuple[Any, ...]:
        """Those to differentiate."""
        return tuple(a.value for a in self.arguments if a.value is not None)

    @property
    def trivial(self) -> bool:
        """Whether the primals are all arguments, as they are."""
        return all(a.filled is _itself for a in self.arguments)

    def all_of(self, primals: Sequence[Any]) -> list[Any]:
        """The arguments of the call in which the primals are these."""
        given = iter(primals)
        return [a.filled(None if a.value is None else next(given)) for a in self.arguments]

    def call(self, function: Callable[..., Any], convert: Callable[[Any], Any]) -> Callable[..., Any]:
        """The function of the primals alone; `convert` makes arrays of the library of all arrays of an argument."""

        def called(*primals: Any, **options: Any) -> Any:
            return function(*map(convert, self.all_of(primals)), **options)

        called.__name__ = str(getattr(function, "__name__", type(function).__name__))
        called.__module__ = getattr(function, "__module__", None) or "__main__"
        return called

    def named(self, signature: inspect.Signature) -> inspect.Signature:
        """The signature with those parameters alone that are differentiated, or come after these arguments."""
        parameters = list(signature.parameters.values())
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if any(p.kind not in kinds for p in parameters[: len(self.arguments)]):
            return signature
        taken = [p for p, a in zip(parameters, self.arguments, strict=False) if a.value is not None]
        return signature.replace(parameters=[p.replace(default=p.empty) for p in taken] + parameters[len(self.arguments) :])


def places_of(given: Sequence[Any], flatten: Flatten, *, numbers: bool, constants: Collection[int] = ()) -> Places:
    """Where the differentiated arrays of these arguments are; a Python float is one of them if `numbers`.

    Arguments at the positions `constants` are declared not to be differentiated.
    """
    return Places(tuple(_argument(a, flatten, numbers, declared=i in constants) for i, a in enumerate(given)))


def has_gradient(leaf: Any, *, numbers: bool) -> bool:
    """Whether a leaf is an array of floats or complex numbers."""
    if type(leaf) is float:
        return numbers
    name = str(getattr(leaf, "dtype", ""))
    return hasattr(leaf, "shape") and name.removeprefix("torch.").startswith(("float", "bfloat", "complex"))


def _argument(value: Any, flatten: Flatten, numbers: bool, *, declared: bool) -> _Argument:
    paths, leaves, tree_of = flatten(value)
    wanted = [] if declared else [i for i, leaf in enumerate(leaves) if has_gradient(leaf, numbers=numbers)]
    if not wanted:
        return _constant(value)
    known = optree.tree_leaves(value)
    if len(wanted) == len(leaves) == len(known) and all(a is b for a, b in zip(leaves, known, strict=True)):
        return _Argument(value, _itself)
    names = dict(zip(_unique([paths[i] for i in wanted]), wanted, strict=True))

    def filled(primal: Any) -> Any:
        mixed = list(leaves)
        for name, i in names.items():
            mixed[i] = primal[name]
        return tree_of(mixed)

    return _Argument({name: host(leaves[i]) for name, i in names.items()}, filled)


def _unique(paths: list[str]) -> list[str]:
    return paths if len(set(paths)) == len(paths) else [f"{path}#{i}" for i, path in enumerate(paths)]


def _constant(value: Any) -> _Argument:
    return _Argument(None, lambda _: value)


def _itself(primal: Any) -> Any:
    return primal


def torchs_leaves(tree: Any) -> tuple[list[str], list[Any], Callable[[list[Any]], Any]]:
    """The leaves of a tree of tuples, lists and dicts, as torch's users write them; None is a leaf."""
    accessors = optree.tree_accessors(tree, none_is_leaf=True)
    leaves, structure = optree.tree_flatten(tree, none_is_leaf=True)
    paths = [".".join(str(getattr(entry, "field", entry.entry)) for entry in accessor) for accessor in accessors]
    return paths, leaves, structure.unflatten
