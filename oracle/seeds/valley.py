"""Optimizers on f(x, y) = x^2 / 20 + y^2, a valley that is flat along x and steep along y, from (-7, 2)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import purenet as pn
from oracle.seeds.drawing import drawing, grid, written
from oracle.seeds.experiment import in_one_piece
from oracle.seeds.learning import OPTIMIZERS
from oracle.seeds.section import Claim, Picture, Section, Table
from purenet.optimizers import GradientTransformation

__all__ = ["EXPERIMENT", "RATES", "path", "section", "way_across"]

Array = NDArray[Any]

START = (-7.0, 2.0)
STEPS = 30
RATES = {"SGD": 0.95, "Momentum": 0.1, "AdaGrad": 1.5, "RMSProp": 0.3, "Adam": 0.3}
"""The learning rates of the book, which has no RMSProp."""


@pn.Op
def valley(x: Array) -> tuple[Array, Array]:
    """x^2 / 20 + y^2 of the two entries of `x`."""
    return np.asarray(x[0] ** 2 / 20 + x[1] ** 2), x


@valley.pullback
def valley_bwd(x: Array, dy: Array) -> tuple[Array]:
    return (np.array([x[0] / 10, 2 * x[1]]) * dy,)


def path(optimizer: GradientTransformation, steps: int = STEPS) -> Array:
    """All points of the path, beginning with the start."""
    x = np.array(START)
    places, state = [x], optimizer.init(x)
    for _ in range(steps):
        _, pullback = pn.vjp(valley, x)
        updates, state = optimizer.update(pullback(1.0)[0], state, x)
        x = pn.apply_updates(x, updates)
        places.append(x)
    return np.stack(places)


def way_across(places: Array) -> float:
    """The total distance that a path moves across the valley, in both directions; the direct way to the bottom has 2."""
    return float(np.abs(np.diff(places[:, 1])).sum())


def section(rates: Mapping[str, float] = RATES) -> Section:
    """The paths, and how much each zigzags."""
    paths = {f"{name} {rate:g}": path(OPTIMIZERS[name](rate)) for name, rate in rates.items()}
    zigzags = {name: way_across(places) for name, places in paths.items()}
    rows = [
        (name, f"{zigzags[name]:.1f}", *(f"{z:.3f}" for z in places[-1] + 0.0), f"{valley(places[-1]):.4f}")
        for name, places in paths.items()
    ]
    sgd, *others = zigzags
    claim = Claim(
        f"{sgd} zigzags: it goes further across the valley, to and fro, than any other",
        all(zigzags[sgd] > zigzags[name] for name in others),
        published="SGD zigzags, the others less",
        measured=", ".join(f"{name.split()[0]} {way:.1f}" for name, way in zigzags.items()) + "; straight would be 2",
    )
    return Section(
        "Optimizers on a valley",
        (
            f"f(x, y) = x^2 / 20 + y^2 from (-7, 2), {STEPS} steps. How far a path goes across the valley, and where it ends:",
            Table(("", "across", "x", "y", "f"), tuple(rows)),
            Picture("valley.svg", "the paths of the optimizers on the heights of the valley", partial(_drawn, paths)),
        ),
        (claim,),
    )


def _drawn(paths: Mapping[str, Array]) -> str:
    """Draws each path over the contour lines of the valley."""
    with drawing():
        figure, frames = grid(len(paths), 3, (2.6, 1.9))
        angle = np.linspace(0, 2 * np.pi, 41)
        for axes, (name, places) in zip(frames, paths.items(), strict=True):
            for height in (0.1, 0.7, 2, 4):
                axes.plot(np.sqrt(20 * height) * np.cos(angle), np.sqrt(height) * np.sin(angle), color="0.8", linewidth=0.6)
            axes.plot(*np.round(places.T, 3), linewidth=0.8)
            axes.plot(0, 0, "k+")
            axes.set_title(name)
        return written(figure)


EXPERIMENT = in_one_piece(lambda setting: section())
