"""Functions that compute in float32 inside, at arguments with a large offset: their values move in steps of the offset's size.

A softmax of numbers near 1,000 is saturated over the usual steps of the differences. What these show is the slope of its tails.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from oracle.row import Verdict
from oracle.verification import Verification, verify
from tests.oracle.planted import Array, Pair, normal

f = np.float32


def in_float32(forward: Any, backward: Any) -> Pair:
    def fwd(x: Array) -> tuple[Any, Any]:
        value, residuals = forward(x.astype(f))
        return np.asarray(value).astype(x.dtype), (residuals, x.dtype)

    def bwd(kept: Any, dy: Array) -> tuple[Any]:
        residuals, dtype = kept
        return (np.asarray(backward(residuals, dy.astype(f))).astype(dtype),)

    return fwd, bwd


def probabilities(z: Array) -> Array:
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def softmax(factor: float) -> Pair:
    def backward(p: Array, dy: Array) -> Array:
        return np.asarray(p * (dy - f(factor) * (dy * p).sum(-1, keepdims=True)))

    return in_float32(lambda z: (probabilities(z), probabilities(z)), backward)


def wave(factor: float) -> Pair:
    return in_float32(lambda z: (np.sin(f(100) * z), z), lambda z, dy: f(100 * factor) * np.cos(f(100) * z) * dy)


def bump(factor: float) -> Pair:
    def forward(z: Array) -> tuple[Array, Array]:
        c = z - z.mean()
        return np.exp(-c * c), c

    def backward(c: Array, dy: Array) -> Array:
        d = -2 * c * np.exp(-c * c) * dy
        return np.asarray(d - f(factor) * d.mean())

    return in_float32(forward, backward)


def layer_norm(factor: float) -> Pair:
    def forward(z: Array) -> tuple[Array, Any]:
        c = z - z.mean(-1, keepdims=True)
        r = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + f(1e-5))
        return c * r, (c * r, r)

    def backward(kept: Any, dy: Array) -> Array:
        h, r = kept
        return np.asarray((dy - dy.mean(-1, keepdims=True) - f(factor) * h * (dy * h).mean(-1, keepdims=True)) * r)

    return in_float32(forward, backward)


def centred(value: Any, slope: Any) -> Any:
    """A function of the distance from the mean of a row: most of what is rounded cancels."""

    def with_factor(factor: float) -> Pair:
        def forward(z: Array) -> tuple[Array, Array]:
            c = z - z.mean(-1, keepdims=True)
            return value(c), c

        def backward(c: Array, dy: Array) -> Array:
            d = slope(c) * dy
            return np.asarray(f(factor) * (d - d.mean(-1, keepdims=True)))

        return in_float32(forward, backward)

    return with_factor


def logistic(z: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-z)))


CENTRED = {
    "relu": centred(lambda z: np.maximum(z, f(0)), lambda z: (z > 0).astype(f)),
    "hinge": centred(lambda z: np.maximum(f(1) - z, f(0)), lambda z: -(z < 1).astype(f)),
    "steep sigmoid": centred(lambda z: logistic(30 * z), lambda z: 30 * logistic(30 * z) * (1 - logistic(30 * z))),
    "steep softplus": centred(lambda z: np.logaddexp(30 * z, f(0)), lambda z: 30 * logistic(30 * z)),
}
KERNELS = {"softmax": softmax, "wave": wave, "bump": bump, "layer_norm": layer_norm}


NEED_NO_CAUSE = pytest.mark.usefixtures("undiagnosed")


def in_turn(names: Iterable[str], offsets: tuple[float, float], options: tuple[Any, Any]) -> list[tuple[str, float, Any]]:
    """Every function at both offsets, each with an option that the next function has at the other one: any two values meet."""
    return [(name, offset, options[(i + k) % 2]) for i, name in enumerate(names) for k, offset in enumerate(offsets)]


def accused(result: Verification) -> bool:
    return any(row.verdict is Verdict.FAIL for row in result.rows)


@pytest.mark.parametrize(("name", "offset", "dtype"), in_turn(KERNELS, (30.0, 1e3), (np.float64, f)))
def test_a_right_one_is_never_accused(name: str, offset: float, dtype: type) -> None:
    x: Array = (normal(2, 5) + offset).astype(dtype)
    assert not accused(result := verify(KERNELS[name](1.0), x)), str(result)


@NEED_NO_CAUSE
@pytest.mark.parametrize(("name", "offset", "seed"), in_turn(CENTRED, (30.0, 300.0), (0, 1)))
def test_kinks_and_saturated_outputs_are_no_noise(name: str, offset: float, seed: int) -> None:
    """Over the longer spacings of the noise's tables they are within reach, where they look like a coarser rounding.

    A mistake in each function is tried at one of its two offsets.
    """
    x: Array = np.random.default_rng(seed).standard_normal((2, 8)) + offset
    assert verify(CENTRED[name](1.0), x).passed
    assert seed or accused(verify(CENTRED[name](1.5), x))


@NEED_NO_CAUSE
@pytest.mark.parametrize("name", KERNELS)
def test_a_wrong_one_is(name: str) -> None:
    assert accused(verify(KERNELS[name](2.0), normal(2, 5) + 30.0))


def test_what_no_step_resolves_is_not_claimed_to_be_known() -> None:
    """At 10^5 the arguments themselves are rounded to 0.008: half of a gradient passes, and the row says so."""
    result = verify(softmax(1.0), normal(6) + 1e5)
    assert not accused(result), str(result)
    assert all(row.resolution is None or row.resolution > 0.1 for row in result.rows), str(result)


def test_cancelled_digits_are_not_called_sixteen_bits() -> None:
    result = verify(softmax(1.0), normal(6) + 1e3)
    assert "computed in a narrower dtype inside" in result.rows[0].diagnosis, str(result)


@NEED_NO_CAUSE
def test_terms_that_cancel_are_larger_than_the_value() -> None:
    """The distances of numbers near 10^4, which are rounded to bfloat16: their difference moves by whole hundreds."""

    def rounded(a: Array) -> Array:
        return a.astype(f).view(np.uint32).__add__(np.uint32(0x8000)).__and__(np.uint32(0xFFFF0000)).view(f).astype(float)

    def pair(factor: float) -> Pair:
        def apart(a: Array, b: Array) -> Any:
            return np.sqrt(((a - b) ** 2).sum())

        def fwd(a: Array, p: Array, n: Array) -> tuple[Any, Any]:
            a, p, n = rounded(a), rounded(p), rounded(n)
            return apart(a, p) - apart(a, n), (a, p, n)

        def bwd(kept: Any, dy: Array) -> Any:
            a, p, n = kept
            to_p, to_n = factor * dy * (a - p) / apart(a, p), factor * dy * (a - n) / apart(a, n)
            return to_p - to_n, -to_p, to_n

        return fwd, bwd

    x: Any = np.array([1e4, -1e4]), np.array([-1e4, 1e4]), np.array([20.0, 1e4])
    assert not accused(result := verify(pair(1.0), *x)), str(result)
    assert accused(verify(pair(-1.0), *x))


@NEED_NO_CAUSE
@pytest.mark.parametrize(("dtype", "size"), [(np.float64, 3), (f, 1)])
def test_a_value_of_zero_is_rounded_all_the_same(dtype: type, size: int) -> None:
    """At 0 a rounding is a share of what the function is nearby."""
    x: Array = np.zeros(size, dtype)
    result = verify(in_float32(lambda z: (np.sin(z), z), lambda z, dy: np.cos(z) * dy), x)
    assert result.passed, str(result)
    assert accused(verify(in_float32(lambda z: (np.sin(z), z), lambda z, dy: f(1.001) * np.cos(z) * dy), x))


@NEED_NO_CAUSE
def test_the_cotangent_may_be_rounded_more_coarsely_than_the_rest() -> None:
    def pair(factor: float) -> Pair:
        def bwd(x: Array, dy: Array) -> tuple[Any]:
            return (factor * 3 * x**2 * dy.astype(np.float16).astype(np.float64),)

        return lambda x: ((x**3).sum(), x.astype(f).astype(np.float64)), bwd

    assert not accused(result := verify(pair(1.0), normal(4, 3))), str(result)
    assert accused(verify(pair(1.1), normal(4, 3)))


def beside(term: Any, slope: Any, factor: float) -> Pair:
    """x plus a term of w that is rounded to float32."""

    def fwd(x: Array, w: Array) -> tuple[Any, Any]:
        return x + term(w).astype(f), w

    return fwd, lambda w, dy: (dy.copy(), factor * slope(w) * dy)


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("size", [1e3, 1e4])
@pytest.mark.parametrize(("term", "slope"), [(lambda w: w, np.ones_like), (np.tanh, lambda w: 1 - np.tanh(w) ** 2)])
def test_a_small_term_in_float32_beside_large_numbers_is_judged_by_its_own_size(term: Any, slope: Any, size: float) -> None:
    x, w = size * normal(3, 4), normal(3, 4, seed=1)
    right = verify(beside(term, slope, 1.0), x, w)
    assert right.passed, str(right)
    wrong = verify(beside(term, slope, 1.01), x, w)
    assert {row.parameter: row.verdict for row in wrong.rows} == {"x": Verdict.PASS, "w": Verdict.FAIL}


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize("size", [1e5, 1e6])
@pytest.mark.parametrize(("term", "slope"), [(np.tanh, lambda w: 1 - np.tanh(w) ** 2), (np.square, lambda w: 2 * w)])
def test_a_smaller_one_than_float32_shows_is_noise_of_the_value(term: Any, slope: Any, size: float) -> None:
    x, w = size * normal(3, 4), normal(3, 4, seed=1)
    right, wrong = (verify(beside(term, slope, factor), x, w) for factor in (1.0, 1.01))
    assert not {Verdict.FAIL, Verdict.KINK} & {row.verdict for row in right.rows}, str(right)
    assert {row.parameter: row.verdict for row in wrong.rows} == {"x": Verdict.PASS, "w": Verdict.FAIL}


def test_terms_that_cancel_in_float64_are_not_called_float32() -> None:
    result = verify((lambda x: ((x + 1e6) - 1e6, None), lambda _, dy: (dy.copy(),)), normal(12))
    assert result.passed
    assert "computed in fewer digits than float64 has inside: errors above" in result.rows[0].diagnosis
