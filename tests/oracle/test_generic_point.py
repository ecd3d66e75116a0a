"""Points at which a wrong formula is right by chance, and entries at kinks that are right each by itself alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oracle.judging.generic_point import generic, is_special
from oracle.judging.subdifferential import excess
from oracle.row import Verdict
from oracle.subject import Subject
from oracle.verification import verify
from tests.oracle.planted import Pair, cube, elementwise, normal, row

SPECIAL = "right at these arguments, but not beside them, where no entry is 0, whole or like another (choose such ones): there "
TOGETHER = "but together they are no gradient"


def said(pair: Pair, *primals: Any) -> dict[str, str]:
    """What is said of each argument whose gradient is wrong, here or beside it."""
    rows = verify(pair, *primals).rows
    for r in rows:
        beside = r.diagnosis.startswith(SPECIAL)
        assert r.verdict is Verdict.INCONCLUSIVE if beside else r.verdict in (Verdict.PASS, Verdict.KINK, Verdict.FAIL)
    return {r.parameter: r.diagnosis for r in rows if not r.passed}


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


def test_a_transpose_left_out_at_the_unit_matrix() -> None:
    def times(*, transposed: bool) -> Pair:
        return (lambda x, w: (x @ w, (x, w))), lambda r, dy: (dy @ (r[1].T if transposed else r[1]), r[0].T @ dy)

    for w in (np.eye(3), np.ones((3, 3)), np.full((3, 3), 0.5)):
        assert set(said(times(transposed=False), normal(2, 3), w)) == {"x"}
        assert said(times(transposed=True), normal(2, 3), w) == {}


def test_a_formula_for_symmetric_matrices() -> None:
    """d log det(a) is the inverse, transposed: of a symmetric matrix one and the same."""
    symmetric = np.array([[2.0, 0.5], [0.5, 1.0]])
    pair = (lambda a: (np.linalg.slogdet(a)[1], a), lambda a, dy: (dy * np.linalg.inv(a),))
    assert said(pair, symmetric) == {}
    assert set(said(pair, np.array([[2.0, 0.9], [0.5, 1.0]]))) == {"a"}
    wrong = (pair[0], lambda a, dy: (dy * np.linalg.inv(a) ** 2,))
    assert said(wrong, np.eye(2))["a"].startswith(SPECIAL)


def test_a_formula_for_probabilities() -> None:
    """The gradient p - t of a cross entropy is right where the targets sum to 1."""

    def softmax(z: Any) -> Any:
        e = np.exp(z - z.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    def cross_entropy(share: float) -> Pair:
        def cross_entropy_bwd(residuals: Any, dy: Any) -> Any:
            z, t = residuals
            return dy * (softmax(z) - t), -dy * share * np.log(softmax(z))

        return (lambda z, t: (-(t * np.log(softmax(z))).sum(), (z, t))), cross_entropy_bwd

    one_hot = np.eye(4)[[2, 0, 3]]
    assert said(cross_entropy(1.0), normal(3, 4), one_hot) == {}
    assert set(said(cross_entropy(0.5), normal(3, 4), one_hot)) == {"t"}


@pytest.mark.parametrize("matrix", [np.array([[0.0, 2.0], [-2.0, 0.0]]), np.array([[2.0, 0.0], [0.5, 1.0]])])
def test_a_matrix_of_a_kind_stays_one(matrix: Any) -> None:
    """A term that vanishes for all antisymmetric matrices, or all triangular ones, and its slope too, is not missed."""

    def cubes_fwd(a: Any) -> Any:
        other = np.triu(a, 1) if matrix[0, 0] else a + a.T
        return a**3 + other**2, a

    assert said((cubes_fwd, lambda a, dy: (3 * a**2 * dy,)), matrix) == {}


def test_more_elements_than_are_looked_at() -> None:
    """One wrong entry among 4,096 ones."""

    def squares_bwd(x: Any, dy: Any) -> Any:
        dx = 2 * x * dy
        dx[1234] = 2 * x[1234] ** 2 * dy
        return (dx,)

    assert said(((lambda x: ((x**2).sum(), x)), squares_bwd), np.ones(4096))["x"].startswith(SPECIAL)


def test_one_large_entry_hides_no_other() -> None:
    pair = elementwise(lambda x: x * x, lambda x: np.where(np.abs(x) < 50, 2 * x**3, 2 * x))
    assert said(pair, np.array([1e4, 1.0, 1.0, 1.0]))["x"].startswith(SPECIAL)


def test_nearer_where_the_domain_ends() -> None:
    def log_fwd(p: Any, w: Any) -> Any:
        return -(w * np.log(1 - p)).sum(), (p, w)

    p = np.array([0.99, 0.98, 0.995])
    forgotten = (log_fwd, lambda r, dy: (dy / (1 - r[0]), -dy * np.log(1 - r[0])))
    assert said(forgotten, p, np.ones(3))["p"].startswith(SPECIAL)
    assert said((log_fwd, lambda r, dy: (dy * r[1] / (1 - r[0]), -dy * np.log(1 - r[0]))), p, np.ones(3)) == {}


def relu(x: Any) -> Any:
    return np.maximum(x, 0.0)


def test_a_wrong_slope_on_one_side_of_a_kink() -> None:
    wrong = elementwise(relu, lambda x: np.where(x >= 0, 1.0, 0.5))
    assert said(wrong, np.zeros(4))["x"].startswith(SPECIAL)
    assert said(elementwise(relu, lambda x: np.where(x > 0, 1.0, 0.0)), np.array([0.0, 1.0, 0.0, 1.0])) == {}


def test_the_edge_of_a_domain_is_no_contradiction() -> None:
    """Beside this point the function has no value, however near; what is right at the point is right."""

    def root_fwd(x: Any) -> Any:
        if (x > 1).any():
            raise ValueError("only up to 1")
        return x**2, x

    x = np.full(2, 1 - 2.0**-20)
    assert is_special((x,))
    assert verify((root_fwd, lambda x, dy: (2 * x * dy,)), x).passed


def test_what_is_special() -> None:
    assert is_special((np.array([0.0, 1.5]),))
    assert is_special((np.array([0.3, -0.3]),))
    assert is_special(({"w": np.array([0.3])}, np.array([0.3])))
    assert is_special((np.array(2.0),))
    assert not is_special((normal(5), {"w": normal(3, 3)}))
    assert not is_special((np.array([3.0, 5.0]),))


def test_a_generic_point_is_near_and_not_special() -> None:
    moved = generic((np.zeros(4), {"w": np.ones((3, 3)), "b": np.array(2.0)}), 0)
    assert not is_special(moved)
    assert moved[1]["w"].shape == (3, 3)
    assert np.abs(moved[1]["w"] - 1).max() <= 0.0625
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


@pytest.mark.parametrize("size", [4, 60])
def test_ties_that_are_counted_twice_in_a_sum(size: int) -> None:
    """Weights of both signs: the sum bends both ways, each of its terms to one side."""
    w = normal(size, seed=3)

    def total(*, twice: bool) -> Pair:
        def total_bwd(residuals: Any, dy: Any) -> Any:
            a, b = residuals
            return dy * w * (a >= b), dy * w * ((b >= a) if twice else (b > a))

        return (lambda a, b: (np.sum(w * np.maximum(a, b)), (a, b))), total_bwd

    a = normal(size)
    b = a + np.where(np.arange(size) % 2, 0.0, 1.0)
    assert TOGETHER in said(total(twice=True), a, b)["a"]
    assert said(total(twice=False), a, b) == {}


def test_a_large_constant_beside_a_kink() -> None:
    x = normal(3)
    shifted = (lambda a, b: (1e9 + np.abs(a - b), (a, b))), lambda r, dy: (dy * 1.0, -dy * 1.0)
    assert TOGETHER not in str(verify(shifted, x, x.copy()))


def test_what_bends_both_ways_is_left_alone() -> None:
    """|a| - |b| has its own gradients; the outputs of a sort are neither convex nor concave but for the first and last."""
    both = Subject.of((lambda x: (np.abs(x[0]) - np.abs(x[1]), None), lambda _, dy: (np.array([dy, dy]),)), {})
    assert excess(both, (np.zeros(2),), np.array(1.0), 0, np.arange(2)) == 0
    only = row(verify((lambda x: (np.sort(x), np.argsort(x, kind="stable")), _unsorted), np.array([2.0, 1, 2, 2, 1])))
    assert only.verdict is not Verdict.FAIL


def _unsorted(order: Any, dy: Any) -> Any:
    dx = np.empty_like(dy)
    dx[order] = dy
    return (dx,)
