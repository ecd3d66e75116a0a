"""Diagnoses of gradients that are right on one side of a number and wrong on the other, or that have another mask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from oracle import Verdict
from tests.oracle.planted import Array, causes, cube, elementwise, found, normal, signed

X = normal(4, 3)
MATRIX = signed(5, 7)
alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])


def cause(function: Any, slope: Any, x: Array = X, reference: Callable[..., Any] | None = None) -> str:
    verdict, diagnosis = found(elementwise(function, slope), x, reference=reference)
    assert verdict is Verdict.FAIL
    return diagnosis


@pytest.mark.parametrize(("witness", "dtype"), [("alone", np.float64), ("JAX", np.float32)])
@pytest.mark.parametrize(
    ("function", "slope", "reference"),
    [
        (lambda x: 1 / (1 + abs(x)) ** 2, lambda x: -2 / (1 + abs(x)) ** 3, lambda x: 1 / (1 + abs(x)) ** 2),
        (abs, np.ones_like, jnp.abs),
        (lambda x: np.where(x > 0, x, -x / 2), lambda x: np.where(x > 0, 1, 0.5), lambda x: jnp.where(x > 0, x, -x / 2)),
    ],
    ids=["softsign squared", "absolute value", "slope of one side"],
)
def test_a_sign_lost_for_negative_numbers_is_named(witness: str, dtype: Any, function: Any, slope: Any, reference: Any) -> None:
    x = MATRIX.astype(dtype)
    said = cause(function, slope, x, reference if witness == "JAX" else None)
    negative = np.count_nonzero(x < 0)
    assert said == (
        f"sign lost where x < 0: there x is -1 times the true gradient ({negative} of 35 entries); elsewhere it is right"
    )


@alone_and_with_jax
def test_a_wrong_slope_of_one_side_is_named(witness: str) -> None:
    reference = (lambda x: jnp.where(x > 0, x, 0.1 * x)) if witness == "JAX" else None
    said = cause(lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.where(x > 0, 1, 0.01), MATRIX, reference)
    assert said.startswith("wrong on one side: x is wrong where x < 0; there it is 0.1 times the true one (")
    assert said.endswith(" of 35 entries); elsewhere it is right")


def test_a_curve_that_is_wrong_on_one_side_is_named() -> None:
    said = cause(lambda x: np.where(x > 0, x, np.expm1(x)), lambda x: np.where(x > 0, 1, np.exp(x) + x / 7), MATRIX)
    assert said.startswith("wrong on one side: x is wrong only where x < 0 (")


def test_a_threshold_is_named_by_the_numbers_beside_it() -> None:
    said = cause(lambda x: np.where(x > 0.9, 3 * x, x), lambda x: np.where(x > 0.9, 2.0, 1.0), MATRIX)
    above, below = MATRIX[MATRIX > 0.9].min(), MATRIX[MATRIX < 0.9].max()
    assert f"wrong where x is {above:.4g} or more (in the others it is {below:.4g} or less); there it is 0.6666" in said


def test_a_threshold_of_the_size_is_named() -> None:
    said = cause(lambda x: np.where(abs(x) > 1, abs(x), x**2 / 2), lambda x: np.where(abs(x) > 1, 1.0, x) + 0 * x, MATRIX)
    assert said.startswith("sign lost where x is -1.")
    said = cause(lambda x: np.where(abs(x) > 1, 3 * x, x), lambda x: np.where(abs(x) > 1, 2.0, 1.0), MATRIX)
    assert "wrong where |x| is 1." in said


@alone_and_with_jax
def test_the_sign_of_a_difference_is_named(witness: str) -> None:
    """A loss compares two arguments."""

    def distance_fwd(x: Array, target: Array) -> Any:
        return abs(x - target), (x.copy(), target.copy())

    reference = (lambda x, target: jnp.abs(x - target)) if witness == "JAX" else None
    op = (distance_fwd, lambda r, dy: (dy.copy(), -np.sign(r[0] - r[1]) * dy))
    said = causes(op, signed(5, 7), signed(5, 7, seed=1), reference=reference)
    assert list(said) == ["x"]
    assert said["x"].startswith("sign lost where (x - target) < 0: there x is -1 times the true gradient (")


def test_the_mask_of_a_rectifier_says_where() -> None:
    said = cause(lambda x: np.maximum(x, 0), np.ones_like, MATRIX)
    assert said.startswith("mask not applied: x is nonzero where the true gradient is zero (")
    assert said.endswith(", all where x < 0); elsewhere it is right")
    said = cause(lambda x: np.maximum(x, 0), lambda x: np.where(x > 1, 1.0, 0.0), MATRIX)
    assert ", all where x is 0." in said


# ------------------------------------------------------------------------------------------------- another mask


@alone_and_with_jax
def test_another_mask_is_named(witness: str) -> None:
    mask = (normal(5, 7) > -0.3).astype(float)
    reference = (lambda x: x * mask) if witness == "JAX" else None
    said = cause(lambda x: x * mask, lambda x: mask[::-1], MATRIX, reference)
    assert said.startswith("another mask: x is zero where the true gradient is not (")
    assert said.endswith("; elsewhere it is right; its zeros are the true ones reversed along axis 0")
    said = cause(lambda x: x * mask, lambda x: normal(5, 7, seed=1) > -0.3, MATRIX, reference)
    assert said.startswith("another mask: ")
    assert said.endswith("; elsewhere it is right")


# ------------------------------------------------------------------------------------------------- neighbours


def flipped(which: Array) -> Any:
    return cube(lambda dx: np.where(which, -dx, dx))


@pytest.mark.parametrize("seed", range(5))
def test_signs_lost_at_random_are_on_no_side(seed: int) -> None:
    which = np.random.default_rng(seed).random((5, 7)) < 0.5
    said = found(flipped(which), MATRIX)[1]
    assert "lost where" not in said
    assert "one side" not in said


def test_too_few_entries_are_on_no_side() -> None:
    x = np.array([-1.3, 0.7, -0.4, 0.9, 0.6])
    assert "where x" not in found(flipped(x < 0), x)[1]


def test_one_side_but_one_entry_is_no_side() -> None:
    which = MATRIX < 0
    which[2, 3] ^= True
    assert "where x" not in found(flipped(which), MATRIX)[1]


def test_whole_rows_stay_rows() -> None:
    x = abs(MATRIX)
    x[3] *= -1
    assert found(flipped(x < 0), x)[1].startswith("only some samples: x is wrong only at index 3 of axis 0; there ")


def test_moved_entries_are_no_other_mask() -> None:
    """The entries are the true ones in other places."""
    mask = (normal(5, 7) > -0.3).astype(float)
    order = np.random.default_rng(0).permutation(35)
    op = (lambda x: (x**3 * mask, x.copy()), lambda x, dy: ((3 * x**2 * mask * dy).ravel()[order].reshape(5, 7),))
    assert found(op, MATRIX)[1].startswith("permuted: ")


def test_a_slope_of_one_is_wrong_on_one_side_and_not_the_gradient_for_ones() -> None:
    """On the other side, ELU is x."""
    op = elementwise(lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1), np.ones_like)
    assert found(op, MATRIX)[1].startswith("wrong on one side: x is wrong only where x < 0 (")
