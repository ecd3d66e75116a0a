"""Losses."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tests.oracle.planted import normal, signed
from tests.zoo.record import BOOK, Array, Bug

# ------------------------------------------------------------------------------------------------ CTC


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def paths(p: Array, symbols: Array) -> Array:
    """For each time and symbol, how probable are the beginnings of paths that are there: the forward variables."""
    alpha = np.zeros((len(p), len(symbols)))
    alpha[0, :2] = p[0, symbols[:2]]
    skips = np.array([s >= 2 and symbols[s] != 0 and symbols[s] != symbols[s - 2] for s in range(len(symbols))])
    for t in range(1, len(p)):
        before = alpha[t - 1]
        reached = before + np.append(0, before[:-1]) + skips * np.append([0, 0], before[:-2])
        alpha[t] = reached * p[t, symbols]
    return alpha


def ctc_fwd(logits: Array, *, labels: Array) -> tuple[Array, Array]:
    losses, gradients = [], []
    for scores, label in zip(logits, labels, strict=True):
        p = softmax(scores)
        symbols = np.array([0, *(symbol for one in label for symbol in (one, 0))])
        alpha, beta = paths(p, symbols), paths(p[::-1], symbols[::-1])[::-1, ::-1]
        total = alpha[-1, -2:].sum()
        through = np.zeros_like(p)
        np.add.at(through, (slice(None), symbols), alpha * beta)
        losses.append(-np.log(total))
        gradients.append(p - through / p / total)
    return np.array(losses), np.array(gradients)


def ctc_bwd(gradients: Array, dy: Array) -> tuple[Array]:
    return (gradients * dy[:, None, None],)


def ctc_of_the_sum(gradients: Array, dy: Array) -> tuple[Array]:
    return (gradients.copy(),)


def ctc(logits: Any, *, labels: Any) -> Any:
    return optax.ctc_loss(logits, jnp.zeros(logits.shape[:2]), labels, jnp.zeros(labels.shape))


# ------------------------------------------------------------------------------------------------ regression


def huber_fwd(prediction: Array, target: Array, *, delta: float) -> tuple[Array, Array]:
    off = prediction - target
    size = np.abs(off)
    return np.where(size <= delta, off * off / 2, delta * (size - delta / 2)).sum(axis=-1), np.clip(off, -delta, delta)


def huber_bwd(slope: Array, dy: Array) -> tuple[Array, Array]:
    return slope * dy[:, None], -slope * dy[:, None]


def huber_of_the_sum(slope: Array, dy: Array) -> tuple[Array, Array]:
    return slope.copy(), -slope


def huber(prediction: Any, target: Any, *, delta: float) -> Any:
    return optax.huber_loss(prediction, target, delta=delta).sum(axis=-1)


def one_sided_huber_fwd(prediction: Array, target: Array, *, delta: float) -> tuple[Array, Array]:
    off = prediction - target
    y = np.where(off <= delta, off * off / 2, delta * (np.abs(off) - delta / 2)).sum(axis=-1)
    return y, np.minimum(off, delta)


def squares_fwd(prediction: Array, target: Array) -> tuple[Array, Array]:
    off = prediction - target
    return (off * off).sum() / len(off), off


def squares_bwd(off: Array, dy: Array) -> tuple[Array, Array]:
    slope = 2 * dy * off / len(off)
    return slope, -slope


def squares_halved_again(off: Array, dy: Array) -> tuple[Array, Array]:
    slope = 2 * dy * off / len(off) / len(off)
    return slope, -slope


def squares(prediction: Any, target: Any) -> Any:
    return jnp.square(prediction - target).sum(axis=1).mean()


# ------------------------------------------------------------------------------------------------ classes


def softmax_with_loss_fwd(x: Array, *, targets: Array) -> tuple[Array, Any]:
    y = softmax(x)
    return -(targets * np.log(y)).sum() / len(x), (y, targets)


def softmax_with_loss_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    y, targets = residuals
    return ((y - targets) / len(y) * dy,)


def softmax_with_the_last_loss(residuals: Any, dy: Array) -> tuple[Array]:
    y, targets = residuals
    return ((y - targets) / len(y),)


def softmax_with_loss(x: Any, *, targets: Any) -> Any:
    return optax.softmax_cross_entropy(x, targets).mean()


def nll_fwd(scores: Array, *, labels: Array, ignore_index: int) -> tuple[Array, Any]:
    taken = np.where(labels == ignore_index, 0, labels)
    y = np.where(labels == ignore_index, 0, -scores[np.arange(len(labels)), taken])
    return y, (scores.shape, labels, ignore_index)


def nll_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    shape, labels, ignore_index = residuals
    dx = np.zeros(shape)
    rows = np.flatnonzero(labels != ignore_index)
    dx[rows, labels[rows]] = -dy[rows]
    return (dx,)


def nll_by_address(residuals: Any, dy: Array) -> tuple[Array]:
    shape, labels, ignore_index = residuals
    (dx,) = nll_bwd(residuals, dy)
    ignored = np.flatnonzero(labels == ignore_index)
    dx.ravel()[ignored * shape[1] + labels[ignored]] = 0
    return (dx,)


def nll(scores: Any, *, labels: Any, ignore_index: int) -> Any:
    return -(scores * jax.nn.one_hot(labels, scores.shape[1])).sum(axis=1)  # what is no class has a row of zeros


def divergence_fwd(q: Array) -> tuple[Array, Array]:
    return (q * (np.log(q) + np.log(q.shape[1]))).sum(axis=1), q.copy()


def divergence_bwd(q: Array, dy: Array) -> tuple[Array]:
    return ((np.log(q) + np.log(q.shape[1]) + 1) * dy[:, None],)


def divergence_turned(q: Array, dy: Array) -> tuple[Array]:
    return ((-np.log(q.shape[1]) - np.log(q) - 1) * dy[:, None],)


def divergence(q: Any) -> Any:
    return -jax.scipy.special.entr(q).sum(axis=1) + q.sum(axis=1) * jnp.log(q.shape[1])


BUGS = (
    Bug(
        "ctc_loss ignores its upstream",
        "pytorch/pytorch#21961",
        "The gradient of the sum of all losses is returned, whatever comes from above.",
        wrong=(ctc_fwd, ctc_of_the_sum),
        right=(ctc_fwd, ctc_bwd),
        reference=ctc,
        arguments=(normal(2, 4, 3),),
        options={"labels": np.array([[1, 2], [2, 2]])},
        causes={"logits": "dy ignored: "},
    ),
    Bug(
        "huber_loss ignores its upstream",
        "chainer/chainer#1175",
        "gy is not used, so that multiplying the loss by anything changes no gradient.",
        wrong=(huber_fwd, huber_of_the_sum),
        right=(huber_fwd, huber_bwd),
        reference=huber,
        arguments=(normal(3, 4), normal(3, 4, seed=1)),
        options={"delta": 0.8},
        causes={"prediction": "dy ignored: ", "target": "dy ignored: "},
    ),
    Bug(
        "softmax with loss is always last",
        f"{BOOK}, section 5.6.3",
        "backward(dout=1) never reads dout: the layer works only as the last one, with a loss that is not scaled.",
        wrong=(softmax_with_loss_fwd, softmax_with_the_last_loss),
        right=(softmax_with_loss_fwd, softmax_with_loss_bwd),
        reference=softmax_with_loss,
        arguments=(normal(3, 4),),
        options={"targets": np.eye(4)[[1, 3, 0]]},
        causes={"x": "dy ignored: "},
    ),
    Bug(
        "mean divided twice",
        "felipecode/coiltraine#37",
        "What has already been divided by the size of the batch is divided by it once more.",
        wrong=(squares_fwd, squares_halved_again),
        right=(squares_fwd, squares_bwd),
        reference=squares,
        arguments=(normal(5, 3), normal(5, 3, seed=1)),
        causes={"prediction": "constant factor: ", "target": "constant factor: "},
    ),
    Bug(
        "threshold without absolute value",
        "BobMcDear/attorch#13",
        "The signed difference is compared with the threshold, so that large negative ones stay quadratic.",
        wrong=(one_sided_huber_fwd, huber_bwd),
        right=(huber_fwd, huber_bwd),
        reference=huber,
        arguments=(3 * signed(3, 4), signed(3, 4, seed=1)),
        options={"delta": 0.8},
        causes={"": "another function than the reference"},
    ),
    Bug(
        "ignored label writes to its neighbour",
        "flagos-ai/FlagGems#5025",
        "The zero of an ignored row is stored at an address made of ignore_index: in the next row.",
        wrong=(nll_fwd, nll_by_address),
        right=(nll_fwd, nll_bwd),
        reference=nll,
        arguments=(signed(5, 4),),
        options={"labels": np.array([2, 4, 0, 1, 3]), "ignore_index": 4},
        causes={"scores": "a single entry is wrong: "},
    ),
    Bug(
        "divergence of the wrong sign",
        "Kaixhin/Autoencoders#9",
        "The gradient of the divergence from the uniform distribution is reversed.",
        wrong=(divergence_fwd, divergence_turned),
        right=(divergence_fwd, divergence_bwd),
        reference=divergence,
        arguments=(softmax(normal(3, 4)),),
        causes={"q": "constant factor: "},
    ),
)
