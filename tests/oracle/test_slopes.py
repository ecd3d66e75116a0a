"""Diagnoses of gradients in which one function of the forward pass has a wrong slope, or one path is scaled or transposed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from oracle.diagnosis.causes.slopes import SLOPES, _evaluated
from tests.oracle.planted import Array, found, normal, signed

X, POSITIVE = signed(4, 6), abs(normal(4, 6)) + 0.5
W, SQUARE = normal(6, 5), normal(5, 5)
GELU = np.sqrt(2 / np.pi)


def dense_tanh(x: Array) -> Any:
    y = np.tanh(x @ W)
    return y @ W.T, y


def dense_tanh_in_place(x: Array) -> Any:
    y = x @ W
    np.tanh(y, out=y)
    return y @ W.T, y


def dense_sigmoid(x: Array) -> Any:
    s = 1 / (1 + np.exp(-x @ W))
    return s @ W.T, s


def root(x: Array) -> Any:
    return np.sqrt(x) * np.sin(x), x


def cube_and_sine(x: Array) -> Any:
    return x * np.sin(x) + x**3, x


def gelu(x: Array) -> Any:
    return x / 2 * (1 + special.erf(x / np.sqrt(2))), x


def slope_of_approximate_erf(x: Array) -> Array:
    t = np.tanh(GELU * (x + 0.044715 * x**3))
    return np.asarray((1 - t * t) * GELU * (1 + 3 * 0.044715 * x * x))


def attention(q: Array) -> Any:
    s = q @ SQUARE
    e = np.exp(s - s.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    return p @ SQUARE, p


def log_softmax(q: Array) -> Any:
    s = q @ SQUARE
    e = np.exp(s)
    return s - np.log(e.sum(-1, keepdims=True)), e / e.sum(-1, keepdims=True)


def transposed_scores(p: Array, dy: Array) -> Array:
    dp = dy @ SQUARE.T
    return np.asarray((p * (dp - (dp * p).sum(-1, keepdims=True))).T @ SQUARE.T)


CASES: dict[str, tuple[Callable[[Array], Any], Callable[[Any, Array], Array], Array, str]] = {
    "tanh": (
        dense_tanh,
        lambda y, dy: ((dy @ W) * (1 - y)) @ W.T,
        X,
        "wrong slope: x is the gradient with 1 - y for 1 - y**2, ",
    ),
    "tanh in place": (
        dense_tanh_in_place,
        lambda y, dy: ((dy @ W) * (1 - y)) @ W.T,
        X,
        "wrong slope: x is the gradient with 1 - y for 1 - y**2, ",
    ),
    "sigmoid": (
        dense_sigmoid,
        lambda s, dy: ((dy @ W) * (1 - s)) @ W.T,
        X,
        "wrong slope: x is the gradient with -a / b for -a / b**2",
    ),
    "square root": (
        root,
        lambda x, dy: dy * (np.sin(x) / (2 * x) + np.sqrt(x) * np.cos(x)),
        POSITIVE,
        "wrong slope: x is the gradient with 1 / (2 * x) for 1 / (2 * y), the slope by what enters `sqrt` in line ",
    ),
    "power": (
        cube_and_sine,
        lambda x, dy: dy * (np.sin(x) + x * np.cos(x) + 3 * x**3),
        X,
        "wrong slope: x is the gradient with b * a**b for b * a**(b - 1), the slope by the first operand of `power` in line ",
    ),
    "erf by tanh": (
        gelu,
        lambda x, dy: dy * ((1 + special.erf(x / np.sqrt(2))) / 2 + x / 2 * slope_of_approximate_erf(x)),
        X,
        "wrong slope: x is the gradient with that of the tanh in an approximate GELU for 2 / sqrt(pi) * exp(-x**2), ",
    ),
    "scaled": (
        cube_and_sine,
        lambda x, dy: dy * (1.1 * np.sin(x) + x * np.cos(x) + 3 * x**2),
        X,
        "one path scaled: x counts the path through the first operand of `multiply` in line ",
    ),
    "another axis": (
        lambda x: (x - x.mean(0, keepdims=True), None),
        lambda _, dy: dy - dy.mean(1, keepdims=True),
        SQUARE,
        "another axis: x is the gradient with axis 1 for that of what enters `sum` in line ",
    ),
    "another axis of a function": (
        lambda x: (x * np.sum(x, axis=0), x),
        lambda x, dy: dy * x.sum(0) + (dy * x).sum(1)[:, None],
        SQUARE,
        "another axis: x is the gradient with axis 1 for that of what enters `sum` in line ",
    ),
    "another axis of a softmax": (
        attention,
        lambda p, dy: (p * (dy @ SQUARE.T - (p * (dy @ SQUARE.T)).sum(0))) @ SQUARE.T,
        X[:, :5],
        "another axis: q is the gradient with a sum along axis 0 in the path through what enters `sum` in line ",
    ),
    "another axis of the logarithm of a softmax": (
        log_softmax,
        lambda p, dy: (dy - p * dy.sum(0)) @ SQUARE.T,
        X[:, :5],
        "another axis: q is the gradient with a sum along axis 0 in the path through what enters `sum` in line ",
    ),
    "transposed": (attention, transposed_scores, SQUARE, "one path transposed: q takes the path through the first operand of "),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_named_with_its_line(name: str) -> None:
    fwd, bwd, x, said = CASES[name]
    diagnosis = found((fwd, lambda kept, dy: (bwd(kept, dy),)), x)[1]
    assert diagnosis.startswith(said)
    assert "of test_slopes.py (`" in diagnosis


@pytest.mark.parametrize(("times", "said"), [(0.0, "one path lost: w "), (-1.0, "one path reversed: w ")])
def test_a_path_is_counted_a_whole_number_of_times_where_float32_hides_the_difference(times: float, said: str) -> None:
    """One slope along a direction is off by a thousandth there, and was printed: 'counts the path -0.00167 times'."""
    u, v = (draw / np.linalg.norm(draw) for draw in (np.random.default_rng(8 + n).standard_normal(4 + n) for n in (0, 1)))
    u, v, g = u.astype(np.float32), v.astype(np.float32), np.random.default_rng(8)
    w, x = (g.standard_normal(shape).astype(np.float32) for shape in ((4, 5), (3, 5)))

    def spectral(w: Array) -> Any:
        wide = w.astype(np.float32)
        s = u @ wide @ v
        return (x @ (wide / s).T).astype(w.dtype), (wide, s, w.dtype)

    def spectral_bwd(kept: Any, dy: Array) -> Any:
        w, s, dtype = kept
        d = dy.astype(np.float32).T @ x
        return ((d / s - np.float32(times) * (d * w).sum() / s**2 * np.outer(u, v)).astype(dtype),)

    assert found((spectral, spectral_bwd), w)[1].startswith(said)


@pytest.mark.parametrize("factor", [0.5, -1.0, "noise"])
def test_a_sum_along_another_axis_that_is_wrong_besides_is_not_named_so(factor: Any) -> None:
    times = normal(1, 5) if factor == "noise" else factor

    def wrong_bwd(p: Array, dy: Array) -> Any:
        dp = dy @ SQUARE.T
        return ((p * (dp - times * (p * dp).sum(0, keepdims=True))) @ SQUARE.T,)

    assert "another axis" not in found((attention, wrong_bwd), X[:, :5])[1]


@pytest.mark.parametrize(("function", "position"), SLOPES)
def test_the_first_slope_of_the_table_is_right_and_no_other(function: str, position: int | None) -> None:
    ufunc = special.erf if function == "erf" else getattr(np, function)
    operands = [POSITIVE] if position is None else [POSITIVE, POSITIVE[::-1] + 0.25]
    at = position or 0

    def value(by: complex) -> Any:
        moved = [operand + by if i == at else operand for i, operand in enumerate(operands)]
        return ufunc(*moved)

    names = {**{n: getattr(np, n) for n in ("exp", "sin", "cos", "tanh", "sqrt", "pi")}, "y": value(0)}
    names |= {"x": POSITIVE, "a": operands[0], "b": operands[-1]}
    true = value(1e-20j).imag / 1e-20
    right, *wrong = (_evaluated(formula, names) for formula in SLOPES[function, position])
    np.testing.assert_allclose(right, true, rtol=1e-12)
    assert all(abs(slope - true).max() > 1e-5 for slope in wrong)
