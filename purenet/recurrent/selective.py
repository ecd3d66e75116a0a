"""The selective state space of Mamba: a linear recurrence whose decay, input and output depend on the input."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from purenet.checks import fields
from purenet.op import Array, Op

__all__ = ["selective_scan"]


class Scanned(NamedTuple):
    """Residuals of selective_scan."""

    a: Array
    d: Array | None
    xs: Array
    delta: Array
    b: Array
    c: Array
    states: Array
    """The carry, and the state after each step, (T + 1, B, D, N)."""


@Op
def selective_scan(
    params: dict[str, Array], xs: Array, delta: Array, b: Array, c: Array, carry: Array
) -> tuple[tuple[Array, Array], Scanned]:
    """The selective scan of Mamba (S6): N states for each of D channels, which decay, take in x and are read at each step.

    Shapes: a (D, N), d (D,), which may be absent, xs (B, T, D), delta (B, T, D), b (B, T, N), c (B, T, N), carry h (B, D, N)
        -> ys (B, T, D), carry (B, D, N)
    Math, of each channel, whose delta_t, x_t and d are numbers and whose a, b_t, c_t and h_t are vectors, and h_0 the carry:
        h_t = e_t h_(t-1) + delta_t x_t b_t,  e_t = exp(delta_t a)
        y_t = c_t h_t + d x_t
        Backwards, dh_t = dy_t c_t + e_(t+1) dh_(t+1), where the cotangent of the last state is added to dh_T:
        dcarry   = e_1 dh_1
        da       = sum over the steps of delta_t dl_t,  dl_t = dh_t e_t h_(t-1)
        ddelta_t = a dl_t + x_t (b_t dh_t)
        dx_t     = delta_t (b_t dh_t) + d dy_t
        db_t     = delta_t x_t dh_t,  dc_t = dy_t h_t, summed over the channels;  dd = sum over the steps of dy_t x_t
    Errors: ValueError where the shapes do not match, or params hold other names than a and d; TypeError unless they are a dict.
    Source: Gu and Dao, Mamba: Linear-time sequence modeling with selective state spaces (2023). Conventions: as its
        selective_scan_fn, which has the time last. delta is that after the softplus, a is negative, so that states decay. The
        input is scaled by delta, not by (e_t - 1) / a. Multiply ys by pn.silu of the gate z.

    >>> import numpy as np, purenet as pn
    >>> one = np.ones((1, 3, 1))
    >>> half = {"a": np.array([[-np.log(2.0)]])}
    >>> ys, carry = pn.selective_scan(half, one, one, one, 10 * one, np.array([[[8.0]]]))
    >>> ys.ravel(), carry.ravel()
    (array([50. , 35. , 27.5]), array([2.75]))
    """
    a, d = _checked("selective_scan", params, xs, delta, b, c, carry)
    states = np.empty((xs.shape[1] + 1, *carry.shape), carry.dtype)
    states[0] = carry
    ys = np.zeros_like(xs) if d is None else d * xs
    for t in range(xs.shape[1]):
        decay = np.exp(delta[:, t, :, None] * a)
        states[t + 1] = decay * states[t] + (delta[:, t] * xs[:, t])[:, :, None] * b[:, t, None, :]
        ys[:, t] += np.einsum("bdn,bn->bd", states[t + 1], c[:, t])
    return (ys, states[-1].copy()), Scanned(a, d, xs, delta, b, c, states)


@selective_scan.pullback
def selective_scan_bwd(saved: Scanned, dresult: Any) -> tuple[dict[str, Array], Array, Array, Array, Array, Array]:
    a, d, xs, delta, b, c, states = saved
    dys, dh = dresult
    da = np.zeros_like(a)
    dxs, ddelta, db, dc = map(np.zeros_like, saved[2:6])
    for t in reversed(range(len(states) - 1)):
        decay = np.exp(delta[:, t, :, None] * a)
        dh = dh + dys[:, t, :, None] * c[:, t, None, :]
        dinput = np.einsum("bdn,bn->bd", dh, b[:, t])
        dexponent = dh * decay * states[t]
        da += np.einsum("bdn,bd->dn", dexponent, delta[:, t])
        ddelta[:, t] = np.einsum("bdn,dn->bd", dexponent, a) + xs[:, t] * dinput
        dxs[:, t] = delta[:, t] * dinput
        db[:, t] = np.einsum("bdn,bd->bn", dh, delta[:, t] * xs[:, t])
        dc[:, t] = np.einsum("bdn,bd->bn", states[t + 1], dys[:, t])
        dh = decay * dh
    dparams = {"a": da}
    if d is not None:
        dparams["d"] = (dys * xs).sum(axis=(0, 1))
        dxs += d * dys
    return dparams, dxs, ddelta, db, dc, np.array(dh)


def _checked(op: str, params: Any, xs: Array, delta: Array, b: Array, c: Array, carry: Array) -> tuple[Array, Array | None]:
    """The parameters; raise unless all shapes match."""
    a, d = fields(op, params, "a", optional=("d",))
    if a.ndim != 2:
        raise ValueError(f"{op}: params.a must have shape (D, N), got {a.shape}")
    channels, states = a.shape
    if d is not None and d.shape != (channels,):
        raise ValueError(f"{op}: params.d must have shape ({channels},) to match params.a {a.shape}, got {d.shape}")
    if xs.ndim != 3 or xs.shape[2] != channels:
        raise ValueError(f"{op}: xs must have shape (B, T, {channels}) to match params.a {a.shape}, got {xs.shape}")
    wanted = {
        "delta": (delta, xs.shape),
        "b": (b, (*xs.shape[:2], states)),
        "c": (c, (*xs.shape[:2], states)),
        "carry": (carry, (len(xs), channels, states)),
    }
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise ValueError(f"{op}: {name} must have shape {shape} to match xs {xs.shape}, got {array.shape}")
    return a, d
