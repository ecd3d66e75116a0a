"""Functions as courses and tutorials write them: value and gradients at once, forward and backward, or an engine."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optree

from oracle.adapters.calling import as_gradient, as_value, called, inputs_of, labelled, one_for_each
from oracle.adapters.copying import children
from oracle.double_backward import Pair, is_pair
from oracle.text import listed

__all__ = ["by_name", "course_pair", "differentiated", "like_its_argument", "of_call", "of_engine", "of_functions"]

CACHE = re.compile(r"_?(cache|caches|saved|saved_.*|residuals|ctx|tape|memory)\Z")
"""How the parameter of a backward pass is called that gets what the forward pass has kept."""
UPSTREAM = re.compile(r"d[A-Za-z]\w*\Z|grad\w*\Z|upstream\w*\Z|g\Z")
"""How the parameter is called that gets the upstream gradient: `dout`, `dscores`, `grad_output`."""
BY_ADDRESS = (
    "its gradients depend on the order in which it visits the values, and equal calls have different orders, since a set is "
    "ordered by addresses in memory; where each gradient is added to (+=), the order does not matter: is there a = in place of "
    "a +=, or is a gradient passed on before it is complete?"
)


def of_call(function: Callable[..., Any], wrt: str | Sequence[str] | None = None) -> Pair:
    """A function that returns its value and its gradients: `f(params, x, t) -> (loss, grads)`.

    `oracle.verify(of_call(f, wrt="params"), params, options={"x": x, "t": t})`. The value is one number.

    Args:
        function: the gradients are a dict by the names of the arguments (`"w"` or `"dw"`), or a tuple in the order of `wrt`. Of
            a single argument they may be its gradient alone.
        wrt: the names of the differentiated arguments, in the order in which `verify` gets them. By default all that can be
            passed by position. What `function` needs beside them is passed as `options`.

    """
    if not callable(function):
        raise TypeError(f"of_call: expected a function that returns (value, gradients), got {type(function).__name__}")
    name, names = getattr(function, "__name__", type(function).__name__), differentiated("of_call", function, wrt)

    def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
        result = function(**dict(zip(names, primals, strict=False)), **options)
        if not isinstance(result, tuple) or len(result) != 2:
            got = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
            raise TypeError(f"{name} returned {got}, expected (value, gradients)")
        if np.size(result[0]) != 1:
            raise TypeError(
                f"{name} returned a value of shape {np.shape(result[0])}; its gradients can be those of one number only"
            )
        gradients = tuple(like_its_argument(g, p) for g, p in zip(by_name(result[1], names, name), primals, strict=True))
        return as_value(np.asarray(result[0]).reshape(()), primals), gradients

    def bwd(gradients: Any, dy: Any) -> tuple[Any, ...]:
        scaled: Any = optree.tree_map(lambda g: np.asarray(g * np.asarray(dy, g.dtype)), gradients)
        return tuple(scaled)

    labelled(fwd, name, function, names)
    labelled(bwd, f"{name} (gradients)", function, ())
    return fwd, bwd


def differentiated(who: str, function: Callable[..., Any], wrt: str | Sequence[str] | None) -> list[str]:
    """The names of the arguments that an adapter's caller wants to differentiate: those in `wrt`, or all."""
    known = inputs_of(function)
    names = [wrt] if isinstance(wrt, str) else list(known if wrt is None else wrt)
    unknown = [n for n in names if n not in known]
    if unknown or not names:
        name = getattr(function, "__name__", type(function).__name__)
        raise TypeError(
            f"{who}: wrt names {listed(unknown) or 'nothing'}; the arguments of {name} are {listed(known) or 'unknown'}"
        )
    return names


def by_name(gradients: Any, names: Sequence[str], who: str) -> list[Any]:
    """The gradients in the order of the arguments; None for one that is missing among others."""
    if isinstance(gradients, Mapping):
        keys = [next((k for k in (n, f"d{n}", f"d_{n}", f"grad_{n}", f"{n}_grad") if k in gradients), None) for n in names]
        if any(key is not None for key in keys):
            return [None if key is None else gradients[key] for key in keys]
        if len(names) == 1:
            return [gradients]
        raise TypeError(f"{who} returned gradients of {', '.join(map(str, gradients))}, expected {listed(list(names))}")
    if len(names) == 1:
        single = isinstance(gradients, tuple) and len(gradients) == 1
        return [gradients[0] if single else gradients]
    if not isinstance(gradients, tuple | list) or len(gradients) != len(names):
        got = f"{len(gradients)} gradients" if isinstance(gradients, tuple | list) else f"a single {type(gradients).__name__}"
        raise TypeError(f"{who} returned {got}, expected one for each of {listed(list(names))} (wrt names those that it is of)")
    return list(gradients)


def like_its_argument(gradient: Any, primal: Any) -> Any:
    """The gradient in the structure of its argument, if it has its parts; a dict may have keys such as `dw` for `w`."""
    if isinstance(primal, Mapping) and isinstance(gradient, Mapping):
        return {k: like_its_argument(gradient.get(k, gradient.get(f"d{k}")), v) for k, v in primal.items()}
    if isinstance(primal, list | tuple) and isinstance(gradient, list | tuple) and len(primal) == len(gradient):
        return type(primal)([like_its_argument(g, p) for g, p in zip(gradient, primal, strict=True)])
    return as_gradient(gradient, primal) if not isinstance(gradient, Mapping) else gradient


# ------------------------------------------------------------------------------------- (forward, backward)


