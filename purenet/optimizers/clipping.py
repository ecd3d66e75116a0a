"""Transformations that shorten gradients that are too long."""

from __future__ import annotations

import math

import numpy as np

from purenet.checks import axes, number
from purenet.op import Array, Tree
from purenet.optimizers.norms import norm_of, norm_of_all, norms_along, times
from purenet.optimizers.transformation import GradientTransformation, Rule, leaves_of, stateless, working_dtype

__all__ = ["adaptive_grad_clip", "clip", "clip_by_block_rms", "clip_by_global_norm"]


def clip(max_delta: float) -> GradientTransformation:
    """Each entry brought to the interval [-max_delta, max_delta].

    Math:
        u = min(max(g, -max_delta), max_delta)
    State: nothing
    Errors: ValueError unless max_delta is finite and above 0.
    Source: optax.clip.

    >>> import numpy as np, purenet as pn
    >>> limit = pn.optimizers.clip(1.0)
    >>> limit.update(np.array([-3.0, 0.5]), limit.init(np.zeros(2)))[0]
    array([-1. ,  0.5])
    """
    limit = number("clip", "max_delta", max_delta, above=0)
    return stateless("clip", lambda grads: lambda g: (np.clip(g, -limit, limit),))


def clip_by_global_norm(max_norm: float, eps: float = 0.0) -> GradientTransformation:
    """All gradients together scaled to a norm of at most max_norm.

    Math, with N the root of the sum of the squares of all entries of the tree:
        u = g min(1, max_norm / (N + eps))
    State: nothing
    Errors: ValueError unless max_norm is finite and above 0, and eps finite and not negative.
    Source: Pascanu et al. (2013). Conventions: as optax; torch's clip_grad_norm_ and the book's clip_grads have eps=1e-6, so
        that a clipped gradient is a little shorter. A gradient with NaN or inf makes NaN of what it reaches, as in optax and
        torch: see `apply_if_finite`.

    >>> import numpy as np, purenet as pn
    >>> limit = pn.optimizers.clip_by_global_norm(1.0)
    >>> grads = {"w": np.array([3.0]), "b": np.array([4.0])}
    >>> limit.update(grads, limit.init(grads))[0]
    {'w': array([0.6]), 'b': array([0.8])}
    """
    who = "clip_by_global_norm"
    limit, eps = number(who, "max_norm", max_norm, above=0), number(who, "eps", eps, 0)

    def rule_for(grads: Tree) -> Rule:
        norm = norm_of_all(g.astype(working_dtype(g.dtype), copy=False) for g in leaves_of(who, "grads", grads)[0]) + eps
        factor = 1.0 if norm <= limit else limit / norm
        return lambda g: (times(g, factor),)

    return stateless(who, rule_for)


def clip_by_block_rms(threshold: float) -> GradientTransformation:
    """Each array scaled to a root mean square of at most threshold.

    Math, for each array of n entries with norm N:
        u = g min(1, threshold / (N / sqrt(n)))
    State: nothing
    Errors: ValueError unless the threshold is finite and above 0.
    Source: Shazeer and Stern (2018), section 6; optax.clip_by_block_rms.

    >>> import numpy as np, purenet as pn
    >>> limit = pn.optimizers.clip_by_block_rms(1.0)
    >>> grads = {"w": np.array([1.0, 7.0]), "b": np.array([0.5])}  # (1 + 49) / 2 = 5^2
    >>> limit.update(grads, limit.init(grads))[0]
    {'w': array([0.2, 1.4]), 'b': array([0.5])}
    """
    limit = number("clip_by_block_rms", "threshold", threshold, above=0)

    def rule(g: Array) -> tuple[Array]:
        rms = norm_of(g) / math.sqrt(max(g.size, 1))
        return (times(g, 1.0 if rms <= limit else limit / rms),)

    return stateless("clip_by_block_rms", lambda grads: rule, entrywise=False)


def adaptive_grad_clip(clipping: float, eps: float = 1e-3, axis: int | tuple[int, ...] | None = None) -> GradientTransformation:
    """Each unit's gradient scaled to at most the fraction `clipping` of the norm of its weights.

    Math, for each unit, with N the norm of its gradient and P that of its weights:
        u = g min(1, clipping max(P, eps) / N)
    A unit is what lies along `axis`. Without one: a vector, or what is one but for axes of length 1, is one unit; a matrix
    (inputs, outputs) has one in each column; an array of more axes (outputs, ...) one in each entry of the first axis.
    State: nothing
    Errors: ValueError unless clipping is finite and above 0, and eps finite and not negative; without `params`, or where an
        array lacks the axis.
    Source: Brock et al. (2021), section 4; optax.adaptive_grad_clip. Conventions: optax takes arrays of three axes as it
        takes matrices, and of four and five with outputs last, as Flax has them; ours are first, as in torch.

    >>> import numpy as np, purenet as pn
    >>> limit = pn.optimizers.adaptive_grad_clip(0.5)
    >>> w = np.array([[3.0, 0.0], [4.0, 1.0]])
    >>> limit.update(np.array([[0.0, 2.0], [5.0, 0.0]]), limit.init(w), w)[0]
    array([[0. , 0.5],
           [2.5, 0. ]])
    """
    who = "adaptive_grad_clip"
    clipping, eps = number(who, "clipping", clipping, above=0), number(who, "eps", eps, 0)

    def along(array: Array) -> tuple[int, ...]:
        if axis is not None:
            return axes(who, axis, array)
        if np.squeeze(array).ndim <= 1:
            return tuple(range(array.ndim))
        return (0,) if array.ndim == 2 else tuple(range(1, array.ndim))

    def rule(g: Array, p: Array) -> tuple[Array]:
        norms, limits = norms_along(g, along(g)), clipping * np.maximum(norms_along(p, along(p)), eps)
        return (times(g, np.divide(limits, norms, out=np.ones_like(norms), where=~(norms <= limits))),)

    return stateless(who, lambda grads: rule, read_params=True, entrywise=False)
