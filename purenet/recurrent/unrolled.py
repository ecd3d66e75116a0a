"""Any recurrent cell over the steps of a sequence, forward and backward: a faster form of the step of its Op.

Only the state passes from step to step, so the loop computes only the product of the state and `wh`. One product before the
loop projects the inputs of all steps. One pass over the gates before the loop back computes the slopes of all steps, and one
product after it the gradient of each weight. Inside, time comes first, so that a step is one block of memory, and a layer in
reverse is the same layer on flipped views. Matrices are made contiguous, because BLAS sums in another order if they are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import optree

from purenet.op import Array, Tree
from purenet.recurrent.arguments import State, Weights, padding_of, state_of, weights_of

__all__ = ["Cell", "Unrolled", "blocks", "unroll", "unroll_bwd"]


class Cell:
    """The mathematics of one step, and of its pullback.

    `factors` is taken over all steps at once. Its first array holds the slopes, one column for each of the gates' columns:
    `step_bwd` multiplies those of its step, in place, into the cotangents of the sums that enter the gates.
    """

    state: tuple[str, ...] = ("h",)
    gates: int = 1
    biases: tuple[str, ...] = ("b",)
    keeps_gates: bool = True

    def step(self, weights: Weights, a: Array, state: State) -> State:
        """The next state; `a`, the projection of the input, becomes the gates."""
        raise NotImplementedError

    def factors(self, weights: Weights, gates: Any, states: State) -> tuple[Array, ...]:
        """The arrays for `step_bwd`, for all steps; the first holds the slopes, in new memory."""
        raise NotImplementedError

    def step_bwd(self, weights: Weights, factors: Sequence[Array], dstate: State) -> State:
        """The cotangent of the state before a step; the slopes become the cotangent of `a`."""
        raise NotImplementedError

    def hidden_bwd(self, gates: Any, h: Array, da: Array) -> dict[str, Array]:
        """The gradients of wh (and bh): `h` before each step and `da`, as rows."""
        return {"wh": h.T @ da}


class Unrolled(NamedTuple):
    """The residuals of a sequence; `gates` (T, B, GH) and `states` (T + 1, B, H) put time first."""

    cell: Cell
    weights: Weights
    xs: Array
    gates: Array | None
    states: State
    carry: optree.PyTreeSpec
    padded: Array | None
    reverse: bool


def unroll(
    op: str, cell: Cell, params: Any, xs: Array, carry: Tree, lengths: Any, reverse: bool
) -> tuple[tuple[Array, Tree], Unrolled]:
    """The outputs of all steps and the state after the last, of the structure of `carry`; and the residuals."""
    weights = weights_of(op, params, cell.gates, cell.biases)
    if xs.ndim != 3 or xs.shape[2] != len(weights.wx):
        expected = f"(batch, time, {len(weights.wx)}) to match params.wx {weights.wx.shape}"
        raise ValueError(f"{op}: xs must have shape {expected}, got {xs.shape}")
    state = state_of(op, cell.state, weights, "xs", xs, carry)
    padded = padding_of(op, lengths, xs, reverse)
    gates, states = _forward(cell, weights, _time_first(xs, padded, reverse), state, padded)
    hs = states[0][1:] if padded is None else np.where(padded, 0, states[0][1:])
    structure = optree.tree_structure(carry)
    last = optree.tree_unflatten(structure, [s[-1].copy() for s in states])
    return (_swapped(hs, reverse), last), Unrolled(cell, weights, xs, gates, states, structure, padded, reverse)


def unroll_bwd(saved: Unrolled, dy: tuple[Array, Tree]) -> tuple[dict[str, Array], Array, Tree]:
    """The cotangents of params, xs and carry, from those of the outputs and of the last state."""
    dys, dcarry = dy
    xs, dhs = (_time_first(a, saved.padded, saved.reverse) for a in (saved.xs, dys))
    dparams, dxs, dstate = _backward(saved, xs, tuple(optree.tree_leaves(dcarry)), dhs)
    return dparams, _swapped(dxs, saved.reverse), optree.tree_unflatten(saved.carry, dstate)


def blocks(a: Array, count: int) -> list[Array]:
    """Views of `count` blocks of columns of equal width."""
    width = a.shape[-1] // count
    return [a[..., i * width : (i + 1) * width] for i in range(count)]


# ---------------------------------------------------------------------------------------------- the two loops


def _forward(cell: Cell, weights: Weights, xs: Array, state: State, padded: Array | None) -> tuple[Array | None, State]:
    """The gates of all steps, if the pullback needs them, and the states before, between and after them."""
    a = _rows(xs) @ weights.wx
    if weights.b is not None:
        a += weights.b
    gates = a.reshape(*xs.shape[:2], a.shape[1])
    states = tuple(np.empty((len(xs) + 1, *s.shape), s.dtype) for s in state)
    for kept, s in zip(states, state, strict=True):
        kept[0] = s
    for t in range(len(xs)):
        after = cell.step(weights, gates[t], tuple(s[t] for s in states))
        for kept, s in zip(states, after, strict=True):
            kept[t + 1] = s if padded is None else np.where(padded[t], kept[t], s)
    return gates if cell.keeps_gates else None, states


def _backward(saved: Unrolled, xs: Array, dstate: State, dhs: Array) -> tuple[dict[str, Array], Array, tuple[Array, ...]]:
    """The cotangents of params, of xs with time first, and of the state that came in."""
    cell, weights, padded = saved.cell, saved.weights, saved.padded
    factors = cell.factors(weights, saved.gates, saved.states)
    da = factors[0]
    if padded is not None:
        np.copyto(da, 0, where=padded)
    for t in reversed(range(len(xs))):
        after = (dstate[0] + dhs[t], *dstate[1:])
        dstate = cell.step_bwd(weights, [f[t] for f in factors], after)
        if padded is not None:
            dstate = tuple(np.where(padded[t], d, before) for d, before in zip(after, dstate, strict=True))
    rows = _rows(da)
    dparams = {"wx": _rows(xs).T @ rows}
    if weights.b is not None:
        dparams["b"] = rows.sum(axis=0)
    hidden = cell.hidden_bwd(None if saved.gates is None else _rows(saved.gates), _rows(saved.states[0][:-1]), rows)
    dparams.update((name, d) for name, d in hidden.items() if getattr(weights, name) is not None)
    return dparams, (rows @ weights.wx.T).reshape(xs.shape), tuple(d.copy() for d in dstate)


def _rows(a: Array) -> Array:
    """The entries of all steps of all sequences, one below the other."""
    return a.reshape(a.shape[0] * a.shape[1], a.shape[2])


def _swapped(a: Array, reverse: bool) -> Array:
    """Time and batch in each other's place, as a copy; the steps in the other order if in reverse."""
    return (a[::-1] if reverse else a).swapaxes(0, 1).copy()


def _time_first(a: Array, padded: Array | None, reverse: bool) -> Array:
    """A sequence with time first and 0 in padding: whatever stands there, NaN too, must not reach a product."""
    a = a.swapaxes(0, 1)
    a = a[::-1] if reverse else a
    return np.ascontiguousarray(a if padded is None else np.where(padded, 0, a))
