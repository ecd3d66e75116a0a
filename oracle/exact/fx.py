"""Functions of torch on balls: their torch.fx trace, primitive by primitive.

The trace is decomposed into about 100 primitives, which compute on balls by the rules of `primitives`. What does not depend on
the arguments is left to torch, and so is moving elements: torch moves their numbers.

A trace of float32 numbers is evaluated in float64: these numbers are taken as they are, and nothing is rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optree

from oracle.arrays import RAISED
from oracle.exact.array import BallArray, lifted
from oracle.exact.kinks import WORK, NotExact
from oracle.exact.primitives import MOVES, PRIMITIVES
from oracle.measures import eps_of
from oracle.tensors import array_of, tensor

__all__ = ["forward_of"]

KEPT = frozenset({"slice", "select", "unbind", "split", "split_with_sizes", "diagonal", "flip", "cumsum", "constant_pad_nd"})
"""Functions of torch that are not decomposed: their parts would depend on where the elements lie in memory, or be many."""

APART = 2.0**12
"""Times eps: how far the values of a trace may be from those of the function, as a share of the largest one. The trace sums in
another order, which was 10 eps at most. Some decompositions of torch compute another function, which was 0.1 or more."""


def forward_of(function: Callable[..., Any], primals: Sequence[Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of tensors at these options, as a forward function that can be evaluated on balls shaped like the primals.

    If the primals are float32, so are the weights inside the function, and both are taken as they are, in float64. Otherwise
    these weights must be float64 (`module.double()`).
    """
    import torch

    tree: Any = tuple(primals)
    leaves, structure = optree.tree_flatten(tree)
    constants = {name: tensor(value) if isinstance(value, np.ndarray) else value for name, value in options.items()}
    narrow = bool(leaves) and all(np.asarray(leaf).dtype == np.float32 for leaf in leaves)
    given = [tensor(np.asarray(leaf, np.float32 if narrow else np.float64)) for leaf in leaves]
    of_value: list[Any] = []

    def flat(*tensors: Any) -> Any:
        found, shape = optree.tree_flatten(function(*structure.unflatten(tensors), **constants))
        of_value[:] = [shape]
        return found

    with torch.no_grad(), torch.random.fork_rng(devices=[]):  # what a trace draws is drawn again when it is traced further
        graph, weights = _traced(flat, given, narrow=narrow)
        try:
            right, found = flat(*given), _run(graph, [*(_wide(x) for x in given), *weights])
        except RAISED as error:
            raise NotExact(f"its torch.fx trace cannot be run: {type(error).__name__}: {error}"[:200]) from error
    if not all(_alike(array_of(a), b) for a, b in zip(right, found, strict=True)):
        raise NotExact("its torch.fx trace computes other values")

    def forward(*balls: Any) -> Any:
        tree: Any = balls
        arguments = [one if type(one) is BallArray else _wide(tensor(one)) for one in optree.tree_leaves(tree)]
        with torch.no_grad():
            if narrow or any(type(one) is BallArray for one in arguments):
                return of_value[0].unflatten(_run(graph, [*arguments, *weights]))
            return of_value[0].unflatten([array_of(one) for one in flat(*arguments)])

    return forward


def _wide(one: Any) -> Any:
    """The tensor in float64, if it is float32."""
    return one.double() if str(one.dtype) == "torch.float32" else one


def _alike(right: Any, found: Any) -> bool:
    """Whether these values of the function and of its trace are the same but for rounding."""
    if right.shape != np.shape(found):
        return False
    allowed = APART * eps_of(right.dtype) * np.abs(right).max(initial=0.0) if right.dtype.kind == "f" else 0.0
    return bool(np.allclose(found, right, rtol=0.0, atol=allowed, equal_nan=True))


def _traced(flat: Callable[..., Any], given: Sequence[Any], *, narrow: bool) -> tuple[Any, list[Any]]:
    """The trace in primitives, as a function of these tensors and of the constants inside, and these constants."""
    from torch import Tag
    from torch._decomp import decomposition_table
    from torch.func import functionalize
    from torch.fx.experimental.proxy_tensor import make_fx

    names = {op: op.__name__.partition(".")[0] for op in decomposition_table}
    table = {op: decomposition_table[op] for op, name in names.items() if name not in KEPT and not name.endswith("_")}
    try:
        # What is written into an array becomes a value of its own in a trace that shows it; functions written in C++ do not.
        shown = make_fx(flat)(*given)
        weights = _lifted(shown, narrow=narrow)
        every = [*(_wide(x) if narrow else x for x in given), *weights]
        graph = make_fx(make_fx(functionalize(shown))(*every), decomposition_table=table)(*every)
    except RAISED as error:  # as where Python code depends on the numbers
        raise NotExact(f"torch.fx cannot trace it: {type(error).__name__}: {error}"[:200]) from error
    if any(Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) for node in graph.graph.nodes):
        raise NotExact("draws random numbers")
    _strip(graph)
    return graph, weights


