"""The primitives of torch on arrays of balls: a rule for each, with the arguments that torch gives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import special

from oracle.exact.array import BallArray, lifted
from oracle.exact.kinks import WORK
from oracle.jaxprs.computing import ELEMENTWISE
from oracle.jaxprs.windows import correlated, padded, spread_out, taps

__all__ = ["MOVES", "PRIMITIVES"]

MOVES = frozenset(
    {"broadcast_in_dim", "transpose", "squeeze", "split_dim", "collapse_view", "view_of", "clone", "rev", "cat", "gather"}
    | {"index", "index_select", "flip", "slice", "select", "unbind", "split", "split_with_sizes", "diagonal", "as_strided"}
)
"""Primitives that move elements and do not compute with them."""


def _reduced(function: Callable[..., Any], x: Any, dims: Any = None, **options: Any) -> Any:
    return function(x, axis=None if dims is None else tuple(dims))


def _variance(x: Any, dims: Any = None, correction: float = 1.0, **options: Any) -> Any:
    return np.var(x, axis=None if dims is None else tuple(dims), ddof=correction)


def _converted(x: Any, dtype: Any) -> Any:
    return x.astype(np.dtype(str(dtype).partition(".")[2]))


# -------------------------------------------------------------------------------------------- windows


def _convolution(
    x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, extra: Any, groups: int
) -> Any:
    pads = [(p, p) for p in padding]
    if transposed:  # x is spread out by the stride, and the windows are those of the kernel backwards
        sizes = w.shape[2:]
        w = w.reshape(groups, len(w) // groups, *w.shape[1:]).swapaxes(1, 2)
        w = np.flip(w.reshape(-1, *w.shape[2:]), tuple(range(2, w.ndim - 1)))
        reach = [d * (k - 1) for d, k in zip(dilation, sizes, strict=True)]
        pads = [(r - p, r - p + e) for r, p, e in zip(reach, padding, extra, strict=True)]
        x, stride = spread_out(x, stride), [1] * len(stride)
    y = correlated(x, w, pads, stride, dilation, groups)
    return y if bias is None else y + bias.reshape(-1, *(1,) * len(stride))


def _averages(
    x: Any, sizes: Sequence[int], strides: Any = (), pads: Any = 0, ceil: bool = False, include: bool = True, by: Any = None
) -> Any:
    """Means over windows. How many elements a window at the border counts is asked of torch, with an array of ones."""
    import torch

    n = len(sizes)
    strides, pads = strides or sizes, [pads] * n if isinstance(pads, int) else pads
    pool = {2: torch.nn.functional.avg_pool2d, 3: torch.nn.functional.avg_pool3d}[n]
    ones = torch.ones((1, *x.shape[-n:]), dtype=torch.float64)
    inside = pool(ones, sizes, strides, pads, ceil, include, 1).numpy()[0]
    means = pool(ones, sizes, strides, pads, ceil, include, by).numpy()[0]
    reach = zip(inside.shape, strides, sizes, x.shape[-n:], pads, strict=True)
    x = padded(x, [(p, (out - 1) * s + k - size - p) for out, s, k, size, p in reach], 0.0)
    return sum(part for _, part in taps(x, sizes, strides, [1] * n)) / np.rint(inside / means)


# -------------------------------------------------------------------------------------------- order


def _most(argument: Callable[..., Any], x: Any, dim: int, keepdim: bool = False) -> Any:
    where = np.expand_dims(np.asarray(argument(x, dim)), dim)
    both = np.take_along_axis(x, where, dim), where
    return both if keepdim else tuple(np.squeeze(one, dim) for one in both)


def _sorted(x: Any, dim: int = -1, descending: bool = False, **options: Any) -> Any:
    order = np.argsort(-x if descending else x, dim)
    return np.take_along_axis(x, order, dim), order


def _top(x: Any, k: int, dim: int = -1, largest: bool = True, ordered: bool = True) -> Any:
    if not ordered:
        raise WORK.refuse("the largest elements in any order")
    return [np.take(one, range(k), dim) for one in _sorted(x, dim, largest)]


def _kth(x: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    both = [np.take(one, range(k - 1, k), dim) for one in _sorted(x, dim)]
    return both if keepdim else [np.squeeze(one, dim) for one in both]


def _median(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Of an even number the lower one of the two in the middle."""
    if dim is None:
        return _kth(x.reshape(-1), (x.size + 1) // 2)[0]
    return _kth(x, (x.shape[dim] + 1) // 2, dim, keepdim)


def _running(ufunc: np.ufunc, x: Any, dim: int) -> Any:
    return ufunc.accumulate(x, dim), None  # where the largest was is not known


# -------------------------------------------------------------------------------------------- writing


def _written(x: Any, places: Any, values: Any, *, add: bool) -> Any:
    """With values at these places, which are numbers of elements."""
    if not add and np.unique(places).size < places.size:
        raise WORK.refuse("two values for one element")
    flat = np.array(lifted(x), object).reshape(-1)
    given = np.broadcast_to(np.asarray(lifted(values), object), places.shape).reshape(-1)
    for place, value in zip(places.reshape(-1), given, strict=True):
        flat[place] = flat[place] + value if add else value
    return BallArray(flat.reshape(x.shape))


def _index_put(x: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    import torch

    numbers = torch.arange(x.size).reshape(x.shape)
    places = torch.ops.aten.index(numbers, [None if one is None else torch.as_tensor(one) for one in indices])
    return _written(x, places.numpy(), values, add=accumulate)


def _scattered(x: Any, dim: int, index: Any, values: Any, *, add: bool) -> Any:
    where = list(np.indices(index.shape))
    where[dim] = index
    if np.ndim(values):
        values = values[tuple(slice(n) for n in index.shape)]
    return _written(x, np.arange(x.size).reshape(x.shape)[tuple(where)], values, add=add)


# -------------------------------------------------------------------------------------------- products and distances


def _trilinear(a: Any, b: Any, c: Any, of_a: Any, of_b: Any, of_c: Any, summed: Any, *unrolled: int) -> Any:
    product = np.expand_dims(a, tuple(of_a)) * np.expand_dims(b, tuple(of_b)) * np.expand_dims(c, tuple(of_c))
    return np.sum(product, axis=tuple(summed))


def _norms(x: Any, p: float) -> Any:
    """Along the last axis."""
    if p == 0:
        raise WORK.refuse("the number of elements that differ")
    if p == 2:
        return np.sqrt(np.sum(x * x, axis=-1))
    size = np.abs(x)
    return np.max(size, axis=-1) if p == np.inf else np.sum(size, axis=-1) if p == 1 else np.sum(size**p, axis=-1) ** (1 / p)


def _distances(a: Any, b: Any, p: float, mode: Any = None) -> Any:
    return _norms(a[..., :, None, :] - b[..., None, :, :], p)


def _distances_inside(x: Any, p: float = 2.0) -> Any:
    i, j = np.triu_indices(len(x), 1)
    return _norms(x[i] - x[j], p)


def _solved(a: Any, b: Any, left: bool = True, check_errors: bool = False) -> Any:
    if not left:
        raise WORK.refuse("a system of equations from the right")
    vector = b.ndim == a.ndim - 1
    found = np.linalg.solve(a, b[..., None] if vector else b)
    return (found[..., 0] if vector else found), None, None, None


def _cholesky(a: Any, upper: bool = False, check_errors: bool = False) -> Any:
    return np.linalg.cholesky(a, upper=upper), None


PRIMITIVES: dict[str, Callable[..., Any]] = {
    **ELEMENTWISE,
    "maximum": np.maximum, "minimum": np.minimum, "fmod": np.fmod, "remainder": np.remainder, "hypot": np.hypot,
    "log2": np.log2, "log10": np.log10, "reciprocal": np.reciprocal, "trunc": np.trunc, "round": np.rint,
    "signbit": np.signbit, "isfinite": np.isfinite, "where": np.where, "erfcx": special.erfcx,
    "sum": partial(_reduced, np.sum), "prod": partial(_reduced, np.prod), "var": _variance,
    "amax": partial(_reduced, np.max), "amin": partial(_reduced, np.min),
    "max": partial(_most, np.argmax), "min": partial(_most, np.argmin), "cumsum": np.cumsum,
    "cummax": partial(_running, np.maximum), "cummin": partial(_running, np.minimum),
    "logcumsumexp": np.logaddexp.accumulate,
    "sort": _sorted, "topk": _top, "kthvalue": _kth, "median": _median,
    "scatter": partial(_scattered, add=False), "scatter_add": partial(_scattered, add=True), "index_put": _index_put,
    "mm": np.matmul, "bmm": np.matmul, "convolution": _convolution, "convert_element_type": _converted,
    "avg_pool2d": _averages, "avg_pool3d": _averages,
    "_trilinear": _trilinear, "_cdist_forward": _distances, "_pdist_forward": _distances_inside,
    "_linalg_solve_ex": _solved, "linalg_cholesky_ex": _cholesky,
    "linalg_inv_ex": lambda x, check_errors=False: (np.linalg.inv(x), None),
    "_linalg_det": lambda x: (np.linalg.det(x), None, None),
    "_linalg_slogdet": lambda x: (*np.linalg.slogdet(x), None, None),
    "full_like": lambda x, value, **options: np.full(x.shape, value),
    "copy": lambda into, x, **options: np.broadcast_to(x, into.shape),
    "constant_pad_nd": lambda x, pads, fill=0.0: padded(x, [*zip(pads[::2], pads[1::2], strict=True)][::-1], fill),
}  # fmt: skip
