"""Where a slope has no limit, or a function no value on one side; what rounds on the way; and what warns."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from oracle.row import Verdict
from oracle.verification import verify
from tests.oracle.planted import Array, Pair, elementwise, found, normal, row

RIGHT = frozenset({Verdict.PASS, Verdict.KINK})


# --------------------------------------------------------------------------------- slopes


def plogp(at_zero: float) -> Pair:
    def inside(x: Any) -> Any:
        return np.where(x > 0, x, 1.0)

    return elementwise(lambda x: x * np.log(inside(x)), lambda x: np.where(x > 0, np.log(inside(x)) + 1, at_zero))


@pytest.mark.parametrize("at_zero", [0.0, 5.0, -1.0])
def test_a_slope_that_grows_as_a_logarithm_has_no_limit(at_zero: float) -> None:
    verdict, said = found(plogp(at_zero), np.array([0.0, 0.5]))
    assert verdict is Verdict.INCONCLUSIVE
    assert "a slope that has no limit" in said


def test_away_from_there_it_has_one() -> None:
    assert row(verify(plogp(0.0), np.array([0.1, 0.5]))).verdict is Verdict.PASS


GUARDED = {
    "1 / (x + e)": (lambda x, e: 1 / (x + e), lambda x, e: -1 / (x + e) ** 2),
    "(x + e) ** -1/2": (lambda x, e: (x + e) ** -0.5, lambda x, e: -0.5 * (x + e) ** -1.5),
    "log(x + e)": (lambda x, e: np.log(x + e), lambda x, e: 1 / (x + e)),
    "x / (|x| + e)": (lambda x, e: x / (np.abs(x) + e), lambda x, e: e / (np.abs(x) + e) ** 2),
}


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(
    ("name", "epsilon"), [(name, e) for i, name in enumerate(GUARDED) for e in ((1e-8,) if i % 2 else (1e-5, 1e-12))]
)
def test_a_tiny_number_beside_an_element_at_zero(name: str, epsilon: float) -> None:
    """It is the scale on which the function bends there: far below any step and pace that the other elements suggest."""
    function, slope = GUARDED[name]

    def pair(factor: float) -> Pair:
        return elementwise(lambda x: function(x, epsilon), lambda x: slope(x, epsilon) * np.where(x == 0, factor, 1.0))

    x = np.array([0.0, 1.0, 2.0])
    assert row(verify(pair(1.0), x)).verdict is Verdict.PASS
    assert row(verify(pair(1 + 1e-7), x)).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("function", "slope", "at"),
    [(lambda x: x**2.5, lambda x: 2.5 * x**1.5, 0.0), (np.arcsin, lambda x: 1 / np.sqrt(np.maximum(1 - x * x, 1e-300)), 1.0)],
)
def test_the_end_of_a_domain_is_named(function: Any, slope: Any, at: float, without_exact: None) -> None:
    verdict, said = found(elementwise(function, slope), np.array([at, 0.5]))
    assert verdict is Verdict.INCONCLUSIVE
    assert said == "the differences cannot decide: at x[0] the function has no value on one side (the end of its domain?)"


def test_a_value_that_is_no_number_is_named() -> None:
    """And nothing is said about gradients, which may be NaN as well."""
    says = "the value is NaN, first at [1] (1 of 2 entries): no gradient can be judged there"
    for slope in (1.0, np.nan):
        pair = (lambda x: (np.where(x > 1, np.nan, x), x), lambda _, dy, slope=slope: (slope * dy,))
        assert found(pair, np.array([0.3, 1.5])) == (Verdict.FAIL, says)
    for value, where in (({"a": np.ones(2), "b": np.array([[1.0, np.nan]])}, "the value.b is NaN, first at [0, 1] (1 of 2"),
                         (np.float64(np.nan), "the value is NaN: no gradient")):  # fmt: skip
        assert found((lambda x, value=value: (value, x), lambda x, dy: (x,)), np.ones(2))[1].startswith(where)


@pytest.mark.parametrize("step", [2.0**-8, 2.0**-12, 2.0**-16, 2.0**-18])
def test_the_slope_of_a_staircase_is_not_that_of_its_ramp(step: float) -> None:
    """A straight-through gradient: over long steps the staircase rises as it says, and nowhere else."""
    pair = elementwise(lambda x: np.round(x / step) * step, np.ones_like)
    assert row(verify(pair, np.array([0.333, 1.07]))).verdict not in RIGHT


@pytest.mark.usefixtures("undiagnosed")
def test_rounding_to_float32_is_no_staircase() -> None:
    pair = elementwise(lambda x: np.sin(x.astype(np.float32)).astype(np.float64), np.cos)
    assert row(verify(pair, normal(4))).verdict is not Verdict.FAIL


# --------------------------------------------------------------------------------- rounding on the way


def gate(wrong: float = 1.0) -> Pair:
    """A gate that leaves 1 - z of its input, where z is nearly 1: in float32 most digits of 1 - z are lost."""

    def gate_fwd(x: Any, h: Any) -> Any:
        z = 1 / (1 + np.exp(-x))
        return z * h + (1 - z) * np.tanh(h), (z, h)

    def gate_bwd(residuals: Any, dy: Any) -> Any:
        z, h = residuals
        dh = dy * (z + (1 - z) * (1 - np.tanh(h) ** 2))
        return dy * (h - np.tanh(h)) * z * (1 - z) * z.dtype.type(wrong), dh

    return gate_fwd, gate_bwd


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("size", [1.0, 4.0, 8.0, 12.0])
def test_what_intermediate_numbers_lose_in_float32_is_no_error(size: float) -> None:
    generator = np.random.default_rng(int(size))
    x, h = (np.float32(size) + generator.normal(size=5).astype(np.float32), generator.normal(size=5).astype(np.float32))
    assert {r.verdict for r in verify(gate(), x, h).rows} == {Verdict.PASS}
    assert Verdict.FAIL in {r.verdict for r in verify(gate(1.01), x, h).rows}


# --------------------------------------------------------------------------------- warnings


def noisy() -> Pair:
    """Right, with an overflow on the way, as in the sigmoid that everyone writes first."""
    return elementwise(lambda x: 1 / (1 + np.exp(-x)), lambda x: np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))) ** 2)


def test_a_warning_is_left_to_the_filters_in_force() -> None:
    x = np.array([-800.0, 0.5])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        only = row(verify(noisy(), x))
    assert only.verdict in RIGHT
    assert {str(w.message) for w in caught} == {"overflow encountered in exp"}
    assert row(verify(noisy(), x)).verdict is Verdict.ERROR  # here they are errors
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert row(verify(noisy(), x)).verdict in RIGHT
        assert row(verify(noisy(), x, strict=True)).verdict is Verdict.ERROR


# --------------------------------------------------------------------------------- keywords


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf")])
def test_a_step_that_is_none(step: float) -> None:
    with pytest.raises(ValueError, match="verify: step must be positive, got"):
        verify(noisy(), normal(3), step=step)


@pytest.mark.parametrize("limit", [-1, 2.5, True])
def test_a_limit_that_is_none(limit: Any) -> None:
    with pytest.raises(ValueError, match="verify: limit must be an integer from 0, got"):
        verify(noisy(), normal(3), limit=limit)


# --------------------------------------------------------------------------------- right, however ill-conditioned


def of_kernel(nugget: float) -> Any:
    t = np.linspace(0, 1, 8)
    return np.exp(-0.5 * ((t[:, None] - t) / 0.5) ** 2) + nugget * np.eye(8)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("nugget", [1e-4, 1e-6, 1e-8])
def test_nearly_singular_matrices_are_right_or_inconclusive(nugget: float) -> None:
    pair = (lambda k: (np.linalg.slogdet(k)[1], k), lambda k, dy: (dy * np.linalg.inv(k).T,))
    verdict = row(verify(pair, of_kernel(nugget))).verdict
    assert verdict is Verdict.PASS or (nugget < 1e-6 and verdict is Verdict.INCONCLUSIVE)
    if nugget == 1e-4:
        wrong = (pair[0], lambda k, dy: (1.001 * dy * np.linalg.inv(k).T,))
        assert row(verify(wrong, of_kernel(nugget))).verdict is Verdict.FAIL


def test_the_rounding_of_a_matrix_among_the_options() -> None:
    hilbert = 1 / (np.arange(6)[:, None] + np.arange(6) + 1.0)
    pair = (lambda b, a: (np.linalg.solve(a, b), a), lambda a, dy: (np.linalg.solve(a.T, dy),))
    assert row(verify(pair, normal(6), options={"a": hilbert})).verdict is Verdict.PASS


def test_sums_that_cancel_are_linear() -> None:
    """The gradient of a temperature, a sum of large terms of both signs."""

    def softmax_fwd(x: Any, t: Any) -> Any:
        e = np.exp((x - x.max()) / t)
        return e / e.sum(), (x, t, e / e.sum())

    def softmax_bwd(residuals: Any, dy: Any) -> Any:
        x, t, p = residuals
        dz = p * (dy - (p * dy).sum())
        return dz / t, np.asarray(-(dz * x).sum() / t**2)

    x = 1000 + np.array([0.1, 0.7, -1.2, 0.4])
    assert {r.verdict for r in verify((softmax_fwd, softmax_bwd), x, np.array(1.3)).rows} == {Verdict.PASS}


def layer_norm_fwd(x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True))
    return centred / deviation, (centred / deviation, deviation)


def layer_norm_bwd(residuals: Any, dy: Any) -> Any:
    y, deviation = residuals
    return ((dy - dy.mean(-1, keepdims=True) - y * (dy * y).mean(-1, keepdims=True)) / deviation,)


def test_another_order_of_sums_in_float32_is_no_breach() -> None:
    x = (1000 + normal(4, 64)).astype(np.float32)
    assert row(verify((layer_norm_fwd, layer_norm_bwd), x)).verdict is Verdict.PASS


def test_a_sine_of_a_large_number() -> None:
    for x in (np.array([1e10, 1.3e10]), np.array([1700.123, 1701.7]) * 1e6):
        assert row(verify(elementwise(np.sin, np.cos), x)).verdict is not Verdict.FAIL


@pytest.mark.usefixtures("undiagnosed")
def test_an_epsilon_far_below_all_steps() -> None:
    x = np.array([1.0, 2.0, 0.0])
    assert row(verify(elementwise(lambda x: 1 / (x + 1e-9), lambda x: -1 / (x + 1e-9) ** 2), x)).verdict is not Verdict.FAIL


def median_of(shares: Any) -> Pair:
    return (lambda x: (np.median(x), x)), lambda x, dy: (dy * shares,)


def test_a_tie_of_which_one_alone_moves_nothing() -> None:
    """The median of 1 2 2 2 3: any share of dy may go to any of the three, and no single one of them moves it."""
    x = np.array([1.0, 2, 2, 2, 3])
    assert row(verify(median_of(np.array([0, 1, 0, 0, 0])), x)).verdict is Verdict.INCONCLUSIVE
    assert row(verify(median_of(np.array([0, 0, 0, 0, 1])), x)).verdict is Verdict.FAIL
    swapped = np.array([1.0, 2, 2, 2, 3])[[1, 0, 2, 3, 4]]
    permuted = elementwise(lambda x: x * swapped, lambda x: swapped[::-1])
    for x in (np.ones(5), np.array([2.0, 2, 2, 2, 3])):  # a smooth function's tied entries are judged one by one
        assert row(verify(permuted, x)).verdict is Verdict.FAIL


@pytest.mark.parametrize("constant", [np.ones(4), np.full(4, 3.0, np.float32)])
def test_a_value_that_moves_nowhere_is_vacuous(constant: Any) -> None:
    assert row(verify((lambda x: (x.std(), x), lambda x, _: (0 * x,)), constant)).verdict is Verdict.VACUOUS


def test_what_vanishes_below_rounding_is_no_denial() -> None:
    weights = np.array([1.0, 0.5, 1e-20])
    pair = (lambda x: (weights @ x, None), lambda _, dy: (weights * dy,))
    assert row(verify(pair, normal(3))).verdict is Verdict.PASS


def test_in_float32_too_large_arguments_are_judged_in_float64() -> None:
    x = normal(5000).astype(np.float32)
    ordinary = int(np.abs(x - 1.04).argmin())

    def cube_bwd(x: Any, dy: Any) -> Any:
        dx = 3 * x * x * dy
        dx[ordinary] *= dx.dtype.type(1.001)
        return (dx,)

    only = row(verify((lambda x: (x**3, x), cube_bwd), x))
    assert only.verdict is Verdict.FAIL
    assert f"x[{ordinary}]" in only.diagnosis


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("tiny", [1e-290, 5e-324])
def test_a_full_sweep_of_a_tiny_element_ends(tiny: float) -> None:
    wrong = elementwise(lambda x: 2 * x, lambda x: 3 * np.ones_like(x))
    assert row(verify(wrong, np.array([0.7, tiny]))).verdict is Verdict.FAIL
    assert row(verify(elementwise(lambda x: 2 * x, lambda x: 2 * np.ones_like(x)), np.array([0.7, tiny]))).passed


def test_a_gradient_that_is_left_when_terms_cancel_is_linear() -> None:
    """A vector of one entry, normalized: the two terms of its gradient cancel to a trillionth."""

    def fwd(x: Array) -> Any:
        n = np.sqrt((x * x).sum(-1, keepdims=True) + 1e-12)
        return x / n, (x, n)

    def bwd(r: Any, dy: Array) -> Any:
        x, n = r
        return (dy / n - x * (dy * x).sum(-1, keepdims=True) / n**3,)

    rows = verify((fwd, bwd), normal(4, 1)).rows
    assert all("not linear" not in one.diagnosis for one in rows)

    def bent(r: Any, dy: Array) -> Any:
        return bwd(r, dy + 1e-9 * dy * dy)

    assert any("not linear" in one.diagnosis for one in verify((fwd, bent), normal(4, 3)).rows)
