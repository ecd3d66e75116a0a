"""Losses between numbers: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.losses.reductions import (
    EMPTY,
    KINK,
    NOTHING,
    ONE,
    REPEATED,
    SATURATED,
    bad_options,
    broadcast_cases,
    by_entries,
    cases_of_entries,
    errors_of,
    fuzzed,
    narrowed,
)
from oracle.spec import Array, Case, Deviation, Draw, Error, Spec, composed, library
from purenet.losses.regression import (
    huber_loss,
    l1_loss,
    log_cosh,
    quantile_loss,
    smooth_l1_loss,
    squared_error,
    sum_squared_error,
)
from purenet.op import Op, vjp


def half_the_sum_by_optax(predictions: Any, targets: Any) -> Any:
    return jnp.sum(optax.losses.l2_loss(*jnp.broadcast_arrays(predictions, targets)))


def absolute_error(predictions: Any, targets: Any) -> Any:
    error = predictions - targets
    return jnp.abs(jnp.where(error == 0, 0, error))  # a constant there: JAX's slope is 1, ours 0


def smooth_l1_by_huber(predictions: Any, targets: Any, *, beta: float = 1.0) -> Any:
    return optax.losses.huber_loss(predictions, targets, delta=beta) / beta


def pinball(predictions: Any, targets: Any, *, quantile: float = 0.5) -> Any:
    error = targets - predictions
    return jnp.maximum(quantile * error, (quantile - 1) * error)


def pair(*shape: int, scale: float = 1.0, **_: Any) -> Any:
    """Draws predictions and targets of this shape."""

    def arguments(draw: Draw) -> tuple[Array, Array]:
        return draw.normal(*shape, scale=scale), draw.normal(*shape, scale=scale)

    return arguments


def unequal(*shape: int, delta: float = 1.0, beta: float | None = None, scale: float = 2.0, **_: Any) -> Any:
    """Draws predictions and targets whose errors are near neither 0 nor a bound, delta or beta."""
    bound = delta if beta is None else beta

    def arguments(draw: Draw) -> tuple[Array, Array]:
        targets = draw.normal(*shape)
        return targets + draw.away_from([-bound, 0.0, bound], *shape, scale=scale, gap=0.05), targets

    return arguments


def far_apart(draw: Draw) -> tuple[Array, Array]:
    return np.array([1e4, -1e4, 40.0, -20.0, 0.5]), np.array([-1e4, 1e4, 0.0, 1.0, 0.25])


def meeting(draw: Draw) -> tuple[Array, Array]:
    """Some are equal, and none other is near."""
    return np.array([1.0, 2.0, -3.0, 0.0]), np.array([1.0, 0.5, -3.0, 4.0])


def slopes_at_target() -> tuple[float, float]:
    """Ours, and JAX's of the absolute value."""
    _, pullback = vjp(l1_loss, np.ones(1), np.ones(1))
    return float(pullback(1.0)[0][0]), float(jax.grad(lambda p: jnp.abs(p - 1.0))(1.0))


def between(op: Op, arguments: Any = pair) -> tuple[Error, ...]:
    return errors_of(op.name, arguments, ("predictions", "targets"))


def errors_of_bound(op: Op, name: str, least: str) -> tuple[Error, ...]:
    return bad_options(
        op.name,
        pair(3),
        ("negative bound", f"{name} must be finite and {least} 0, got -1.0", ValueError, {name: -1.0}),
        ("bound is not a number", f"{name} must be a number, got str", TypeError, {name: "1"}),
    )


