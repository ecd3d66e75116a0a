"""The gated recurrent unit, whose reset gate acts after the product of state and weights, or before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from purenet.op import Array, Op
from purenet.recurrent.unrolled import Cell, State, Unrolled, Weights, blocks, one_step, one_step_bwd, unroll, unroll_bwd

__all__ = ["gru", "gru_cell"]


class GRUCell(Cell):
    """h' = (1 - z) n + z h, where r decides how much of h reaches n."""

    gates = 3

    def __init__(self, reset_after: bool) -> None:
        self.reset_after = reset_after
        self.biases = ("b", "bh") if reset_after else ("b",)

    def step(self, weights: Weights, a: Array, state: State) -> State:
        (h,) = state
        w_rz, w_n = _parts(weights.wh)
        rz, n = _parts(a)
        rz += h @ w_rz
        expit(rz, out=rz)
        r, z = blocks(rz, 2)
        n += r * _hidden(weights, h) if self.reset_after else (r * h) @ w_n
        np.tanh(n, out=n)
        return ((1 - z) * n + z * h,)

    def factors(self, weights: Weights, gates: Array, states: State) -> tuple[Array, ...]:
        r, z, n = blocks(gates, 3)
        (hs,) = states
        h = hs[:-1]
        slopes = np.empty_like(gates)
        of_r, of_z, of_n = blocks(slopes, 3)
        np.multiply(r * (1 - r), _hidden(weights, h) if self.reset_after else h, out=of_r)
        np.multiply(z * (1 - z), h - n, out=of_z)
        np.multiply((1 - n) * (1 + n), 1 - z, out=of_n)
        return slopes, r, z

    def step_bwd(self, weights: Weights, factors: Sequence[Array], dstate: State) -> State:
        (da, r, z), (dh,) = factors, dstate
        w_rz, w_n = _parts(weights.wh)
        of_r, of_z, of_n = blocks(da, 3)
        of_n *= dh
        of_z *= dh
        if self.reset_after:
            of_r *= of_n
            through_n = (r * of_n) @ w_n.T
        else:
            through_n = of_n @ w_n.T
            of_r *= through_n
            through_n *= r
        return (z * dh + through_n + _parts(da)[0] @ w_rz.T,)

    def hidden_bwd(self, gates: Array, h: Array, da: Array) -> dict[str, Array]:
        r, (da_rz, da_n) = blocks(gates, 3)[0], _parts(da)
        if self.reset_after:
            ds = r * da_n
            return {"wh": h.T @ np.concatenate([da_rz, ds], axis=1), "bh": ds.sum(axis=0)}
        return {"wh": np.concatenate([h.T @ da_rz, (r * h).T @ da_n], axis=1)}


def _parts(a: Array) -> tuple[Array, Array]:
    """The columns of r and z together, and those of n."""
    width = a.shape[-1] // 3
    return a[..., : 2 * width], a[..., 2 * width :]


def _hidden(weights: Weights, h: Array) -> Array:
    """What the state gives n, h wn + bh, of one step or all at once."""
    s = h @ _parts(weights.wh)[1]
    if weights.bh is not None:
        s += weights.bh
    return np.asarray(s)


@Op
def gru_cell(params: dict[str, Array], x: Array, carry: Array, *, reset_after: bool = True) -> tuple[Array, Unrolled]:
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
    return one_step("gru_cell", GRUCell(reset_after), params, x, carry)


@gru_cell.pullback
def gru_cell_bwd(residuals: Unrolled, dy: Array) -> tuple[dict[str, Array], Array, Any]:
    return one_step_bwd(residuals, dy)


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
    return unroll("gru", GRUCell(reset_after), params, xs, carry, lengths, reverse)


@gru.pullback
def gru_bwd(residuals: Unrolled, dy: tuple[Array, Array]) -> tuple[dict[str, Array], Array, Any]:
    return unroll_bwd(residuals, dy)
