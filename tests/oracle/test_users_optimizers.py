"""Optimizers of users: right ones of every kind pass, and each planted mistake is named, beside its right twin."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optax
import pytest

import oracle
from oracle.row import Verdict
from oracle.trajectory import Trajectory
from oracle.trajectory.users_optimizers import verify_optimizer
from oracle.trajectory.users_schedules import verify_schedule
from purenet import optimizers

ROOT = Path(__file__).parents[2]

# ------------------------------------------------------------------------------------------- optimizers as learners write them


class SGD:
    """As in the book."""

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr

    def update(self, params: Any, grads: Any) -> None:
        for key in params:
            params[key] -= self.lr * grads[key]


class Momentum:
    """As in the book: the velocity holds the rate and the sign."""

    def __init__(self, lr: float = 0.01, momentum: float = 0.9) -> None:
        self.lr = lr
        self.momentum = momentum
        self.v: Any = None

    def update(self, params: Any, grads: Any) -> None:
        if self.v is None:
            self.v = {key: np.zeros_like(value) for key, value in params.items()}
        for key in params:
            self.v[key] = self.momentum * self.v[key] - self.lr * grads[key]
            params[key] += self.v[key]


class AdaGrad:
    """As in the book."""

    def __init__(self, lr: float = 0.01) -> None:
        self.lr = lr
        self.h: Any = None

    def update(self, params: Any, grads: Any) -> None:
        if self.h is None:
            self.h = {key: np.zeros_like(value) for key, value in params.items()}
        for key in params:
            self.h[key] += grads[key] * grads[key]
            params[key] -= self.lr * grads[key] / (np.sqrt(self.h[key]) + 1e-7)


class RMSprop:
    """As in the book."""

    def __init__(self, lr: float = 0.01, decay_rate: float = 0.99) -> None:
        self.lr = lr
        self.decay_rate = decay_rate
        self.h: Any = None

    def update(self, params: Any, grads: Any) -> None:
        if self.h is None:
            self.h = {key: np.zeros_like(value) for key, value in params.items()}
        for key in params:
            self.h[key] *= self.decay_rate
            self.h[key] += (1 - self.decay_rate) * grads[key] * grads[key]
            params[key] -= self.lr * grads[key] / (np.sqrt(self.h[key]) + 1e-7)


class BookAdam:
    """As in the book: eps joins the root before the correction."""

    def __init__(self, lr: float = 0.001, beta1: float = 0.9, beta2: float = 0.999) -> None:
        self.lr, self.beta1, self.beta2, self.iter = lr, beta1, beta2, 0
        self.m: Any = None
        self.v: Any = None

    def update(self, params: Any, grads: Any) -> None:
        if self.m is None:
            self.m, self.v = {}, {}
            for key, value in params.items():
                self.m[key], self.v[key] = np.zeros_like(value), np.zeros_like(value)
        self.iter += 1
        lr_t = self.lr * np.sqrt(1.0 - self.beta2**self.iter) / (1.0 - self.beta1**self.iter)
        for key in params:
            self.m[key] += (1 - self.beta1) * (grads[key] - self.m[key])
            self.v[key] += (1 - self.beta2) * (grads[key] ** 2 - self.v[key])
            params[key] -= lr_t * self.m[key] / (np.sqrt(self.v[key]) + 1e-7)


class InLists:
    """As in the second volume of the book: lists of parameters and gradients."""

    def __init__(self, lr: float) -> None:
        self.lr = lr

    def update(self, params: Any, grads: Any) -> None:
        for i in range(len(params)):
            params[i] -= self.lr * grads[i]


class Remembering(SGD):
    """Writes into the parameters of its first call, which a training gives it again."""

    def __init__(self, lr: float) -> None:
        super().__init__(lr)
        self.params: Any = None

    def update(self, params: Any, grads: Any) -> None:
        self.params = self.params or list(params.values())
        for p, g in zip(self.params, grads.values(), strict=True):
            p -= self.lr * g


class Returning(SGD):
    """Returns new parameters."""

    def update(self, params: Any, grads: Any) -> Any:  # type: ignore[override]
        return {key: p - self.lr * grads[key] for key, p in params.items()}


class Adam:
    """Adam, with the parts of its formula as methods, in which mistakes are planted."""

    first, decay = 1, 0.0

    def __init__(self) -> None:
        self.t = self.first - 1
        self.m: dict[str, Any] = {}
        self.v: dict[str, Any] = {}

    def update(self, params: Any, grads: Any) -> None:
        self.t += 1
        for key, p in params.items():
            m, v = self.m.setdefault(key, np.zeros_like(p)), self.v.setdefault(key, np.zeros_like(p))
            g = self.decayed(grads[key], p)
            m[...], v[...] = 0.9 * m + 0.1 * g, 0.999 * v + (1 - 0.999) * g * g
            self.move(p, self.step(key, m, v))

    def decayed(self, g: Any, p: Any) -> Any:
        return g

    def step(self, key: str, m: Any, v: Any) -> Any:
        return self.ratio(m / (1 - 0.9**self.t), v / (1 - 0.999**self.t))

    def ratio(self, m: Any, v: Any) -> Any:
        return m / (np.sqrt(v) + 1e-8)

    def move(self, p: Any, step: Any) -> None:
        p -= 1e-3 * step


class Uncorrected(Adam):
    def step(self, key: str, m: Any, v: Any) -> Any:
        return self.ratio(m, v)


class FirstUncorrected(Adam):
    def step(self, key: str, m: Any, v: Any) -> Any:
        return self.ratio(m, v / (1 - 0.999**self.t))


class Twice(Adam):
    def step(self, key: str, m: Any, v: Any) -> Any:
        return self.ratio(m / (1 - 0.9**self.t) ** 2, v / (1 - 0.999**self.t) ** 2)


class Written(Adam):
    def step(self, key: str, m: Any, v: Any) -> Any:
        m /= 1 - 0.9**self.t
        v /= 1 - 0.999**self.t
        return self.ratio(m, v)


class FromTwo(Adam):
    first = 2


class FromZero(Adam):
    first = 0


class PerParameter(Adam):
    def step(self, key: str, m: Any, v: Any) -> Any:
        step = super().step(key, m, v)
        self.t += key != "frozen"  # the last one is counted by the next update
        return step


class Stuck(Adam):
    def update(self, params: Any, grads: Any) -> None:
        super().update(params, grads)
        self.t = 0


class AnothersSlot(Adam):
    def step(self, key: str, m: Any, v: Any) -> Any:
        return super().step(key, m, self.v.get({"b2": "b1"}.get(key, key), v))


class Shared(Adam):
    """One array for all parameters of a shape."""

    def __init__(self) -> None:
        super().__init__()
        self.of_shape: dict[Any, Any] = {}

    def update(self, params: Any, grads: Any) -> None:
        for key, p in params.items():
            self.m[key], self.v[key] = self.of_shape.setdefault(p.shape, (np.zeros_like(p), np.zeros_like(p)))
        super().update(params, grads)


class Inside(Adam):
    def ratio(self, m: Any, v: Any) -> Any:
        return m / np.sqrt(v + 1e-8)


class Hat(Adam):
    def step(self, key: str, m: Any, v: Any) -> Any:
        return m / (1 - 0.9**self.t) / ((np.sqrt(v) + 1e-8) / np.sqrt(1 - 0.999**self.t))


class WithoutEps(Adam):
    def ratio(self, m: Any, v: Any) -> Any:
        with np.errstate(all="ignore"):
            return m / np.sqrt(v)


class WithoutRoot(Adam):
    def ratio(self, m: Any, v: Any) -> Any:
        return m / (v + 1e-8)


class Uphill(Adam):
    def move(self, p: Any, step: Any) -> None:
        p += 1e-3 * step


class TooFast(Adam):
    def move(self, p: Any, step: Any) -> None:
        p -= 2e-3 * step


class AdaMax:
    """As in the paper, with the eps of optax; `kind` is a mistake."""

    def __init__(self, kind: str = "") -> None:
        self.kind, self.t = kind, 0
        self.mu: Any = {}
        self.nu: Any = {}

    def update(self, params: Any, grads: Any) -> None:
        self.t += 1
        for key, g in grads.items():
            self.mu[key] = 0.9 * self.mu.get(key, 0.0) + 0.1 * g
            before = 0.999 * self.nu.get(key, np.zeros_like(g))
            self.nu[key] = np.maximum(before, np.abs(g) + (0.0 if self.kind == "outside" else 1e-8))
            corrected = self.mu[key] / (1.0 if self.kind == "uncorrected" else 1 - 0.9**self.t)
            params[key] -= 0.01 * corrected / (self.nu[key] + (1e-8 if self.kind == "outside" else 0.0))


class Lion:
    """As in the paper, without decay; `kind` is a mistake."""

    def __init__(self, kind: str = "") -> None:
        self.kind = kind
        self.mu: Any = {}

    def update(self, params: Any, grads: Any) -> None:
        for key, g in grads.items():
            before = self.mu.get(key, np.zeros_like(g))
            self.mu[key] = 0.99 * before + 0.01 * g
            blended = {"stale": before, "updated": 0.9 * self.mu[key] + 0.1 * g}.get(self.kind, 0.9 * before + 0.1 * g)
            params[key] -= 0.01 * (blended if self.kind == "no sign" else np.sign(blended))


class Decoupled(Adam):
    def move(self, p: Any, step: Any) -> None:
        p -= 1e-3 * (step + 0.01 * p)


class Coupled(Adam):
    def decayed(self, g: Any, p: Any) -> Any:
        return g + 0.01 * p


class Moved(Adam):
    def move(self, p: Any, step: Any) -> None:
        p -= 1e-3 * step
        p -= 1e-3 * 0.01 * p


class Unscaled(Adam):
    def move(self, p: Any, step: Any) -> None:
        p -= 1e-3 * step + 0.01 * p


class NegativeDecay(Adam):
    def move(self, p: Any, step: Any) -> None:
        p -= 1e-3 * (step - 0.01 * p)


def descent(velocity: Callable[..., Any], step: Callable[..., Any], rate: Callable[[int], float] = lambda t: 0.1) -> Any:
    """A function `step(params, grads, state)` with a velocity."""

    def update(params: Any, grads: Any, state: Any) -> Any:
        t, v = state or (0, {key: np.zeros_like(p) for key, p in params.items()})
        v = {key: velocity(v[key], grads[key], rate(t)) for key in params}
        return {key: p - step(v[key], grads[key], rate(t)) for key, p in params.items()}, (t + 1, v)

    return update


def kept(v: Any, g: Any, rate: float) -> Any:
    return 0.9 * v + g


def scaled(v: Any, g: Any, rate: float) -> Any:
    return rate * v


ADAM, ADAMW = optax.adam(1e-3), optax.adamw(1e-3, weight_decay=0.01)
L2 = optax.chain(optax.add_decayed_weights(0.01), optax.adam(1e-3))
MOMENTUM, NESTEROV = optax.sgd(0.1, momentum=0.9), optax.sgd(0.1, momentum=0.9, nesterov=True)
WARM = optax.warmup_cosine_decay_schedule(0.0, 0.1, 5, 40)


def warm(t: int) -> float:
    return 0.1 * t / 5 if t < 5 else 0.05 * (1 + np.cos(np.pi * (t - 5) / 35))


def scheduled(shift: int = 0) -> Any:
    return descent(kept, scaled, lambda t: warm(max(t + shift, 0)))


def failing(result: Trajectory) -> set[str]:
    return {row.parameter for row in result.rows if row.verdict is Verdict.FAIL}


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
    result = verify_optimizer(mine, like=like)
    assert result.passed, str(result)
    assert (result.first, result.diagnosis) == (None, "")
    assert {row.dtype for row in result.rows} == {"float64", "float32"}
    assert {row.parameter for row in result.rows} >= {f"params.{p}" for p in ("w1", "b1", "w2", "b2", "gain", "frozen")}
    assert {row.steps for row in result.rows} == {20}


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
    result = verify_optimizer(mine, like=like, dtypes=("float64",))
    assert not result.passed
    assert says in result.diagnosis
    assert result.first == first
    assert f"first at step {first[0]} in {first[1]}" in result.diagnosis
    assert first[1] in failing(result)
    assert {row.diagnosis for row in result.rows if row.verdict is Verdict.FAIL} == {result.diagnosis}


# ------------------------------------------------------------------------------------------------- rows


def row_of(result: Trajectory, parameter: str, dtype: str = "float64") -> Any:
    return next(row for row in result.rows if (row.parameter, row.dtype) == (parameter, dtype))


def test_a_row_has_the_values_of_the_first_step_that_differs() -> None:
    result = verify_optimizer(SGD(0.1), like=optax.sgd(0.1, momentum=0.9), dtypes=("float64",))
    row = row_of(result, "params.w1")
    assert (row.verdict, row.at_step, row.first_autodiff, row.shape) == (Verdict.FAIL, 2, 2, (3, 4))
    assert "after step 2 at params.w1" in str(result)
    assert "yours" in str(result)
    assert "dy" not in str(result)
    with pytest.raises(AssertionError, match="the momentum is missing"):
        result.raise_for_failures()
    assert not result


def test_what_never_moves_by_right_says_so() -> None:
    assert (
        row_of(verify_optimizer(Adam, like=ADAM), "params.frozen").diagnosis
        == "its gradient is zero: it must not move, and does not"
    )
    decayed = verify_optimizer(Decoupled, like=ADAMW)
    assert row_of(decayed, "params.frozen").diagnosis == ""  # a decay moves it
    slow = verify_optimizer(SGD(1e-4), like=optax.sgd(1e-4))
    assert row_of(slow, "params.b2").verdict is Verdict.PASS
    assert row_of(slow, "params.b2", "float32").diagnosis == "its steps are smaller than a rounding of this dtype"


def test_where_nothing_moves_nothing_was_checked() -> None:
    result = verify_optimizer(SGD(0.0), like=optax.sgd(0.0), dtypes=("float64",))
    assert not result.passed
    assert row_of(result, "params.w1").verdict is Verdict.VACUOUS


def test_a_parameter_that_never_moves_is_a_row() -> None:
    class Forgetful(SGD):
        def update(self, params: Any, grads: Any) -> None:
            super().update({key: p for key, p in params.items() if key != "w2"}, grads)

    result = verify_optimizer(Forgetful(0.1), like=optax.sgd(0.1))
    assert failing(result) == {"params.w2"}
    assert "first at step 1 in params.w2, which never moves" in result.diagnosis


@pytest.mark.parametrize(
    ("mine", "like", "note"),
    [
        (
            Momentum(0.1),
            MOMENTUM,
            "v is always -0.1 times the reference's trace (it holds the learning rate), so the parameters alone decide",
        ),
        (
            MOMENTUM,
            optimizers.momentum(0.1, rate_in_velocity=True),
            "trace is always -10 times the reference's velocity (that holds the learning rate), so the parameters alone decide",
        ),
        (Adam, ADAM, ""),
    ],
    ids=["rate and sign in the velocity", "in the reference's", "the same convention"],
)
def test_a_slot_in_another_convention_is_a_note(mine: Any, like: Any, note: str) -> None:
    result = verify_optimizer(mine, like=like)
    assert result.passed
    assert {row.note for row in result.rows} == {note}
    assert any(row.parameter.startswith("state.") for row in result.rows) is not bool(note)


def test_a_velocity_that_holds_the_rate_is_not_called_wrong_where_the_steps_are() -> None:
    result = verify_optimizer(Momentum(0.1, momentum=0.8), like=MOMENTUM, dtypes=("float64",))
    assert failing(result) == {f"params.{p}" for p in ("w1", "b1", "w2", "b2", "gain")}
    assert result.diagnosis.startswith("b1 (the momentum) is 0.8, not 0.9")
    assert "first at step 2 in params.b1" in result.diagnosis
    note = "v begins as -0.1 times the reference's trace (it holds the learning rate), so the parameters alone decide"
    assert {row.note for row in result.rows} == {note}


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [
        (optax.amsgrad(0.01), "adam, rate 0.01, b1 0.9, b2 0.999, eps 1e-08, amsgrad"),
        (optimizers.adam(0.01, amsgrad="raw"), "adam, rate 0.01, b1 0.9, b2 0.999, eps 1e-08, amsgrad"),
        (optax.adamax(0.01), "adamax, rate 0.01, b1 0.9, b2 0.999, eps 1e-08"),
        (optax.lion(0.01), "lion, rate 0.01, b1 0.9, b2 0.99, weight_decay 0.001"),
        (optax.nadam(0.01), "adam, rate 0.01, b1 0.9, b2 0.999, eps 1e-08, nesterov"),
        (optimizers.nadam(0.01, momentum_decay=0.004), "eps 1e-08, momentum_decay 0.004, nesterov"),
    ],
    ids=["amsgrad", "raw amsgrad", "adamax", "lion", "nadam", "torch's nadam"],
)
def test_the_reference_is_recognized(optimizer: Any, told: str) -> None:
    result = verify_optimizer(optimizer, like=optimizer, dtypes=("float64",))
    assert result.passed
    assert all(told in row.reference for row in result.rows)


def test_a_count_that_begins_elsewhere_is_a_note() -> None:
    class Later(Adam):
        """Counts the updates to come."""

        def __init__(self) -> None:
            super().__init__()
            self.t = 1

        def update(self, params: Any, grads: Any) -> None:
            self.t -= 1
            super().update(params, grads)
            self.t += 1

    result = verify_optimizer(Later, like=ADAM, dtypes=("float64",))
    assert result.passed
    assert {row.note for row in result.rows} == {"t is always +1 from the reference's count, so the parameters alone decide"}


def test_the_same_call_gives_the_same_rows_and_another_seed_others() -> None:
    def values(seed: int) -> list[Any]:
        return [row.analytic for row in verify_optimizer(SGD(0.1), like=optimizers.sgd(0.1), seed=seed).rows]

    assert values(0) == values(0)
    assert values(0) != values(1)


def test_parameters_of_ones_own() -> None:
    params = {"layer": np.full((2, 2), 3.0), "bias": np.array([0.5])}
    result = verify_optimizer(SGD(0.1), like=optax.sgd(0.1), params=params, dtypes=("float64",))
    assert result.passed
    assert {row.parameter for row in result.rows} == {"params.layer", "params.bias"}
    assert params["layer"].tolist() == [[3.0, 3.0], [3.0, 3.0]]
    listed = verify_optimizer(InLists(0.2), like=optax.sgd(0.1), params=[np.ones(3), np.ones(2)], dtypes=("float64",))
    assert failing(listed) == {"params.0", "params.1"}


def test_one_array_at_a_time_as_in_a_course() -> None:
    def sgd_momentum(w: Any, dw: Any, config: Any = None) -> Any:
        config = config or {"learning_rate": 0.1, "momentum": 0.9}
        v = config.get("velocity", np.zeros_like(w))
        config["velocity"] = config["momentum"] * v - config["learning_rate"] * dw
        return w + config["velocity"], config

    right = verify_optimizer(sgd_momentum, like=MOMENTUM)
    assert right.passed, str(right)
    assert (right.name, verify_optimizer(sgd_momentum, like=NESTEROV).passed) == ("sgd_momentum", False)


def test_a_function_may_have_a_state_to_begin_with() -> None:
    def step(params: Any, grads: Any, state: Any) -> Any:
        v = {key: 0.9 * state["velocity"][key] + grads[key] for key in params}
        return {key: params[key] - 0.1 * v[key] for key in params}, {"velocity": v}

    result = verify_optimizer(
        step, like=MOMENTUM, state=lambda params: {"velocity": {key: np.zeros_like(p) for key, p in params.items()}}
    )
    assert result.passed
    assert row_of(result, "state.velocity.w1").verdict is Verdict.PASS


# ------------------------------------------------------------------------------------------- how much is forgiven


@pytest.mark.parametrize(("error", "passes"), [(1e-16, True), (1e-9, False)])
def test_an_error_above_rounding_is_found(error: float, passes: bool) -> None:
    result = verify_optimizer(SGD(0.1 * (1 + error)), like=optax.sgd(0.1), dtypes=("float64",))
    assert result.passed is passes
    assert ("the learning rate is multiplied by 1.000000001" in result.diagnosis) is not passes


def test_hyperparameters_in_float32_are_a_note() -> None:
    result = verify_optimizer(SGD(float(np.float32(0.1))), like=optax.sgd(0.1))
    assert result.passed
    assert "the learning rate is rounded to float32, and the steps are right up to that" in {row.note for row in result.rows}


def test_an_optimizer_that_is_wrong_in_float32_alone() -> None:
    class Narrow(SGD):
        def update(self, params: Any, grads: Any) -> None:
            for key, p in params.items():
                p -= self.lr * (grads[key] if p.dtype == np.float64 else grads[key].astype(np.float16))

    result = verify_optimizer(Narrow(0.1), like=optax.sgd(0.1))
    assert {row.dtype for row in result.rows if not row.passed} == {"float32"}
    assert "in float64 the steps are the reference's" in result.diagnosis


HYPERPARAMETERS = [
    ("adam", {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 1e-12}),
    ("adamw", {"learning_rate": 1e-3, "weight_decay": 0.01}),
    ("sgd", {"learning_rate": 0.1, "momentum": 0.9}),
    ("rmsprop", {"learning_rate": 0.01, "decay": 0.9, "eps": 1e-8, "initial_scale": 0.1}),
    ("adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-7}),
]


@pytest.mark.parametrize(
    ("name", "options", "changed"), [(name, options, key) for name, options in HYPERPARAMETERS for key in options]
)
def test_each_hyperparameter_shows(name: str, options: dict[str, float], changed: str) -> None:
    """A change by a thousandth is found, and named with both values."""
    make, other = getattr(optimizers, name), options[changed] * 1.001
    result = verify_optimizer(make(**{**options, changed: other}), like=make(**options), dtypes=("float64",))
    assert not result.passed
    said = "multiplied by 1.001" if changed == "learning_rate" else f"is {other:g}, not {options[changed]:g}"
    assert f"{said}; the reference's rule with this change" in result.diagnosis


def test_parameters_of_another_dtype_are_a_note() -> None:
    class Wide(SGD):
        def update(self, params: Any, grads: Any) -> Any:  # type: ignore[override]
            return {key: p.astype(np.float64) - self.lr * grads[key] for key, p in params.items()}

    result = verify_optimizer(Wide(0.1), like=optax.sgd(0.1))
    assert result.passed
    assert {row.note for row in result.rows} == {"", "its parameters become float64, the reference's stay float32"}


# ------------------------------------------------------------------------------------------------- bad input


def test_nothing_of_the_users_is_changed() -> None:
    mine = Adam()
    verify_optimizer(mine, like=ADAM)
    assert (mine.t, mine.m, mine.v) == (0, {}, {})


class Uncopied(SGD):
    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("it holds a lock")


class Silent(SGD):
    def update(self, params: Any, grads: Any) -> None:
        for key, p in params.items():
            p = p - self.lr * grads[key]


class Shapes(SGD):
    def update(self, params: Any, grads: Any) -> None:
        for key in params:
            params[key] = params[key].reshape(1, -1) - self.lr * grads[key].reshape(1, -1)


class Partial(SGD):
    def update(self, params: Any, grads: Any) -> Any:
        return {"w1": params["w1"]}


class Exploding(SGD):
    def update(self, params: Any, grads: Any) -> None:
        for p in params.values():
            p *= np.inf


class Refusing(SGD):
    def update(self, params: Any, grads: Any) -> None:
        raise KeyError("conv1")


SGD_OF_OPTAX = optax.sgd(0.1)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (
            {"mine": object()},
            TypeError,
            r"verify_optimizer: mine must be a pair \(init, update\).*got object, which has no method update",
        ),
        ({"mine": 3}, TypeError, "verify_optimizer: mine must be a pair .*got int"),
        ({"mine": SGD(0.1), "like": "adam"}, TypeError, "verify_optimizer: like must be a pair .*got str"),
        (
            {"mine": Uncopied(0.1)},
            TypeError,
            r"verify_optimizer: mine must be an object that copy.deepcopy can copy.*it holds a lock",
        ),
        (
            {"mine": type("Needy", (), {"__init__": lambda self, lr: None, "update": SGD.update})},
            TypeError,
            r"such as Needy\(\.\.\.\)",
        ),
        (
            {"mine": Silent(0.1)},
            ValueError,
            "mine must write into the parameters or return new ones; Silent does neither in 20 steps",
        ),
        ({"mine": Shapes(0.1)}, ValueError, r"mine must not change shapes: w1 was \(3, 4\), and is \(1, 12\) after a step"),
        (
            {"mine": Partial(0.1)},
            ValueError,
            r"must return parameters like those that it gets \(w1, b1, .*\), got a dict of w1",
        ),
        (
            {"mine": Refusing(0.1)},
            TypeError,
            "mine.update must take a dict of arrays, or a list .* it raised KeyError: 'conv1'",
        ),
        ({"mine": lambda params, grads, state: params}, TypeError, r"mine must return \(params, state\), got dict"),
        ({"mine": SGD(0.1), "like": Exploding(0.1)}, ValueError, "like must stay finite, got NaN or infinity at step 1"),
        ({"mine": SGD(0.1), "steps": 1}, ValueError, "steps must be an integer of at least 2, got 1"),
        ({"mine": SGD(0.1), "dtypes": ("float16",)}, ValueError, "dtypes must be some of float64, float32, got"),
        (
            {"mine": SGD(0.1), "params": {"w": np.array([1, 2])}},
            TypeError,
            "params must be a dict or a list of arrays of floats, got int64",
        ),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        verify_optimizer(**{"like": SGD_OF_OPTAX, **arguments})


def test_an_object_that_cannot_be_copied_may_be_made_by_a_function() -> None:
    assert verify_optimizer(lambda: Uncopied(0.1), like=optax.sgd(0.1), dtypes=("float64",)).passed


# ------------------------------------------------------------------------------------------------- micro-batches


class Accumulating:
    """Descent at every third call, with the mean of the gradients since the last step."""

    def __init__(self, weigh: bool = True, clear: bool = True, every: int = 3, divide: bool = True) -> None:
        self.weigh, self.clear, self.every, self.divide = weigh, clear, every, divide
        self.sums: dict[str, Any] = {}
        self.examples = self.calls = 0

    def update(self, params: Any, grads: Any, size: int) -> None:
        weight = size if self.weigh else 1
        for key in params:
            self.sums[key] = self.sums.get(key, 0) + weight * grads[key]
        self.examples += weight
        self.calls += 1
        if self.calls % self.every == 0:
            for key, p in params.items():
                p -= 0.1 * self.sums[key] / (self.examples if self.divide else 1)
            self.examples = 0
            if self.clear:
                self.sums = {}


@pytest.mark.parametrize(
    ("mine", "says"),
    [
        (Accumulating(weigh=False), "is the mean of the 3 means: micro-batches of 3, 5, 2 examples count alike"),
        (optax.MultiSteps(optax.sgd(0.1), 3), "is the mean of the 3 means: micro-batches of 3, 5, 2 examples count alike"),
        (optimizers.multi_steps(optimizers.sgd(0.1), 3), "is the mean of the 3 means"),
        (Accumulating(divide=False), "is the sum over all examples: it is not divided by their number"),
        (Accumulating(clear=False), "is not cleared after a step: the next ones are added to it"),
        (SGD(0.1), "is the sum of the means of the micro-batches: it is not divided"),
    ],
    ids=["weights", "optax", "purenet", "not divided", "not cleared", "no accumulation"],
)
def test_micro_batches_are_compared_with_the_whole_batch(mine: Any, says: str) -> None:
    result = verify_optimizer(mine, like=SGD_OF_OPTAX, micro_batches=(3, 5, 2), dtypes=("float64",))
    assert not result.passed
    assert f"the accumulated gradient {says}" in result.diagnosis
    assert "the reference makes the same 20 steps of it" in result.diagnosis


def test_a_step_at_every_micro_batch_is_named() -> None:
    result = verify_optimizer(optimizers.adam(1e-3), like=ADAM, micro_batches=(3, 5), dtypes=("float64",))
    assert "there is a step at every micro-batch" in result.diagnosis


@pytest.mark.parametrize(
    ("mine", "sizes"),
    [(Accumulating(), (3, 5, 2)), (Accumulating(weigh=False), (4, 4, 4)), (optax.MultiSteps(optax.sgd(0.1), 3), (4, 4, 4))],
    ids=["weights", "means of equal sizes", "optax, equal sizes"],
)
def test_a_right_accumulation_passes(mine: Any, sizes: tuple[int, ...]) -> None:
    result = verify_optimizer(mine, like=SGD_OF_OPTAX, micro_batches=sizes)
    assert result.passed, str(result)


def test_micro_batches_have_examples() -> None:
    with pytest.raises(ValueError, match=r"micro_batches must be the numbers of their examples, got \(3, 0\)"):
        verify_optimizer(SGD(0.1), like=SGD_OF_OPTAX, micro_batches=(3, 0))


# ------------------------------------------------------------------------------------------------- without JAX, torch


def test_a_reference_of_purenet_needs_no_jax() -> None:
    code = """
