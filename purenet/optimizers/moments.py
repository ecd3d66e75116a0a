"""Adam and its relatives: the average gradient over the root of the average squared gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from purenet.checks import booleans, choice, number
from purenet.masks import Mask
from purenet.op import Array, Tree
from purenet.optimizers.adding import decayed_weights, with_decay
from purenet.optimizers.blocks import Writing
from purenet.optimizers.in_place import adam_in_place
from purenet.optimizers.norms import norm_of
from purenet.optimizers.transformation import GradientTransformation, Rule, Scaled, by_rule, decay_rate, not_zero
from purenet.schedules import ScalarOrSchedule

__all__ = ["AdamState", "adam", "adam_rule", "adamax", "adamw", "lamb", "radam"]


PLAIN = 10_000
"""Arrays of up to this many parameters use Adam's rule as it is written here.

Its measured time, in units of that of the rule that reuses memory: 1.1 to 1.2 up to 10,000 parameters in float64, 1.7 from
30,000 on, where new memory is most of the cost; in float32 1.2, and 1.6 at a million.
"""


class AdamState(NamedTuple):
    """The number of updates made, decaying averages of the gradients and of their squares, and with amsgrad their maximum."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    mu: Tree
    nu: Tree
    nu_max: Tree = None


def adam(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    *,
    nesterov: bool = False,
    amsgrad: Literal[False, True, "raw"] = False,
    epsilon_hat: bool = False,
) -> GradientTransformation:
    """Adam: the average gradient over the root of the average squared gradient, both corrected for their start at zero.

    Math, with the rate a_t of the t-th update, t = 1, 2, ... (a schedule gets the count t - 1):
        mu_t = b1 mu_{t-1} + (1 - b1) g_t           m = mu_t / (1 - b1^t)
        nu_t = b2 nu_{t-1} + (1 - b2) g_t^2         n = nu_t / (1 - b2^t)
        u_t  = -a_t m / (sqrt(n + eps_root) + eps),  with epsilon_hat: eps / sqrt(1 - b2^t) in place of eps
    with nesterov: m = b1 mu_t / (1 - b1^(t+1)) + (1 - b1) g_t / (1 - b1^t)
    with amsgrad:  n = the maximum of all n so far;  amsgrad="raw": n = that of all nu so far, / (1 - b2^t)
    State: count, mu, nu; with amsgrad, nu_max
    Errors: ValueError for a negative or infinite rate, b1 or b2 outside [0, 1), negative eps or eps_root, or both so small
        that float32 has them as 0, for then a zero gradient would be divided by zero.
    Source: Kingma and Ba (2015), algorithm 1; Dozat (2016) for nesterov; Reddi et al. (2018) for amsgrad. Conventions: the
        default is optax's and torch's. `epsilon_hat` is the order of computation that section 2 of the paper proposes,
        which the book, Keras and ONNX use: there eps joins before the correction, a_t sqrt(1 - b2^t) / (1 - b1^t) * mu_t /
        (sqrt(nu_t) + eps), so that at first it counts 1 / sqrt(1 - b2) times as much. Where a gradient is not much larger
        than eps, the step follows its size; above, only its sign. amsgrad=True is optax's, "raw" torch's and, with
        epsilon_hat, Keras's; the paper corrects nothing. For float16 and bfloat16 parameters mu and nu are float32.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.adam(0.1)
    >>> updates, state = opt.update(np.array([4.0, -0.25, 0.0]), opt.init(np.zeros(3)))
    >>> updates.round(6) + 0.0, state.mu.round(3)
    (array([-0.1,  0.1,  0. ]), array([ 0.4  , -0.025,  0.   ]))
    """
    rule_at = adam_rule("adam", b1, b2, eps, eps_root, nesterov, amsgrad, epsilon_hat)
    return by_rule("adam", AdamState, learning_rate, rule_at, _slots(amsgrad))


