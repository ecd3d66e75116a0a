"""The primitives that compute: element by element, products, reductions, order."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from oracle.jaxprs.unknown import Unknown
from oracle.jaxprs.windows import WINDOWS

__all__ = ["ELEMENTWISE", "PRIMITIVES"]


def _dot_general(params: dict[str, Any], a: Any, b: Any) -> Any:
    (of_a, of_b), (batch_a, batch_b) = params["dimension_numbers"]
    free_a = [i for i in range(a.ndim) if i not in (*of_a, *batch_a)]
    free_b = [i for i in range(b.ndim) if i not in (*of_b, *batch_b)]
    batch = [a.shape[i] for i in batch_a]
    inner = int(np.prod([a.shape[i] for i in of_a], dtype=np.int64))
    rows, columns = [a.shape[i] for i in free_a], [b.shape[i] for i in free_b]
    left = a.transpose([*batch_a, *free_a, *of_a]).reshape(*batch, int(np.prod(rows, dtype=np.int64)), inner)
    right = b.transpose([*batch_b, *of_b, *free_b]).reshape(*batch, inner, int(np.prod(columns, dtype=np.int64)))
    return np.matmul(left, right).reshape((*batch, *rows, *columns))


def _divided(a: Any, b: Any) -> Any:
    if a.dtype.kind not in "iu":
        return np.divide(a, b)
    return np.where(b != 0, np.sign(a) * np.sign(b) * (np.abs(a) // np.maximum(np.abs(b), 1)), -1)  # towards 0, as XLA


def _sort(params: dict[str, Any], *operands: Any) -> Any:
    if params["num_keys"] != 1:
        raise Unknown("a sort by several keys")
    order = np.argsort(operands[0], params["dimension"], kind="stable")
    return [np.take_along_axis(operand, order, params["dimension"]) for operand in operands]


def _top_k(params: dict[str, Any], x: Any) -> Any:
    axis = params.get("axis", -1)
    order = np.take(np.argsort(-x, axis, kind="stable"), range(params["k"]), axis)
    return [np.take_along_axis(x, order, axis), order.astype(np.int32)]


def _most(argument: Callable[..., Any]) -> Callable[..., Any]:
    return lambda params, x: np.asarray(argument(x, params["axes"][0])).astype(params["index_dtype"])


def _running(ufunc: np.ufunc) -> Callable[..., Any]:
    def running(params: dict[str, Any], x: Any) -> Any:
        axis = params["axis"]
        x = np.flip(x, axis) if params["reverse"] else x
        found = ufunc.accumulate(x, axis)
        return np.flip(found, axis) if params["reverse"] else found

    return running


def _reduced(ufunc: np.ufunc) -> Callable[..., Any]:
    return lambda params, x: ufunc.reduce(x, axis=tuple(params["axes"]))


def _round(params: dict[str, Any], x: Any) -> Any:
    if int(params["rounding_method"]) != 1:
        raise Unknown("rounding of halves away from zero")
    return np.rint(x)


def _complex(real: Any, imaginary: Any) -> Any:
    # real + 1j * imaginary is NaN where the imaginary part is infinite.
    found = np.empty(np.broadcast_shapes(real.shape, imaginary.shape), np.complex128)
    found.real, found.imag = real, imaginary
    return found


def _special(name: str) -> Callable[..., Any]:
    """A function of scipy.special, which takes longer to import than all of this package."""

    def called(*values: Any) -> Any:
        return getattr(_module("scipy.special"), name)(*values)

    return called


@cache
def _module(name: str) -> Any:
    return import_module(name)


def _elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda params, *values: function(*values)


ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("exp", "exp2", "expm1", "log", "log1p", "sqrt", "cbrt", "square", "sign", "abs")},
    **{name: getattr(np, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "floor", "ceil", "copysign")},
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "atan2": np.arctan2, "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "rem": np.fmod, "pow": np.power, "max": np.maximum, "min": np.minimum, "neg": np.negative,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "logistic": _special("expit"), "erf": _special("erf"), "erfc": _special("erfc"), "erf_inv": _special("erfinv"),
    "lgamma": _special("gammaln"), "digamma": _special("psi"), "is_finite": np.isfinite,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert,
    "real": np.real, "imag": np.imag, "conj": np.conj, "complex": _complex,
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
}  # fmt: skip

PRIMITIVES: dict[str, Callable[..., Any]] = {
    **WINDOWS,
    **{name: _elementwise(function) for name, function in ELEMENTWISE.items()},
    "div": lambda params, a, b: _divided(a, b),
    "integer_pow": lambda params, x: x ** params["y"],
    "convert_element_type": lambda params, x: x.astype(params["new_dtype"]),
    "reduce_sum": _reduced(np.add), "reduce_prod": _reduced(np.multiply),
    "reduce_max": _reduced(np.maximum), "reduce_min": _reduced(np.minimum),
    "reduce_and": _reduced(np.bitwise_and), "reduce_or": _reduced(np.bitwise_or),
    "argmax": _most(np.argmax), "argmin": _most(np.argmin),
    "cumsum": _running(np.add), "cumprod": _running(np.multiply), "cummax": _running(np.maximum),
    "cummin": _running(np.minimum), "cumlogsumexp": _running(np.logaddexp),
    "dot_general": _dot_general, "sort": _sort, "top_k": _top_k, "round": _round,
}  # fmt: skip
"""Functions of the parameters of a primitive and of its operands, by the name of the primitive."""
