"""The protocol: what is differentiated, what an argument and a cotangent must be, and what goes wrong by name."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

import purenet as pn
from purenet import Op

X = np.array([1.0, -2.0, 3.0])
NARROW = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
DTYPES = [np.dtype(np.float64), np.dtype(np.float32), *NARROW]


def product() -> Op:
    """y = factor * a * b, with one option that is required and one that is not."""

    @Op
    def product(a: Any, b: Any, *, factor: float, power: int = 1) -> tuple[Any, Any]:
        scale = factor**power
        return scale * a * b, (a, b, scale)

    @product.pullback
    def product_bwd(residuals: Any, dy: Any) -> tuple[Any, Any]:
        a, b, scale = residuals
        return scale * dy * b, scale * dy * a

    return product


class Statistics(NamedTuple):
    mean: Any
    width: Any


def centred() -> Op:
    """A tree of two outputs, and residuals with names."""

    @Op
    def centred(x: Any) -> tuple[Any, Any]:
        mean = x.mean(axis=0)
        return {"y": x - mean, "mean": mean}, Statistics(mean, len(x))

    @centred.pullback
    def centred_bwd(residuals: Statistics, dy: Any) -> tuple[Any]:
        return (dy["y"] + (dy["mean"] - dy["y"].sum(axis=0)) / residuals.width,)

    return centred


# ---------------------------------------------------------------------------------------------- the calls


def test_the_value_the_residuals_and_the_cotangents() -> None:
    op = product()
    value, residuals = op.fwd(X, 2 * X, factor=3.0)
    np.testing.assert_array_equal(value, [6.0, 24.0, 54.0])
    np.testing.assert_array_equal(op(X, 2 * X, factor=3.0), value)
    da, db = op.bwd(residuals, np.ones(3))
    np.testing.assert_array_equal(da, 6 * X)
    np.testing.assert_array_equal(db, 3 * X)


def test_vjp_is_fwd_and_bwd() -> None:
    value, pullback = pn.vjp(product(), X, 2 * X, factor=3.0, power=2)
    np.testing.assert_array_equal(value, [18.0, 72.0, 162.0])
    for _ in range(2):  # the closure may be called again
        da, db = pullback(np.array([1.0, 0.0, 0.0]))
        np.testing.assert_array_equal(da, [18.0, 0.0, 0.0])
        np.testing.assert_array_equal(db, [9.0, 0.0, 0.0])


def test_an_op_looks_like_its_forward_function() -> None:
    assert str(inspect.signature(pn.gelu)).startswith("(x: ")
    assert pn.gelu.__doc__ == pn.gelu.forward.__doc__
    assert (pn.gelu.__name__, pn.gelu.__module__) == ("gelu", "purenet.activations.smooth")
    assert repr(product().bind(factor=2.0)) == "<Op product(a, b, factor=2.0)>"


def test_trees_go_in_and_out() -> None:
    op = centred()
    x = np.array([[1.0, 10.0], [3.0, 30.0]])
    value, residuals = op.fwd(x)
    np.testing.assert_array_equal(value["y"], [[-1.0, -10.0], [1.0, 10.0]])
    (dx,) = op.bwd(residuals, {"y": np.array([[1.0, 0.0], [0.0, 0.0]]), "mean": np.array([0.0, 4.0])})
    np.testing.assert_array_equal(dx, [[0.5, 2.0], [-0.5, 2.0]])


# ---------------------------------------------------------------------------------------------- options


def test_bound_options_are_fixed_until_given_again() -> None:
    op = product()
    bound = op.bind(factor=3.0).bind(power=2)
    np.testing.assert_array_equal(bound(X, X), 9 * X * X)
    np.testing.assert_array_equal(bound(X, X, power=1), 3 * X * X)
    np.testing.assert_array_equal(bound.bind(factor=2.0)(X, X), 4 * X * X)
    np.testing.assert_array_equal(bound(X, X), 9 * X * X)  # neither call nor bind changed it
    assert op.bound == {}


def test_an_argument_given_by_keyword_is_a_constant() -> None:
    op = product()
    for call in (op, op.bind(b=2 * X)):
        options = {"factor": 1.0} if call is not op else {"factor": 1.0, "b": 2 * X}
        value, residuals = call.fwd(X, **options)
        np.testing.assert_array_equal(value, 2 * X * X)
        (da,) = call.bwd(residuals, np.ones(3))
        np.testing.assert_array_equal(da, 2 * X)
    _, residuals = op.fwd(X, a=2 * X, factor=1.0)  # the one positional argument is b
    (db,) = op.bwd(residuals, np.ones(3))
    np.testing.assert_array_equal(db, 2 * X)
    assert op.bwd(op.fwd(a=X, b=X, factor=1.0)[1], np.ones(3)) == ()


def test_a_constant_is_checked_like_any_argument() -> None:
    with pytest.raises(TypeError, match=r"product: b must be a floating-point array .* got int64"):
        product()(X, b=np.array([1, 2, 3]), factor=1.0)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda op: op(X, X, factor=1.0, scale=2.0), r"product: unknown keyword argument 'scale' \(options: factor, power\)"),
        (lambda op: op.bind(scale=2.0), "product: unknown keyword argument 'scale'"),
        (lambda _: pn.relu(X, slope=0.1), r"relu: unknown keyword argument 'slope' \(options: none\)"),
        (lambda op: op(X, X), "product: missing the keyword argument 'factor'"),
        (lambda op: op(X, factor=1.0), r"product: takes 2 positional arguments \(a, b\), got 1"),
        (lambda op: op(X, X, X, factor=1.0), r"product: takes 2 positional arguments \(a, b\), got 3"),
        (lambda op: op(X, X, b=X, factor=1.0), r"product: takes 1 positional argument \(a\), got 2"),
        (lambda op: op.bind(b=X)(X, X, factor=1.0), r"product: takes 1 positional argument \(a\), got 2"),
        (lambda op: op(X, a=X, b=X, factor=1.0), r"product: takes 0 positional arguments \(no\), got 1"),
    ],
)
def test_a_wrong_call_is_named(call: Callable[[Op], Any], match: str) -> None:
    with pytest.raises(TypeError, match=f"^{match}"):
        call(product())


# ---------------------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (np.array([1, 2, 3]), "int64"),
        (np.array([1, 2, 3], np.uint8), "uint8"),
        (np.array([True, False]), "bool"),
        (X * 1j, "complex128"),
        (X.astype(object), "object"),
        (X.astype(np.longdouble), str(np.dtype(np.longdouble))),
        (np.array(["one"]), "<U3"),
        (np.array([1], "m8[s]"), r"timedelta64\[s\]"),
        (np.ma.array(X, mask=[True, False, False]), "MaskedArray"),
        (1, "int"),
        (True, "bool"),
        (1j, "complex"),
        ("one", "str"),
    ],
)
def test_what_is_not_floating_point_is_refused(value: Any, got: str) -> None:
    with pytest.raises(TypeError, match=rf"^product: a must be a floating-point array.*, got {got}$"):
        product()(value, X, factor=1.0)
    with pytest.raises(TypeError, match=rf"^product: b\.w\.1 must be a floating-point array.*, got {got}$"):
        product()(X, {"w": (X, value)}, factor=1.0)


def test_arguments_share_one_dtype() -> None:
    match = r"^product: arguments must share one dtype, but a is float64 and b\.w is float32$"
    with pytest.raises(TypeError, match=match):
        product()(X, {"w": X.astype(np.float32)}, factor=1.0)
    with pytest.raises(TypeError, match=r"^affine: arguments .* one dtype, but params\.b is float64 and params\.w"):
        pn.affine({"w": np.ones((2, 2), np.float32), "b": np.ones(2)}, np.ones((1, 2)))


def test_python_floats_are_scalars_and_a_list_is_a_tree_of_them() -> None:
    op = product()
    assert op(1.5, 2.0, factor=1.0) == 3.0
    assert op(np.float64(1.5), 2.0, factor=1.0) == 3.0
    assert pn.l2_penalty([3.0, 4.0], strength=2.0) == 25.0
    _, residuals = pn.l2_penalty.fwd([3.0, 4.0], strength=2.0)
    assert pn.l2_penalty.bwd(residuals, 1) == ([6.0, 8.0],)


def test_an_int_in_a_list_is_refused_by_its_place() -> None:
    with pytest.raises(TypeError, match=r"^l2_penalty: weights\.1 must be a floating-point array, got int$"):
        pn.l2_penalty([3.0, 4], strength=2.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_another_byte_order_is_read_and_never_returned(dtype: Any) -> None:
    swapped = np.dtype(dtype).newbyteorder("S")
    op, x = product(), X.astype(dtype)
    value, residuals = op.fwd(x.astype(swapped), {"w": x.astype(swapped)}["w"], factor=2.0)
    assert value.dtype == dtype
    assert value.dtype.isnative
    np.testing.assert_array_equal(value, 2 * x * x)
    for cotangent in op.bwd(residuals, x.astype(swapped)):
        assert cotangent.dtype == dtype
        np.testing.assert_array_equal(cotangent, 2 * x * x)


def test_subclasses_of_arrays_come_back_as_plain_arrays() -> None:
    class Image(np.ndarray):
        pass

    assert type(pn.relu(X.view(Image))) is np.ndarray
    _, residuals = pn.relu.fwd(X.view(Image))
    assert type(pn.relu.bwd(residuals, X.view(Image))[0]) is np.ndarray


# ---------------------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_dtype_of_the_arguments_is_that_of_the_results(dtype: np.dtype[Any]) -> None:
    value, residuals = product().fwd(X.astype(dtype), X.astype(dtype), factor=2.0)
    assert value.dtype == dtype
    assert {c.dtype for c in product().bwd(residuals, value)} == {dtype}


@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_sixteen_bits_are_computed_in_float32_and_rounded_once(dtype: np.dtype[Any]) -> None:
    seen = []

    @Op
    def cancel(x: Any) -> tuple[Any, Any]:
        seen.append(x["w"].dtype)
        return (x["w"] + np.float32(1e-3)) - 1, None  # 1e-3 is lost in 16 bits, not in float32

    @cancel.pullback
    def cancel_bwd(_: None, dy: Any) -> tuple[Any]:
        seen.append(dy.dtype)
        return ({"w": (dy + np.float32(1e-3)) - 1},)

    ones = np.ones(3, dtype)
    value, residuals = cancel.fwd({"w": ones})
    (dx,) = cancel.bwd(residuals, ones)
    assert seen == [np.float32, np.float32]
    wanted = ((np.float32(1) + np.float32(1e-3)) - np.float32(1)).astype(dtype)
    for result in (value, dx["w"]):
        assert result.dtype == dtype
        assert (result == wanted).all()
    assert (ones + dtype.type(1e-3)) - dtype.type(1) != pytest.approx(float(wanted), rel=1e-3)


def test_what_float16_cannot_hold_is_infinite_without_a_warning() -> None:
    big = np.full(2, 6e4, np.float16)
    value, residuals = product().fwd(big, big, factor=1.0)
    assert np.isposinf(value).all()
    assert np.isposinf(product().bwd(residuals, big)[0]).all()


# ---------------------------------------------------------------------------------------------- cotangents


def test_a_python_number_is_the_cotangent_of_a_scalar() -> None:
    for dtype in DTYPES:
        _, residuals = product().fwd(np.array(2.0, dtype), np.array(3.0, dtype), factor=1.0)
        for dy in (1, 1.0):
            da, db = product().bwd(residuals, dy)
            assert (da, db) == (3.0, 2.0)
            assert da.dtype == dtype


@pytest.mark.parametrize(
    ("dy", "error", "match"),
    [
        (np.ones(2), ValueError, r"the cotangent dy has shape \(2,\), the value it belongs to has \(3,\)"),
        (np.ones((3, 1)), ValueError, r"the cotangent dy has shape \(3, 1\), the value it belongs to has \(3,\)"),
        (np.float64(1), ValueError, r"the cotangent dy has shape \(\), the value it belongs to has \(3,\)"),
        (np.ones(3, np.float32), TypeError, "the cotangent dy is float32, the value it belongs to is float64"),
        (np.ones(3, np.int64), TypeError, "the cotangent dy is int64, the value it belongs to is float64"),
        (np.ones(3) * 1j, TypeError, "the cotangent dy is complex128, .*"),
        (np.ones(3, object), TypeError, "the cotangent dy is object, .*"),
        (np.ma.array(np.ones(3)), TypeError, "the cotangent dy must be an array, got MaskedArray"),
        (1.0, TypeError, "the cotangent dy must be an array, got float"),
        ([1.0, 1.0, 1.0], TypeError, "the cotangent dy must be an array, got list"),
        (None, TypeError, "the cotangent dy must be an array, got NoneType"),
    ],
)
def test_a_cotangent_of_another_kind_is_refused(dy: Any, error: type[Exception], match: str) -> None:
    op = product()
    _, residuals = op.fwd(X, X, factor=1.0)
    with pytest.raises(error, match=f"^product: {match}$"):
        op.bwd(residuals, dy)


@pytest.mark.parametrize("dy", [True, np.float64(1.0)])
def test_the_cotangent_of_a_scalar_is_no_bool_and_of_its_dtype(dy: Any) -> None:
    _, residuals = product().fwd(np.float32(2.0), np.float32(3.0), factor=1.0)
    with pytest.raises(TypeError, match=r"^product: the cotangent dy (must be an array, got bool|is float64, the value)"):
        product().bwd(residuals, dy)


def test_the_cotangent_of_a_tree_is_such_a_tree() -> None:
    op = centred()
    value, residuals = op.fwd(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"^centred: the cotangent dy has the structure .*'y'.*, the value has .*'mean'"):
        op.bwd(residuals, {"y": value["y"]})
    with pytest.raises(ValueError, match=r"^centred: the cotangent dy has shape \(2,\), the value it belongs to has \(3,\)"):
        op.bwd(residuals, {"y": value["y"], "mean": np.ones(2)})


# ---------------------------------------------------------------------------------------------- residuals


def test_residuals_are_read_by_name_place_and_unpacking() -> None:
    x = np.array([[1.0], [5.0]])
    _, residuals = centred().fwd(x)
    assert residuals.mean == [3.0]
    assert residuals[1] == residuals.width == len(residuals) == 2
    mean, width = residuals
    assert (mean, width) == (3.0, 2)
    assert repr(residuals) == "Residuals(op='centred', saved=Statistics(mean=array([3.]), width=2))"
    with pytest.raises(AttributeError, match="variance"):
        _ = residuals.variance


@pytest.mark.parametrize(
    ("residuals", "got"),
    [(None, "NoneType"), ((X, X, 1.0), "tuple"), (pn.relu.fwd(X)[1], "those of relu")],
    ids=["none", "saved", "foreign"],
)
def test_foreign_residuals_are_refused(residuals: Any, got: str) -> None:
    with pytest.raises(TypeError, match=f"^product: residuals must be those of product.fwd, got {got}$"):
        product().bwd(residuals, X)


def test_a_bound_op_takes_the_residuals_of_its_origin() -> None:
    op = product()
    _, residuals = op.bind(factor=2.0).fwd(X, X)
    np.testing.assert_array_equal(op.bwd(residuals, X)[0], 2 * X * X)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])  # noqa: S301
def test_residuals_can_be_copied_and_pickled(copied: Callable[[Any], Any]) -> None:
    params = {"w": np.array([[1.0, 2.0]]), "b": np.zeros(2)}
    _, residuals = pn.affine.fwd(params, np.array([[3.0]]))
    grads, dx = pn.affine.bwd(copied(residuals), np.array([[1.0, 10.0]]))
    np.testing.assert_array_equal(grads["w"], [[3.0, 30.0]])
    np.testing.assert_array_equal(dx, [[21.0]])


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_an_op_is_that_op(copied: Callable[[Any], Any]) -> None:
    op = product().bind(factor=2.0)
    twin = copied(op)
    np.testing.assert_array_equal(twin(X, X), 2 * X * X)
    assert repr(twin) == repr(op)


# ---------------------------------------------------------------------------------------------- how an op is written


def test_a_pullback_is_needed_once() -> None:
    op = Op(lambda x: (x, None), name="half_written")
    _, residuals = op.fwd(X)
    with pytest.raises(TypeError, match=r"^half_written: no pullback is defined; decorate one with @half_written\.pullback$"):
        op.bwd(residuals, X)

    @op.pullback
    def first(_: Any, dy: Any) -> tuple[Any]:
        return (dy.copy(),)

    np.testing.assert_array_equal(op.bwd(residuals, X)[0], X)
    with pytest.raises(TypeError, match=r"^half_written: the pullback is already first$"):
        op.pullback(first)


@pytest.mark.parametrize("wrong", [lambda _, dy: dy, lambda _, dy: (dy,), lambda _, dy: [dy, dy], lambda _, dy: (dy, dy, dy)])
def test_a_pullback_returns_one_cotangent_for_each_argument(wrong: Callable[[Any, Any], Any]) -> None:
    op = Op(lambda a, b: (a * b, None), name="broken")
    op.pullback(wrong)
    _, residuals = op.fwd(X, b=X)
    with pytest.raises(TypeError, match=r"^broken: the pullback must return a tuple with one cotangent for each of a, b$"):
        op.bwd(residuals, X)


@pytest.mark.parametrize("forgetful", [lambda x: x[:2], lambda x: (x,), lambda x: [x, x], lambda _: None])
def test_a_forward_function_returns_a_pair(forgetful: Callable[[Any], Any]) -> None:
    op = Op(forgetful, name="forgetful")
    with pytest.raises(TypeError, match=re.escape("forgetful: the forward function must return the value and what it saves")):
        op(X)


@pytest.mark.parametrize("open_ended", [lambda *arrays: (arrays, None), lambda x, **options: (x, options)])
def test_an_op_names_its_arguments(open_ended: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"^loose: an Op takes arguments and options by name, not \*\*?(arrays|options)"):
        Op(open_ended, name="loose")
