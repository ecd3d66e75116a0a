"""The gated recurrent unit, whose reset gate acts after the product of state and weights, or before.

`gru_cell` is one step as its docstring has it; `gru` takes the same step over whole sequences, see `fused` and `unrolled`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from purenet.op import Array, Op
from purenet.recurrent.arguments import Weights, step_of
from purenet.recurrent.fused import FusedGRU
from purenet.recurrent.unrolled import Unrolled, unroll, unroll_bwd
from purenet.scipy_parts import expit

__all__ = ["gru", "gru_cell"]


class GRUStep(NamedTuple):
    """Residuals of gru_cell."""

    weights: Weights
    x: Array
    h: Array
    r: Array
    z: Array
    n: Array
    q: Array | None
    """None where the reset acts before."""


@Op
def gru_cell(params: dict[str, Array], x: Array, carry: Array, *, reset_after: bool = True) -> tuple[Array, GRUStep]:
    """One step of the gated recurrent unit; `b` and `bh` may be absent.

    Shapes: wx (F, 3H), wh (H, 3H), b (3H,), bh (H,), x (B, F), carry h (B, H) -> h' (B, H)
    Math, s the sigmoid, wx, wh, b in the blocks r, z, n, and q = h wh_n + bh:
        r    = s(x wx_r + h wh_r + b_r),  z = s(x wx_z + h wh_z + b_z)
        n    = tanh(x wx_n + b_n + r q), reset after;  tanh(x wx_n + b_n + (r h) wh_n), reset before
        h'   = (1 - z) n + z h
        da_n = dh' (1 - z)(1 - n^2),  da_z = dh' (h - n) z(1 - z)
        after:   da_r = da_n q r(1 - r),  dq = r da_n;  dh = z dh' + da_r wh_r^T + da_z wh_z^T + dq wh_n^T,
                 dwh = h^T [da_r, da_z, dq],  dbh = sum over the batch of dq
        before:  p = da_n wh_n^T,  da_r = p h r(1 - r);  dh = z dh' + da_r wh_r^T + da_z wh_z^T + r p,
                 dwh = [h^T da_r, h^T da_z, (r h)^T da_n];  there is no bh
        dx   = da wx^T,  dwx = x^T da,  db = sum over the batch of da
    Errors: ValueError where shapes do not match those of wh, or for a `bh` with the reset before.
    Source: Cho et al. (2014), reset before; the variant after is cuDNN's. Conventions: blocks in the order r, z, n as torch and
        equinox; z, r, h in ONNX, Keras and the book. The reset acts after as in torch, flax, equinox and Keras; before in ONNX
        (linear_before_reset = 0) and the book. z keeps the old state, as in all of these but the book, where 1 - z does. Only n
        has a bias of its own for the state, `bh`, as flax and equinox (`bias_n`); those that torch, Keras and ONNX have for r
        and z too are only ever added to `b`. As equinox and torch, a cell gives its new state alone.

    >>> import numpy as np, purenet as pn
    >>> params = {"wx": np.zeros((1, 3)), "wh": np.zeros((1, 3)), "bh": np.array([2 * np.log(2.0)])}
    >>> pn.gru_cell(params, np.ones((1, 1)), np.ones((1, 1))).round(12)  # half of n = tanh(log 2) = 0.6, half of h
    array([[0.8]])
    """
    biases = ("b", "bh") if reset_after else ("b",)
    weights, x, (h,) = step_of("gru_cell", params, x, carry, gates=3, biases=biases)
    wx, wh, b, bh = weights
    wh_r, wh_z, wh_n = np.split(wh, 3, axis=1)
    a_r, a_z, a_n = np.split(x @ wx if b is None else x @ wx + b, 3, axis=1)
    r, z = expit(a_r + h @ wh_r), expit(a_z + h @ wh_z)
    if reset_after:
        q = h @ wh_n if bh is None else h @ wh_n + bh
        n = np.tanh(a_n + r * q)
    else:
        q = None
        n = np.tanh(a_n + (r * h) @ wh_n)
    return (1 - z) * n + z * h, GRUStep(weights, x, h, r, z, n, q)


@gru_cell.pullback
def gru_cell_bwd(residuals: GRUStep, dy: Array) -> tuple[dict[str, Array], Array, Any]:
    (wx, wh, b, bh), x, h, r, z, n, q = residuals
    wh_r, wh_z, wh_n = np.split(wh, 3, axis=1)
    dh = np.ascontiguousarray(dy)
    da_n = dh * (1 - z) * (1 - n) * (1 + n)
    da_z = dh * (h - n) * z * (1 - z)
    if q is not None:
        da_r, dq = da_n * q * r * (1 - r), r * da_n
        through_n, dwh_n = dq @ wh_n.T, h.T @ dq
    else:
        p = da_n @ wh_n.T
        da_r = p * h * r * (1 - r)
        through_n, dwh_n = r * p, (r * h).T @ da_n
    da = np.concatenate([da_r, da_z, da_n], axis=1)
    dparams = {"wx": x.T @ da, "wh": np.concatenate([h.T @ da_r, h.T @ da_z, dwh_n], axis=1)}
    if b is not None:
        dparams["b"] = da.sum(axis=0)
    if bh is not None:
        dparams["bh"] = dq.sum(axis=0)
    return dparams, da @ wx.T, z * dh + da_r @ wh_r.T + da_z @ wh_z.T + through_n


@Op
def gru(
    params: dict[str, Array],
    xs: Array,
    carry: Array,
    *,
    reset_after: bool = True,
    lengths: Any = None,
    reverse: bool = False,
) -> tuple[tuple[Array, Array], Unrolled]:
    """The gated recurrent unit over sequences: the state after each step, and after the last.

    Shapes: wx (F, 3H), wh (H, 3H), b (3H,), bh (H,), xs (B, T, F), carry h (B, H), lengths (B,) -> ys (B, T, H), carry (B, H)
    Math, h_0 the carry:
        h_t = gru_cell(x_t, h_t-1),  y_t = h_t
        Backwards, step t gets dh_t = dy_t + what step t + 1 gives its h; the cotangent of the last state is added to dh_T.
        dwx, dwh, db and dbh are those of gru_cell, summed over the steps.
        A sequence has `lengths` steps: the state passes through those that follow, and their y is 0.
    Errors: ValueError where shapes do not match those of wh, for lengths outside 0..T, or for a `bh` with the reset before;
        TypeError unless lengths are integers.
    Source: as gru_cell. Conventions: those of gru_cell; lengths as torch's packed sequences and ONNX, Keras repeats the last
        output instead of 0. `reverse` goes from the last step of each sequence to its first, and y_t stays at its x_t.

    >>> import numpy as np, purenet as pn
    >>> params = {"wx": np.zeros((1, 3)), "wh": np.zeros((1, 3))}
    >>> pn.gru(params, np.ones((1, 3, 1)), np.ones((1, 1)), lengths=[2])  # z is a half, n is 0
    (array([[[0.5 ],
            [0.25],
            [0.  ]]]), array([[0.25]]))
    """
    return unroll("gru", FusedGRU(reset_after), params, xs, carry, lengths, reverse)


@gru.pullback
def gru_bwd(residuals: Unrolled, dy: tuple[Array, Array]) -> tuple[dict[str, Array], Array, Any]:
    return unroll_bwd(residuals, dy)
