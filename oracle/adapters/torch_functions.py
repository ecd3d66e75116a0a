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

from oracle.adapters.chance import Chance
from oracle.adapters.pairs import named
from oracle.adapters.places import Places, places_of, torchs_leaves
from oracle.double_backward import Pair, Twice, by_torch, torch_gradients
from oracle.pullback import Pullback, check_shapes, dtypes_apart, like
from oracle.tensors import array_of, is_tensor, no_gradient, tensor

__all__ = [
    "function_of",
    "in_float64",
    "is_torch",
    "like_reference",
    "name_of",
    "of_torch",
    "tensors_of",
    "torch_pullback",
    "torch_reference",
]


def of_torch(function: Any, places: Places | None = None) -> Pair:
    """A `torch.autograd.Function`, or a function of tensors. Options of a Function go to the parameters of its `forward`.

    If torch computes no gradient by an argument, and returns None, that is zero: it is right if the true gradient is zero.
    Weights inside the function must be float64 (`module.double()`), like the arguments of the finite differences; those of a
    module that is verified itself are. Each forward pass begins with the same random numbers. `places` says which arguments of
    the function the pair takes.
    """
    import torch

    function = function_of(function) or function
    is_rule = isinstance(function, type)
    chance = Chance()
    call = chance.fixed(_without_marked(_apply(function)) if is_rule else function)
    forward = chance.fixed(_forward(function) if is_rule else function)
    if places is not None:
        call, forward = (places.call(one, tensors_of) for one in (call, forward))

    def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
        tree: Any = primals
        given: Any = optree.tree_map(partial(tensor, wanted=True), tree)
        taken = optree.tree_map(torch.clone, given)  # torch forbids in-place operations on the leaves that get gradients
        value = call(*taken, **{name: tensors_of(option) for name, option in options.items()})
        return optree.tree_map(array_of, value), (value, given)

    def bwd(residuals: Any, dy: Any) -> Any:
        value, given = residuals
        leaves = optree.tree_leaves(given)
        found = torch_gradients(value, leaves, dy)
        return optree.tree_unflatten(
            optree.tree_structure(given),
            [no_gradient(array_of(leaf)) if g is None else array_of(g) for g, leaf in zip(found, leaves, strict=True)],
        )

    def many(i: int, primals: Any, **options: Any) -> Any:
        leaves, structure = optree.tree_flatten(primals)
        made = [tensor(leaf) for leaf in leaves]
        constants = {name: tensors_of(option) for name, option in options.items()}

        def at(one: Any) -> Any:
            return forward(*structure.unflatten([*made[:i], one, *made[i + 1 :]]), **constants)

        with torch.no_grad():
            return optree.tree_map(array_of, torch.func.vmap(at)(made[i]))

    def place(given: Sequence[Any]) -> tuple[Pair, Places]:
        found = places_of(given, torchs_leaves, numbers=False)
        return of_torch(function, found), found

    fwd.convention = "torch"  # type: ignore[attr-defined]
    fwd.many = many  # type: ignore[attr-defined]
    fwd.note = getattr(function, "note", chance.note)  # type: ignore[attr-defined]
    fwd.place = place  # type: ignore[attr-defined]
    fwd.traceable = "torch", forward  # type: ignore[attr-defined]
    return Twice(named(fwd, bwd, function, places), by_torch(call))


def tensors_of(tree: Any) -> Any:
    """The tree with a tensor for each array of NumPy."""
    return optree.tree_map(lambda leaf: tensor(leaf) if isinstance(leaf, np.ndarray) else leaf, tree, none_is_leaf=True)


def function_of(op: Any) -> Any:
    """The subclass of `torch.autograd.Function` that this is, or whose `apply` it is; None for anything else."""
    import torch

    owner = getattr(op, "__self__", None) if getattr(op, "__name__", "") == "apply" else op
    return owner if isinstance(owner, type) and issubclass(owner, torch.autograd.Function) else None


def _arguments(function: Any) -> tuple[Callable[[Any, Any], tuple[Any, ...]], bool]:
    """A function that moves keywords to their positions in `forward`, since `apply` takes none; and whether that has a ctx."""
    import torch

    signature = inspect.signature(function.forward)
    has_context = function.setup_context is torch.autograd.Function.setup_context
    if has_context:  # forward begins with it
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])

    def arguments(primals: Any, options: Any) -> tuple[Any, ...]:
        try:
            bound = signature.bind(*primals, **options)
        except TypeError as error:
            raise TypeError(f"{function.__name__}.forward: {error}") from None
        bound.apply_defaults()
        return bound.args

    return arguments, has_context


def _apply(function: Any) -> Callable[..., Any]:
    """`Function.apply` with keywords."""
    arguments, _ = _arguments(function)

    def call(*primals: Any, **options: Any) -> Any:
        return function.apply(*arguments(primals, options))

    return call


def _without_marked(call: Callable[..., Any]) -> Callable[..., Any]:
    """The rule without those floating-point values that it has marked as not differentiable: no gradient flows from these."""

    def called(*primals: Any, **options: Any) -> Any:
        value = call(*primals, **options)
        if not isinstance(value, tuple):
            return value
        return tuple(v for v in value if not is_tensor(v) or v.requires_grad or not v.is_floating_point())

    return called


class _Context:
    """Stands for torch's `ctx` where only the value is wanted."""

    def __init__(self) -> None:
        self.marked: tuple[Any, ...] = ()
        self.needs_input_grad = _Yes()

    def save_for_backward(self, *tensors: Any) -> None:
        self.saved_tensors = tensors

    save_for_forward = save_for_backward

    def mark_non_differentiable(self, *tensors: Any) -> None:
        self.marked = tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """Which arguments were written to is of no interest here."""

    def set_materialize_grads(self, value: bool) -> None:
        """There is no backward pass."""


class _Yes(tuple[bool, ...]):
    """Each input needs a gradient."""

    __slots__ = ()

    def __getitem__(self, i: Any) -> Any:
        return True


def _forward(function: Any) -> Callable[..., Any]:
    """The forward pass of a rule as a plain function of tensors. `torch.func` cannot transform most rules themselves."""
    arguments, has_context = _arguments(function)

    def call(*primals: Any, **options: Any) -> Any:
        given, ctx = arguments(primals, options), _Context()
        if has_context:
            value = function.forward(ctx, *given)
        else:
            value = function.forward(*given)
            function.setup_context(ctx, given, value)
        if not isinstance(value, tuple):
            return value
        return tuple(v for v in value if not (any(v is m for m in ctx.marked) and v.is_floating_point()))

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
            with in_float64() if wide else nullcontext():
                value, residuals = fwd(*given, **options)
                check_shapes(optree.tree_leaves(value), optree.tree_leaves(cotangent))
                found = bwd(residuals, like(cotangent, value))
        finally:
            torch.set_default_dtype(before)
        note = "the reference is a function of torch: the gradient called JAX's here is that of torch.autograd"
        apart = dtypes_apart(value, cotangent)
        if apart is not None:
            note += f"; its value is {apart[0]}, ours {apart[1]}: it was cast"
        cotangents: Any = optree.tree_map(np.asarray, found)  # zeros for None
        return Pullback(like(value, cotangent), cotangents, note)

    return pull


def in_float64() -> AbstractContextManager[Any]:
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
