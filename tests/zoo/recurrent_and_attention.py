"""Recurrent layers and attention."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit, softmax

from tests.oracle.planted import normal, signed
from tests.zoo.record import LEARNERS, Array, Bug

# ------------------------------------------------------------------------------------------------ recurrent


def rnn_fwd(x: Array, *, wx: Array, wh: Array) -> tuple[Array, Any]:
    states = [np.zeros((len(x), len(wh)))]
    for t in range(x.shape[1]):
        states.append(np.tanh(x[:, t] @ wx + states[-1] @ wh))
    return np.stack(states[1:], axis=1), (wx, wh, states[1:])


def rnn_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    wx, wh, states = residuals
    dx, later = [], np.zeros_like(states[0])
    for t in reversed(range(len(states))):
        dz = (dy[:, t] + later) * (1 - states[t] ** 2)
        dx.append(dz @ wx.T)
        later = dz @ wh.T
    return (np.stack(dx[::-1], axis=1),)


def rnn_of_single_steps(residuals: Any, dy: Array) -> tuple[Array]:
    wx, wh, states = residuals
    return rnn_bwd((wx, np.zeros_like(wh), states), dy)


def rnn(x: Any, *, wx: Any, wh: Any) -> Any:
    def step(h: Any, at: Any) -> Any:
        h = jnp.tanh(at @ wx + h @ wh)
        return h, h

    return jax.lax.scan(step, jnp.zeros((len(x), len(wh))), x.swapaxes(0, 1))[1].swapaxes(0, 1)


START = 0.5


def cell_fwd(f: Array, u: Array) -> tuple[Any, Any]:
    """A cell that forgets by sigmoid(f) and takes up tanh(u): the outputs of all steps, and the last cell."""
    cells = [np.full((len(f), f.shape[2]), START)]
    for t in range(f.shape[1]):
        cells.append(expit(f[:, t]) * cells[-1] + np.tanh(u[:, t]))
    return (np.tanh(np.stack(cells[1:], axis=1)), cells[-1].copy()), (f.copy(), u.copy(), cells)


def cell_bwd(residuals: Any, dy: Any) -> tuple[Array, Array]:
    f, u, cells = residuals
    df, du, dc = np.zeros_like(f), np.zeros_like(u), dy[1].copy()
    for t in reversed(range(f.shape[1])):
        keep = expit(f[:, t])
        dc = dc + dy[0][:, t] * (1 - np.tanh(cells[t + 1]) ** 2)
        df[:, t] = dc * cells[t] * keep * (1 - keep)
        du[:, t] = dc * (1 - np.tanh(u[:, t]) ** 2)
        dc = dc * keep
    return df, du


def cell_of_the_outputs(residuals: Any, dy: Any) -> tuple[Array, Array]:
    return cell_bwd(residuals, (dy[0], np.zeros_like(dy[1])))


def cell(f: Any, u: Any) -> Any:
    def step(c: Any, at: Any) -> Any:
        c = jax.nn.sigmoid(at[0]) * c + jnp.tanh(at[1])
        return c, jnp.tanh(c)

    last, ys = jax.lax.scan(step, jnp.full((len(f), f.shape[2]), START), (f.swapaxes(0, 1), u.swapaxes(0, 1)))
    return ys.swapaxes(0, 1), last


# ------------------------------------------------------------------------------------------------ attention


def attention_fwd(q: Array, k: Array, v: Array) -> tuple[Array, Any]:
    p = softmax(q @ k.T / np.sqrt(q.shape[1]), axis=1)
    return p @ v, (q.copy(), k.copy(), v.copy(), p)


def attention_without_scale(residuals: Any, dy: Array) -> tuple[Array, Array, Array]:
    q, k, v, p = residuals
    dp = dy @ v.T
    ds = p * (dp - (p * dp).sum(axis=1, keepdims=True))
    return ds @ k, ds.T @ q, p.T @ dy


def attention_bwd(residuals: Any, dy: Array) -> tuple[Array, Array, Array]:
    dq, dk, dv = attention_without_scale(residuals, dy)
    return dq / np.sqrt(dq.shape[1]), dk / np.sqrt(dq.shape[1]), dv


def attention(q: Any, k: Any, v: Any) -> Any:
    return jnp.einsum("nm,mv->nv", jax.nn.softmax(jnp.einsum("nd,md->nm", q, k) * q.shape[1] ** -0.5), v)


BUGS = (
    Bug(
        "nothing comes from later steps",
        "qixianbiao/RNN#2",
        "The gradient of a hidden state is not handed on to the step before.",
        wrong=(rnn_fwd, rnn_of_single_steps),
        right=(rnn_fwd, rnn_bwd),
        reference=rnn,
        arguments=(normal(2, 4, 2),),
        options={"wx": signed(2, 3), "wh": signed(3, 3)},
        causes={"x": "term missing: "},
    ),
    Bug(
        "last cell ignored",
        "deeplearning4j/deeplearning4j#8838",
        "What depends on the last cell state, an output too, sends nothing back.",
        wrong=(cell_fwd, cell_of_the_outputs),
        right=(cell_fwd, cell_bwd),
        reference=cell,
        arguments=(signed(2, 3, 2), signed(2, 3, 2, seed=1)),
        causes={"f": "dy ignored: ", "u": "dy ignored: "},
    ),
    Bug(
        "attention without its scale",
        LEARNERS,
        "The factor 1 / sqrt(d) of the scores is left out of the gradients of queries and keys.",
        wrong=(attention_fwd, attention_without_scale),
        right=(attention_fwd, attention_bwd),
        reference=attention,
        arguments=(normal(2, 3), normal(4, 3), normal(4, 3, seed=1)),
        causes={"q": "constant factor: ", "k": "constant factor: "},
    ),
)
