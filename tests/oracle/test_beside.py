"""Points at which a wrong formula is right by chance, and entries at kinks that are right each by itself alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oracle.beside import generic, is_special
from oracle.row import Verdict
from oracle.subgradients import excess
from oracle.subject import Subject
from oracle.verification import verify
from tests.oracle.planted import Pair, cube, elementwise, normal, row

SPECIAL = "beside these arguments, where no entry is 0, whole or like another, "
TOGETHER = "but together they are no gradient"


def said(pair: Pair, *primals: Any) -> dict[str, str]:
    """What is said of each argument whose gradient is wrong."""
    rows = verify(pair, *primals).rows
    assert all(r.verdict in (Verdict.PASS, Verdict.KINK, Verdict.FAIL) for r in rows)
    return {r.parameter: r.diagnosis for r in rows if r.verdict is Verdict.FAIL}


# --------------------------------------------------------------------------------- right at one point alone


@pytest.mark.parametrize("point", [np.ones(3), np.array([1.0]), np.array(1.0), -np.ones((2, 2))])
def test_another_power_at_ones(point: Any) -> None:
    pair = elementwise(lambda x: x**3, lambda x: 3 * np.abs(x))
    assert said(pair, point)["x"].startswith(SPECIAL)
    assert said(cube(), point) == {}


def test_a_second_term_at_zeros() -> None:
    assert said(elementwise(lambda x: x**3 + x, lambda x: 1 + 7 * x), np.zeros(3))["x"].startswith(SPECIAL)
    assert said(elementwise(lambda x: x**3 + x, lambda x: 1 + 3 * x**2), np.zeros(3)) == {}


def test_gradients_of_equal_arguments_exchanged() -> None:
    x = normal(3)
    product = (lambda a, b: (a * b, (a, b)), lambda r, dy: (dy * r[0], dy * r[1]))
    assert said(product, x, x.copy()) == {
        "a": f"{SPECIAL}arguments swapped: this is the gradient of b",
        "b": f"{SPECIAL}arguments swapped: this is the gradient of a",
    }
    assert said((product[0], lambda r, dy: (dy * r[1], dy * r[0])), x, x.copy()) == {}


def test_a_formula_for_symmetric_matrices() -> None:
    """d log det(a) is the inverse, transposed: of a symmetric matrix one and the same."""
    symmetric = np.array([[2.0, 0.5], [0.5, 1.0]])
    pair = (lambda a: (np.linalg.slogdet(a)[1], a), lambda a, dy: (dy * np.linalg.inv(a),))
    assert said(pair, symmetric) == {}
    assert set(said(pair, np.array([[2.0, 0.9], [0.5, 1.0]]))) == {"a"}
    wrong = (pair[0], lambda a, dy: (dy * np.linalg.inv(a) ** 2,))
    assert said(wrong, np.eye(2))["a"].startswith(SPECIAL)


def relu(x: Any) -> Any:
    return np.maximum(x, 0.0)


def test_a_wrong_slope_on_one_side_of_a_kink() -> None:
    wrong = elementwise(relu, lambda x: np.where(x >= 0, 1.0, 0.5))
    assert said(wrong, np.zeros(4))["x"].startswith(SPECIAL)
    assert said(elementwise(relu, lambda x: np.where(x > 0, 1.0, 0.0)), np.array([0.0, 1.0, 0.0])) == {}


def test_the_edge_of_a_domain_is_no_contradiction() -> None:
    """Beside 1 the function has no value; what is right there is right."""

    def root_fwd(x: Any) -> Any:
        if (x > 1).any():
            raise ValueError("only up to 1")
        return x**2, x

    result = verify((root_fwd, lambda x, dy: (2 * x * dy,)), np.array([0.25, 0.5]))
    assert result.passed


def test_what_is_special() -> None:
    assert is_special((np.array([0.0, 1.5]),))
    assert is_special((np.array([0.3, -0.3]),))
    assert is_special(({"w": np.array([0.3])}, np.array([0.3])))
    assert is_special((np.array(2.0),))
    assert not is_special((normal(5), {"w": normal(3, 3)}))
    assert not is_special((np.array([3.0, 5.0]),))


def test_a_generic_point_is_near_and_not_special() -> None:
    tree = (np.zeros(4), {"w": np.eye(3), "b": np.array(2.0)})
    moved = generic(tree, 0)
    assert not is_special((moved[0], moved[1]["b"], moved[1]["w"][np.tril_indices(3)]))
    np.testing.assert_array_equal(moved[1]["w"], moved[1]["w"].T)
    assert np.abs(moved[1]["w"] - np.eye(3)).max() <= 0.0625
    assert np.abs(moved[0]).max() <= 0.0625


# --------------------------------------------------------------------------------- each right, and not together


def maximum(share_of_a: float, share_of_b: float) -> Pair:
    """The larger of two, which get these shares of dy where they are equal."""

    def maximum_bwd(residuals: Any, dy: Any) -> Any:
        a, b = residuals
        return dy * np.where(a == b, share_of_a, a > b), dy * np.where(a == b, share_of_b, b > a)

    return (lambda a, b: (np.maximum(a, b), (a, b))), maximum_bwd


@pytest.mark.parametrize("shares", [(1.0, 1.0), (0.1, 0.1), (0.5, 0.7)])
def test_shares_of_two_arguments_that_do_not_add_up(shares: tuple[float, float]) -> None:
    x = normal(4)
    found = said(maximum(*shares), x, x.copy())
    assert set(found) == {"a", "b"}
    assert all(TOGETHER in diagnosis for diagnosis in found.values())


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.1, 0.9), (0.999, 0.001)])
def test_shares_of_two_arguments_that_add_up(shares: tuple[float, float]) -> None:
    x = normal(4)
    assert said(maximum(*shares), x, x.copy()) == {}


def norm(at_zero: float) -> Pair:
    def norm_bwd(x: Any, dy: Any) -> Any:
        return (dy * (x / np.sqrt((x**2).sum()) if x.any() else np.full(x.shape, at_zero)),)

    return (lambda x: (np.sqrt((x**2).sum()), x)), norm_bwd


def test_a_gradient_of_a_norm_that_is_too_long() -> None:
    assert TOGETHER in said(norm(0.9), np.zeros(4))["x"]
    assert said(norm(0.49), np.zeros(4)) == {}


def test_the_distance_of_equal_numbers() -> None:
    def distance(s: float, t: float) -> Pair:
        def distance_bwd(residuals: Any, dy: Any) -> Any:
            a, b = residuals
            return dy * np.where(a == b, s, np.sign(a - b)), dy * np.where(a == b, t, np.sign(b - a))

        return (lambda a, b: (np.abs(a - b), (a, b))), distance_bwd

    x = normal(3)
    assert TOGETHER in said(distance(1.0, 1.0), x, x.copy())["a"]
    assert said(distance(1.0, -1.0), x, x.copy()) == {}


def test_what_bends_both_ways_is_left_alone() -> None:
    """|a| - |b| has its own gradients; the outputs of a sort are neither convex nor concave but for the first and last."""
    both = Subject.of((lambda x: (np.abs(x[0]) - np.abs(x[1]), None), lambda _, dy: (np.array([dy, dy]),)), {})
    assert excess(both, (np.zeros(2),), np.array(1.0), [0]) == 0
    only = row(verify((lambda x: (np.sort(x), np.argsort(x, kind="stable")), _unsorted), np.array([2.0, 1, 2, 2, 1])))
    assert only.verdict is not Verdict.FAIL


def _unsorted(order: Any, dy: Any) -> Any:
    dx = np.empty_like(dy)
    dx[order] = dy
    return (dx,)
