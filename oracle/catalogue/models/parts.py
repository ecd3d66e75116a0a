"""What the references and the cases of several nets share: layers by equinox and jax.numpy, and arguments away from kinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.lib.stride_tricks import sliding_window_view

from oracle.catalogue.stochastic import dropout_by_equinox
from oracle.spec import Draw
from purenet.combinators import Chain

Net = dict[str, dict[str, Any]]

# ---------------------------------------------------------------------------------------------- layers of references


def cross_entropy(logits: Any, labels: Any) -> Any:
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses.sum() / max(losses.size, 1)  # not mean(), which is NaN for an empty batch


def linear(params: dict[str, Any]) -> Any:
    """The affine map of one row, by equinox."""
    inputs, outputs = params["w"].shape
    skeleton = eqx.filter_eval_shape(
        eqx.nn.Linear, inputs, outputs, "b" in params, dtype=params["w"].dtype, key=jax.random.key(0)
    )
    filled = eqx.tree_at(lambda layer: layer.weight, skeleton, params["w"].T)
    return eqx.tree_at(lambda layer: layer.bias, filled, params["b"]) if "b" in params else filled


def convolution(params: dict[str, Any], padding: int = 0) -> Any:
    """The convolution of one image, by equinox, which leaves it to XLA."""
    outputs, inputs, *window = params["w"].shape
    skeleton = eqx.filter_eval_shape(
        eqx.nn.Conv2d, inputs, outputs, window, padding=padding, dtype=params["w"].dtype, key=jax.random.key(0)
    )
    return eqx.tree_at(lambda layer: (layer.weight, layer.bias), skeleton, (params["w"], params["b"][:, None, None]))


def convolved(params: dict[str, Any], x: Any, *, stride: int = 1, padding: int = 0, groups: int = 1) -> Any:
    """The convolution of a batch by one matrix product of all its patches: in float64 XLA's own is hundreds of times slower."""
    w = params["w"]
    filters, channels, height, width = w.shape
    x = jnp.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    count = len(x)
    rows, columns = (
        np.arange(0, n - k + 1, stride)[:, None] + np.arange(k) for n, k in zip(x.shape[2:], (height, width), strict=True)
    )
    patches = x[:, :, rows][:, :, :, :, columns]
    patches = patches.reshape(count, groups, channels, len(rows), height, len(columns), width)
    matrix = patches.transpose(1, 0, 3, 5, 2, 4, 6).reshape(groups, -1 if count else 0, channels * height * width)
    y = matrix @ w.reshape(groups, filters // groups, channels * height * width).transpose(0, 2, 1)
    y = y.reshape(groups, count, len(rows), len(columns), filters // groups).transpose(1, 0, 4, 2, 3)
    return y.reshape(count, filters, len(rows), len(columns)) + params["b"][:, None, None]


def max_pooled(x: Any, window: int, stride: int) -> Any:
    return jax.vmap(eqx.nn.MaxPool2d(window, stride))(x)


def dropped(x: Any, stage: str, net: Mapping[str, Any], rate: float) -> Any:
    """Dropout with the key that the options of the net have for this stage, if any."""
    return dropout_by_equinox(x, rate=rate, **net.get(stage, {}))


# ---------------------------------------------------------------------------------------------- arguments of cases


def weights(draw: Draw, shapes: Mapping[str, tuple[int, ...]]) -> Net:
    """Weights that keep the scale of what passes through (He), and biases that are not zero."""
    net = {}
    for name, shape in shapes.items():
        inputs, outputs = (shape[0], shape[1]) if len(shape) == 2 else (int(np.prod(shape[1:])), shape[0])
        net[name] = {"w": draw.normal(*shape, scale=(2 / inputs) ** 0.5), "b": draw.normal(outputs, scale=0.3)}
    return net


def clear(goal: Any, gap: float, make: Callable[[], tuple[Net, Any]], net: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
    """What `make` gives, called again until every relu and max pool of the net is `gap` away from its kinks."""
    for _ in range(1000):
        params, x = make()
        if distance_to_kinks(goal.stages["net"], params, x, net or {}) > gap:
            return {"net": params}, x
    raise ValueError(f"clear: no arguments found that keep {gap} away from every kink")


def distance_to_kinks(net: Chain, params: Net, x: Any, options: Mapping[str, Any]) -> float:
    """How far the nearest sum that enters a relu is from 0, and the largest entry of a window from the next."""
    nearest = np.inf
    for name, op in net.stages.items():
        if op.name == "relu":
            nearest = min(nearest, np.abs(x).min(initial=np.inf))
        if op.name == "max_pool2d":
            window = op.bound["window"]
            step = op.bound.get("stride", window)
            entries = np.sort(sliding_window_view(x, (window, window), (2, 3))[:, :, ::step, ::step].reshape(-1, window**2))
            ahead = (entries[:, -1] - entries[:, -2])[entries[:, -1] > 0]  # at 0 all of the window is off
            nearest = min(nearest, ahead.min(initial=np.inf))
        arguments = (params[name], x) if name in params else ({}, x) if op.takes_params else (x,)
        x = op(*arguments, **options.get(name, {}))
    return float(nearest)


def labels(*values: int) -> dict[str, Any]:
    """The options of a goal."""
    return {"loss": {"labels": np.array(values, np.int64)}}
