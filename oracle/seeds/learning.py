"""A lesson: the training of one net on digits. The experiments on digits consist of lessons."""

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
"""The optimizers with the book's definitions."""

LOOKED_AT = {True: 1000, False: 10_000}  # the largest number of training digits that are tested, in a quick run and a full one
TOGETHER = 100  # digits that are tested at once; the activations of many more do not fit into a cache


class Lesson(NamedTuple):
    """One net and its training, in float32 and with its own random key."""

    data: Path | None
    optimizer: str
    rate: float
    steps: int
    batch: int
    model: str = "multi_layer_net"
    """The name of a module in purenet.models, or of any other module."""
    images: bool = False
    """Whether the model takes images of one channel instead of rows of pixels."""
    goal: Mapping[str, Any] = {}
    """The options of the model's goal."""
    init: Mapping[str, Any] = {}
    """The options of the model's init."""
    digits: int | None = None
    """The number of training digits that are used; None: all."""
    held_out: int = 0
    """The number of these that are kept for validation and tested instead of the test set."""
    every: int = 0
    """The number of steps between two tests; 0: a single test at the end."""
    keep: str = ""
    """The stage whose weights before and after the training are kept."""
    key: int = 0


class Learned(NamedTuple):
    """The results of a lesson."""

    losses: Array
    """The loss of each step on its batch."""
    looks: Array
    """The step of each test."""
    train: Array
    """The accuracy on training digits at each test."""
    test: Array
    """The accuracy on test digits at each test."""
    finite: bool
    """Whether the loss was finite to the end; if not, the lesson ended early."""
    kept: tuple[Array, Array] | None
    """The weights of `Lesson.keep` before and after the training."""


def learn(lesson: Lesson) -> Learned:
    """Trains the net of one lesson, and tests it."""
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
    """The digits to train with and the digits to test with."""
    train, test = digits_of(lesson.data)
    if lesson.digits is not None:
        train = train.take(np.arange(lesson.digits))
    if not lesson.held_out:
        return train, test
    return train.take(np.arange(lesson.held_out, len(train.labels))), train.take(np.arange(lesson.held_out))


def _pixels(digits: Digits, lesson: Lesson) -> Array:
    """The pixels in the form that the model takes: images of one channel, or rows."""
    rows = scaled(digits.images, np.float32)
    return rows.reshape(-1, 1, 28, 28) if lesson.images else rows


def _batches(digits: Digits, lesson: Lesson) -> Iterator[tuple[int, dict[str, Any]]]:
    """The test digits in batches, each with its size."""
    for start in range(0, len(digits.labels), TOGETHER):
        some = digits.take(np.arange(start, min(start + TOGETHER, len(digits.labels))))
        yield len(some.labels), {"x": _pixels(some, lesson), "loss": {"labels": some.labels}}


def _weights(before: Any, after: Any, stage: str) -> tuple[Array, Array]:
    return before["net"][stage]["w"], after["net"][stage]["w"]
