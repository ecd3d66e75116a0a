"""Arrays joined, cut and repeated. Several arrays are one argument, a tuple or list."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from purenet.checks import integers, one_axis
from purenet.op import Array, Op
from purenet.shaping.layout import new_axes

__all__ = ["concat", "split", "stack", "tile"]


@Op
def concat(arrays: tuple[Array, ...], *, axis: int = 0) -> tuple[Array, Any]:
    """The arrays one after the other along an axis that they have.

    Shapes: arrays: a tuple or list of (..., n_i, ...) -> y (..., sum of n_i, ...)
    Math:
        y    = x_1, then x_2, ... along the axis
        dx_i = the part of dy that x_i became
    Errors: TypeError unless `arrays` is a tuple or list of arrays and `axis` an integer; ValueError where there are no
        arrays, they have no such axis, or differ in another one.
    Source: jax.numpy.concat, also called concatenate. Conventions: one argument, as in NumPy; torch calls `axis` dim.

    >>> import numpy as np, purenet as pn
    >>> pn.concat((np.array([[1.0], [2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])), axis=1)
    array([[1., 3., 4.],
           [2., 5., 6.]])
    """
    first, *others = _arrays("concat", arrays)
    along = one_axis("concat", axis, first)
    for i, x in enumerate(others, start=1):
        if x.ndim != first.ndim or any(n != m for d, (n, m) in enumerate(zip(x.shape, first.shape, strict=True)) if d != along):
            raise ValueError(
                f"concat: arrays must differ in axis {axis} alone, but arrays.0 is {first.shape} and arrays.{i} is {x.shape}"
            )
    ends = np.cumsum([x.shape[along] for x in arrays])
    return np.concatenate(arrays, along), (type(arrays), along, ends[:-1])


@concat.pullback
def concat_bwd(residuals: Any, dy: Array) -> tuple[Any]:
    kind, along, ends = residuals
    return (kind(part.copy() for part in np.split(dy, ends, along)),)


@Op
def stack(arrays: tuple[Array, ...], *, axis: int = 0) -> tuple[Array, Any]:
    """Arrays of one shape side by side along a new axis, which is `axis` of the result.

    Shapes: arrays: a tuple or list of K (...) -> y (..., K, ...)
    Math:
        y[..., k, ...] = x_k
        dx_k           = dy[..., k, ...]
    Errors: TypeError unless `arrays` is a tuple or list of arrays and `axis` an integer; ValueError where there are no
        arrays, their shapes differ, or the result has no such axis.
    Source: jax.numpy.stack. Conventions: torch calls `axis` dim.

    >>> import numpy as np, purenet as pn
    >>> pn.stack((np.array([1.0, 2.0]), np.array([3.0, 4.0])), axis=-1)
    array([[1., 3.],
           [2., 4.]])
    """
    first, *others = _arrays("stack", arrays)
    for i, x in enumerate(others, start=1):
        if x.shape != first.shape:
            raise ValueError(f"stack: arrays must have one shape, but arrays.0 is {first.shape} and arrays.{i} is {x.shape}")
    if isinstance(axis, tuple):
        raise TypeError(f"stack: axis must be an integer, got {axis}")
    (along,) = new_axes("stack", axis, first.ndim)
    return np.stack(arrays, along), (type(arrays), along)


@stack.pullback
def stack_bwd(residuals: Any, dy: Array) -> tuple[Any]:
    kind, along = residuals
    return (kind(np.array(part) for part in np.moveaxis(dy, along, 0)),)


@Op
def split(x: Array, *, indices_or_sections: int | tuple[int, ...], axis: int = 0) -> tuple[tuple[Array, ...], int]:
    """Parts of x along an axis: as many equal ones as an integer says, or cut before the entries that a tuple names.

    Shapes: x (..., n, ...) -> y: a tuple of (..., n_i, ...), their n_i adding up to n
    Math:
        y  = x[..., :a, ...], x[..., a:b, ...], ..., x[..., c:, ...] for the places a, b, ..., c
        dx = the dy_i one after the other
    Errors: TypeError unless `indices_or_sections` is an integer or a tuple of them and `axis` an integer; ValueError where x
        has no such axis, the integer does not divide it, or the places do not ascend in it.
    Source: jax.numpy.split. Conventions: a tuple, NumPy returns a list; torch.split takes the sizes of the parts, as ONNX's
        Split does, and its tensor_split is this, but also cuts unevenly. The parts are views of x.

    >>> import numpy as np, purenet as pn
    >>> pn.split(np.array([1.0, 2.0, 3.0, 4.0]), indices_or_sections=(1, 3))
    (array([1.]), array([2., 3.]), array([4.]))
    """
    along = one_axis("split", axis, x)
    n = x.shape[along]
    if isinstance(indices_or_sections, tuple | list):
        places = integers("split", "indices_or_sections", indices_or_sections, len(indices_or_sections), low=0)
        if any(a > b for a, b in pairwise((*places, n))):
            raise ValueError(f"split: indices_or_sections must ascend to at most {n}, got {indices_or_sections}")
        return tuple(np.split(x, places, along)), along
    (sections,) = integers("split", "indices_or_sections", indices_or_sections, 1)
    if n % sections:
        raise ValueError(f"split: indices_or_sections must divide the {n} entries of axis {axis}, got {sections}")
    return tuple(np.split(x, sections, along)), along


@split.pullback
def split_bwd(along: int, dy: tuple[Array, ...]) -> tuple[Array]:
    return (np.concatenate(dy, along),)


@Op
def tile(x: Array, *, reps: int | tuple[int, ...]) -> tuple[Array, Any]:
    """Copies of x side by side along each axis, as many as `reps` says; the shorter of `reps` and x.shape gets ones in front.

    Shapes: x (n_1, n_2, ...), reps (r_1, r_2, ...) -> y (r_1 n_1, r_2 n_2, ...)
    Math:
        y[i, j, ...] = x[i mod n_1, j mod n_2, ...]
        dx           = the sum of the dy of all copies
    Errors: TypeError unless `reps` is an integer or a tuple of them; ValueError where one is negative.
    Source: jax.numpy.tile. Conventions: as torch.tile; ONNX's Tile wants as many repeats as axes.

    >>> import numpy as np, purenet as pn
    >>> y, pullback = pn.vjp(pn.tile, np.array([1.0, 2.0]), reps=3)
    >>> y, pullback(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))[0]
    (array([1., 2., 1., 2., 1., 2.]), array([ 9., 12.]))
    """
    times = integers("tile", "reps", reps, len(reps) if isinstance(reps, tuple | list) else 1, low=0)
    sizes = (1,) * (len(times) - x.ndim) + x.shape
    times = (1,) * (x.ndim - len(times)) + times
    return np.tile(x, times), (x.shape, tuple(n for pair in zip(times, sizes, strict=True) for n in pair))


@tile.pullback
def tile_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    shape, copies = residuals
    return (np.asarray(dy.reshape(copies).sum(axis=tuple(range(0, len(copies), 2)))).reshape(shape),)


def _arrays(op: str, arrays: Any) -> Any:
    if type(arrays) not in (tuple, list) or not all(isinstance(x, np.ndarray) for x in arrays):
        raise TypeError(f"{op}: arrays must be a tuple or list of arrays, got {type(arrays).__name__}")
    if not arrays:
        raise ValueError(f"{op}: arrays must hold at least one array")
    return arrays
