"""One forward and backward pass of a row of `benchmarks.ops` in each library, as its users would write it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optree

from benchmarks.twin import Twin

__all__ = ["OURS", "PEERS", "NoTwin", "Step", "there"]

OURS = "purenet"

Step = Callable[[], Any]
"""Forward and backward of one row, which returns the value and the gradients."""


def arrays_of(twin: Twin, size: int, dtype: str) -> list[Any]:
    generator = np.random.default_rng(0)
    return [leaf.draw(generator, dtype) for leaf in twin.leaves(size)]


def cotangents(shapes: Sequence[tuple[int, ...]], dtype: str) -> list[Any]:
    generator = np.random.default_rng(1)
    return [np.asarray(generator.normal(size=shape), dtype) for shape in shapes]


def by_purenet(twin: Twin, size: int, dtype: str) -> Step:
    import purenet

    op = getattr(purenet, twin.op)
    arguments, options = twin.call(arrays_of(twin, size, dtype))
    leaves, structure = optree.tree_flatten(op(*arguments, **options))
    dy = optree.tree_unflatten(structure, cotangents([np.shape(leaf) for leaf in leaves], dtype))

    def step() -> Any:
        y, residuals = op.fwd(*arguments, **options)
        return y, op.bwd(residuals, dy)

    return step


class Functions:
    """The functions of several modules under one name; that of an earlier module hides that of a later one."""

    def __init__(self, *modules: Any) -> None:
        self.modules = modules

    def __getattr__(self, name: str) -> Any:
        function = next(getattr(module, name) for module in self.modules if hasattr(module, name))
        setattr(self, name, function)  # the next look-up is as fast as that of a module
        return function


def by_torch(twin: Twin, size: int, dtype: str) -> Step:
    import torch

    torch.set_num_threads(1)
    functions = Functions(torch.nn.functional, torch)
    leaves, wanted = twin.leaves(size), []
    tensors = []
    for leaf, array in zip(leaves, arrays_of(twin, size, dtype), strict=True):
        tensors.append(torch.tensor(np.ascontiguousarray(array.T) if leaf.swapped else array))
        if leaf.differentiated:
            wanted.append(tensors[-1].requires_grad_())
    outputs = optree.tree_leaves(twin.torch(functions, *tensors))
    dy = [torch.tensor(a) for a in cotangents([tuple(y.shape) for y in outputs], dtype)]

    def step() -> Any:
        y = twin.torch(functions, *tensors)
        values = [y] if isinstance(y, torch.Tensor) else optree.tree_leaves(y)
        return values, torch.autograd.grad(values, wanted, dy)

    return step


MOST_MEMORY = 2**32
"""Bytes that a compiled reference may need beside its arguments: one that keeps all pairs of rows needs 32 GiB, for minutes."""


def by_jax(twin: Twin, size: int, dtype: str) -> Step:
    import jax

    from oracle import catalogue

    jax.config.update("jax_enable_x64", True)
    reference: Any = getattr(catalogue.find(twin.op), "reference", None)
    if reference is None:
        raise NoTwin
    arrays = arrays_of(twin, size, dtype)
    differentiated = [leaf.differentiated for leaf in twin.leaves(size)]
    given = [jax.numpy.asarray(a) for a, d in zip(arrays, differentiated, strict=True) if d]

    def function(*primals: Any) -> Any:
        left = iter(primals)
        arguments, options = twin.call([next(left) if d else a for a, d in zip(arrays, differentiated, strict=True)])
        return reference(*arguments, **options)

    shapes, structure = jax.tree.flatten(jax.eval_shape(function, *given))
    dy = jax.tree.unflatten(structure, [jax.numpy.asarray(a) for a in cotangents([s.shape for s in shapes], dtype)])

    @jax.jit
    def both(primals: Any, dy: Any) -> Any:
        y, pullback = jax.vjp(function, *primals)
        return y, pullback(dy)

    compiled = both.lower(given, dy).compile()
    if compiled.memory_analysis().temp_size_in_bytes > MOST_MEMORY:
        raise NoTwin
    return lambda: jax.block_until_ready(compiled(given, dy))


def by_autograd(twin: Twin, size: int, dtype: str) -> Step:
    import autograd.numpy
    import autograd.scipy.special
    from autograd import make_vjp
    from autograd.builtins import tuple as tuple_

    if twin.autograd is None:
        raise NoTwin
    twins = twin.autograd
    functions = Functions(autograd.numpy, autograd.scipy.special)
    leaves, arrays = twin.leaves(size), arrays_of(twin, size, dtype)
    given = tuple(a for leaf, a in zip(leaves, arrays, strict=True) if leaf.differentiated)

    def function(primals: Any) -> Any:
        place = iter(range(len(given)))
        return twins(functions, *(primals[next(place)] if f.differentiated else a for f, a in zip(leaves, arrays, strict=True)))

    (dy,) = cotangents([np.shape(function(given))], dtype)

    def step() -> Any:
        pullback, y = make_vjp(function)(tuple_(given))
        return y, pullback(dy)

    return step


class NoTwin(Exception):
    """The library has no such function, or none that fits in memory."""


PEERS: dict[str, tuple[Callable[[Twin, int, str], Step], str]] = {
    OURS: (by_purenet, "purenet"),
    "torch": (by_torch, "torch"),
    "jax": (by_jax, "jax"),
    "autograd": (by_autograd, "autograd"),
}
"""By name: how a row is run there, and the module that must be there."""


def there(peer: str) -> bool:
    """Whether the library is installed."""
    return importlib.util.find_spec(PEERS[peer][1]) is not None
