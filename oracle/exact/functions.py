"""NumPy's functions on arrays of balls.

NumPy runs most of its functions on arrays of objects by the operators of the elements: these run unchanged on the balls.
`RULES` has the ones that need another way: they compare (NumPy's sorting must not meet an exception), ask for a dtype, or
convert to float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cmp_to_key
from typing import Any

import numpy as np
import optree

from oracle.exact import equations
from oracle.exact.array import FLOAT, BallArray, check_dtype, has_balls, lifted, wrapped
from oracle.exact.balls import Ball, compared
from oracle.exact.elementary import UNARY, as_ball
from oracle.exact.kinks import WORK

__all__ = ["called"]

MOVES = frozenset(
    {"reshape", "ravel", "transpose", "moveaxis", "rollaxis", "swapaxes", "squeeze", "expand_dims", "broadcast_to", "roll"}
    | {"broadcast_arrays", "concatenate", "stack", "vstack", "hstack", "dstack", "column_stack", "split", "array_split"}
    | {"hsplit", "vsplit", "dsplit", "flip", "flipud", "fliplr", "rot90", "tile", "repeat", "take", "take_along_axis", "pad"}
    | {"diagonal", "diag", "diagflat", "tril", "triu", "where", "select", "choose", "compress", "extract", "delete", "insert"}
    | {"append", "resize", "sliding_window_view", "copy", "atleast_1d", "atleast_2d", "atleast_3d", "unstack", "block"}
    | {"shape", "ndim", "size", "may_share_memory", "shares_memory", "real", "matrix_transpose", "permute_dims", "trim_zeros"}
)
"""Functions that move elements and do not compute with them."""

SUMS = frozenset(
    {"sum", "prod", "cumsum", "cumprod", "mean", "var", "std", "dot", "vdot", "inner", "outer", "matmul", "einsum", "tensordot"}
    | {"kron", "trace", "diff", "cross", "convolve", "correlate", "average", "gradient", "trapezoid", "ediff1d", "linspace"}
    | {"norm", "vector_norm", "matrix_norm", "matrix_power", "multi_dot", "vecdot", "cumulative_sum", "cumulative_prod", "ptp"}
    | {"max", "min", "amax", "amin", "clip", "array_equal", "array_equiv", "unique", "cov", "corrcoef", "apply_along_axis"}
    | {"apply_over_axes", "piecewise", "vander", "polyval", "nansum", "nanmean", "einsum_path", "meshgrid", "ix_", "isin"}
)
"""Functions that NumPy computes by the operators of the elements."""

ROOTS = frozenset({"std", "norm", "vector_norm", "matrix_norm", "corrcoef"})
"""Functions of `SUMS` that call the method `sqrt` of the elements, which constants do not have."""


def called(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The function of NumPy at these arguments, some of which are arrays of balls."""
    name = function.__name__
    before, WORK.operation = WORK.operation, WORK.operation or name
    try:
        if name in RULES:
            return RULES[name](*args, **kwargs)
        if name not in MOVES and name not in SUMS:
            return _of_constants(function, name, args, kwargs)
        return _on_elements(function, name, args, kwargs)
    finally:
        WORK.operation = before


