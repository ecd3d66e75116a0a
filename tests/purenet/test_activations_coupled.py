"""Learned slopes, gates, and sums along an axis: torch's and scipy's values, and any shape and axis."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

import purenet as pn
from purenet import activations as act

DTYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]

Array = np.ndarray[Any, Any]


def pulled(op: pn.Op, x: Array, dy: Array, **options: Any) -> Array:
    return np.asarray(op.bwd(op.fwd(x, **options)[1], dy)[0])


# ------------------------------------------------------------------------------------------------ learned slopes


def test_prelu_with_a_slope_for_each_channel_is_torch_s() -> None:
    x = np.array([[0.5, -1.0], [-2.0, 0.3], [-0.25, -4.0]])
    y, pullback = pn.vjp(act.prelu, {"a": np.array([0.25, -0.5])}, x)
    dparams, dx = pullback(np.array([[1.0, -2.0], [0.5, 3.0], [-1.0, 2.0]]))
    np.testing.assert_allclose(y, [[0.5, 0.5], [-0.5, 0.3], [-0.0625, 2.0]], rtol=1e-15)
    np.testing.assert_allclose(dx, [[1.0, 1.0], [0.125, 3.0], [-0.25, -1.0]], rtol=1e-15)
    np.testing.assert_allclose(dparams["a"], [-0.75, -6.0], rtol=1e-15)


@settings(derandomize=True, max_examples=40)
@given(
    x=hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=4, max_side=3), elements=st.floats(-9, 9)), data=st.data()
)
def test_prelu_is_a_leaky_relu_of_each_channel(x: Array, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    a = np.linspace(-0.5, 0.75, x.shape[axis])
    dy = np.cos(np.arange(x.size)).reshape(x.shape)
    y, pullback = pn.vjp(act.prelu, {"a": a}, x, axis=axis)
    dparams, dx = pullback(dy)
    assert dparams["a"].shape == a.shape
    for c, slope_of_channel in enumerate(a):
        one, d, got, dgot = (np.take(array, c, axis=axis) for array in (x, dy, y, dx))
        np.testing.assert_array_equal(got, act.leaky_relu(one, negative_slope=slope_of_channel))
        np.testing.assert_array_equal(dgot, pulled(act.leaky_relu, one, d, negative_slope=slope_of_channel))
        np.testing.assert_allclose(dparams["a"][c], np.sum(d[one < 0] * one[one < 0]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("x", [np.array(-2.0), np.array([-2.0, 1.0, -1.0]), -np.ones((2, 3, 4))], ids=np.shape)
def test_a_shared_slope_needs_no_channels(shape: tuple[int, ...], x: Array) -> None:
    a = np.full(shape, 0.25)
    y, pullback = pn.vjp(act.prelu, {"a": a}, x)
    dparams, dx = pullback(np.ones_like(x))
    np.testing.assert_array_equal(y, np.where(x < 0, x / 4, x))
    np.testing.assert_array_equal(dx, np.where(x < 0, 0.25, 1))
    assert dparams["a"].shape == shape
    assert dparams["a"].sum() == x[x < 0].sum()


def test_prelu_is_a_layer_of_a_chain() -> None:
    net = pn.chain(affine=pn.affine, prelu=act.prelu)
    params = {"affine": {"w": np.array([[1.0, -1.0]])}, "prelu": {"a": np.array([0.5, 0.25])}}
    y, pullback = pn.vjp(net, params, np.array([[4.0]]))
    grads, dx = pullback(np.ones((1, 2)))
    np.testing.assert_array_equal(y, [[4, -1]])
    np.testing.assert_array_equal(grads["prelu"]["a"], [0, -4])
    np.testing.assert_array_equal(dx, [[0.75]])


# ------------------------------------------------------------------------------------------------ gates

GATES = {
    "glu": (act.glu, act.sigmoid),
    "reglu": (act.reglu, act.relu),
    "geglu": (act.geglu, act.gelu),
    "exact geglu": (act.geglu.bind(approximate=False), act.gelu.bind(approximate=False)),
    "swiglu": (act.swiglu, act.silu),
}


@pytest.mark.parametrize(("op", "activation"), GATES.values(), ids=GATES)
@settings(derandomize=True, max_examples=15)
@given(
    u=hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=3), elements=st.floats(-9, 9)), data=st.data()
)
def test_the_second_half_is_the_gate_of_the_first(op: pn.Op, activation: pn.Op, u: Array, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-u.ndim, u.ndim - 1))
    v = data.draw(hnp.arrays(np.float64, u.shape, elements=st.floats(-9, 9)))
    dy = np.cos(np.arange(u.size)).reshape(u.shape)
    x = np.concatenate([u, v], axis=axis)
    np.testing.assert_array_equal(op(x, axis=axis), u * activation(v))
    expected = np.concatenate([dy * activation(v), pulled(activation, v, dy * u)], axis=axis)
    np.testing.assert_array_equal(pulled(op, x, dy, axis=axis), expected)


def test_glu_is_torch_s() -> None:
    x = np.array([[0.5, -1.0, 2.0, 0.3], [1.5, 0.7, -0.2, -3.0]])
    np.testing.assert_allclose(
        act.glu(x), [[0.44039853898894116, -0.574442516811659], [0.6752490040312833, 0.03319811122429674]], rtol=1e-13
    )
    np.testing.assert_allclose(
        pulled(act.glu, x, np.array([[1.0, -2.0], [0.5, 3.0]])),
        [
            [0.8807970779778823, -1.148885033623318, 0.05249679270175331, 0.4889166233814917],
            [0.22508300134376108, 0.14227761953270035, 0.18563742953389495, 0.09487098543491548],
        ],
        rtol=1e-14,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [op for op, _ in GATES.values()], ids=repr)
def test_gates_far_out_are_finite_and_without_warning(op: pn.Op, dtype: Any) -> None:
    x = np.array([1.0, -2.0, 0.5, 3.0, -1e4, 1e4, 0.0, -100], dtype)
    y, dx = op(x), pulled(op, x, np.ones(4, dtype))
    assert y.dtype == dx.dtype == x.dtype
    assert np.isfinite(y.astype(float)).all()
    assert np.isfinite(dx.astype(float)).all()


# ------------------------------------------------------------------------------------------------ along an axis


def test_softmin_is_torch_s() -> None:
    x, dy = np.array([[1.0, 2.0, 4.0], [0.5, 0.5, -3.0]]), np.array([[1.0, -2.0, 0.5], [0.5, 3.0, 1.0]])
    np.testing.assert_allclose(
        act.softmin(x),
        [
            [0.7053845126982412, 0.25949646034241913, 0.03511902695933973],
            [0.02847749193649392, 0.02847749193649392, 0.9430450161270122],
        ],
        rtol=1e-14,
    )
    np.testing.assert_allclose(
        pulled(act.softmin, x, dy),
        [
            [-0.5615205615357425, 0.571917510643214, -0.0103969491074715],
            [0.015455197288736578, -0.05573853255249823, 0.04028333526376176],
        ],
        rtol=1e-13,
    )


def arrays() -> st.SearchStrategy[Any]:
    return hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=4), elements=st.floats(-1e4, 1e4))


@settings(derandomize=True, max_examples=60)
@given(x=arrays(), data=st.data())
def test_logsumexp_is_scipy_s_and_shares_its_cotangent_out(x: Array, data: st.DataObject) -> None:
    axes = st.sampled_from([None, *range(-x.ndim, x.ndim), tuple(range(x.ndim))])
    axis, keepdims = data.draw(axes), data.draw(st.booleans())
    y = act.logsumexp(x, axis=axis, keepdims=keepdims)
    expected = special.logsumexp(x, axis=axis, keepdims=keepdims)
    assert np.shape(y) == np.shape(expected)
    np.testing.assert_allclose(y, expected, rtol=1e-14, atol=1e-15)
    dy = np.cos(np.arange(y.size)).reshape(y.shape)
    dx = pulled(act.logsumexp, x, dy, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(dx.sum(axis=axis, keepdims=keepdims), dy, rtol=1e-14, atol=1e-15)


def test_logsumexp_keeps_the_digits_of_a_small_rest() -> None:
    np.testing.assert_allclose(act.logsumexp(np.array([0.0, -40.0])), np.exp(-40.0), rtol=1e-15)
    np.testing.assert_allclose(pulled(act.logsumexp, np.array(3.0), np.array(1.0)), 1, rtol=0)


@pytest.mark.parametrize("junk", [0.0, np.nan, np.inf, 1e300])
def test_a_masked_entry_does_not_count(junk: float) -> None:
    where = np.array([[True, False, True], [False, False, False]])
    x = np.where(where, [[1.0, 0.0, 2.0]], junk)
    options = {"axis": 1, "where": where}
    y, dx = act.logsumexp(x, **options), pulled(act.logsumexp, x, np.array([2.0, 3.0]), **options)
    np.testing.assert_allclose(y, [np.log(np.exp(1) + np.exp(2)), -np.inf], rtol=1e-15)
    np.testing.assert_allclose(dx, [[2 / (1 + np.e), 0, 2 * np.e / (1 + np.e)], [0, 0, 0]], rtol=1e-15)


def test_logsumexp_of_infinities() -> None:
    rows = np.array([[-np.inf, -np.inf], [-np.inf, 1.5], [np.inf, 1e4], [np.inf, -np.inf], [np.nan, 1e4]])
    np.testing.assert_array_equal(act.logsumexp(rows, axis=1), [-np.inf, 1.5, np.inf, np.inf, np.nan])
    np.testing.assert_array_equal(pulled(act.logsumexp, rows[1], np.array(3.0)), [0, 3])
    for options in ({}, {"where": np.array([True, True])}):
        with np.errstate(invalid="ignore"):
            assert np.isnan(pulled(act.logsumexp, rows[0], np.array(1.0), **options)).all()


def test_logsumexp_of_nothing_is_minus_infinity() -> None:
    np.testing.assert_array_equal(act.logsumexp(np.zeros((2, 0)), axis=1), [-np.inf, -np.inf])
    assert act.logsumexp(np.zeros((0, 3)), axis=1).shape == (0,)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [act.softmin, act.logsumexp.bind(axis=-1, keepdims=True)], ids=repr)
def test_far_apart_entries_are_finite_and_without_warning(op: pn.Op, dtype: Any) -> None:
    x = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4]], dtype)
    y = op(x)
    dx = pulled(op, x, np.ones_like(y))
    assert y.dtype == dx.dtype == x.dtype
    assert np.isfinite(y.astype(float)).all()
    assert np.isfinite(dx.astype(float)).all()
