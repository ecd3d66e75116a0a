"""Activations: the digits they keep, the ends they reach, the entries they leave out, and what they refuse."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import purenet as pn

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]
SMOOTH = [pn.identity, pn.sigmoid, pn.tanh, pn.gelu, pn.gelu.bind(approximate=False), pn.relu]
MAGNITUDES = [1e-300, 1e-100, 1e-17, 1e-8, 1e-3, 0.1, 0.5, 1.0, 3.0, 10.0, 36.0, 40.0, 90.0, 300.0, 650.0]


def slope(op: pn.Op, x: np.ndarray[Any, Any], **options: Any) -> np.ndarray[Any, Any]:
    """The derivative of a function of single entries."""
    _, residuals = op.fwd(x, **options)
    (dx,) = op.bwd(residuals, np.ones_like(x))
    return np.asarray(dx)


def exactly(function: Any, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The function in 800 digits, rounded once."""
    with localcontext() as context:
        context.prec = 800
        return np.array([float(function(Decimal(float(v)))) for v in x])


def logistic(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


# ------------------------------------------------------------------------------------------------ entry by entry


@pytest.mark.parametrize("sign", [-1, 1])
def test_sigmoid_keeps_its_digits(sign: int) -> None:
    x = sign * np.array(MAGNITUDES)
    np.testing.assert_allclose(pn.sigmoid(x), exactly(logistic, x), rtol=1e-15)
    np.testing.assert_allclose(slope(pn.sigmoid, x), exactly(lambda v: logistic(v) * logistic(-v), x), rtol=1e-15)


@pytest.mark.parametrize("sign", [-1, 1])
def test_tanh_keeps_its_digits(sign: int) -> None:
    x = sign * np.array([m for m in MAGNITUDES if m <= 300])
    np.testing.assert_allclose(pn.tanh(x), exactly(lambda v: 1 - 2 * logistic(-2 * v), x), rtol=1e-15)
    np.testing.assert_allclose(slope(pn.tanh, x), exactly(lambda v: 4 * logistic(2 * v) * logistic(-2 * v), x), rtol=1e-15)


def test_gelu_by_tanh_keeps_its_digits() -> None:
    x = np.array([-16.0, -8.0, -5.0, -2.0, -0.5, -1e-9, 1e-9, 0.5, 2.0, 8.0])
    two_k = 2 * (2 / Decimal("3.14159265358979323846264338327950288419716939937510")).sqrt()
    c = Decimal("0.044715")

    def derivative(v: Decimal) -> Decimal:
        s = logistic(two_k * (v + c * v**3))
        return s + v * s * (1 - s) * two_k * (1 + 3 * c * v**2)

    np.testing.assert_allclose(pn.gelu(x), exactly(lambda v: v * logistic(two_k * (v + c * v**3)), x), rtol=1e-13)
    np.testing.assert_allclose(slope(pn.gelu, x), exactly(derivative, x), rtol=1e-13)


def test_the_exact_gelu_keeps_its_digits() -> None:
    table = np.array(  # x, x P(x), P(x) + x p(x), computed with 400 bits
        [
            (-30.0, -1.472014178144456e-196, -4.416031690708495e-195),
            (-10.0, -7.619853024160526e-23, -7.618400096464814e-22),
            (-5.0, -1.4332578593959695e-06, -7.146946001792295e-06),
            (-1.0, -0.15865525393145705, -0.0833154705876863),
            (-0.5, -0.15426876936299344, 0.13250487534383715),
            (0.5, 0.34573123063700656, 0.8674951246561629),
            (1.0, 0.8413447460685429, 1.0833154705876864),
            (5.0, 4.999998566742141, 1.000007146946002),
        ]
    )
    x, value, derivative = table.T
    np.testing.assert_allclose(pn.gelu(x, approximate=False), value, rtol=1e-13)
    np.testing.assert_allclose(slope(pn.gelu, x, approximate=False), derivative, rtol=1e-13)


@pytest.mark.parametrize(
    ("op", "low", "high"),
    [(pn.sigmoid, 0, 1), (pn.tanh, -1, 1), (pn.gelu, 0, 1e4), (pn.gelu.bind(approximate=False), 0, 1e4), (pn.relu, 0, 1e4)],
    ids=repr,
)
def test_the_ends_are_right(op: pn.Op, low: float, high: float) -> None:
    np.testing.assert_array_equal(op(np.array([-1e4, 1e4])), [low, high])


def test_the_largest_slope_of_sigmoid_is_a_quarter_at_zero() -> None:
    x = np.linspace(-5, 5, 1001)
    slopes = slope(pn.sigmoid, x)
    assert slopes.max() == 0.25
    assert x[slopes.argmax()] == 0


def test_relu_at_its_kink_and_at_nan() -> None:
    x = np.array([-1.0, -0.0, 0.0, 2.0, np.nan])
    np.testing.assert_array_equal(pn.relu(x), [0, 0, 0, 2, np.nan])
    np.testing.assert_array_equal(slope(pn.relu, x), [0, 0, 0, 1, 0])


@pytest.mark.parametrize("op", SMOOTH, ids=repr)
def test_nan_in_one_entry_stays_there(op: pn.Op) -> None:
    y = op(np.array([1.0, np.nan, -1.0]))
    np.testing.assert_array_equal(np.isnan(y), [False, True, False])


@pytest.mark.parametrize("op", SMOOTH, ids=repr)
def test_any_shape_also_none_and_empty(op: pn.Op) -> None:
    for shape in [(), (0,), (2, 0, 3), (2, 1, 3)]:
        x = np.full(shape, 0.5)
        assert np.shape(op(x)) == np.shape(slope(op, x)) == shape


def test_identity_copies() -> None:
    x, dy = np.ones(3), np.ones(3)
    y, residuals = pn.identity.fwd(x)
    (dx,) = pn.identity.bwd(residuals, dy)
    y[0] = dx[1] = 7
    np.testing.assert_array_equal(x, 1)
    np.testing.assert_array_equal(dy, 1)


def test_gelu_refuses_a_name_for_approximate() -> None:
    with pytest.raises(TypeError, match="gelu: approximate must be True or False, got 'none'"):
        pn.gelu(np.ones(2), approximate="none")


# ------------------------------------------------------------------------------------------------ along an axis


def arrays() -> st.SearchStrategy[Any]:
    return hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4), elements=st.floats(-1e4, 1e4))


