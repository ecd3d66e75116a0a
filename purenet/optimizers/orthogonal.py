"""Muon: steps along the nearest orthogonal matrix to the average gradient."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import optree

from purenet.checks import boolean, integer, number
from purenet.masks import Mask
from purenet.op import Array, Tree
from purenet.optimizers.adding import decayed_weights, with_decay
from purenet.optimizers.combining import partition
from purenet.optimizers.moments import adamw
from purenet.optimizers.norms import norm_of
from purenet.optimizers.transformation import GradientTransformation, Rule, by_rule, decay_rate, not_zero
from purenet.schedules import ScalarOrSchedule

__all__ = ["MuonState", "muon"]


class MuonState(NamedTuple):
    """The number of updates made, and the decaying average of the gradients."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    mu: Tree


def muon(
    learning_rate: ScalarOrSchedule,
    ns_coeffs: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    ns_steps: int = 5,
    beta: float = 0.95,
    eps: float = 1e-8,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask = None,
    *,
    nesterov: bool = True,
    adam_b1: float = 0.9,
    adam_b2: float = 0.999,
    adam_eps_root: float = 0.0,
    adam_weight_decay: ScalarOrSchedule = 0.0,
    adam_learning_rate: ScalarOrSchedule | None = None,
    consistent_rms: float | None = None,
) -> GradientTransformation:
    """Muon: matrices step along the average gradient with all singular values brought near 1; all other arrays by AdamW.

    Math, with the rate a_t of the t-th update, t = 1, 2, ... (a schedule gets t - 1), for a matrix p (inputs, outputs):
        mu_t = beta mu_{t-1} + (1 - beta) g_t
        m    = mu_t / (1 - beta^t),  with nesterov: beta mu_t / (1 - beta^(t+1)) + (1 - beta) g_t / (1 - beta^t)
        X    = m / (|m| + eps);  ns_steps times: A = X X^T,  X <- c0 X + (c1 A + c2 A A) X,  with (c0, c1, c2) = ns_coeffs
        u_t  = -a_t (sqrt(max(1, outputs / inputs)) X + weight_decay p)
    with consistent_rms: sqrt(max(inputs, outputs)) consistent_rms in place of the first root
    State: inner_states, by label: "muon" with count and mu, "adam" that of `optimizers.adamw`
    Errors: as `optimizers.adamw`; ValueError for beta outside [0, 1), fewer than one step, a negative consistent_rms, or
        unless ns_coeffs are three numbers.
    Source: Jordan et al. (2024); optax.contrib.muon. Conventions: the sum of squares |m|^2 is that of all entries. Default
        coefficients bring singular values to about 0.7 to 1.2, not to 1. Adam's part takes eps, nesterov, and
        adam_learning_rate, or without one the same rate. Embeddings and the last layer are mostly left to Adam: see
        `partition`. torch.optim.Muon iterates in bfloat16, has no Adam beside, and corrects no average.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.muon(1.0, ns_coeffs=(1.5, -0.5, 0.0), ns_steps=20)
    >>> updates, state = opt.update(np.array([[3.0, 0.0], [0.0, 0.5]]), opt.init(np.zeros((2, 2))), np.zeros((2, 2)))
    >>> updates.round(6) + 0.0
    array([[-1.,  0.],
           [ 0., -1.]])
    """
    who = "muon"
    coefficients = _three(who, ns_coeffs)
    steps, beta = integer(who, "ns_steps", ns_steps, 1), decay_rate(who, "beta", beta)
    eps = number(who, "eps", eps, 0)
    not_zero(who, eps=eps)
    boolean(who, "nesterov", nesterov)
    decay_rate(who, "adam_b1", adam_b1)
    decay_rate(who, "adam_b2", adam_b2)
    number(who, "adam_eps_root", adam_eps_root, 0)
    if consistent_rms is not None:
        consistent_rms = number(who, "consistent_rms", consistent_rms, 0)
    for name, rate in (("adam_learning_rate", adam_learning_rate), ("adam_weight_decay", adam_weight_decay)):
        if not callable(rate) and not (rate is None and name == "adam_learning_rate"):
            number(who, name, rate, 0)

    def rule_at(t: int, rate: float) -> Rule:
        def rule(g: Array, mu: Array) -> tuple[Array, Array]:
            mu = beta * mu + (1 - beta) * g
            m = mu / (1 - beta**t)
            if nesterov:
                m = beta * mu / (1 - beta ** (t + 1)) + (1 - beta) * g / (1 - beta**t)
            inputs, outputs = g.shape
            size = math.sqrt(max(1.0, outputs / max(inputs, 1)))
            if consistent_rms is not None:
                size = math.sqrt(max(inputs, outputs)) * consistent_rms
            return -rate * size * _orthogonal(m, coefficients, steps, eps), mu

        return rule

    decay = decayed_weights(who, weight_decay, weight_decay_mask, by_rate=True)
    of_matrices = by_rule(who, MuonState, learning_rate, with_decay(rule_at), ("mu",), read=decay, entrywise=False)
    of_others = adamw(
        learning_rate if adam_learning_rate is None else adam_learning_rate,
        adam_b1, adam_b2, eps, adam_eps_root, adam_weight_decay, nesterov=nesterov,
    )  # fmt: skip

    def label(leaf: Array) -> str:
        return "muon" if np.ndim(leaf) == 2 else "adam"

    return partition({"muon": of_matrices, "adam": of_others}, lambda params: optree.tree_map(label, params))


def _orthogonal(m: Array, coefficients: tuple[float, ...], steps: int, eps: float) -> Array:
    """The Newton-Schulz iteration, which moves all singular values towards 1; on the shorter side of the matrix."""
    if m.shape[0] > m.shape[1]:
        return _orthogonal(m.T, coefficients, steps, eps).T
    c0, c1, c2 = coefficients
    x = m / (norm_of(m) + eps)
    for _ in range(steps):
        a = x @ x.T
        x = c0 * x + (c1 * a + c2 * (a @ a)) @ x
    return x


def _three(who: str, ns_coeffs: object) -> tuple[float, ...]:
    if not isinstance(ns_coeffs, tuple | list) or len(ns_coeffs) != 3:
        raise ValueError(f"{who}: ns_coeffs must be three numbers, got {ns_coeffs!r}")
    return tuple(number(who, f"ns_coeffs[{i}]", c) for i, c in enumerate(ns_coeffs))
