"""The backward pass of a backward pass: pairs that know it, the one that JAX, torch or autograd derive, and a reference's.

The function that is differentiated is `(*arguments, dy) -> gradients`. Its pair has the protocol of every other pair:
`bwd_fwd(*arguments, dy, **options)` returns `(gradients, residuals)`, with the gradients in the tuple that `bwd` returns, and
`bwd_bwd(residuals, u)` returns one gradient for each argument and one for `dy`, where `u` is a tuple like the gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from typing import Any, TypeAlias

import numpy as np
import optree

from oracle.pullback import check_shapes
from oracle.tensors import array_of, is_tensor, tensor

__all__ = [
    "Pair",
    "Twice",
    "arrays_of",
    "autograd_gradients",
    "by_autograd",
    "by_jax",
    "by_torch",
    "gradients_of",
    "is_pair",
    "jax_gradients",
    "jax_pullback",
    "pair_of_pairs",
    "torch_gradients",
]

Function: TypeAlias = Callable[..., Any]
Pair: TypeAlias = tuple[Function, Function]


class Twice(tuple[Function, Function]):
    """A pair (fwd, bwd) that knows the pair of its backward pass, too."""

    second: Pair

    def __new__(cls, first: Pair, second: Pair) -> Twice:
        pair = super().__new__(cls, first)
        pair.second = second
        return pair


def is_pair(op: Any) -> bool:
    """Whether this is a pair of functions."""
    return isinstance(op, tuple) and len(op) == 2 and all(map(callable, op))


def pair_of_pairs(op: Any) -> Twice | None:
    """The pair of `((fwd, bwd), (bwd_fwd, bwd_bwd))`; None for anything else."""
    return Twice(*op) if isinstance(op, tuple) and len(op) == 2 and all(map(is_pair, op)) else None


def by_jax(function: Function) -> Pair:
    """The second pair of a function of JAX: `jax.vjp` of its `jax.vjp`, through its own rule if it has one."""
    import jax

    compiled: dict[Any, Any] = {}

    def of(options: dict[str, Any]) -> tuple[Function, Function]:
        """The gradients, and their pullback, at these options: compiled, if these tell one call from another."""
        gradients = partial(jax_gradients, partial(function, **options))

        def pull(given: Any, u: Any) -> Any:
            value, pullback = jax.vjp(gradients, *given)
            return pullback(_like(u, value))

        key = tuple(sorted(options.items()))
        try:
            if key not in compiled:
                compiled[key] = _jitted(gradients), _jitted(pull)
        except TypeError:  # arrays, which may change
            return gradients, pull
        found: tuple[Function, Function] = compiled[key]
        return found

    def fwd(*given: Any, **options: Any) -> tuple[Any, Any]:
        gradients, pull = of(options)
        with jax.enable_x64(True):
            placed = jax.device_put(given)
            return arrays_of(gradients(*placed)), (pull, placed)

    def bwd(residuals: Any, u: Any) -> Any:
        pull, placed = residuals
        with jax.enable_x64(True):
            return arrays_of(pull(placed, jax.device_put(u)))

    return fwd, bwd


def _jitted(function: Function) -> Function:
    """The function, compiled, unless its Python code depends on values of its arguments."""
    import jax

    jitted = jax.jit(function)

    def call(*given: Any) -> Any:
        try:
            return jitted(*given)
        except (jax.errors.ConcretizationTypeError, jax.errors.NonConcreteBooleanIndexError):
            return function(*given)

    return call


def by_torch(call: Function) -> Pair:
    """The second pair of a function of torch, by `torch.autograd.grad(..., create_graph=True)` and another `grad` of that.

    If torch returns None for a second derivative, it is 0: most functions have some of these, and torch computes none of them.
    """

    def fwd(*given: Any, **options: Any) -> tuple[Any, Any]:
        tree: Any = given
        tensors: Any = optree.tree_map(partial(tensor, wanted=True), tree)
        constants = {k: tensor(o) if isinstance(o, np.ndarray) else o for k, o in options.items()}
        gradients = _by_torch(partial(call, **constants), *tensors)
        return optree.tree_map(array_of, gradients), (gradients, tensors)

    def bwd(residuals: Any, u: Any) -> Any:
        gradients, tensors = residuals
        leaves = optree.tree_leaves(tensors)
        if _ends_in_error([g.grad_fn for g in optree.tree_leaves(gradients) if g.requires_grad]):
            # torch itself takes such a gradient for a constant
            raise TypeError("a backward pass in it is marked once_differentiable, so torch cannot differentiate it")
        found = torch_gradients(gradients, leaves, u)
        filled = [np.zeros(leaf.shape, array_of(leaf).dtype) if g is None else array_of(g)
                  for g, leaf in zip(found, leaves, strict=True)]  # fmt: skip
        return optree.tree_unflatten(optree.tree_structure(tensors), filled)

    return fwd, bwd


def _ends_in_error(nodes: list[Any]) -> bool:
    """Whether the graph of torch leads to a node that stands for a derivative that does not exist."""
    seen: set[Any] = set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        if type(node).__name__ == "Error":
            return True
        seen.add(node)
        nodes.extend(following for following, _ in node.next_functions)
    return False


def by_autograd(function: Function) -> Pair:
    """The second pair of a function of `autograd.numpy`."""
    import autograd

    def fwd(*given: Any, **options: Any) -> tuple[Any, Any]:
        return arrays_of(tuple(autograd_gradients(partial(function, **options), given))), (given, options)

    def bwd(residuals: Any, u: Any) -> Any:
        given, options = residuals
        pullback, _ = autograd.make_vjp(partial(autograd_gradients, partial(function, **options)))(given)
        return arrays_of(tuple(pullback(tuple(u))))

    return fwd, bwd


def autograd_gradients(function: Function, given: Any) -> Any:
    """The gradients of a function of `autograd.numpy` at `(*arguments, dy)`; autograd can differentiate them again."""
    import autograd
    import autograd.builtins

    *primals, dy = given
    seeds = optree.tree_leaves(dy)

    def arrays(arguments: Any) -> Any:  # autograd differentiates only its own kind of tuple
        leaves = optree.tree_leaves(function(*arguments))
        return leaves[0] if len(leaves) == 1 else autograd.builtins.tuple(leaves)

    pullback, _ = autograd.make_vjp(arrays)(autograd.builtins.tuple(primals))
    found = pullback(seeds[0] if len(seeds) == 1 else autograd.builtins.tuple(seeds))
    return autograd.builtins.tuple([found[i] for i in range(len(primals))])


def gradients_of(reference: Function, convention: str) -> Function:
    """The function `(*arguments, dy) -> gradients` of a reference, by the library to which its arguments belong.

    If these are complex, they and `dy` follow the `convention`, whichever library it is.
    """

    def gradients(*given: Any, **options: Any) -> Any:
        tree: Any = given
        of_torch = any(map(is_tensor, optree.tree_leaves(tree)))
        by_library = _by_torch if of_torch else jax_gradients
        if of_torch == (convention == "torch"):
            return by_library(partial(reference, **options), *given)
        *primals, dy = given
        return _conjugate(by_library(partial(reference, **options), *primals, _conjugate(dy)))

    return update_wrapper(gradients, reference)


def _conjugate(tree: Any) -> Any:
    return optree.tree_map(lambda a: a.conj(), tree)


def jax_gradients(function: Function, *given: Any) -> Any:
    """The gradients of a function of JAX at `(*arguments, dy)`."""
    *primals, dy = given
    return jax_pullback(function, *primals)(dy)


def jax_pullback(function: Function, *primals: Any) -> Function:
    """The gradients of a function of JAX at these arguments, as a function of `dy`."""
    import jax

    value, pullback = jax.vjp(function, *primals)
    return lambda dy: pullback(_like(dy, value))


def _by_torch(function: Function, *given: Any) -> Any:
    import torch

    *primals, dy = given
    tree: Any = tuple(primals)
    leaves, structure = optree.tree_flatten(tree)
    taken = structure.unflatten([leaf.clone() for leaf in leaves])  # torch forbids in-place operations on those themselves
    found = torch_gradients(function(*taken), leaves, dy, create_graph=True)
    return structure.unflatten([torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)])


def torch_gradients(value: Any, leaves: Sequence[Any], dy: Any, **how: Any) -> list[Any]:
    """The gradients of a value of torch by each of the leaves, where `dy` holds tensors or arrays; None where none flows.

    The graph of the value stays for another call.
    """
    import torch

    pairs = zip(optree.tree_leaves(value), optree.tree_leaves(dy), strict=True)
    flowing = [(v, d if is_tensor(d) else tensor(d)) for v, d in pairs if v.requires_grad]
    if not flowing:  # all values are detached or integers
        return [None] * len(leaves)
    values, seeds = zip(*flowing, strict=True)
    return list(torch.autograd.grad(values, leaves, seeds, retain_graph=True, allow_unused=True, **how))


def _like(seeds: Any, value: Any) -> Any:
    """The seeds in the structure and the dtypes of the value. An integer has no seed, for which JAX has a dtype of its own."""
    import jax

    leaves: Sequence[Any] = optree.tree_leaves(seeds)
    values = optree.tree_leaves(value)
    floats = [bool(jax.numpy.issubdtype(v.dtype, jax.numpy.inexact)) for v in values]
    check_shapes(values, [a if f or a.shape != v.shape else v for a, v, f in zip(leaves, values, floats, strict=True)])
    fitted = [
        a.astype(v.dtype) if f else np.zeros(v.shape, jax.dtypes.float0) for a, v, f in zip(leaves, values, floats, strict=True)
    ]
    return optree.tree_unflatten(optree.tree_structure(value), fitted)


def arrays_of(tree: Any) -> Any:
    """A copy of the tree with arrays of NumPy."""
    return optree.tree_map(np.array, tree)
