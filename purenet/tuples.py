"""A combinator for values that are tuples: the first entry goes through an op, and the others only pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import optree

from purenet.op import Array, Op, Residuals, Tree
from purenet.stages import Wrapped, takes_data

__all__ = ["first"]


class First(Wrapped):
    """An Op of the first entry of a tuple, which passes the others on; made by `first`."""

    def __init__(self, op: Op) -> None:
        super().__init__(op, f"first({op.name})", f"{op.name} of the first entry of a tuple; the others pass.")
        self.arrays = (*self.arrays[:-1], False)

    def fwd(self, *primals: Any, **options: Any) -> tuple[Any, Residuals]:
        last = self.arguments[-1]
        given = dict(options)
        if last in given:
            whole = given[last]
        elif primals:
            whole = primals[-1]
        else:
            raise TypeError(f"{self.name}: takes {last}, a tuple, got none")
        if not isinstance(whole, tuple) or not whole:
            got = "an empty one" if isinstance(whole, tuple) else type(whole).__name__
            raise TypeError(f"{self.name}: {last} must be a tuple, whose first entry {self.op.name} takes, got {got}")
        x, *others = whole
        if last in given:
            given[last] = x
        else:
            primals = (*primals[:-1], x)
        value, inner = self._run(primals, given)
        y: Any = (value, *(self._passing(entry, i, inner.dtype) for i, entry in enumerate(others, start=1)))
        leaves, structure = optree.tree_flatten(y)
        shapes = tuple(leaf.shape for leaf in leaves)
        return y, Residuals(self.name, inner, inner.dtype, structure, shapes, inner.differentiated)

    def bwd(self, residuals: Residuals, dy: Any) -> tuple[Any, ...]:
        self._check_residuals(residuals)
        dvalue, *dothers = self._cotangent(residuals, dy)
        cotangents = self.op.bwd(residuals.saved, dvalue)
        if len(self.arguments) - 1 not in residuals.differentiated:
            return cotangents
        *others, dx = cotangents
        return (*others, (dx, *optree.tree_map(np.copy, dothers)))

    def _passing(self, entry: Tree, place: int, dtype: np.dtype[Any]) -> Tree:
        """A copy of an entry that passes: no value shares memory with an argument."""

        def copied(path: Any, leaf: Any) -> Array:
            array = self._array(".".join((self.arguments[-1], str(place), *map(str, path))), leaf)
            if array.dtype != dtype:
                raise TypeError(
                    f"{self.name}: entries must share one dtype, but the first is {dtype} and entry {place} is {array.dtype}"
                )
            return array.copy()

        return optree.tree_map_with_path(copied, entry)


def first(op: Op) -> First:
    """An Op of the first entry of a tuple, which passes the others on: what follows a recurrent layer, whose carry passes.

    Shapes: params as `op` takes them, x (its x, others ...) -> y (its y, others ...)
    Math:
        y = (f(params, x_1), x_2, ..., x_n)
        dparams, d = f.bwd(dy_1),  dx = (d, dy_2, ..., dy_n)
    Errors: TypeError unless `op` is an Op that takes x, and x a tuple of arrays of one dtype; those of `op`.
    Source: Hughes, Generalising monads to arrows (2000), where it is named so. Conventions: parameters, keywords and residuals
        are those of `op`. A loss of this kind gives (loss, others), as functions with has_aux give them in JAX: the cotangent
        of what passes is zeros unless something is made of it.

    >>> import numpy as np, purenet as pn
    >>> net = pn.chain(rnn=pn.rnn.bind(activation="relu"), affine=pn.first(pn.affine))
    >>> params = {"rnn": {"wx": np.ones((1, 1)), "wh": np.ones((1, 1))}, "affine": {"w": np.array([[10.0]])}}
    >>> ys, carry = net(params, np.array([[[1.0], [2.0]]]), rnn={"carry": np.array([[4.0]])})
    >>> ys.ravel(), carry
    (array([50., 70.]), array([[7.]]))
    """
    if not isinstance(op, Op):
        raise TypeError(f"first: op must be an Op, got {type(op).__name__}")
    if not takes_data(op):
        raise TypeError(f"first: op must take x, but {op.name} takes parameters alone")
    return First(op)