import sys
for name in ("jax", "jaxlib", "optax", "equinox"):
    sys.modules[name] = None
import oracle, purenet as pn
class SGD:
    def update(self, params, grads):
        for key in params:
            params[key] -= 0.1 * grads[key]
assert oracle.verify_optimizer(SGD(), like=pn.optimizers.sgd(0.1)).passed
assert oracle.verify_schedule(lambda count: 0.5, like=pn.schedules.constant_schedule(0.5)).passed"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


OF_TORCH = [
    ("SGD", {"lr": 0.1}, optax.sgd(0.1)),
    ("SGD", {"lr": 0.1, "momentum": 0.9}, MOMENTUM),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, NESTEROV),
    ("SGD", {"lr": 0.1, "weight_decay": 0.01}, optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.1))),
    ("Adam", {}, ADAM),
    ("Adam", {"foreach": True}, ADAM),
    ("Adam", {"weight_decay": 0.01}, L2),
    ("AdamW", {"weight_decay": 0.01}, ADAMW),
    ("RMSprop", {"lr": 0.01}, optax.rmsprop(0.01, 0.99, 1e-8, eps_in_sqrt=False)),
    ("Adagrad", {"lr": 0.1}, optimizers.adagrad(0.1, 0.0, 1e-10, eps_in_sqrt=False)),
    ("NAdam", {"lr": 0.01}, optimizers.nadam(0.01, momentum_decay=0.004)),
]


