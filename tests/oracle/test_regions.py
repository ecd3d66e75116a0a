"""Diagnoses that name a region (a mask, indices of an axis, a border), a reversed or shifted order, or ties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from oracle import Verdict
from tests.oracle.planted import Array, cube, elementwise, found, normal, signed

MATRIX, IMAGES = signed(5, 7), signed(2, 1, 9, 8)
alone_and_with_jax = pytest.mark.parametrize("witness", ["alone", "JAX"])


def cause(wrong: Callable[[Array], Any], x: Array, witness: str = "alone", **options: Any) -> str:
    """The diagnosis of a wrong gradient of x**3."""
    verdict, diagnosis = found(cube(wrong), x, reference=(lambda x: x**3) if witness == "JAX" else None, **options)
    assert verdict is Verdict.FAIL
    return diagnosis


def changed(dx: Array, where: Any, factor: float) -> Array:
    dx = dx.copy()
    dx[where] *= factor
    return dx


# ------------------------------------------------------------------------------------------------- masks


def rectifier(slope: Callable[[Array], Array]) -> Any:
    return elementwise(lambda x: np.maximum(x, 0), slope)


@pytest.mark.parametrize(("witness", "dtype"), [("alone", np.float32), ("JAX", np.float64)])
def test_a_mask_that_is_not_applied_is_named(witness: str, dtype: Any) -> None:
    reference = None if witness == "alone" else lambda x: jnp.maximum(x, 0)
    verdict, diagnosis = found(rectifier(np.ones_like), MATRIX.astype(dtype), reference=reference)
    assert verdict is Verdict.FAIL
    count = np.count_nonzero(MATRIX < 0)
    assert diagnosis.startswith(
        f"mask not applied: x is nonzero where the true gradient is zero ({count} of 35 entries, first x[0, "
    )
    assert diagnosis.endswith("; elsewhere it is right")


@alone_and_with_jax
def test_a_mask_with_too_many_zeros_is_named(witness: str) -> None:
    reference = None if witness == "alone" else lambda x: jnp.maximum(x, 0)
    verdict, diagnosis = found(rectifier(lambda x: np.where(x > 1, 1.0, 0.0)), MATRIX, reference=reference)
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("zero where it should not be: x is zero where the true gradient is not (")
    assert diagnosis.endswith("; elsewhere it is right")


def dropped_fwd(x: Array, *, mask: Array, rate: float) -> Any:
    return x * mask / (1 - rate), (mask.copy(), rate)


@pytest.mark.parametrize(
    ("witness", "bwd", "begins", "ends"),
    [
        ("alone", lambda r, dy: (dy / (1 - r[1]),), "mask not applied: ", "elsewhere it is right"),
        ("JAX", lambda r, dy: (dy.copy(),), "mask not applied: ", "elsewhere it is 0.6 times the true one"),
        ("alone", lambda r, dy: (dy * r[0],), "constant factor: ", "multiplied by 1 - rate (0.6) once too often"),
        ("JAX", lambda r, dy: (dy * r[0] / r[1],), "constant factor: ", "divided by rate (0.4) instead of 1 - rate"),
        ("alone", lambda r, dy: (dy * ~r[0] / (1 - r[1]),), "mask not applied: ", "elsewhere it is zero"),
    ],
    ids=["no mask", "neither", "no scale", "other scale", "the other mask"],
)
def test_wrong_masks_and_scales_of_dropout_are_told_apart(
    witness: str, bwd: Callable[..., Any], begins: str, ends: str
) -> None:
    reference = None if witness == "alone" else lambda x, *, mask, rate: x * mask / (1 - rate)
    options = {"mask": normal(5, 7) > -0.3, "rate": 0.4}
    verdict, diagnosis = found((dropped_fwd, bwd), MATRIX, options=options, reference=reference)
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith(begins)
    assert diagnosis.endswith(ends)


@alone_and_with_jax
def test_a_row_that_should_not_learn_is_named(witness: str) -> None:
    def gathered_fwd(table: Array, *, live: Array) -> Any:
        return table * live[:, None], live.copy()

    reference = None if witness == "alone" else lambda table, *, live: table * live[:, None]
    live = np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    verdict, diagnosis = found(
        (gathered_fwd, lambda live, dy: (dy.copy(),)), normal(5, 3), options={"live": live}, reference=reference
    )
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("mask not applied: table is nonzero where the true gradient is zero (index 2 of axis 0)")


# ------------------------------------------------------------------------------------------------- one axis


@alone_and_with_jax
@pytest.mark.parametrize(
    ("factor", "there", "one"),
    [(0.0, "it is zero", True), (2.0, "it is 2 times the true one", False), (-1.0, "the sign is wrong", True)],
)
def test_wrong_samples_are_named(witness: str, factor: float, there: str, one: bool) -> None:
    """One row with one witness, two rows with the other."""
    rows, named = ([3], "index 3") if one is (witness == "alone") else ([0, 2], "indices 0, 2")
    diagnosis = cause(lambda dx: changed(dx, rows, factor), MATRIX, witness)
    assert diagnosis.startswith(f"only some samples: x is wrong only at {named} of axis 0; there ")
    assert there in diagnosis


@alone_and_with_jax
def test_a_row_that_is_wrong_for_no_known_reason_is_named(witness: str) -> None:
    noise = normal(7)
    diagnosis = cause(lambda dx: dx * (1 + noise * (np.arange(5) == 2)[:, None]), MATRIX, witness)
    assert diagnosis == "only some samples: x is wrong only at index 2 of axis 0"


@alone_and_with_jax
@pytest.mark.parametrize(
    ("order", "exchanged"),
    [
        ([0, 0, 2, 3, 4], "index 1 holds the entries of 0"),
        ([0, 1, 3, 2, 4], "index 2 holds the entries of 3, index 3 holds the entries of 2"),
    ],
)
def test_exchanged_samples_are_named(witness: str, order: list[int], exchanged: str) -> None:
    named = f"one sample for another: along axis 0 of x, {exchanged}; elsewhere it is right"
    assert cause(lambda dx: dx[order], MATRIX, witness) == named


@alone_and_with_jax
def test_a_channel_without_a_gradient_is_named(witness: str) -> None:
    diagnosis = cause(lambda dx: changed(dx, (slice(None), 1), 0.0), signed(4, 3, 5), witness)
    assert diagnosis == "zero where it should not be: x is zero at index 1 of axis 1; elsewhere it is right"


@pytest.mark.parametrize(
    ("witness", "wrong", "named"),
    [
        ("alone", lambda dx: dx[:, ::-1].copy(), "reversed: the entries of x are the true ones in reversed order along axis 1"),
        (
            "JAX",
            lambda dx: dx[::-1, ::-1].copy(),
            "reversed: the entries of x are the true ones in reversed order along axes 0 and 1",
        ),
        ("alone", lambda dx: np.roll(dx, 2, 1), "shifted: the entries of x are the true ones shifted by +2 along axis 1"),
        (
            "JAX",
            lambda dx: np.pad(dx, ((1, 0), (0, 1)))[:-1, 1:].copy(),
            "shifted: the entries of x are the true ones shifted by +1 along axis 0 and by -1 along axis 1",
        ),
    ],
    ids=["reversed", "rotated", "rolled", "off by one"],
)
def test_reversed_and_shifted_entries_are_named(witness: str, wrong: Callable[[Array], Array], named: str) -> None:
    assert cause(wrong, MATRIX, witness) == named


# ------------------------------------------------------------------------------------------------- borders


def near_the_ends(*axes: int, width: int = 1) -> Array:
    at_ends = np.zeros(IMAGES.shape, bool)
    for axis in axes:
        n = IMAGES.shape[axis]
        moved = np.moveaxis(at_ends, axis, -1)
        moved[..., :width] = moved[..., n - width :] = True
    return at_ends


@alone_and_with_jax
def test_a_factor_on_the_borders_is_named(witness: str) -> None:
    diagnosis = cause(lambda dx: np.where(near_the_ends(2, 3), 1.5 * dx, dx), IMAGES, witness)
    where = "borders: x is wrong only near the ends of axes 2 and 3 (indices 0, 8 of axis 2; indices 0, 7 of axis 3)"
    assert diagnosis == f"{where}; there it is 1.5 times the true one"


@pytest.mark.parametrize(("width", "witness"), [(1, "alone"), (2, "JAX")])
def test_borders_that_are_wrong_for_no_known_reason_are_named(width: int, witness: str) -> None:
    error = normal(*IMAGES.shape) * near_the_ends(2, width=width)
    diagnosis = cause(lambda dx: dx * (1 + error), IMAGES, witness)
    named = "0, 8" if width == 1 else "0, 1, 7, 8"
    assert diagnosis == f"borders: x is wrong only near the ends of axis 2 (indices {named} of axis 2)"


@alone_and_with_jax
def test_one_side_is_a_border_too(witness: str) -> None:
    diagnosis = cause(lambda dx: changed(dx, (..., -1), 0.0), IMAGES, witness)
    assert diagnosis == "borders: x is wrong only near the ends of axis 3 (index 7 of axis 3); there it is zero"


@alone_and_with_jax
def test_wrong_entries_inside_are_not_called_a_border(witness: str) -> None:
    error = normal(*IMAGES.shape) * ~near_the_ends(2, 3, width=3)
    assert "borders" not in cause(lambda dx: dx * (1 + error), IMAGES, witness)


@alone_and_with_jax
def test_the_ends_of_a_short_vector_are_not_called_a_border(witness: str) -> None:
    diagnosis = cause(lambda dx: dx * np.array([1.3, 1, 1, 1, 1, 0.7]), signed(6), witness)
    assert diagnosis.startswith("no known cause: 2 of 6 entries are wrong")


def averaged_fwd(x: Array) -> Any:
    """The mean of three neighbours, of two at the ends."""
    n = x.shape[1]
    padded = np.pad(x, ((0, 0), (1, 1)))
    count = np.where((np.arange(n) == 0) | (np.arange(n) == n - 1), 2.0, 3.0)
    return (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / count, n


def averaged_bwd(n: int, dy: Array) -> Any:
    """Divided by three, at the ends too."""
    padded = np.pad(dy / 3, ((0, 0), (1, 1)))
    return (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:],)


def test_a_wrong_divisor_of_a_pool_at_its_borders_is_named() -> None:
    verdict, diagnosis = found((averaged_fwd, averaged_bwd), normal(3, 9))
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith(
        "borders: the backward pass multiplies dy by (0.6667, 1, 1, 1, 1, 1, ...) along axis 1 of the value"
    )


# ------------------------------------------------------------------------------------------------- ties


def largest_fwd(x: Array) -> Any:
    return x.max(axis=1), x.copy()


@pytest.mark.parametrize(
    "share", [lambda top: top, lambda top: np.arange(4) == top.argmax(axis=1)[:, None]], ids=["to each", "to the first"]
)
def test_another_convention_at_ties_is_named(share: Callable[[Array], Array]) -> None:
    x = np.array([[1.0, 3.0, 3.0, 0.0], [0.5, -1.0, 2.0, 0.3]])
    bwd = lambda x, dy: (share(x == x.max(axis=1, keepdims=True)) * dy[:, None],)  # noqa: E731
    verdict, diagnosis = found((largest_fwd, bwd), x, reference=lambda x: jnp.max(x, axis=1))
    assert verdict is Verdict.FAIL
    assert diagnosis.startswith("ties: x[0, 1] and 1 more are equal; they get ")
    assert ", by the reference " in diagnosis
