"""The arguments of cells and layers, checked: parameters, inputs, carry, lengths."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import optree

from purenet.checks import array_of, fields
from purenet.op import Array, Tree

__all__ = ["State", "Weights", "as_given", "padding_of", "state_of", "step_of", "weights_of"]

State: TypeAlias = tuple[Array, ...]
"""One array (B, H) for each name of a cell's state; the first is the output of the layer."""


class Weights(NamedTuple):
    """The parameters of a cell whose gates are G blocks of columns: wx (F, GH), wh (H, GH), b (GH,), bh (H,)."""

    wx: Array
    wh: Array
    b: Array | None
    bh: Array | None


def step_of(
    op: str,
    params: Any,
    x: Array,
    carry: Tree,
    *,
    gates: int,
    state: tuple[str, ...] = ("h",),
    biases: tuple[str, ...] = ("b",),
) -> tuple[Weights, Array, State]:
    """The parameters, the input and the state of one step of a cell."""
    weights = weights_of(op, params, gates, biases)
    if x.ndim != 2 or x.shape[1] != len(weights.wx):
        expected = f"(batch, {len(weights.wx)}) to match params.wx {weights.wx.shape}"
        raise ValueError(f"{op}: x must have shape {expected}, got {x.shape}")
    arrays = state_of(op, state, weights, "x", x, carry)
    return weights, np.ascontiguousarray(x), tuple(np.ascontiguousarray(s) for s in arrays)


def as_given(carry: Tree, *state: Array) -> Tree:
    """The arrays of a state in the structure of a carry."""
    return optree.tree_unflatten(optree.tree_structure(carry), state)


def weights_of(op: str, params: Any, gates: int, biases: tuple[str, ...]) -> Weights:
    """The parameters of a cell with so many gates, contiguous: BLAS sums in another order where they are not."""
    found: list[Any] = [p if p is None else np.asarray(p, order="C") for p in fields(op, params, "wx", "wh", optional=biases)]
    weights = Weights(*found, *(None,) * (4 - len(found)))
    wx, wh, *given = weights
    columns = "hidden" if gates == 1 else f"{gates} hidden"
    if wh.ndim != 2 or wh.shape[1] != gates * wh.shape[0]:
        raise ValueError(f"{op}: params.wh must have shape (hidden, {columns}), got {wh.shape}")
    hidden, width = wh.shape
    if wx.ndim != 2 or wx.shape[1] != width:
        raise ValueError(f"{op}: params.wx must have shape (features, {width}) to match params.wh {wh.shape}, got {wx.shape}")
    for name, bias, size in zip(("b", "bh"), given, (width, hidden), strict=True):
        if bias is not None and bias.shape != (size,):
            raise ValueError(f"{op}: params.{name} must have shape ({size},) to match params.wh {wh.shape}, got {bias.shape}")
    return weights


def state_of(op: str, names: tuple[str, ...], weights: Weights, of: str, xs: Array, carry: Tree) -> State:
    """The arrays of `carry`, one for each of `names`; `of` is the name of the inputs."""
    if len(names) == 1:
        state = (carry,)
    elif isinstance(carry, tuple) and len(carry) == len(names):
        state = carry
    else:
        got = f"a tuple of {len(carry)}" if isinstance(carry, tuple) else type(carry).__name__
        raise TypeError(f"{op}: carry must be a tuple ({', '.join(names)}) of arrays, got {got}")
    shape = (len(xs), len(weights.wh))
    for name, s in zip(names, state, strict=True):
        where = "carry" if len(names) == 1 else f"carry.{name}"
        if not hasattr(s, "shape"):
            raise TypeError(f"{op}: {where} must be an array, got {type(s).__name__}")
        if s.shape != shape:
            expected = f"(batch, hidden) = {shape} to match {of} {xs.shape} and params.wh {weights.wh.shape}"
            raise ValueError(f"{op}: {where} must have shape {expected}, got {s.shape}")
    return state


def padding_of(op: str, lengths: Any, xs: Array, reverse: bool) -> Array | None:
    """Which steps lie beyond the end of their sequence, (T, B, 1), in the order they are taken; None without lengths."""
    if lengths is None:
        return None
    batch, time = xs.shape[:2]
    lengths = array_of(op, "lengths", lengths)
    if lengths.dtype.kind not in "iu":
        raise TypeError(f"{op}: lengths must be integers, got {lengths.dtype}")
    if lengths.shape != (batch,):
        raise ValueError(f"{op}: lengths must have shape ({batch},) to match xs {xs.shape}, got {lengths.shape}")
    wrong = (lengths < 0) | (lengths > time)
    if wrong.any():
        raise ValueError(f"{op}: lengths must be in 0..{time} to match xs {xs.shape}, got {lengths[wrong][0]}")
    steps = np.arange(time)[:, None, None]
    return np.asarray((steps[::-1] if reverse else steps) >= lengths[:, None])
