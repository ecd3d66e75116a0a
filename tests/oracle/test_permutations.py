"""Diagnoses of true entries in another order, of known constants, and the units of printed numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from oracle import Verdict, verify
from oracle.diagnosis.causes.known_constants import named_constant
from tests.oracle.planted import Array, cube, elementwise, found, normal, row, signed

alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])
INTERLEAVED = "(repeat instead of tile, or another memory order?)"
MATRIX, CUBE = signed(3, 5), signed(2, 3, 4)


def cause(wrong: Callable[[Array], Any], x: Array, witness: str = "alone") -> str:
    """The diagnosis of a wrong gradient of x**3."""
    verdict, diagnosis = found(cube(wrong), x, reference=(lambda x: x**3) if witness == "JAX" else None)
    assert verdict is Verdict.FAIL
    return diagnosis


# ------------------------------------------------------------------------------------------------- orders


@alone_and_with_jax
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_fortran_order_is_named(witness: str, dtype: Any) -> None:
    diagnosis = cause(lambda dx: dx.reshape(-1).reshape(dx.shape, order="F").copy(), MATRIX.astype(dtype), witness)
    assert diagnosis == (
        "reshaped: the entries of x are the true ones in another order, as after a reshape with order F instead of C"
    )
    # The other way round it is the transposed tensor in the shape of the argument.
    assert "a tensor of shape (5, 3) is read as (3, 5)" in cause(
        lambda dx: dx.reshape(-1, order="F").reshape(dx.shape), MATRIX.astype(dtype), witness
    )


@alone_and_with_jax
def test_axes_in_another_order_are_named(witness: str) -> None:
    diagnosis = cause(lambda dx: dx.reshape(3, 2, 4).transpose(1, 0, 2).copy(), CUBE, witness)
    assert diagnosis.endswith("as if the axes had been written in the order (1, 0, 2)")


@alone_and_with_jax
def test_any_other_permutation_is_named(witness: str) -> None:
    order = np.array([3, 1, 4, 0, 2])
    unchanged = "; each entry keeps its index of axis 0"
    diagnosis = cause(lambda dx: np.stack([r[np.roll(order, i)] for i, r in enumerate(dx)]), MATRIX, witness)
    assert diagnosis.startswith("permuted: the entries of x are the true ones in another order: x[")
    assert diagnosis.endswith(unchanged)
    order = np.array([7, 3, 0, 14, 2, 9, 1, 5, 8, 11, 10, 4, 13, 12, 6])
    diagnosis = cause(lambda dx: dx.reshape(-1)[order].reshape(dx.shape), MATRIX, witness)
    assert diagnosis.startswith("permuted: ")
    assert unchanged not in diagnosis


@alone_and_with_jax
def test_a_permutation_with_one_wrong_entry_has_no_known_cause(witness: str) -> None:
    def wrong(dx: Array) -> Array:
        dx = dx.reshape(-1)[np.random.default_rng(5).permutation(dx.size)].reshape(dx.shape)
        dx[1, 1] *= 1.001
        return dx

    assert cause(wrong, MATRIX, witness).startswith("no known cause")


@alone_and_with_jax
def test_two_exchanged_entries_are_not_called_a_permutation(witness: str) -> None:
    def wrong(dx: Array) -> Array:
        dx = dx.copy()
        dx[0, 1], dx[2, 3] = dx[2, 3], dx[0, 1]
        return dx

    assert "another order" not in cause(wrong, MATRIX, witness)


@alone_and_with_jax
@pytest.mark.parametrize(
    ("given", "named"),
    [
        (
            lambda dy: dy.reshape(3, 4),
            f"interleaved: the backward pass reads axis 0 of dy (12 entries) as (3, 4) instead of (4, 3) {INTERLEAVED}",
        ),
        (
            lambda dy: dy[np.array([7, 3, 0, 2, 9, 1, 5, 8, 11, 10, 4, 6])].reshape(3, 4),
            "permuted: the backward pass uses the entries of dy in another order (dy[",
        ),
    ],
    ids=["order", "permutation"],
)
def test_a_cotangent_in_another_order_is_named(witness: str, given: Callable[[Array], Array], named: str) -> None:
    def laid_out_fwd(x: Array) -> Any:
        return np.sin(x).reshape(-1, order="F"), x.copy()

    reference = (lambda x: jnp.sin(x).T.reshape(-1)) if witness == "JAX" else None
    right = (laid_out_fwd, lambda x, dy: (np.cos(x) * dy.reshape(x.shape, order="F"),))
    assert found(right, normal(3, 4), reference=reference)[0] is Verdict.PASS
    _, diagnosis = found((laid_out_fwd, lambda x, dy: (np.cos(x) * given(dy),)), normal(3, 4), reference=reference)
    assert diagnosis.startswith(named)


@pytest.mark.parametrize("axis", [0, 1])
def test_tile_and_repeat_are_told_apart(axis: int) -> None:
    """The copies of an entry are adjacent after repeat, and far apart after tile, as for heads that share keys."""
    x = normal(4, 5)

    def parts(dy: Array, shape: tuple[int, int]) -> Array:
        return dy.reshape(*dy.shape[:axis], *shape, *dy.shape[axis + 1 :])

    tile = (lambda x: (np.concatenate([x, x, x], axis), None), lambda _, dy: (parts(dy, (3, x.shape[axis])).sum(axis),))
    repeat = (lambda x: (np.repeat(x, 3, axis), None), lambda _, dy: (parts(dy, (x.shape[axis], 3)).sum(axis + 1),))
    n = x.shape[axis]
    for (fwd, right), (_, other), read in ((tile, repeat, (n, 3)), (repeat, tile, (3, n))):
        assert found((fwd, right), x)[0] is Verdict.PASS
        assert found((fwd, other), x)[1] == (
            f"interleaved: the backward pass reads axis {axis} of dy ({3 * n} entries) "
            f"as {read} instead of {read[::-1]} {INTERLEAVED}"
        )


def test_a_gradient_from_only_one_copy_is_named() -> None:
    upsample = lambda x: (np.repeat(x, 2, 1), None)  # noqa: E731
    _, named = found((upsample, lambda _, dy: (dy[:, ::2].copy(),)), normal(2, 5))
    assert named.startswith("overwritten instead of accumulated: entries that are used several times (x[0, 0], ")
    assert named.endswith(" get only the first of their contributions")
    _, named = found((upsample, lambda _, dy: (dy[:, ::2] + 0.9 * dy[:, 1::2],)), normal(2, 5))
    assert "overwritten" not in named


# ------------------------------------------------------------------------------------------------- constants


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (np.log(10), "ln 10"),
        (1 / np.log(2), "1 / ln 2"),
        (180 / np.pi, "180 / pi"),
        (-np.pi / 180, "-(pi / 180)"),
        (2 / np.sqrt(np.pi), "2 / sqrt(pi)"),
        (1 / np.sqrt(2 * np.pi), "1 / sqrt(2 pi)"),
        (1 / (2 * np.pi), "1 / (2 pi)"),
        (-1 / np.e, "-1 / e"),
        (np.log(10) * (1 + 1e-7), ""),
        (2.3, ""),
        (1.0, ""),
        (0.0, ""),
    ],
)
def test_constants_have_names(number: float, name: str) -> None:
    assert named_constant(float(number)) == name


@alone_and_with_jax
@pytest.mark.parametrize(
    ("factor", "named"),
    [
        (np.log(10), ": 2.302585 is ln 10"),
        (np.pi / 180, ": 0.01745329 is pi / 180"),
        (-np.sqrt(np.pi) / 2, ": -0.8862269 is -(sqrt(pi) / 2)"),
        (np.log(10) * (1 + 1e-8), ""),
        (2.3026, ""),
    ],
)
def test_a_factor_that_is_a_known_constant_is_named(witness: str, factor: float, named: str) -> None:
    diagnosis = cause(lambda dx: factor * dx, MATRIX, witness)
    assert diagnosis.startswith("constant factor: ")
    assert diagnosis.partition("everywhere")[2] == named


@alone_and_with_jax
def test_a_known_constant_at_some_indices_is_named(witness: str) -> None:
    diagnosis = cause(lambda dx: dx * np.where(np.arange(5) == 3, np.log(2), 1.0), MATRIX, witness)
    assert diagnosis.endswith("there it is 0.693147 times the true one (0.6931472 is ln 2)")


def test_a_known_constant_in_a_narrow_float_is_named() -> None:
    assert "is ln 10" in cause(lambda dx: np.float32(np.log(10)) * dx, MATRIX.astype(np.float32))
    assert "is ln 10" not in cause(lambda dx: np.float32(2.3027) * dx, MATRIX.astype(np.float32))


# ------------------------------------------------------------------------------------------------- a constant missing


def cross_entropy(dlogits: Callable[[Array, Array], Any], *, mean: bool = True) -> Any:
    """`dlogits(p, labels)` is the derivative of the sum."""

    def loss_fwd(x: Array, *, labels: Array) -> Any:
        p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
        losses = -np.log(p[np.arange(len(p)), labels])
        return (losses.mean() if mean else losses), (p, labels.copy())

    def loss_bwd(r: Any, dy: Any) -> Any:
        return (dlogits(*r) * (dy / len(r[0]) if mean else dy[:, None]),)

    return loss_fwd, loss_bwd


def by_jax(mean: bool) -> Callable[..., Any]:
    def loss(x: Any, *, labels: Any) -> Any:
        losses = -jnp.log(jnp.exp(x) / jnp.exp(x).sum(axis=1, keepdims=True))[jnp.arange(len(x)), labels]
        return losses.mean() if mean else losses

    return loss


LABELS = {"labels": np.array([0, 2, 1, 2])}


@pytest.mark.parametrize(
    ("witness", "mean", "dtype"),  # any two values meet
    [
        ("alone", True, np.float64),
        ("alone", False, np.float32),
        ("JAX", True, np.float32),
        ("JAX", False, np.float64),
    ],
)
def test_a_forgotten_label_is_named(witness: str, mean: bool, dtype: Any) -> None:
    reference = by_jax(mean) if witness == "JAX" else None
    op = cross_entropy(lambda p, labels: p, mean=mean)
    verdict, diagnosis = found(op, normal(4, 3).astype(dtype), options=LABELS, reference=reference)
    assert verdict is Verdict.FAIL
    lacks = "the same number, -0.25 for dy = 1, -1 / the batch (4)" if mean else "-1 times the cotangent of the row"
    assert diagnosis == (
        f"a constant is missing: at 4 of 12 entries x lacks {lacks} "
        "(one in each row along axis 1: a one-hot?); elsewhere it is right"
    )


@alone_and_with_jax
def test_a_forgotten_label_for_each_token_is_named(witness: str) -> None:
    one_hot = np.eye(4)[np.array([[0, 2, 1], [3, 1, 1]])]

    def loss_fwd(x: Array) -> Any:
        p = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
        return -np.log((p * one_hot).sum(axis=-1)), p

    reference = (lambda x: jnp.log(jnp.exp(x).sum(-1)) - (x * one_hot).sum(-1)) if witness == "JAX" else None
    _, diagnosis = found((loss_fwd, lambda p, dy: (p * dy[..., None],)), normal(2, 3, 4), reference=reference)
    assert "x lacks -1 times the cotangent of the row (one in each row along axis 2: a one-hot?)" in diagnosis


@alone_and_with_jax
def test_different_missing_numbers_are_not_called_a_constant(witness: str) -> None:
    def wrong(p: Array, labels: Array) -> Array:
        one_hot = np.eye(3)[labels]
        return p - one_hot * (1 + 0.1 * np.arange(4))[:, None]

    reference = by_jax(mean=True) if witness == "JAX" else None
    assert "constant" not in found(cross_entropy(wrong), normal(4, 3), options=LABELS, reference=reference)[1]


# ------------------------------------------------------------------------------------------------- per unit of the cotangent


def square_sum(wrong: Callable[[Array], Array]) -> Any:
    def square_sum_fwd(x: Array) -> Any:
        return (x**2).sum(), x.copy()

    return square_sum_fwd, lambda x, dy: (wrong(2 * x) * dy,)


@alone_and_with_jax
def test_a_constant_missing_at_scattered_places_is_named(witness: str) -> None:
    places = np.zeros(MATRIX.shape)
    places[0, [1, 3]] = places[2, 1] = 0.3
    reference = (lambda x: (x**2).sum()) if witness == "JAX" else None
    assert row(verify(square_sum(lambda dx: dx - places), MATRIX, reference=reference)).diagnosis == (
        "a constant is missing: at 3 of 15 entries x lacks the same number, 0.3 for dy = 1 (first x[0, 1]); "
        "elsewhere it is right"
    )


@alone_and_with_jax
def test_numbers_of_a_scalar_are_printed_for_a_cotangent_of_one(witness: str) -> None:
    reference = (lambda x: (x**2).sum()) if witness == "JAX" else None
    x = np.array([0.5, -1.25, 2.0, 3.0, -0.75])

    def of(wrong: Callable[[Array], Array]) -> str:
        return row(verify(square_sum(wrong), x, reference=reference)).diagnosis

    named = of(lambda dx: dx + np.array([0, 0, 0.5, 0, 0]))
    numbers = named.partition(" is wrong: x[2] is ")[2].split()
    assert (float(numbers[0]), float(numbers[3])) == pytest.approx((4.5, 4.0), rel=1e-12)
    assert " for dy = 1, 1.125 times the true one" in named
    assert "is the true gradient plus 1.5 * dy" in of(lambda dx: dx + 1.5)
    clipped = of(lambda dx: np.clip(dx, -1.2, 3.5))
    assert clipped.startswith("clipped: ")
    assert " (for dy = " in clipped
    for seed in range(3):  # with both signs of dy
        found = row(verify(square_sum(np.sign), x, reference=reference, seed=seed)).diagnosis
        assert "x is 1 times the sign of the true gradient for dy = 1" in found


def test_numbers_of_other_values_are_printed_unchanged() -> None:
    op = elementwise(lambda x: x**2, lambda x: 2 * x + np.array([0, 0, 0.5, 0, 0]))
    assert "dy" not in row(verify(op, np.array([0.5, -1.25, 2.0, 3.0, -0.75]))).diagnosis
