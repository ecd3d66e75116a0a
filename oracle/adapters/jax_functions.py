"""Functions of JAX as pairs (fwd, bwd)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import optree

from oracle.adapters.pairs import named
from oracle.double_backward import Pair, Twice, arrays_of, by_jax, jax_gradients

__all__ = ["of_jax", "traced", "with_x64"]


def of_jax(function: Callable[..., Any]) -> Pair:
    """A function of JAX arrays, differentiated by `jax.vjp` in the dtype of its arguments; keywords are not differentiated.

    The value is that of a plain call. A custom rule may have a forward pass that returns another value; if the two differ,
    the diagnosis of a wrong gradient reports it.

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
            return arrays_of(bound(*given)), (bound, given)

    def bwd(residuals: Any, dy: Any) -> Any:
        bound, given = residuals
        with jax.enable_x64(True):
            return arrays_of(jax_gradients(bound, *given, jax.device_put(dy)))

    def differentiated(*primals: Any, **options: Any) -> Any:
        with jax.enable_x64(True):
            return arrays_of(jax.vjp(partial(function, **options), *jax.device_put(primals))[0])

    fwd.value_by_rule = differentiated  # type: ignore[attr-defined]
    return Twice(named(fwd, bwd, function), by_jax(function))


def traced(function: Callable[..., Any], primals: Sequence[Any], options: Mapping[str, Any]) -> tuple[Any, Any]:
    """The jaxpr of a function of JAX in float64 at these options, and the structure of its value."""
    import jax

    with jax.enable_x64(True):
        tree: Any = tuple(primals)
        wide: Any = optree.tree_map(lambda leaf: np.asarray(leaf, np.float64), tree)
        closed, value = jax.make_jaxpr(partial(function, **options), return_shape=True)(*wide)
    return closed, optree.tree_structure(value)


def with_x64() -> AbstractContextManager[Any]:
    """A context in which JAX computes in float64."""
    import jax

    context: AbstractContextManager[Any] = jax.enable_x64(True)
    return context
