"""Optimizers on f(x, y) = x^2 / 20 + y^2, a valley that is flat along x and steep across it, from (-7, 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import purenet as pn
from oracle.seeds.drawing import drawing, grid, written
from oracle.seeds.experiment import in_one_piece
from oracle.seeds.section import Claim, Picture, Section, Table
from purenet.optimizers import GradientTransformation

__all__ = ["EXPERIMENT", "OPTIMIZERS", "crossings", "path", "section"]

Array = NDArray[Any]

START = (-7.0, 2.0)
STEPS = 30
OPTIMIZERS: dict[str, GradientTransformation] = {
    "SGD 0.95": pn.optimizers.sgd(0.95),
    "Momentum 0.1": pn.optimizers.momentum(0.1),
    "AdaGrad 1.5": pn.optimizers.adagrad(1.5, initial_accumulator_value=0.0),
    "RMSProp 0.3": pn.optimizers.rmsprop(0.3, decay=0.9),
    "Adam 0.3": pn.optimizers.adam(0.3),
}
"""The book's, at the book's rates; it has no RMSProp."""


@pn.Op
def valley(x: Array) -> tuple[Array, Array]:
    """x^2 / 20 + y^2 of the two entries of `x`."""
    return np.asarray(x[0] ** 2 / 20 + x[1] ** 2), x


@valley.pullback
def valley_bwd(x: Array, dy: Array) -> tuple[Array]:
    return (np.array([x[0] / 10, 2 * x[1]]) * dy,)


def path(optimizer: GradientTransformation, steps: int = STEPS) -> Array:
    """All places on the way, the start first."""
    x = np.array(START)
    places, state = [x], optimizer.init(x)
    for _ in range(steps):
        _, pullback = pn.vjp(valley, x)
        updates, state = optimizer.update(pullback(1.0)[0], state, x)
        x = pn.apply_updates(x, updates)
        places.append(x)
    return np.stack(places)


def crossings(places: Array) -> int:
    """How often a path goes from one side of the valley to the other."""
    side = np.sign(places[:, 1])
    return int(np.count_nonzero(side[1:] * side[:-1] < 0))


def section(optimizers: Mapping[str, GradientTransformation] = OPTIMIZERS) -> Section:
    """The paths, drawn, and how much each zigzags."""
    paths = {name: path(optimizer) for name, optimizer in optimizers.items()}
    zigzags = {name: crossings(places) for name, places in paths.items()}
    rows = [
        (name, str(zigzags[name]), *(f"{z:.3f}" for z in places[-1] + 0.0), f"{valley(places[-1]):.4f}")
        for name, places in paths.items()
    ]
    sgd, *others = zigzags
    claim = Claim(
        f"{sgd} zigzags: it crosses the valley more often than any other",
        all(zigzags[sgd] > zigzags[name] for name in others),
        published="SGD zigzags, the others less",
        measured=", ".join(f"{name.split()[0]} {count}" for name, count in zigzags.items()) + " crossings",
    )
    return Section(
        "Optimizers on a valley",
        (
            f"f(x, y) = x^2 / 20 + y^2 from (-7, 2), {STEPS} steps. How often a path crosses the valley, and where it ends:",
            Table(("", "crossings", "x", "y", "f"), tuple(rows)),
            _picture(paths),
        ),
        (claim,),
    )


def _picture(paths: Mapping[str, Array]) -> Picture:
    with drawing():
        figure, frames = grid(len(paths), 3, (2.6, 1.9))
        angle = np.linspace(0, 2 * np.pi, 41)
        for axes, (name, places) in zip(frames, paths.items(), strict=True):
            for height in (0.1, 0.7, 2, 4):
                axes.plot(np.sqrt(20 * height) * np.cos(angle), np.sqrt(height) * np.sin(angle), color="0.8", linewidth=0.6)
            axes.plot(*np.round(places.T, 3), linewidth=0.8)
            axes.plot(0, 0, "k+")
            axes.set_title(name)
        return Picture("valley.svg", "the paths of the optimizers on the heights of the valley", written(figure))


EXPERIMENT = in_one_piece(lambda setting: section())
