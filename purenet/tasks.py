"""Tasks: the batches that train a net, and the batches that test it.

A task has the data in the form that a goal takes: `digits`, images with labels, here, and texts in `purenet.texts`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from purenet import random
from purenet.data import mnist_digits, mnist_folder, scaled, split
from purenet.op import Array
from purenet.training import Batch, Measure, shuffled

__all__ = ["Setting", "Task", "Tests", "check_batch", "checksum", "digits"]

Tests: TypeAlias = Iterable[tuple[int, Batch]]
"""Batches with their sizes."""

TESTED = 1000  # samples at a time: 60,000 images as floats would take 180 MB


class Setting(NamedTuple):
    """The settings of a task that are not in the recipe."""

    batch: int
    """Samples in a batch."""
    seed: int
    dtype: Any
    place: str | None
    """The folder or file with the data; None for the data that come with the packages."""


class Task(NamedTuple):
    """Data in the form that a goal accepts."""

    title: str
    """A description of the data."""
    batches: Callable[[Array, int], Iterator[Batch]]
    """The batches of a run with this key from a step on, without end: the same for the same key and step."""
    tests: Callable[[], Tests]
    """Batches that are not trained on, each with its size."""
    epoch: int
    """The number of batches of an epoch."""
    about: dict[str, Any]
    """The fingerprint of the data in a checkpoint; a run continues only with the same data."""
    init: dict[str, Any]
    """Keywords of the net's `init` that depend on the data, such as the size of the vocabulary."""
    recurrent: bool = False
    """Whether a carry goes from one batch to the next: `carry(params, batch)` of the net's module is the first."""
    measures: Mapping[str, Measure] = MappingProxyType({})
    """Further metrics."""


def digits(setting: Setting, *, rows: bool = False) -> Task:
    """Images of digits (N, 1, 28, 28), or as rows (N, 784), and labels: the full MNIST in a folder, or 5,000 digits of it."""
    data = mnist_folder(setting.place) if setting.place else split(random.key(setting.seed), mnist_digits())
    n, form = len(data.train.labels), (-1, 784) if rows else (-1, 1, 28, 28)
    check_batch(setting.batch, n, "digits")

    def batch_of(part: Any, chosen: Any) -> Batch:
        x = scaled(part.images[chosen], setting.dtype).reshape(form)
        return {"x": x, "loss": {"labels": part.labels[chosen]}}

    def tests() -> Tests:
        for first in range(0, len(data.test.labels), TESTED):
            chosen = slice(first, first + TESTED)
            yield len(data.test.labels[chosen]), batch_of(data.test, chosen)

    return Task(
        title=f"{n} digits to train on, {len(data.test.labels)} to test",
        batches=lambda key, start: (batch_of(data.train, i) for i in shuffled(key, n, setting.batch, start=start)),
        tests=tests,
        epoch=n // setting.batch,
        about={"data": {"digits": n, "checksum": checksum(data.train.images, data.train.labels)}},
        init={},
    )


# ---------------------------------------------------------------------------------------------------------- the parts


def check_batch(batch: int, n: int, what: str) -> None:
    """Raise if a batch is larger than the data."""
    if batch > n:
        raise ValueError(f"--batch {batch} is more than the {n} {what} to train on")


def checksum(*arrays: Array) -> int:
    """A checksum of data."""
    total = 0
    for array in arrays:
        total = zlib.crc32(np.ascontiguousarray(array).data, total)
    return total
