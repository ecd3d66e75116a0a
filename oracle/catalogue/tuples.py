"""An op of the first entry of a tuple: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

import purenet as pn
from oracle.spec import Case, Draw, Error, Flag, Spec, composed
from purenet.tuples import first

Arguments = tuple[Any, ...]

FIRST = first(pn.affine)


def first_by_dot(params: dict[str, Any], x: Any) -> Any:
    return jnp.dot(x[0], params["w"]) + params["b"], *x[1:]


def entries(draw: Draw, *x: int) -> Arguments:
    """What an affine map takes, beside a state (h, c) that passes."""
    params = {"w": draw.normal(x[-1], 2), "b": draw.normal(2)}
    return params, (draw.normal(*x), (draw.normal(*x[:1], 3), draw.normal(*x[:1])))


def mixed(draw: Draw) -> Arguments:
    params, (x, state) = entries(draw, 2, 3)
    return params, (x, tuple(s.astype(np.float32) for s in state))


SPECS = (
    Spec(
        FIRST,
        tier=2,
        reference=first_by_dot,
        source=composed("jax.numpy.dot of the first entry"),
        cases=(
            Case("two sequences", lambda draw: entries(draw, 2, 3, 2)),
            Case("one row", lambda draw: entries(draw, 1, 2), flags=frozenset({Flag.BATCH_OF_ONE})),
            Case("nothing passes", lambda draw: (entries(draw, 2, 2)[0], (draw.normal(2, 2),))),
            Case("no rows", lambda draw: entries(draw, 0, 2), flags=frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=lambda draw: (entries(draw, *draw.shape(), draw.between(1, 3)), {}),
        errors=(
            Error(
                "an array",
                lambda draw: (entries(draw, 2, 2)[0], draw.normal(2, 2)),
                TypeError,
                "first(affine): x must be a tuple, whose first entry affine takes, got ndarray",
            ),
            Error("nothing", lambda draw: (entries(draw, 2, 2)[0], ()), TypeError, "got an empty one"),
            Error(
                "integers that pass",
                lambda draw: (entries(draw, 2, 2)[0], (draw.normal(2, 2), np.array([1]))),
                TypeError,
                "first(affine): x.1 must be a floating-point array",
            ),
            Error("two dtypes", mixed, TypeError, "first(affine): entries must share one dtype, but the first is float64"),
            Error("another width", lambda draw: (entries(draw, 2, 2)[0], (draw.normal(2, 3),)), ValueError, "affine: x must"),
        ),
    ),
)
