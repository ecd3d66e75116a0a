"""Entries at kinks that are right each alone, but together are no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oracle.judging.subdifferential import excess
from oracle.row import Verdict
from oracle.subject import Subject
from oracle.verification import verify
from tests.oracle.planted import Array, Pair, normal, row

TOGETHER = "but together they are no gradient"


def diagnoses(pair: Pair, *primals: Any) -> dict[str, str]:
    """The diagnosis of each gradient that is wrong; the verdict is never open."""
    rows = verify(pair, *primals).rows
    assert all(r.verdict in (Verdict.PASS, Verdict.KINK, Verdict.FAIL) for r in rows)
    return {r.parameter: r.diagnosis for r in rows if not r.passed}


def maximum(share_of_a: float, share_of_b: float) -> Pair:
    """The maximum of two arguments, which get these shares of dy where they are equal."""

    def maximum_bwd(residuals: Any, dy: Any) -> Any:
        a, b = residuals
        return dy * np.where(a == b, share_of_a, a > b), dy * np.where(a == b, share_of_b, b > a)

    return (lambda a, b: (np.maximum(a, b), (a, b))), maximum_bwd


@pytest.mark.parametrize("shares", [(1.0, 1.0), (0.1, 0.1), (0.5, 0.7)])
def test_shares_of_two_arguments_must_add_up(shares: tuple[float, float]) -> None:
    x = normal(4)
    found = diagnoses(maximum(*shares), x, x.copy())
    assert set(found) == {"a", "b"}
    assert all(TOGETHER in diagnosis for diagnosis in found.values())


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.1, 0.9), (0.999, 0.001)])
def test_any_shares_of_two_arguments_that_add_up_pass(shares: tuple[float, float]) -> None:
    x = normal(4)
    assert diagnoses(maximum(*shares), x, x.copy()) == {}


def norm(at_zero: float) -> Pair:
    def norm_bwd(x: Any, dy: Any) -> Any:
        return (dy * (x / np.sqrt((x**2).sum()) if x.any() else np.full(x.shape, at_zero)),)

    return (lambda x: (np.sqrt((x**2).sum()), x)), norm_bwd


def test_too_long_a_gradient_of_a_norm_is_found() -> None:
    assert TOGETHER in diagnoses(norm(0.9), np.zeros(4))["x"]
    assert diagnoses(norm(0.49), np.zeros(4)) == {}


def test_wrong_shares_of_the_distance_of_equal_numbers_are_found() -> None:
    def distance(s: float, t: float) -> Pair:
        def distance_bwd(residuals: Any, dy: Any) -> Any:
            a, b = residuals
            return dy * np.where(a == b, s, np.sign(a - b)), dy * np.where(a == b, t, np.sign(b - a))

        return (lambda a, b: (np.abs(a - b), (a, b))), distance_bwd

    x = normal(3)
    assert TOGETHER in diagnoses(distance(1.0, 1.0), x, x.copy())["a"]
    assert diagnoses(distance(1.0, -1.0), x, x.copy()) == {}


@pytest.mark.parametrize("size", [4, 60])
def test_ties_counted_twice_in_a_sum_are_found(size: int) -> None:
    """The weights have both signs: the sum is neither convex nor concave, but each of its terms is one of both."""
    w = normal(size, seed=3)

    def total(*, twice: bool) -> Pair:
        def total_bwd(residuals: Any, dy: Any) -> Any:
            a, b = residuals
            return dy * w * (a >= b), dy * w * ((b >= a) if twice else (b > a))

        return (lambda a, b: (np.sum(w * np.maximum(a, b)), (a, b))), total_bwd

    a = normal(size)
    b = a + np.where(np.arange(size) % 2, 0.0, 1.0)
    assert TOGETHER in diagnoses(total(twice=True), a, b)["a"]
    assert diagnoses(total(twice=False), a, b) == {}


def test_no_size_is_said_of_tied_entries_that_are_right_one_by_one() -> None:
    def bwd(x: Array, dy: Array) -> tuple[Any]:
        return (dy[:, None] * (x == x.max(-1, keepdims=True)),)

    (row,) = verify((lambda x: (x.max(-1), x), bwd), np.array([[1.0, 2.0, 2.0], [3.0, 1.0, 0.0]])).rows
    assert row.verdict is Verdict.FAIL
    assert "ties" in row.diagnosis
    assert not row.size


def test_a_large_constant_added_at_a_kink_passes() -> None:
    x = normal(3)
    shifted = (lambda a, b: (1e9 + np.abs(a - b), (a, b))), lambda r, dy: (dy * 1.0, -dy * 1.0)
    assert TOGETHER not in str(verify(shifted, x, x.copy()))


def test_functions_that_are_neither_convex_nor_concave_pass() -> None:
    """So is |a| - |b|, and so are all outputs of a sort except the first and the last."""
    both = Subject.of((lambda x: (np.abs(x[0]) - np.abs(x[1]), None), lambda _, dy: (np.array([dy, dy]),)), {})
    assert excess(both, (np.zeros(2),), np.array(1.0), 0, np.arange(2)) == 0
    only = row(verify((lambda x: (np.sort(x), np.argsort(x, kind="stable")), _unsorted), np.array([2.0, 1, 2, 2, 1])))
    assert only.verdict is not Verdict.FAIL


def _unsorted(order: Any, dy: Any) -> Any:
    dx = np.empty_like(dy)
    dx[order] = dy
    return (dx,)
