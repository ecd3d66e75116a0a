"""Diagnoses of gradients that are a part of the true one, such as its symmetric part, or that sum it up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from tests.oracle.planted import Array, causes, cube, found, normal, signed

MATRIX = signed(4, 4)


def cholesky(wrong: Callable[[Array], Any]) -> Any:
    """The Cholesky factor of the matrix whose lower triangle is given; its gradient is changed by `wrong`."""

    def cholesky_fwd(a: Array) -> Any:
        factor = np.linalg.cholesky(np.tril(a) + np.tril(a, -1).T)
        return factor, factor.copy()

    def cholesky_bwd(factor: Array, dy: Array) -> Any:
        inner = np.tril(factor.T @ dy)
        inner[np.diag_indices(4)] /= 2
        inverse = np.linalg.inv(factor)
        s = inverse.T @ inner @ inverse
        return (wrong(s + s.T - np.diag(np.diag(s))),)

    return cholesky_fwd, cholesky_bwd


@pytest.mark.parametrize(("witness", "dtype"), [("alone", np.float64), ("JAX", np.float32)])
def test_the_symmetric_part_of_a_cholesky_gradient_is_named(witness: str, dtype: Any) -> None:
    a = (MATRIX @ MATRIX.T + 4 * np.eye(4)).astype(dtype)
    reference = (lambda a: jnp.linalg.cholesky(jnp.tril(a) + jnp.tril(a, -1).T)) if witness == "JAX" else None
    halved = cholesky(lambda g: (g + np.diag(np.diag(g))) / 2)
    assert causes(halved, a, reference=reference) == {
        "a": "symmetric part: a is half the sum of the true gradient and its transpose; the true one is zero above the "
        "diagonal, as the forward pass reads one triangle only"
    }
    assert causes(cholesky(np.tril), a, reference=reference) == {}
    assert causes(cholesky(lambda g: g), a, reference=reference)["a"].startswith("made symmetric: a is the true gradient plus")


@pytest.mark.parametrize(
    ("witness", "wrong", "said"),
    [
        ("alone", lambda dx: (dx + dx.T) / 2, "symmetric part: x is half the sum of the true gradient and its transpose"),
        ("JAX", lambda dx: dx + dx.T, "made symmetric: x is the sum of the true gradient and its transpose"),
        (
            "alone",
            lambda dx: (dx - dx.T) / 2,
            "antisymmetric part: x is half the difference of the true gradient and its transpose",
        ),
        ("JAX", np.tril, "one triangle only: x is the lower triangle of the true gradient, and zero elsewhere"),
        ("alone", np.triu, "one triangle only: x is the upper triangle of the true gradient, and zero elsewhere"),
        (
            "JAX",
            lambda dx: np.tril(dx) + np.triu(dx, 1).T,
            "one triangle only: x has the entries of both triangles of the true gradient added up in the lower one, and is",
        ),
    ],
)
def test_parts_of_a_square_gradient_are_named(witness: str, wrong: Callable[[Array], Array], said: str) -> None:
    assert found(cube(wrong), MATRIX, reference=(lambda x: x**3) if witness == "JAX" else None)[1].startswith(said)


@pytest.mark.parametrize(
    ("witness", "wrong", "said"),
    [
        (
            "alone",
            lambda dx: np.full_like(dx, dx.sum()),
            "summed over axes 0 and 1: each entry of x is the sum of the true ones along axes 0 and 1",
        ),
        (
            "JAX",
            lambda dx: dx.sum(0, keepdims=True) + 0 * dx,
            "summed over axis 0: each entry of x is the sum of the true ones along",
        ),
        (
            "alone",
            lambda dx: dx.mean(1, keepdims=True) + 0 * dx,
            "averaged over axis 1: each entry of x is the mean of the true ones",
        ),
    ],
)
def test_sums_of_the_true_gradient_are_named(witness: str, wrong: Callable[[Array], Array], said: str) -> None:
    x = signed(4, 3)
    assert found(cube(wrong), x, reference=(lambda x: x**3) if witness == "JAX" else None)[1].startswith(said)


# ------------------------------------------------------------------------------------------------- neighbours


def test_a_transposed_gradient_is_no_part() -> None:
    assert found(cube(lambda dx: dx.T), MATRIX)[1].startswith("transposed: ")


def test_a_mask_that_is_no_triangle_is_none() -> None:
    mask = np.tril(np.ones((4, 4)))
    mask[3, 0] = 0
    assert "triangle" not in found(cube(lambda dx: dx * mask), MATRIX)[1]


def test_the_triangle_of_a_triangular_gradient_is_right() -> None:
    mask = np.tril(np.ones((4, 4)))
    op = (lambda x: (x**3 * mask, x.copy()), lambda x, dy: (3 * x**2 * mask * dy,))
    assert causes(op, MATRIX) == {}
    op = (lambda x: (x**3 * mask, x.copy()), lambda x, dy: (3 * x**2 * dy,))
    assert causes(op, MATRIX)["x"].startswith("mask not applied: ")


@pytest.mark.parametrize("seed", range(2))
def test_a_random_symmetric_matrix_is_no_part(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(4, 4))
    said = found(cube(lambda dx: dx * (noise + noise.T)), MATRIX)[1]
    assert "symmetric" not in said


def test_a_constant_gradient_is_no_sum() -> None:
    op = (lambda x: (x.sum(), np.shape(x)), lambda shape, dy: (np.full(shape, 3 * dy),))
    assert found(op, normal(4, 3))[1].startswith("constant factor: ")
