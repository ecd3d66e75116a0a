"""Which objects `verify` adapts by itself: they show by their type what they are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from oracle.adapters.autograd_functions import of_autograd
from oracle.adapters.jax_functions import of_jax
from oracle.adapters.jax_modules import of_equinox
from oracle.adapters.pairs import Bound
from oracle.adapters.torch_functions import function_of, of_torch
from oracle.adapters.torch_modules import of_torch_module, reference_for_module
from oracle.double_backward import Pair, pair_of_pairs

__all__ = ["KINDS", "adapted", "reference_for"]

KINDS = (
    "a purenet.Op, a pair (fwd, bwd) of functions, "
    "a jax.custom_vjp function, a torch.autograd.Function, a module of torch or equinox, or an autograd primitive "
    "(for a function that calls one, oracle.adapters has of_jax, of_torch and of_autograd)"
)


def adapted(op: Any) -> Pair | Bound | None:
    """The pair of an object with a rule of JAX, torch or autograd, of a module, or of two pairs; None for anything else."""
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
    return pair_of_pairs(op)


def reference_for(op: Any, reference: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """The reference as it is called: a module of torch computes with the parameters of the module that it is compared with."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(op, torch.nn.Module) or not isinstance(reference, torch.nn.Module):
        return reference
    return reference_for_module(op, reference)
