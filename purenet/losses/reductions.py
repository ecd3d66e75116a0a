"""The reduction that all losses share: which terms count, their weights, and how they become one value.

`weight` is a factor for each term and `where` chooses the terms that count; a term of weight 0 does not count either. A term
that does not count adds 0 and gets no gradient, even if it is NaN. The mean divides by the sum of the weights, and is 0 if the
sum is 0.

The arguments of a loss broadcast to each other where torch's do. There is a term for each entry, or row, of what they broadcast
to, and `of_arguments` sums the cotangents over what was repeated.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from purenet import entrywise
from purenet.checks import axes, choice, common_shape, factors, mask
from purenet.linear.products import unbroadcast
from purenet.op import Array

__all__ = [
    "REDUCTIONS",
    "Axis",
    "Mask",
    "Reduction",
    "Weight",
    "common",
    "of_arguments",
    "paired",
    "product",
    "reduce",
    "reduction_of",
    "rows_of",
    "spread",
]

REDUCTIONS = ("mean", "sum", "none")

Weight: TypeAlias = Array | float | None
"""Numbers of at least 0 that broadcast to the terms."""
Mask: TypeAlias = Array | None
"""Booleans, true where something counts."""
Axis: TypeAlias = int | tuple[int, ...] | None
"""One, several, or all."""
Shapes: TypeAlias = tuple[tuple[int, ...], ...]


class Reduction(NamedTuple):
    """The reduction of the terms of a loss to its value."""

    how: str
    factor: Array | None
    """The weight of each term, as numbers or booleans; None if all are 1."""
    total: Any
    """The divisor of the mean."""
    shapes: Shapes = ()
    """Those of the arguments, which broadcast to the terms or their entries."""

    def value(self, terms: Array) -> Array:
        """The terms, their sum, or their mean."""
        if self.factor is not None:
            terms = product(self.factor, terms)
        return np.asarray(reduce(terms, self.how, self.total))

    def cotangent(self, dy: Array, along: tuple[int, ...] = ()) -> Array:
        """The cotangent of each term (or the one of all of them), given that of the value; with the axes `along` of size 1."""
        dl = spread(dy, self.how, self.total)
        if self.factor is not None:
            dl = dl * self.factor
        return np.expand_dims(dl, along) if dl.ndim else np.asarray(dl)

    def counted(self, x: Array, fill: float = 0) -> Array:
        """`x`, with `fill` in place of entries that do not count, which may be NaN."""
        return x if self.factor is None else entrywise.where(self.factor != 0, x, fill)


def reduction_of(op: str, shape: tuple[int, ...], dtype: Any, how: str, weight: Any = None, where: Any = None) -> Reduction:
    """The reduction of terms of this shape and dtype, after checks of its options."""
    choice(op, "reduction", how, REDUCTIONS)
    kept = None if where is None else mask(op, "where", where, shape)
    if weight is None:
        total = np.prod(shape, dtype=int) if kept is None else np.count_nonzero(kept)
        return Reduction(how, kept, int(total))
    factor = factors(op, "weight", weight, shape, dtype)
    if kept is not None:
        factor = factor * kept
    return Reduction(how, factor, factor.sum())


def paired(op: str, how: str, weight: Any, where: Any, **arrays: Array) -> tuple[Reduction, list[Array]]:
    """The reduction of a loss with a term for each entry of arrays that broadcast, and these in one shape, 0 if not counted."""
    shape, dtype, shapes, spread = common(op, arrays)
    by = reduction_of(op, shape, dtype, how, weight, where)._replace(shapes=shapes)
    return by, [by.counted(array) for array in spread]


def rows_of(
    op: str, how: str, weight: Any, where: Any, axis: Any, **arrays: Array
) -> tuple[Reduction, tuple[int, ...], list[Array]]:
    """The reduction of a loss with a term for each row of arrays that broadcast, the axes of a row, and these in one shape.

    `where` says which entries of the rows count; a row without any does not count, nor does one of weight 0. What does not
    count becomes 0.
    """
    shape, dtype, shapes, spread = common(op, arrays)
    along = axes(op, axis, spread[0])
    rows = tuple(n for i, n in enumerate(shape) if i not in along)
    kept = None if where is None else mask(op, "where", where, shape)
    by = reduction_of(op, rows, dtype, how, weight, None if kept is None else kept.any(axis=along))
    by = by._replace(shapes=shapes)
    if by.factor is not None:
        of_rows = np.expand_dims(by.factor != 0, along)
        kept = of_rows if kept is None else kept & of_rows
    return by, along, [array if kept is None else entrywise.where(kept, array, 0) for array in spread]


def of_arguments(by: Reduction, *cotangents: Array) -> tuple[Array, ...]:
    """The cotangents of the differentiated arguments, which come first, given those of what they were broadcast to."""
    return tuple(unbroadcast(d, shape) for d, shape in zip(cotangents, by.shapes, strict=False))


def reduce(terms: Array, reduction: str, total: Any) -> Array:
    """The terms, their sum, or their sum over `total` (their number or their total weight), which is 0 where `total` is."""
    if reduction == "none":
        return terms
    value = terms.sum()
    if reduction == "mean":
        value = value / total if total > 0 else np.zeros_like(value)
    return np.asarray(value)


def spread(dy: Array, reduction: str, total: Any) -> Array:
    """The cotangent of each term (or the one of all of them), given that of the reduced value."""
    if reduction == "mean":
        return np.asarray(dy / total if total > 0 else np.zeros_like(dy))
    return dy


def product(weights: Array, x: Array) -> Array:
    """The product weights * x, with 0 where a weight is 0, even if x is infinite or NaN there."""
    return np.asarray(weights * entrywise.where(weights != 0, x, 0))


def common(op: str, arrays: dict[str, Array]) -> tuple[tuple[int, ...], Any, Shapes, list[Array]]:
    """The shape that the arrays broadcast to, the dtype of the first, their own shapes, and the arrays in the common shape."""
    given, shapes = list(arrays.values()), {name: array.shape for name, array in arrays.items()}
    shape = common_shape(op, **shapes)
    spread = [a if a.shape == shape else np.broadcast_to(a, shape) for a in given]
    return shape, given[0].dtype, tuple(shapes.values()), spread
