"""Facts of the notes that hold, each checked with purenet or oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import purenet as pn
from oracle.differences import partials
from oracle.measures import largest
from oracle.seeds.experiment import in_one_piece, three_digits
from oracle.seeds.section import Claim, Section
from purenet.data import Digits, scaled
from purenet.models import two_layer_net

__all__ = ["EXPERIMENT", "section", "unit_gradients"]

Array = NDArray[Any]

STRENGTH = 0.1
PENALTY = 1e-9  # the error of differences of a sum, as a fraction of the largest entry
SAME = 1e-14  # the rounding of sums of the same numbers in another order, as a fraction of the largest entry


def section(digits: Digits) -> Section:
    """Each fact with the measured number."""
    return Section("Facts from the notes", (), (_sigmoid(), _square_of_a_sum(), *_penalties(), *_equal_weights(digits)))


def _sigmoid() -> Claim:
    x = np.linspace(-8, 8, 1601)
    x[800] = 0.0
    (slope,) = pn.vjp(pn.sigmoid, x)[1](np.ones(x.size))
    at = int(slope.argmax())
    return Claim(
        f"the largest slope of sigmoid is 0.25, at 0: {slope[at]:g} at {x[at]:g}", bool(slope[at] == 0.25 and x[at] == 0)
    )


def _square_of_a_sum() -> Claim:
    slope = float(partials.gradient(lambda x, y: (x + y) ** 2, np.array(3.0), np.array(2.0))[0])
    return Claim(f"d/dx (x + y)^2 = 2 (x + y): {slope:.12g} at (3, 2)", abs(slope - 10) < 1e-9)


def _penalties() -> list[Claim]:
    w = two_layer_net.init(pn.random.key(0), (8, 4, 2))["affine1"]["w"]
    claims = []
    for op, words, expected in (
        (pn.l1_penalty, "lambda sign(W)", STRENGTH * np.sign(w)),
        (pn.l2_penalty, "lambda W", STRENGTH * w),
    ):
        (ours,) = pn.vjp(op, w, strength=STRENGTH)[1](1.0)
        (differences,) = partials.gradient(lambda w, op=op: op(w, strength=STRENGTH), w)
        error = largest(ours - expected, ours - differences) / largest(expected)
        claims.append(Claim(f"the gradient of {op.name} is {words}, to {PENALTY:g}", error < PENALTY))
    return claims


def _equal_weights(digits: Digits) -> list[Claim]:
    claims = []
    for weight in (0.0, 0.01):
        units = unit_gradients(digits, weight)
        apart, size = largest(units - units[:1]), largest(units)
        claims.append(
            Claim(
                f"all weights {weight:g} give all hidden units the same gradient, to {SAME:g}; its largest entry is {size:.2g}",
                apart <= SAME * size and bool(size) == bool(weight),
            )
        )
    return claims


def unit_gradients(digits: Digits, weight: float) -> Array:
    """The gradients in W1, b1 and W2 of a net whose weights are all `weight`, with one row for each hidden unit."""
    net = two_layer_net.init(pn.random.key(0), (digits.images.shape[1], 5, 10))
    for layer in net.values():
        layer["w"] = np.full_like(layer["w"], weight)
    _, residuals = two_layer_net.goal().fwd({"net": net}, scaled(digits.images), loss={"labels": digits.labels})
    grads = two_layer_net.goal().bwd(residuals, 1.0)[0]["net"]
    return np.column_stack([grads["affine1"]["w"].T, grads["affine1"]["b"], grads["affine2"]["w"]])


EXPERIMENT = in_one_piece(lambda setting: section(three_digits(setting.data)))
