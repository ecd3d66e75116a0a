"""Losses between distributions: references, cases, strategies."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from oracle.catalogue.losses.reductions import (
    REPEATED,
    SATURATED,
    bad_options,
    broadcast_cases,
    by_entries,
    by_rows,
    cases_of_entries,
    cases_of_rows,
    errors_of,
    fuzzed,
    fuzzed_rows,
    narrowed,
)
from oracle.spec import Array, Case, Deviation, Draw, Error, Flag, Spec, library
from purenet.losses.distributions import gaussian_nll_loss, kl_divergence, poisson_nll_loss, vae_kl
from purenet.op import vjp


def kl_by_optax(log_predictions: Any, targets: Any, *, log_targets: bool = False, **options: Any) -> Any:
    divergence = optax.losses.kl_divergence_with_log_targets if log_targets else optax.losses.kl_divergence
    return divergence(log_predictions, targets, **options)


def poisson_by_optax(predictions: Any, targets: Any, *, log_input: bool = True, full: bool = False, eps: float = 1e-8) -> Any:
    """The divergence of the targets from the means is the likelihood up to what the targets alone decide."""
    logs, shift = (predictions, 0.0) if log_input else (jnp.log(predictions + eps), eps)
    divergence = optax.losses.generalized_kl_divergence(logs, targets, axis=()) - shift
    stirling = jnp.log(2 * jnp.pi * targets) / 2
    own = targets - targets * jnp.log(targets)
    return divergence + (jnp.where(targets > 1, stirling, own) if full else own)


def gaussian_by_logpdf(predictions: Any, targets: Any, var: Any, *, full: bool = False, eps: float = 1e-6) -> Any:
    per_row = var.ndim == predictions.ndim - 1
    scale = jnp.sqrt(jnp.maximum(jnp.expand_dims(var, -1) if per_row else var, eps))
    return -jax.scipy.stats.norm.logpdf(targets, predictions, scale) - (0 if full else math.log(2 * math.pi) / 2)


def vae_by_logpdf(mean: Any, log_var: Any, *, axis: Any, where: Any = True) -> Any:
    """The mean difference of the log-densities at one deviation above and below: exact, for they are parabolas."""
    deviation, logpdf = jnp.exp(log_var / 2), jax.scipy.stats.norm.logpdf
    above, below = (logpdf(z * deviation, 0.0, deviation) - logpdf(mean + z * deviation) for z in (1.0, -1.0))
    return jnp.where(where, (above + below) / 2, 0).sum(axis=axis)


def distributions(*shape: int, log_targets: bool = False, **_: Any) -> Any:
    """Draws logarithms of probabilities, and probabilities or their logarithms; neither need sum to 1."""

    def arguments(draw: Draw) -> tuple[Array, Array]:
        targets = draw.uniform(*shape, low=0.1, high=0.9)
        return np.log(draw.uniform(*shape, low=0.1, high=0.9)), np.log(targets) if log_targets else targets

    return arguments


def same(draw: Draw) -> tuple[Array, Array]:
    targets = draw.probabilities(3, 4)
    return np.log(targets), targets


def certain(draw: Draw) -> tuple[Array, Array]:
    """Logarithms of targets among which 0 is, that of 1."""
    return draw.normal(2, 3), np.array([[0.0, -30.0, -2.0], [-1.0, 0.0, -0.5]])


def counts(*shape: int, log_input: bool = True, **_: Any) -> Any:
    """Draws means or their logarithms, and targets about them that are not near 1."""

    def arguments(draw: Draw) -> tuple[Array, Array]:
        means = draw.normal(*shape) if log_input else draw.uniform(*shape, low=0.5, high=4.0)
        return means, np.where(draw.mask(*shape), draw.uniform(*shape, low=1.5, high=6.0), draw.uniform(*shape, high=0.6))

    return arguments


def codes(*shape: int, **_: Any) -> Any:
    """Draws means, and logarithms of variances."""
    return lambda draw: (draw.normal(*shape), draw.normal(*shape))


def normal(*shape: int, **_: Any) -> Any:
    """Draws means, targets and variances."""

    def arguments(draw: Draw) -> tuple[Array, Array, Array]:
        return draw.normal(*shape), draw.normal(*shape), draw.uniform(*shape, low=0.5, high=3.0)

    return arguments


def with_variances(shape: tuple[int, ...], *variances: int) -> Any:
    """Draws predictions and targets of this shape, and variances of that one."""
    return lambda draw: (draw.normal(*shape), draw.normal(*shape), draw.uniform(*variances, low=0.25, high=2.0))


def shared_variances(*shape: int, **_: Any) -> Any:
    """Draws variances of entries, of rows or of all, and targets of entries or the same for all first indices."""

    def arguments(draw: Draw) -> tuple[Array, Array, Array]:
        sizes = tuple(draw.choice([n, 1]) for n in shape)
        p, t, var = with_variances(shape, *draw.choice([shape, shape[:-1], sizes, ()]))(draw)
        return p, draw.choice([t, t[:1]]) if shape else t, np.asarray(var)

    return arguments


def slopes_at_target_zero() -> tuple[float, float]:
    """Ours, and JAX's, of the second of two entries."""
    x, targets = np.array([-0.75, -0.5]), np.array([1.0, 0.0])
    slope = jax.grad(optax.losses.kl_divergence, argnums=1)(jnp.asarray(x, jnp.float32), jnp.asarray(targets, jnp.float32))
    return float(vjp(kl_divergence, x, targets)[1](1.0)[1][1]), float(slope[1])