@pytest.mark.parametrize(("name", "options", "like"), OF_TORCH, ids=[f"{name} {options}" for name, options, _ in OF_TORCH])
def test_an_optimizer_of_torch_passes_either_way(name: str, options: dict[str, Any], like: Any) -> None:
    torch = pytest.importorskip("torch")

    def factory(params: Any) -> Any:
        return getattr(torch.optim, name)(params, **options)

    result = verify_optimizer(factory, like=like)
    assert result.passed, str(result)
    assert result.name == f"torch.optim.{name}"
    assert verify_optimizer(like, like=factory, dtypes=("float64",)).passed


def test_torch_is_recognized_and_its_mistakes_are_named() -> None:
    torch = pytest.importorskip("torch")
    coupled = verify_optimizer(lambda params: torch.optim.Adam(params, weight_decay=0.01), like=ADAMW, dtypes=("float64",))
    assert "the weight decay is coupled" in coupled.diagnosis
    assert coupled.first == (1, "state.exp_avg.b1")
    for optimizer, told in (
        (torch.optim.Adamax, "adamax"),
        (lambda params: torch.optim.Adam(params, amsgrad=True), "amsgrad"),
    ):
        itself = verify_optimizer(optimizer, like=optimizer, dtypes=("float64",))
        assert itself.passed
        assert told in itself.rows[0].reference

    class Uphill(torch.optim.Optimizer):  # type: ignore[misc, name-defined]
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.1})

        def step(self, closure: Any = None) -> None:
            with torch.no_grad():
                for p in self.param_groups[0]["params"]:
                    p += self.param_groups[0]["lr"] * p.grad

    own = verify_optimizer(Uphill, like=torch.optim.SGD, dtypes=("float64",))
    assert "the learning rate is multiplied by -100" in own.diagnosis
    tensor = verify_optimizer(lambda params: torch.optim.Adam(params, lr=torch.tensor(1e-3)), like=torch.optim.Adam)
    assert tensor.passed
    assert any("computes with numbers in float32 (lr)" in row.note for row in tensor.rows)
    bound = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))])
    with pytest.raises(TypeError, match=r"give `lambda params: torch.optim.SGD\(params, ...\)`, got an object of SGD"):
        verify_optimizer(bound, like=ADAM)
    with pytest.raises(ValueError, match="mine must make an optimizer of the parameters that it gets"):
        verify_optimizer(lambda params: bound, like=ADAM)
    with pytest.raises(TypeError, match="mine, a function of one argument, must make an optimizer of torch, got list"):
        verify_optimizer(lambda params: params, like=ADAM)
    with pytest.raises(TypeError, match=r"must be an optimizer whose step\(\) needs no closure"):
        verify_optimizer(torch.optim.LBFGS, like=ADAM)


