"""Elementary functions of single entries: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import purenet as pn
from oracle.spec import Array, Case, Deviation, Draw, Error, Flag, Spec, library
from purenet.elementwise.unary import absolute, cos, erf, exp, log, sin, sqrt, square

Numbers = Callable[..., Array]
"""From a draw and a shape to an array of numbers at which the function has a slope."""
SATURATED, KINK = frozenset({Flag.SATURATED}), frozenset({Flag.AT_KINK, Flag.REPEATED})


def any_numbers(draw: Draw, *shape: int) -> Array:
    return draw.normal(*shape, scale=2.0)


def positive(draw: Draw, *shape: int) -> Array:
    return draw.uniform(*shape, low=0.25, high=6.0)


def no_zeros(draw: Draw, *shape: int) -> Array:
    return np.asarray(draw.away_from([0.0], *shape, scale=2.0, gap=0.1))


def absolute_by_jax(x: Any) -> Any:
    return jnp.abs(jnp.where(x == 0, 0, x))  # a constant there: JAX's slope is 1, ours 0


def slopes_at_zero() -> tuple[float, float]:
    """Ours, and JAX's."""
    return float(pn.vjp(absolute, np.array(0.0))[1](1.0)[0]), float(jax.grad(jnp.abs)(0.0))


def at(*x: float) -> Callable[[Draw], tuple[Array]]:
    return lambda draw: (np.array(x),)


def spec(op: Any, reference: Any, numbers: Numbers, *more: Case, name: str = "", **record: Any) -> Spec:
    def case(what: str, *shape: int, flags: frozenset[Flag] = frozenset()) -> Case:
        return Case(what, lambda draw: (numbers(draw, *shape),), flags=flags)

    refused = f"{op.name}: x must be a floating-point array"
    return Spec(
        op,
        reference=reference,
        source=library(name or f"jax.numpy.{op.name}"),
        cases=(
            case("two dimensions", 3, 5),
            case("three dimensions", 2, 3, 4),
            case("scalar"),
            case("one row", 1, 4, flags=frozenset({Flag.BATCH_OF_ONE})),
            case("no rows", 0, 4, flags=frozenset({Flag.EMPTY_BATCH})),
            *more,
        ),
        strategy=lambda draw: ((numbers(draw, *draw.shape()),), {}),
        errors=(
            Error("integer x", lambda draw: (draw.labels(9, 3),), TypeError, refused),
            Error("complex x", lambda draw: (draw.normal(3) * 1j,), TypeError, refused),
            Error("two arguments", lambda draw: (draw.normal(3), draw.normal(3)), TypeError, f"{op.name}: takes 1 positional"),
        ),
        tier=2,
        **record,
    )


SPECS = (
    spec(exp, jnp.exp, any_numbers, Case("far below 0", at(-1e4, -30.0, -8.0, 0.5), flags=SATURATED)),
    spec(log, jnp.log, positive, Case("near 0 and far away", at(1e-3, 1.0, 1e4), flags=SATURATED)),
    spec(sqrt, jnp.sqrt, positive, Case("near 0 and far away", at(1e-3, 1.0, 1e4), flags=SATURATED)),
    spec(square, jnp.square, any_numbers, Case("zeros", at(0.0, -0.0, 0.5)), Case("large", at(-100.0, 200.0), flags=SATURATED)),
    spec(
        absolute,
        absolute_by_jax,
        no_zeros,
        Case("zeros", at(0.0, -0.0, 0.5, -2.0), flags=KINK),
        name="jax.numpy.abs",
        deviations=(
            Deviation(
                point="the absolute value at 0",
                ours=0.0,
                jax=1.0,
                why="the symmetric subgradient: no side is preferred",
                measure=slopes_at_zero,
            ),
        ),
    ),
    spec(sin, jnp.sin, any_numbers, Case("many turns", at(-100.0, 31.0, 400.0))),
    spec(cos, jnp.cos, any_numbers, Case("many turns", at(-100.0, 31.0, 400.0))),
    spec(
        erf,
        jax.scipy.special.erf,
        any_numbers,
        Case("flat ends", at(-1e4, -6.0, -4.0, 0.25, 4.0, 30.0), flags=SATURATED),
        name="jax.scipy.special.erf",
    ),
)