def _lifted(graph: Any, *, narrow: bool) -> list[Any]:
    """Makes the constants of a trace its last arguments, and gives them; float64 in place of float32 if it is `narrow`."""
    import torch
    from torch.fx.node import map_aggregate

    def wide(one: Any) -> Any:
        return torch.float64 if one is torch.float32 else one

    if narrow:
        for node in graph.graph.nodes:
            node.args, node.kwargs = map_aggregate(node.args, wide), map_aggregate(node.kwargs, wide)
    made: dict[str, Any] = {}
    last = [node for node in graph.graph.nodes if node.op == "placeholder"][-1]
    for node in [node for node in graph.graph.nodes if node.op == "get_attr"]:
        if node.target not in made:
            with graph.graph.inserting_after(last):
                made[node.target] = last = graph.graph.placeholder(f"constant_{len(made)}")
        node.replace_all_uses_with(made[node.target])
        graph.graph.erase_node(node)
    graph.recompile()
    weights = [getattr(graph, target).detach() for target in made]
    return [_wide(one) for one in weights] if narrow else weights


def _strip(graph: Any) -> None:
    """Takes away what no value depends on: places of maxima, and what is written into the arguments or the constants last."""
    nodes = list(graph.graph.nodes)
    for i, node in enumerate(nodes):
        if node.op == "call_function" and getattr(node.target, "_schema", None) is not None and node.target._schema.is_mutable:
            into = node.args[0]
            read = any(into in later.all_input_nodes for later in nodes[i + 1 :])
            if node.users or into.op != "placeholder" or read:
                raise NotExact(f"its torch.fx trace writes into an array: {node.target}")
        if "as_strided" in str(node.target):
            known = node.args[0].meta.get("val")
            if known is None or not known.is_contiguous():
                raise NotExact("reads the memory of an array by strides")
    for node in reversed(nodes):
        if node.op == "call_function" and not node.users:
            graph.graph.erase_node(node)


def _run(graph: Any, given: Iterable[Any]) -> list[Any]:
    """The values of a trace: arrays of balls, and arrays of numbers that do not depend on the arguments."""
    from torch.fx.node import map_aggregate, map_arg

    known: dict[Any, Any] = {}
    found: list[Any] = []
    rest = iter(given)
    for node in graph.graph.nodes:
        args, named = map_arg((node.args, node.kwargs), known.__getitem__)
        if node.op == "placeholder":
            known[node] = next(rest)
        elif node.op == "get_attr":
            known[node] = getattr(graph, node.target)
        elif node.op == "output":
            found = [one if type(one) is BallArray else array_of(one) for one in args[0]]
        else:
            known[node] = map_aggregate(_step(node.target, args, named), _as_tensor)
    return found


def _as_tensor(value: Any) -> Any:
    return tensor(value) if type(value) is np.ndarray or isinstance(value, np.generic) else value


def _step(function: Any, args: Any, named: Any) -> Any:
    from torch.fx.node import map_aggregate

    seen: list[Any] = []
    map_aggregate((args, named), seen.append)
    if not hasattr(function, "_schema") or not any(type(one) is BallArray for one in seen):
        return function(*args, **named)
    name = function._schema.name.partition("::")[2]
    args, named = map_aggregate((args, named), lambda one: array_of(one) if hasattr(one, "detach") else one)
    if name in MOVES:
        return _moved(function, args, named)
    if name not in PRIMITIVES:
        raise WORK.refuse(f"no exact rule for the torch primitive {name}")
    return PRIMITIVES[name](*args, **named)


def _moved(function: Any, args: Any, named: Any) -> Any:
    """Where the elements go is found with the numbers of all elements."""
    from torch.fx.node import map_aggregate

    pool: list[Any] = []

    def numbered(one: Any) -> Any:
        if not isinstance(one, np.ndarray):
            return one
        if one.dtype.kind != "f":
            return tensor(one)
        elements = np.asarray(lifted(one), object)
        pool.extend(elements.reshape(-1))
        return tensor(np.arange(len(pool) - elements.size, len(pool)).reshape(elements.shape))

    found = function(*map_aggregate(args, numbered), **named)
    elements = np.empty(len(pool), object)
    elements[:] = pool
    return map_aggregate(found, lambda places: BallArray(elements[array_of(places)]))
