"""Optimizers as learners write them, each beside others with one mistake."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax

from oracle.row import Verdict
from oracle.trajectory import Trajectory

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
