"""The multi-layer net with its loss, plain and with all that it can have: references, cases, strategies."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from oracle.catalogue.models.parts import Net, clear, cross_entropy, dropped, labels, linear, weights
from oracle.catalogue.penalties import l1_by_optax, l2_by_optax
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.combinators import named
from purenet.models import multi_layer_net

Arguments = tuple[Any, Any]

SIZES = (3, 5, 4, 2)
GAP = 1e-2
PLAIN = multi_layer_net.goal(SIZES)
EXTENDED = named(
    multi_layer_net.goal(SIZES, activation="tanh", batch_norm=True, dropout_rate=0.25, l1=0.03, l2=0.1),
    multi_layer_net.goal,
    "multi_layer_net_extended_goal",
)


def goal_by_equinox(params: Any, x: Any, *, loss: dict[str, Any]) -> Any:
    first, *others = [linear(layer) for layer in params["net"].values()]
    layers = [first, *(part for layer in others for part in (eqx.nn.Lambda(jax.nn.relu), layer))]
    return cross_entropy(jax.vmap(eqx.nn.Sequential(layers))(x), loss["labels"])


def extended_by_equinox(params: Any, x: Any, *, loss: dict[str, Any], net: Any = None) -> Any:
    own, options = params["net"], net or {}
    for i in (1, 2):
        x = jax.vmap(linear(own[f"affine{i}"]))(x)
        given = options.get(f"batch_norm{i}", {}).get("statistics", (None, None))
        mean, variance = (None if s is None else jnp.asarray(s, x.dtype) for s in given)
        scaled = jax.nn.standardize(x, axis=0, mean=mean, variance=variance, epsilon=1e-5)
        x = jnp.tanh(own[f"batch_norm{i}"]["gamma"] * scaled + own[f"batch_norm{i}"]["beta"])
        x = dropped(x, f"dropout{i}", options, 0.25)
    logits = jax.vmap(linear(own["affine3"]))(x)
    matrices = [own[f"affine{i}"]["w"] for i in (1, 2, 3)]
    return cross_entropy(logits, loss["labels"]) + l1_by_optax(matrices, strength=0.03) + l2_by_optax(matrices, strength=0.1)


def affines(draw: Draw, sizes: tuple[int, ...]) -> Net:
    return weights(draw, {f"affine{i}": pair for i, pair in enumerate(pairwise(sizes), start=1)})


def plain(draw: Draw, count: int = 4) -> Arguments:
    return clear(PLAIN, GAP, lambda: (affines(draw, SIZES), draw.normal(count, SIZES[0])))


def extended(draw: Draw, count: int = 4) -> Arguments:
    net = affines(draw, SIZES)
    for i, width in enumerate(SIZES[1:-1], start=1):
        # Without biases, which a norm of the batch takes away again: their gradient would be 0.
        net[f"affine{i}"] = {"w": draw.away_from([0.0], *SIZES[i - 1 : i + 1])}
        net[f"batch_norm{i}"] = {"gamma": draw.uniform(width, low=0.5, high=2.0), "beta": draw.normal(width)}
    net["affine3"]["w"] = draw.away_from([0.0], *SIZES[-2:])
    return {"net": net}, draw.normal(count, SIZES[0])


def statistics(draw: Draw) -> dict[str, Any]:
    """Those of both norms, for inference."""
    return {
        f"batch_norm{i}": {"statistics": (draw.normal(width), draw.uniform(width, low=0.5, high=2.0))}
        for i, width in enumerate(SIZES[1:-1], start=1)
    }


def keys(draw: Draw) -> dict[str, Any]:
    """Those of both dropouts, for training."""
    return {f"dropout{i}": {"key": draw.key()} for i in (1, 2)}


def goals(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    count = draw.between(1, 4)
    return plain(draw, count), {"loss": {"labels": draw.labels(SIZES[-1], count)}}


def extended_goals(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    count = draw.between(3, 6)
    net = {**keys(draw), **statistics(draw)} if draw.choice([True, False]) else statistics(draw)
    return extended(draw, count), {"loss": {"labels": draw.labels(SIZES[-1], count)}, "net": net}


FOUR = labels(1, 0, 1, 0)

SPECS = (
    Spec(
        PLAIN,
        reference=goal_by_equinox,
        source=library("equinox.nn.Linear, optax.softmax_cross_entropy_with_integer_labels"),
        cases=(
            Case("three layers", plain, FOUR),
            Case("one row", partial(plain, count=1), labels(1), frozenset({Flag.BATCH_OF_ONE})),
            Case("no rows", partial(plain, count=0), labels(), frozenset({Flag.EMPTY_BATCH})),
        ),
        strategy=goals,
        errors=(
            Error(
                "a layer missing",
                lambda draw: ({"net": affines(draw, SIZES[:-1])}, draw.normal(2, 3)),
                ValueError,
                "multi_layer_net: params must hold the stages affine1, affine2, affine3, got affine1, affine2",
                labels(0, 1),
            ),
            Error(
                "another number of inputs",
                lambda draw: ({"net": affines(draw, SIZES)}, draw.normal(2, 4)),
                ValueError,
                "affine: x must have shape (..., 3) to match params.w (3, 5), got (2, 4)",
                labels(0, 1),
            ),
            Error("no labels", plain, TypeError, "missing the keyword argument 'labels'"),
        ),
    ),
    Spec(
        EXTENDED,
        reference=extended_by_equinox,
        source=library("equinox.nn.Linear and Dropout, jax.nn.standardize, optax"),
        cases=(
            Case("training", extended, lambda draw: {**FOUR, "net": keys(draw)}),
            Case(
                "inference of one row",
                partial(extended, count=1),
                lambda draw: {**labels(1), "net": statistics(draw)},
                frozenset({Flag.BATCH_OF_ONE}),
            ),
        ),
        strategy=extended_goals,
        errors=(
            Error(
                "one row without statistics",
                partial(extended, count=1),
                ValueError,
                "batch_norm: x (1, 5) has one value per channel, which has no variance; give statistics",
                labels(1),
            ),
            Error(
                "a key of no key",
                extended,
                TypeError,
                "dropout: key must be a NumPy array of dtype uint32 and shape (2,), got int",
                {**FOUR, "net": {"dropout1": {"key": 3}}},
            ),
        ),
    ),
)
