"""Kernels that work in blocks, fuse several operations or keep states: what goes wrong at the seams."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from oracle.spec import Flag
from tests.oracle.planted import normal, signed
from tests.oracle.test_cotangents import cross_entropy, cross_entropy_by_jax
from tests.oracle.test_ranges import scan, scan_by_jax
from tests.zoo.record import Array, Bug, Pair

# ------------------------------------------------------------------------------------------------ norms in blocks


def rms_fwd(x: Array) -> tuple[Array, Any]:
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-6)
    return x * r, (x.copy(), r)


def rms_bwd_with(spread: Callable[[Array], Array]) -> Callable[[Any, Array], tuple[Array]]:
    """The backward pass, in which `spread` brings the term of each row to all its columns."""

    def rms_bwd(residuals: Any, dy: Array) -> tuple[Array]:
        x, r = residuals
        return (r * dy - x * r**3 * spread((dy * x).mean(axis=-1)),)

    return rms_bwd


def rms(x: Any) -> Any:
    return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-6)


# ------------------------------------------------------------------------------------------------ scans, convolutions

BLOCK = 4


def scan_of_blocks(carries: bool) -> Pair:
    """y[t] = a[t] y[t - 1] + x[t]; between blocks what flows back is multiplied where it arises, or where it arrives."""

    def scan_bwd(residuals: Any, dy: Array) -> Any:
        a, y = residuals
        da, dx, last = np.zeros_like(a), np.zeros_like(a), dy.shape[1] - 1
        for start in reversed(range(0, last + 1, BLOCK)):
            end = min(start + BLOCK, last + 1)
            carry = dx[:, end] * (a[:, end] if carries else 1) if end <= last else np.zeros_like(a[:, 0])
            local = 1 if carries or end > last else a[:, end]
            for t in reversed(range(start, end)):
                inside = a[:, t + 1] * dx[:, t + 1] if t + 1 < end else carry
                dx[:, t] = local * dy[:, t] + inside
        da[:, 1:] = dx[:, 1:] * y[:, :-1]
        return da, dx

    return scan(1.0)[0], scan_bwd


def causal_fwd(x: Array, state: Array, *, w: Array) -> Any:
    """A causal convolution of each row, which continues a state, and the new state: its last entries."""
    given = np.concatenate([state, x], axis=1)
    n, width = x.shape[1], len(w)
    y = np.stack([given[:, t : t + width] @ w for t in range(n)], axis=1)
    return (y, given[:, n:].copy()), (x.shape, state.shape, w)


def causal_bwd_with(shift: int) -> Callable[[Any, Any], tuple[Array, Array]]:
    """The backward pass, which puts the gradient of the new state `shift` entries beside its place."""

    def causal_bwd(residuals: Any, dy: Any) -> tuple[Array, Array]:
        (rows, n), (_, kept), w = residuals
        given = np.zeros((rows, n + kept))
        for t in range(n):
            given[:, t : t + len(w)] += dy[0][:, [t]] * w
        given[:, n - shift : n - shift + kept] += dy[1]
        return given[:, kept:], given[:, :kept]

    return causal_bwd


def causal(x: Any, state: Any, *, w: Any) -> Any:
    given = jnp.concatenate([state, x], axis=1)
    n = x.shape[1]
    return jnp.stack([given[:, t : t + len(w)] @ w for t in range(n)], axis=1), given[:, n:]


# ------------------------------------------------------------------------------------------------ places


def scaled_fwd(x: Array, v: Array, *, rows: Array) -> Any:
    """Some rows of x are multiplied by those of v, one after the other."""
    y = x.copy()
    for j, i in enumerate(rows):
        y[i] *= v[j]
    return y, (x.copy(), v.copy(), rows)


def scaled_bwd_with(update: Callable[[Array, Array, Array], Array]) -> Callable[[Any, Array], Any]:
    """The backward pass, whose gradient of a row of x changes to `update(dx, dy, v)` with every factor."""

    def scaled_bwd(residuals: Any, dy: Array) -> Any:
        x, v, rows = residuals
        dx, dv = dy.copy(), np.zeros_like(v)
        for j, i in enumerate(rows):
            others = [v[k] for k in range(len(rows)) if rows[k] == i and k != j]
            dv[j] = dy[i] * x[i] * np.prod([np.ones_like(v[j]), *others], axis=0)
            dx[i] = update(dx[i], dy[i], v[j])
        return dx, dv

    return scaled_bwd


def scaled(x: Any, v: Any, *, rows: Any) -> Any:
    for j, i in enumerate(rows):
        x = x.at[i].multiply(v[j])
    return x


def dot_fwd(w: Array, x: Array) -> Any:
    return (w @ x)[0, 0], (w.copy(), x.copy())


def dot_bwd(residuals: Any, dy: Array) -> Any:
    w, x = residuals
    return dy * x.T, dy * w.T


def dot_broadcast(residuals: Any, dy: Array) -> Any:
    """The row times the column is a matrix, which is summed back to the shape of the row."""
    w, x = residuals
    return (dy * np.ones_like(w) * x).sum(axis=0, keepdims=True), dy * w.T


def dot(w: Any, x: Any) -> Any:
    return (w @ x)[0, 0]


def largest_fwd(x: Array) -> Any:
    """The largest entry of each row."""
    return x.max(axis=1), (x.shape, x.argmax(axis=1))


def largest_bwd(residuals: Any, dy: Array) -> Any:
    shape, place = residuals
    dx = np.zeros(shape)
    dx[np.arange(shape[0]), place] = dy
    return (dx,)


def largest_of_the_last(residuals: Any, dy: Array) -> Any:
    shape, place = residuals
    return largest_bwd((shape, np.full_like(place, place[-1])), dy)


def quantized_fwd(x: Array) -> Any:
    return np.clip(np.round(4 * x), -4, 4) / 4, x.copy()


def quantized_bwd(x: Array, dy: Array) -> tuple[Array]:
    return (dy * (abs(x) <= 1),)


def quantized(x: Any) -> Any:
    """Straight through inside the range."""
    inside = jnp.clip(x, -1, 1)
    return inside + jax.lax.stop_gradient(jnp.clip(jnp.round(4 * x), -4, 4) / 4 - inside)


STEPS = 10
BUGS = (
    Bug(
        "one token's upstream for all",
        "linkedin/Liger-Kernel#1298",
        "Fused with the linear layer, the cross entropy of each token is multiplied by the upstream gradient of the first.",
        wrong=cross_entropy(lambda dy: np.full_like(dy, dy[0])),
        right=cross_entropy(lambda dy: dy),
        reference=cross_entropy_by_jax,
        arguments=(normal(4, 5), normal(5, 5)),
        causes={"x": "one dy for all: ", "w": "one dy for all: "},
    ),
    Bug(
        "rms_norm spreads its row term over columns",
        "BobMcDear/attorch#17",
        "The term of each row of a block of two rows is added to the column of its number.",
        wrong=(rms_fwd, rms_bwd_with(lambda term: term.reshape(-1, 2).repeat(2, axis=0))),
        right=(rms_fwd, rms_bwd_with(lambda term: term[:, None])),
        reference=rms,
        arguments=(normal(2048, 2),),
        causes={
            "x": "a pattern of period 2 along axis 0: x is wrong at the same places in every 2 indices (2048 of 4096 entries"
        },
    ),
    Bug(
        "scan scales the local part",
        "proger/accelerated-scan#15",
        "Between two blocks the gradients of the earlier block are scaled instead of what is carried over.",
        wrong=scan_of_blocks(carries=False),
        right=scan_of_blocks(carries=True),
        reference=scan_by_jax,
        arguments=(1 + 0.3 * normal(3, STEPS), signed(3, STEPS)),
        causes={"a": "right from index 8 of axis 1 on: ", "x": "right from index 8 of axis 1 on: "},
    ),
    Bug(
        "state of a short chunk",
        "fla-org/flash-linear-attention#1140",
        "Of a chunk that is shorter than the state, the gradient of the new state lands one entry beside its place.",
        wrong=(causal_fwd, causal_bwd_with(1)),
        right=(causal_fwd, causal_bwd_with(0)),
        reference=causal,
        arguments=(signed(3, 2), signed(3, 3)),
        options={"w": np.array([0.5, -0.3, 0.8, 0.2])},
        causes={"x": "value[1]", "state": "value[1]"},
    ),
    Bug(
        "scatter multiplies once",
        "tracel-ai/burn#4909",
        "A row that is multiplied several times gets the gradient of the last factor only.",
        wrong=(scaled_fwd, scaled_bwd_with(lambda dx, dy, v: dy * v)),
        right=(scaled_fwd, scaled_bwd_with(lambda dx, dy, v: dx * v)),
        reference=scaled,
        arguments=(signed(5, 3).astype(np.float32), signed(4, 3).astype(np.float32)),
        options={"rows": np.array([0, 2, 2, 4])},
        causes={"x": "x is wrong only at index 2 of axis 0"},
    ),
    Bug(
        "row times column is broadcast",
        "FluxML/Zygote.jl#916",
        "The dot product of a row and a column is differentiated as their elementwise product, a matrix.",
        wrong=(dot_fwd, dot_broadcast),
        right=(dot_fwd, dot_bwd),
        reference=dot,
        arguments=(signed(1, 6), signed(6, 1)),
        causes={"w": "summed over axis 1: each entry of w is the sum of the true ones"},
    ),
    Bug(
        "place of the last for all",
        "NVIDIA/warp#1552",
        "The place of the largest entry, found in a loop, is that of the last iteration for all.",
        wrong=(largest_fwd, largest_of_the_last),
        right=(largest_fwd, largest_bwd),
        reference=lambda x: x.max(axis=1),
        arguments=(normal(6, 4),),
        causes={"x": "permuted: "},
    ),
    Bug(
        "straight through outside the range",
        "microsoft/nni#3160",
        "The gradient of a quantization passes outside its range, too.",
        wrong=(quantized_fwd, lambda x, dy: (dy.copy(),)),
        right=(quantized_fwd, quantized_bwd),
        reference=quantized,
        arguments=(np.array([[-1.9, -0.4, 0.33], [1.04, 2.2, -1.3], [0.6, -0.77, 0.12], [1.7, -2.3, 0.9]]),),
        flags=frozenset({Flag.NOT_THE_DERIVATIVE}),
        causes={"x": "mask not applied: "},
    ),
)
