"""Long short-term memory: a cell state that gates write to and read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from purenet.op import Array, Op
from purenet.recurrent.unrolled import Cell, State, Unrolled, Weights, blocks, one_step, one_step_bwd, unroll, unroll_bwd

__all__ = ["LSTMCarry", "lstm", "lstm_cell"]


class LSTMCarry(NamedTuple):
    """The state of an LSTM: what it shows, `h`, and what it remembers, `c`; (B, H) each. A plain tuple (h, c) does too."""

    h: Array
    c: Array


class LSTMCell(Cell):
    """c' = f c + i g,  h' = o tanh(c')."""

    state = ("h", "c")
    gates = 4

    def step(self, weights: Weights, a: Array, state: State) -> State:
        h, c = state
        a += h @ weights.wh
        i, f, g, o = blocks(a, 4)
        expit(i, out=i)
        expit(f, out=f)
        np.tanh(g, out=g)
        expit(o, out=o)
        c = f * c + i * g
        return o * np.tanh(c), c

    def factors(self, weights: Weights, gates: Array, states: State) -> tuple[Array, ...]:
        i, f, g, o = blocks(gates, 4)
        c = states[1]
        slopes, seen = np.empty_like(gates), np.tanh(c[1:])
        of_i, of_f, of_g, of_o = blocks(slopes, 4)
        np.multiply(i * (1 - i), g, out=of_i)
        np.multiply(f * (1 - f), c[:-1], out=of_f)
        np.multiply((1 - g) * (1 + g), i, out=of_g)
        np.multiply(o * (1 - o), seen, out=of_o)
        return slopes, o * (1 - seen) * (1 + seen), f

    def step_bwd(self, weights: Weights, factors: Sequence[Array], dstate: State) -> State:
        da, of_c, f = factors
        dh, dc = dstate
        dc = dc + dh * of_c
        of_i, of_f, of_g, of_o = blocks(da, 4)
        of_i *= dc
        of_f *= dc
        of_g *= dc
        of_o *= dh
        return da @ weights.wh.T, f * dc


@Op
def lstm_cell(params: dict[str, Array], x: Array, carry: tuple[Array, Array]) -> tuple[Any, Unrolled]:
    """One step of long short-term memory; `b` may be absent.

    Shapes: wx (F, 4H), wh (H, 4H), b (4H,), x (B, F), carry (h (B, H), c (B, H)) -> carry (h' (B, H), c' (B, H))
    Math, s the sigmoid and a_i, a_f, a_g, a_o the four blocks of a:
        a    = x wx + h wh + b;  i = s(a_i),  f = s(a_f),  g = tanh(a_g),  o = s(a_o)
        c'   = f c + i g,  h' = o tanh(c')
        e    = dc' + dh' o (1 - tanh(c')^2),  what reaches the cell state in all;  dc = f e
        da_i = e g i(1 - i),  da_f = e c f(1 - f),  da_g = e i (1 - g^2),  da_o = dh' tanh(c') o(1 - o)
        dx   = da wx^T,  dh = da wh^T,  dwx = x^T da,  dwh = h^T da,  db = sum over the batch of da
    Errors: ValueError where shapes do not match those of wh; TypeError unless `carry` is a tuple of two arrays.
    Source: Hochreiter and Schmidhuber (1997); forget gate: Gers, Schmidhuber, Cummins (2000). Conventions: blocks in the order
        i, f, g, o as torch, Keras, equinox; the book f, g, i, o; ONNX i, o, f, c (its c is g). The state is (h, c) as torch and
        equinox; flax (c, h). One bias, without 1 added to its forget block; as equinox and torch, a cell gives its new state
        alone.

    >>> import numpy as np, purenet as pn
    >>> params = {"wx": np.zeros((1, 4)), "wh": np.zeros((1, 4))}
    >>> h, c = pn.lstm_cell(params, np.ones((1, 1)), (np.ones((1, 1)), np.array([[2 * np.log(2.0)]])))
    >>> c / np.log(2.0), h.round(12)  # every gate is half open, g is 0, and tanh(log 2) is 0.6
    (array([[1.]]), array([[0.3]]))
    """
    return one_step("lstm_cell", LSTMCell(), params, x, carry)


@lstm_cell.pullback
def lstm_cell_bwd(residuals: Unrolled, dy: tuple[Array, Array]) -> tuple[dict[str, Array], Array, Any]:
    return one_step_bwd(residuals, dy)


@Op
def lstm(
    params: dict[str, Array],
    xs: Array,
    carry: tuple[Array, Array],
    *,
    lengths: Any = None,
    reverse: bool = False,
) -> tuple[tuple[Array, Any], Unrolled]:
    """Long short-term memory over sequences: h after each step, and the state (h, c) after the last.

    Shapes: wx (F, 4H), wh (H, 4H), b (4H,), xs (B, T, F), carry (h (B, H), c (B, H)), lengths (B,) -> ys (B, T, H), carry
    Math, the carry (h_0, c_0):
        (h_t, c_t) = lstm_cell(x_t, (h_t-1, c_t-1)),  y_t = h_t
        Backwards, step t gets dh_t = dy_t + da_t+1 wh^T and dc_t = f_t+1 e_t+1; the cotangent of the last state is added to
        those of step T. dwx, dwh and db are those of lstm_cell, summed over the steps.
        A sequence has `lengths` steps: the state passes through those that follow, and their y is 0.
    Errors: ValueError where shapes do not match those of wh, or for lengths outside 0..T; TypeError unless `carry` is a tuple
        of two arrays and lengths are integers.
    Source: as lstm_cell. Conventions: those of lstm_cell; lengths as torch's packed sequences and ONNX, Keras repeats the last
        output instead of 0. `reverse` goes from the last step of each sequence to its first, and y_t stays at its x_t.

    >>> import numpy as np, purenet as pn
    >>> params = {"wx": np.zeros((1, 4)), "wh": np.zeros((1, 4))}
    >>> carry = pn.LSTMCarry(h=np.zeros((1, 1)), c=np.array([[4 * np.log(2.0)]]))
    >>> ys, carry = pn.lstm(params, np.ones((1, 2, 1)), carry)  # c is halved twice, and h is half of its tanh
    >>> ys.round(4), (carry.c / np.log(2.0)).round(12)
    (array([[[0.4412],
            [0.3   ]]]), array([[1.]]))
    """
    return unroll("lstm", LSTMCell(), params, xs, carry, lengths, reverse)


@lstm.pullback
def lstm_bwd(residuals: Unrolled, dy: tuple[Array, Any]) -> tuple[dict[str, Array], Array, Any]:
    return unroll_bwd(residuals, dy)
