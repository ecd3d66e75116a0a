"""Which objects `verify` adapts by itself: they show by their type what they are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from oracle.adapters.autograd_functions import of_autograd
from oracle.adapters.calls import course_pair
from oracle.adapters.classes import is_layer, is_net, of_layer
from oracle.adapters.derivatives import derivative_pair
from oracle.adapters.jax_functions import of_jax
from oracle.adapters.jax_modules import of_equinox
from oracle.adapters.pairs import Bound
from oracle.adapters.torch_functions import function_of, of_torch
from oracle.adapters.torch_modules import of_torch_module, reference_for_module
from oracle.double_backward import Pair, pair_of_pairs
from purenet import Op

__all__ = ["KINDS", "adapted", "reference_for", "refusal"]

KINDS = (
    "a purenet.Op, a pair (fwd, bwd) of functions, a function of one argument and its derivative, "
    "an object with forward and backward, "
    "a jax.custom_vjp function, a torch.autograd.Function, a module of torch or equinox, or an autograd primitive "
    "(for a function that calls one, oracle.adapters has of_jax, of_torch and of_autograd; for a net of your own it has of_net)"
)


def adapted(op: Any) -> Pair | Bound | None:
    """The pair of an object with a rule of JAX, torch or autograd, of a module or a layer, of two pairs, or of a derivative.

    None for anything else.
    """
    # An object of a library that is not imported cannot exist.
    jax, torch, equinox = (sys.modules.get(name) for name in ("jax", "torch", "equinox"))
    if jax is not None and isinstance(op, jax.custom_vjp | jax.custom_jvp | jax.stages.Wrapped):
        return of_jax(op)
    if equinox is not None and isinstance(op, equinox.Module) and callable(op):
        return of_equinox(op)
    if torch is not None and isinstance(op, torch.nn.Module):
        return of_torch_module(op)
    if torch is not None and function_of(op) is not None:
        return of_torch(op)
    if getattr(op, "_is_autograd_primitive", False):
        return of_autograd(op)
    if not isinstance(op, Op) and is_layer(op) and not is_net(op):
        return of_layer(op)
    return pair_of_pairs(op) or course_pair(op) or derivative_pair(op)


def reference_for(op: Any, reference: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """The reference as it is called: a module of torch computes with the parameters of the module that it is compared with."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(op, torch.nn.Module) or not isinstance(reference, torch.nn.Module):
        return reference
    return reference_for_module(op, reference)


def refusal(op: Any) -> str:
    """Why this cannot be verified, and what can."""
    name = op.__name__ if isinstance(op, type) else type(op).__name__
    if is_net(op):
        return (
            f"{name} has loss and gradient: give oracle.adapters.of_net(net, x, t), with its data, instead of the net "
            "(for a loss without parameters, of_derivative(loss.loss, loss.gradient, wrt=...))"
        )
    if isinstance(op, type) and any(callable(getattr(op, method, None)) for method in ("forward", "loss")):
        return f"{name} is a class: give an object of it, {name}(...)"
    more = "; a function that returns (value, gradients) goes through oracle.adapters.of_call" if callable(op) else ""
    return f"op must be {KINDS}, got {type(op).__name__}{more}"
