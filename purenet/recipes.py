"""Recipes: the form of data, the options and the settings with which each net is trained.

A net without a recipe here, such as a new one, is trained on digits: as images, or as rows of pixels if it takes no images.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from purenet import optimizers
from purenet.optimizers import GradientTransformation
from purenet.schedules import cosine_decay_schedule
from purenet.tasks import Setting, Task, digits
from purenet.texts import passages, readers, sums, words

__all__ = ["DEFAULTS", "RECIPES", "Recipe", "default_rate", "optimizer_names", "optimizer_of", "recipes_of"]

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Recipe(NamedTuple):
    """The settings for the training of a net."""

    task: Callable[..., Task] = digits
    data: Mapping[str, Any] = NOTHING
    """Keywords of the task."""
    options: Mapping[str, Any] = NOTHING
    """Keywords of the net's `goal`."""
    init: Mapping[str, Any] = NOTHING
    """Keywords of its `init`."""
    optimizer: str = "adam"
    rate: float = 1e-3
    """The learning rate at the start; it falls to 0 along half a period of a cosine."""
    clip: float | None = None
    """The limit of the norm of all gradients together; None: no limit."""
    batch: int = 100
    steps: int = 1000
    full_steps: int = 3000
    """The settings for the user's own data, `--data`."""

    def task_for(self, setting: Setting) -> Task:
        return self.task(setting, **self.data)


DEFAULTS = (Recipe(), Recipe(data={"rows": True}))
"""The recipes that are tried for a net without one."""

SMALL_ALEXNET = {"image_size": 28, "channels": 1, "stride": 1}

RECIPES = {
    "two_layer_net": Recipe(data={"rows": True}, init={"sizes": (784, 100, 10)}, rate=2e-3, full_steps=6000),
    "multi_layer_net": Recipe(
        data={"rows": True},
        options={"sizes": (784, 200, 100, 10), "batch_norm": True},
        init={"sizes": (784, 200, 100, 10), "batch_norm": True},
        rate=2e-3,
        full_steps=6000,
    ),
    "lenet": Recipe(rate=2e-3, full_steps=4800),
    "simple_convnet": Recipe(init={"initializer": "he"}, rate=2e-3, steps=600, full_steps=3000),
    "deep_convnet": Recipe(rate=2e-3, steps=200, full_steps=1800),
    "alexnet": Recipe(
        options=SMALL_ALEXNET,
        init={**SMALL_ALEXNET, "classes": 10, "width": 0.125, "initializer": "he"},
        steps=300,
        full_steps=1800,
    ),
    "char_rnn": Recipe(task=readers, data={"stage": "rnn", "window": 32}, rate=5e-3, clip=5.0, batch=32, full_steps=1000),
    "gpt": Recipe(
        task=passages, data={"stage": "embedding", "window": 64}, rate=2e-3, clip=1.0, batch=32, steps=300, full_steps=300
    ),
    "word2vec": Recipe(
        task=words, data={"window": 4, "negatives": 5, "least": 5}, init={"std": 0.1}, rate=5e-3, batch=200, steps=3000
    ),
    "seq2seq_attention": Recipe(task=sums, data={"below": 100}, rate=5e-3, clip=5.0, steps=1500),
}

RATES = {"adadelta": 1.0, "adagrad": 1e-2, "lion": 1e-4, "momentum": 1e-2, "sgd": 0.1}
"""The initial rate if the user chooses another optimizer than the recipe's; 1e-3 for optimizers that are not listed."""


def recipes_of(name: str) -> tuple[Recipe, ...]:
    """The recipe for a net: the first of these whose data the net accepts."""
    return (RECIPES[name],) if name in RECIPES else DEFAULTS


def optimizer_names() -> tuple[str, ...]:
    """The optimizers that need only a learning rate."""
    return tuple(sorted(name for name in optimizers.__all__ if _by_rate(getattr(optimizers, name))))


def _by_rate(value: Any) -> bool:
    # The one is a part of optimizers, and the other begins with a rate that no schedule can change.
    if not inspect.isfunction(value) or value in (optimizers.scale_by_learning_rate, optimizers.rprop):
        return False
    first, *others = inspect.signature(value).parameters.values() or (None,)
    return first is not None and first.name == "learning_rate" and all(p.default is not p.empty for p in others)


def default_rate(recipe: Recipe, optimizer: str) -> float:
    """The default rate of an optimizer."""
    return recipe.rate if optimizer == recipe.optimizer else RATES.get(optimizer, 1e-3)


def optimizer_of(name: str, rate: float, steps: int, clip: float | None) -> GradientTransformation:
    """The optimizer of a run: after `steps` updates its rate is 0."""
    optimizer: GradientTransformation = getattr(optimizers, name)(cosine_decay_schedule(rate, steps))
    return optimizer if clip is None else optimizers.chain(optimizers.clip_by_global_norm(clip), optimizer)