# ------------------------------------------------------------------------------------------------- schedules

COSINE = optax.warmup_cosine_decay_schedule(0.0, 0.1, 20, 150, 0.01)


def cosine(progress: float) -> float:
    return float(0.01 + 0.045 * (1 + np.cos(np.pi * min(progress, 1.0))))


def warmed(count: int) -> float:
    return 0.1 * count / 20 if count < 20 else cosine((count - 20) / 130)


@pytest.mark.parametrize(
    ("schedule", "first", "says"),
    [
        (lambda count: warmed(count + 1), 0, "the schedule is shifted by 1: count c has the value of count c + 1"),
        (lambda count: warmed(max(count - 2, 0)), 1, "the schedule is shifted by -2"),
        (lambda count: warmed(count + 20), 0, "the schedule lacks its first part, the 20 steps up to its largest value"),
        (lambda count: 1.5 * warmed(count), 1, "the rate is multiplied by 1.5"),
        (lambda count: warmed(count) if count < 20 else cosine(count / 150), 20, "its progress is step / all steps"),
        (lambda count: warmed(count) if count < 20 else cosine(count / 130), 20, "counts from the first step of all"),
        (
            lambda count: warmed(count) if count < 20 else cosine((count - 20) / 150),
            21,
            "the warm-up's steps are not subtracted",
        ),
        (lambda count: float("nan") if count == 7 else warmed(count), 7, "the rate is not finite"),
        (lambda count: warmed(count) + 1e-12 * (count == 30), 30, "no known cause"),
    ],
    ids=["early", "late", "no warm-up", "factor", "progress", "from the first", "too long", "NaN", "a single rate"],
)
def test_a_wrong_schedule_is_explained(schedule: Callable[[int], float], first: int, says: str) -> None:
    result = verify_schedule(schedule, like=warmed)
    assert result.first == (first, "rate")
    assert says in result.diagnosis
    assert f"at count {first}, not " in result.diagnosis
    (row,) = result.rows
    assert (row.verdict, row.first_autodiff, row.diagnosis) == (Verdict.FAIL, first, result.diagnosis)


