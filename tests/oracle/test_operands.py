"""Diagnoses of gradients in which a product has another operand, or that are wrong at every step of a loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oracle.verification import verify
from tests.oracle.planted import Array, normal, row, signed

X, W1, B1, W2 = normal(5, 3), normal(3, 4), normal(4), normal(4, 2)
NOISE = normal(5, 4, seed=1)
STEPS, START, W, U = normal(3, 2, 2), normal(2, 3, seed=5), normal(2, 3), normal(3, 3)
ROWS, SQUARE = normal(4, 3), normal(3, 3)


def of(pair: Any, *primals: Any, parameter: str) -> str:
    return row(verify(pair, *primals), parameter).diagnosis


def net(operand: str) -> Any:
    """Two layers; the gradient of w2 is made of what stands in `operand`."""

    def net_fwd(x: Array, w1: Array, b1: Array, w2: Array) -> Any:
        z = x @ w1 + b1
        h = np.tanh(z)
        return h @ w2, {"x": x, "w1": w1, "w2": w2, "z": z, "h": h}

    def net_bwd(kept: Any, dy: Array) -> Any:
        dz = dy @ kept["w2"].T * (1 - kept["h"] ** 2)
        return dz @ kept["w1"].T, kept["x"].T @ dz, dz.sum(0), (kept[operand] if operand in kept else kept["h"] * NOISE).T @ dy

    return net_fwd, net_bwd


def test_what_enters_an_activation_in_place_of_what_it_gives() -> None:
    said = of(net("z"), X, W1, B1, W2, parameter="w2")
    assert said.startswith("wrong operand: w2 is the gradient with what `add` gives in line ")
    assert " for what `tanh` gives in line " in said
    assert "beside the second operand of `matmul` in line " in said


def test_an_operand_that_the_forward_pass_does_not_make_gets_no_name() -> None:
    assert "wrong operand" not in of(net("noise"), X, W1, B1, W2, parameter="w2")


@pytest.mark.parametrize(
    ("made", "said"), [(lambda x, w: w, "the transpose of w (a .T forgotten"), (lambda x, w: w.T @ w, "no known cause")]
)
def test_a_square_matrix_that_is_not_transposed(made: Any, said: str) -> None:
    def square_bwd(kept: Any, dy: Array) -> Any:
        x, w, y = kept
        dz = dy * (1 - y * y)
        return dz @ made(x, w), x.T @ dz

    def square_fwd(x: Array, w: Array) -> Any:
        y = np.tanh(x @ w)
        return y, (x, w, y)

    diagnosis = of((square_fwd, square_bwd), ROWS, SQUARE, parameter="x")
    assert said in diagnosis
    assert ("wrong operand" in diagnosis) == ("transpose" in said)


def test_a_quotient_with_another_divisor() -> None:
    def scaled_fwd(x: Array, g: Array) -> Any:
        c = x - x.mean(-1, keepdims=True)
        n = c / np.sqrt((c * c).mean(-1, keepdims=True) + 1e-3)
        return n * g, (x, c, n, g)

    def scaled_bwd(kept: Any, dy: Array) -> Any:
        _x, c, n, g = kept
        d, s = dy * g, np.sqrt((c * c).mean(-1, keepdims=True) + 1e-3)
        dx = (d - d.mean(-1, keepdims=True) - n * (d * n).mean(-1, keepdims=True)) / s
        return dx, (dy * c).sum(0)

    said = of((scaled_fwd, scaled_bwd), normal(3, 5), signed(5), parameter="g")
    assert said.startswith("wrong operand: g is the gradient with what `subtract` gives in line ")
    assert "for what `divide` gives in line " in said


def recurrent(mistake: str) -> Any:
    """h = tanh(x W + h U) for three steps."""

    def recurrent_fwd(xs: Array, h: Array, w: Array, u: Array) -> Any:
        states = [h]
        for x in xs:
            h = np.tanh(x @ w + h @ u)
            states.append(h)
        return np.stack(states[1:]), (xs, w, u, states)

    def recurrent_bwd(kept: Any, dy: Array) -> Any:
        xs, w, u, states = kept
        dxs, dw, du, dh = np.zeros_like(xs), np.zeros_like(w), np.zeros_like(u), np.zeros_like(states[0])
        for t in reversed(range(len(xs))):
            d = dy[t] + (dh * 0.5 if mistake == "half" and t == 1 else dh)
            d = d if mistake == "slope" else d * (1 - states[t + 1] ** 2)
            dxs[t], dw = d @ w.T, dw + xs[t].T @ d
            du = du + states[t + (mistake == "next")].T @ d
            dh = 0 * dh if mistake == "cut" else d @ (u if mistake == "turned" else u.T)
        return dxs, dh, dw, du

    return recurrent_fwd, recurrent_bwd


@pytest.mark.parametrize(
    ("mistake", "parameter", "said"),
    [
        ("slope", "w", "wrong slope: w is the gradient with 1 for dh/dz, where z enters `tanh` and h is its value in line "),
        ("cut", "w", "one path lost: w is the gradient that treats the first operand of `matmul` in line "),
        ("next", "u", "wrong operand: u is the gradient with what `tanh` gives in line "),
        ("turned", "w", "wrong operand: w is the gradient with the transpose of u "),
    ],
)
def test_a_mistake_at_every_step_of_a_loop(mistake: str, parameter: str, said: str) -> None:
    diagnosis = of(recurrent(mistake), STEPS, START, W, U, parameter=parameter)
    assert diagnosis.startswith(said)
    assert " at every step of a loop (" in diagnosis
    assert (" for that of the step before, " in diagnosis) == (mistake == "next")


def test_a_mistake_at_one_step_is_not_said_of_all() -> None:
    assert "every step" not in of(recurrent("half"), STEPS, START, W, U, parameter="w")


def softmax(z: Array) -> Any:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda p, dp: p * (1 - p) * dp, "p * (1 - p) * dp"),
        (lambda p, dp: dp, "dp"),
        (lambda p, dp: p * (dp - dp.sum(-1, keepdims=True)), "p * (dp - sum(dp))"),
        (lambda p, dp: dp - (p * dp).sum(-1, keepdims=True), "dp - sum(p * dp)"),
        (lambda p, dp: p * (1 - p * p) * dp, ""),
    ],
)
def test_the_gradient_of_a_softmax_by_another_formula(wrong: Any, said: str) -> None:
    values = normal(5, 2)

    def attention_fwd(q: Array, k: Array) -> Any:
        p = softmax(q @ k.T)
        return p @ values, (q, k, p)

    def attention_bwd(kept: Any, dy: Array) -> Any:
        q, k, p = kept
        dp = dy @ values.T
        return wrong(p, dp) @ k, (p * (dp - (p * dp).sum(-1, keepdims=True))).T @ q

    diagnosis = of((attention_fwd, attention_bwd), normal(4, 3), normal(5, 3), parameter="q")
    if said:
        assert diagnosis.startswith(
            f"wrong softmax: q is the gradient with {said} for p * (dp - sum(p * dp)), where p is what "
        )
    else:
        assert "wrong softmax" not in diagnosis


@pytest.mark.parametrize(("merge", "named"), [("reshaped", True), ("rolled", False)])
def test_heads_that_are_merged_in_another_order(merge: str, named: bool) -> None:
    heads, places, width = 2, 4, 3
    weights = softmax(normal(heads, places, places))

    def heads_fwd(x: Array, w: Array) -> Any:
        parts = (x @ w).reshape(places, heads, width).transpose(1, 0, 2)
        return weights @ np.tanh(parts), (x, w, np.tanh(parts))

    def heads_bwd(kept: Any, dy: Array) -> Any:
        x, w, t = kept
        d = weights.transpose(0, 2, 1) @ dy * (1 - t * t)
        right = d.transpose(1, 0, 2).reshape(places, heads * width)
        wrong = d.reshape(places, heads * width) if merge == "reshaped" else np.roll(right, 1, axis=0)
        return right @ w.T, x.T @ wrong

    diagnosis = of((heads_fwd, heads_bwd), normal(places, 5), normal(5, heads * width), parameter="w")
    assert ("as if a reshape from (4, 2, 3) to (2, 4, 3) exchanged axes 0 and 1 (are heads merged" in diagnosis) == named