SPECS = (
    Spec(
        kl_divergence,
        reference=by_rows(kl_by_optax),
        source=library("optax.losses.kl_divergence, kl_divergence_with_log_targets"),
        cases=(
            *cases_of_rows(distributions),
            Case(
                "targets and predictions broadcast",
                narrowed(distributions(2, 3, 4), np.s_[:, :, :1], np.s_[0]),
                {"reduction": "none"},
                REPEATED,
            ),
            Case("the same distribution", same),
            Case("one certain target", certain, {"log_targets": True}, frozenset({Flag.REPEATED})),
            Case("logarithms of targets", distributions(3, 4, log_targets=True), {"log_targets": True}),
            Case(
                "logarithms of targets, some nearly impossible",
                lambda draw: (
                    np.array([[-1.0, -0.5, -1e4], [-2.0, -1e4, -0.25]]),
                    np.array([[-0.5, -1e4, -1e4], [-1e3, -0.5, -1.0]]),
                ),
                {"log_targets": True, "reduction": "none"},
                SATURATED,
            ),
        ),
        strategy=fuzzed_rows(distributions, lambda draw: {"log_targets": draw.choice([False, True])}),
        errors=(
            *errors_of("kl_divergence", distributions, ("log_predictions", "targets")),
            Error(
                "logarithms taken for targets",
                distributions(2, 3, log_targets=True),
                ValueError,
                "kl_divergence: targets must be at least 0",
            ),
            *bad_options(
                "kl_divergence",
                distributions(2, 3),
                ("no such axis", "axis must be one of the 2 axes of x (2, 3), got 2", ValueError, {"axis": 2}),
                ("weights of entries", "weight must have a shape that broadcasts to (2,)", ValueError, {"weight": np.ones(3)}),
            ),
        ),
        deviations=(
            Deviation(
                point="a target of 0, where log_predictions is -0.5",
                ours=0.5,
                jax=float("nan"),
                why="0 log 0 is 0; the other term has a slope",
                measure=slopes_at_target_zero,
            ),
        ),
        tier=2,
    ),
    Spec(
        vae_kl,
        reference=by_rows(vae_by_logpdf),
        source=library("jax.scipy.stats.norm.logpdf"),
        cases=(
            *cases_of_rows(codes),
            Case("one variance of each entry of the code", narrowed(codes(3, 4), np.s_[:], np.s_[0]), flags=REPEATED),
            Case("near the standard normal", lambda draw: (draw.normal(2, 3, scale=0.05), draw.normal(2, 3, scale=0.05))),
            Case(
                "far from it",
                lambda draw: (np.array([[200.0, 0.5], [-1.0, 2.0]]), np.array([[-60.0, 1.0], [10.0, -40.0]])),
                {"reduction": "none"},
                SATURATED,
            ),
        ),
        strategy=fuzzed_rows(codes),
        errors=(
            *errors_of("vae_kl", codes, ("mean", "log_var")),
            *bad_options("vae_kl", codes(2, 3), ("no such axis", "axis must be one of the 2 axes", ValueError, {"axis": 2})),
        ),
        tier=2,
    ),
    Spec(
        poisson_nll_loss,
        reference=by_entries(poisson_by_optax),
        source=library("optax.losses.generalized_kl_divergence"),
        cases=(
            *cases_of_entries(counts),
            *broadcast_cases(counts),
            Case("all of the likelihood", counts(3, 4), {"full": True, "reduction": "none"}),
            Case("means", counts(3, 4, log_input=False), {"log_input": False, "eps": 0.25, "reduction": "none"}),
            Case("means, all of the likelihood", counts(2, 3, log_input=False), {"log_input": False, "full": True}),
            Case(
                "vanishing means",
                lambda draw: (np.array([-1e4, -50.0, 8.0, 0.5]), np.array([0.25, 3.0, 2.0, 1e4])),
                {"reduction": "none"},
                SATURATED,
            ),
        ),
        strategy=fuzzed(counts, lambda draw: {"log_input": draw.choice([True, False]), "full": draw.choice([False, True])}),
        errors=(
            *errors_of("poisson_nll_loss", counts, ("predictions", "targets")),
            Error(
                "a negative mean",
                lambda draw: (np.array([0.5, -0.5]), np.ones(2)),
                ValueError,
                "poisson_nll_loss: predictions must be at least 0 without log_input, got -0.5",
                {"log_input": False},
            ),
            *bad_options(
                "poisson_nll_loss",
                counts(3),
                ("negative eps", "eps must be finite and at least 0, got -1.0", ValueError, {"eps": -1.0}),
                ("log_input is not boolean", "log_input must be True or False, got 'no'", TypeError, {"log_input": "no"}),
            ),
        ),
        tier=2,
    ),
    Spec(
        gaussian_nll_loss,
        reference=by_entries(gaussian_by_logpdf, spread=False),
        source=library("jax.scipy.stats.norm.logpdf"),
        cases=(
            *cases_of_entries(normal),
            Case("all of the likelihood", normal(3, 4), {"full": True, "reduction": "none"}),
            Case("a variance of each row", with_variances((3, 4), 3, 1), {"full": True}),
            Case("rows without the last axis", with_variances((3, 3), 3), {"reduction": "sum"}),
            Case("a variance of each column", with_variances((2, 3, 4), 1, 1, 4), {"reduction": "none"}),
            Case(
                "a variance of all, holes",
                with_variances((2, 3)),
                {"where": np.array([[True, False, True], [True, True, False]])},
                frozenset({Flag.MASKED}),
            ),
            Case("targets broadcast", narrowed(normal(2, 3, 4), *[np.s_[:], np.s_[0], np.s_[:, :1]]), flags=REPEATED),
            Case(
                "predictions broadcast",
                narrowed(normal(2, 3, 4), np.s_[:, :, :1], np.s_[0, :1], np.s_[:, :, 0]),
                {"reduction": "none"},
                REPEATED,
            ),
            Case("rows without any row", with_variances((0, 4), 0), flags=frozenset({Flag.EMPTY_BATCH})),
            Case(
                "some variances below the least",
                lambda draw: (np.array([0.5, 1.0, -2.0]), np.array([0.25, 1.5, -1.0]), np.array([0.125, 1.0, 2.0])),
                {"eps": 0.25, "reduction": "none"},
            ),
            Case(
                "far apart",
                lambda draw: (np.array([1e4, -1e4, 0.5]), np.array([-1e4, 5.0, 1.0]), np.array([2e4, 1e4, 0.25])),
                {"reduction": "none"},
                SATURATED,
            ),
        ),
        strategy=fuzzed(shared_variances, lambda draw: {"full": draw.choice([False, True])}, broadcasts=False),
        errors=(
            *errors_of("gaussian_nll_loss", normal, ("predictions", "targets", "var")),
            Error(
                "variances of another number",
                lambda draw: (draw.normal(3, 4), draw.normal(3, 4), np.ones(4)),
                ValueError,
                "gaussian_nll_loss: var must have the shape of predictions (3, 4), with or without its last axis",
            ),
            Error(
                "a negative variance",
                lambda draw: (draw.normal(2), draw.normal(2), np.array([1.0, -0.5])),
                ValueError,
                "gaussian_nll_loss: var must be at least 0, got -0.5",
            ),
            *bad_options(
                "gaussian_nll_loss",
                normal(3),
                ("eps is not a number", "eps must be a number, got str", TypeError, {"eps": "1"}),
            ),
        ),
        tier=2,
    ),
)
