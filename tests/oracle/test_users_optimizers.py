"""Optimizers of users: right ones of every kind pass, and each planted mistake is named, beside its right twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import pytest

import oracle
from oracle.row import Verdict
from oracle.trajectory import Trajectory
from oracle.trajectory.users_optimizers import verify_optimizer
from purenet import optimizers

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


RIGHT = [
    ("the book's SGD", SGD(0.1), optax.sgd(0.1)),
    ("lists", InLists(0.1), optax.sgd(0.1)),
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
    ("no nesterov", Momentum(0.1), NESTEROV, (1, "params.b1"), "nesterov's look ahead is missing"),
    ("no momentum", SGD(0.1), MOMENTUM, (2, "params.b1"), "the momentum is missing"),
    (
        "rate twice",
        descent(lambda v, g, rate: 0.9 * v + rate * g, scaled, lambda t: 0.2),
        optax.sgd(0.2, momentum=0.9),
        (1, "params.b1"),
        "the learning rate is applied twice",
    ),
    ("no rate", descent(kept, lambda v, g, rate: v), MOMENTUM, (1, "params.b1"), "the velocity is added without the learning rate"),
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
    ("early", scheduled(1), optax.sgd(WARM, momentum=0.9), (1, "params.b1"), "is shifted by 1: step t has the rate of step t + 1"),
    ("late", scheduled(-1), optax.sgd(WARM, momentum=0.9), (2, "params.b1"), "is shifted by -1"),
    ("no warm-up", scheduled(5), optax.sgd(WARM, momentum=0.9), (1, "params.b1"), "lacks its first part, the 5 steps"),
    ("no schedule", SGD(0.1), optax.sgd(WARM), (1, "params.b1"), "the learning rate is 0.1 at every step"),
    ("eps inside", AdaGrad(0.1), optimizers.adagrad(0.1, 0.0, 1e-7), (1, "params.b1"), "eps is added outside the root"),
    ("rms", RMSprop(), optax.rmsprop(0.01, 0.99, 1e-7), (1, "params.b1"), "eps is added outside the root"),
    ("unknown", descent(kept, lambda v, g, rate: rate * np.tanh(v)), MOMENTUM, (1, "params.b1"), "no known cause: another optimizer"),
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