def pulled(op: pn.Op, x: Any, dy: Any, **options: Any) -> Any:
    return op.bwd(op.fwd(x, **options)[1], dy)[0]


@settings(derandomize=True, max_examples=60)
@given(x=arrays(), data=st.data())
def test_softmax_sums_to_one_and_its_gradient_to_zero(x: np.ndarray[Any, Any], data: st.DataObject) -> None:
    axis = data.draw(st.sampled_from([None, *range(-x.ndim, x.ndim)]))
    dy = np.cos(np.arange(x.size)).reshape(x.shape)
    np.testing.assert_allclose(pn.softmax(x, axis=axis).sum(axis), 1, rtol=1e-14)
    for op in (pn.softmax, pn.log_softmax):
        np.testing.assert_allclose(pulled(op, x, dy, axis=axis).sum(axis), 0, atol=1e-13)


@settings(derandomize=True, max_examples=60)
@given(x=arrays())
def test_log_softmax_is_the_logarithm_of_softmax(x: np.ndarray[Any, Any]) -> None:
    np.testing.assert_allclose(np.exp(pn.log_softmax(x)), pn.softmax(x), rtol=1e-12, atol=1e-300)


@settings(derandomize=True, max_examples=40)
@given(x=hnp.arrays(np.float64, (3, 4), elements=st.integers(-9, 9)), shift=st.integers(-1000, 1000))
def test_a_shift_changes_nothing(x: np.ndarray[Any, Any], shift: int) -> None:
    np.testing.assert_array_equal(pn.softmax(x + shift), pn.softmax(x))


def test_several_axes_are_one_axis() -> None:
    x = np.arange(24.0).reshape(2, 3, 4) % 5
    dy = np.sin(np.arange(24.0)).reshape(2, 3, 4)
    flat, dflat = (a.transpose(1, 0, 2).reshape(3, 8) for a in (x, dy))
    for op in (pn.softmax, pn.log_softmax):
        expected = pulled(op, flat, dflat).reshape(3, 2, 4).transpose(1, 0, 2)
        np.testing.assert_allclose(pulled(op, x, dy, axis=(0, -1)), expected, rtol=1e-13, atol=1e-15)


