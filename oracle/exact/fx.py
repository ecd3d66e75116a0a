"""Functions of torch on balls: their torch.fx trace, primitive by primitive.

The trace is decomposed into about 100 primitives. What does not depend on the arguments is left to torch, and so is moving
elements: torch moves their numbers. `PRIMITIVES` computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import optree

from oracle.arrays import RAISED
from oracle.exact.array import BallArray, lifted
from oracle.exact.jaxpr import ELEMENTWISE, correlated, padded
from oracle.exact.kinks import WORK, NotExact
from oracle.tensors import array_of, tensor

__all__ = ["forward_of"]

KEPT = frozenset({"slice", "select", "unbind", "split", "split_with_sizes", "diagonal", "flip", "cumsum", "constant_pad_nd"})
"""Functions of torch that are not decomposed: their parts would depend on where the elements lie in memory, or be many."""

MOVES = frozenset(
    {"broadcast_in_dim", "transpose", "squeeze", "split_dim", "collapse_view", "view_of", "clone", "rev", "cat", "gather"}
    | {"index", "index_select", "flip", "slice", "select", "unbind", "split", "split_with_sizes", "diagonal"}
)
"""Primitives that move elements and do not compute with them."""


def forward_of(function: Callable[..., Any], primals: Sequence[Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of tensors at these options, as a forward function that can be evaluated on balls shaped like the primals.

    Weights inside the function must be float64 (`module.double()`).
    """
    from torch import Tag
    from torch._decomp import decomposition_table
    from torch.func import functionalize
    from torch.fx.experimental.proxy_tensor import make_fx

    tree: Any = tuple(primals)
    leaves, structure = optree.tree_flatten(tree)
    constants = {name: tensor(value) if isinstance(value, np.ndarray) else value for name, value in options.items()}
    of_value: list[Any] = []

    def flat(*given: Any) -> Any:
        found, shape = optree.tree_flatten(function(*structure.unflatten(given), **constants))
        of_value[:] = [shape]
        return found

    table = {op: made for op, made in decomposition_table.items() if op.__name__.partition(".")[0] not in KEPT}
    try:
        graph = make_fx(functionalize(flat), decomposition_table=table)(
            *(tensor(np.asarray(leaf, np.float64)) for leaf in leaves)
        )
    except RAISED as error:  # as where Python code depends on the numbers
        raise NotExact(f"torch.fx cannot trace it: {type(error).__name__}: {error}"[:200]) from error
    if any(Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) for node in graph.graph.nodes):
        raise NotExact("draws random numbers")

    def forward(*balls: Any) -> Any:
        given: Any = balls
        return of_value[0].unflatten(_run(graph, iter(optree.tree_leaves(given))))

    return forward


def _run(graph: Any, given: Iterator[Any]) -> Any:
    """The values of a trace: arrays of balls, and arrays of numbers that do not depend on the arguments."""
    from torch.fx.node import map_aggregate, map_arg

    known: dict[Any, Any] = {}
    found: Any = []
    for node in graph.graph.nodes:
        args, named = map_arg((node.args, node.kwargs), known.__getitem__)
        if node.op == "placeholder":
            one = next(given)
            known[node] = one if type(one) is BallArray else tensor(one)
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


# -------------------------------------------------------------------------------------------- the primitives


def _reduced(function: Callable[..., Any], x: Any, dims: Any = None, **options: Any) -> Any:
    return function(x, axis=None if dims is None else tuple(dims))


def _variance(x: Any, dims: Any = None, correction: float = 1.0, **options: Any) -> Any:
    return np.var(x, axis=None if dims is None else tuple(dims), ddof=correction)


def _converted(x: Any, dtype: Any) -> Any:
    return x.astype(np.dtype(str(dtype).partition(".")[2]))


def _convolution(
    x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, extra: Any, groups: int
) -> Any:
    if transposed:
        raise WORK.refuse("a transposed convolution of torch")
    y = correlated(x, w, [(p, p) for p in padding], stride, dilation, groups)
    return y if bias is None else y + bias.reshape(-1, *(1,) * len(stride))


def _most(argument: Callable[..., Any], x: Any, dim: int, keepdim: bool = False) -> Any:
    where = np.expand_dims(np.asarray(argument(x, dim)), dim)
    both = np.take_along_axis(x, where, dim), where
    return both if keepdim else tuple(np.squeeze(one, dim) for one in both)


PRIMITIVES: dict[str, Callable[..., Any]] = {
    **ELEMENTWISE,
    "maximum": np.maximum, "minimum": np.minimum, "fmod": np.fmod, "remainder": np.remainder, "hypot": np.hypot,
    "log2": np.log2, "log10": np.log10, "reciprocal": np.reciprocal, "trunc": np.trunc, "round": np.rint,
    "signbit": np.signbit, "isfinite": np.isfinite, "where": np.where,
    "sum": partial(_reduced, np.sum), "prod": partial(_reduced, np.prod), "var": _variance,
    "amax": partial(_reduced, np.max), "amin": partial(_reduced, np.min),
    "max": partial(_most, np.argmax), "min": partial(_most, np.argmin), "cumsum": np.cumsum,
    "mm": np.matmul, "bmm": np.matmul, "convolution": _convolution, "convert_element_type": _converted,
    "full_like": lambda x, value, **options: np.full(x.shape, value),
    "constant_pad_nd": lambda x, pads, fill=0.0: padded(x, [*zip(pads[::2], pads[1::2], strict=True)][::-1], fill),
}  # fmt: skip
