"""Weights that are normalized before they are used: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from oracle.spec import Case, Deviation, Draw, Error, Flag, Spec, library
from purenet import vjp
from purenet.normalization import weight_norm

Arguments = tuple[Any, ...]


class Weights(eqx.Module):
    """A layer that gives its weights, whatever it is applied to."""

    weight: Any

    def __call__(self, x: Any, **_: Any) -> Any:
        return self.weight


def weight_norm_by_equinox(v: Any, g: Any, *, axis: int | None = 0) -> Any:
    own = axis if axis is None else axis % v.ndim
    others = tuple(a for a in range(v.ndim) if a != own)
    zero = jnp.sum(v * v, axis=others, keepdims=True) == 0  # where equinox gives NaN
    layer = eqx.nn.WeightNorm(Weights(jnp.where(zero, 1, v)), axis=own)
    return jnp.where(zero, 0, eqx.tree_at(lambda m: m.g, layer, g)(None))


def at_zeros() -> tuple[float, float]:
    """The slope of the first weight by the first entry of a slice of zeros."""
    v, g = np.zeros((1, 2)), np.ones((1, 1))
    _, pullback = vjp(weight_norm, v, g)
    theirs = jax.grad(lambda v: (v * g / jnp.linalg.norm(v))[0, 0])(v)
    return float(pullback(np.array([[1.0, 0.0]]))[0][0, 0]), float(theirs[0, 0])


def lengths_of(v: Any, axis: int | None) -> tuple[int, ...]:
    """The shape of g."""
    return tuple(n if axis is not None and a == axis % v.ndim else 1 for a, n in enumerate(v.shape))


def directed(*shape: int, axis: int | None = 0, scale: float = 1.0) -> Callable[[Draw], Arguments]:
    """Draws v, away from zeros, and g."""

    def arguments(draw: Draw) -> Arguments:
        v = draw.away_from([0.0], *shape, scale=scale)
        return v, draw.normal(*lengths_of(v, axis))

    return arguments


def with_a_row_of_zeros(draw: Draw) -> Arguments:
    return np.concatenate([draw.normal(1, 3), np.zeros((1, 3))]), draw.normal(2, 1)


def lengths(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    shape = tuple(draw.between(1, 4) for _ in range(draw.between(1, 3)))
    axis = draw.choice([0, -1, None])
    options = {} if axis == 0 else {"axis": axis}
    return directed(*shape, axis=axis, scale=draw.choice([1.0, 5.0]))(draw), options


ONE, NONE, ZERO, SATURATED, DEFINED = (
    frozenset({f}) for f in (Flag.BATCH_OF_ONE, Flag.EMPTY_BATCH, Flag.ZERO_GRADIENT, Flag.SATURATED, Flag.NOT_THE_DERIVATIVE)
)


def bad_axis(op: str, name: str, make: Callable[[Draw], Arguments], **options: Any) -> tuple[Error, ...]:
    """What is wrong with an axis, where `name` has shape (3, 4)."""

    def bad(what: str, match: str, axis: Any, by: type[Exception] = TypeError) -> Error:
        return Error(what, make, by, f"{op}: axis must be {match}", {**options, "axis": axis})

    return (
        bad("no such axis", f"one of the 2 axes of {name} (3, 4), got 2", 2, ValueError),
        bad("axis by name", "an integer, got 'out'", "out"),
        bad("two axes", "an integer, got (0, 1)", (0, 1)),
    )


SPECS = (
    Spec(
        weight_norm,
        tier=3,
        reference=weight_norm_by_equinox,
        source=library("equinox.nn.WeightNorm"),
        cases=(
            Case("rows", directed(3, 4)),
            Case("columns", directed(4, 3, axis=-1), {"axis": -1}),
            Case("kernels of a convolution", directed(3, 2, 2, 1)),
            Case("all weights together", directed(2, 3, axis=None), {"axis": None}),
            Case("of size 1e4", directed(2, 3, scale=1e4), flags=SATURATED),
            Case("rows of one entry", lambda draw: (draw.away_from([0.0], 3, 1), draw.normal(3, 1)), {}, ZERO),
            Case("zeros", with_a_row_of_zeros, {}, DEFINED),
            Case("one row", directed(1, 4), flags=ONE),
            Case("no rows", directed(0, 3), flags=NONE),
        ),
        strategy=lengths,
        errors=(
            *bad_axis("weight_norm", "v", directed(3, 4)),
            Error(
                "lengths as a vector",
                lambda draw: (draw.normal(3, 4), draw.normal(3)),
                ValueError,
                "weight_norm: g must have shape (3, 1) to match v (3, 4) along axis 0, got (3,)",
            ),
            Error(
                "lengths of the other axis",
                directed(3, 4, axis=1),
                ValueError,
                "weight_norm: g must have shape (1, 1) to match v (3, 4) along axis None, got (1, 4)",
                {"axis": None},
            ),
        ),
        deviations=(
            Deviation(
                point="a slice of zeros",
                ours=0.0,
                jax=float("nan"),
                why="zeros have no direction, and a weight of a unit that is off must not become NaN",
                measure=at_zeros,
            ),
        ),
    ),
)
