"""A two-layer net from its parts: affine maps, the rectifier, softmax with cross entropy, and the whole net."""

from __future__ import annotations

from typing import Any

import numpy as np

import purenet as pn
from oracle.grading import Assignment, Functions, Layer, Part, Whole

HUGE = 1e12  # an offset beside which differences see nothing
NEAR = 1e-9  # from a kink: nearer than any step


def affine(x: Any, w: Any, b: Any) -> Any:
    return pn.affine.fwd({"w": w, "b": b}, x)


def affine_backward(dout: Any, cache: Any) -> Any:
    params, dx = pn.affine.bwd(cache, dout)
    return dx, params["w"], params["b"]


def relu(x: Any) -> Any:
    return pn.relu.fwd(x)


def relu_backward(dout: Any, cache: Any) -> Any:
    return pn.relu.bwd(cache, dout)


def softmax_loss(x: Any, t: Any) -> Any:
    loss, saved = pn.softmax_cross_entropy.fwd(x, labels=t)
    return loss, pn.softmax_cross_entropy.bwd(saved, np.float64(1))[0]


def net(params: Any, x: Any, t: Any) -> Any:
    tree = {"net": {f"affine{k}": {"w": params[f"W{k}"], "b": params[f"b{k}"]} for k in (1, 2)}}
    goal = pn.models.two_layer_net.goal()
    loss, saved = goal.fwd(tree, x, loss={"labels": t})
    grads = goal.bwd(saved, np.float64(1))[0]["net"]
    return loss, {f"{theirs}{k}": grads[f"affine{k}"][ours] for k in (1, 2) for theirs, ours in (("W", "w"), ("b", "b"))}


def some_affine(rng: Any, n: int = 4, inputs: int = 5, outputs: int = 3, offset: float = 0.0) -> dict[str, Any]:
    w = rng.normal(size=(inputs, outputs))
    return {"x": rng.normal(size=(n, inputs)), "w": w, "b": rng.normal(size=outputs) + offset}


def some_logits(rng: Any, n: int = 5, classes: int = 4, offset: float = 0.0) -> dict[str, Any]:
    return {"x": rng.normal(size=(n, classes)) + offset, "t": rng.integers(classes, size=n)}


def some_net(rng: Any, n: int = 6, sizes: tuple[int, int, int] = (5, 7, 4), *, at_kinks: bool = False) -> dict[str, Any]:
    inputs, hidden, classes = sizes
    params = {
        "W1": rng.normal(size=(inputs, hidden)) / inputs**0.5,
        "b1": rng.normal(size=hidden),
        "W2": rng.normal(size=(hidden, classes)) / hidden**0.5,
        "b2": rng.normal(size=classes),
    }
    x = rng.normal(size=(n, inputs))
    if at_kinks:  # the hidden units of the first sample
        params["b1"] = NEAR * rng.permutation(np.resize([-1.0, 1.0], hidden)) - x[0] @ params["W1"]
    return {"params": params, "x": x, "t": rng.integers(classes, size=n)}


assignment = Assignment(
    "two-layer net",
    [
        Part(
            "affine",
            [Functions("affine_forward", "affine_backward"), Layer("Affine", {"w": "dW", "b": "db"}, ("w", "b"))],
            (affine, affine_backward),
            {"x": 2, "w": 2, "b": 1},
            [some_affine],
            blind=[lambda rng: some_affine(rng, offset=HUGE)],
            large=[lambda rng: some_affine(rng, 4, 500, 400)],
            about="out = x w + b for x (N, I), w (I, O), b (O,)",
        ),
        Part(
            "relu",
            [Functions("relu_forward", "relu_backward"), Layer("Relu")],
            (relu, relu_backward),
            {"x": 2},
            [lambda rng: {"x": rng.normal(size=(4, 5))}],
            blind=[lambda rng: {"x": NEAR * rng.normal(size=(4, 5))}],
            large=[lambda rng: {"x": rng.normal(size=(200, 600))}],
            about="out = max(x, 0) for x of any shape",
        ),
        Part(
            "softmax loss",
            [Whole("softmax_loss")],
            softmax_loss,
            {"x": 3},
            [some_logits],
            blind=[lambda rng: some_logits(rng, offset=1e8)],
            large=[lambda rng: some_logits(rng, 200, 500)],
            value_tolerance=1e-4,  # some add 1e-7 inside the logarithm, which shows where a class is improbable
            about="the mean cross entropy of the softmax of x (N, C) and the labels t (N,), and its gradient dx; x may be huge",
        ),
        Part(
            "net",
            [Whole("loss_and_grads")],
            net,
            {"W1": 2, "b1": 1, "W2": 2, "b2": 1},
            [some_net],
            blind=[lambda rng: some_net(rng, at_kinks=True)],
            large=[lambda rng: some_net(rng, 8, (784, 100, 10))],
            value_tolerance=1e-4,
            about="softmax_loss(relu(x W1 + b1) W2 + b2, t), and a dict of the gradients of params W1, b1, W2, b2",
        ),
    ],
)
