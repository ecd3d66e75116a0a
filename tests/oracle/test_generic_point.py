"""Points at which a wrong formula is right by chance: zeros, ones, equal arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oracle.judging.generic_point import generic, is_special
from oracle.row import Verdict
from oracle.verification import verify
from tests.oracle.planted import Pair, cube, elementwise, normal

SPECIAL = "right here only because these arguments are special (0, whole or equal numbers), wrong at usual ones nearby: there "


def diagnoses(pair: Pair, *primals: Any) -> dict[str, str]:
    """The diagnosis of each gradient that is wrong, at the point itself or at a generic point nearby."""
    rows = verify(pair, *primals).rows
    for r in rows:
        nearby = r.diagnosis.startswith(SPECIAL)
        assert r.verdict is Verdict.INCONCLUSIVE if nearby else r.verdict in (Verdict.PASS, Verdict.KINK, Verdict.FAIL)
    return {r.parameter: r.diagnosis for r in rows if not r.passed}


# --------------------------------------------------------------------------------- right at one point alone


@pytest.mark.parametrize("point", [np.ones(3), np.array([1.0]), np.array(1.0), -np.ones((2, 2))])
def test_a_wrong_power_at_ones_is_found(point: Any) -> None:
    pair = elementwise(lambda x: x**3, lambda x: 3 * np.abs(x))
    assert diagnoses(pair, point)["x"].startswith(SPECIAL)
    assert diagnoses(cube(), point) == {}


def test_a_wrong_term_at_zeros_is_found() -> None:
    assert diagnoses(elementwise(lambda x: x**3 + x, lambda x: 1 + 7 * x), np.zeros(3))["x"].startswith(SPECIAL)
    assert diagnoses(elementwise(lambda x: x**3 + x, lambda x: 1 + 3 * x**2), np.zeros(3)) == {}


def test_an_error_is_found_where_the_slopes_along_one_direction_cancel() -> None:
    """Along one of the two directions the slopes of several outputs nearly cancel, which is no kink."""

    def product_fwd(x: Any) -> Any:
        a, b = np.split(x, 2)
        return a * b, (a.copy(), b.copy())

    def product_bwd(r: Any, dy: Any) -> Any:
        return (np.concatenate([dy * r[1], dy * r[0]]),)

    def wrong_bwd(r: Any, dy: Any) -> Any:
        return (product_bwd(r, dy)[0] * np.concatenate(r) ** 2,)

    generator = np.random.default_rng(0)
    for size in (2, 4, 6, 12) * 4:
        x = generator.choice([-1.0, 1.0], size)
        assert diagnoses((product_fwd, product_bwd), x) == {}
        assert diagnoses((product_fwd, wrong_bwd), x)["x"].startswith(SPECIAL)


def test_exchanged_gradients_of_equal_arguments_are_found() -> None:
    x = normal(3)
    product = (lambda a, b: (a * b, (a, b)), lambda r, dy: (dy * r[0], dy * r[1]))
    assert diagnoses(product, x, x.copy()) == {
        "a": f"{SPECIAL}arguments swapped: this is the gradient of b",
        "b": f"{SPECIAL}arguments swapped: this is the gradient of a",
    }
    assert diagnoses((product[0], lambda r, dy: (dy * r[1], dy * r[0])), x, x.copy()) == {}


def test_a_missing_transpose_at_a_symmetric_matrix_is_found() -> None:
    def times(*, transposed: bool) -> Pair:
        return (lambda x, w: (x @ w, (x, w))), lambda r, dy: (dy @ (r[1].T if transposed else r[1]), r[0].T @ dy)

    for w in (np.eye(3), np.ones((3, 3)), np.full((3, 3), 0.5)):
        assert set(diagnoses(times(transposed=False), normal(2, 3), w)) == {"x"}
        assert diagnoses(times(transposed=True), normal(2, 3), w) == {}


def test_a_formula_that_needs_a_symmetric_matrix_passes_there() -> None:
    """d log det(a) is the transposed inverse; for a symmetric matrix it is also the inverse."""
    symmetric = np.array([[2.0, 0.5], [0.5, 1.0]])
    pair = (lambda a: (np.linalg.slogdet(a)[1], a), lambda a, dy: (dy * np.linalg.inv(a),))
    assert diagnoses(pair, symmetric) == {}
    assert set(diagnoses(pair, np.array([[2.0, 0.9], [0.5, 1.0]]))) == {"a"}
    wrong = (pair[0], lambda a, dy: (dy * np.linalg.inv(a) ** 2,))
    assert diagnoses(wrong, np.eye(2))["a"].startswith(SPECIAL)


def test_a_formula_that_needs_probabilities_passes_there() -> None:
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
    assert diagnoses(cross_entropy(1.0), normal(3, 4), one_hot) == {}
    assert set(diagnoses(cross_entropy(0.5), normal(3, 4), one_hot)) == {"t"}


@pytest.mark.parametrize("matrix", [np.array([[0.0, 2.0], [-2.0, 0.0]]), np.array([[2.0, 0.0], [0.5, 1.0]])])
def test_antisymmetric_and_triangular_matrices_keep_their_form(matrix: Any) -> None:
    """A term that vanishes, with its slope, for all antisymmetric or all triangular matrices may be left out."""

    def cubes_fwd(a: Any) -> Any:
        other = np.triu(a, 1) if matrix[0, 0] else a + a.T
        return a**3 + other**2, a

    assert diagnoses((cubes_fwd, lambda a, dy: (3 * a**2 * dy,)), matrix) == {}


def test_one_wrong_entry_of_thousands_is_found() -> None:
    """One wrong entry among 4,096 ones."""

    def squares_bwd(x: Any, dy: Any) -> Any:
        dx = 2 * x * dy
        dx[1234] = 2 * x[1234] ** 2 * dy
        return (dx,)

    assert diagnoses(((lambda x: ((x**2).sum(), x)), squares_bwd), np.ones(4096))["x"].startswith(SPECIAL)


def test_one_large_entry_does_not_hide_the_others() -> None:
    pair = elementwise(lambda x: x * x, lambda x: np.where(np.abs(x) < 50, 2 * x**3, 2 * x))
    assert diagnoses(pair, np.array([1e4, 1.0, 1.0, 1.0]))["x"].startswith(SPECIAL)


def test_the_point_moves_less_near_the_end_of_a_domain() -> None:
    def log_fwd(p: Any, w: Any) -> Any:
        return -(w * np.log(1 - p)).sum(), (p, w)

    p = np.array([0.99, 0.98, 0.995])
    forgotten = (log_fwd, lambda r, dy: (dy / (1 - r[0]), -dy * np.log(1 - r[0])))
    assert diagnoses(forgotten, p, np.ones(3))["p"].startswith(SPECIAL)
    assert diagnoses((log_fwd, lambda r, dy: (dy * r[1] / (1 - r[0]), -dy * np.log(1 - r[0]))), p, np.ones(3)) == {}


def relu(x: Any) -> Any:
    return np.maximum(x, 0.0)


def test_a_wrong_slope_on_one_side_of_a_kink_is_found() -> None:
    wrong = elementwise(relu, lambda x: np.where(x >= 0, 1.0, 0.5))
    assert diagnoses(wrong, np.zeros(4))["x"].startswith(SPECIAL)
    assert diagnoses(elementwise(relu, lambda x: np.where(x > 0, 1.0, 0.0)), np.array([0.0, 1.0, 0.0, 1.0])) == {}


def test_a_right_gradient_at_the_edge_of_a_domain_passes() -> None:
    """The function raises at every other point nearby, so only the point itself counts."""

    def root_fwd(x: Any) -> Any:
        if (x > 1).any():
            raise ValueError("only up to 1")
        return x**2, x

    x = np.full(2, 1 - 2.0**-20)
    assert is_special((x,))
    assert verify((root_fwd, lambda x, dy: (2 * x * dy,)), x).passed


def test_zeros_whole_and_equal_numbers_are_special() -> None:
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
