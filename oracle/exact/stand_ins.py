"""The functions of NumPy that make arrays, while a forward function is evaluated on balls.

NumPy does not offer `np.asarray(x)` or `np.zeros(n)` to `__array_function__`: the first would make an array of objects of our
array, the second a float array, into which no ball can be written. Forward functions call both everywhere. So during an
evaluation the name `np` in users' modules stands for a namespace that is NumPy but for these functions: they keep balls, and
make arrays of constants that balls can replace. NumPy itself is not changed: its compiled code and that of other libraries
call these functions, too, and could read memory that an array of balls does not have.
"""

from __future__ import annotations

import functools
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from scipy import sparse, special

from oracle.exact.array import FLOAT, HANDLERS, KEPT, BallArray, check_dtype, unwrapped, wrapped
from oracle.exact.balls import Ball
from oracle.exact.functions import called, filled
from oracle.exact.kinks import WORK
from oracle.exact.ufuncs import applied

__all__ = ["LOCK", "stand_ins"]


LOCK = threading.RLock()
"""One evaluation at a time: it replaces names in modules, and Arb's precision is global."""
THREAD: list[int] = [0]
"""The thread whose evaluation runs, 0 if none does; others get what they always get."""

LIBRARIES = ("numpy", "scipy", "jax", "torch", "optree", "flint", "matplotlib", "pandas", "oracle.exact")
"""Packages whose modules keep NumPy: they are reached through NumPy's protocols."""

DEPTH = 5
"""How far functions are followed to those that they hold: a subject holds an op, whose chain holds others."""


@contextmanager
def stand_ins(function: Callable[..., Any]) -> Iterator[None]:
    """Within the block, the modules of users, and those of `function`, see the stand-ins."""
    with LOCK:
        before, THREAD[0] = THREAD[0], threading.get_ident()
        uses = [(names, name) for names, name in _uses(function) if names.get(name) is REPLACED[name][0]]
        times = SPARSE.__matmul__
        try:
            for names, name in uses:
                names[name] = REPLACED[name][1]
            SPARSE.__matmul__ = functools.partialmethod(_times_sparse, times)
            yield
        finally:
            THREAD[0] = before
            SPARSE.__matmul__ = times
            for names, name in uses:
                names[name] = REPLACED[name][0]


Uses = list[tuple[dict[str, Any], str]]


def _uses(function: Callable[..., Any]) -> Uses:
    """The global names, with their modules, that may stand for what is replaced: those of users, and of the function."""
    found: dict[int, dict[str, Any]] = {}
    _follow(function, found, DEPTH)
    return [*_in_modules(len(sys.modules)), *_in(list(found.values()))]


@functools.lru_cache(maxsize=1)
def _in_modules(count: int) -> Uses:
    """Those of the modules of users; they are looked for again where the number of modules has changed."""
    return _in([vars(m) for n, m in list(sys.modules.items()) if isinstance(m, ModuleType) and not n.startswith(LIBRARIES)])


def _in(modules: list[dict[str, Any]]) -> Uses:
    return [(names, name) for names in modules for name in REPLACED if names.get(name) is REPLACED[name][0]]


def _follow(held: Any, found: dict[int, dict[str, Any]], depth: int) -> None:
    names = getattr(held, "__globals__", None)
    if isinstance(names, dict) and not str(names.get("__name__")).startswith(LIBRARIES):
        found[id(names)] = names
    if depth == 0 or isinstance(held, type | ModuleType | np.ndarray):
        return
    inner = [one for cell in getattr(held, "__closure__", None) or () for one in _contents(cell)]
    inner += [getattr(held, name, None) for name in ("__self__", "__wrapped__", "func", "forward", "stages")]
    inner += list(held.values()) if isinstance(held, Mapping) else list(held) if isinstance(held, list | tuple) else []
    for one in inner:
        if callable(one) or isinstance(one, Mapping | list | tuple) or hasattr(one, "forward"):
            _follow(one, found, depth - 1)


