"""Losses between distributions, and the likelihood of numbers under one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from purenet import entrywise
from purenet.checks import number
from purenet.losses.reductions import Axis, Mask, Weight, of_arguments, paired, product, rows_of
from purenet.op import Array, Op

__all__ = ["gaussian_nll_loss", "kl_divergence", "poisson_nll_loss", "vae_kl"]


@Op
def kl_divergence(
    log_predictions: Array,
    targets: Array,
    *,
    axis: Axis = -1,
    where: Mask = None,
    log_targets: bool = False,
    weight: Weight = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The Kullback-Leibler divergence of predictions, given as logarithms, from targets along `axis`.

    With `log_targets` the targets are logarithms too.

    Shapes: log_predictions (..., K, ...), targets the same, which broadcast, where to them, weight to the rows -> y (),
        or (..., ...) without reduction
    Math, of each of N rows:
        l  = sum_k t_k (log t_k - x_k)
        dx = -dl t,  dt = dl (log t - x + 1);  with u = log t given, du = t dt,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative target (not a logarithm), a negative
        weight, an `axis` that there is not, or another reduction; TypeError unless `where` is boolean.
    Source: Kullback and Leibler (1951). Conventions: optax's kl_divergence and kl_divergence_with_log_targets, which do not
        reduce. The mean is over the rows; torch's "mean" divides by the entries, its "batchmean" by the size of the first axis,
        which is this for matrices of one shape.
        0 log 0 is 0, and a target of 0 has the slope -x, that of what is left (JAX has NaN, the limit is infinite). A row
        without entries `where` does not count.

    >>> import numpy as np, purenet as pn
    >>> x, targets = np.log([[0.25, 0.75], [0.5, 0.5]]), np.array([[0.25, 0.75], [1.0, 0.0]])
    >>> np.exp(pn.kl_divergence(x, targets, reduction="none")).round(12)
    array([1., 2.])
    """
    name = "kl_divergence"
    by, along, (x, t) = rows_of(name, reduction, weight, where, axis, log_predictions=log_predictions, targets=targets)
    if log_targets:
        log_t, t = t, np.exp(t) if where is None else entrywise.where(where, np.exp(t), 0)
    elif (t < 0).any():
        raise ValueError(f"{name}: targets must be at least 0, got {t[t < 0][0]} (are they logarithms? see log_targets)")
    else:
        log_t = np.log(entrywise.where(t == 0, 1, t))
    return by.value(product(t, log_t - x).sum(axis=along)), (t, log_t - x, along, log_targets, by)


@kl_divergence.pullback
def kl_divergence_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    t, excess, along, log_targets, by = residuals
    dl = by.cotangent(dy, along)
    if log_targets:
        return of_arguments(by, -dl * t, dl * product(t, excess + 1))
    return of_arguments(by, -dl * t, dl * (excess + (t != 0)))


