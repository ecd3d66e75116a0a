"""Repeats the experiments of the published notes, and compares their numbers with the right ones."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from oracle.running import campaign
from oracle.seeds import (
    addition,
    convolutional_nets,
    dense_nets,
    descent,
    facts,
    gradient_check,
    initialization,
    recurrent_nets,
    regularization,
    section,
    singular_values,
    valley,
    word_vectors,
)
from oracle.seeds.experiment import Experiment, Setting, three_digits

__all__ = ["EXPERIMENTS", "Found", "Setting", "chosen", "run", "three_digits"]

EXPERIMENTS: dict[str, Experiment] = {
    "descent": descent.EXPERIMENT,
    "gradient_check": gradient_check.EXPERIMENT,
    "facts": facts.EXPERIMENT,
    "activations": initialization.EXPERIMENT,
    "valley": valley.EXPERIMENT,
    "initializers": dense_nets.INITIALIZERS,
    "optimizers": dense_nets.OPTIMIZERS,
    "rates": dense_nets.RATES,
    "batch_norm": regularization.BATCH_NORM,
    "overfitting": regularization.OVERFITTING,
    "random_search": regularization.RANDOM_SEARCH,
    "convolutional_nets": convolutional_nets.EXPERIMENT,
    "char_rnn": recurrent_nets.CHAR_RNN,
    "singular_values": singular_values.EXPERIMENT,
    "addition": addition.EXPERIMENT,
    "word_vectors": word_vectors.EXPERIMENT,
}
"""The experiments by name, in the order of the page."""


@dataclass(frozen=True)
class Found:
    """The text that `oracle seeds` prints, the files that it writes, and whether all claims hold."""

    text: str
    page: str
    pictures: Mapping[str, str]
    passed: bool


class Task(NamedTuple):
    """One piece of the experiment with this name. A worker process looks the experiment up by the name."""

    name: str
    piece: Any


def chosen(names: Sequence[str]) -> list[str]:
    """The named experiments in the order of the page, each once, or all if none is named. ValueError for an unknown name."""
    for name in names:
        if name not in EXPERIMENTS:
            near = difflib.get_close_matches(name, EXPERIMENTS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"no experiment is named {name!r}{hint} (experiments: {', '.join(EXPERIMENTS)})")
    return [name for name in EXPERIMENTS if name in names or not names]


def run(
    setting: Setting, names: Sequence[str] = (), *, jobs: int = 1, folder: str = "seeds", draw: bool = True, quiet: bool = False
) -> Found:
    """Runs the named experiments, or all, in `jobs` processes. The page links to its pictures in `folder`."""
    pieces = {name: EXPERIMENTS[name].pieces(setting) for name in chosen(names)}
    results = iter(_performed([Task(name, piece) for name, own in pieces.items() for piece in own], jobs, quiet))
    sections = [part for name, own in pieces.items() for part in EXPERIMENTS[name].sections(own, [next(results) for _ in own])]
    return Found(
        section.text(sections),
        section.page(sections, folder),
        section.pictures(sections) if draw else {},
        all(s.passed for s in sections),
    )


def perform(task: Task) -> Any:
    """The result of one piece; runs in any process."""
    return EXPERIMENTS[task.name].perform(task.piece)


def _performed(tasks: Sequence[Task], jobs: int, quiet: bool) -> list[Any]:
    """The results in the order of the tasks. If a task raises, its exception ends the run."""

    def arrived(_: Task, result: Any) -> None:
        if isinstance(result, BaseException):
            raise result

    found = campaign.each(perform, tasks, jobs, "seeds", "case", quiet=quiet, arrived=arrived) if tasks else []
    return [result for result in found if not isinstance(result, BaseException)]
