"""Penalties: references, cases, strategies."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import purenet as pn
from oracle.spec import Case, Deviation, Draw, Error, Flag, Spec, composed, library
from purenet.penalties import elastic_net_penalty, group_lasso_penalty, orthogonal_penalty


def l1_by_optax(weights: Any, *, strength: float) -> Any:
    # A constant at 0: JAX's slope of |w| there is 1, ours is 0.
    nonzero = jax.tree.map(lambda w: jnp.where(w == 0, 0, w), weights)
    return strength * optax.tree.norm(nonzero, ord=1)


def l2_by_optax(weights: Any, *, strength: float) -> Any:
    return strength / 2 * optax.tree.norm(weights, squared=True)


def elastic_net_by_optax(weights: Any, *, strength: float, l1_ratio: float = 0.5) -> Any:
    return l1_by_optax(weights, strength=strength * l1_ratio) + l2_by_optax(weights, strength=strength * (1 - l1_ratio))


def group_lasso_by_safe_norm(weights: Any, *, strength: float, axis: Any = 0) -> Any:
    def penalty(w: Any) -> Any:
        axes = tuple(range(w.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        size = math.prod(w.shape[a] for a in axes)
        groups = jnp.moveaxis(w, axes, tuple(range(len(axes)))).reshape(size, w.size // max(size, 1))
        # The norm of a group times the root of its size is that of the group repeated so often.
        return jnp.sum(optax.safe_norm(jnp.tile(groups, (len(groups), 1)), 0.0, axis=0))

    return strength * sum(penalty(w) for w in jax.tree.leaves(weights))


def orthogonal_by_larger_product(weights: Any, *, strength: float) -> Any:
    def penalty(w: Any) -> Any:
        w = w.reshape(w.shape[0], math.prod(w.shape[1:]))
        larger = w @ w.T if w.shape[1] <= w.shape[0] else w.T @ w
        return jnp.sum((larger - jnp.eye(len(larger), dtype=w.dtype)) ** 2) - abs(w.shape[0] - w.shape[1])

    return strength * sum(penalty(w) for w in jax.tree.leaves(weights))


def absolute(x: Any) -> Any:
    return jnp.abs(x)


def norm(x: Any) -> Any:
    return jnp.linalg.norm(x)


def group_slopes_at_zero() -> tuple[float, float]:
    """Ours, and JAX's of the norm."""
    _, pullback = pn.vjp(group_lasso_penalty, np.zeros(2), strength=1.0)
    return float(pullback(1.0)[0][0]), float(jax.grad(norm)(jnp.zeros(2))[0])


def slopes_at_zero() -> tuple[float, float]:
    """Ours, and JAX's of the absolute value."""
    _, pullback = pn.vjp(pn.l1_penalty, np.zeros(1), strength=1.0)
    return float(pullback(1.0)[0][0]), float(jax.grad(absolute)(0.0))


def layers(draw: Draw) -> tuple[Any]:
    """Weights of two layers, none near 0."""
    return ({"affine1": {"w": draw.away_from([0.0], 3, 2)}, "affine2": {"w": draw.away_from([0.0], 2, 4)}},)


