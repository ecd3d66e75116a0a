"""Gradients in 16 bits: what rounding explains of each entry alone, and not of all of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from oracle.row import Row, Verdict
from oracle.verification import verify

Array = NDArray[Any]
Pair = tuple[Callable[..., Any], Callable[..., Any]]

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT16 = np.dtype(np.float16)
NARROW = pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT16], ids=str)
REFERENCED = pytest.mark.parametrize("referenced", [False, True])


def normal(*shape: int, dtype: np.dtype[Any], seed: int = 0) -> Array:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def in_16_bits(change: Callable[[Array], Array]) -> Callable[[Array, Array], tuple[Array]]:
    """The gradient of the sum of squares' terms, with a mistake that a kernel in 16 bits makes."""

    def bwd(x: Array, dy: Array) -> tuple[Array]:
        d = 2 * x * dy
        return (change(d.astype(np.float64)).astype(d.dtype) if d.dtype.itemsize == 2 else d,)

    return bwd


def squares(x: Array) -> tuple[Array, Array]:
    return x * x, x


def one(bwd: Any, x: Array, *, referenced: bool = False) -> Row:
    (row,) = verify((squares, bwd), x, reference=(lambda x: x * x) if referenced else None).rows
    return row


@pytest.mark.usefixtures("undiagnosed")
@REFERENCED
@pytest.mark.parametrize(("dtype", "factor"), [(BFLOAT16, 1.01), (BFLOAT16, 0.99), (FLOAT16, 1.002), (BFLOAT16, 1.15)])
@pytest.mark.parametrize("shape", [(10, 10), (400,)])
def test_a_factor_of_all_entries_fails(dtype: np.dtype[Any], factor: float, shape: tuple[int, ...], referenced: bool) -> None:
    row = one(in_16_bits(lambda d: d * factor), normal(*shape, dtype=dtype), referenced=referenced)
    assert row.verdict is Verdict.FAIL


@NARROW
@REFERENCED
@pytest.mark.parametrize("seed", range(2))
def test_a_kernel_that_rounds_once_passes(dtype: np.dtype[Any], referenced: bool, seed: int) -> None:
    for shape in ((1,), (3,), (20, 6)):
        row = one(in_16_bits(lambda d: d), normal(*shape, dtype=dtype, seed=seed), referenced=referenced)
        assert row.verdict is Verdict.PASS, row


@pytest.mark.usefixtures("undiagnosed")
@NARROW
def test_small_entries_that_are_lost_fail(dtype: np.dtype[Any]) -> None:
    row = one(in_16_bits(lambda d: np.where(np.abs(d) < 0.04 * np.abs(d).max(), 0, d)), normal(20, 10, dtype=dtype))
    assert row.verdict is Verdict.FAIL


def weighted(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    return x * w, (x, w)


def accumulated(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, w = residuals
    return dy * w, np.add.accumulate(dy * x, axis=0)[-1]  # rounded after every row


def rounded_once(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, w = residuals
    return dy * w, (dy.astype(np.float64) * x.astype(np.float64)).sum(axis=0).astype(w.dtype)


@pytest.mark.parametrize(("rows", "seed", "referenced"), [(256, 0, False), (1024, 1, True)])
def test_a_sum_that_is_accumulated_in_bfloat16_fails(rows: int, seed: int, referenced: bool) -> None:
    x, w = normal(rows, 8, dtype=BFLOAT16, seed=seed), normal(8, dtype=BFLOAT16, seed=seed + 10)
    reference = (lambda x, w: x * w) if referenced else None
    wrong = {row.parameter: row for row in verify((weighted, accumulated), x, w, reference=reference).rows}
    assert wrong["w"].verdict is Verdict.FAIL
    assert wrong["w"].diagnosis.startswith("accumulated in bfloat16: ")
    assert wrong["x"].verdict is Verdict.PASS
    assert verify((weighted, rounded_once), x, w, reference=reference).passed


@pytest.mark.usefixtures("undiagnosed")
def test_a_sum_in_three_entries_is_compared_at_more_points() -> None:
    x, w = normal(512, 3, dtype=BFLOAT16), normal(3, dtype=BFLOAT16, seed=10)
    wrong = {row.parameter: row for row in verify((weighted, accumulated), x, w).rows}
    assert wrong["w"].verdict is Verdict.FAIL
    assert verify((weighted, rounded_once), x, w).passed


@NARROW
def test_a_single_wrong_entry_is_none_of_these(dtype: np.dtype[Any]) -> None:
    def one_wrong(d: Array) -> Array:
        d = d.copy()
        d.flat[3] *= 1.5
        return d

    row = one(in_16_bits(one_wrong), 1 + np.abs(normal(4, 3, dtype=dtype)))
    assert row.verdict is Verdict.FAIL
    assert not row.diagnosis.startswith(("off in one direction", "accumulated"))


@pytest.mark.parametrize(("dtype", "factor"), [(BFLOAT16, 1.05), (BFLOAT16, 0.9), (FLOAT16, 1.01), (BFLOAT16, 2.0)])
@pytest.mark.parametrize("size", [1, 2, 10])
def test_a_factor_that_few_entries_show_is_named(dtype: np.dtype[Any], factor: float, size: int) -> None:
    row = one(in_16_bits(lambda d: d * factor), normal(size, dtype=dtype), referenced=True)
    assert row.verdict is Verdict.FAIL
    said = re.match(r"constant factor: x is ([0-9.]+) times the true gradient", row.diagnosis)
    assert said is not None, row.diagnosis
    assert abs(float(said[1]) - factor) < 1e-3 * (8 if dtype is BFLOAT16 else 1)


@NARROW
def test_one_large_entry_that_is_wrong_is_no_factor(dtype: np.dtype[Any]) -> None:
    """Beside it the others are within the rounding of the largest, whatever their factor is."""
    x = np.array([10, 0.2, 0.15, -0.1], dtype)
    row = one(in_16_bits(lambda d: d * np.array([1.5, 1, 1, 1])), x, referenced=True)
    assert row.verdict is Verdict.FAIL
    assert "times the true gradient" not in row.diagnosis