def test_a_schedule_of_optax_explains_a_wrong_one_too() -> None:
    result = verify_schedule(lambda count: warmed(count + 1), like=COSINE)
    assert result.first == (0, "rate")
    assert "the schedule is shifted by 1: count c has the value of count c + 1" in result.diagnosis


def test_a_right_schedule_passes_to_its_end() -> None:
    (row,) = verify_schedule(warmed, like=COSINE).rows
    assert (row.verdict, row.steps, row.case) == (Verdict.PASS, 401, "counts 0 to 400")
    assert verify_schedule(COSINE, like=warmed, steps=10).rows[0].steps == 11
    assert verify_schedule(optax.exponential_decay(0.1, 10, 0.5), like=lambda count: 0.1 * 0.5 ** (count / 10)).passed


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"mine": 0.1}, TypeError, "verify_schedule: mine must be a function of the count of steps, got float"),
        ({"mine": warmed, "like": None}, TypeError, "verify_schedule: like must be a function"),
        ({"mine": lambda count: "fast"}, TypeError, "verify_schedule: mine must return a number, got str at count 0"),
        ({"mine": warmed, "steps": 0}, ValueError, "verify_schedule: steps must be a positive integer, got 0"),
        ({"mine": warmed, "like": lambda count: float("inf")}, ValueError, "verify_schedule: like must be finite, got inf"),
    ],
)
def test_a_bad_schedule_is_refused(arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        verify_schedule(**{"like": COSINE, **arguments})


# ------------------------------------------------------------------------------------------------- the command line

OWN = """
import numpy as np
import oracle
import purenet as pn

class Plain:
    def update(self, params, grads):
        for key in params:
            params[key] -= 0.1 * grads[key]

check = oracle.OptimizerCheck(Plain(), like=pn.optimizers.sgd(0.1))
wrong = oracle.OptimizerCheck(Plain(), like=pn.optimizers.sgd(0.2), name="too slow")
halving = pn.schedules.exponential_decay(1.0, 1, 0.5)
halves = oracle.ScheduleCheck(lambda count: 0.5**count, like=halving, steps=20, name="halves")
"""


@pytest.mark.usefixtures("in_this_process")
def test_the_command_line_takes_checks_of_a_module(run: Any, module: Any, tmp_path: Path) -> None:
    module("own_steps", OWN)
    code, out, _ = run("verify", "own_steps:check", "--dtype", "all")
    assert code == 0
    assert "Plain / 20 steps (float32)" in out
    assert run("verify", "own_steps:Plain", "--quiet")[0] == 0
    code, out, _ = run("verify", "own_steps:too slow")
    assert code == 1
    assert "the learning rate is multiplied by 0.5" in out
    assert "reproduce: oracle verify 'own_steps:too slow'" in out
    (program,) = [file.read_text() for file in (tmp_path / "reports" / "failures").glob("*/repro.py")]
    assert "main(['verify', 'own_steps:too slow'])" in program
    code, out, _ = run("verify", "own_steps")
    assert code == 1
    assert all(name in out for name in ("Plain / 20 steps", "too slow / 20 steps", "halves / counts 0 to 20"))
    assert run("verify", "own_steps.py:halves", "--quiet")[0] == 0  # the file itself
    assert "own_steps.py:" in run("show", "own_steps:wrong")[1]
    code, _, err = run("fuzz", "own_steps:check")
    assert (code, "nothing to fuzz" in err) == (5, True)


@pytest.mark.usefixtures("in_this_process", "undiagnosed")
def test_a_module_names_all_its_records(run: Any, own: str) -> None:
    code, out, _ = run("verify", own)
    assert code == 1
    assert all(name in out for name in ("cube / typical", "doubled / typical", "chain"))


def test_names_of_checks_are_different(run: Any, module: Any) -> None:
    module("own_twins", OWN.replace(', name="too slow"', ""))
    code, _, err = run("verify", "own_twins:check")
    assert code == 4
    assert "two checks in own_twins are called 'Plain'" in err
    module("own_nothing", "x = 1")
    code, _, err = run("verify", "own_nothing")
    assert (code, "own_nothing has nothing to verify" in err) == (4, True)


def test_the_names_are_public() -> None:
    assert oracle.verify_optimizer is verify_optimizer
    assert oracle.verify_schedule is verify_schedule
    assert {"OptimizerCheck", "ScheduleCheck"} <= set(dir(oracle))
