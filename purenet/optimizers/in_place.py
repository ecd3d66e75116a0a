"""Adam's rule for arrays of many parameters, where allocating memory takes more time than the arithmetic.

Every array that it returns is new, and no argument is written to. All intermediate results share one more array, `buffer`.
"""

from __future__ import annotations

import numpy as np

from purenet.op import Array

__all__ = ["adam_in_place"]


def adam_in_place(
    g: Array, mu: Array, nu: Array, *nu_max: Array, t: int, rate: float, b1: float, b2: float, eps: float, eps_root: float,
    nesterov: bool, amsgrad: object,
) -> tuple[Array, ...]:  # fmt: skip
    """The update, then the new mu, nu and, with amsgrad, nu_max: the results of the rule in `moments` up to rounding."""
    mu_share, nu_share = 1 - b1**t, 1 - b2**t
    buffer = (1 - b1) * g
    mu = b1 * mu
    mu += buffer
    np.multiply(g, g, out=buffer)
    buffer *= 1 - b2
    nu = b2 * nu
    nu += buffer
    np.divide(nu, nu_share, out=buffer)  # n
    if amsgrad == "raw":
        nu_max = (np.maximum(nu_max[0], nu),)
        np.divide(nu_max[0], nu_share, out=buffer)
    elif amsgrad:
        nu_max = (np.maximum(nu_max[0], buffer),)
        buffer[...] = nu_max[0]
    if eps_root:
        buffer += eps_root
    np.sqrt(buffer, out=buffer)
    buffer += eps  # what divides the step
    if nesterov:
        step = (-rate * b1 / (1 - b1 ** (t + 1))) * mu
        step += (-rate * (1 - b1) / mu_share) * g
    else:
        step = (-rate / mu_share) * mu
    step /= buffer
    return step, mu, nu, *nu_max
