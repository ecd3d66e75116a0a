"""Losses of yes-or-no predictions: references, cases, strategies."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.losses.reductions import (
    MASKED,
    NOTHING,
    SATURATED,
    bad_options,
    by_entries,
    cases_of_entries,
    errors_of,
    fuzzed,
)
from oracle.spec import Array, Case, Draw, Error, Flag, Spec, library
from purenet.losses.binary import binary_cross_entropy, sigmoid_binary_cross_entropy, sigmoid_focal_loss


def sigmoid_binary_cross_entropy_by_optax(logits: Any, labels: Any, *, pos_weight: Any = None) -> Any:
    loss = optax.losses.sigmoid_binary_cross_entropy
    if pos_weight is None:
        return loss(logits, labels)
    # The loss is linear in its label: that of yes, weighted, and that of no.
    yes, no = loss(logits, jnp.ones_like(logits)), loss(logits, jnp.zeros_like(logits))
    return jnp.asarray(pos_weight, logits.dtype) * labels * yes + (1 - labels) * no


def binary_cross_entropy_at_logit(predictions: Any, labels: Any) -> Any:
    never, always = predictions < 1e-37, predictions == 1  # no case comes nearer to where log p is cut off
    inside = jnp.where(never | always, 0.5, predictions)
    loss = optax.losses.sigmoid_binary_cross_entropy(jax.scipy.special.logit(inside), labels)
    at_no = 100 * labels - (1 - labels) * jnp.log1p(-jnp.where(never, predictions, 0.5))
    at_yes = 100 * (1 - labels) - labels * jnp.log(jnp.where(always, predictions, 0.5))
    return jnp.where(never, at_no, jnp.where(always, at_yes, loss))


def focal_loss_by_optax(logits: Any, labels: Any, *, alpha: float | None = None, gamma: float = 2.0) -> Any:
    # JAX's logsumexp has no slope in a weight of 0, and so optax a wrong one at the labels 0 and 1: they go another way.
    hard = (labels == 0) | (labels == 1)
    soft = optax.losses.sigmoid_focal_loss(logits, jnp.where(hard, 0.5, labels), alpha=alpha, gamma=gamma)
    error = labels * jax.nn.sigmoid(-logits) + (1 - labels) * jax.nn.sigmoid(logits)
    focus = error**gamma if gamma else 1  # JAX has no slope of 0 ** 0
    other = optax.losses.sigmoid_binary_cross_entropy(logits, labels) * focus
    if alpha is not None:
        other = other * (alpha * labels + (1 - alpha) * (1 - labels))
    return jnp.where(hard, other, soft)


def soft(*shape: int, scale: float = 1.0, **_: Any) -> Any:
    """Draws logits, and labels between 0 and 1."""

    def arguments(draw: Draw) -> tuple[Array, Array]:
        return draw.normal(*shape, scale=scale), draw.uniform(*shape, low=0.2, high=0.8)

    return arguments


def chances(*shape: int, **_: Any) -> Any:
    """Draws probabilities, and labels between 0 and 1."""

    def arguments(draw: Draw) -> tuple[Array, Array]:
        return draw.uniform(*shape, low=0.1, high=0.9), draw.uniform(*shape)

    return arguments


def hard(draw: Draw) -> tuple[Array, Array]:
    return draw.normal(4, 3, scale=2.0), draw.mask(4, 3).astype(np.float64)


def hard_chances(draw: Draw) -> tuple[Array, Array]:
    logits, labels = hard(draw)
    return 1 / (1 + np.exp(-logits)), labels


def ends(draw: Draw) -> tuple[Array, Array]:
    """Certain of the right and of the wrong, beside ordinary predictions."""
    logits = np.concatenate([draw.normal(3), [1e4, -1e4, 1e4, -1e4, 40.0, -40.0, 750.0, -750.0]])
    return logits, np.concatenate([[0.0, 1.0, 0.5], [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.25, 0.75]])


def weight_of_yes(draw: Draw) -> dict[str, Any]:
    return {"pos_weight": draw.choice([None, 2.5, 0.5])}


def focus(draw: Draw) -> dict[str, Any]:
    return {"alpha": draw.choice([None, 0.25]), "gamma": draw.choice([2.0, 1.0, 0.5, 0.0])}


def certain(name: str, **options: Any) -> Case:
    return Case(name, ends, {"reduction": "none", **options}, SATURATED)


UNEQUAL = "labels must have the shape of {} (2, 3), got (2, 2)"  # as in torch, nothing broadcasts

SPECS = (
    Spec(
        sigmoid_binary_cross_entropy,
        reference=by_entries(sigmoid_binary_cross_entropy_by_optax),
        source=library("optax.losses.sigmoid_binary_cross_entropy"),
        cases=(
            *cases_of_entries(soft),
            Case("many entries", soft(20, 21, scale=2.0)),
            Case("hard labels", hard),
            Case("weight of yes", soft(3, 4), lambda draw: {"pos_weight": draw.uniform(4, low=0.5, high=3.0)}),
            Case("weight of yes is zero", soft(3, 2), {"pos_weight": np.array([0.0, 1.5])}, MASKED),
            Case("nothing counts", soft(2, 3), {"where": np.zeros((2, 3), np.bool_)}, NOTHING),
            certain("certain predictions"),
            certain("certain predictions, weight of yes", pos_weight=3.0),
            Case("scalars", lambda draw: (np.array(0.5), np.array(0.25))),
        ),
        strategy=fuzzed(soft, weight_of_yes, broadcasts=False),
        errors=(
            *errors_of(
                "sigmoid_binary_cross_entropy",
                soft,
                ("logits", "labels"),
                unequal=UNEQUAL.format("logits"),
            ),
            Error(
                "integer labels",
                lambda draw: (draw.normal(3), draw.labels(2, 3)),
                TypeError,
                "sigmoid_binary_cross_entropy: labels must be a floating-point array",
            ),
            *bad_options(
                "sigmoid_binary_cross_entropy",
                soft(2, 3),
                ("negative weight of yes", "pos_weight must be finite and at least 0", ValueError, {"pos_weight": -1.0}),
                (
                    "weights of another width",
                    "pos_weight must have a shape that broadcasts to (2, 3), got (2,)",
                    ValueError,
                    {"pos_weight": np.ones(2)},
                ),
            ),
        ),
    ),
    Spec(
        binary_cross_entropy,
        reference=by_entries(binary_cross_entropy_at_logit),
        source=library("optax.losses.sigmoid_binary_cross_entropy at jax.scipy.special.logit"),
        cases=(
            *cases_of_entries(chances),
            Case("hard labels", hard_chances, {"reduction": "none"}),
            Case(
                "certain predictions",  # beyond which there are none, so that no difference can be taken
                lambda draw: (np.array([0.0, 1e-50, math.exp(-100), 1.0, 0.3, 0.0, 1.0]), draw.uniform(7)),
                {"reduction": "none"},
                frozenset({Flag.NOT_THE_DERIVATIVE, Flag.REPEATED}),
            ),
        ),
        strategy=fuzzed(chances, broadcasts=False),
        errors=(
            *errors_of(
                "binary_cross_entropy",
                chances,
                ("predictions", "labels"),
                unequal=UNEQUAL.format("predictions"),
            ),
            Error(
                "a logit",
                lambda draw: (np.array([0.5, 1.5]), draw.uniform(2)),
                ValueError,
                "binary_cross_entropy: predictions must be in [0, 1], got 1.5",
            ),
        ),
    ),
    Spec(
        sigmoid_focal_loss,
        reference=by_entries(focal_loss_by_optax),
        source=library("optax.losses.sigmoid_focal_loss"),
        cases=(
            *cases_of_entries(soft),
            Case("many entries", soft(20, 21, scale=2.0)),
            Case("hard labels, alpha", hard, {"alpha": 0.25}),
            Case("less focus, alpha", soft(3, 4), {"alpha": 0.75, "gamma": 0.5, "reduction": "none"}),
            Case("no focus", soft(2, 3), {"gamma": 0}),
            certain("certain predictions, alpha", alpha=0.25),
            certain("certain predictions, no focus", gamma=0.0),
            Case(
                "undecided", lambda draw: (np.array([0.0, -0.0, 0.5, 0.0]), draw.uniform(4)), flags=frozenset({Flag.REPEATED})
            ),
        ),
        strategy=fuzzed(soft, focus, broadcasts=False),
        errors=(
            *errors_of(
                "sigmoid_focal_loss",
                soft,
                ("logits", "labels"),
                unequal=UNEQUAL.format("logits"),
            ),
            *bad_options(
                "sigmoid_focal_loss",
                soft(3),
                ("alpha above 1", "alpha must be in [0, 1], got 2", ValueError, {"alpha": 2}),
                ("negative gamma", "gamma must be finite and at least 0, got -1.0", ValueError, {"gamma": -1.0}),
                ("gamma is not a number", "gamma must be a number, got str", TypeError, {"gamma": "2"}),
            ),
        ),
        tier=2,
    ),
)
