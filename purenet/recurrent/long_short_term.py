"""Long short-term memory: a cell state that gates write to and read from.

`lstm_cell` is one step, line by line as in its docstring. `lstm` takes the same step over whole sequences, with the gates side
by side in one array (`fused`), and computes outside of the loop everything that does not need it (`unrolled`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from purenet.op import Array, Op
from purenet.recurrent.arguments import Weights, as_given, step_of
from purenet.recurrent.fused import FusedLSTM
from purenet.recurrent.unrolled import Unrolled, unroll, unroll_bwd
from purenet.scipy_parts import expit

__all__ = ["LSTMCarry", "lstm", "lstm_cell"]


class LSTMCarry(NamedTuple):
    """The state of an LSTM: its output `h` and its memory `c`, (B, H) each. A plain tuple (h, c) is accepted as well."""

    h: Array
    c: Array


class LSTMStep(NamedTuple):
    """Residuals of lstm_cell."""

    weights: Weights
    x: Array
    h: Array
    c: Array
    i: Array
    f: Array
    g: Array
    o: Array
    tanh_c: Array
    """Of the new c."""


@Op
def lstm_cell(params: dict[str, Array], x: Array, carry: tuple[Array, Array]) -> tuple[Any, LSTMStep]:
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
    weights, x, (h, c) = step_of("lstm_cell", params, x, carry, gates=4, state=("h", "c"))
    a = x @ weights.wx + h @ weights.wh
    if weights.b is not None:
        a += weights.b
    a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)
    i, f, g, o = expit(a_i), expit(a_f), np.tanh(a_g), expit(a_o)
    new_c = f * c + i * g
    tanh_c = np.tanh(new_c)
    return as_given(carry, o * tanh_c, new_c), LSTMStep(weights, x, h, c, i, f, g, o, tanh_c)


@lstm_cell.pullback
def lstm_cell_bwd(residuals: LSTMStep, dy: tuple[Array, Array]) -> tuple[dict[str, Array], Array, Any]:
    weights, x, h, c, i, f, g, o, tanh_c = residuals
    dh, dc = (np.ascontiguousarray(d) for d in dy)
    e = dc + dh * o * (1 - tanh_c) * (1 + tanh_c)
    da_i = e * g * i * (1 - i)
    da_f = e * c * f * (1 - f)
    da_g = e * i * (1 - g) * (1 + g)
    da_o = dh * tanh_c * o * (1 - o)
    da = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
    dparams = {"wx": x.T @ da, "wh": h.T @ da}
    if weights.b is not None:
        dparams["b"] = da.sum(axis=0)
    return dparams, da @ weights.wx.T, as_given(dy, da @ weights.wh.T, f * e)


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
    return unroll("lstm", FusedLSTM(), params, xs, carry, lengths, reverse)


@lstm.pullback
def lstm_bwd(residuals: Unrolled, dy: tuple[Array, Any]) -> tuple[dict[str, Array], Array, Any]:
    return unroll_bwd(residuals, dy)