def adam_rule(
    who: str, b1: float, b2: float, eps: float, eps_root: float, nesterov: bool, amsgrad: object, epsilon_hat: bool
) -> Callable[[int, float], Rule]:
    """The rule of Adam at each count t, from 1, and rate."""
    b1, b2 = decay_rate(who, "b1", b1), decay_rate(who, "b2", b2)
    eps, eps_root = number(who, "eps", eps, 0), number(who, "eps_root", eps_root, 0)
    not_zero(who, eps=eps, eps_root=eps_root)
    choice(who, "amsgrad", amsgrad, (False, True, "raw"))
    booleans(who, nesterov=nesterov, epsilon_hat=epsilon_hat)

    def rule_at(t: int, rate: float) -> Rule:
        eps_t = eps / math.sqrt(1 - b2**t) if epsilon_hat else eps
        fast = partial(
            adam_in_place, t=t, rate=rate, b1=b1, b2=b2, eps=eps_t, eps_root=eps_root, nesterov=nesterov, amsgrad=amsgrad
        )

        def rule(g: Array, mu: Array, nu: Array, *nu_max: Array) -> Sequence[Array]:
            if g.size > PLAIN:
                return fast(g, mu, nu, *nu_max)
            mu = b1 * mu + (1 - b1) * g
            nu = b2 * nu + (1 - b2) * (g * g)
            m, n = mu / (1 - b1**t), nu / (1 - b2**t)
            if nesterov:
                m = b1 * mu / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
            if amsgrad == "raw":
                nu_max = (np.maximum(nu_max[0], nu),)
                n = nu_max[0] / (1 - b2**t)
            elif amsgrad:
                nu_max = (np.maximum(nu_max[0], n),)
                n = nu_max[0]
            return -rate * m / (np.sqrt(n + eps_root) + eps_t), mu, nu, *nu_max

        def into(results: Sequence[Array], g: Array, *old: Array) -> None:
            if g.size > PLAIN:
                fast(g, *old, results=results)
                return
            for result, array in zip(results, rule(g, *old), strict=True):
                result[...] = array

        return Writing(rule, into)

    return rule_at


def _slots(amsgrad: object) -> tuple[str, ...]:
    return ("mu", "nu", "nu_max") if amsgrad else ("mu", "nu")


def adamw(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Mask = None,
    *,
    nesterov: bool = False,
    amsgrad: Literal[False, True, "raw"] = False,
    epsilon_hat: bool = False,
) -> GradientTransformation:
    """AdamW: Adam's step, and beside it the weights decay, so that the decay is not scaled by the gradients.

    Math, with Adam's step d_t at rate 1, the rate a_t and the weights p:
        u_t = a_t (d_t - weight_decay * p)                 where `mask` is false: a_t d_t
    State: that of `optimizers.adam`
    Errors: as `optimizers.adam`; ValueError for a negative or infinite weight_decay, without `params`, or where the mask is
        not a tree like the parameters or a prefix of them; TypeError where the mask holds other things than booleans.
    Source: Loshchilov and Hutter (2019), algorithm 2. Conventions: as optax, torch and Keras the decay is scaled by the rate,
        in the paper only by its schedule. The default weight_decay is optax's; torch's is 1e-2, Keras's 4e-3.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.adamw(0.1, weight_decay=0.5, mask=lambda params: {"w": True, "b": False})
    >>> params = {"w": np.array([2.0]), "b": np.array([2.0])}
    >>> updates, state = opt.update({"w": np.array([0.0]), "b": np.array([0.0])}, opt.init(params), params)
    >>> pn.apply_updates(params, updates)
    {'w': array([1.9]), 'b': array([2.])}
    """
    rule_at = adam_rule("adamw", b1, b2, eps, eps_root, nesterov, amsgrad, epsilon_hat)
    slots, read = _slots(amsgrad), decayed_weights("adamw", weight_decay, mask, by_rate=True)
    return by_rule("adamw", AdamState, learning_rate, with_decay(rule_at, len(slots)), slots, read=read)


