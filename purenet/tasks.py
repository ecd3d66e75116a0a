"""What a net is trained on: batches for the steps of a run, and batches to test it by.

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
    """What a task depends on beside the recipe."""

    batch: int
    """Samples in a batch."""
    seed: int
    dtype: Any
    place: str | None
    """Where the data are, a folder or a file; None for what comes with the packages."""


class Task(NamedTuple):
    """Data in the form that a goal takes."""

    title: str
    """Of the data, for people."""
    batches: Callable[[Array, int], Iterator[Batch]]
    """The batches of a run with this key from a step on, without end: the same for the same key and step."""
    tests: Callable[[], Tests]
    """Batches that are not trained on, each with its size."""
    epoch: int
    """How many batches there are before they begin anew."""
    about: dict[str, Any]
    """What a checkpoint says of the data: another run goes on only with the same."""
    init: dict[str, Any]
    """What the parameters depend on, such as the size of the vocabulary, as keywords of the net's `init`."""
    recurrent: bool = False
    """Whether a carry goes from one batch to the next: `carry(params, batch)` of the net's module is the first."""
    measures: Mapping[str, Measure] = MappingProxyType({})
    """What to measure of it beside the usual."""


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
    """Raise where a batch is larger than all there is."""
    if batch > n:
        raise ValueError(f"--batch {batch} is more than the {n} {what} to train on")


def checksum(*arrays: Array) -> int:
    """A number by which data are known again."""
    total = 0
    for array in arrays:
        total = zlib.crc32(np.ascontiguousarray(array).data, total)
    return total
