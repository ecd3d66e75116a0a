"""The two-layer net with its loss: references, cases, strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox
import jax
import numpy as np
import optax

import purenet as pn
from oracle.spec import Case, Draw, Error, Flag, Spec, library
from purenet.data import FIRST_TRAINING_DIGITS, mnist_digits, scaled
from purenet.models import two_layer_net

Net = dict[str, dict[str, Any]]
Arguments = tuple[Any, Any]

GAP = 1e-2


def goal_by_mlp(params: dict[str, Net], x: Any, *, loss: dict[str, Any], last: Callable[[Any], Any] = lambda y: y) -> Any:
    first, second = params["net"]["affine1"], params["net"]["affine2"]
    (inputs, hidden), classes = first["w"].shape, second["b"].size
    skeleton = equinox.nn.MLP(inputs, classes, hidden, 1, jax.nn.relu, last, dtype=x.dtype, key=jax.random.key(0))
    mlp = equinox.tree_at(
        lambda m: [array for layer in m.layers for array in (layer.weight, layer.bias)],
        skeleton,
        [first["w"].T, first["b"], second["w"].T, second["b"]],
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(jax.vmap(mlp)(x), loss["labels"])
    return losses.sum() / max(losses.size, 1)  # not mean(), which is NaN for an empty batch


def goal_by_mlp_last_relu(params: dict[str, Net], x: Any, *, loss: dict[str, Any]) -> Any:
    return goal_by_mlp(params, x, loss=loss, last=jax.nn.relu)


def weights(draw: Draw, inputs: int, hidden: int, classes: int) -> Net:
    """Weights that keep the scale of what passes through (He), and biases that are not zero."""
    return {
        "affine1": {"w": draw.normal(inputs, hidden, scale=(2 / inputs) ** 0.5), "b": draw.normal(hidden, scale=0.3)},
        "affine2": {"w": draw.normal(hidden, classes, scale=(2 / hidden) ** 0.5), "b": draw.normal(classes, scale=0.3)},
    }


def clear(make: Callable[[], tuple[Net, Any]]) -> Arguments:
    """What `make` gives, called again until no sum that enters a relu lies within GAP of 0, except exactly there.

    The logits count too, so that the same arguments serve the net with and without the last relu.
    """
    for _ in range(1000):
        net, x = make()
        hidden = pn.affine(net["affine1"], x)
        sums = np.concatenate([hidden.ravel(), pn.affine(net["affine2"], pn.relu(hidden)).ravel()])
        if not np.any((np.abs(sums) < GAP) & (sums != 0)):
            return {"net": net}, x
    raise ValueError(f"clear: no arguments found that keep {GAP} away from every kink")


def small(draw: Draw, batch: int = 4) -> Arguments:
    return clear(lambda: (weights(draw, 5, 6, 3), draw.normal(batch, 5)))


def three_digits(draw: Draw) -> Arguments:
    x = scaled(mnist_digits().take(FIRST_TRAINING_DIGITS).images)
    return clear(lambda: (weights(draw, 784, 50, 10), x.copy()))


def hidden_unit_at_zero(draw: Draw) -> Arguments:
    def make() -> tuple[Net, Any]:
        net, x = weights(draw, 5, 6, 3), draw.normal(4, 5)
        x[1] = 0  # what enters the hidden units of this row is their bias
        net["affine1"]["b"][2] = 0
        return net, x

    return clear(make)


def logit_at_zero(draw: Draw) -> Arguments:
    def make() -> tuple[Net, Any]:
        net, x = weights(draw, 5, 6, 3), draw.normal(4, 5)
        x[1] = 0
        net["affine1"]["b"] = -np.abs(net["affine1"]["b"])  # this row's hidden units are off, its logits their bias
        net["affine2"]["b"][0] = 0
        return net, x

    return clear(make)


def goals(draw: Draw) -> tuple[Arguments, dict[str, Any]]:
    inputs, hidden, classes, batch = draw.between(1, 6), draw.between(1, 6), draw.between(2, 5), draw.between(1, 4)
    arguments = clear(lambda: (weights(draw, inputs, hidden, classes), draw.normal(batch, inputs)))
    return arguments, {"loss": {"labels": draw.labels(classes, batch)}}


def labels(*values: int) -> dict[str, Any]:
    return {"loss": {"labels": np.array(values, np.int64)}}


CASES = (
    Case("batch of 4", small, options=labels(2, 0, 1, 2)),
    Case("three real digits", three_digits, options=labels(5, 0, 4)),
    Case("one label in all rows", small, options=labels(1, 1, 1, 1), flags=frozenset({Flag.REPEATED})),
    Case("one row", lambda draw: small(draw, batch=1), options=labels(1), flags=frozenset({Flag.BATCH_OF_ONE})),
    Case("no rows", lambda draw: small(draw, batch=0), options=labels(), flags=frozenset({Flag.EMPTY_BATCH})),
    Case("a hidden unit at 0", hidden_unit_at_zero, options=labels(2, 0, 1, 2), flags=frozenset({Flag.AT_KINK})),
)

ERRORS = (
    Error(
        "params of the net alone",
        lambda draw: (weights(draw, 5, 6, 3), draw.normal(2, 5)),
        ValueError,
        "params must hold the stages net, got affine1, affine2",
        options=labels(0, 1),
    ),
    Error(
        "a layer missing",
        lambda draw: ({"net": {"affine1": weights(draw, 5, 6, 3)["affine1"]}}, draw.normal(2, 5)),
        ValueError,
        "params must hold the stages affine1, affine2, got affine1",
        options=labels(0, 1),
    ),
    Error(
        "images not in rows",
        lambda draw: ({"net": weights(draw, 784, 6, 3)}, draw.normal(2, 28, 28)),
        ValueError,
        "affine: x must have shape (..., 784) to match params.w (784, 6), got (2, 28, 28)",
        options=labels(0, 1),
    ),
    Error(
        "keywords outside of a stage",
        small,
        TypeError,
        "no stage is named 'labels' (stages: net, loss)",
        options={"labels": np.array([2, 0, 1, 2])},
    ),
    Error("no labels", small, TypeError, "softmax_cross_entropy: "),
)

SPECS = (
    Spec(
        two_layer_net.goal(),
        reference=goal_by_mlp,
        source=library("equinox.nn.MLP, optax.softmax_cross_entropy_with_integer_labels"),
        cases=CASES,
        strategy=goals,
        errors=ERRORS,
    ),
    Spec(
        two_layer_net.goal(last_relu=True),
        reference=goal_by_mlp_last_relu,
        source=library("equinox.nn.MLP, optax.softmax_cross_entropy_with_integer_labels"),
        cases=(
            *CASES,
            Case("a logit at 0", logit_at_zero, options=labels(2, 1, 1, 2), flags=frozenset({Flag.AT_KINK})),
        ),
        strategy=goals,
        errors=ERRORS,
    ),
)