def lamb(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    eps_root: float = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    """LAMB: AdamW's step, in each array of parameters as long as the rate times the length of the parameters.

    Math, with AdamW's step d_t at rate 1, the rate a_t and the weights p, for each array:
        u_t = a_t |p| / |d_t| d_t                          where |p| or |d_t| is 0: a_t d_t
    State: that of `optimizers.adam`
    Errors: as `optimizers.adamw`; ValueError without `params`.
    Source: You et al. (2020), algorithm 2, with the identity for their function phi; optax.lamb.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.lamb(0.1)
    >>> params = np.array([3.0, 4.0])
    >>> updates, state = opt.update(np.array([1.0, 0.0]), opt.init(params), params)
    >>> updates.round(6) + 0.0
    array([-0.5,  0. ])
    """
    rule_at = with_decay(adam_rule("lamb", b1, b2, eps, eps_root, False, False, False), 2)
    decayed = decayed_weights("lamb", weight_decay, mask)

    def read(params: Tree, count: int) -> tuple[Tree | Scaled, ...]:
        if params is None:
            raise ValueError("lamb: params are needed: update(grads, state, params)")
        return params, *decayed(params, count)

    def scaled_at(t: int, rate: float) -> Rule:
        rule = rule_at(t, 1.0)

        def scaled(g: Array, p: Array, *others: Array) -> tuple[Array, ...]:
            step, *new = rule(g, *others)
            own, wanted = norm_of(step), norm_of(p)
            return step * (rate * wanted / own if own and wanted else rate), *new

        return scaled

    return by_rule("lamb", AdamState, learning_rate, scaled_at, ("mu", "nu"), read=read, entrywise=False)


def radam(
    learning_rate: ScalarOrSchedule,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    eps_root: float = 0.0,
    threshold: float = 5.0,
) -> GradientTransformation:
    """Rectified Adam: no division by the root of the squares before their average is of enough of them.

    Math, with m, n and the rate a_t of `optimizers.adam`, R = 2 / (1 - b2) - 1 and r_t = R - 2 t b2^t / (1 - b2^t):
        u_t = -a_t m                                       while r_t < threshold, then
        u_t = -a_t m / (sqrt(n + eps_root) + eps) * sqrt((r_t - 4) (r_t - 2) R / ((R - 4) (R - 2) r_t))
    State: count, mu, nu
    Errors: as `optimizers.adam`; ValueError for a threshold not above 4, where the variance is infinite.
    Source: Liu et al. (2020), algorithm 2; the threshold of 5 is that of optax and torch, 4 in the paper. Conventions: torch
        adds eps before the correction of n, as `epsilon_hat` of `optimizers.adam`.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.radam(0.5)
    >>> updates, state = opt.update(np.array([4.0, -0.25]), opt.init(np.zeros(2)))
    >>> updates.round(6)
    array([-2.   ,  0.125])
    """
    adam_at = adam_rule("radam", b1, b2, eps, eps_root, False, False, False)
    threshold = number("radam", "threshold", threshold, above=4)
    limit = 2 / (1 - b2) - 1

    def rule_at(t: int, rate: float) -> Rule:
        length = limit - 2 * t * b2**t / (1 - b2**t)
        if length >= threshold:
            return adam_at(t, rate * math.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)))

        def rule(g: Array, mu: Array, nu: Array) -> tuple[Array, Array, Array]:
            _, mu, nu = adam_at(t, rate)(g, mu, nu)
            return -rate / (1 - b1**t) * mu, mu, nu

        return rule

    return by_rule("radam", AdamState, learning_rate, rule_at, ("mu", "nu"))


def adamax(learning_rate: ScalarOrSchedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> GradientTransformation:
    """AdaMax: the average gradient over the largest gradient, which is forgotten slowly.

    Math, with the rate a_t of the t-th update, t = 1, 2, ... (a schedule gets the count t - 1):
        mu_t = b1 mu_{t-1} + (1 - b1) g_t
        nu_t = max(b2 nu_{t-1}, |g_t| + eps)
        u_t  = -a_t mu_t / (1 - b1^t) / nu_t
    State: count, mu, nu
    Errors: ValueError for a negative or infinite rate, b1 or b2 outside [0, 1), or eps negative or so small that float32 has
        it as 0.
    Source: Kingma and Ba (2015), algorithm 2, which has no eps; optax and torch. Conventions: Keras adds eps to nu_t instead.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.adamax(0.5)
    >>> updates, state = opt.update(np.array([4.0, 0.0]), opt.init(np.zeros(2)))
    >>> updates.round(6) + 0.0
    array([-0.5,  0. ])
    """
    b1, b2 = decay_rate("adamax", "b1", b1), decay_rate("adamax", "b2", b2)
    eps = number("adamax", "eps", eps, 0)
    not_zero("adamax", eps=eps)

    def rule_at(t: int, rate: float) -> Rule:
        def rule(g: Array, mu: Array, nu: Array) -> tuple[Array, Array, Array]:
            mu, nu = b1 * mu + (1 - b1) * g, np.maximum(b2 * nu, np.abs(g) + eps)
            return -rate / (1 - b1**t) * mu / nu, mu, nu

        return rule

    return by_rule("adamax", AdamState, learning_rate, rule_at, ("mu", "nu"))
