"""Random draws with a gradient in the parameters of their distribution: the chance is in numbers that depend on none of them.

As in `purenet.stochastic`, these numbers come from a `key` or are given as `noise`; with neither, they are 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet import random
from purenet.activations.normalized import softmax, softmax_bwd
from purenet.checks import common_shape, number, one_axis
from purenet.linear.products import unbroadcast
from purenet.op import Array, Op
from purenet.stochastic import noise_of

__all__ = ["gumbel_softmax", "reparametrize"]


@Op
def reparametrize(mean: Array, log_var: Array, *, key: Array | None = None, noise: Array | None = None) -> tuple[Array, Any]:
    """Draws from normal distributions of these means and logarithms of variances, such as the code of an autoencoder.

    Shapes: mean (...), log_var (...), which broadcast, and noise to them -> y (...)
    Math, with standard normal numbers z, drawn by the key or given as `noise`:
        y     = mean + exp(log_var / 2) z;  without key and noise y = mean
        dmean = dy,  dlog_var = dy exp(log_var / 2) z / 2, each summed over axes along which it was broadcast
    Errors: ValueError where the shapes do not broadcast, for noise that does not broadcast to theirs or is not finite, or both
        a key and noise; TypeError for another key.
    Source: Kingma and Welling, Auto-encoding variational Bayes (2014). Conventions: vae_kl takes the same arguments. The
        numbers are those of jax.random.normal with its x64 flag set.

    >>> import numpy as np, purenet as pn
    >>> pn.reparametrize(np.array([1.0, 10.0]), np.log([4.0, 0.25]), noise=np.array([0.5, -2.0]))
    array([2., 9.])
    """
    shape = common_shape("reparametrize", mean=mean.shape, log_var=log_var.shape)
    z = noise_of("reparametrize", key, noise, np.broadcast_to(mean, shape))
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite deviation, times 0
        step = np.exp(log_var / 2) * z
    return mean + step, (step, mean.shape, log_var.shape)


@reparametrize.pullback
def reparametrize_bwd(residuals: Any, dy: Array) -> tuple[Array, Array]:
    step, mean_shape, log_var_shape = residuals
    return unbroadcast(dy.copy(), mean_shape), unbroadcast(0.5 * dy * step, log_var_shape)


@Op
def gumbel_softmax(
    logits: Array,
    *,
    tau: float = 1.0,
    hard: bool = False,
    axis: int = -1,
    key: Array | None = None,
    noise: Array | None = None,
) -> tuple[Array, Any]:
    """A choice among classes along `axis`, softened: as the temperature tau goes to 0, a draw from the softmax of the logits.

    With `hard` the value is the choice itself, 1 at one class and 0 elsewhere, with the gradient of the soft one (straight
    through).

    Shapes: logits (..., K, ...), noise broadcasts to them -> y (..., K, ...)
    Math, with Gumbel numbers g, drawn by the key or given as `noise`, and p = softmax((logits + g) / tau):
        y       = p; hard: y = 1 at the first of the largest p, else 0;  without key and noise g = 0
        dlogits = p (dy - sum p dy) / tau
    Errors: ValueError for a tau that is not above 0, an `axis` that there is not, noise that does not broadcast or is not
        finite, or both a key and noise; TypeError for another key, or a `hard` that is not True or False.
    Source: Jang, Gu, Poole (2017); Maddison, Mnih, Teh (2017). Conventions: torch's, whose axis is dim. The numbers are those
        of jax.random.gumbel with its x64 flag set.

    >>> import numpy as np, purenet as pn
    >>> noise = np.log([[4.0, 1.0, 3.0]])
    >>> pn.gumbel_softmax(np.log([[1.0, 2.0, 2.0]]), noise=noise).round(12)
    array([[0.33333333, 0.16666667, 0.5       ]])
    >>> pn.gumbel_softmax(np.log([[1.0, 2.0, 2.0]]), noise=noise, hard=True)
    array([[0., 0., 1.]])
    """
    name = "gumbel_softmax"
    tau, along = number(name, "tau", tau, above=0), one_axis(name, axis, logits)
    g = noise_of(name, key, noise, logits, random.gumbel)
    p, saved = softmax.forward((logits + g) / tau, axis=along)
    if not hard:
        return p, (saved, tau)
    choice = np.zeros_like(p)
    if p.size:
        np.put_along_axis(choice, np.argmax(p, axis=along, keepdims=True), 1, along)
    return choice, (saved, tau)


@gumbel_softmax.pullback
def gumbel_softmax_bwd(residuals: Any, dy: Array) -> tuple[Array]:
    saved, tau = residuals
    (dscaled,) = softmax_bwd(saved, dy)
    return (dscaled / tau,)
