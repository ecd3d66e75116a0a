"""A net that learns digits: what one lesson is, and what comes of it. The experiments on digits are made of lessons."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import purenet as pn
from oracle.seeds.experiment import digits_of
from purenet import training
from purenet.data import Digits, scaled
from purenet.op import Op
from purenet.optimizers import GradientTransformation

__all__ = ["OPTIMIZERS", "Learned", "Lesson", "learn"]

Array = NDArray[Any]

OPTIMIZERS: dict[str, Callable[[float], GradientTransformation]] = {
    "SGD": pn.optimizers.sgd,
    "Momentum": pn.optimizers.momentum,
    "AdaGrad": partial(pn.optimizers.adagrad, initial_accumulator_value=0.0, eps_in_sqrt=False),
    "RMSProp": partial(pn.optimizers.rmsprop, decay=0.99),
    "Adam": pn.optimizers.adam,
}
"""As the book has them."""

LOOKED_AT = {True: 1000, False: 10_000}  # digits of the training set, at most, whose accuracy is measured; quick or not
TOGETHER = 100  # digits whose accuracy is measured at once: the activations of many more would not fit into a cache


class Lesson(NamedTuple):
    """One net and how it is trained; in float32, from a key of its own."""

    data: Path | None
    optimizer: str
    rate: float
    steps: int
    batch: int
    model: str = "multi_layer_net"
    """Of purenet.models, or a module."""
    images: bool = False
    """Whether the model takes images of one channel, not rows of pixels."""
    goal: Mapping[str, Any] = {}
    """Options of the model's goal, and of its init."""
    init: Mapping[str, Any] = {}
    digits: int | None = None
    """Only so many of the training set."""
    held_out: int = 0
    """How many of those are kept for validation instead; 0: the test set judges."""
    every: int = 0
    """Steps between two looks at the accuracies; 0: only one, at the end."""
    keep: str = ""
    """The stage whose weights are wanted, before and after."""
    key: int = 0


class Learned(NamedTuple):
    """What came of a lesson."""

    losses: Array
    """Of each step, on its batch."""
    looks: Array
    """After how many steps the accuracies were measured."""
    train: Array
    test: Array
    finite: bool
    """Whether the loss was finite to the end; if not, the lesson ended there."""
    kept: tuple[Array, Array] | None


def learn(lesson: Lesson) -> Learned:
    """One lesson, from the first weights to the last."""
    model = importlib.import_module(lesson.model if "." in lesson.model else f"purenet.models.{lesson.model}")
    goal: Op = model.goal(**lesson.goal)
    train, test = _digits(lesson)
    init_key, batch_key, run_key = pn.random.split(pn.random.key(lesson.key), 3)
    params = {"net": model.init(init_key, **lesson.init, dtype=np.float32)}
    optimizer = OPTIMIZERS[lesson.optimizer](lesson.rate)
    step, evaluate = training.make_step(goal, optimizer), training.make_evaluation(goal)
    state = training.start(optimizer, params, run_key)
    x = _pixels(train, lesson)
    losses: list[float] = []
    looks: list[tuple[int, float, float]] = []
    few = train.take(np.arange(min(LOOKED_AT[lesson.data is None], len(train.labels))))
    for indices in islice(training.shuffled(batch_key, len(train.labels), lesson.batch), lesson.steps):
        try:
            state, metrics = step(state, {"x": x[indices], "loss": {"labels": train.labels[indices]}})
        except training.NotFinite:
            break
        losses.append(metrics["loss"])
        if len(losses) == lesson.steps or (lesson.every and len(losses) % lesson.every == 0):
            train_score, test_score = (evaluate(state, _batches(some, lesson))["accuracy"] for some in (few, test))
            looks.append((len(losses), train_score, test_score))
    steps, train_scores, test_scores = np.array(looks, np.float64).reshape(-1, 3).T
    kept = _weights(params, state.params, lesson.keep) if lesson.keep else None
    return Learned(np.array(losses), steps, train_scores, test_scores, len(losses) == lesson.steps, kept)


def _digits(lesson: Lesson) -> tuple[Digits, Digits]:
    """What is learned, and what judges it."""
    train, test = digits_of(lesson.data)
    if lesson.digits is not None:
        train = train.take(np.arange(lesson.digits))
    if not lesson.held_out:
        return train, test
    return train.take(np.arange(lesson.held_out, len(train.labels))), train.take(np.arange(lesson.held_out))


def _pixels(digits: Digits, lesson: Lesson) -> Array:
    """As the model wants them: images of one channel, or rows."""
    rows = scaled(digits.images, np.float32)
    return rows.reshape(-1, 1, 28, 28) if lesson.images else rows


def _batches(digits: Digits, lesson: Lesson) -> Iterator[tuple[int, dict[str, Any]]]:
    """Batches of digits that judge, each with its size."""
    for start in range(0, len(digits.labels), TOGETHER):
        some = digits.take(np.arange(start, min(start + TOGETHER, len(digits.labels))))
        yield len(some.labels), {"x": _pixels(some, lesson), "loss": {"labels": some.labels}}


def _weights(before: Any, after: Any, stage: str) -> tuple[Array, Array]:
    return before["net"][stage]["w"], after["net"][stage]["w"]