def mixed(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    weights, options = trees(draw)
    return weights, {**options, "l1_ratio": draw.choice([0.5, 0.0, 0.9, 1.0])}


def matrices(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Matrices, perhaps with more dimensions."""
    weights = [draw.normal(*(draw.between(1, 4) for _ in range(draw.between(2, 3)))) for _ in range(draw.between(1, 2))]
    return (weights,), {"strength": draw.choice([0.5, 1e-3, 2.0])}


def groups(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    weights, options = matrices(draw)
    return weights, {**options, "axis": draw.choice([0, 1, (0, 1), -1, None])}


def trees(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def leaf() -> Any:
        return draw.away_from([0.0], *draw.shape(), scale=draw.choice([1.0, 5.0]))

    kind = draw.choice(["array", "list", "dict"])
    weights = leaf() if kind == "array" else [leaf(), leaf()] if kind == "list" else {"a": leaf(), "b": (leaf(), leaf())}
    return (weights,), {"strength": draw.choice([0.5, 1e-3, 2.0])}


CASES = (
    Case("two layers", layers, {"strength": 0.1}),
    Case("one array", lambda draw: (draw.away_from([0.0], 2, 3, 4),), {"strength": 1.5}),
    Case("a list", lambda draw: ([draw.away_from([0.0], 3), draw.away_from([0.0], 2, 2)],), {"strength": 1e-4}),
    Case("a scalar", lambda draw: (np.array(-2.0),), {"strength": 0.5}),
    Case("large and small", lambda draw: (np.array([100.0, -0.25, 3.0]),), {"strength": 0.1}),
    Case("strength zero", layers, {"strength": 0}, frozenset({Flag.ZERO_GRADIENT})),
    Case("no rows", lambda draw: ({"w": draw.normal(0, 3)},), {"strength": 0.1}, frozenset({Flag.EMPTY_BATCH})),
)


PENALIZED = pn.penalized(
    pn.chain(affine=pn.affine, loss=pn.softmax_cross_entropy),
    elastic_net_penalty.bind(strength=0.3, l1_ratio=0.25),
    mask={"affine": {"w": True, "b": False}},
)


def penalized_by_optax(params: Any, x: Any, *, loss: dict[str, Any]) -> Any:
    affine = params["affine"]
    losses = optax.softmax_cross_entropy_with_integer_labels(jnp.dot(x, affine["w"]) + affine["b"], loss["labels"])
    return losses.sum() / max(losses.size, 1) + elastic_net_by_optax(affine["w"], strength=0.3, l1_ratio=0.25)


def classifier(draw: Draw, rows: int, inputs: int = 4, classes: int = 3) -> tuple[Any, Any]:
    return {"affine": {"w": draw.away_from([0.0], inputs, classes), "b": draw.normal(classes)}}, draw.normal(rows, inputs)


def classifier_at_zero(draw: Draw) -> tuple[Any, Any]:
    params, x = classifier(draw, 3)
    params["affine"]["w"][1] = [0.0, -0.0, 2.0]
    return params, x


def classifiers(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    rows, classes = draw.between(1, 4), draw.between(2, 4)
    return classifier(draw, rows, draw.between(1, 4), classes), {"loss": {"labels": draw.labels(classes, rows)}}


def at(*labels: int) -> dict[str, Any]:
    return {"loss": {"labels": np.array(labels, np.int64)}}


def bad_weights(name: str, what: str, match: str, shape: tuple[int, ...], by: type[Exception], **options: Any) -> Error:
    return Error(what, lambda draw: ([draw.normal(*shape)],), by, f"{name}: {match}", {"strength": 0.1, **options})


def errors(name: str) -> tuple[Error, ...]:
    def bad(what: str, exception: type[Exception], match: str, **options: Any) -> Error:
        return Error(what, layers, exception, f"{name}: {match}", options)

    return (
        bad("no strength", TypeError, "missing the keyword argument 'strength'"),
        bad("negative strength", ValueError, "strength must be finite and at least 0, got -0.1", strength=-0.1),
        bad("strength is not finite", ValueError, "strength must be finite and at least 0, got nan", strength=float("nan")),
        bad("strength is not a number", TypeError, "strength must be a number, got str", strength="0.1"),
        Error(
            "integer weights",
            lambda draw: ({"w": draw.labels(9, 3)},),
            TypeError,
            f"{name}: weights.w must be a floating-point array",
            {"strength": 0.1},
        ),
    )


SPECS = (
    Spec(
        pn.l1_penalty,
        reference=l1_by_optax,
        source=library("optax.tree.norm(ord=1)"),
        cases=(
            *CASES,
            Case(
                "some weights are zero",
                lambda draw: ({"w": np.array([[0.0, 1.5], [-0.5, -0.0]]), "v": draw.away_from([0.0], 3)},),
                {"strength": 0.1},
                frozenset({Flag.AT_KINK}),
            ),
        ),
        strategy=trees,
        errors=errors("l1_penalty"),
        deviations=(
            Deviation(
                point="a weight at 0",
                ours=0.0,
                jax=1.0,
                why="the symmetric subgradient: a penalty must not push a weight that is at its target",
                measure=slopes_at_zero,
            ),
        ),
    ),
    Spec(
        pn.l2_penalty,
        reference=l2_by_optax,
        source=library("optax.tree.norm(squared=True)"),
        cases=(
            *CASES,
            Case("zeros", lambda draw: (np.array([0.0, 2.0, -0.0]),), {"strength": 0.5}, frozenset({Flag.REPEATED})),
        ),
        strategy=trees,
        errors=errors("l2_penalty"),
    ),
    Spec(
        elastic_net_penalty,
        tier=2,
        reference=elastic_net_by_optax,
        source=library("optax.tree.norm(ord=1), optax.tree.norm(squared=True)"),
        cases=(
            Case("two layers", layers, {"strength": 0.1, "l1_ratio": 0.3}),
            Case("a list", lambda draw: ([draw.away_from([0.0], 3), draw.away_from([0.0], 2, 2)],), {"strength": 1.5}),
            Case("l2 alone", lambda draw: (draw.away_from([0.0], 2, 3),), {"strength": 0.5, "l1_ratio": 0}),
            Case("l1 alone", lambda draw: (draw.away_from([0.0], 2, 3),), {"strength": 0.5, "l1_ratio": 1}),
            Case(
                "some weights are zero",
                lambda draw: (np.array([[0.0, 1.5], [-0.5, -0.0]]),),
                {"strength": 0.5},
                frozenset({Flag.AT_KINK}),
            ),
            Case("no rows", lambda draw: ({"w": draw.normal(0, 3)},), {"strength": 0.1}, frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=mixed,
        errors=(
            *errors("elastic_net_penalty"),
            bad_weights(
                "elastic_net_penalty", "ratio above 1", "l1_ratio must be in [0, 1], got 2", (3,), ValueError, l1_ratio=2
            ),
        ),
    ),
    Spec(
        PENALIZED,
        tier=2,
        reference=penalized_by_optax,
        source=library("optax.softmax_cross_entropy_with_integer_labels, optax.tree.norm"),
        cases=(
            Case("three rows", lambda draw: classifier(draw, 3), at(2, 0, 1)),
            Case("one row", lambda draw: classifier(draw, 1), at(1), frozenset({Flag.BATCH_OF_ONE})),
            Case("some weights are zero", classifier_at_zero, at(2, 2, 1), frozenset({Flag.AT_KINK})),
        ),
        strategy=classifiers,
        errors=(
            Error("a stage missing", lambda draw: ({}, draw.normal(1, 2)), ValueError, "must hold the stages affine", at(0)),
            Error("no labels", lambda draw: classifier(draw, 2), TypeError, "missing the keyword argument 'labels'"),
            Error(
                "integers",
                lambda draw: (classifier(draw, 2)[0], draw.labels(9, 2, 4)),
                TypeError,
                "affine: x must be a floating-point array",
                at(0, 1),
            ),
        ),
    ),
    Spec(
        group_lasso_penalty,
        tier=2,
        reference=group_lasso_by_safe_norm,
        source=library("optax.safe_norm"),
        cases=(
            Case("columns of two layers", layers, {"strength": 0.1}),
            Case("rows", lambda draw: (draw.normal(4, 2),), {"strength": 1.5, "axis": 1}),
            Case("filters", lambda draw: (draw.normal(2, 2, 3, 1),), {"strength": 0.5, "axis": (1, 2, 3)}),
            Case("whole arrays", lambda draw: ([draw.normal(3), draw.normal(2, 2)],), {"strength": 0.5, "axis": None}),
            Case("no columns", lambda draw: (draw.normal(3, 0),), {"strength": 0.5}, frozenset({Flag.EMPTY_BATCH})),
            Case(
                "a column of zeros",
                lambda draw: (np.array([[0.0, 3.0], [-0.0, -4.0]]),),
                {"strength": 0.5},
                frozenset({Flag.AT_KINK}),
            ),
            Case("no rows", lambda draw: ({"w": draw.normal(0, 3)},), {"strength": 0.1}, frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=groups,
        errors=(
            *errors("group_lasso_penalty"),
            bad_weights("group_lasso_penalty", "no such axis", "axis must be one of the 1 axes", (3,), ValueError, axis=1),
            bad_weights("group_lasso_penalty", "axis by name", "axis must be an integer", (3,), TypeError, axis="in"),
        ),
        deviations=(
            Deviation(
                point="a group at 0",
                ours=0.0,
                jax=float("nan"),
                why="the smallest subgradient: a penalty must not push a group that is at its target",
                measure=group_slopes_at_zero,
            ),
        ),
    ),
    Spec(
        orthogonal_penalty,
        tier=2,
        reference=orthogonal_by_larger_product,
        source=composed("the larger of the two products, less the difference of their sizes"),
        cases=(
            Case("two layers, a tall and a wide one", layers, {"strength": 0.1}),
            Case("square", lambda draw: (draw.normal(3, 3),), {"strength": 1.5}),
            Case("filters", lambda draw: (draw.normal(2, 3, 2),), {"strength": 0.5}),
            Case(
                "one row orthonormal to the others, one not",
                lambda draw: ([np.eye(2, 3), np.array([[0.6, 0.8], [0.8, 0.6]])],),
                {"strength": 0.5},
                frozenset({Flag.ZERO_GRADIENT}),
            ),
            Case("of size 1e4", lambda draw: (draw.normal(2, 3) * 1e4,), {"strength": 1e-10}, frozenset({Flag.SATURATED})),
            Case("no rows", lambda draw: ({"w": draw.normal(0, 3)},), {"strength": 0.1}, frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=matrices,
        errors=(
            *errors("orthogonal_penalty"),
            bad_weights(
                "orthogonal_penalty", "a vector", "weights must have at least two dimensions, got shape (3,)", (3,), ValueError
            ),
        ),
    ),
)