@Op
def vae_kl(
    mean: Array,
    log_var: Array,
    *,
    axis: Axis = -1,
    where: Mask = None,
    weight: Weight = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The divergence of normal distributions from the standard normal one: what the code of a variational autoencoder costs.

    `reparametrize` draws from the distributions of the same arguments.

    Shapes: mean (..., K, ...), log_var the same, which broadcast, where to them, weight to the rows -> y (),
        or (..., ...) without reduction
    Math, of each of N rows of means m and logarithms v of variances:
        l  = sum_k (m_k^2 + exp(v_k) - 1 - v_k) / 2
        dm = dl m,  dv = dl (exp(v) - 1) / 2,  dl = dy / N;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative weight, an `axis` that there is not, or
        another reduction; TypeError unless `where` is boolean.
    Source: Kingma and Welling, Auto-encoding variational Bayes (2014). Conventions: a sum over the axis of the code, as in the
        paper, and the mean over the rows; a mean over both makes the code cheaper. A row without entries `where` does not
        count.

    >>> import numpy as np, purenet as pn
    >>> pn.vae_kl(np.array([[3.0, 4.0], [0.0, 0.0]]), np.zeros((2, 2)), reduction="none")
    array([12.5,  0. ])
    """
    by, along, (m, v) = rows_of("vae_kl", reduction, weight, where, axis, mean=mean, log_var=log_var)
    with np.errstate(over="ignore"):  # the loss is infinite then
        excess = np.expm1(v)
        terms = 0.5 * (np.square(m) + (excess - v))
    return by.value(terms.sum(axis=along)), (m, excess, along, by)


@vae_kl.pullback
def vae_kl_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    m, excess, along, by = residuals
    dl = by.cotangent(dy, along)
    return of_arguments(by, dl * m, 0.5 * dl * excess)


@Op
def poisson_nll_loss(
    predictions: Array,
    targets: Array,
    *,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    weight: Weight = None,
    where: Mask = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The negative log-likelihood of counts under Poisson distributions, of which predictions are the logarithms of the means.

    Without `log_input` predictions are the means. `full` adds Stirling's approximation of log t! for targets above 1.

    Shapes: predictions (...), targets (...), which broadcast, weight and where to them -> y (), or (...) unreduced
    Math, of each of N entries:
        l  = exp(p) - t p, without log_input p - t log(p + eps);  full: + t log t - t + log(2 pi t)/2 where t > 1
        dp = dl (exp(p) - t), or dl (1 - t / (p + eps));  dt = -dl p, or -dl log(p + eps);  full: + dl (log t + 1/(2 t))
        dl = dy / N;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative mean, a negative eps or weight, or for
        another reduction; TypeError unless `where` is boolean.
    Source: Nelder and Wedderburn (1972). Conventions: torch's. Targets are differentiated like any number,
        and a target of 0 has a slope (torch with full: NaN). 0 log 0 is 0.

    >>> import numpy as np, purenet as pn
    >>> pn.poisson_nll_loss(np.array([0.0, 0.0]), np.array([0.0, 7.0]), reduction="none")
    array([1., 1.])
    """
    name = "poisson_nll_loss"
    eps = number(name, "eps", eps, low=0)
    by, (p, t) = paired(name, reduction, weight, where, predictions=predictions, targets=targets)
    if log_input:
        with np.errstate(over="ignore"):  # the loss is infinite then
            mean = np.exp(p)
        log_mean, slope = p, mean - t
    else:
        if (p < 0).any():
            raise ValueError(f"{name}: predictions must be at least 0 without log_input, got {p[p < 0][0]}")
        mean = p
        with np.errstate(divide="ignore"):
            log_mean, slope = np.log(p + eps), 1 - _quotient(t, p + eps)
    terms = mean - product(t, log_mean)
    dt = -log_mean
    if full:
        above = entrywise.where(t > 1, t, 1)
        terms += entrywise.where(t > 1, above * np.log(above) - above + 0.5 * np.log(2 * math.pi * above), 0)
        dt = dt + entrywise.where(t > 1, np.log(above) + 0.5 / above, 0)
    return by.value(terms), (slope, dt, by)


@poisson_nll_loss.pullback
def poisson_nll_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    slope, dt, by = residuals
    dl = by.cotangent(dy)
    return of_arguments(by, dl * slope, dl * dt)


@Op
def gaussian_nll_loss(
    predictions: Array,
    targets: Array,
    var: Array,
    *,
    full: bool = False,
    eps: float = 1e-6,
    weight: Weight = None,
    where: Mask = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The negative log-likelihood of targets under normal distributions with the predicted means and variances.

    Variances below `eps` count as eps. `full` adds the constant log(2 pi)/2.

    Shapes: predictions (..., K), targets the same, which broadcast, var the shape of predictions, with axes of size 1 for one
        variance of several entries, (...) for one of each row, or () for one of all; weight and where broadcast to all -> y (),
        or (..., K) without reduction
    Math, of each of N entries, with v = max(var, eps) and the error e = p - t:
        l    = (log v + e^2 / v) / 2
        dp   = dl e / v,  dt = -dp,  dvar = dl (v - e^2) / (2 v^2), 0 below eps and half of it at eps,  dl = dy / N
        dvar is summed over the entries of one variance;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes of predictions and targets do not broadcast or that of var does not fit, for a negative
        variance, eps or weight, or for another reduction; TypeError unless `where` is boolean.
    Source: Nix and Weigend (1994). Conventions: torch's, except that a variance below eps has the slope of what is computed, 0,
        and at eps half of it; torch has all of that at eps in both. As there, variances without the last axis are those of
        the rows, also where NumPy would make columns of them.

    >>> import numpy as np, purenet as pn
    >>> pn.gaussian_nll_loss(np.array([3.0, 1.0]), np.array([1.0, 1.0]), np.array([1.0, 1.0]), reduction="none")
    array([2., 0.])
    """
    name = "gaussian_nll_loss"
    eps = number(name, "eps", eps, low=0)
    one_each = _one_each(name, var, predictions)
    by, (p, t, v) = paired(name, reduction, weight, where, predictions=predictions, targets=targets, var=one_each)
    if (v < 0).any():
        raise ValueError(f"{name}: var must be at least 0, got {v[v < 0][0]}")
    above = entrywise.step(v - eps)
    v, error = by.counted(np.maximum(v, eps), 1), p - t
    value = by.value(0.5 * (np.log(v) + error * (error / v)) + full * (0.5 * math.log(2 * math.pi)))
    return value, (error, v, above, var.shape, by)


@gaussian_nll_loss.pullback
def gaussian_nll_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, Array, Array]:
    error, v, above, shape, by = residuals
    dl = by.cotangent(dy)
    derror = dl * (error / v)
    dpredictions, dtargets, dvar = of_arguments(by, derror, -derror, 0.5 * dl * above * ((1 - error * (error / v)) / v))
    return dpredictions, dtargets, dvar.reshape(shape)


def _one_each(op: str, var: Array, predictions: Array) -> Array:
    """The variances with every axis of the predictions, of size 1 where one variance belongs to several entries."""
    shape = predictions.shape
    given = var[..., None] if var.ndim and var.shape == shape[:-1] else var
    fits = len(given.shape) == len(shape) and all(n in (1, m) for n, m in zip(given.shape, shape, strict=True))
    if var.ndim and not fits:
        raise ValueError(
            f"{op}: var must have the shape of predictions {shape}, with or without its last axis, with sizes of 1, or (), "
            f"got {var.shape}"
        )
    return given


def _quotient(a: Array, b: Array) -> Array:
    """The quotient a / b, where 0 / 0 is 0: nothing was predicted and nothing happened."""
    return entrywise.where(a == 0, 0, a / entrywise.where((a == 0) & (b == 0), 1, b))
