"""What a net is trained on: batches for the steps of a run, and batches to test it by.

A task is made for a net's form of data. `digits` are images with labels; `characters` a text that is read on and on, window by
window, with a recurrent state.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from purenet import random
from purenet.data import mnist_digits, mnist_folder, scaled, split
from purenet.op import Array
from purenet.training import Batch, shuffled

__all__ = ["Setting", "Task", "characters", "digits"]

Tests: TypeAlias = Iterable[tuple[int, Batch]]

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


def digits(setting: Setting, *, rows: bool = False) -> Task:
    """Images of digits (N, 1, 28, 28), or as rows (N, 784), and labels: the full MNIST in a folder, or 5,000 digits of it."""
    data = mnist_folder(setting.place) if setting.place else split(random.key(setting.seed), mnist_digits())
    n, form = len(data.train.labels), (-1, 784) if rows else (-1, 1, 28, 28)
    _check_batch(setting.batch, n, "digits")

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
        about={"data": {"digits": n, "checksum": _checksum(data.train.images, data.train.labels)}},
        init={},
    )


# ------------------------------------------------------------------------------------------------------------------ text


class Text(NamedTuple):
    """A text as numbers of its characters, in two parts."""

    train: Array
    test: Array
    alphabet: str
    about: dict[str, Any]


def read_text(place: str | None) -> Text:
    """The text in a file, or the help texts that come with every Python; the last tenth is for the test.

    Errors: OSError where the file cannot be read; ValueError where it is not UTF-8 or empty.
    """
    if place is None:
        from pydoc_data.topics import topics

        text = "".join(topics[name] for name in sorted(topics))
    else:
        try:
            text = Path(place).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{place}: expected a text in UTF-8, found {error}") from None
    if not text:
        raise ValueError(f"{place}: expected a text, found an empty file")
    alphabet, ids = np.unique(np.array(list(text)), return_inverse=True)
    part = len(ids) - len(ids) // 10
    about = {"vocabulary": "".join(alphabet), "data": {"characters": part, "checksum": _checksum(ids[:part])}}
    return Text(ids[:part], ids[part:], "".join(alphabet), about)


def characters(setting: Setting, *, window: int) -> Task:
    """A text for a recurrent net: `batch` readers of a part of it each, which read on by a window in every step.

    Each batch holds ids and the labels one character later, (B, T) each, for the stages `net/rnn` and `loss`.
    """
    text = read_text(setting.place)
    train, test = (_windows(part, setting.batch, window, name) for part, name in ((text.train, "train"), (text.test, "test")))

    def batch_of(windows: Array, i: int) -> Batch:
        ids, labels = windows[i, :, :-1], windows[i, :, 1:]
        return {"net": {"rnn": {"ids": ids}}, "loss": {"labels": labels}}

    return Task(
        title=f"{len(text.train)} characters to train on, {len(text.test)} to test, {len(text.alphabet)} different",
        batches=lambda key, start: (batch_of(train, i % len(train)) for i in count(start)),
        tests=lambda: ((setting.batch, batch_of(test, i)) for i in range(len(test))),
        epoch=len(train),
        about=text.about,
        init={"vocabulary": len(text.alphabet)},
        recurrent=True,
    )


def _windows(ids: Array, batch: int, window: int, name: str) -> Array:
    """Windows of window + 1 characters, (number, batch, window + 1): the last of one is the first of the next."""
    length = len(ids) // batch
    number = (length - 1) // window
    if number < 1:
        needed = batch * (window + 1)
        raise ValueError(
            f"expected a text of at least {needed} characters to {name}, {batch} windows of {window}, found {len(ids)}"
        )
    readers = ids[: batch * length].reshape(batch, length)
    return np.stack([readers[:, i * window : (i + 1) * window + 1] for i in range(number)])


# ---------------------------------------------------------------------------------------------------------- the parts


def _check_batch(batch: int, n: int, what: str) -> None:
    if batch > n:
        raise ValueError(f"--batch {batch} is more than the {n} {what} to train on")


def _checksum(*arrays: Array) -> int:
    total = 0
    for array in arrays:
        total = zlib.crc32(np.ascontiguousarray(array).data, total)
    return total
