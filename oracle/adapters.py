"""Functions that other libraries differentiate by a rule of their own, as pairs that `verify` takes.

`verify` adapts a `jax.custom_vjp` or `jax.custom_jvp` function, a subclass of `torch.autograd.Function` and an autograd
primitive by itself. A function that only calls one of them looks like any other: name its library with `of_jax`, `of_torch`
or `of_autograd`. Nothing is imported here before it is asked for.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import optree

__all__ = ["KINDS", "Pair", "adapted", "named", "of_autograd", "of_jax", "of_torch"]

Pair: TypeAlias = tuple[Callable[..., Any], Callable[..., Any]]

KINDS = (
    "a purenet.Op, a pair (fwd, bwd) of functions, "
    "a jax.custom_vjp function, a torch.autograd.Function or an autograd primitive"
)


def adapted(op: Any) -> Pair | None:
    """The pair of what carries a rule of its own; None for anything else."""
    jax, torch = sys.modules.get("jax"), sys.modules.get("torch")  # whoever has such an object has imported its library
    if jax is not None and isinstance(op, jax.custom_vjp | jax.custom_jvp):
        return of_jax(op)
    if torch is not None and isinstance(op, type) and issubclass(op, torch.autograd.Function):
        return of_torch(op)
    if getattr(op, "_is_autograd_primitive", False):
        return of_autograd(op)
    return None


def of_jax(function: Callable[..., Any]) -> Pair:
    """A function of JAX arrays, differentiated by `jax.vjp` in the dtype of its arguments; keywords are not differentiated.

    The value is that of a plain call, which a custom rule may compute otherwise than its own forward pass.

    >>> import jax, oracle
    >>> sin = jax.custom_vjp(jax.numpy.sin)
    >>> sin.defvjp(lambda x: (jax.numpy.sin(x), x), lambda x, dy: (dy * jax.numpy.sin(x),))
    >>> print(oracle.verify(sin, np.array([0.5, 1.0])).rows[0].verdict)
    FAIL
    """
    import jax

    def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
        bound = partial(function, **options)
        with jax.enable_x64(True):
            given = jax.device_put(primals)
            return _arrays(bound(*given)), (bound, given)

    def bwd(residuals: Any, dy: Any) -> Any:
        bound, given = residuals
        with jax.enable_x64(True):
            value, pullback = jax.vjp(bound, *given)
            leaves = optree.tree_leaves(jax.device_put(dy))
            return _arrays(pullback(optree.tree_unflatten(optree.tree_structure(value), leaves)))

    return named(fwd, bwd, function)


def of_torch(function: Any) -> Pair:
    """A `torch.autograd.Function`, or a function of tensors. Options of a Function go to the parameters of its `forward`.

    A gradient that torch gives as None stays None, which `verify` does not take for zero.
    """
    import torch

    call = _apply(function) if isinstance(function, type) else function

    def tensor(array: Any, *, wanted: bool = False) -> Any:
        array = np.array(array, order="C")  # torch has no negative strides
        narrow = array.dtype.name == "bfloat16"
        made = torch.tensor(array.astype(np.float32)).to(torch.bfloat16) if narrow else torch.tensor(array)
        return made.requires_grad_(wanted)

    def array_of(made: Any) -> Any:
        if made is None:
            return None
        if made.dtype == torch.bfloat16:
            import ml_dtypes

            return made.detach().float().numpy().astype(ml_dtypes.bfloat16)
        return made.detach().numpy().copy()

    def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
        tree: Any = primals
        given: Any = optree.tree_map(partial(tensor, wanted=True), tree)
        value = call(*given, **{k: tensor(o) if isinstance(o, np.ndarray) else o for k, o in options.items()})
        return optree.tree_map(array_of, value), (value, given)

    def bwd(residuals: Any, dy: Any) -> Any:
        value, given = residuals
        found = torch.autograd.grad(
            optree.tree_leaves(value),
            optree.tree_leaves(given),
            [tensor(d) for d in optree.tree_leaves(dy)],
            retain_graph=True,
            allow_unused=True,
        )
        return optree.tree_unflatten(optree.tree_structure(given, none_is_leaf=True), [array_of(g) for g in found])

    return named(fwd, bwd, function)


def _apply(function: Any) -> Callable[..., Any]:
    """`Function.apply` takes no keywords: they are put where its `forward` has them."""
    import torch

    signature = inspect.signature(function.forward)
    if function.setup_context is torch.autograd.Function.setup_context:  # not its own: then forward has a ctx first
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])

    def call(*primals: Any, **options: Any) -> Any:
        bound = signature.bind(*primals, **options)
        bound.apply_defaults()
        return function.apply(*bound.args)

    return call


def of_autograd(function: Any) -> Pair:
    """An autograd primitive, or a function of `autograd.numpy`; keywords are not differentiated."""
    import autograd

    def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
        return _arrays(function(*primals, **options)), (primals, options)

    def bwd(residuals: Any, dy: Any) -> Any:
        primals, options = residuals
        pullback, _ = autograd.make_vjp(lambda arguments: function(*arguments, **options))(primals)
        return _arrays(pullback(dy))

    return named(fwd, bwd, function)


def _arrays(tree: Any) -> Any:
    return optree.tree_map(np.array, tree)


def named(fwd: Any, bwd: Any, function: Any) -> Pair:
    """The pair under the name of what it adapts, and with its arguments, as reports show them."""
    fwd.__name__ = getattr(function, "__name__", type(function).__name__)
    fwd.__module__ = getattr(function, "__module__", None) or "__main__"
    fwd.__wrapped__ = function  # where it is written
    target = getattr(function, "forward" if isinstance(function, type) else "fun", function)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return fwd, bwd
    parameters = [p for p in signature.parameters.values() if p.name != "ctx"]
    fwd.__signature__ = signature.replace(parameters=parameters)
    return fwd, bwd
