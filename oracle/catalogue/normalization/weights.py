"""Weights that are normalized before they are used: references, cases, strategies."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from oracle.catalogue.blocks import in_small_blocks
from oracle.spec import Case, Deviation, Draw, Error, Flag, Spec, library
from purenet import row_blocks, vjp
from purenet.normalization import SingularVectors, spectral_norm, weight_norm, weight_standardization
from purenet.normalization.core import FEW

Arguments = tuple[Any, ...]

MODULE = importlib.import_module("purenet.normalization.weights")


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


def spectral_norm_by_equinox(
    w: Any, *, state: Any, axis: int = 0, n_power_iterations: int = 1, eps: float = 1e-12
) -> tuple[Any, SingularVectors]:
    rows = jnp.moveaxis(w, axis, 0)
    height, width = len(rows), math.prod(rows.shape[1:])
    u, v = (jnp.asarray(s, w.dtype) for s in state)
    if not rows.size:
        return w, singular(u, 0 * v)
    zero = jnp.all(w == 0)  # where equinox gives NaN
    layer = eqx.nn.SpectralNorm(
        Weights(np.ones((height, width), w.dtype)), "weight", n_power_iterations, eps, key=jax.random.key(0)
    )
    before: Any = eqx.nn.State(layer)
    matrix = jnp.where(zero, jnp.eye(height, width, dtype=w.dtype), rows.reshape(height, width))
    layer = eqx.tree_at(lambda m: m.layer.weight, layer, matrix)
    y, after = layer(None, before.set(layer.uv_index, (u, v)))
    y = jnp.moveaxis(jnp.where(zero, 0, y).reshape(rows.shape), 0, axis)
    return y, singular(*(jnp.where(zero & (n_power_iterations > 0), 0, s) for s in after.get(layer.uv_index)))


def singular(u: Any, v: Any) -> SingularVectors:
    return SingularVectors(u, v)


def standardized_by_jax(w: Any, *, axis: int = 0, eps: float = 1e-5) -> Any:
    others = tuple(a for a in range(w.ndim) if a != axis % w.ndim)
    if not w.size:
        return w
    mean, var = w.mean(others, keepdims=True), w.var(others, keepdims=True)  # its own variance loses digits
    return jax.nn.standardize(w, axis=others, mean=mean, variance=var, epsilon=eps)


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
    """Draws v, away from zeros, and g, both of this scale."""

    def arguments(draw: Draw) -> Arguments:
        v = draw.away_from([0.0], *shape, scale=scale)
        return v, draw.normal(*lengths_of(v, axis), scale=scale)

    return arguments


def weights(*shape: int, scale: float = 1.0) -> Callable[[Draw], Arguments]:
    return lambda draw: (draw.normal(*shape, scale=scale),)


def with_a_row_of_zeros(draw: Draw) -> Arguments:
    return np.concatenate([draw.normal(1, 3), np.zeros((1, 3))]), draw.normal(2, 1)


def estimates(rows: int, columns: int, **options: Any) -> Callable[[Draw], dict[str, Any]]:
    """Draws vectors of about length 1."""
    return lambda draw: {
        "state": (draw.normal(rows, scale=rows**-0.5), draw.normal(columns, scale=columns**-0.5)),
        **options,
    }


def spectra(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    shape = tuple(draw.between(2, 4) for _ in range(draw.between(2, 3)))  # of one weight y is constant
    axis = draw.choice([0, -1])
    rows = shape[axis]
    state = tuple(draw.uniform(n, low=0.5, high=1.0) for n in (rows, math.prod(shape) // rows))
    w = draw.uniform(*shape, low=0.1, high=2.0)  # so that the estimate of sigma is not near 0
    return (w,), {"state": state, "n_power_iterations": 0} | ({} if axis == 0 else {"axis": axis})


def kernels(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    shape = tuple(draw.between(2, 4) for _ in range(draw.between(2, 4)))
    options: dict[str, Any] = {"axis": -1} if draw.choice([False, True]) else {}
    if draw.choice([False, True]):
        options |= {"eps": draw.choice([1e-3, 0.5])}
    return (draw.normal(*shape, scale=draw.choice([1.0, 5.0])),), options


def lengths(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    shape = tuple(draw.between(2, 4) for _ in range(draw.between(2, 3)))  # the direction of one weight is constant
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
            Case("many weights", directed(7, 17, 18)),
            Case("all weights together", directed(2, 3, axis=None), {"axis": None}),
            Case("of size 1e4", directed(2, 3, scale=1e4), flags=SATURATED),
            Case("rows of one entry", lambda draw: (np.array([[2.0], [-0.5], [4.0]]), draw.normal(3, 1)), {}, ZERO),
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
    Spec(
        in_small_blocks(weight_norm, ((MODULE, {"PLAIN": -1}), (row_blocks, {"BLOCK": 64}))),
        reference=weight_norm_by_equinox,
        source=library("equinox.nn.WeightNorm"),
        cases=(Case("two rows at a time", directed(5, 2, 2)), Case("rows larger than a block", directed(3, 20))),
        strategy=lengths,
        tier=3,
    ),
    Spec(
        spectral_norm,
        tier=3,
        reference=spectral_norm_by_equinox,
        source=library("equinox.nn.SpectralNorm"),
        cases=(
            Case("inference, rows", weights(3, 4), estimates(3, 4, n_power_iterations=0)),
            Case("inference, columns", weights(4, 2), estimates(2, 4, n_power_iterations=0, axis=-1)),
            Case("inference, the middle axis", weights(2, 3, 2), estimates(3, 4, n_power_iterations=0, axis=1)),
            Case("inference, size 1e4", weights(2, 3, scale=1e4), estimates(2, 3, n_power_iterations=0), SATURATED),
            Case("one iteration", weights(3, 2, 2, 1), estimates(3, 4), DEFINED),
            Case("three iterations, columns", weights(4, 3), estimates(3, 4, n_power_iterations=3, axis=-1), DEFINED),
            Case("a large eps", weights(3, 2), estimates(3, 2, eps=10.0), DEFINED),
            Case("zeros", lambda draw: (np.zeros((2, 3)),), estimates(2, 3), DEFINED | ZERO),
            Case("one row", weights(1, 4), estimates(1, 4, n_power_iterations=0), ONE),
            Case("no rows", weights(0, 3), {"state": (np.zeros(0), np.zeros(3))}, NONE),
        ),
        strategy=spectra,
        errors=(
            *bad_axis("spectral_norm", "w", weights(3, 4), state=(np.ones(3), np.ones(4))),
            *(
                Error(what, weights(3, 4), by, f"spectral_norm: {match}", {"state": (np.ones(3), np.ones(4)), **options})
                for what, match, by, options in (
                    ("all axes", "axis must be an integer, got None", TypeError, {"axis": None}),
                    ("one vector", "state must be a pair (u, v) of arrays, got ndarray", TypeError, {"state": np.ones(3)}),
                    (
                        "vectors swapped",
                        "state.u must have shape (3,) to match w, got (4,)",
                        ValueError,
                        {"state": (np.ones(4), np.ones(3))},
                    ),
                    (
                        "vectors of integers",
                        "state.v must be a floating-point array, got int64",
                        TypeError,
                        {"state": (np.ones(3), np.ones(4, int))},
                    ),
                    (
                        "fewer than none",
                        "n_power_iterations must be at least 0, got -1",
                        ValueError,
                        {"n_power_iterations": -1},
                    ),
                    (
                        "without end",
                        "n_power_iterations must be at most 10000, got 100000",
                        ValueError,
                        {"n_power_iterations": 10**5},
                    ),
                    ("half", "n_power_iterations must be an integer, got 0.5", TypeError, {"n_power_iterations": 0.5}),
                    ("negative eps", "eps must be finite and at least 0, got -1.0", ValueError, {"eps": -1.0}),
                )
            ),
            Error("no state", weights(3, 4), TypeError, "spectral_norm: missing the keyword argument 'state'"),
        ),
    ),
    Spec(
        weight_standardization,
        tier=3,
        reference=standardized_by_jax,
        source=library("jax.nn.standardize"),
        cases=(
            Case("rows", weights(3, 4)),
            Case("columns", weights(5, 2), {"axis": -1}),
            Case("kernels of a convolution", weights(2, 3, 2, 2), {"eps": 1e-3}),
            Case("the middle axis", weights(2, 2, 3), {"axis": 1}),
            Case("more weights than a few", weights(2, FEW + 1)),
            Case("far from 0", lambda draw: (draw.normal(2, 5) + 30,), {"eps": 0.5}),
            Case(
                "equal weights",
                lambda draw: (np.concatenate([draw.normal(1, 3), np.full((1, 3), 2.0)]),),
                {"eps": 0.25},
                frozenset({Flag.REPEATED}),
            ),
            Case("of size 1e4", weights(2, 4, scale=1e4), {}, SATURATED),
            Case("rows of one weight", weights(3, 1), {}, ZERO),
            Case("one row", weights(1, 4), {}, ONE),
            Case("no rows", weights(0, 3), {}, NONE),
        ),
        strategy=kernels,
        errors=(
            *bad_axis("weight_standardization", "w", weights(3, 4)),
            Error(
                "negative eps",
                weights(3, 4),
                ValueError,
                "weight_standardization: eps must be finite and at least 0, got -0.1",
                {"eps": -0.1},
            ),
            Error(
                "integers",
                lambda draw: (draw.labels(9, 3, 4),),
                TypeError,
                "weight_standardization: w must be a floating-point array",
            ),
        ),
    ),
)
