"""The simple recurrent network: the state is the only gate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from purenet.checks import choice
from purenet.op import Array, Op
from purenet.recurrent.arguments import State, Weights, step_of
from purenet.recurrent.unrolled import Cell, Unrolled, unroll, unroll_bwd

__all__ = ["rnn", "rnn_cell"]


ACTIVATIONS = ("tanh", "relu")


class SimpleCell(Cell):
    """h' = tanh(a + h wh), or relu; the pullback needs only the state."""

    keeps_gates = False

    def __init__(self, activation: str) -> None:
        self.activation = activation

    def step(self, weights: Weights, a: Array, state: State) -> State:
        (h,) = state
        a += h @ weights.wh
        return (np.tanh(a) if self.activation == "tanh" else np.maximum(a, 0),)

    def factors(self, weights: Weights, gates: None, states: State) -> tuple[Array, ...]:
        (hs,) = states
        y = hs[1:]
        return ((1 - y) * (1 + y) if self.activation == "tanh" else (y > 0).astype(y.dtype),)

    def step_bwd(self, weights: Weights, factors: Sequence[Array], dstate: State) -> State:
        (da,), (dh,) = factors, dstate
        da *= dh
        return (da @ weights.wh.T,)


class RNNStep(NamedTuple):
    """Residuals of rnn_cell."""

    weights: Weights
    x: Array
    h: Array
    y: Array
    activation: str


@Op
def rnn_cell(params: dict[str, Array], x: Array, carry: Array, *, activation: str = "tanh") -> tuple[Array, RNNStep]:
    """One step of the simple recurrent network: h' = tanh(x wx + h wh + b), or relu instead of tanh; `b` may be absent.

    Shapes: wx (F, H), wh (H, H), b (H,), x (B, F), carry h (B, H) -> h' (B, H)
    Math, f the activation and a what it is taken of:
        h'  = f(a),  a = x wx + h wh + b
        da  = dh' f'(a),  with tanh' = (1 - h')(1 + h') and relu' = 1 where h' > 0, else 0
        dx  = da wx^T,  dh = da wh^T,  dwx = x^T da,  dwh = h^T da,  db = sum over the batch of da
    Errors: ValueError where shapes do not match those of wh, or for another activation than "tanh" and "relu".
    Source: Elman, Finding structure in time (1990). Conventions: as equinox and torch, a cell gives its new state alone; flax
        and Keras give it twice. One bias: the two of torch and ONNX are only ever added; both store weights as [out, in].

    >>> import numpy as np, purenet as pn
    >>> params = {"wx": np.array([[2.0]]), "wh": np.array([[0.5]]), "b": np.array([-1.0])}
    >>> pn.rnn_cell(params, np.array([[3.0]]), np.array([[4.0]]), activation="relu")
    array([[7.]])
    """
    choice("rnn_cell", "activation", activation, ACTIVATIONS)
    weights, x, (h,) = step_of("rnn_cell", params, x, carry, gates=1)
    a = x @ weights.wx + h @ weights.wh
    if weights.b is not None:
        a += weights.b
    y = np.tanh(a) if activation == "tanh" else np.maximum(a, 0)
    return y, RNNStep(weights, x, h, y, activation)


@rnn_cell.pullback
def rnn_cell_bwd(residuals: RNNStep, dy: Array) -> tuple[dict[str, Array], Array, Any]:
    weights, x, h, y, activation = residuals
    da = np.ascontiguousarray(dy) * ((1 - y) * (1 + y) if activation == "tanh" else y > 0)
    dparams = {"wx": x.T @ da, "wh": h.T @ da}
    if weights.b is not None:
        dparams["b"] = da.sum(axis=0)
    return dparams, da @ weights.wx.T, da @ weights.wh.T


@Op
def rnn(
    params: dict[str, Array],
    xs: Array,
    carry: Array,
    *,
    activation: str = "tanh",
    lengths: Any = None,
    reverse: bool = False,
) -> tuple[tuple[Array, Array], Unrolled]:
    """The simple recurrent network over sequences: the state after each step, and after the last.

    Shapes: wx (F, H), wh (H, H), b (H,), xs (B, T, F), carry h (B, H), lengths (B,) -> ys (B, T, H), carry (B, H)
    Math, f the activation (tanh or relu) and h_0 the carry:
        h_t  = f(a_t),  a_t = x_t wx + h_t-1 wh + b;  y_t = h_t
        dh_t = dy_t + da_t+1 wh^T,  da_t = dh_t f'(a_t);  the cotangent of the last state is added to dh_T
        dx_t = da_t wx^T,  dwx = sum_t x_t^T da_t,  dwh = sum_t h_t-1^T da_t,  db = sum over steps and batch of da_t
        A sequence has `lengths` steps: the state passes through those that follow, and their y is 0.
    Errors: ValueError where shapes do not match those of wh, for lengths outside 0..T, or for another activation; TypeError
        unless lengths are integers.
    Source: Elman, Finding structure in time (1990). Conventions: lengths as torch's packed sequences and ONNX; Keras repeats
        the last output instead of 0. `reverse` goes from the last step of each sequence to its first, and y_t stays at its x_t.

    >>> import numpy as np, purenet as pn
    >>> params = {"wx": np.array([[1.0]]), "wh": np.array([[0.5]])}
    >>> ys, carry = pn.rnn(params, np.array([[[4.0], [0.0], [1.0]]]), np.array([[2.0]]), activation="relu")
    >>> ys[0, :, 0], carry
    (array([5.  , 2.5 , 2.25]), array([[2.25]]))
    """
    choice("rnn", "activation", activation, ACTIVATIONS)
    return unroll("rnn", SimpleCell(activation), params, xs, carry, lengths, reverse)


@rnn.pullback
def rnn_bwd(residuals: Unrolled, dy: tuple[Array, Array]) -> tuple[dict[str, Array], Array, Any]:
    return unroll_bwd(residuals, dy)
