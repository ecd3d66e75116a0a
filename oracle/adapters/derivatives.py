"""A function and its derivative, as tutorials write them: `sigmoid(x)` and `sigmoid_prime(x)`, a loss and its gradient."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from itertools import takewhile
from types import ModuleType
from typing import Any

import numpy as np
import optree

from oracle.adapters.calling import accepted, as_value, inputs_of, labelled, parameters_of
from oracle.adapters.calls import by_name, differentiated, like_its_argument
from oracle.double_backward import Pair, is_pair

__all__ = ["derivative_pair", "of_derivative"]

STEP = 1e-5
"""Of rough differences, in units of x: they err by about its square, which a mistake of the whole derivative exceeds by far."""
METHODS = ("gradient", "derivative", "grad", "prime")
"""How an activation calls the method that is its derivative."""


def of_derivative(
    function: Callable[..., Any],
    derivative: Callable[..., Any],
    wrt: str | Sequence[str] | None = None,
    *,
    of_value: bool = False,
) -> Pair:
    """A function and its derivative, which takes no upstream gradient.

    An activation, element by element: `oracle.verify(of_derivative(sigmoid, sigmoid_prime), x)`.

    A loss: `oracle.verify(of_derivative(mse, mse_prime, wrt="y_pred"), y_pred, options={"y_true": y_true})`.

    The value is one number, or has the shape of the argument, or that of its first axes: a loss for each row. Any of these is
    multiplied by its upstream gradient, as a layer around it would do.

    Args:
        function: `f(x)`, or a method.
        derivative: it gets the same arguments by position, and returns one array for each argument in `wrt`.
        wrt: the names of the differentiated arguments, in the order in which `verify` gets them. By default all that can be
            passed by position. What `function` needs beside them is passed as `options`.
        of_value: whether `derivative` gets the value of the function in place of its arguments: `y * (1 - y)` for a sigmoid.

    """
    if not (callable(function) and callable(derivative)):
        wrong = derivative if callable(function) else function
        raise TypeError(f"of_derivative: expected a function and its derivative, got {type(wrong).__name__}")
    name, who = _name_of(function), _name_of(derivative)
    names = ["x"] if wrt is None and isinstance(function, np.ufunc) else differentiated("of_derivative", function, wrt)
    known = names if isinstance(function, np.ufunc) else inputs_of(function)
    last: list[Any] = []

    def fwd(*primals: Any, **options: Any) -> tuple[Any, Any]:
        given = {**dict(zip(names, primals, strict=False)), **options}
        # The derivative may call its parameters otherwise; what stands behind one that is left out can only go by its name.
        by_place = [given.pop(n) for n in takewhile(lambda n: n in given, known)]
        value = function(*by_place, **given)
        if isinstance(value, tuple | list | dict):
            raise TypeError(
                f"{name} returned a {type(value).__name__}, expected an array or a number, as its derivative takes no upstream "
                "gradient (the backward pass of a pair takes two arguments: the residuals and dy)"
            )
        slopes = derivative(*((value,) if of_value else by_place), **accepted(derivative, given))
        last[:] = by_place
        return as_value(value, primals), (slopes, np.shape(value), primals)

    def bwd(residuals: Any, dy: Any) -> tuple[Any, ...]:
        slopes, shape, primals = residuals
        found: Any = tuple(like_its_argument(s, p) for s, p in zip(by_name(slopes, names, who), primals, strict=True))
        return tuple(optree.tree_map(lambda slope: _times(slope, dy, shape, name), found))

    def note() -> str:
        """A derivative that is written for the value, `y * (1 - y)`, is a usual mistake; it shows at any one point."""
        if of_value or len(last) != 1 or not _is_of_value(function, derivative, last[0]):
            return ""
        return f"{who} is right at the value of {name}, not at its argument: give of_derivative({name}, {who}, of_value=True)"

    labelled(fwd, name, function, names)
    fwd.note = note  # type: ignore[attr-defined]
    labelled(bwd, who, derivative, ())
    return fwd, bwd


def _name_of(function: Any) -> str:
    """The name of a function; that of a method has the name of its class, `CrossEntropy.loss`."""
    name: str = getattr(function, "__name__", type(function).__name__)
    owner = type(getattr(function, "__self__", None))
    if owner in (type(None), ModuleType, type):
        return name
    return owner.__name__ if name == "__call__" else f"{owner.__name__}.{name}"


def _is_of_value(function: Callable[..., Any], derivative: Callable[..., Any], x: Any) -> bool:
    """Whether the derivative is wrong at x, and right at the value there, as rough differences tell."""
    try:
        with np.errstate(all="ignore"):
            value, rough = function(x), (function(x + STEP) - function(x - STEP)) / (2 * STEP)
            at_x, at_value = derivative(x), derivative(value)
    except Exception:  # what raises is reported by `verify`
        return False
    if not np.shape(x) == np.shape(value) == np.shape(at_x) == np.shape(at_value):
        return False
    apart = [np.abs(np.subtract(slope, rough)).max(initial=0.0) for slope in (at_x, at_value)]
    return bool(apart[1] < STEP < apart[0])


def _times(slope: Any, dy: Any, shape: tuple[int, ...], name: str) -> Any:
    """A derivative times the upstream gradient of the value, which may have fewer axes: one number, or one for each row."""
    upstream = np.asarray(dy, slope.dtype)
    if upstream.size == 1:
        return np.asarray(slope * upstream.reshape(()))
    if shape != slope.shape[: len(shape)]:
        raise TypeError(
            f"of_derivative: {name} returned a value of shape {shape}, its derivative has shape {slope.shape}; expected one "
            "number, the same shape, or its first axes"
        )
    return np.asarray(slope * upstream.reshape(shape + (1,) * (slope.ndim - len(shape))))


def derivative_pair(op: Any) -> Pair | None:
    """The pair of `(sigmoid, sigmoid_prime)`, or of an activation with `__call__(x)` and `gradient(x)`; None for others.

    A backward pass must take two arguments, the residuals and the upstream gradient. So a function of one is a derivative.
    """
    if not is_pair(op):
        if (
            isinstance(op, type)
            or inspect.isroutine(op)
            or not callable(op)
            or any(hasattr(op, n) for n in ("loss", "forward"))
        ):
            return None
        op = op.__call__, next((m for n in METHODS if callable(m := getattr(op, n, None))), None)
    return of_derivative(*op) if all(_takes_one(f) for f in op) else None


def _takes_one(function: Any) -> bool:
    """Whether a function must be called with one argument."""
    if isinstance(function, np.ufunc):
        return function.nin == 1
    parameters = list((parameters_of(function) or {}).values())
    return len(parameters) == 1 and parameters[0].kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