def of_functions(forward: Callable[..., Any], backward: Callable[..., Any]) -> Pair:
    """Two functions, `forward(x, w, b) -> (out, cache)` and `backward(dout, cache) -> (dx, dw, db)`.

    `oracle.verify(of_functions(affine_forward, affine_backward), x, w, b)`. Several outputs come before the cache, and their
    upstream gradients too. `backward` may also take the cache first, and return a single gradient without a tuple. What is not
    differentiated, such as indices or a `conv_param`, goes into `options`, whatever its position.

    `verify` recognizes such a pair by the names of the parameters of `backward`: `verify((affine_forward, affine_backward), x,
    w, b)` does the same.
    """
    if not (callable(forward) and callable(backward)):
        raise TypeError("of_functions: expected two functions (forward, backward)")
    first = _cache_position(backward) == 0
    name = getattr(forward, "__name__", "forward")

    def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
        result = called(forward, primals, options)
        if not isinstance(result, tuple) or len(result) < 2:
            got = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
            raise TypeError(f"{name} returned {got}, expected (out, cache)")
        *values, cache = result
        free = [i for i, n in enumerate(inputs_of(forward)) if n not in options]
        return (values[0] if len(values) == 1 else tuple(values)), (cache, free[: len(primals)])

    def bwd(residuals: Any, dy: Any) -> tuple[Any, ...]:
        cache, taken = residuals
        upstream = dy if isinstance(dy, tuple) else (dy,)
        found = backward(*((cache, *upstream) if first else (*upstream, cache)))
        who = getattr(backward, "__name__", "backward")
        return tuple(one_for_each(found, taken, len(inputs_of(forward)), who, more=True))

    labelled(fwd, name, forward, (), forward)
    labelled(bwd, getattr(backward, "__name__", "backward"), backward, ())
    return fwd, bwd


def _cache_position(backward: Callable[..., Any]) -> int:
    """Whether the cache is the first parameter of a backward pass (0), or the last (-1), by its name."""
    names = inputs_of(backward)
    return 0 if names and CACHE.match(names[0]) else -1


def course_pair(op: Any) -> Pair | None:
    """The pair of `(forward, backward)` with `backward(dout, cache)`; None if the names do not say so."""
    if not is_pair(op) or any(getattr(f, "__signature__", None) is not None for f in op):
        return None
    try:
        required = [p.name for p in inspect.signature(op[1]).parameters.values() if p.default is p.empty]
    except (TypeError, ValueError):
        return None
    if len(required) > 1 and CACHE.match(required[-1]) and all(UPSTREAM.match(n) for n in required[:-1]):
        return of_functions(*op)
    return None


# --------------------------------------------------------------------------------------- an engine of one's own


def of_engine(function: Callable[..., Any], Value: Callable[..., Any], *, each: bool = True) -> Pair:  # noqa: N803 - a class
    """A function of the values of a small autodiff engine: with `.data`, `.grad` and `.backward()`, as in micrograd.

    `oracle.verify(of_engine(lambda x, w: (x * w).sum().tanh(), Value), x, w)`. The function gets arrays of `Value`, one
    for each entry, and returns one of them or an array of them. With `each=False` it gets one `Value` for each array.
    """
    name = getattr(function, "__name__", "function").replace("<lambda>", "function")

    def wrapped(a: Any) -> Any:
        if not each:
            return Value(np.array(a))
        made = np.empty(np.shape(a), dtype=object)
        for i in np.ndindex(made.shape):
            made[i] = Value(float(np.asarray(a)[i]))
        return made if made.shape else made[()]

    def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
        tree: Any = primals
        given: Any = optree.tree_map(wrapped, tree)
        value = function(*given, **options)
        if isinstance(value, np.ndarray):
            data: Any = np.array([_numbers_of(v) for v in value.ravel()]).reshape(value.shape)
        else:
            data = _numbers_of(value)
        return as_value(np.array(data), primals), (primals, options)

    def bwd(residuals: Any, dy: Any) -> tuple[Any, ...]:
        primals, options = residuals
        tree: Any = primals
        again: Any = optree.tree_map(wrapped, tree)
        value = function(*again, **options)
        weights = np.asarray(dy)
        if isinstance(value, np.ndarray):
            total = sum((v * float(w) for v, w in zip(value.ravel()[1:], weights.ravel()[1:], strict=True)),
                        start=value.ravel()[0] * float(weights.ravel()[0]))  # fmt: skip
        elif each or weights.size == 1:
            total = value * float(weights)
        else:
            total = (value * Value(np.array(weights))).sum()
        if any(isinstance(part, set | frozenset) for _, part in children(total)):
            bwd.unrepeatable = BY_ADDRESS  # type: ignore[attr-defined]
        total.backward()
        return tuple(optree.tree_map(_gradient, again, tree))

    def _gradient(leaf: Any, primal: Any) -> Any:
        if isinstance(leaf, np.ndarray):
            leaf = np.array([_numbers_of(v.grad) for v in leaf.ravel()], dtype=float).reshape(leaf.shape)
            return as_gradient(leaf, primal)
        return as_gradient(np.asarray(_numbers_of(leaf.grad), dtype=float), primal)

    labelled(fwd, name, function, (), function)
    labelled(bwd, f"{name} (backward)", function, ())
    return fwd, bwd


def _numbers_of(value: Any) -> Any:
    """The numbers of a value of an engine; those of NumPy are numbers themselves, and their `.data` is a piece of memory."""
    if isinstance(value, np.ndarray | np.generic | int | float):
        return value
    return getattr(value, "data", value)
