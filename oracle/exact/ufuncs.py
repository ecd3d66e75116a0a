"""Ufuncs on arrays of balls: NumPy's own loops over objects where they call the operators of balls, a table elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.exact.array import BallArray, check_dtype, has_balls, lifted, wrapped
from oracle.exact.balls import Ball, compared
from oracle.exact.elementary import BINARY, STEPS, UNARY, on_balls
from oracle.exact.kinks import WORK

__all__ = ["applied"]

NATIVE = frozenset(
    {"add", "subtract", "multiply", "negative", "matmul", "vecdot", "matvec", "vecmat", "absolute", "fabs"}
    | {"maximum", "minimum", "fmax", "fmin", "clip"}
)
"""Ufuncs whose loops over objects call the operators of the elements."""

COMPARISONS = frozenset({"less", "less_equal", "greater", "greater_equal", "equal", "not_equal"})
TRUTHS = frozenset({"logical_and", "logical_or", "logical_xor", "logical_not"})


def _is_finite(element: Any) -> bool:
    if type(element) is not Ball:
        return bool(np.isfinite(element))
    if element.value.is_finite():
        return True
    if not element.value.is_exact() or element.value.is_nan():  # a higher precision may tell
        WORK.undecided("isfinite", forced=False)
    return False


def _is_infinite(element: Any) -> bool:
    return bool(np.isinf(element)) if type(element) is not Ball else not _is_finite(element)


def _is_nan(element: Any) -> bool:
    return bool(np.isnan(element)) if type(element) is not Ball else not (_is_finite(element) or element.value.is_exact())


PREDICATES: dict[str, Callable[[Any], bool]] = {"isfinite": _is_finite, "isinf": _is_infinite, "isnan": _is_nan}


def applied(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """The ufunc, or its method, on arrays some of which hold balls."""
    name = ufunc.__name__
    check_dtype(keywords.pop("dtype", None))
    keywords.pop("casting", None)
    outs = keywords.pop("out", ())
    if type(keywords.get("where")) is BallArray:
        raise WORK.refuse(f"{name}: a mask of numbers that depend on the arguments")
    if name == "frexp" and method == "__call__" and not outs:
        return _frexp(inputs[0])
    loop = _loop(name, ufunc)
    if loop is None:
        return _of_constants(ufunc, method, inputs, keywords, outs)
    indices = (1,) if method in ("at", "reduceat") else ()
    elements = [x if i in indices else _objects(x) for i, x in enumerate(inputs)]
    if name in TRUTHS:
        elements = [e != 0 if e.dtype == object else e for e in elements]
    if outs and outs[0] is not None:
        return _into(outs, getattr(loop, method), elements, keywords, name)
    if method == "at":
        if type(inputs[0]) is not BallArray:
            raise WORK.refuse(f"{name}.at into an array of {np.asarray(inputs[0]).dtype}")
        loop.at(*elements)
        return None
    before, WORK.operation = WORK.operation, WORK.operation or name
    try:
        result = getattr(loop, method)(*elements, **keywords)
    finally:
        WORK.operation = before
    return _result(result, name)


def _into(outs: tuple[Any, ...], run: Callable[..., Any], elements: list[Any], keywords: dict[str, Any], name: str) -> Any:
    """The result in an array of the caller's, which must hold balls, too, or booleans."""
    out = outs[0]
    if len(outs) > 1:
        raise WORK.refuse(f"{name} has no exact rule")
    if type(out) is BallArray:
        run(*elements, out=out.elements, **keywords)
        return out
    result = _result(run(*elements, **keywords), name)
    if type(result) is BallArray and has_balls(result.elements):
        raise WORK.refuse(f"{name}: writing into an array of {out.dtype}")
    np.copyto(
        out, result.elements if type(result) is BallArray else result, casting="unsafe", where=keywords.get("where", True)
    )
    return out


def _loop(name: str, ufunc: np.ufunc) -> Any:
    """A ufunc over objects that does what this one does."""
    if name in NATIVE or name in COMPARISONS or name in TRUTHS:
        return np.absolute if name == "fabs" else ufunc
    if name not in LOOPS:
        table = next((t for t in (UNARY, STEPS, PREDICATES, BINARY) if name in t), None)
        if table is None:
            return None
        plain = (lambda *a: bool(ufunc(*a))) if table is PREDICATES else (lambda *a: ufunc(*a).item())
        LOOPS[name] = np.frompyfunc(on_balls(table[name], plain), ufunc.nin, 1)
    return LOOPS[name]


def _of_constants(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], keywords: dict[str, Any], outs: Any) -> Any:
    """A ufunc without an exact rule, of numbers that do not depend on the arguments."""
    if outs or any(type(x) is BallArray and has_balls(x.elements) for x in inputs):
        raise WORK.refuse(f"no exact rule for {ufunc.__name__}")
    numbers = [x.elements.astype(np.float64) if type(x) is BallArray else x for x in inputs]
    result = getattr(ufunc, method)(*numbers, **keywords)
    return BallArray(lifted(result)) if np.asarray(result).dtype.kind == "f" else result


def _frexp(x: BallArray) -> tuple[Any, Any]:
    """The exponents as integers, which jump at powers of 2, and the numbers over these powers."""
    exponents = np.asarray(np.frompyfunc(_exponent, 1, 1)(x.elements), np.int32)
    return np.ldexp(x, -exponents), exponents[()]


def _exponent(element: Any) -> int:
    if type(element) is not Ball:
        return int(np.frexp(element)[1])
    size = abs(element)
    if compared(size, 0, "frexp") == 0:
        return 0
    near = int(np.frexp(float(size.value.mid()))[1])
    return near - 1 if compared(size, 2.0 ** (near - 1), "frexp") < 0 else near


LOOPS: dict[str, Any] = {}
"""The loops that have been made, by the name of the ufunc."""


def _objects(argument: Any) -> Any:
    """The argument as an array of objects; integers and floats as Python's."""
    if type(argument) is BallArray:
        return argument.elements
    array = np.asarray(argument)
    if array.dtype == bool and array.ndim:
        return array.astype(np.int64).astype(object)
    return array.astype(object)


def _result(result: Any, name: str) -> Any:
    if name in PREDICATES or name == "signbit" or name in COMPARISONS or name in TRUTHS:
        return np.asarray(result, bool)[()]
    if not isinstance(result, np.ndarray):
        elements = np.empty((), object)
        elements[()] = result
        return BallArray(elements)
    return wrapped(result)
