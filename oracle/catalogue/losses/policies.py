"""Losses of policies: references, cases, strategies."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.losses.margins import UNMOVED
from oracle.catalogue.losses.reductions import (
    KINK,
    SATURATED,
    bad_options,
    broadcast_cases,
    by_entries,
    cases_of_entries,
    errors_of,
    fuzzed,
)
from oracle.spec import Array, Case, Draw, Spec, composed, library
from purenet.losses.policies import clipped_surrogate_pg_loss, dpo_loss


def preference_by_optax(
    chosen: Any, rejected: Any, ref_chosen: Any, ref_rejected: Any, *, beta: float = 0.1, label_smoothing: float = 0.0
) -> Any:
    """A yes or no, whether the reward of the chosen answer is the larger one."""
    lead = beta * (chosen - ref_chosen) - beta * (rejected - ref_rejected)
    return optax.losses.sigmoid_binary_cross_entropy(lead, jnp.full_like(lead, 1 - label_smoothing))


def surrogate_by_parts(prob_ratios: Any, advantages: Any, *, epsilon: float = 0.2) -> Any:
    """The gains and the losses, each of which has one bound."""
    gain, loss = jnp.maximum(advantages, 0), jnp.maximum(-advantages, 0)
    return loss * jnp.maximum(prob_ratios, 1 - epsilon) - gain * jnp.minimum(prob_ratios, 1 + epsilon)


def answers(*shape: int, **_: Any) -> Any:
    """Draws logarithms of probabilities of two answers by two models."""

    def arguments(draw: Draw) -> tuple[Array, Array, Array, Array]:
        chosen, rejected = -draw.uniform(*shape, high=9.0), -draw.uniform(*shape, high=9.0)
        return chosen, rejected, chosen + draw.normal(*shape), rejected + draw.normal(*shape)

    return arguments


def far_answers(draw: Draw) -> tuple[Array, Array, Array, Array]:
    leads = np.array([1e4, -1e4, 400.0, -400.0, 7500.0, 3.0])
    return leads - 1e4, np.full(6, -1e4), draw.normal(6), draw.normal(6)


def actions(*shape: int, epsilon: float = 0.2, **_: Any) -> Any:
    """Draws ratios that are not near a bound, and advantages that are not near 0; the first gains something."""

    def arguments(draw: Draw) -> tuple[Array, Array]:
        ratios = np.array(1 + draw.away_from([-epsilon, epsilon], *shape, scale=0.3, gap=0.02))
        ratios.reshape(-1)[:1] = 1.01
        return ratios, draw.away_from([0.0], *shape, gap=0.1)

    return arguments


AT_BOUNDS = np.array([1.25, 1.25, 0.75, 0.75, 1.5, 0.5, 1.125]), np.array([2.0, -1.0, 1.5, -0.5, 0.0, 0.0, 0.0])

SPECS = (
    Spec(
        dpo_loss,
        reference=by_entries(preference_by_optax),
        source=library("optax.losses.sigmoid_binary_cross_entropy"),
        cases=(
            *cases_of_entries(answers),
            *broadcast_cases(answers, 4),
            Case("large beta, wrong labels", answers(3, 4), {"beta": 2.0, "label_smoothing": 0.25, "reduction": "none"}),
            Case("far from the reference", far_answers, {"reduction": "none"}, SATURATED),
            Case("far, wrong labels", far_answers, {"label_smoothing": 0.125, "reduction": "none"}, SATURATED),
            Case("no beta", answers(2, 3), {"beta": 0.0}, UNMOVED),
        ),
        strategy=fuzzed(
            answers, lambda draw: {"beta": draw.choice([0.1, 1.0, 0.5]), "label_smoothing": draw.choice([0.0, 0.1])}
        ),
        errors=(
            *errors_of("dpo_loss", answers, ("chosen_logps", "rejected_logps", "ref_chosen_logps", "ref_rejected_logps")),
            *bad_options(
                "dpo_loss",
                answers(2, 3),
                ("negative beta", "beta must be finite and at least 0, got -1.0", ValueError, {"beta": -1.0}),
                ("more than all", "label_smoothing must be in [0, 1], got 1.5", ValueError, {"label_smoothing": 1.5}),
                ("beta is not a number", "beta must be a number, got str", TypeError, {"beta": "1"}),
            ),
        ),
        tier=3,
    ),
    Spec(
        clipped_surrogate_pg_loss,
        reference=by_entries(surrogate_by_parts),
        source=composed("jax.numpy.maximum and minimum of the ratios, of gains and losses by themselves"),
        cases=(
            *cases_of_entries(actions),
            *broadcast_cases(actions),
            Case("a wide range", actions(3, 4, epsilon=0.5), {"epsilon": 0.5, "reduction": "none"}),
            Case("at the bounds, and no advantage", lambda draw: AT_BOUNDS, {"epsilon": 0.25, "reduction": "none"}, KINK),
            Case(
                "far from the old policy",
                lambda draw: (np.array([1e4, 1e4, 1e-30, 1e-30, 0.0]), np.array([100.0, -2.0, 1e3, -0.5, 1.0])),
                {"reduction": "none"},
                SATURATED,
            ),
        ),
        strategy=fuzzed(actions, lambda draw: {"epsilon": draw.choice([0.2, 0.1, 0.5])}),
        errors=(
            *errors_of("clipped_surrogate_pg_loss", actions, ("prob_ratios", "advantages")),
            *bad_options(
                "clipped_surrogate_pg_loss",
                actions(2, 3),
                ("negative epsilon", "epsilon must be finite and at least 0, got -1.0", ValueError, {"epsilon": -1.0}),
                ("epsilon is not a number", "epsilon must be a number, got str", TypeError, {"epsilon": "1"}),
            ),
        ),
        tier=3,
    ),
)