def _contents(cell: Any) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # a variable that has no value yet
        return []


class _Namespace(ModuleType):
    """A module with some of its functions replaced."""

    def __init__(self, module: ModuleType, replaced: Mapping[str, Any]) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(vars(module))
        self.__dict__.update(replaced)
        self.__dict__["__getattr__"] = functools.partial(getattr, module)  # what a module loads when it is asked for


def _stand_in(replacement: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def either(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == THREAD[0]:
            return replacement(original, *args, **kwargs)
        return original(*args, **kwargs)

    return either


# -------------------------------------------------------------------------------------------- the functions


def _kept(original: Callable[..., Any], a: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
    """An array of balls as it is, a list of them as one array; everything else as NumPy does."""
    if type(a) is not BallArray:
        if not (isinstance(a, list | tuple) and _holds_balls(a)):
            return original(a, dtype, *args, **kwargs)
        a = BallArray(_joined(a))
    if dtype is not None and np.dtype(dtype) not in KEPT:
        return a.astype(dtype)
    for _ in range(a.ndim, kwargs.get("ndmin", 0)):
        a = a[None]
    name = original.__name__
    copies = kwargs.get("copy", name == "array") or (name == "ascontiguousarray" and not a.flags.c_contiguous)
    a = a.copy() if copies else a
    return a.reshape(1) if name == "ascontiguousarray" and a.ndim == 0 else a


def _holds_balls(items: Any) -> bool:
    return any(type(i) in (BallArray, Ball) or (isinstance(i, list | tuple) and _holds_balls(i)) for i in items)


def _joined(items: Any) -> Any:
    """Nested lists of numbers and arrays of balls as one array of objects."""
    parts = [BallArray(_joined(i)) if isinstance(i, list | tuple) else i for i in items]
    joined = filled(0.0, (len(parts), *np.shape(parts[0])))
    for index, part in enumerate(parts):
        joined[index] = part
    return joined.elements


def _is_float64(dtype: Any) -> bool:
    return dtype is None or (isinstance(dtype, type | str | np.dtype) and dtype is not object and np.dtype(dtype) == FLOAT)


def _new(value: float) -> Callable[..., Any]:
    def new(original: Callable[..., Any], shape: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
        return filled(value, shape) if _is_float64(dtype) else original(shape, dtype, *args, **kwargs)

    return new


def _full(original: Callable[..., Any], shape: Any, fill_value: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
    if type(fill_value) is BallArray or (_is_float64(dtype) and _is_real(fill_value, dtype)):
        check_dtype(dtype)
        return filled(fill_value, shape)
    return original(shape, fill_value, dtype, *args, **kwargs)


def _is_real(value: Any, dtype: Any) -> bool:
    """Whether `np.full` makes floats of it: without a dtype only of floats."""
    return dtype is not None or np.asarray(value).dtype.kind == "f"


def _as_strided(original: Callable[..., Any], x: Any, *args: Any, **kwargs: Any) -> Any:
    if type(x) is BallArray:  # an object takes as many bytes as a float64, so the strides hold
        return BallArray(original(x.elements, *args, **kwargs))
    return original(x, *args, **kwargs)


def _default_rng(original: Callable[..., Any], seed: Any = None) -> Any:
    if seed is None:
        raise WORK.refuse("draws random numbers")
    return original(seed)


def _logsumexp(original: Callable[..., Any], a: Any, axis: Any = None, b: Any = None, **kwargs: Any) -> Any:
    if type(a) is not BallArray and type(b) is not BallArray:
        return original(a, axis, b, **kwargs)
    if b is not None or kwargs.get("return_sign"):
        raise WORK.refuse("logsumexp with weights or signs")
    axes = range(a.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    for one in axes:
        a = np.logaddexp.reduce(a, one, keepdims=True)
    return a if kwargs.get("keepdims") else np.squeeze(a, tuple(axes))


def _times_sparse(matrix: Any, original: Callable[..., Any], other: Any) -> Any:
    """A sparse matrix times balls; scipy would ask for the numbers."""
    if type(other) is not BallArray:
        return original(matrix, other)
    entries = matrix.tocoo()
    product = filled(0.0, (matrix.shape[0], *other.shape[1:]))
    factors = entries.data.reshape(-1, *(1,) * (other.ndim - 1))
    np.add.at(product, entries.row, other[entries.col] * factors)
    return product


def _of_numbers(ufunc: np.ufunc) -> Callable[..., Any]:
    """A function of `math`, whose ufunc takes one number at a time as well."""

    def of_numbers(original: Callable[..., Any], *numbers: Any) -> Any:
        kinds = {type(number) for number in numbers}
        if BallArray in kinds:
            return ufunc(*numbers)
        if Ball in kinds:  # an element that `np.vectorize` passes on
            return unwrapped(ufunc(*map(wrapped, numbers)))[()]
        return original(*numbers)

    return of_numbers


MATH: dict[str, np.ufunc] = {
    **{name: getattr(np, name) for name in ("exp", "expm1", "exp2", "log1p", "log2", "log10", "sqrt", "cbrt", "hypot", "fabs")},
    **{name: getattr(np, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "copysign", "fmod", "ldexp", "isnan")},
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "log": np.log, "pow": np.power, "isfinite": np.isfinite, "isinf": np.isinf,
    "erf": special.erf, "erfc": special.erfc, "gamma": special.gamma, "lgamma": special.gammaln,
}  # fmt: skip
"""The ufuncs that are the functions of `math`."""

SPARSE: Any = next(c for c in sparse.csr_array.__mro__ if "__matmul__" in vars(c))
"""The class of scipy's sparse arrays that multiplies."""


def _replaced() -> dict[str, tuple[Any, Any]]:
    """By their usual names in users' modules: what is replaced, and by what."""
    as_array = ("asarray", "array", "asanyarray", "ascontiguousarray", "asfortranarray", "asarray_chkfinite")
    functions = {name: _stand_in(_kept, getattr(np, name)) for name in as_array}
    functions |= {
        name: _stand_in(_new(value), getattr(np, name)) for name, value in (("zeros", 0.0), ("empty", 0.0), ("ones", 1.0))
    }
    functions["full"] = _stand_in(_full, np.full)
    strided = {"as_strided": _stand_in(_as_strided, np.lib.stride_tricks.as_strided)}
    drawn = {"default_rng": _stand_in(_default_rng, np.random.default_rng)}
    summed = {"logsumexp": _stand_in(_logsumexp, special.logsumexp)}
    tricks, random = _Namespace(np.lib.stride_tricks, strided), _Namespace(np.random, drawn)
    whole = _Namespace(np, {**functions, "lib": _Namespace(np.lib, {"stride_tricks": tricks}), "random": random})
    found: dict[str, tuple[Any, Any]] = dict.fromkeys(("np", "numpy", "onp"), (np, whole))
    found |= {name: (getattr(np, name), stand_in) for name, stand_in in functions.items()}
    found |= {
        "as_strided": (np.lib.stride_tricks.as_strided, strided["as_strided"]),
        "stride_tricks": (np.lib.stride_tricks, tricks),
    }
    found |= {"default_rng": (np.random.default_rng, drawn["default_rng"])}
    found |= {"logsumexp": (special.logsumexp, summed["logsumexp"])}
    found |= {name: (special, _Namespace(special, summed)) for name in ("special", "sp", "sps", "sc")}
    of_math = {name: _stand_in(_of_numbers(ufunc), getattr(math, name)) for name, ufunc in MATH.items() if hasattr(math, name)}
    found |= {name: (getattr(math, name), stand_in) for name, stand_in in of_math.items()}
    return found | {"math": (math, _Namespace(math, of_math))}


REPLACED = _replaced()
HANDLERS.update(ufunc=applied, function=called, namespace=lambda **options: REPLACED["np"][1])
