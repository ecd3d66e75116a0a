"""Functions and modules of torch: as pairs (fwd, bwd), and as references."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial, update_wrapper
from typing import Any

import numpy as np
import optree

from oracle.adapters.pairs import named
from oracle.double_backward import Pair, Twice, by_torch, torch_gradients
from oracle.pullback import Pullback, check_shapes, dtypes_apart, like
from oracle.tensors import array_of, tensor

__all__ = ["function_of", "is_torch", "like_reference", "name_of", "of_torch", "torch_pullback", "torch_reference"]


def of_torch(function: Any) -> Pair:
    """A `torch.autograd.Function`, or a function of tensors. Options of a Function go to the parameters of its `forward`.

    If torch returns None for a gradient, it stays None, which `verify` does not accept for zero. Weights inside the function
    must be float64 (`module.double()`), like the arguments of the finite differences.
    """
    import torch

    function = function_of(function) or function
    call = _apply(function) if isinstance(function, type) else function

    def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
        tree: Any = primals
        given: Any = optree.tree_map(partial(tensor, wanted=True), tree)
        taken = optree.tree_map(torch.clone, given)  # torch forbids in-place operations on the leaves that get gradients
        value = call(*taken, **{k: tensor(o) if isinstance(o, np.ndarray) else o for k, o in options.items()})
        return optree.tree_map(array_of, value), (value, given)

    def bwd(residuals: Any, dy: Any) -> Any:
        value, given = residuals
        found = torch_gradients(value, optree.tree_leaves(given), dy)
        return optree.tree_unflatten(optree.tree_structure(given, none_is_leaf=True), [array_of(g) for g in found])

    fwd.convention = "torch"  # type: ignore[attr-defined]
    return Twice(named(fwd, bwd, function), by_torch(call))


def function_of(op: Any) -> Any:
    """The subclass of `torch.autograd.Function` that this is, or whose `apply` it is; None for anything else."""
    import torch

    owner = getattr(op, "__self__", None) if getattr(op, "__name__", "") == "apply" else op
    return owner if isinstance(owner, type) and issubclass(owner, torch.autograd.Function) else None


def _apply(function: Any) -> Callable[..., Any]:
    """`Function.apply` with keywords. It takes none itself, so they are moved to their positions in `forward`."""
    import torch

    signature = inspect.signature(function.forward)
    if function.setup_context is torch.autograd.Function.setup_context:  # without its own one, forward begins with ctx
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])

    def call(*primals: Any, **options: Any) -> Any:
        try:
            bound = signature.bind(*primals, **options)
        except TypeError as error:
            raise TypeError(f"{function.__name__}.forward: {error}") from None
        bound.apply_defaults()
        return function.apply(*bound.args)

    return call


class _TorchReference:
    """A function of torch tensors that `torch_reference` has marked."""

    def __init__(self, function: Callable[..., Any]) -> None:
        update_wrapper(self, function)
        self.__name__ = name_of(function)
        self.function = function

    def __call__(self, *primals: Any, **options: Any) -> Any:
        return self.function(*primals, **options)


def torch_reference(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a function of torch tensors, or a module, as a reference: `verify(op, x, reference=torch_reference(f))`.

    It is differentiated by `torch.autograd`, at float64 copies of the arguments. `verify` recognizes a function that JAX cannot
    compute and torch can, so the mark is needed only for one that JAX can compute, too, and to leave JAX out.
    """
    if not callable(function):
        raise TypeError(f"torch_reference: expected a function of torch tensors, got {type(function).__name__}")
    return _TorchReference(function)


def like_reference(made: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """A reference that was made of another one, marked as a function of torch if that is."""
    return torch_reference(made) if is_torch(function) else made


def is_torch(function: Any) -> bool:
    """Whether a reference is marked as a function of torch, or is one by its type."""
    torch = sys.modules.get("torch")
    return isinstance(function, _TorchReference) or (torch is not None and isinstance(function, torch.nn.Module))


def name_of(function: Any) -> str:
    """The name of a reference; a module of torch has that of its type."""
    return str(getattr(function, "__name__", type(function).__name__))


def torch_pullback(reference: Callable[..., Any], options: Mapping[str, Any]) -> Callable[[Sequence[Any], Any], Pullback]:
    """A function of primals and a cotangent that gives the value of a torch function and its gradients by autograd."""
    import torch

    function = getattr(reference, "function", reference) if isinstance(reference, _TorchReference) else reference

    def pull(primals: Sequence[Any], cotangent: Any) -> Pullback:
        given: Any = tuple(primals)
        wide = any(leaf.dtype == np.float64 for leaf in optree.tree_leaves(given))
        call, before = function, torch.get_default_dtype()
        if wide and isinstance(function, torch.nn.Module):
            call = copy.deepcopy(function).double()
        fwd, bwd = of_torch(call)
        if wide:
            torch.set_default_dtype(torch.float64)
        try:
            with _in_float64() if wide else nullcontext():
                value, residuals = fwd(*given, **options)
                check_shapes(optree.tree_leaves(value), optree.tree_leaves(cotangent))
                found = bwd(residuals, like(cotangent, value))
        finally:
            torch.set_default_dtype(before)
        leaves = optree.tree_leaves(given)
        gradients = [np.zeros_like(x) if g is None else g
                     for x, g in zip(leaves, optree.tree_leaves(found, none_is_leaf=True), strict=True)]  # fmt: skip
        note = "the reference is a function of torch: the gradient called JAX's here is that of torch.autograd"
        apart = dtypes_apart(value, cotangent)
        if apart is not None:
            note += f"; its value is {apart[0]}, ours {apart[1]}: it was cast"
        cotangents: Any = optree.tree_unflatten(optree.tree_structure(given), gradients)
        return Pullback(like(value, cotangent), cotangents, note)

    return pull


def _in_float64() -> AbstractContextManager[Any]:
    """In this context a narrower tensor beside one in float64 is cast to it, such as a weight of a module in the function."""
    import torch
    from torch.overrides import TorchFunctionMode

    def floats(tree: Any) -> list[Any]:
        return [a for a in optree.tree_leaves(tree) if isinstance(a, torch.Tensor) and a.is_floating_point()]

    def wide(a: Any) -> Any:
        return a.double() if isinstance(a, torch.Tensor) and a.is_floating_point() else a

    class Wide(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given: Any = (args, kwargs or {})
            dtypes = {a.dtype for a in floats(given)}
            if len(dtypes) > 1 and torch.float64 in dtypes:
                given = optree.tree_map(wide, given)
            return func(*given[0], **given[1])

    return Wide()
