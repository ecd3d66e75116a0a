"""Tasks of texts: what a net reads, character by character, and what follows.

`readers` is for recurrent nets: a text is read on and on, window by window, and the state goes from each to the next.
`passages` is for nets without one: windows from anywhere in the text.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purenet.op import Array
from purenet.tasks import Setting, Task, Tests, check_batch, checksum
from purenet.training import Batch, shuffled

__all__ = ["Text", "passages", "read_text", "readers"]


class Text(NamedTuple):
    """A text as numbers of its characters, in two parts."""

    train: Array
    test: Array
    alphabet: str

    @property
    def title(self) -> str:
        return f"{len(self.train)} characters to train on, {len(self.test)} to test, {len(self.alphabet)} different"

    @property
    def about(self) -> dict[str, Any]:
        """By which the text is known again."""
        return {"vocabulary": self.alphabet, "data": {"characters": len(self.train), "checksum": checksum(self.train)}}


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
    return Text(ids[:part], ids[part:], "".join(alphabet))


def readers(setting: Setting, *, stage: str, window: int) -> Task:
    """A text for a recurrent net: as many readers as there are samples in a batch, each of its own part of the text.

    In every step each reads on by a window. A batch holds its ids for a stage of the net, and as labels the characters that
    follow, (B, T) each.
    """
    text, readers = read_text(setting.place), setting.batch

    def windows(ids: Array, name: str) -> Array:
        """(number, readers, window + 1): the last character of a window is the first of the next."""
        length = len(ids) // readers
        number = (length - 1) // window
        if number < 1:
            needed = f"at least {readers * (window + 1)} characters to {name}, {readers} windows of {window} and what follows"
            raise ValueError(f"expected a text of {needed}, found {len(ids)}")
        parts = ids[: readers * length].reshape(readers, length)
        return np.stack([parts[:, i * window : (i + 1) * window + 1] for i in range(number)])

    train, test = windows(text.train, "train"), windows(text.test, "test")
    return Task(
        title=text.title,
        batches=lambda key, start: (_batch(stage, train[i % len(train)]) for i in count(start)),
        tests=lambda: ((readers, _batch(stage, each)) for each in test),
        epoch=len(train),
        about=text.about,
        init={"vocabulary": len(text.alphabet)},
        recurrent=True,
    )


def passages(setting: Setting, *, stage: str, window: int) -> Task:
    """A text for a net without a state: windows of it in random order, and what follows each of their characters.

    A batch holds its ids for a stage of the net, and the labels, (B, T) each.
    """
    text = read_text(setting.place)

    def windows(ids: Array, name: str) -> Array:
        number = (len(ids) - 1) // window
        if number < 1:
            raise ValueError(f"expected a text of at least {window + 1} characters to {name}, found {len(ids)}")
        return np.stack([ids[i * window : (i + 1) * window + 1] for i in range(number)])

    train, test = windows(text.train, "train"), windows(text.test, "test")
    check_batch(setting.batch, len(train), f"windows of {window} characters")

    def tests() -> Tests:
        for first in range(0, len(test), setting.batch):
            some = test[first : first + setting.batch]
            yield len(some), _batch(stage, some)

    return Task(
        title=text.title,
        batches=lambda key, start: (_batch(stage, train[i]) for i in shuffled(key, len(train), setting.batch, start=start)),
        tests=tests,
        epoch=len(train) // setting.batch,
        about=text.about,
        init={"vocabulary": len(text.alphabet)},
    )


def _batch(stage: str, windows: Array) -> Batch:
    return {"net": {stage: {"ids": windows[:, :-1]}}, "loss": {"labels": windows[:, 1:]}}
