"""Optimizers that divide each entry of the gradient by the root of its squares so far."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from purenet.checks import boolean, booleans, number
from purenet.op import Array, Tree
from purenet.optimizers.transformation import GradientTransformation, Rule, by_rule, decay_rate, not_zero
from purenet.schedules import ScalarOrSchedule

__all__ = ["AdadeltaState", "AdagradState", "RmspropState", "adadelta", "adagrad", "rmsprop"]


class AdagradState(NamedTuple):
    """The number of updates made, and the sum of the squared gradients."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    sum_of_squares: Tree


class RmspropState(NamedTuple):
    """The number of updates made; decaying averages of the squares and, if centered, of the gradients; the velocity if any."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    nu: Tree
    mu: Tree = None
    trace: Tree = None


class AdadeltaState(NamedTuple):
    """The number of updates made, and decaying averages of the squares of the gradients and of the steps."""

    count: Array  # type: ignore[assignment]  # optax's name; it hides the method of tuple
    e_g: Tree
    e_x: Tree


def adagrad(
    learning_rate: ScalarOrSchedule,
    initial_accumulator_value: float = 0.1,
    eps: float = 1e-7,
    *,
    eps_in_sqrt: bool = True,
) -> GradientTransformation:
    """AdaGrad: the gradient over the root of the sum of all squares so far.

    Math, with the rate a_t of the t-th update, t = 0, 1, ..., and s_{-1} = initial_accumulator_value:
        s_t = s_{t-1} + g_t^2
        u_t = -a_t g_t / sqrt(s_t + eps),          without eps_in_sqrt: -a_t g_t / (sqrt(s_t) + eps)
    and 0 where s_t is 0.
    State: count, sum_of_squares
    Errors: ValueError for a negative or infinite rate, accumulator or eps.
    Source: Duchi et al. (2011). Conventions: the default is optax's and Keras's. The book's and torch's is
        initial_accumulator_value=0 and eps_in_sqrt=False, with eps=1e-7 and 1e-10; so is ONNX's, with eps=1e-6. For
        torch's lr_decay give `schedules.inverse_time_decay(rate, 1, lr_decay)`.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.adagrad(1.0, initial_accumulator_value=9.0, eps=0.0)
    >>> updates, state = opt.update(np.array([4.0]), opt.init(np.array([0.0])))
    >>> updates, state.sum_of_squares
    (array([-0.8]), array([25.]))
    """
    start = number("adagrad", "initial_accumulator_value", initial_accumulator_value, 0)
    eps = number("adagrad", "eps", eps, 0)
    boolean("adagrad", "eps_in_sqrt", eps_in_sqrt)

    def rule_at(t: int, rate: float) -> Rule:
        def rule(g: Array, s: Array) -> tuple[Array, Array]:
            s = s + g * g
            root = np.sqrt(s + eps) if eps_in_sqrt else np.sqrt(s) + eps
            return np.divide(-rate * g, root, out=np.zeros_like(g), where=s > 0), s

        return rule

    start_at = {"sum_of_squares": start}
    return by_rule("adagrad", AdagradState, learning_rate, rule_at, ("sum_of_squares",), start=start_at)


def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: float = 0.9,
    eps: float = 1e-8,
    initial_scale: float = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: float | None = None,
    nesterov: bool = False,
    bias_correction: bool = False,
    *,
    rate_in_velocity: bool = True,
) -> GradientTransformation:
    """RMSProp: the gradient over the root of the average squared gradient.

    Math, with the rate a_t of the t-th update, t = 1, 2, ... (a schedule gets the count t - 1), and nu_0 = initial_scale:
        nu_t = decay nu_{t-1} + (1 - decay) g_t^2          mu_t = decay mu_{t-1} + (1 - decay) g_t
        n = nu_t, if centered nu_t - mu_t^2;               with bias_correction both averages are divided by 1 - decay^t
        d = g_t / sqrt(n + eps),                           without eps_in_sqrt: g_t / (sqrt(n) + eps)
        u_t = -a_t d
    with a momentum m:
        v_t = m v_{t-1} - a_t d            u_t = v_t        with nesterov: u_t = m v_t - a_t d
    without rate_in_velocity:
        v_t = m v_{t-1} + d                u_t = -a_t v_t   with nesterov: u_t = -a_t (m v_t + d)
    State: count, nu; mu if centered; trace, which is v, with a momentum
    Errors: ValueError for a negative or infinite rate, eps or initial_scale, decay or momentum outside [0, 1), eps so small
        that float32 has it as 0, or nesterov without momentum.
    Source: Tieleman and Hinton (2012), lecture 6.5; centered after Graves (2013). Conventions: the default is optax's. torch
        has decay=0.99, eps_in_sqrt=False and rate_in_velocity=False; the book (Saito 2016) decay=0.99, eps=1e-7 and
        eps_in_sqrt=False; Keras eps=1e-7. A variance that rounding makes negative is 0 here, and NaN elsewhere. Centered and
        corrected, that of the first gradient is 0, and the first step as large as eps allows.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.rmsprop(1.0, decay=0.75)
    >>> updates, state = opt.update(np.array([3.0, 0.0]), opt.init(np.zeros(2)))
    >>> updates.round(6) + 0.0, state.nu
    (array([-2.,  0.]), array([2.25, 0.  ]))
    """
    who = "rmsprop"
    decay = decay_rate(who, "decay", decay)
    eps, start = number(who, "eps", eps, 0), number(who, "initial_scale", initial_scale, 0)
    not_zero(who, eps=eps)
    booleans(who, eps_in_sqrt=eps_in_sqrt, centered=centered, nesterov=nesterov)
    booleans(who, bias_correction=bias_correction, rate_in_velocity=rate_in_velocity)
    if nesterov and momentum is None:
        raise ValueError(f"{who}: nesterov=True needs a momentum")
    keep = None if momentum is None else decay_rate(who, "momentum", momentum)

    def rule_at(t: int, rate: float) -> Rule:
        share = 1 - decay**t if bias_correction else 1.0

        def rule(g: Array, nu: Array, *others: Array) -> tuple[Array, ...]:
            new = [decay * nu + (1 - decay) * (g * g)]
            n = new[0] / share
            if centered:
                new.append(decay * others[0] + (1 - decay) * g)
                n = np.maximum(n - np.square(new[1] / share), 0)
            step = g / (np.sqrt(n + eps) if eps_in_sqrt else np.sqrt(n) + eps)
            if keep is None or rate_in_velocity:
                step = -rate * step
            if keep is not None:
                new.append(keep * others[-1] + step)
                step = keep * new[-1] + step if nesterov else new[-1].copy()
                step = step if rate_in_velocity else -rate * step
            return step, *new

        return rule

    slots = ("nu", *(("mu",) if centered else ()), *(("trace",) if keep is not None else ()))
    return by_rule(who, RmspropState, learning_rate, rule_at, slots, start={"nu": start})


def adadelta(learning_rate: ScalarOrSchedule = 1.0, rho: float = 0.9, eps: float = 1e-6) -> GradientTransformation:
    """Adadelta: the gradient in units of past steps, the ratio of the roots of two averages.

    Math, with the rate a_t of the t-th update, t = 0, 1, ..., and both averages 0 before the first:
        eg_t = rho eg_{t-1} + (1 - rho) g_t^2
        d    = sqrt(ex_{t-1} + eps) / sqrt(eg_t + eps) * g_t
        ex_t = rho ex_{t-1} + (1 - rho) d^2
        u_t  = -a_t d
    State: count, e_g, e_x
    Errors: ValueError for a negative or infinite rate, rho outside [0, 1), or eps negative or 0 in float32.
    Source: Zeiler (2012); optax and torch. Conventions: the paper has no rate, which is 1; Keras's is 0.001 by default.

    >>> import numpy as np, purenet as pn
    >>> opt = pn.optimizers.adadelta(rho=0.75, eps=4.0)
    >>> updates, state = opt.update(np.array([8.0]), opt.init(np.array([0.0])))
    >>> updates.round(6), state.e_g
    (array([-3.577709]), array([16.]))
    """
    rho, eps = decay_rate("adadelta", "rho", rho), number("adadelta", "eps", eps, 0)
    not_zero("adadelta", eps=eps)

    def rule_at(t: int, rate: float) -> Rule:
        def rule(g: Array, e_g: Array, e_x: Array) -> tuple[Array, Array, Array]:
            e_g = rho * e_g + (1 - rho) * (g * g)
            step = np.sqrt(e_x + eps) / np.sqrt(e_g + eps) * g
            return -rate * step, e_g, rho * e_x + (1 - rho) * (step * step)

        return rule

    return by_rule("adadelta", AdadeltaState, learning_rate, rule_at, ("e_g", "e_x"))
