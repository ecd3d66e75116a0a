"""The initializers against jax.nn.initializers with the same key, their variances, and what they refuse."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

import purenet as pn
from purenet import initializers, random
from tests.purenet.answers import answer, live

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[Any]

FLOATS = [np.dtype(np.float64), np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
WINDOWED = (3, 2, 4, 5)
KEY = random.key(0)


def assert_is_that_of_jax(name: str, options: dict[str, Any], key: Array, shape: tuple[int, ...], dtype: Any) -> None:
    """Equal to rounding, relative to the largest number: a small one is a difference of rounded numbers of that size."""
    expected = answer(f"nn.initializers.{name}", key, shape, dtype, made_by=options)
    got = getattr(initializers, name)(**options)(key, shape, dtype)
    assert isinstance(got, np.ndarray)
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    exact, eps = expected.astype(np.float64), EPS[np.dtype(dtype).name]
    roundings = 40 if dtype == np.float64 else 4  # 40: see random.normal
    np.testing.assert_allclose(got.astype(np.float64), exact, rtol=0, atol=roundings * eps * np.abs(exact).max(initial=0.0))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_constants_are_those_of_jax(shape: tuple[int, ...], dtype: Any) -> None:
    for ours, theirs in (
        (initializers.zeros, jax.nn.initializers.zeros),
        (initializers.ones, jax.nn.initializers.ones),
        (initializers.constant(-0.5), jax.nn.initializers.constant(-0.5)),
        (initializers.constant(3), jax.nn.initializers.constant(3)),
    ):
        with jax.enable_x64(True):
            expected = np.asarray(theirs(jax.random.key(0), shape, dtype))
        got = ours(KEY, shape, dtype)
        assert (got.dtype, got.shape, got.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


def test_a_constant_array_broadcasts_and_is_copied() -> None:
    value = np.array([1.0, 2.0])
    filled = initializers.constant(value)(KEY, (3, 2))
    assert filled.tolist() == [[1.0, 2.0]] * 3
    filled[0] = 0
    assert value.tolist() == [1.0, 2.0]


def test_a_constant_does_not_change_with_the_array_it_was_made_of() -> None:
    value = np.array([1.0, 2.0])
    init = initializers.constant(value)
    value[0] = 9
    assert init(KEY, (2,)).tolist() == [1.0, 2.0]


def test_the_default_dtype_is_float64() -> None:
    for init in (
        initializers.zeros,
        initializers.ones,
        initializers.constant(1),
        initializers.normal(),
        initializers.he_normal(),
        initializers.uniform(),
        initializers.truncated_normal(),
        initializers.identity(),
        initializers.orthogonal(),
    ):
        assert init(KEY, (2, 3)).dtype == np.float64


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_normal_is_that_of_jax(dtype: Any) -> None:
    for options in ({}, {"stddev": 1e-2}, {"stddev": 0.3}, {"stddev": 2}):
        assert_is_that_of_jax("normal", options, KEY, (4, 5), dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_uniform_is_that_of_jax(dtype: Any) -> None:
    for options in ({}, {"scale": 1e-2}, {"scale": 0.3}, {"scale": 2}):
        assert_is_that_of_jax("uniform", options, KEY, (4, 5), dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_truncated_normal_is_that_of_jax(dtype: Any) -> None:
    for options in ({}, {"stddev": 0.3}, {"stddev": 2, "lower": -0.5, "upper": 1.5}):
        assert_is_that_of_jax("truncated_normal", options, KEY, (4, 5), dtype)


def assert_matrices_are_those_of_jax(name: str, options: dict[str, Any], shape: tuple[int, ...], dtype: Any) -> None:
    expected = answer(f"nn.initializers.{name}", random.key(3), shape, dtype, made_by=options)
    got = getattr(initializers, name)(**options)(random.key(3), shape, dtype)
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(
        got, expected, rtol=0, atol=400 * EPS[np.dtype(dtype).name]
    )  # an ill-conditioned draw loses digits


@pytest.mark.parametrize("dtype", FLOATS[:2], ids=str)
@pytest.mark.parametrize(
    ("shape", "axis"), [((5, 3), -1), ((3, 5), -1), ((5, 3), 0), ((2, 3, 4), 1), ((2, 3, 4), -3), ((0, 3), -1), ((3, 0), -1)]
)
def test_orthogonal_is_that_of_jax(shape: tuple[int, ...], axis: int, dtype: Any) -> None:
    for scale in (1.0, 0.5):
        assert_matrices_are_those_of_jax("orthogonal", {"scale": scale, "column_axis": axis}, shape, dtype)


@pytest.mark.parametrize("dtype", FLOATS[:2], ids=str)
@pytest.mark.parametrize(("shape", "axis"), [((3, 2, 4), -1), ((2, 3, 3, 3), 0), ((2, 1, 4, 3, 5), -1), ((3, 0, 2), -1)])
def test_delta_orthogonal_is_that_of_jax(shape: tuple[int, ...], axis: int, dtype: Any) -> None:
    assert_matrices_are_those_of_jax("delta_orthogonal", {"scale": 0.5, "column_axis": axis}, shape, dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_orthogonal_matrices_in_every_dtype(dtype: Any) -> None:
    q = initializers.orthogonal(2.0)(KEY, (3, 4, 5), dtype)
    assert q.dtype == dtype
    assert q.flags.c_contiguous
    columns = q.astype(np.float64).reshape(12, 5)
    np.testing.assert_allclose(columns.T @ columns, 4 * np.eye(5), rtol=0, atol=32 * EPS[np.dtype(dtype).name])


def test_a_delta_orthogonal_convolution_keeps_the_norm_at_every_position() -> None:
    w = initializers.delta_orthogonal()(KEY, (3, 3, 4, 6)).transpose(3, 2, 0, 1)  # OIHW
    x = random.normal(random.key(1), (2, 4, 5, 7))
    y = pn.conv2d({"w": w}, x, padding=1)
    np.testing.assert_allclose((y**2).sum(axis=1), (x**2).sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_identity_is_the_scaled_identity(dtype: Any) -> None:
    w = initializers.identity(3)(None, (4, 4), dtype)
    assert (w.dtype, w.astype(np.float64).tolist()) == (dtype, (3 * np.eye(4)).tolist())
    assert initializers.identity()(KEY, (3, 2)).tolist() == [[1, 0], [0, 1], [0, 0]]
    assert initializers.identity()(KEY, (0, 2)).shape == (0, 2)


def test_the_geometric_mean_of_the_fans() -> None:
    ours = initializers.variance_scaling(2.0, "fan_geo_avg", "uniform")(KEY, (4, 25))
    np.testing.assert_allclose(ours, initializers.variance_scaling(2.0 / 10, "fan_in", "uniform")(KEY, (1, 100)).reshape(4, 25))


NAMED = ["glorot_normal", "xavier_normal", "he_normal", "kaiming_normal", "lecun_normal"]
NAMED += ["glorot_uniform", "xavier_uniform", "he_uniform", "kaiming_uniform", "lecun_uniform"]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_named_initializers_are_those_of_jax(dtype: Any) -> None:
    for name in NAMED:
        assert_is_that_of_jax(name, {}, KEY, (4, 5), dtype)
        assert_is_that_of_jax(name, {"in_axis": 1, "out_axis": 0}, KEY, (4, 5), dtype)


@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
def test_variance_scaling_is_that_of_jax(mode: str, distribution: str) -> None:
    for key in random.split(random.key(20), 4):  # each with axes of its own
        generator = np.random.default_rng(key)
        order = [int(axis) - 2 for axis in generator.permutation(4)]
        first, second, third = np.cumsum(generator.integers(0, [3, 2, 2]))
        options: dict[str, Any] = {
            "scale": float(generator.choice([0.5, 1.0, 2.0])),
            "mode": mode,
            "distribution": distribution,
            "in_axis": tuple(order[:first]),
            "out_axis": order[first] if second > first else (),
            "batch_axis": tuple(order[second:third]),
        }
        assert_is_that_of_jax("variance_scaling", options, key, WINDOWED, np.dtype(np.float64))


@pytest.mark.parametrize("name", ["he_normal", "glorot_uniform"])
def test_the_answers_in_the_file_are_those_of_this_jax(name: str) -> None:
    call = f"nn.initializers.{name}", KEY, (4, 5), FLOATS[0]
    np.testing.assert_allclose(answer(*call, made_by={}), live(*call, made_by={}), rtol=1e-13)


@pytest.mark.parametrize(
    ("init", "std"),
    [
        (initializers.normal(0.3), 0.3),
        (initializers.variance_scaling(2.0, "fan_in", "normal"), math.sqrt(2 / 200)),  # the book's He
        (initializers.variance_scaling(1.0, "fan_in", "normal"), math.sqrt(1 / 200)),  # the book's Xavier
        (initializers.variance_scaling(1.0, "fan_avg", "normal"), math.sqrt(2 / 500)),  # torch's Xavier
        (initializers.variance_scaling(1.0, "fan_out", "uniform"), math.sqrt(1 / 300)),
        (initializers.he_normal(), math.sqrt(2 / 200)),
        (initializers.glorot_normal(), math.sqrt(2 / 500)),
        (initializers.he_uniform(), math.sqrt(2 / 200)),
        (initializers.glorot_uniform(), math.sqrt(2 / 500)),
        (initializers.lecun_normal(), math.sqrt(1 / 200)),
        (initializers.lecun_uniform(), math.sqrt(1 / 200)),
    ],
)
def test_the_standard_deviation_is_the_stated_one(init: Callable[..., Array], std: float) -> None:
    w = init(KEY, (200, 300))
    assert abs(w.mean()) < 5 * std / math.sqrt(w.size)
    assert w.std() == pytest.approx(std, rel=0.015)


def test_he_normal_is_cut_at_two_standard_deviations_and_the_book_s_is_not() -> None:
    cut = 2 * math.sqrt(2 / 200) / 0.87962566103423978
    assert np.abs(initializers.he_normal()(KEY, (200, 300))).max() <= cut
    assert np.abs(initializers.variance_scaling(2.0, "fan_in", "normal")(KEY, (200, 300))).max() > cut


def test_convolution_weights_have_the_window_in_their_fans() -> None:
    w = initializers.variance_scaling(2.0, "fan_in", "normal", in_axis=1, out_axis=0)(KEY, (64, 20, 5, 5))
    assert w.std() == pytest.approx(math.sqrt(2 / (20 * 5 * 5)), rel=0.02)


def test_the_aliases_are_the_same_functions() -> None:
    assert initializers.xavier_normal is initializers.glorot_normal
    assert initializers.xavier_uniform is initializers.glorot_uniform
    assert initializers.kaiming_normal is initializers.he_normal
    assert initializers.kaiming_uniform is initializers.he_uniform


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: initializers.zeros(KEY, 3), TypeError, "zeros: shape must be a tuple of integers, got 3"),  # type: ignore[arg-type]
        (lambda: initializers.zeros(KEY, (2,), int), TypeError, "zeros: dtype must be float64, .*, got int64"),
        (lambda: initializers.ones(KEY, (-1,)), ValueError, "ones: every dimension of shape must be at least 0, got -1"),
        (lambda: initializers.constant("a")(KEY, (2,)), TypeError, "constant: value must be a real number"),
        (
            lambda: initializers.constant(np.ones(3))(KEY, (2,)),
            ValueError,
            r"constant: value must broadcast to shape \(2,\), got \(3,\)",
        ),
        (lambda: initializers.normal(-1.0), ValueError, "normal: stddev must be finite and at least 0, got -1.0"),
        (lambda: initializers.normal(math.nan), ValueError, "normal: stddev must be finite and at least 0, got nan"),
        (lambda: initializers.normal("1"), TypeError, "normal: stddev must be a number, got str"),  # type: ignore[arg-type]
        (lambda: initializers.normal()(np.zeros(2), (2,)), TypeError, "normal: key must have dtype uint32, got float64"),
        (
            lambda: initializers.normal(1e5)(KEY, (2,), "f2"),
            ValueError,
            "normal: stddev must give a factor that is finite in float16",
        ),
        (lambda: initializers.he_normal()(0, (2, 2)), TypeError, "^he_normal: key must be a NumPy array"),  # type: ignore[arg-type]
        (
            lambda: initializers.he_normal(in_axis=True)(KEY, (5, 4)),
            TypeError,
            "he_normal: in_axis must be an integer or a tuple of integers, got True",
        ),
        (lambda: initializers.uniform(-1.0), ValueError, "uniform: scale must be finite and at least 0, got -1.0"),
        (lambda: initializers.uniform()(0, (2,)), TypeError, "uniform: key must be a NumPy array"),  # type: ignore[arg-type]
        (
            lambda: initializers.truncated_normal(math.inf),
            ValueError,
            "truncated_normal: stddev must be finite and at least 0, got",
        ),
        (
            lambda: initializers.truncated_normal(lower=2.0)(KEY, (2,)),
            ValueError,
            "truncated_normal: lower must be less than upper, got 2.0 and 2.0",
        ),
        (lambda: initializers.truncated_normal()(KEY, 2), TypeError, "truncated_normal: shape must be a tuple"),  # type: ignore[arg-type]
        (lambda: initializers.identity("1"), TypeError, "identity: scale must be a number, got str"),  # type: ignore[arg-type]
        (lambda: initializers.identity()(KEY, (2,)), ValueError, r"identity: shape must have two dimensions, got \(2,\)"),
        (lambda: initializers.orthogonal(-1.0), ValueError, "orthogonal: scale must be finite and at least 0, got -1.0"),
        (
            lambda: initializers.orthogonal()(KEY, (2,)),
            ValueError,
            r"orthogonal: shape must have two dimensions at least, got \(2,\)",
        ),
        (lambda: initializers.orthogonal()(0, (2, 2)), TypeError, "^orthogonal: key must be a NumPy array"),  # type: ignore[arg-type]
        (
            lambda: initializers.orthogonal(column_axis=2)(KEY, (2, 3)),
            ValueError,
            "orthogonal: column_axis must be between -2 and 1, got 2",
        ),
        (
            lambda: initializers.delta_orthogonal()(KEY, (2, 3)),
            ValueError,
            r"delta_orthogonal: shape must be \(window..., inputs, outputs\) of 3 to 5 dimensions, got \(2, 3\)",
        ),
        (
            lambda: initializers.delta_orthogonal()(KEY, (1, 3, 2)),
            ValueError,
            r"delta_orthogonal: shape must have at least as many outputs as inputs, got \(1, 3, 2\)",
        ),
        (
            lambda: initializers.delta_orthogonal()(0, (1, 2, 2)),  # type: ignore[arg-type]
            TypeError,
            "delta_orthogonal: key must be a NumPy array",
        ),
        (
            lambda: initializers.variance_scaling(0, "fan_in", "normal"),
            ValueError,
            "variance_scaling: scale must be finite and",
        ),
        (
            lambda: initializers.variance_scaling(1.0, "fan", "normal"),
            ValueError,
            "variance_scaling: mode must be one of 'fan_in', 'fan_out', 'fan_avg', 'fan_geo_avg', got 'fan'",
        ),
        (
            lambda: initializers.variance_scaling(1.0, "fan_in", "gaussian"),
            ValueError,
            "distribution must be one of 'normal', 'truncated_normal', 'uniform', got 'gaussian'",
        ),
        (lambda: initializers.he_normal()(KEY, (5,)), ValueError, r"he_normal: in_axis must name axes of shape \(5,\), got -2"),
        (lambda: initializers.he_normal(out_axis=2)(KEY, (5, 4)), ValueError, r"he_normal: out_axis must name axes of shape"),
        (
            lambda: initializers.he_normal(in_axis=0.5)(KEY, (5, 4)),  # type: ignore[arg-type]
            TypeError,
            "he_normal: in_axis must be an integer or a tuple of integers, got 0.5",
        ),
        (
            lambda: initializers.glorot_normal(in_axis=-1)(KEY, (5, 4)),
            ValueError,
            "glorot_normal: in_axis, out_axis and batch_axis must differ, got -1, -1 and",
        ),
        (
            lambda: initializers.glorot_uniform()(KEY, (0, 4)),
            ValueError,
            r"glorot_uniform: shape must have no empty input, output or window axis, got \(0, 4\)",
        ),
    ],
)
def test_bad_input_is_named(call: Callable[[], Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


# ---------------------------------------------------------------------------------------------- many layers at once


SHAPES = {"conv1": (40, 20, 3, 3), "affine1": (300, 100)}


@pytest.mark.parametrize(
    ("initializer", "conv", "affine"),
    [
        ("he", 2 / 180, 2 / 300),
        ("xavier", 1 / 180, 1 / 300),
        ("glorot", 2 / (180 + 360), 2 / 400),
        ("lecun", 1 / 180, 1 / 300),
        (0.01, 0.01**2, 0.01**2),
        (initializers.normal(0.5), 0.25, 0.25),
    ],
)
def test_layers_have_weights_of_the_stated_variance_and_biases_of_zero(initializer: Any, conv: float, affine: float) -> None:
    params = initializers.layers(KEY, SHAPES, initializer=initializer, dtype=np.float32)
    for name, variance in (("conv1", conv), ("affine1", affine)):
        assert params[name]["w"].var() == pytest.approx(variance, rel=0.05)
        assert params[name]["w"].shape == SHAPES[name]
        assert not params[name]["b"].any()
        assert params[name]["w"].dtype == params[name]["b"].dtype == np.float32
    assert (params["conv1"]["b"].shape, params["affine1"]["b"].shape) == ((40,), (100,))


def test_each_layer_has_a_key_of_its_own() -> None:
    params = initializers.layers(KEY, {"one": (3, 4), "two": (3, 4)})
    assert (params["one"]["w"] != params["two"]["w"]).all()
    np.testing.assert_array_equal(
        params["two"]["w"], initializers.variance_scaling(2.0, "fan_in", "normal")(random.split(KEY)[1], (3, 4))
    )
    assert initializers.layers(KEY, {}) == {}


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        (
            {"initializer": "xaver"},
            ValueError,
            "layers: initializer must be one of 'he', 'xavier', .* or a function, got 'xaver'",
        ),
        ({"initializer": -0.1}, ValueError, "layers: initializer must be finite and at least 0, got -0.1"),
        ({"initializer": None}, TypeError, "layers: initializer must be a number, got NoneType"),
        ({"dtype": np.int64}, TypeError, "dtype must be float64, float32, float16 or bfloat16, got int64"),
    ],
)
def test_a_wrong_option_of_layers_is_named(options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        initializers.layers(KEY, SHAPES, **options)


def test_layers_refuse_weights_of_one_axis() -> None:
    with pytest.raises(ValueError, match=r"^layers: the weights of norm must have at least two axes, got the shape \(3,\)"):
        initializers.layers(KEY, {"norm": (3,)})


def test_recurrent_weights_have_the_spread_of_their_inputs() -> None:
    params = initializers.recurrent(random.key(0), "gru", 400, 100, dtype=np.float32)
    assert {name: p.shape for name, p in params.items()} == {"wx": (400, 300), "wh": (100, 300), "b": (300,), "bh": (100,)}
    assert abs(params["wx"].std() * 20 - 1) < 0.01
    assert abs(params["wh"].std() * 10 - 1) < 0.02
    assert not params["b"].any()
    assert {p.dtype for p in params.values()} == {np.dtype(np.float32)}
    with pytest.raises(ValueError, match="recurrent: cell must be one of 'rnn', 'lstm', 'gru', got 'mgu'"):
        initializers.recurrent(random.key(0), "mgu", 2, 2)
    with pytest.raises(ValueError, match="recurrent: hidden must be at least 1, got 0"):
        initializers.recurrent(random.key(0), "rnn", 2, 0)
