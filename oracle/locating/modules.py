"""One run of a torch module: hooks record what goes into each submodule, and the gradient that comes back to it.

A module inside of which no other is called is a stage. One that calls others is a composition, which is looked at if all stages
are right and the whole is not. Each is judged as a function of its own parameters and inputs, in float64, on a deep copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optree

from oracle.adapters import of_torch
from oracle.locating.calls import WHOLE, Call, Record, signed
from oracle.tensors import array_of, tensor

__all__ = ["record"]


def record(net: Any, primals: tuple[Any, ...], options: Mapping[str, Any], dy: Callable[[Any], Any], seed: int) -> Record:
    """The calls of a run; `dy` is a function of the value."""
    import torch

    try:
        made = copy.deepcopy(net).cpu().double()
    except Exception as error:
        raise TypeError(f"locate: {type(net).__name__} cannot be copied: {type(error).__name__}: {error}") from error
    given = [_tensor(p) for p in primals]
    calls: list[tuple[Call, Any]] = []

    entered: list[tuple[Any, tuple[Any, ...]]] = []

    def before(module: Any, args: Any, kwargs: Any) -> None:
        entered.append(_pair(module, args, kwargs, seed))  # an operation in place may write into what it gets

    def hook(path: str) -> Callable[..., None]:
        def after(module: Any, args: Any, kwargs: Any, value: Any) -> None:
            pair, taken = entered.pop()
            outputs = [t for t in optree.tree_leaves(value) if _is_floating(t)]
            if not outputs or not taken:
                return
            y = optree.tree_map(array_of, _values(value))
            call = Call(path or WHOLE, pair, {}, taken, y, type(module).__name__)
            calls.append((call, outputs))
            for i, output in enumerate(outputs):
                if output.requires_grad:
                    output.register_hook(lambda g, call=call, i=i: _arrived(call, i, g))

        return after

    handles = [m.register_forward_pre_hook(before, with_kwargs=True) for m in made.modules()]
    handles += [m.register_forward_hook(hook(path), with_kwargs=True) for path, m in made.named_modules()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        value = made(*given, **options)
    for handle in handles:
        handle.remove()
    outputs = [t for t in optree.tree_leaves(value) if _is_floating(t)]
    upstream = [tensor(a) for a in optree.tree_leaves(dy(optree.tree_map(array_of, _values(value))))]
    note = ""
    try:
        torch.autograd.backward(outputs, upstream)
    except Exception as error:  # a Function of the user's raises: the stages before it get random upstream gradients
        note = f"the backward pass of the net raised {type(error).__name__}: {error}"
    found = Record([], [], note)
    paths = {call.path for call, _ in calls}
    for call, _ in calls:
        _complete(call)
        composed = len(paths) > 1 if call.path == WHOLE else any(path.startswith(f"{call.path}.") for path in paths)
        (found.compositions if composed else found.calls).append(call)
    return found


def _arrived(call: Call, i: int, gradient: Any) -> None:
    """The gradient that reached an output of a call."""
    arrived = call.backward.dy if isinstance(call.backward.dy, dict) else {}
    arrived[i] = arrived[i] + array_of(gradient) if i in arrived else array_of(gradient)
    call.backward.dy = arrived


def _complete(call: Call) -> None:
    """The upstream gradient in the form of the value, and the gradients of the call by itself for it."""
    leaves, structure = optree.tree_flatten(call.y)
    arrived = call.backward.dy if isinstance(call.backward.dy, dict) else None
    call.backward.dy = None
    if arrived is None:
        return
    call.backward.dy = structure.unflatten([np.asarray(arrived.get(i, np.zeros(np.shape(y)))) for i, y in enumerate(leaves)])
    try:
        call.backward.cotangents = call.subject.bwd(call.subject.fwd(*call.primals)[1], call.backward.dy)
    except Exception as error:
        call.backward.trouble = f"the backward pass raised {type(error).__name__}: {error}"


def _pair(module: Any, args: Any, kwargs: Any, seed: int) -> tuple[Any, tuple[Any, ...]]:
    """The module as a pair (fwd, bwd), and its arguments: its parameters, and the tensors of floats that it got."""
    import torch

    own = {name: array_of(p) for name, p in module.named_parameters() if p.requires_grad}
    buffers = {name: b.detach().clone() for name, b in module.named_buffers()}
    given: Any = (args, kwargs)
    leaves, structure = optree.tree_flatten(given)
    kept = [leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    moving = [i for i, leaf in enumerate(leaves) if _is_floating(leaf)]
    inputs = tuple(array_of(leaves[i]) for i in moving)

    def called(*given: Any) -> Any:
        params, xs = (given[0], given[1:]) if own else ({}, given)
        filled = list(kept)
        for i, x in zip(moving, xs, strict=True):
            filled[i] = x
        arguments, named = structure.unflatten(filled)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            state = {**params, **{name: b.clone() for name, b in buffers.items()}}
            return _values(torch.func.functional_call(module, state, arguments, named))

    names = ["x"] if len(inputs) == 1 else [f"x{i}" for i in range(len(inputs))]
    signed(called, type(module).__name__, [*(["params"] if own else []), *names])
    return of_torch(called), ((own, *inputs) if own else inputs)


def _values(value: Any) -> Any:
    """The tensors of floats of a value, as a tree."""
    leaves = [t for t in optree.tree_leaves(value) if _is_floating(t)]
    return leaves[0] if len(leaves) == 1 else tuple(leaves)


def _is_floating(leaf: Any) -> bool:
    import torch

    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point()


def _tensor(primal: Any) -> Any:
    """An argument of the net as a tensor, in float64 if it is one of floats."""
    import torch

    if isinstance(primal, torch.Tensor):
        made = primal.detach().clone()
    elif isinstance(primal, np.ndarray | np.generic | float):
        made = tensor(primal)
    else:
        return primal
    return made.double().requires_grad_(True) if made.is_floating_point() else made
