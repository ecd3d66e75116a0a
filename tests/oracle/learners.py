"""What the tests of the code of learners share: arguments, and nets that are the same in every test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import oracle

EPS = 1e-5
"""What is accepted of a loss with log(y + 1e-7), whose gradient is that of log(y)."""
X = np.random.default_rng(1).normal(size=(5, 6))
T = np.array([2, 0, 3, 1, 2])
IMAGES = np.random.default_rng(2).normal(size=(2, 1, 6, 6))
SEQUENCE = np.random.default_rng(3).normal(size=(2, 3, 3))


def normal(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def wrong(result: oracle.Verification) -> set[str]:
    return {row.parameter for row in result.rows if not row.passed}


def seeded(make: Callable[[], Any]) -> Any:
    """The same net in every test, whose constructor draws from the global generator."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(11)  # noqa: NPY002
    try:
        return make()
    finally:
        np.random.set_state(before)  # noqa: NPY002


def bits(value: Any) -> Any:
    """All that an object holds, in a form that can be compared."""
    if isinstance(value, np.ndarray):
        return value.tobytes(), value.shape
    if isinstance(value, dict):
        return {key: bits(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [bits(part) for part in value]
    return {key: bits(part) for key, part in vars(value).items()} if hasattr(value, "__dict__") else value


def loss_of_two(params: Any, x: Any, scale: float = 1.0) -> Any:
    y = np.tanh(x @ params["w"]) + params["b"]
    dy = 2 * y * scale
    return np.sum(y**2) * scale, {"w": x.T @ (dy * (1 - np.tanh(x @ params["w"]) ** 2)), "b": dy.sum(axis=0)}
