"""The steps of `lstm_cell` and `gru_cell`, for sequences: all gates are columns of one array, and are computed in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from purenet.op import Array
from purenet.recurrent.arguments import State, Weights
from purenet.recurrent.unrolled import Cell, blocks
from purenet.scipy_parts import expit

__all__ = ["FusedGRU", "FusedLSTM"]


class FusedLSTM(Cell):
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


class FusedGRU(Cell):
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
    """The contribution of the state to n, h wn + bh, for one step or for all at once."""
    s = h @ _parts(weights.wh)[1]
    if weights.bh is not None:
        s += weights.bh
    return np.asarray(s)
