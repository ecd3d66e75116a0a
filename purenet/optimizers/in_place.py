"""Adam's rule for arrays of many parameters, where allocating memory takes more time than the arithmetic.

No argument is written to. All intermediate results share the array of the step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from purenet.op import Array

__all__ = ["adam_in_place"]

SMALLEST = 1e-37
"""A smaller eps is left as it is: times the root of 1 - b2^t, which is 0.03 in the first step, it could be 0 in float32."""


def adam_in_place(
    g: Array, mu: Array, nu: Array, *nu_max: Array, t: int, rate: float, b1: float, b2: float, eps: float, eps_root: float,
    nesterov: bool, amsgrad: object, results: Sequence[Array] | None = None,
) -> Sequence[Array]:  # fmt: skip
    """The update, then the new mu, nu and, with amsgrad, nu_max: the results of the rule in `moments` up to rounding.

    They are new arrays, or those of `results`.
    """
    found = [np.empty_like(g) for _ in range(3 + len(nu_max))] if results is None else results
    mu_share, nu_share = 1 - b1**t, 1 - b2**t
    buffer, new_mu, new_nu = found[:3]
    np.multiply(g, 1 - b1, out=buffer)
    np.multiply(mu, b1, out=new_mu)
    new_mu += buffer
    np.multiply(g, g, out=buffer)
    buffer *= 1 - b2
    np.multiply(nu, b2, out=new_nu)
    new_nu += buffer
    # sqrt(n), with n = squares / nu_share, is sqrt(squares) / root: a factor of all entries, which joins the rate.
    squares, root = new_nu, math.sqrt(nu_share)
    if amsgrad == "raw":
        squares = np.maximum(nu_max[0], new_nu, out=found[3])
    elif amsgrad:
        np.divide(new_nu, nu_share, out=buffer)
        squares, root = np.maximum(nu_max[0], buffer, out=found[3]), 1.0
    if root < 1 and max(eps * root, eps_root * nu_share) < SMALLEST:
        squares, root = np.divide(squares, nu_share, out=buffer), 1.0
    if eps_root:
        squares = np.add(squares, eps_root * root**2, out=buffer)
    np.sqrt(squares, out=buffer)
    buffer += eps * root  # what divides the step
    if nesterov:
        step = (b1 / (1 - b1 ** (t + 1))) * new_mu
        step += ((1 - b1) / mu_share) * g
        np.divide(step, buffer, out=buffer)
        buffer *= -rate * root
    else:
        np.divide(new_mu, buffer, out=buffer)
        buffer *= -rate * root / mu_share
    return found
