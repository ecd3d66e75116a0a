"""Batch norm in training and at inference, and dropout with a given mask."""

from __future__ import annotations

from typing import Any

import numpy as np

import purenet as pn
from oracle.grading import Assignment, Functions, Part, Whole

HUGE = 1e8  # an offset beside which differences see too little
FAR = 1e12  # an offset beside which differences see nothing
NEAR = 1e-9  # from a kink: nearer than any step


def batch_norm(x: Any, gamma: Any, beta: Any, eps: float) -> Any:
    return pn.batch_norm.fwd({"gamma": gamma, "beta": beta}, x, eps=eps)


def batch_norm_inference(x: Any, gamma: Any, beta: Any, mean: Any, var: Any, eps: float) -> Any:
    return pn.batch_norm.fwd({"gamma": gamma, "beta": beta}, x, eps=eps, statistics=(mean, var))


def batch_norm_backward(dout: Any, cache: Any) -> Any:
    params, dx = pn.batch_norm.bwd(cache, dout)
    return dx, params["gamma"], params["beta"]


def dropout(x: Any, mask: Any, rate: float) -> Any:
    return pn.dropout.fwd(x, mask=mask.astype(bool), rate=rate)


def dropout_backward(dout: Any, cache: Any) -> Any:
    return pn.dropout.bwd(cache, dout)


def block(params: Any, x: Any, t: Any, mask: Any, rate: float, eps: float) -> Any:
    stages: dict[str, pn.Op] = {"affine1": pn.affine, "norm": pn.batch_norm, "relu": pn.relu, "dropout": pn.dropout}
    goal = pn.chain(**stages, affine2=pn.affine, loss=pn.softmax_cross_entropy)
    tree = {
        "affine1": {"w": params["W1"]},
        "norm": {"gamma": params["gamma"], "beta": params["beta"]},
        "affine2": {"w": params["W2"], "b": params["b2"]},
    }
    options = {"norm": {"eps": eps}, "dropout": {"mask": mask.astype(bool), "rate": rate}, "loss": {"labels": t}}
    loss, saved = goal.fwd(tree, x, **options)
    grads = goal.bwd(saved, np.float64(1))[0]
    return loss, {"W1": grads["affine1"]["w"], **grads["norm"], "W2": grads["affine2"]["w"], "b2": grads["affine2"]["b"]}


def some_batch(rng: Any, n: int = 6, d: int = 4, offset: float = 0.0) -> dict[str, Any]:
    x = rng.normal(size=(n, d)) * rng.uniform(0.5, 2.0, d) + rng.normal(size=d)
    return {"x": x, "gamma": rng.uniform(0.5, 2.0, d), "beta": rng.normal(size=d) + offset, "eps": 10.0 ** -rng.integers(2, 6)}


def some_inference(rng: Any, n: int = 6, d: int = 4, offset: float = 0.0) -> dict[str, Any]:
    batch = some_batch(rng, n, d, offset)
    eps = batch.pop("eps")
    return {**batch, "mean": rng.normal(size=d), "var": rng.uniform(0.5, 2.0, d), "eps": eps}


def some_mask(rng: Any, shape: tuple[int, int] = (5, 6), scale: float = 1.0) -> dict[str, Any]:
    rate = float(rng.choice([0.2, 0.25, 0.6]))
    mask = (rng.uniform(size=shape) > rate).astype(np.float64)
    mask.flat[0], mask.flat[1] = 1.0, 0.0  # some are kept and some are dropped
    return {"x": scale * rng.normal(size=shape), "mask": mask, "rate": rate}


def some_block(rng: Any, n: int = 7, sizes: tuple[int, int, int] = (5, 6, 4), *, at_kinks: bool = False) -> dict[str, Any]:
    inputs, hidden, classes = sizes
    params = {
        "W1": rng.normal(size=(inputs, hidden)),
        "gamma": rng.uniform(0.5, 2.0, hidden),
        "beta": rng.normal(size=hidden),
        "W2": rng.normal(size=(hidden, classes)) / hidden**0.5,
        "b2": rng.normal(size=classes),
    }
    x, dropped = rng.normal(size=(n, inputs)), some_mask(rng, (n, hidden))
    if at_kinks:  # the hidden units of the first sample
        nothing = {"gamma": params["gamma"], "beta": np.zeros(hidden)}
        params["beta"] = (
            NEAR * rng.permutation(np.resize([-1.0, 1.0], hidden)) - pn.batch_norm(nothing, x @ params["W1"], eps=1e-5)[0]
        )
        dropped["mask"][0] = 1.0
    mask, rate = dropped["mask"], dropped["rate"]
    return {"params": params, "x": x, "t": rng.integers(classes, size=n), "mask": mask, "rate": rate, "eps": 1e-5}


assignment = Assignment(
    "batch norm and dropout",
    [
        Part(
            "batch norm",
            [Functions("batchnorm_forward", "batchnorm_backward")],
            (batch_norm, batch_norm_backward),
            {"x": 4, "gamma": 1, "beta": 1},
            [some_batch],
            blind=[lambda rng: some_batch(rng, offset=HUGE)],
            large=[lambda rng: some_batch(rng, 200, 500)],
            about="out = gamma (x - mean) / sqrt(var + eps) + beta, mean and var over the batch (divided by N), x (N, D)",
        ),
        Part(
            "batch norm at inference",
            [Functions("batchnorm_inference_forward", "batchnorm_inference_backward")],
            (batch_norm_inference, batch_norm_backward),
            {"x": 1, "gamma": 1, "beta": 1},
            [some_inference],
            blind=[lambda rng: some_inference(rng, offset=FAR)],
            large=[lambda rng: some_inference(rng, 200, 500)],
            about="the same with mean and var given, as constants",
        ),
        Part(
            "dropout",
            [Functions("dropout_forward", "dropout_backward")],
            (dropout, dropout_backward),
            {"x": 2},
            [some_mask],
            blind=[lambda rng: some_mask(rng, scale=FAR)],
            large=[lambda rng: some_mask(rng, (200, 500))],
            about="out = x mask / (1 - rate); the mask has 1 where x is kept and 0 where it is dropped",
        ),
        Part(
            "net",
            [Whole("loss_and_grads")],
            block,
            {"W1": 2, "gamma": 1, "beta": 1, "W2": 1, "b2": 1},
            [some_block],
            blind=[lambda rng: some_block(rng, at_kinks=True)],
            large=[lambda rng: some_block(rng, 20, (400, 200, 10))],
            value_tolerance=1e-4,  # some add 1e-7 inside the logarithm, which shows where a class is improbable
            about="softmax loss of W2, b2 after dropout(relu(batch norm(x W1))), and a dict of the gradients of params",
        ),
    ],
)
