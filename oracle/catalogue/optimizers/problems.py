"""Small losses on which optimizers are followed: one layer of tanh, a two-layer net, a net in a net."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optree

from oracle.spec import Draw
from oracle.trajectory import Problem
from purenet import activations, affine, chain, losses

__all__ = ["LAYER", "NESTED", "TWO_LAYERS"]

Tree = Any


def cross_entropy(logits: Any, labels: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def two_layers(params: Any, x: Any, options: Any) -> Any:
    hidden = jnp.tanh(jnp.dot(x, params["affine1"]["w"]) + params["affine1"]["b"])
    return cross_entropy(jnp.dot(hidden, params["affine2"]["w"]) + params["affine2"]["b"], options["loss"]["labels"])


def nested_layers(params: Any, x: Any, options: Any) -> Any:
    hidden, output = params["net"]["hidden"]["affine"], params["net"]["output"]
    logits = jnp.dot(jax.nn.gelu(jnp.dot(x, hidden["w"]) + hidden["b"]), output["w"])
    return cross_entropy(logits, options["loss"]["labels"])


def by_jax(loss: Callable[[Any, Any, Any], Any]) -> Callable[[Tree, Any, Mapping[str, Any]], Tree]:
    """The gradient of `loss` with respect to its first argument, from NumPy to NumPy, in float64."""
    compiled = jax.jit(jax.grad(loss))

    def gradient(params: Tree, x: Any, options: Mapping[str, Any]) -> Tree:
        with jax.enable_x64(True):
            return optree.tree_map(np.asarray, compiled(params, x, options))

    return gradient


def draw_two_layers(draw: Draw) -> tuple[Tree, Any, Mapping[str, Any]]:
    params = {
        "affine1": {"w": draw.normal(3, 2), "b": draw.normal(2, scale=0.1)},
        "affine2": {"w": draw.normal(2, 3), "b": draw.normal(3, scale=0.1)},
    }
    return params, draw.normal(5, 3), {"loss": {"labels": np.array([0, 2, 1, 2, 0])}}


def draw_nested_layers(draw: Draw) -> tuple[Tree, Any, Mapping[str, Any]]:
    hidden = {"affine": {"w": draw.normal(2, 3), "b": draw.normal(3, scale=0.1)}}
    params = {"net": {"hidden": hidden, "output": {"w": draw.normal(3, 2)}}}
    return params, draw.normal(4, 2), {"loss": {"labels": np.array([0, 1, 1, 0])}}


TWO_LAYERS = Problem(
    "two-layer net",
    chain(affine1=affine, tanh=activations.tanh, affine2=affine, loss=losses.softmax_cross_entropy),
    draw_two_layers,
    by_jax(two_layers),
)
NESTED = Problem(
    "net in a net",
    chain(
        net=chain(hidden=chain(affine=affine, gelu=activations.gelu), output=affine),
        loss=losses.softmax_cross_entropy,
    ),
    draw_nested_layers,
    by_jax(nested_layers),
)

# A pair, for its differences cost a fiftieth of a net's: most optimizers are followed on it.


def layer_fwd(params: Tree, x: Any, *, targets: Any) -> tuple[Any, Any]:
    y = np.tanh(x @ params["w"] + params["b"])
    off = y - targets
    return np.asarray((off * off).sum()), (x, y, off)


def layer_bwd(residuals: Any, dl: Any) -> tuple[Tree, None]:
    x, y, off = residuals
    dz = 2 * dl * off * (1 - y * y)
    return {"w": x.T @ dz, "b": dz.sum(axis=0)}, None


def layer(params: Any, x: Any, options: Any) -> Any:
    return jnp.square(jnp.tanh(jnp.dot(x, params["w"]) + params["b"]) - options["targets"]).sum()


def draw_layer(draw: Draw) -> tuple[Tree, Any, Mapping[str, Any]]:
    params = {"w": draw.normal(2, 2), "b": draw.normal(2)}
    return params, draw.normal(4, 2), {"targets": draw.normal(4, 2)}


LAYER = Problem("layer of tanh", (layer_fwd, layer_bwd), draw_layer, by_jax(layer))
