"""A row's numbers belong to one entry, and no failure stands beside an error estimate that covers its error."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oracle.row import Row, Verdict
from oracle.verification import verify
from tests.oracle.planted import Array, cube, dense, elementwise, normal, row, signed


def assert_of_one_entry(one: Row) -> None:
    """The errors of a row are those of its own three values, and they exceed the error estimate where it fails."""
    if one.worst_index is None or one.analytic is None or not np.isfinite(one.analytic):
        return
    scales = []
    for error, value in ((one.numerical_error, one.numerical), (one.autodiff_error, one.autodiff)):
        if error and value is not None:
            scales.append(abs(one.analytic - value) / error)
    assert np.ptp(scales) <= 1e-6 * max(scales) if scales else True, one
    if one.verdict is Verdict.FAIL and one.numerical_uncertainty is not None:
        errors = [error for error in (one.numerical_error, one.autodiff_error) if error is not None]
        assert max(errors) > one.numerical_uncertainty, one


def off(size: float, *entries: int) -> Any:
    def wrong(dx: Array) -> Array:
        dx = dx.copy()
        dx[list(entries)] *= 1 + size
        return dx

    return wrong


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("reference", [None, lambda x: x**3], ids=["alone", "JAX"])
@pytest.mark.parametrize("size", [1e-9, 1e-5, 1e-2, 3.0])
def test_the_numbers_of_a_failure_are_those_of_its_worst_entry(size: float, reference: Any, dtype: Any) -> None:
    one = row(verify(cube(off(size, 1, 4)), signed(6).astype(dtype), reference=reference))
    assert_of_one_entry(one)
    if dtype is np.float64:
        assert one.verdict is Verdict.FAIL
        assert one.worst_index in {(1,), (4,)}


def test_the_numbers_of_a_pass_are_those_of_the_entry_that_used_most() -> None:
    x = signed(6)
    one = row(verify(elementwise(np.sin, np.cos), x, reference=jnp.sin))
    assert one.worst_index is not None
    assert_of_one_entry(one)
    assert one.analytic is not None
    assert one.numerical is not None
    scale = np.abs(np.cos(x)).max()
    assert one.numerical_error == pytest.approx(abs(one.analytic - one.numerical) / scale, rel=0.8)  # dy is at most 1.5


def test_an_entry_with_a_large_error_estimate_does_not_lend_it_to_another() -> None:
    """One entry is hard to differentiate, and another one is wrong: the row is about the wrong one alone."""
    x = np.array([1e-7, 1.0, 2.0])

    def steep(x: Array) -> Array:
        return np.sqrt(x)

    one = row(verify(elementwise(steep, lambda x: off(1e-6, 1)(0.5 / np.sqrt(x))), x))
    assert one.verdict is Verdict.FAIL
    assert one.worst_index == (1,)
    assert_of_one_entry(one)


def test_along_a_direction_the_numbers_are_those_of_the_direction() -> None:
    w, x = normal(80, 40), normal(30, 80)

    def wrong(x: Array, dy: Array) -> Array:
        dw = x.T @ dy
        dw[17, 23] *= 1.5
        return dw

    one = row(verify(dense(dw=wrong), w, x, limit=100), "w")
    assert one.verdict is Verdict.FAIL
    assert one.numerical_error is not None
    assert one.numerical_uncertainty is not None
    assert one.numerical_error > one.numerical_uncertainty


@pytest.mark.parametrize("size", [1e-9, 0.3])
def test_another_function_shows_the_error_against_the_reference(size: float) -> None:
    def reference(x: Any) -> Any:
        return x**3 + size * (x**3 - jax.lax.stop_gradient(x**3))  # the same value, with a gradient that is larger

    one = row(verify(cube(), signed(6), reference=reference))
    assert one.verdict is Verdict.FAIL
    assert_of_one_entry(one)
    assert one.autodiff_error == pytest.approx(size, rel=1.5)
