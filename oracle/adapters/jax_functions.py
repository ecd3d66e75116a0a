"""Functions of JAX as pairs (fwd, bwd)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial, update_wrapper
from typing import Any

import numpy as np
import optree

from oracle.adapters.pairs import named
from oracle.adapters.places import Places, places_of
from oracle.double_backward import Pair, Twice, arrays_of, by_jax, jax_gradients, jax_pullback

__all__ = ["jaxs_leaves", "of_jax", "traced", "with_x64"]


def of_jax(function: Callable[..., Any], places: Places | None = None) -> Pair:
    """A function of JAX arrays, differentiated by `jax.vjp` in the dtype of its arguments; keywords are not differentiated.

    The value is that of a plain call. A custom rule may have a forward pass that returns another value; if the two differ,
    the diagnosis of a wrong gradient reports it. `places` says which arguments of the function the pair takes.

    >>> import jax, oracle
    >>> sin = jax.custom_vjp(jax.numpy.sin)
    >>> sin.defvjp(lambda x: (jax.numpy.sin(x), x), lambda x, dy: (dy * jax.numpy.sin(x),))
    >>> print(oracle.verify(sin, np.array([0.5, 1.0])).rows[0].verdict)
    FAIL
    """
    import jax

    call = _of_arrays(function if places is None else places.call(function, _on_device))

    def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
        bound = partial(call, **options)
        with jax.enable_x64(True):
            given = jax.device_put(primals)
            return arrays_of(bound(*given)), _Residuals(bound, given)

    def bwd(residuals: Any, dy: Any) -> Any:
        with jax.enable_x64(True):
            return arrays_of(residuals.gradients(jax.device_put(dy)))

    def differentiated(*primals: Any, **options: Any) -> Any:
        with jax.enable_x64(True):
            return arrays_of(jax.vjp(partial(call, **options), *jax.device_put(primals))[0])

    def place(given: Sequence[Any]) -> tuple[Pair, Places]:
        declared = getattr(function, "nondiff_argnums", ())
        found = places_of(given, jaxs_leaves, numbers=True, constants=declared)
        return of_jax(function, found), found

    fwd.value_by_rule = differentiated  # type: ignore[attr-defined]
    fwd.place = place  # type: ignore[attr-defined]
    fwd.traceable = "jax", call  # type: ignore[attr-defined]
    pair = named(fwd, bwd, function, places)
    fwd.__wrapped__ = call if places is not None else function  # type: ignore[attr-defined]
    fwd.compiled, bwd.compiled = _compiled(pair, call)  # type: ignore[attr-defined]
    return Twice(pair, by_jax(call))


def _compiled(pair: Pair, call: Callable[..., Any]) -> Pair:
    """The same pair, compiled; its function has `many`, which evaluates many points at once.

    In 16 bits XLA rounds a compiled function less often than a plain call, so there a plain call is made. So it is where a
    function cannot be compiled, because its Python code depends on values.
    """
    import jax

    plain_fwd, plain_bwd = pair
    programs: dict[Any, Any] = {}

    def program(kind: Any, options: Mapping[str, Any], made: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
        """A function that is compiled for each value of those options that are no arrays.

        It takes arrays of NumPy: to move them to the device first takes longer than the call.
        """
        from oracle.compiling import compiled_for_shapes

        static = {name: option for name, option in options.items() if not isinstance(option, np.ndarray | jax.Array)}
        key = kind, tuple(sorted(static.items()))
        if key not in programs:
            programs[key] = compiled_for_shapes(lambda arrays, *given: made(partial(call, **static, **arrays))(*given))
        arrays = {name: jax.numpy.asarray(option) for name, option in options.items() if name not in static}
        return partial(programs[key], arrays)

    def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
        tree: Any = primals
        if all(np.asarray(leaf).dtype in (np.float64, np.float32) for leaf in optree.tree_leaves(tree)):
            try:
                given = arrays_of(primals)  # a caller may write into its arrays before the backward pass
                with jax.enable_x64(True):
                    return arrays_of(program("value", options, lambda f: f)(*given)), _Compiled(given, options)
            except Exception:  # its Python code depends on values, or it raises for these arguments
                return plain_fwd(*primals, **options)  # type: ignore[no-any-return]
        return plain_fwd(*primals, **options)  # type: ignore[no-any-return]

    def bwd(residuals: Any, dy: Any) -> Any:
        if not isinstance(residuals, _Compiled):
            return plain_bwd(residuals, dy)
        given, options = residuals
        try:
            with jax.enable_x64(True):
                found = program("gradients", options, lambda f: partial(jax_gradients, f))(*given, arrays_of(dy))
                return arrays_of(found)
        except Exception:  # as above, in the rule's backward pass
            return plain_bwd(plain_fwd(*given, **options)[1], dy)

    def many(i: int, primals: Any, **options: Any) -> Any:
        leaves, structure = optree.tree_flatten(primals)
        axes: Any = structure.unflatten([0 if k == i else None for k in range(len(leaves))])
        with jax.enable_x64(True):
            at_all = program(("many", i), options, lambda f: jax.vmap(f, in_axes=axes))
            return arrays_of(at_all(*arrays_of(primals)))

    update_wrapper(fwd, plain_fwd)
    fwd.__wrapped__ = plain_fwd.__wrapped__  # type: ignore[attr-defined]
    fwd.many = many  # type: ignore[attr-defined]
    return fwd, bwd


class _Residuals:
    """What a backward pass needs: the pullback of JAX, which the first one makes."""

    def __init__(self, function: Callable[..., Any], given: Any) -> None:
        self._made: Callable[[Any], Any] | None = None
        self._function = function
        self._given = given

    def gradients(self, dy: Any) -> Any:
        if self._made is None:
            self._made = jax_pullback(self._function, *self._given)
        return self._made(dy)


class _Compiled(tuple[Any, Any]):
    """The residuals of a compiled forward pass: its arguments and its options."""

    __slots__ = ()

    def __new__(cls, given: Any, options: Any) -> _Compiled:
        return super().__new__(cls, (given, options))


def _of_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its value in a tree that optree knows, too: a class that only JAX knows becomes a dict."""

    def called(*primals: Any, **options: Any) -> Any:
        value = function(*primals, **options)
        paths, leaves, _ = jaxs_leaves(value)
        if all(hasattr(leaf, "dtype") or isinstance(leaf, int | float | complex) for leaf in optree.tree_leaves(value)):
            return value
        return {path: leaf for path, leaf in zip(paths, leaves, strict=True) if leaf is not None}

    update_wrapper(called, function, updated=())
    return called


def _on_device(tree: Any) -> Any:
    """The tree with an array of JAX for each array of NumPy; numbers stay numbers, which may be static arguments."""
    import jax

    return jax.tree_util.tree_map(lambda leaf: jax.numpy.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, tree)


def jaxs_leaves(tree: Any) -> tuple[list[str], list[Any], Callable[[list[Any]], Any]]:
    """The leaves of a tree of any classes that are registered with JAX, such as modules of equinox; None is a leaf."""
    import jax

    found, made = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda leaf: leaf is None)
    structure: Any = made
    paths = [".".join(_step(entry) for entry in path) for path, _ in found]
    return paths, [leaf for _, leaf in found], structure.unflatten


def _step(entry: Any) -> str:
    """One entry of a path: the name of a field, a key or a number."""
    return str(next(getattr(entry, kind) for kind in ("name", "key", "idx") if hasattr(entry, kind)))


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
