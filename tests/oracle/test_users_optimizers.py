"""Optimizers of users: right ones of every kind pass, and each planted mistake is named, beside its right twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import optax
import pytest

from oracle.row import Verdict
from oracle.trajectory.users_optimizers import verify_optimizer
from purenet import optimizers
from tests.oracle.learners_optimizers import (
    ADAM,
    ADAMW,
    L2,
    MOMENTUM,
    NESTEROV,
    SGD,
    WARM,
    AdaGrad,
    Adam,
    AdaMax,
    AnothersSlot,
    BookAdam,
    Coupled,
    Decoupled,
    FirstUncorrected,
    FromTwo,
    FromZero,
    Hat,
    InLists,
    Inside,
    Lion,
    Momentum,
    Moved,
    NegativeDecay,
    PerParameter,
    Remembering,
    Returning,
    RMSprop,
    Shared,
    Stuck,
    TooFast,
    Twice,
    Uncorrected,
    Unscaled,
    Uphill,
    WithoutEps,
    WithoutRoot,
    Written,
    descent,
    failing,
    kept,
    scaled,
    scheduled,
    warm,
)

STEPS, FEW_STEPS = 12, 6
"""The latest of these mistakes shows at step 10, most show at the first one."""

# --------------------------------------------------------------------------------------------- right ones


LION = optimizers.lion(0.01, weight_decay=0.0)

RIGHT = [
    ("adamax", AdaMax(), optax.adamax(0.01)),
    ("lion", Lion(), LION),
    ("the book's SGD", SGD(0.1), optax.sgd(0.1)),
    ("lists", InLists(0.1), optax.sgd(0.1)),
    ("remembers its parameters", Remembering(0.1), optax.sgd(0.1)),
    ("returns parameters", Returning(0.1), optax.sgd(0.1)),
    ("the book's Momentum", Momentum(0.1), MOMENTUM),
    ("the book's AdaGrad", AdaGrad(0.1), optimizers.adagrad(0.1, 0.0, 1e-7, eps_in_sqrt=False)),
    ("the book's RMSprop", RMSprop(), optax.rmsprop(0.01, 0.99, 1e-7, eps_in_sqrt=False)),
    ("the book's Adam", BookAdam(), optimizers.adam(1e-3, eps=1e-7, epsilon_hat=True)),
    ("a class", Adam, ADAM),
    ("decoupled", Decoupled(), ADAMW),
    ("coupled", Coupled(), L2),
    ("a function", descent(kept, scaled), MOMENTUM),
    ("a schedule", scheduled(), optax.sgd(WARM, momentum=0.9)),
    ("optax and purenet", optax.adam(WARM), optimizers.adam(warm)),
    ("purenet and optax", optimizers.lamb(0.01), optax.lamb(0.01)),
    ("without an own state", lambda params, grads: {k: p - 0.1 * grads[k] for k, p in params.items()}, optax.sgd(0.1)),
]


@pytest.mark.parametrize(("mine", "like"), [case[1:] for case in RIGHT], ids=[case[0] for case in RIGHT])
def test_a_right_optimizer_passes(mine: Any, like: Any) -> None:
    result = verify_optimizer(mine, like=like, steps=STEPS)
    assert result.passed, str(result)
    assert (result.first, result.diagnosis) == (None, "")
    assert {row.dtype for row in result.rows} == {"float64", "float32"}
    assert {row.parameter for row in result.rows} >= {f"params.{p}" for p in ("w1", "b1", "w2", "b2", "gain", "frozen")}
    assert {row.steps for row in result.rows} == {STEPS}


# --------------------------------------------------------------------------------------------- planted mistakes


WRONG = [
    ("no correction", Uncorrected, ADAM, (1, "params.b1"), "the bias correction is missing"),
    ("first uncorrected", FirstUncorrected, ADAM, (1, "params.b1"), "the first moment has no bias correction"),
    ("corrected twice", Twice, ADAM, (1, "params.b1"), "the bias correction is applied twice"),
    ("written", Written, ADAM, (1, "state.m.b1"), "the bias correction is written into the moments"),
    ("from 2", FromTwo, ADAM, (1, "params.b1"), "the bias correction begins with the count 2 instead of 1"),
    ("from 0", FromZero, ADAM, (1, "params.b1"), "the bias correction begins with the count 0 instead of 1"),
    ("counted per parameter", PerParameter, ADAM, (1, "state.t"), "the steps are counted once for each parameter"),
    ("never counted", Stuck, ADAM, (1, "state.t"), "the count of the bias correction never grows"),
    ("another's slot", AnothersSlot, ADAM, (1, "params.b2"), "b2 uses the second moment of b1"),
    ("shared", Shared, ADAM, (1, "state.m.b1"), "parameters of the same shape share one slot"),
    ("eps inside", Inside, ADAM, (1, "params.b1"), "eps is added inside the root"),
    ("eps before", Hat, ADAM, (1, "params.b1"), "eps is added to the root before the bias correction"),
    ("no eps", WithoutEps, ADAM, (1, "params.b1"), "eps is missing"),
    ("no root", WithoutRoot, ADAM, (1, "params.b1"), "the root of the second moment is missing"),
    ("uphill", Uphill, ADAM, (1, "params.b1"), "the step has the wrong sign"),
    ("too fast", TooFast, ADAM, (1, "params.b1"), "the learning rate is multiplied by 2"),
    ("another eps", BookAdam(), ADAM, (1, "params.b1"), "eps is 1e-07, not 1e-08, and eps is added to the root before"),
    ("decoupled", Decoupled, L2, (1, "state.m.b1"), "the weight decay is decoupled"),
    ("coupled", Coupled, ADAMW, (1, "state.m.b1"), "the weight decay is coupled"),
    ("moved", Moved, ADAMW, (1, "params.b1"), "the weight decay is that of the parameter after the step"),
    ("unscaled", Unscaled, ADAMW, (1, "params.b1"), "the weight decay is not multiplied by the learning rate"),
    ("no decay", Adam, ADAMW, (1, "params.b1"), "the weight decay is missing"),
    ("negative decay", NegativeDecay, ADAMW, (1, "params.b1"), "the weight decay has the wrong sign"),
    ("no largest", optax.adam(0.01), optax.amsgrad(0.01), (2, "params.b1"), "the second moment is the present one, as Adam's"),
    (
        "the raw largest",
        optimizers.adam(0.01, amsgrad="raw"),
        optax.amsgrad(0.01),
        (1, "state.nu_max.b1"),
        "the second moment is the largest so far, taken before the bias correction",
    ),
    ("adamax", AdaMax("uncorrected"), optax.adamax(0.01), (1, "params.b1"), "the bias correction is missing"),
    ("adamax's eps", AdaMax("outside"), optax.adamax(0.01), (2, "params.b1"), "eps is added to the largest gradient"),
    ("lion", Lion("stale"), LION, (1, "params.b1"), "the sign is that of the first moment alone"),
    ("lion, late", Lion("updated"), LION, (10, "params.w2"), "the sign is taken of the first moment after this gradient"),
    ("lion, no sign", Lion("no sign"), LION, (1, "params.b1"), "the sign is missing"),
    ("lion's b", optimizers.lion(0.01, 0.99, 0.9, 0.0), LION, (1, "state.mu.b1"), "b1 and b2 are exchanged"),
    (
        "nadam",
        optimizers.nadam(0.01),
        optimizers.nadam(0.01, momentum_decay=0.004),
        (1, "params.b1"),
        "b1 stays the same at all steps",
    ),
    ("no nesterov", Momentum(0.1), NESTEROV, (1, "params.b1"), "nesterov's look ahead is missing"),
    ("no momentum", SGD(0.1), MOMENTUM, (2, "params.b1"), "the momentum is missing"),
    (
        "rate twice",
        descent(lambda v, g, rate: 0.9 * v + rate * g, scaled, lambda t: 0.2),
        optax.sgd(0.2, momentum=0.9),
        (1, "params.b1"),
        "the learning rate is applied twice",
    ),
    (
        "no rate",
        descent(kept, lambda v, g, rate: v),
        MOMENTUM,
        (1, "params.b1"),
        "the velocity is added without the learning rate",
    ),
    (
        "damped",
        descent(lambda v, g, rate: 0.9 * v + 0.1 * g, scaled),
        MOMENTUM,
        (1, "params.b1"),
        "the gradient enters the velocity with the weight 1 - momentum",
    ),
    (
        "the rate of each step",
        descent(lambda v, g, rate: 0.9 * v + rate * g, lambda v, g, rate: v, warm),
        optax.sgd(WARM, momentum=0.9),
        (2, "params.b1"),
        "the velocity holds the learning rate of each of its steps",
    ),
    (
        "early",
        scheduled(1),
        optax.sgd(WARM, momentum=0.9),
        (1, "params.b1"),
        "is shifted by 1: step t has the rate of step t + 1",
    ),
    ("late", scheduled(-1), optax.sgd(WARM, momentum=0.9), (2, "params.b1"), "is shifted by -1"),
    ("no warm-up", scheduled(5), optax.sgd(WARM, momentum=0.9), (1, "params.b1"), "lacks its first part, the 5 steps"),
    ("no schedule", SGD(0.1), optax.sgd(WARM), (1, "params.b1"), "the learning rate is 0.1 at every step"),
    ("eps inside", AdaGrad(0.1), optimizers.adagrad(0.1, 0.0, 1e-7), (1, "params.b1"), "eps is added outside the root"),
    ("rms", RMSprop(), optax.rmsprop(0.01, 0.99, 1e-7), (1, "params.b1"), "eps is added outside the root"),
    (
        "unknown",
        descent(kept, lambda v, g, rate: rate * np.tanh(v)),
        MOMENTUM,
        (1, "params.b1"),
        "no known cause: another optimizer",
    ),
    (
        "sign, unknown rule",
        optimizers.radam(0.01),
        optax.chain(optax.radam(0.01), optax.scale(-1.0)),
        (1, "params.b1"),
        "wrong sign",
    ),
    (
        "factor, unknown rule",
        optax.radam(0.02),
        optax.radam(0.01),
        (1, "params.b1"),
        "the learning rate is multiplied by 2; the reference with this change",
    ),
    (
        "centered",
        optimizers.rmsprop(0.01, centered=True),
        optax.rmsprop(0.01),
        (1, "params.b1"),
        "the second moment is centered",
    ),
    (
        "corrected",
        optax.rmsprop(0.01, bias_correction=True),
        optax.rmsprop(0.01),
        (1, "params.b1"),
        "there is a bias correction",
    ),
    ("b1 and b2", optax.adam(1e-3, 0.999, 0.9), ADAM, (1, "state.mu.b1"), "b1 and b2 are exchanged"),
    (
        "biases without decay",
        optimizers.adamw(
            1e-3, weight_decay=0.01, mask={"w1": True, "b1": False, "w2": True, "b2": False, "gain": True, "frozen": True}
        ),
        ADAMW,
        (1, "params.b1"),
        "in b1 and b2 alone: the weight decay is missing",
    ),
    (
        "a slot",
        optimizers.lion(0.01, 0.9, 0.99 * (1 + 1e-5)),
        optax.lion(0.01, 0.9, 0.99),
        (1, "state.mu.b1"),
        "the state is not",
    ),
    ("unknown reference", SGD(0.1), optax.lamb(0.1), (1, "params.b1"), "none of the rules that are tried"),
]


@pytest.mark.parametrize(("mine", "like", "first", "says"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_mistake_is_named_at_the_first_step_and_slot(mine: Any, like: Any, first: tuple[int, str], says: str) -> None:
    steps = STEPS if first[0] > 1 or "step" in says else FEW_STEPS
    result = verify_optimizer(mine, like=like, dtypes=("float64",), steps=steps)
    assert not result.passed
    assert says in result.diagnosis
    assert result.first == first
    assert f"first at step {first[0]} in {first[1]}" in result.diagnosis
    assert first[1] in failing(result)
    assert {row.diagnosis for row in result.rows if row.verdict is Verdict.FAIL} == {result.diagnosis}
