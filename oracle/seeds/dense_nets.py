"""Multi-layer nets on digits: the effect of the first weights, of the optimizer and of the learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oracle.seeds.drawing import Panel, curves, smoothed
from oracle.seeds.experiment import Experiment, Setting
from oracle.seeds.learning import Learned, Lesson, learn
from oracle.seeds.section import Claim, Picture, Section, Table

__all__ = ["INITIALIZERS", "OPTIMIZERS", "RATES", "loss_curves", "of_initializers", "of_optimizers", "of_rates"]

SIZES = (784, 100, 100, 100, 100, 10)
BATCH = 128
WINDOW = 50  # steps over which a loss is averaged, because the loss of a single batch is noisy
LEARNING = 0.05  # a net counts as learning if its loss is this much below log(10), the loss of a guess

BY_INITIALIZER: dict[str, Any] = {"std 0.01": 0.01, "Xavier": "xavier", "He": "he"}
BY_OPTIMIZER = {"SGD": 0.01, "Momentum": 0.01, "AdaGrad": 0.01, "RMSProp": 0.001, "Adam": 0.001}
"""The learning rates of the book, which has no RMSProp."""
PUBLISHED = {"SGD": "0.27", "Momentum": "0.12", "AdaGrad": "0.04", "Adam": "0.04"}
BY_RATE = {"10": 10.0, "0.1": 0.1, "1e-10": 1e-10}


def _steps(setting: Setting) -> int:
    return 200 if setting.quick else 2000


def _lesson(setting: Setting, optimizer: str, rate: float, initializer: Any = "he") -> Lesson:
    return Lesson(
        setting.data,
        optimizer,
        rate,
        _steps(setting),
        BATCH,
        goal={"sizes": SIZES},
        init={"sizes": SIZES, "initializer": initializer},
    )


def final(learned: Learned) -> float:
    """The loss at the end, averaged over the last steps; infinite if it was not finite."""
    return float(learned.losses[-WINDOW:].mean()) if learned.finite else float("inf")


def loss_curves(name: str, words: str, found: Mapping[str, Learned]) -> Picture:
    """The curves of the losses, averaged over the last `WINDOW` steps."""
    lines = {
        label: (np.arange(1, learned.losses.size + 1), smoothed(learned.losses, WINDOW)) for label, learned in found.items()
    }
    return curves(name, words, [Panel("", lines, "step", f"loss, mean of {WINDOW}", log_y=True)], size=(4.5, 2.8))


def _table(found: Mapping[str, Learned], published: Mapping[str, str] | None = None) -> Table:
    rows = []
    for name, learned in found.items():
        measured = (
            (f"{final(learned):.3g}", f"{learned.train[-1]:.3f}", f"{learned.test[-1]:.3f}") if learned.finite else ("-",) * 3
        )
        rows.append((name, *([published.get(name, "-")] if published else []), *measured))
    return Table(("", *(["published\nloss"] if published else []), "loss", "train", "test"), tuple(rows))


def of_initializers(found: Mapping[str, Learned]) -> Section:
    """The training with a standard deviation of 0.01, with Xavier's and with He's."""
    small, xavier, he = (final(found[name]) for name in BY_INITIALIZER)
    guess = float(np.log(10))
    steps = found["He"].losses.size
    claims = (
        Claim(
            "std 0.01 does not learn",
            small > guess - LEARNING,
            published="does not learn",
            measured=f"loss {small:.2f} after {steps} steps; a guess has {guess:.2f}",
        ),
        Claim(
            "He learns fastest",
            he < xavier < small,
            published="He fastest",
            measured=f"loss after {steps} steps: He {he:.2f}, Xavier {xavier:.2f}, std 0.01 {small:.2f}",
        ),
    )
    return Section(
        "Initializers in training",
        (
            f"Digits, affine maps {_widths()} with relu, SGD 0.01, batches of {BATCH}, {steps} steps.",
            _table(found),
            loss_curves("initializers.svg", "the loss by step, for each initializer", found),
        ),
        claims,
    )


def of_optimizers(found: Mapping[str, Learned], *, quick: bool) -> Section:
    """The optimizers compared on the same net."""
    losses = {name: final(learned) for name, learned in found.items()}
    steps = found["SGD"].losses.size
    measured = ", ".join(f"{name} {loss:.2g}" for name, loss in losses.items())
    adaptive = max(losses["AdaGrad"], losses["Adam"])
    claims = (
        Claim(
            "SGD learns most slowly",
            all(losses["SGD"] > loss for name, loss in losses.items() if name != "SGD"),
            published="SGD slowest",
            measured=f"loss after {steps} steps: {measured}",
        ),
        Claim(
            "AdaGrad and Adam are ahead of Momentum, and Momentum of SGD",
            None if quick else adaptive < losses["Momentum"] < losses["SGD"],
            published="after 1900 steps " + ", ".join(f"{name} {loss}" for name, loss in PUBLISHED.items()) + " (one run)",
            measured=f"after {steps} steps {measured}",
        ),
    )
    rates = ", ".join(f"{name} {rate:g}" for name, rate in BY_OPTIMIZER.items())
    return Section(
        "Optimizers on digits",
        (
            f"The same net from He's weights, batches of {BATCH}, {steps} steps. Rates: {rates}; the book has no RMSProp.",
            _table(found, PUBLISHED),
            loss_curves("optimizers.svg", "the loss by step, for each optimizer", found),
        ),
        claims,
    )


def of_rates(found: Mapping[str, Learned]) -> Section:
    """A learning rate that is too large, one that is right, and one that is too small."""
    large, right, small = found.values()
    first = float(small.losses[:WINDOW].mean())
    moved = abs(final(small) - first)
    end = f"{final(large):.2f}" if large.finite else f"not finite after {large.losses.size} steps"
    return Section(
        "A rate too large, too small",
        ("The same net from He's weights with SGD.", _table(found)),
        (
            Claim(
                "rate 10 diverges or stalls",
                not large.finite or final(large) > np.log(10) - LEARNING,
                published="diverges",
                measured=f"loss {end}",
            ),
            Claim(
                "rate 0.1 learns",
                bool(right.finite and right.test[-1] > 0.5),
                published="learns",
                measured=f"loss {final(right):.2g}, test accuracy {right.test[-1]:.3f}" if right.finite else "not finite",
            ),
            Claim(
                "rate 1e-10 stands still",
                moved < LEARNING,
                published="hardly changes",
                measured=f"loss {first:.2f} at first, {final(small):.2f} at the end",
            ),
        ),
    )


def _widths() -> str:
    return "-".join(map(str, SIZES))


def named(names: Sequence[str], results: Sequence[Any]) -> dict[str, Any]:
    """The results by name."""
    return dict(zip(names, results, strict=True))


INITIALIZERS = Experiment(
    lambda setting: [_lesson(setting, "SGD", 0.01, initializer) for initializer in BY_INITIALIZER.values()],
    learn,
    lambda pieces, results: [of_initializers(named([*BY_INITIALIZER], results))],
)
OPTIMIZERS = Experiment(
    lambda setting: [_lesson(setting, name, rate) for name, rate in BY_OPTIMIZER.items()],
    learn,
    lambda pieces, results: [of_optimizers(named([*BY_OPTIMIZER], results), quick=pieces[0].data is None)],
)
RATES = Experiment(
    lambda setting: [_lesson(setting, "SGD", rate)._replace(steps=100 if setting.quick else 1000) for rate in BY_RATE.values()],
    learn,
    lambda pieces, results: [of_rates(named([*BY_RATE], results))],
)
