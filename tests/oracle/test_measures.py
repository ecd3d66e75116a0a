"""Distances: exact where they can be, and honest where there is no number."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle.measures import EPSILON, distance, eps_of, fit_scale, largest, relative, ulps
from tests.oracle.planted import normal

F64 = np.dtype(np.float64)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_epsilon_is_that_of_numpy(dtype: type) -> None:
    assert eps_of(np.dtype(dtype)) == float(np.finfo(dtype).eps)


def test_epsilon_of_bfloat16() -> None:
    one = ml_dtypes.bfloat16(1.0)
    assert eps_of(np.dtype(ml_dtypes.bfloat16)) == float(np.nextafter(one, ml_dtypes.bfloat16(2.0)) - one)
    assert set(EPSILON) == {"float64", "float32", "float16", "bfloat16"}


def test_the_largest_finite_magnitude() -> None:
    assert largest(np.array([1.0, -3.0, 2.0])) == 3.0
    assert largest(np.array([1.0, np.nan, -np.inf]), None, np.array([-2.0])) == 2.0
    assert largest(None, np.zeros((0, 3)), np.array([np.nan])) == 0.0
    assert largest() == 0.0


def test_differences_of_infinities_and_nan() -> None:
    inf, nan = np.inf, np.nan
    found = distance(np.array([1.0, inf, -inf, inf, nan, nan, 1.0]), np.array([3.5, inf, -inf, -inf, nan, 1.0, inf]))
    assert found[:4].tolist() == [2.5, 0.0, 0.0, inf]
    assert np.isnan(found[4:6]).all()
    assert found[6] == inf


def test_relative_errors_without_a_scale() -> None:
    assert relative(np.array([0.5, 2.0]), 4.0) == 0.5
    assert relative(np.zeros(0), 0.0) == 0.0
    assert relative(np.zeros(2), 0.0) == 0.0
    assert relative(np.array([1e-300]), 0.0) == math.inf
    assert relative(np.array([0.0, np.nan]), 1.0) == math.inf


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("x", [1.0, 1.5, -3.7, 1000.0])
def test_neighbours_are_one_ulp_apart(dtype: type, x: float) -> None:
    here = dtype(x)
    for k in (1, 3):
        there = here
        for _ in range(k):
            there = np.nextafter(there, dtype(math.copysign(np.inf, x)))
        assert ulps(float(here), float(there), np.dtype(dtype)) == k


def test_ulps_where_there_are_none() -> None:
    assert ulps(0.0, 0.0, F64) == 0.0
    assert ulps(math.inf, math.inf, F64) == 0.0
    assert ulps(math.inf, 1.0, F64) == math.inf
    assert ulps(math.nan, math.nan, F64) == math.inf
    assert ulps(5e-324, 0.0, F64) == 1.0
    assert ulps(1.0, -1.0, F64) == 2.0**53


@settings(derandomize=True, max_examples=60, deadline=None, database=None)
@given(
    scale=st.floats(-1e6, 1e6).filter(lambda s: abs(s) > 1e-6), size=st.sampled_from([1e-200, 1.0, 1e200]), n=st.integers(1, 9)
)
def test_a_factor_is_found_whatever_the_size(scale: float, size: float, n: int) -> None:
    theirs = size * normal(n)
    fit = fit_scale(scale * theirs, theirs)
    assert fit is not None
    assert fit.scale == pytest.approx(scale, rel=1e-12)
    assert fit.r2 == pytest.approx(1.0)


def test_what_a_factor_does_not_explain() -> None:
    a, b = np.array([1.0, 1.0]), np.array([1.0, -1.0])
    fit = fit_scale(a, b)
    assert fit is not None
    assert (fit.scale, fit.r2) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [([0.0], [1.0]), ([1.0], [0.0]), ([np.nan], [1.0]), ([1.0], [np.inf]), ([], []), ([1e200], [1e-200])],
)
def test_no_factor_without_two_finite_nonzero_tensors(ours: list[float], theirs: list[float]) -> None:
    assert fit_scale(np.array(ours), np.array(theirs)) is None
