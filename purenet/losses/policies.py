"""Losses of policies, such as language models: of preferences between two answers, and of advantages of actions."""

from __future__ import annotations

from typing import Any

import numpy as np

from purenet import entrywise
from purenet.checks import number
from purenet.losses.reductions import Mask, Weight, of_arguments, paired
from purenet.op import Array, Op

__all__ = ["clipped_surrogate_pg_loss", "dpo_loss"]


@Op
def dpo_loss(
    chosen_logps: Array,
    rejected_logps: Array,
    ref_chosen_logps: Array,
    ref_rejected_logps: Array,
    *,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    weight: Weight = None,
    where: Mask = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """Direct preference optimization: the log-likelihood of choosing the better of two answers, of which rewards are implied.

    The reward of an answer is beta times how far its log-probability has risen above that of the reference model. Give the
    reference's by keyword: then they are constants.

    Shapes: all four (...), which broadcast, and weight and where to them -> y (), or (...) unreduced
    Math, of each of N pairs, with the logarithms of probabilities c, r, of the reference c', r', b = beta, and the sigmoid s:
        l  = -(1 - e) log s(x) - e log s(-x),  x = b ((c - c') - (r - r')),  e = label_smoothing
        dc = dl b (e s(x) - (1 - e) s(-x)),  dr = dc' = -dc,  dr' = dc,  dl = dy / N
        reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative beta or weight, smoothing outside [0, 1],
        or for another reduction; TypeError unless `where` is boolean.
    Source: Rafailov et al. (2023); smoothing, where e is the rate of wrong labels, by Mitchell (2023). Conventions: TRL's, with
        loss_type="sigmoid"; log-probabilities are of whole answers, the sums of those of their tokens.

    >>> import numpy as np, purenet as pn
    >>> chosen, rejected = np.log([0.5, 0.25]), np.log([0.25, 0.75])
    >>> ref = {"ref_chosen_logps": np.log([0.25, 0.25]), "ref_rejected_logps": np.log([0.25, 0.25])}
    >>> np.exp(-pn.dpo_loss(chosen, rejected, **ref, beta=1.0, reduction="none")).round(12)
    array([0.66666667, 0.25      ])
    """
    name = "dpo_loss"
    beta, flipped = number(name, "beta", beta, low=0), number(name, "label_smoothing", label_smoothing, 0, 1)
    logps = {
        "chosen_logps": chosen_logps,
        "rejected_logps": rejected_logps,
        "ref_chosen_logps": ref_chosen_logps,
        "ref_rejected_logps": ref_rejected_logps,
    }
    by, (chosen, rejected, ref_chosen, ref_rejected) = paired(name, reduction, weight, where, **logps)
    x = beta * ((chosen - ref_chosen) - (rejected - ref_rejected))
    e = entrywise.falling(x)
    right, wrong = entrywise.sigmoids_of(x, e)
    terms = (1 - flipped) * entrywise.at_least(-x, 0) + flipped * entrywise.at_least(x, 0) + np.log1p(e)
    return by.value(terms), (beta * (flipped * right - (1 - flipped) * wrong), by)


@dpo_loss.pullback
def dpo_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    slope, by = residuals
    dchosen = by.cotangent(dy) * slope
    return of_arguments(by, dchosen, -dchosen, -dchosen, dchosen.copy())


@Op
def clipped_surrogate_pg_loss(
    prob_ratios: Array,
    advantages: Array,
    *,
    epsilon: float = 0.2,
    weight: Weight = None,
    where: Mask = None,
    reduction: str = "mean",
) -> tuple[Array, Any]:
    """The clipped objective of PPO (and GRPO): no reward for moving a probability further than by a factor of 1 +- epsilon.

    The ratio is the probability of an action by the policy over that at which it was drawn, exp(log p - log q). Give the
    advantages by keyword: then they are constants.

    Shapes: prob_ratios (...), advantages (...), which broadcast, weight and where to them -> y (), or (...) unreduced
    Math, of each of N actions, with the ratio r, the advantage a, and e = epsilon:
        l  = -min(r a, clip(r, 1 - e, 1 + e) a) = -a c,  c = min(r, 1 + e) where a > 0, max(r, 1 - e) where a < 0
        dr = -dl a h,  h = [r < 1 + e] where a > 0, [r > 1 - e] where a < 0, 1/2 at the bound
        da = -dl c, where a = 0 with the mean of both c,  dl = dy / N;  reduction "sum" has no 1/N, "none" no sum either
    Errors: ValueError where the shapes do not broadcast, for a negative epsilon or weight, or for another
        reduction; TypeError unless `where` is boolean.
    Source: Schulman et al., Proximal policy optimization (2017). Conventions: rlax's, which takes the mean over a sequence, and
        by default advantages as constants. At a bound half of the slope where there is a corner; JAX's minimum of two products
        has 3/4 there, also where a has the other sign and there is none.

    >>> import numpy as np, purenet as pn
    >>> ratios, advantages = np.array([1.5, 1.5, 0.5, 0.5]), np.array([1.0, -1.0, 1.0, -1.0])
    >>> pn.clipped_surrogate_pg_loss(ratios, advantages, epsilon=0.25, reduction="none")
    array([-1.25,  1.5 , -0.5 ,  0.75])
    """
    name = "clipped_surrogate_pg_loss"
    epsilon = number(name, "epsilon", epsilon, low=0)
    by, (r, a) = paired(name, reduction, weight, where, prob_ratios=prob_ratios, advantages=advantages)
    low, high = 1 - epsilon, 1 + epsilon
    c = _by_sign(a, entrywise.at_most(r, high), entrywise.at_least(r, low))
    slope = a * _by_sign(a, entrywise.step(high - r), entrywise.step(r - low))
    return by.value(-a * c), (slope, c, by)


@clipped_surrogate_pg_loss.pullback
def clipped_surrogate_pg_loss_bwd(residuals: Any, dy: Array) -> tuple[Array, ...]:
    slope, c, by = residuals
    dl = by.cotangent(dy)
    return of_arguments(by, -dl * slope, -dl * c)


def _by_sign(a: Array, above: Array, below: Array) -> Array:
    """One number where a is above 0, another where it is below, the mean of both at 0."""
    return entrywise.where(a > 0, above, entrywise.where(a < 0, below, (above + below) / 2))