def test_a_nearly_certain_row_keeps_its_digits() -> None:
    x, dy = np.array([0.0, -50.0, -300.0]), np.array([1.0, 3.0, -2.0])

    def probability(i: int) -> Decimal:
        e = [Decimal(float(v)).exp() for v in x]
        return e[i] / sum(e)

    with localcontext() as context:
        context.prec = 400
        p = [probability(i) for i in range(3)]
        d = [Decimal(float(v)) for v in dy]
        mean = sum(a * b for a, b in zip(p, d, strict=True))
        logs = [float(a.ln()) for a in p]
        of_softmax = [float(a * (b - mean)) for a, b in zip(p, d, strict=True)]
        of_log_softmax = [float(b - a * sum(d)) for a, b in zip(p, d, strict=True)]
    np.testing.assert_allclose(pn.log_softmax(x), logs, rtol=1e-15)
    np.testing.assert_allclose(pulled(pn.softmax, x, dy), of_softmax, rtol=1e-14)
    np.testing.assert_allclose(pulled(pn.log_softmax, x, dy), of_log_softmax, rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [pn.softmax, pn.log_softmax], ids=repr)
def test_far_apart_entries_are_finite_and_without_warning(op: pn.Op, dtype: Any) -> None:
    x = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4]], dtype)
    y = op(x)
    dx = pulled(op, x, np.array([[1, -2, 0.5]] * 3, dtype))
    assert y.dtype == dx.dtype == x.dtype
    assert np.isfinite(y.astype(float)).all()
    assert np.isfinite(dx.astype(float)).all()


def test_minus_infinity_gets_no_probability() -> None:
    x = np.array([1.0, -np.inf, 1.0])
    np.testing.assert_array_equal(pn.softmax(x), [0.5, 0, 0.5])
    np.testing.assert_array_equal(pulled(pn.softmax, x, np.array([1.0, 5.0, 0.0])), [0.25, 0, -0.25])


def test_a_row_of_minus_infinity_is_nan() -> None:
    with np.errstate(invalid="ignore"):
        assert np.isnan(pn.softmax(np.full(3, -np.inf))).all()
        assert np.isnan(pn.log_softmax(np.full(3, -np.inf))).all()


@pytest.mark.parametrize("junk", [0.0, np.nan, np.inf, 1e300])
@pytest.mark.parametrize(("op", "outside"), [(pn.softmax, 0), (pn.log_softmax, -np.inf)])
def test_a_masked_entry_does_not_leak(op: pn.Op, outside: float, junk: float) -> None:
    where = np.array([[True, False, True], [False, False, False]])
    x = np.where(where, [[1.0, 0.0, 2.0]], junk)
    dy = np.array([[2.0, 5.0, -1.0], [1.0, 2.0, 3.0]])
    y, dx = op(x, where=where), pulled(op, x, dy, where=where)
    kept = np.array([1.0, 2.0]), np.array([2.0, -1.0])
    np.testing.assert_array_equal(y[0, [0, 2]], op(kept[0]))
    np.testing.assert_allclose(dx[0, [0, 2]], pulled(op, *kept), rtol=1e-15)
    np.testing.assert_array_equal(y[~where], outside)
    np.testing.assert_array_equal(dx[~where], 0)


def test_a_mask_is_broadcast() -> None:
    x = np.arange(6.0).reshape(2, 3)
    mask = np.array([True, True, False])
    np.testing.assert_array_equal(pn.softmax(x, where=mask), pn.softmax(x, where=np.stack([mask, mask])))


@pytest.mark.parametrize(
    ("options", "exception", "match"),
    [
        ({"axis": 2}, ValueError, r"axis must be one of the 2 axes of x \(2, 3\), got 2"),
        ({"axis": (0, -2)}, ValueError, r"axis must name each axis once, got \(0, -2\)"),
        ({"axis": 1.0}, TypeError, "axis must be an integer, a tuple of integers or None, got 1.0"),
        ({"where": np.ones((2, 3))}, TypeError, "where must be an array of booleans .*, got float64"),
        (
            {"where": np.ones((5, 2, 3), bool)},
            ValueError,
            r"where must have a shape that broadcasts to \(2, 3\), got \(5, 2, 3\)",
        ),
    ],
)
@pytest.mark.parametrize("op", [pn.softmax, pn.log_softmax], ids=repr)
def test_bad_options(op: pn.Op, options: dict[str, Any], exception: type[Exception], match: str) -> None:
    with pytest.raises(exception, match=f"^{op.name}: {match}"):
        op(np.ones((2, 3)), **options)


@pytest.mark.parametrize("op", [pn.softmax, pn.log_softmax], ids=repr)
def test_a_scalar_has_no_last_axis(op: pn.Op) -> None:
    with pytest.raises(ValueError, match=r"axis must be one of the 0 axes of x \(\), got -1"):
        op(np.array(1.0))
