"""Tasks of texts: a net reads a part of a text and predicts the next or a missing part.

`readers` is for recurrent nets: a text is read on and on, window by window, and the state goes from each to the next.
`passages` is for nets without one: windows from anywhere in the text. `words` are those around a gap and the one in it, `sums`
additions and their results.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from purenet import random
from purenet.op import Array
from purenet.tasks import Setting, Task, Tests, check_batch, checksum
from purenet.training import Batch, answer_accuracy, shuffled

__all__ = ["Text", "passages", "read_text", "readers", "sums", "words"]


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
        """A checksum of the text."""
        return {"vocabulary": self.alphabet, "data": {"characters": len(self.train), "checksum": checksum(self.train)}}


def read_text(place: str | None) -> str:
    """The text in a file, or the help texts that come with every Python.

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
    return text


def _characters(place: str | None) -> Text:
    """The text as numbers; its last tenth is for the test."""
    text = read_text(place)
    alphabet, ids = np.unique(np.array(list(text)), return_inverse=True)
    part = len(ids) - len(ids) // 10
    return Text(ids[:part], ids[part:], "".join(alphabet))


def readers(setting: Setting, *, stage: str, window: int) -> Task:
    """A text for a recurrent net: as many readers as there are samples in a batch, each of its own part of the text.

    In every step each reads on by a window. A batch holds its ids for a stage of the net, and as labels the characters that
    follow, (B, T) each.
    """
    text, readers = _characters(setting.place), setting.batch

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
    text = _characters(setting.place)

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


def words(setting: Setting, *, window: int, negatives: int, least: int) -> Task:
    """The words of a text that occur `least` times, each with the `window` words on both sides and some that are not there.

    A batch holds the words around as ids for the stage `net/embedding`, and targets and negatives for `net/output`.
    """
    from purenet.models.word2vec import sample_negatives, windows

    spelled = re.findall(r"[^\W\d_]+", read_text(setting.place).lower())
    counts = {word: n for word, n in sorted(Counter(spelled).items()) if n >= least}
    number = {word: i for i, word in enumerate(counts)}
    ids = np.array([number[word] for word in spelled if word in number], np.intp)
    if len(ids) < 20 * window:
        expected = f"at least {20 * window} words that occur {least} times"
        raise ValueError(f"expected a text of {expected}, found {len(ids)}")
    frequencies, part = np.array(list(counts.values())), len(ids) - len(ids) // 10
    train, test = windows(ids[:part], window), windows(ids[part:], window)
    check_batch(setting.batch, len(train[1]), "words")

    def batch_of(data: tuple[Array, Array], chosen: Any, key: Array) -> Batch:
        contexts, targets = (array[chosen] for array in data)
        drawn = sample_negatives(key, frequencies, (len(targets), negatives))
        return {"net": {"embedding": {"ids": contexts}, "output": {"targets": targets, "negatives": drawn}}}

    def batches(key: Array, start: int) -> Iterator[Batch]:
        chosen = shuffled(key, len(train[1]), setting.batch, start=start)
        for_negatives = random.fold_in(key, 2)  # 0 and 1 are the order's and the stages'
        return (batch_of(train, i, random.fold_in(for_negatives, step)) for step, i in enumerate(chosen, start))

    return Task(
        title=f"{len(train[1])} words to train on, {len(test[1])} to test, {len(counts)} different",
        batches=batches,
        tests=lambda: [(len(test[1]), batch_of(test, slice(None), random.key(setting.seed)))],
        epoch=len(train[1]) // setting.batch,
        about={"data": {"words": part, "different": len(counts), "checksum": checksum(ids)}},
        init={"vocabulary": len(counts)},
    )


ALPHABET = "0123456789+ _"
"""The characters of questions and answers; an answer begins with the last one."""


def sums(setting: Setting, *, below: int, reverse: bool = True) -> Task:
    """Additions of numbers below a limit, "57+5  ", and their results, "_62 "; questions are read backwards if `reverse`.

    A batch holds ids for the stages `net/encoder` and `net/decoder`, and labels one character later. One tenth is for the test.
    """
    if setting.place is not None:
        raise ValueError("--data: this net learns additions, which are made here; there is nothing to read")
    pairs = np.array(list(product(range(below), repeat=2)))[random.permutation(random.key(setting.seed), below**2)]
    width = len(str(below - 1))
    longest = len(str(2 * below - 2))
    questions = _ids([f"{a}+{b}".ljust(2 * width + 1) for a, b in pairs])
    answers = _ids([f"_{a + b}".ljust(longest + 1) for a, b in pairs])
    if reverse:
        questions = questions[:, ::-1]
    part = len(pairs) - len(pairs) // 10
    check_batch(setting.batch, part, "additions")

    def batch_of(chosen: Any) -> Batch:
        question, answer = questions[chosen], answers[chosen]
        return {
            "net": {"encoder": {"ids": question}, "decoder": {"ids": answer[:, :-1]}},
            "loss": {"labels": answer[:, 1:]},
        }

    return Task(
        title=f"{part} additions to train on, {len(pairs) - part} to test",
        batches=lambda key, start: (batch_of(i) for i in shuffled(key, part, setting.batch, start=start)),
        tests=lambda: [(len(pairs) - part, batch_of(slice(part, None)))],
        epoch=part // setting.batch,
        about={"vocabulary": ALPHABET, "data": {"below": below, "reverse": reverse}},
        init={"vocabulary": len(ALPHABET)},
        measures={"answers": answer_accuracy},
    )


def _ids(texts: list[str]) -> Array:
    return np.array([[ALPHABET.index(character) for character in text] for text in texts], np.intp)
