"""Mistakes in the accumulation of gradients: what the reference makes of micro-batches that are put together otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oracle.trajectory.probe import Probe, weighted
from oracle.trajectory.recognition import agree
from oracle.trajectory.rule import Flat
from oracle.trajectory.runs import follow
from oracle.trajectory.stepping import Stepper

__all__ = ["accumulated_otherwise"]

Array = NDArray[Any]
Params = dict[str, Array]


def accumulated_otherwise(like: Stepper, probe: Probe, run: Array, tolerance: Array) -> str:
    """How the gradients of the micro-batches are put together, if the reference makes this run of them; else empty."""
    steps, flat = len(run), Flat.of(probe)
    for words, gradients in _otherwise(probe, steps):
        batches: list[Any] = [(grads, {}) for grads in gradients]
        with np.errstate(all="ignore"):
            records = list(follow(like, {}, lambda params, grads, options: grads, probe.params, batches))
        every = len(records) // steps
        if agree(flat.positions(records[every - 1 :: every]), run, tolerance):
            return words
    return ""


def _otherwise(probe: Probe, steps: int) -> Iterator[tuple[str, Sequence[Params]]]:
    sizes, parts = probe.sizes, probe.parts[:steps]
    count, total = len(sizes), sum(sizes)
    listed = ", ".join(map(str, sizes))
    weights = {
        f"the mean of the {count} means: micro-batches of {listed} examples count alike": [1 / count] * count,
        "the sum of the means of the micro-batches: it is not divided": [1.0] * count,
        "the sum over all examples: it is not divided by their number": list(map(float, sizes)),
        "divided once too often: by the number of examples and of micro-batches": [n / total / count for n in sizes],
        "that of the last micro-batch alone": [0.0] * (count - 1) + [1.0],
        "that of the first micro-batch alone": [1.0] + [0.0] * (count - 1),
    }
    for words, own in weights.items():
        yield f"the accumulated gradient is {words}", [weighted(step, own) for step in parts]
    kept = accumulate(probe.gradients[:steps], lambda before, g: weighted([before, g], [1.0, 1.0]))
    yield "the accumulated gradient is not cleared after a step: the next ones are added to it", list(kept)
    yield "there is a step at every micro-batch", list(chain(*parts))