def _on_elements(function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if "dtype" in kwargs:
        check_dtype(kwargs.pop("dtype"))
    out = kwargs.pop("out", None)
    given = [_elements(a) for a in args]
    if name in ROOTS:
        given[0] = np.frompyfunc(as_ball, 1, 1)(given[0])
    result = function(*given, **{key: _elements(value) for key, value in kwargs.items()})
    if type(out) is BallArray:
        out.elements[...] = lifted(wrapped(result))
        return out
    if out is not None:
        raise WORK.refuse(f"{name}: writing into an array of {out.dtype}")
    if name in SUMS and not isinstance(result, np.ndarray | np.bool_ | bool | tuple | list):
        elements = np.empty((), object)
        elements[()] = result
        return BallArray(elements)
    return wrapped(result)


def _of_constants(function: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A function without an exact rule, of numbers that do not depend on the arguments."""
    given: Any = (args, kwargs)
    leaves, structure = optree.tree_flatten(given, none_is_leaf=True)
    if any(type(leaf) is BallArray and has_balls(leaf.elements) for leaf in leaves):
        raise WORK.refuse(f"no exact rule for numpy.{name}")
    plain: Any = structure.unflatten([np.asarray(x) if type(x) is BallArray else x for x in leaves])
    result = function(*plain[0], **plain[1])
    return BallArray(lifted(result)) if isinstance(result, np.ndarray) and result.dtype == FLOAT else result


def _elements(argument: Any) -> Any:
    """The argument with all balls, and all floats beside them, as objects."""
    if argument is float or argument is np.float64 or isinstance(argument, np.dtype):
        check_dtype(argument)
        return np.dtype(object)
    if type(argument) in (tuple, list):
        return type(argument)(_elements(a) for a in argument)
    if type(argument) is BallArray:
        return argument.elements
    return argument.astype(object) if isinstance(argument, np.ndarray) and argument.dtype.kind == "f" else argument


# -------------------------------------------------------------------------------------------- order


def _compare(a: Any, b: Any) -> int:
    if type(a) is Ball:
        return compared(a, b, "sort")
    return -compared(b, a, "sort") if type(b) is Ball else int(a > b) - int(a < b)  # NumPy subtracts no booleans


def _order(row: Any) -> Any:
    return np.array(sorted(range(len(row)), key=cmp_to_key(lambda i, j: _compare(row[i], row[j]))), np.intp)


def _argsort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    elements = _elements(a)
    if axis is None:
        elements, axis = elements.reshape(-1), -1
    places = np.empty(elements.shape, np.intp)
    rows, into = np.moveaxis(elements, axis, -1), np.moveaxis(places, axis, -1)
    for index in np.ndindex(rows.shape[:-1]):
        into[index] = _order(rows[index])
    return places


def _sorted(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Any:
    a = a.reshape(-1) if axis is None else a
    axis = -1 if axis is None else axis
    return np.take_along_axis(a, _argsort(a, axis), axis)


def _partition(a: Any, kth: Any, axis: Any = -1, kind: Any = None, order: Any = None) -> Any:
    return _sorted(a, axis)


def _argpartition(a: Any, kth: Any, axis: Any = -1, kind: Any = None, order: Any = None) -> Any:
    return _argsort(a, axis)


def _first_extreme(sign: int) -> Callable[..., Any]:
    def argextreme(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Any:
        elements = _elements(a)
        rows = elements.reshape(1, -1) if axis is None else np.moveaxis(elements, axis, -1)
        places = np.empty(rows.shape[:-1], np.intp)
        for index in np.ndindex(places.shape):
            row, best = rows[index], 0
            for i in range(1, len(row)):
                best = i if _compare(row[i], row[best]) * sign > 0 else best
            places[index] = best
        if axis is None:
            return places.reshape((1,) * elements.ndim) if keepdims is True else places[0]
        return np.expand_dims(places, axis) if keepdims is True else places[()]

    return argextreme


def _median(a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    row = np.moveaxis(a, axis, -1) if isinstance(axis, int) else a.reshape(-1) if axis is None else None
    if row is None or keepdims:
        raise WORK.refuse("numpy.median over several axes")
    row, n = np.sort(row, axis=-1), row.shape[-1]
    return row[..., n // 2] if n % 2 else (row[..., n // 2 - 1] + row[..., n // 2]) / 2


def _searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    keys, wanted = _elements(a), np.asarray(_elements(v), object)
    keys = keys if sorter is None else keys[sorter]
    least = 0 if side == "left" else 1
    return np.frompyfunc(lambda x: sum(_compare(key, x) < least for key in keys), 1, 1)(wanted).astype(np.intp)[()]


def _digitize(x: Any, bins: Any, right: bool = False) -> Any:
    bins = lifted(bins)
    if len(bins) > 1 and _compare(bins[0], bins[-1]) > 0:
        raise WORK.refuse("numpy.digitize with bins that decrease")
    return _searchsorted(bins, x, "left" if right else "right")


# -------------------------------------------------------------------------------------------- booleans


def _truth(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, *args, **kwargs: function(a != 0, *args, **kwargs)


def _infinite(sign: int) -> Callable[..., Any]:
    return lambda x: np.isinf(x) & np.asarray(np.sign(x) == sign)


def _isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    return np.abs(a - b) <= atol + rtol * np.abs(b)


# -------------------------------------------------------------------------------------------- new arrays


def filled(value: Any, shape: Any) -> BallArray:
    """An array of balls whose elements are this constant."""
    elements = np.empty(shape, object)
    elements[...] = lifted(value)
    return BallArray(elements)


def _like(value: float) -> Callable[..., Any]:
    def like(a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, **_: Any) -> Any:
        shape = np.shape(a) if shape is None else shape
        if dtype is not None and np.dtype(dtype) != FLOAT:
            return np.full(shape, value, dtype)
        return filled(value, shape)

    return like


def _full_like(a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None) -> Any:
    like = _like(0.0)(a, dtype, shape=shape)
    like[...] = fill_value
    return like


def _copyto(dst: Any, src: Any, casting: Any = None, where: Any = True) -> None:
    if type(dst) is not BallArray:
        if dst.dtype == bool or dst.dtype.kind in "iu":
            raise WORK.refuse(f"numpy.copyto into an array of {dst.dtype}")
        dst[np.broadcast_to(where, dst.shape)] = np.broadcast_to(src, dst.shape)[np.broadcast_to(where, dst.shape)]
        return
    np.copyto(dst.elements, lifted(src), where=where)


def _put_along_axis(arr: Any, indices: Any, values: Any, axis: Any = -1) -> None:
    np.put_along_axis(_written(arr, "put_along_axis"), indices, lifted(values), axis)


def _written(array: Any, name: str) -> Any:
    if type(array) is not BallArray:
        raise WORK.refuse(f"numpy.{name}: writing into an array of {array.dtype}")
    return array.elements


def _putmask(a: Any, mask: Any, values: Any) -> None:
    np.putmask(_written(a, "putmask"), mask, lifted(values))


def _place(arr: Any, mask: Any, vals: Any) -> None:
    np.place(_written(arr, "place"), mask, lifted(vals))


def _fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    np.fill_diagonal(_written(a, "fill_diagonal"), lifted(val), wrap)


def _bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    count = max(int(np.max(x, initial=-1)) + 1, minlength)
    sums = filled(0.0, count)
    np.add.at(sums, x, weights)
    return sums


def _nan_to_num(x: Any, copy: bool = True, nan: float = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    if not np.isfinite(x).all():
        raise WORK.refuse("numpy.nan_to_num of numbers that are not finite")
    return x.copy()


def _interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    if period is not None:
        raise WORK.refuse("numpy.interp with a period")
    x, xp, fp = (np.asanyarray(a) if type(a) is not BallArray else a for a in (x, xp, fp))
    above = np.clip(np.searchsorted(xp, x, side="right"), 1, len(xp) - 1)
    x0, x1, y0, y1 = xp[above - 1], xp[above], fp[above - 1], fp[above]
    inside = y0 + (x - x0) * (y1 - y0) / (x1 - x0)
    inside = np.where(x < xp[0], fp[0] if left is None else left, inside)
    return np.where(x > xp[-1], fp[-1] if right is None else right, inside)


def _result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    return np.result_type(*(FLOAT if type(a) is BallArray else a for a in arrays_and_dtypes))


def _sinc(x: Any) -> Any:
    return wrapped(np.frompyfunc(lambda e: UNARY["sinc"](as_ball(e)), 1, 1)(x.elements))


def _round(a: Any, decimals: int = 0, out: Any = None) -> Any:
    if decimals:
        raise WORK.refuse("rounding to decimals")
    return np.rint(a)


RULES: dict[str, Callable[..., Any]] = {
    "sort": _sorted, "argsort": _argsort, "partition": _partition, "argpartition": _argpartition, "median": _median,
    "argmax": _first_extreme(1), "argmin": _first_extreme(-1), "searchsorted": _searchsorted,
    "digitize": _digitize,
    "any": _truth(np.any), "all": _truth(np.all), "nonzero": _truth(np.nonzero), "count_nonzero": _truth(np.count_nonzero),
    "flatnonzero": _truth(np.flatnonzero), "argwhere": _truth(np.argwhere),
    "isneginf": _infinite(-1), "isposinf": _infinite(1),
    "isclose": _isclose, "allclose": lambda *a, **k: bool(np.all(_isclose(*a, **k))),
    "zeros_like": _like(0.0), "ones_like": _like(1.0), "empty_like": _like(0.0), "full_like": _full_like,
    "copyto": _copyto, "put_along_axis": _put_along_axis, "putmask": _putmask, "place": _place,
    "fill_diagonal": _fill_diagonal, "bincount": _bincount, "nan_to_num": _nan_to_num, "interp": _interp,
    "result_type": _result_type, "sinc": _sinc, "round": _round, "around": _round,
    "iscomplexobj": lambda x: False, "isrealobj": lambda x: True, "imag": lambda x: np.zeros(np.shape(x)),
    "solve": equations.solve, "inv": equations.inverse, "slogdet": equations.slogdet,
    "cholesky": equations.cholesky, "det": equations.determinant,
}  # fmt: skip
