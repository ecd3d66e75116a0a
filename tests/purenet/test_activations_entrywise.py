"""Activations of single entries: torch's values, their kinks, their ends, the digits they keep."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import purenet as pn
from purenet import activations as act

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]

Array = np.ndarray[Any, Any]

POINTS = np.array([-20.0, -2.5, -0.3, 0.6, 19.0])

# Values and slopes at POINTS, of torch 2.13.0 in float64.
TORCH: dict[str, tuple[pn.Op, list[float], list[float]]] = {
    "leaky_relu": (
        act.leaky_relu.bind(negative_slope=0.1),
        [-2.0, -0.25, -0.03, 0.6, 19.0],
        [0.1, 0.1, 0.1, 1.0, 1.0],
    ),
    "elu": (
        act.elu.bind(alpha=0.7),
        [-0.6999999985571924, -0.6425405009632709, -0.1814272455227975, 0.6, 19.0],
        [1.4428075357069904e-09, 0.05745949903672916, 0.5185727544772025, 1.0, 1.0],
    ),
    "celu": (
        act.celu.bind(alpha=0.5),
        [-0.5, -0.49663102650045726, -0.22559418195298678, 0.6, 19.0],
        [4.248354255291589e-18, 0.006737946999085467, 0.5488116360940264, 1.0, 1.0],
    ),
    "selu": (
        act.selu,
        [-1.758099337223664, -1.6137857588732425, -0.45566731537912203, 0.6304205924132883, 19.963318759754127],
        [3.6237128249944113e-09, 0.1443135819741343, 1.3024320254682547, 1.0507009873554805, 1.0507009873554805],
    ),
    "silu": (
        act.silu,
        [-4.122307236380407e-08, -0.18964545005310887, -0.1276672449565023, 0.3873937837354772, 18.999999893546867],
        [-3.9161918660646786e-08, -0.09940111134152683, 0.3522199896811173, 0.7829268504997898, 1.0000001008503354],
    ),
    "mish": (
        act.mish,
        [-4.122307240628762e-08, -0.19681620390653337, -0.15113317713833455, 0.466136485694329, 18.999999999999996],
        [-3.916191874348969e-08, -0.10974357275018566, 0.40851087693570215, 0.9304707876297239, 1.000000000000004],
    ),
    "softplus": (
        act.softplus,
        [2.061153620314381e-09, 0.07888973429254963, 0.5543552444685271, 1.0374879504858856, 19.000000005602796],
        [2.0611536181902033e-09, 0.07585818002124356, 0.425557483188341, 0.6456563062257954, 0.9999999943972036],
    ),
    "softsign": (
        act.softsign,
        [-0.9523809523809523, -0.7142857142857143, -0.23076923076923075, 0.37499999999999994, 0.95],
        [0.0022675736961451226, 0.08163265306122447, 0.5917159763313609, 0.39062500000000006, 0.0025000000000000022],
    ),
    "log_sigmoid": (
        act.log_sigmoid,
        [-20.000000002061153, -2.5788897342925496, -0.8543552444685272, -0.4374879504858857, -5.602796421841604e-09],
        [0.9999999979388464, 0.9241418199787564, 0.5744425168116589, 0.35434369377420455, 5.60279640614594e-09],
    ),
    "relu6": (
        act.relu6,
        [0.0, 0.0, 0.0, 0.6, 6.0],
        [0.0, 0.0, 0.0, 1.0, 0.0],
    ),
    "hard_tanh": (
        act.hard_tanh,
        [-1.0, -1.0, -0.3, 0.6, 1.0],
        [0.0, 0.0, 1.0, 1.0, 0.0],
    ),
    "hard_sigmoid": (
        act.hard_sigmoid,
        [0.0, 0.08333333333333333, 0.45, 0.6, 1.0],
        [0.0, 0.1666666716337204, 0.1666666716337204, 0.1666666716337204, 0.0],
    ),
    "hard_swish": (
        act.hard_swish,
        [-0.0, -0.20833333333333334, -0.135, 0.36000000000000004, 19.0],
        [0.0, -0.33333333333333337, 0.4, 0.7, 1.0],
    ),
    "tanhshrink": (
        act.tanhshrink,
        [-19.0, -1.5133857018485697, -0.008687387548409087, 0.06295043300196468, 18.0],
        [1.0, 0.9734077733168395, 0.08486303817337082, 0.28842223741277717, 0.9999999999999998],
    ),
    "softshrink": (
        act.softshrink,
        [-19.5, -2.0, -0.0, 0.09999999999999998, 18.5],
        [1.0, 1.0, 0.0, 1.0, 1.0],
    ),
    "hardshrink": (
        act.hardshrink,
        [-20.0, -2.5, 0.0, 0.6, 19.0],
        [1.0, 1.0, 0.0, 1.0, 1.0],
    ),
    "threshold": (
        act.threshold.bind(threshold=0.2, value=-1.5),
        [-1.5, -1.5, -1.5, 0.6, 19.0],
        [0.0, 0.0, 0.0, 1.0, 1.0],
    ),
}

ENTRYWISE = [
    act.celu,
    act.elu,
    act.elu.bind(alpha=-2.0),
    act.gelu,
    act.gelu.bind(approximate=False),
    act.hard_sigmoid,
    act.hard_swish,
    act.hard_tanh,
    act.hardshrink,
    act.identity,
    act.leaky_relu,
    act.log_sigmoid,
    act.mish,
    act.relu,
    act.relu6,
    act.selu,
    act.sigmoid,
    act.silu,
    act.softplus,
    act.softshrink,
    act.softsign,
    act.step,
    act.tanh,
    act.tanhshrink,
    act.threshold.bind(threshold=-1.0, value=5.0),
]


def slope(op: pn.Op, x: Any, **options: Any) -> Array:
    """The derivative of a function of single entries."""
    x = np.asarray(x)
    return np.asarray(op.bwd(op.fwd(x, **options)[1], np.ones_like(x))[0])


@pytest.mark.parametrize(("op", "values", "slopes"), TORCH.values(), ids=TORCH)
def test_values_and_slopes_are_those_of_torch(op: pn.Op, values: list[float], slopes: list[float]) -> None:
    np.testing.assert_allclose(op(POINTS), values, rtol=1e-14)
    # torch takes hard_sigmoid's 1/6 from float32.
    np.testing.assert_allclose(slope(op, POINTS), slopes, rtol=1e-7 if op is act.hard_sigmoid else 2e-14)


@pytest.mark.parametrize(
    ("op", "points", "slopes"),
    [
        (act.step, [0.0], [0.0]),
        (act.relu6, [0.0, 6.0], [0.0, 0.0]),
        (act.leaky_relu, [0.0, -0.0], [1.0, 1.0]),
        (act.hard_tanh, [-1.0, 1.0], [1.0, 1.0]),
        (act.hard_sigmoid, [-3.0, 3.0], [0.0, 0.0]),
        (act.hard_swish, [-3.0, 3.0], [0.0, 1.0]),
        (act.elu.bind(alpha=0.25), [0.0, -0.0], [0.25, 0.25]),
        (act.celu.bind(alpha=0.25), [0.0, -0.0], [1.0, 1.0]),
        (act.selu, [0.0], [1.0507009873554805 * 1.6732632423543772]),
        (act.softshrink, [-0.5, 0.5], [0.0, 0.0]),
        (act.hardshrink, [-0.5, 0.5], [0.0, 0.0]),
        (act.threshold.bind(threshold=1.0, value=7.0), [1.0], [0.0]),
        (act.softplus, [0.0], [0.5]),
    ],
    ids=repr,
)
def test_the_slope_at_each_kink_is_the_documented_one(op: pn.Op, points: list[float], slopes: list[float]) -> None:
    np.testing.assert_allclose(slope(op, np.array(points)), slopes, rtol=1e-15)


@pytest.mark.parametrize(("op", "values"), [(act.step, [0, 0]), (act.hardshrink, [0, 0])], ids=repr)
def test_the_value_at_a_jump_is_zero(op: pn.Op, values: list[float]) -> None:
    x = np.array([0.0, -0.0]) if op is act.step else np.array([0.5, -0.5])
    np.testing.assert_array_equal(op(x), values)


@pytest.mark.parametrize("op", [act.softshrink, act.hardshrink], ids=repr)
def test_shrinkage_by_nothing_is_the_identity_also_at_zero(op: pn.Op) -> None:
    x = np.array([-1.5, -0.0, 0.0, 2.0])
    np.testing.assert_array_equal(op(x, lambd=0), x)
    np.testing.assert_array_equal(slope(op, x, lambd=0), 1)


def test_a_slope_of_zero_does_not_meet_infinity() -> None:
    np.testing.assert_array_equal(act.leaky_relu(np.array([np.inf, -2.0]), negative_slope=0), [np.inf, 0])


@pytest.mark.parametrize("op", ENTRYWISE, ids=repr)
def test_the_ends_are_finite_and_without_warning(op: pn.Op) -> None:
    for dtype in DTYPES:
        x = np.array([-1e4, -1e3, -100, -0.0, 0.0, 100, 1e3, 1e4], dtype)
        y, dx = op(x), slope(op, x)
        assert y.dtype == dx.dtype == x.dtype
        assert np.isfinite(y.astype(float)).all(), dtype
        assert np.isfinite(dx.astype(float)).all(), dtype


@pytest.mark.parametrize(
    ("op", "low", "high"),
    [
        (act.celu.bind(alpha=3.0), -3, 1e4),
        (act.elu.bind(alpha=3.0), -3, 1e4),
        (act.hard_sigmoid, 0, 1),
        (act.hard_swish, 0, 1e4),
        (act.log_sigmoid, -1e4, 0),
        (act.mish, 0, 1e4),
        (act.selu, -1.0507009873554805 * 1.6732632423543772, 1.0507009873554805e4),
        (act.silu, 0, 1e4),
        (act.softplus, 0, 1e4),
        (act.softsign, -1e4 / 10001, 1e4 / 10001),
        (act.tanhshrink, -9999, 9999),
    ],
    ids=repr,
)
def test_the_ends_are_right(op: pn.Op, low: float, high: float) -> None:
    np.testing.assert_allclose(op(np.array([-1e4, 1e4])), [low, high], rtol=1e-15)


@pytest.mark.parametrize("op", ENTRYWISE, ids=repr)
def test_nan_in_one_entry_stays_there(op: pn.Op) -> None:
    np.testing.assert_array_equal(np.isnan(op(np.array([1.0, np.nan, -1.0]))), [False, True, False])


@pytest.mark.parametrize("op", ENTRYWISE, ids=repr)
def test_any_shape_also_none_and_empty(op: pn.Op) -> None:
    for shape in [(), (0,), (2, 0, 3), (2, 1, 3)]:
        x = np.full(shape, 0.75)
        assert np.shape(op(x)) == np.shape(slope(op, x)) == shape


def test_other_names_are_the_same_ops() -> None:
    assert act.swish is act.silu
    assert act.hard_silu is act.hard_swish
    assert act.soft_sign is act.softsign


# ------------------------------------------------------------------------------------------------ digits


def logistic(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


def mish_by_fractions(x: Decimal) -> Decimal:
    e = x.exp()
    return x * (e * e + 2 * e) / (e * e + 2 * e + 2)


def mish_slope_of_the_paper(x: Decimal) -> Decimal:
    e = x.exp()
    return e * (4 * (x + 1) + 4 * e**2 + e**3 + e * (4 * x + 6)) / (2 * e + e**2 + 2) ** 2


DIGITS: dict[str, tuple[pn.Op, Callable[[Decimal], Decimal], Callable[[Decimal], Decimal]]] = {
    "softplus": (act.softplus, lambda x: (1 + x.exp()).ln(), logistic),
    "log_sigmoid": (act.log_sigmoid, lambda x: -(1 + (-x).exp()).ln(), lambda x: logistic(-x)),
    "silu": (act.silu, lambda x: x * logistic(x), lambda x: logistic(x) * (1 + x * logistic(-x))),
    "mish": (act.mish, mish_by_fractions, mish_slope_of_the_paper),
    "elu": (act.elu, lambda x: x if x > 0 else x.exp() - 1, lambda x: Decimal(1) if x > 0 else x.exp()),
}


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("op", "value", "derivative"), DIGITS.values(), ids=DIGITS)
def test_digits_are_kept(op: pn.Op, value: Any, derivative: Any, sign: int) -> None:
    x = sign * np.array([1e-300, 1e-17, 1e-8, 1e-3, 0.1, 0.5, 3.0, 10.0, 36.0, 90.0, 300.0])
    with localcontext() as context:
        context.prec = 400
        values, slopes = ([float(f(Decimal(float(v)))) for v in x] for f in (value, derivative))
    np.testing.assert_allclose(op(x), values, rtol=1e-15)
    np.testing.assert_allclose(slope(op, x), slopes, rtol=4e-15)
