"""Whole trainings by Adam: LeNet-5 on real digits, and a GPT of two layers on sequences that count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import jax
import numpy as np
import optax
import optree

from oracle.autodiff import kept
from oracle.catalogue.models.gpt import goal_by_jax, parameters, words
from oracle.catalogue.models.lenet import SHAPES, lenet_by_equinox
from oracle.catalogue.models.parts import weights
from oracle.catalogue.optimizers.moments import MOMENTS
from oracle.catalogue.optimizers.references import by_optax
from oracle.compiling import in_one_piece, known
from oracle.spec import Draw, library
from oracle.trajectory.spec import Batch, Both, TrainingSpec
from purenet.data import mnist_digits, scaled
from purenet.models import gpt, lenet
from purenet.optimizers import adam

Tree = Any

GPT: dict[str, Any] = {"vocabulary": 16, "context": 16, "width": 32, "heads": 4, "layers": 2}
ADAM = library("optax.adam")


def by_jax(reference: Callable[..., Any], options: Callable[[], dict[str, Any]]) -> Both:
    """The value of a reference and its gradient, from NumPy to NumPy, in float64, compiled with these options of XLA."""

    def value(params: Any, arguments: Any, keywords: Any) -> Any:
        return reference(params, *arguments, **keywords)

    def compiled(lowered: Any) -> Any:
        return lowered.compile(compiler_options=options())

    both = kept(jax.value_and_grad(value), ("value and gradient", reference, options.__name__), compiled)

    @wraps(reference)
    def value_and_gradient(params: Tree, arguments: Any, keywords: Mapping[str, Any]) -> tuple[Any, Tree]:
        with jax.enable_x64(True):
            loss, grads = both(params, arguments, keywords)
            return np.asarray(loss), optree.tree_map(np.asarray, grads)

    return value_and_gradient


def without_fusion() -> dict[str, Any]:
    """Compiles in half the time. Convolutions are slow with all that makes compiling quicker still."""
    return known(xla_cpu_use_fusion_emitters=False)


def digits(draw: Draw, steps: int) -> tuple[Tree, list[Batch]]:
    """Two real digits at each step."""
    params, every = {"net": weights(draw, SHAPES)}, mnist_digits()

    def batch() -> Batch:
        some = every.take(draw.labels(len(every.labels), 2))
        return (scaled(some.images).reshape(2, 1, 28, 28),), {"loss": {"labels": some.labels}}

    return params, [batch() for _ in range(steps)]


def counting(draw: Draw, steps: int) -> tuple[Tree, list[Batch]]:
    """Two sequences at each step that count on by ones, twos or threes from anywhere, and from 15 to 0."""
    (params,) = parameters(draw, GPT)

    def batch() -> Batch:
        first, by = draw.labels(GPT["vocabulary"], 2, 1), 1 + draw.labels(3, 2, 1)
        ids = (first + by * np.arange(GPT["context"] + 1)) % GPT["vocabulary"]
        return (), words(ids[:, :-1], ids[:, 1:])

    return params, [batch() for _ in range(steps)]


TRAININGS = (
    TrainingSpec(
        "lenet_training",
        "adam(0.001), two digits at each step",
        lenet.goal(),
        digits,
        adam(0.001),
        by_jax(lenet_by_equinox, without_fusion),
        by_optax(ADAM, optax.adam(0.001)),
        MOMENTS,
        library("equinox.nn.Conv2d, AvgPool2d, Linear; optax.adam"),
    ),
    TrainingSpec(
        "gpt_training",
        "adam(0.003), two sequences of 16 words at each step",
        gpt.goal(**GPT),
        counting,
        adam(0.003),
        by_jax(goal_by_jax, in_one_piece),
        by_optax(ADAM, optax.adam(0.003)),
        MOMENTS,
        library("equinox.nn.LayerNorm, jax.nn.softmax, jax.nn.gelu; optax.adam"),
    ),
)
