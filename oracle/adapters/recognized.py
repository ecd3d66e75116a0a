"""Which objects `verify` adapts by itself: they show by their type what they are."""

from __future__ import annotations

import sys
from typing import Any

from oracle.adapters.autograd_functions import of_autograd
from oracle.adapters.jax_functions import of_jax
from oracle.adapters.torch_functions import function_of, of_torch
from oracle.double_backward import Pair, pair_of_pairs

__all__ = ["KINDS", "adapted"]

KINDS = (
    "a purenet.Op, a pair (fwd, bwd) of functions, "
    "a jax.custom_vjp function, a torch.autograd.Function or an autograd primitive "
    "(for a function that calls one, oracle.adapters has of_jax, of_torch and of_autograd)"
)


def adapted(op: Any) -> Pair | None:
    """The pair of an object with a rule of JAX, torch or autograd, or of two pairs; None for anything else."""
    jax, torch = sys.modules.get("jax"), sys.modules.get("torch")  # an object of a library that is not imported cannot exist
    if jax is not None and isinstance(op, jax.custom_vjp | jax.custom_jvp | jax.stages.Wrapped):
        return of_jax(op)
    if torch is not None and function_of(op) is not None:
        return of_torch(op)
    if getattr(op, "_is_autograd_primitive", False):
        return of_autograd(op)
    return pair_of_pairs(op)
