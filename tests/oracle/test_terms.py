"""Diagnoses with fitted numbers: terms, factors along an axis, clipping, rounding to a narrow float."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from oracle import Verdict, verify
from tests.oracle.planted import Array, Pair, cube, elementwise, found, normal, row, signed

alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])
GAMMA, X = normal(7) + 2, normal(5, 7)


def cause(op: Pair, *primals: Array, reference: Callable[..., Any] | None = None, parameter: str = "x", **options: Any) -> str:
    """The diagnosis of the wrong gradient of `parameter`; the others are right."""
    result = verify(op, *primals, reference=reference, **options)
    assert [r.parameter for r in result.rows if not r.passed] == [parameter]
    return row(result, parameter).diagnosis


# ------------------------------------------------------------------------------------------------- norms


def norm(dx: Callable[..., Array]) -> Pair:
    """gamma (x - mean) / deviation along the last axis, whose gradient `dx(gamma, h, s, dy)` may be wrong."""

    def norm_fwd(gamma: Array, x: Array) -> Any:
        x = np.asarray(x)  # so that `paths` does not see what is made of it
        s = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
        h = (x - x.mean(axis=-1, keepdims=True)) / s
        return gamma * h, (gamma.copy(), h, s)

    def norm_bwd(residuals: Any, dy: Array) -> Any:
        gamma, h, s = residuals
        return (dy * h).sum(axis=0), dx(gamma, h, s, dy)

    return norm_fwd, norm_bwd


def mean(x: Array) -> Array:
    return x.mean(axis=-1, keepdims=True)


def norm_by_jax(gamma: Any, x: Any) -> Any:
    return gamma * (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)


@alone_and_with_jax
@pytest.mark.parametrize(
    ("dx", "named"),
    [
        (
            lambda g, h, s, dy: (g * dy - h * mean(g * dy * h)) / s,
            "term missing: x lacks a constant along axis 1",
        ),
        (
            lambda g, h, s, dy: g * dy / s,
            "term missing: x lacks a constant and a multiple of x along axis 1 (the paths through a mean",
        ),
        (
            lambda g, h, s, dy: (g * dy - mean(g * dy)) / s,
            "term missing: x lacks a constant and a multiple of x along axis 1 (the paths through a mean",
        ),
        (
            lambda g, h, s, dy: (dy - mean(dy) - h * mean(dy * h)) / s,
            "wrong point: this is the gradient for gamma = 1 (is that argument left out?)",
        ),
    ],
    ids=["no mean", "neither", "no deviation", "no gamma"],
)
def test_missing_paths_of_a_norm_are_named(witness: str, dx: Callable[..., Array], named: str) -> None:
    diagnosis = cause(norm(dx), GAMMA, X, reference=None if witness == "alone" else norm_by_jax)
    assert diagnosis.startswith(named)


@alone_and_with_jax
def test_the_whole_gradient_of_a_norm_is_right(witness: str) -> None:
    right = norm(lambda g, h, s, dy: (g * dy - mean(g * dy) - h * mean(g * dy * h)) / s)
    assert verify(right, GAMMA, X, reference=None if witness == "alone" else norm_by_jax).passed


@alone_and_with_jax
def test_a_gradient_of_a_scale_without_its_factor_is_named(witness: str) -> None:
    def scale_fwd(gamma: Array, x: Array) -> Any:
        return gamma * np.tanh(x), (gamma.copy(), x.copy())

    def scale_bwd(r: Any, dy: Array) -> Any:
        return dy.sum(axis=0), r[0] * (1 - np.tanh(r[1]) ** 2) * dy

    reference = None if witness == "alone" else lambda gamma, x: gamma * jnp.tanh(x)
    diagnosis = cause((scale_fwd, scale_bwd), GAMMA, X, reference=reference, parameter="gamma")
    assert diagnosis == "term missing: gamma is only dy summed over axis 0, so another term or a factor is missing"


# ------------------------------------------------------------------------------------------------- terms


@alone_and_with_jax
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda x, dy: 3 * x**2 * dy + 0.1 * x * dy, "plus 0.1 * x * dy"),
        (lambda x, dy: 3 * x**2 * dy - dy, "minus dy"),
        (lambda x, dy: 3 * x**2 * dy + 0.5 * x**3 * dy, "plus 0.5 * the value * dy"),
        (lambda x, dy: (3 * x**2 + 2 * x - 1) * dy, "minus dy + 2 * x * dy"),
    ],
)
def test_a_wrong_product_is_named(witness: str, wrong: Callable[[Array, Array], Array], named: str) -> None:
    op = (lambda x: (x**3, x.copy()), lambda x, dy: (wrong(x, dy),))
    diagnosis = cause(op, signed(3, 4), reference=None if witness == "alone" else lambda x: x**3)
    assert diagnosis == f"a term too many: x is the true gradient {named}"


@alone_and_with_jax
@pytest.mark.parametrize(("factor", "kind"), [(0.0, "option ignored: "), (2.0, "option ignored: "), (1.0, "")])
def test_a_missing_or_doubled_penalty_is_named(witness: str, factor: float, kind: str) -> None:
    def penalized_fwd(x: Array, *, decay: float) -> Any:
        return (np.sin(x)).sum() + decay / 2 * (x**2).sum(), (x.copy(), decay)

    def by_jax(x: Any, *, decay: float) -> Any:
        return (jnp.sin(x)).sum() + decay / 2 * (x**2).sum()

    op = (penalized_fwd, lambda r, dy: ((np.cos(r[0]) + factor * r[1] * r[0]) * dy,))
    verdict, diagnosis = found(op, X, reference=None if witness == "alone" else by_jax, options={"decay": 0.1})
    assert (verdict is Verdict.PASS) == (kind == "")
    assert diagnosis.startswith(kind)


@alone_and_with_jax
def test_one_half_of_the_product_rule_is_named(witness: str) -> None:
    op = elementwise(lambda x: np.asarray(x) * np.tanh(np.asarray(x)), np.tanh)  # not seen by `paths`
    diagnosis = cause(op, X, reference=None if witness == "alone" else lambda x: x * jnp.tanh(x))
    assert diagnosis == "term missing: x is only the value / x * dy, so another term or a factor is missing"


@alone_and_with_jax
def test_an_irregular_error_has_no_known_cause(witness: str) -> None:
    strange = np.sin(40 * X)
    diagnosis = cause(cube(lambda dx: dx * strange), X, reference=None if witness == "alone" else lambda x: x**3)
    assert diagnosis.startswith("no known cause: 35 of 35 entries are wrong")


@alone_and_with_jax
@pytest.mark.parametrize("size", [1, 2])
def test_errors_in_one_or_two_entries_have_no_known_cause(witness: str, size: int) -> None:
    """Many causes would fit two entries."""
    factors = np.array([1.7, -0.6])[:size]
    diagnosis = cause(cube(lambda dx: dx * factors), signed(size), reference=None if witness == "alone" else lambda x: x**3)
    assert diagnosis.startswith("no known cause: ")


# ------------------------------------------------------------------------------------------------- factors, limits


@alone_and_with_jax
def test_factors_along_an_axis_are_named(witness: str) -> None:
    factors = np.array([1.0, 2.0, 0.5, 3.0, 1.5])
    diagnosis = cause(cube(lambda dx: dx * factors[:, None]), X, reference=None if witness == "alone" else lambda x: x**3)
    assert diagnosis == "a factor along axis 0: x is the true gradient times (1, 2, 0.5, 3, 1.5) along that axis"


def test_clipping_and_lost_signs_are_named() -> None:
    """Other rows report that these are not linear in the cotangent."""
    x = np.concatenate([signed(20), 0.3 * signed(20)]).reshape(5, 8)
    for wrong, named in (
        (lambda dx: np.clip(dx, -0.5, 0.5), "clipped: x is the true gradient clipped to the range from -0.5 to 0.5"),
        (lambda dx: np.minimum(dx, 0.5), "clipped: x is the true gradient, but at most 0.5"),
        (np.abs, "sign lost: x is the absolute value of the true gradient"),
    ):
        assert named in [r.diagnosis for r in verify(cube(wrong), x).rows]


# ------------------------------------------------------------------------------------------------- a narrow float


@alone_and_with_jax
def test_a_gradient_rounded_to_float32_is_named(witness: str) -> None:
    result = verify(
        cube(lambda dx: dx.astype(np.float32).astype(float)), X, reference=None if witness == "alone" else lambda x: x**3
    )
    assert result.passed
    assert result.rows[0].diagnosis.startswith("computed in float32 inside: errors above ")


@alone_and_with_jax
def test_a_gradient_computed_in_float32_is_named(witness: str) -> None:
    op = elementwise(np.tanh, lambda x: np.asarray(1 - np.tanh(x.astype(np.float32)) ** 2, float))
    result = verify(op, X, reference=None if witness == "alone" else jnp.tanh)
    assert result.passed
    assert result.rows[0].diagnosis.startswith("computed in float32 inside: errors above ")


@alone_and_with_jax
def test_a_small_error_is_not_called_rounding(witness: str) -> None:
    """The error has the size of float32 rounding, but it is the same at every point."""
    small = 1 + 1e-7 * normal(5, 7, seed=3)
    diagnosis = cause(cube(lambda dx: dx * small), X, reference=None if witness == "alone" else lambda x: x**3)
    assert diagnosis.startswith("no known cause: ")


def test_a_float32_gradient_of_float32_arguments_is_right() -> None:
    assert verify(cube(), X.astype(np.float32), reference=lambda x: x**3).passed


@alone_and_with_jax
@pytest.mark.parametrize(
    ("slope", "wrong", "named"),
    [
        (lambda y: 1 - y**2, lambda y: -(y**2), "term missing: x lacks dy"),
        (lambda y: 1 - y**2, lambda y: 1 + 0 * y, "term missing: x lacks -the value**2 * dy"),
        (lambda y: 2 * y, lambda y: 2 * y - y**2, "a term too many: x is the true gradient minus the value**2 * dy"),
    ],
    ids=["only the square", "only the one", "one more"],
)
def test_the_shorter_of_two_formulas_is_called_incomplete(witness: str, slope: Any, wrong: Any, named: str) -> None:
    """It does not matter which is larger. y solves dy/dx = 1 - y^2 or dy/dx = 2 y."""
    forward = np.tanh if slope(0.0) == 1 else lambda x: np.exp(2 * x)
    backward = jnp.tanh if slope(0.0) == 1 else lambda x: jnp.exp(2 * x)
    op = elementwise(forward, lambda x: wrong(forward(x)))
    assert cause(op, 1.5 * signed(3, 4), reference=None if witness == "alone" else backward).startswith(named)


@alone_and_with_jax
def test_terms_of_batch_statistics_in_evaluation_are_too_many(witness: str) -> None:
    """The fit has two numbers for each of seven columns of five entries."""
    shift, size = normal(7, seed=1), signed(7, seed=2) ** 2

    def evaluated_fwd(x: Array) -> Any:
        z = (x - shift) / size
        return z * GAMMA, z

    def trained_bwd(z: Array, dy: Array) -> Any:
        d = GAMMA * dy
        return ((d - d.mean(axis=0) - z * (d * z).mean(axis=0)) / size,)

    reference = None if witness == "alone" else lambda x: (x - shift) / size * GAMMA
    named = "a term too many: x is the true gradient plus a constant and a multiple of x along axis 0"
    assert cause((evaluated_fwd, trained_bwd), X, reference=reference).startswith(named)