SPECS = (
    Spec(
        squared_error,
        reference=by_entries(optax.losses.squared_error),
        source=library("optax.losses.squared_error"),
        cases=(
            *cases_of_entries(pair),
            *broadcast_cases(pair),
            Case("three dimensions", pair(2, 3, 4, scale=1e3)),
            Case("scalars", lambda draw: (np.array(1.5), np.array(-0.25))),
            Case("some are equal", meeting, {"reduction": "none"}),
            Case("nothing counts", pair(2, 3), {"where": np.zeros((2, 3), np.bool_)}, NOTHING),
            Case("zero total weight", pair(2, 3), {"weight": np.zeros(3)}, NOTHING),
        ),
        strategy=fuzzed(pair),
        errors=between(squared_error),
    ),
    Spec(
        sum_squared_error,
        reference=half_the_sum_by_optax,
        source=library("optax.losses.l2_loss"),
        cases=(
            Case("two dimensions", pair(3, 5)),
            Case("three dimensions", pair(2, 3, 4, scale=1e3)),
            Case("some are equal", meeting),
            Case("a row broadcasts", narrowed(pair(3, 4), np.s_[:], np.s_[0]), flags=REPEATED),
            Case("one row", pair(1, 4), flags=ONE),
            Case("no rows", pair(0, 4), flags=EMPTY),
        ),
        strategy=lambda draw: (pair(*draw.shape())(draw), {}),
        errors=between(sum_squared_error)[:2],
    ),
    Spec(
        l1_loss,
        reference=by_entries(absolute_error),
        source=library("jax.numpy.abs"),
        cases=(
            *cases_of_entries(unequal),
            *broadcast_cases(unequal),
            Case("some are equal", meeting, {"reduction": "none"}, KINK),
        ),
        strategy=fuzzed(unequal),
        errors=between(l1_loss),
        deviations=(
            Deviation(
                point="a prediction that equals its target",
                ours=0.0,
                jax=1.0,
                why="the symmetric subgradient: a loss must not push a prediction that is at its target",
                measure=slopes_at_target,
            ),
        ),
        tier=2,
    ),
    Spec(
        huber_loss,
        reference=by_entries(optax.losses.huber_loss),
        source=library("optax.losses.huber_loss"),
        cases=(
            *cases_of_entries(unequal),
            *broadcast_cases(unequal),
            Case("another delta", unequal(3, 4, delta=2.5), {"delta": 2.5, "reduction": "none"}),
            Case("far apart", far_apart, {"delta": 0.125, "reduction": "none"}, SATURATED),
        ),
        strategy=fuzzed(unequal, lambda draw: {"delta": draw.choice([1.0, 0.25, 3.0])}),
        errors=(*between(huber_loss), *errors_of_bound(huber_loss, "delta", "greater than")),
        tier=2,
    ),
    Spec(
        smooth_l1_loss,
        reference=by_entries(smooth_l1_by_huber),
        source=library("optax.losses.huber_loss"),
        cases=(
            *cases_of_entries(unequal),
            *broadcast_cases(unequal),
            Case("another beta", unequal(3, 4, beta=0.25), {"beta": 0.25, "reduction": "none"}),
            Case("far apart", far_apart, {"beta": 0.125, "reduction": "none"}, SATURATED),
        ),
        strategy=fuzzed(unequal, lambda draw: {"beta": draw.choice([1.0, 0.25, 3.0])}),
        errors=(*between(smooth_l1_loss), *errors_of_bound(smooth_l1_loss, "beta", "at least")),
        tier=2,
    ),
    Spec(
        log_cosh,
        reference=by_entries(optax.losses.log_cosh),
        source=library("optax.losses.log_cosh"),
        cases=(
            *cases_of_entries(pair),
            *broadcast_cases(pair),
            Case("some are equal", meeting, {"reduction": "none"}),
            Case("far apart", far_apart, {"reduction": "none"}, SATURATED),
        ),
        strategy=fuzzed(pair),
        errors=between(log_cosh),
        tier=2,
    ),
    Spec(
        quantile_loss,
        reference=by_entries(pinball),
        source=composed("the larger of two lines"),
        cases=(
            *cases_of_entries(unequal, quantile=0.75),
            *broadcast_cases(unequal, quantile=0.75),
            Case("the median", unequal(3, 4)),
            Case("some are equal", meeting, {"quantile": 0.25, "reduction": "none"}, KINK),
        ),
        strategy=fuzzed(unequal, lambda draw: {"quantile": draw.choice([0.5, 0.1, 0.875])}),
        errors=(
            *between(quantile_loss),
            *bad_options(
                "quantile_loss",
                pair(3),
                ("no quantile", "quantile must be in [0, 1], got 1.5", ValueError, {"quantile": 1.5}),
                ("quantile is not a number", "quantile must be a number, got list", TypeError, {"quantile": [0.5]}),
            ),
        ),
        tier=2,
    ),
)
